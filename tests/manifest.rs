//! `glavitu predict --manifest` as a user runs it.

mod program;

use std::fs;

use program::{Run, Workplace, glavitu};
use serde_json::Value;

/// A folder with a model and three scenes, the second of which is broken.
fn workplace() -> Workplace {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    for name in ["a", "b", "c"] {
        place.scene(name, 96);
    }
    let optical = place.path("b/optical.tif");
    let bytes = fs::read(&optical).expect("the scene");
    fs::write(&optical, &bytes[..bytes.len() / 2]).expect("written");
    fs::write(
        place.path("scenes.csv"),
        "id,optical,elevation,date\n\
         first,a/optical.tif,a/elevation.tif,2020-08-16\n\
         broken,b/optical.tif,b/elevation.tif,\n\
         third,c/optical.tif,c/elevation.tif,\n",
    )
    .expect("written");
    place
}

fn run(place: &Workplace, more: &[&str]) -> Run {
    let mut args = ["predict", "--device", "cpu", "--model"].map(str::to_owned).to_vec();
    args.extend([place.at("model.safetensors"), "--manifest".into(), place.at("scenes.csv")]);
    args.extend(["-o".into(), place.at("results")]);
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    glavitu(&args)
}

fn json(place: &Workplace, name: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(name)).expect("a file")).expect("JSON")
}

fn statuses(summary: &Value) -> Vec<(&str, &str)> {
    let scenes = summary["scenes"].as_array().expect("scenes").iter();
    scenes.map(|s| (s["id"].as_str().expect("an id"), s["status"].as_str().expect("a status"))).collect()
}

#[test]
fn one_broken_scene_does_not_stop_the_others() {
    let place = workplace();
    let first = run(&place, &[]);
    assert_eq!(first.code, Some(2), "{}", first.err);
    assert!(first.err.contains("error: 1 of 3 scenes failed") && first.err.contains("summary.json"), "{}", first.err);
    assert!(
        first.out.contains("broken") && first.out.contains("failed") && first.out.contains("third"),
        "{}",
        first.out
    );
    let summary = json(&place, "results/summary.json");
    assert_eq!(statuses(&summary), [("first", "done"), ("broken", "failed"), ("third", "done")]);
    assert!(summary["scenes"][1]["error"].as_str().is_some_and(|why| why.contains("optical.tif")));
    assert_eq!((&summary["done"], &summary["failed"]), (&2.into(), &1.into()));
    assert!(!place.path("results/broken").exists());
    let report = json(&place, "results/first/run.json");
    assert_eq!((report["id"].as_str(), report["date"].as_str()), (Some("first"), Some("2020-08-16")));
    let lines = fs::read_to_string(place.path("results/summary.csv")).expect("a table");
    assert!(lines.starts_with("id,status,output,") && lines.lines().count() == 4, "{lines}");

    // Mended, the two others are left as they are.
    let changed = || fs::metadata(place.path("results/first/outlines.tif")).and_then(|m| m.modified()).expect("a time");
    let before = changed();
    fs::copy(place.path("a/optical.tif"), place.path("b/optical.tif")).expect("copied");
    let second = run(&place, &["--json"]);
    assert_eq!(second.code, Some(0), "{}", second.err);
    let summary: Value = serde_json::from_str(&second.out).expect("JSON");
    assert_eq!(statuses(&summary), [("first", "skipped"), ("broken", "done"), ("third", "skipped")]);
    assert_eq!(changed(), before);
    assert!(summary["scenes"][0]["glacier_area_km2"].is_number());
    // A file that is gone is made again.
    fs::remove_file(place.path("results/first/outlines.gpkg")).expect("removed");
    let again = run(&place, &["--json"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let summary: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(statuses(&summary), [("first", "done"), ("broken", "skipped"), ("third", "skipped")]);
    assert!(place.path("results/first/outlines.gpkg").exists());
    // Other settings are other results.
    let third = run(&place, &["--json", "--smoothing", "3"]);
    let summary: Value = serde_json::from_str(&third.out).expect("JSON");
    assert!(statuses(&summary).iter().all(|(_, status)| *status == "done"), "{summary}");
    // A scene of many is a scene on its own.
    let mut args = ["predict", "--device", "cpu", "--smoothing", "3", "--model"].map(str::to_owned).to_vec();
    args.extend([place.at("model.safetensors"), "--optical".into(), place.at("c/optical.tif")]);
    args.extend(["--elevation".into(), place.at("c/elevation.tif"), "-o".into(), place.at("alone")]);
    assert_eq!(glavitu(&args).code, Some(0));
    let pixels = |folder: &str| {
        let file = glavitu::raster::RasterFile::open(place.path(folder).join("outlines.tif")).expect("a raster");
        file.read_window(0, file.grid().window()).expect("its pixels")
    };
    assert_eq!(pixels("alone"), pixels("results/third"));
}

#[test]
fn parts_and_other_folders() {
    let place = workplace();
    fs::write(
        place.path("scenes.csv"),
        r#"{"scenes": [{"id": "one", "optical": ["a/optical.tif"], "elevation": "a/elevation.tif", "output": "2020/one"},
                       {"id": "two", "optical": "c/optical.tif", "elevation": "c/elevation.tif"}]}"#,
    )
    .expect("written");
    assert_eq!(run(&place, &["--shard", "2/2"]).code, Some(0));
    assert!(place.path("results/two/run.json").exists() && !place.path("results/2020").exists());
    assert_eq!(statuses(&json(&place, "results/summary-2-of-2.json")), [("two", "done")]);
    assert_eq!(run(&place, &["--shard", "1/2"]).code, Some(0));
    assert!(place.path("results/2020/one/outlines.gpkg").exists());
    assert_eq!(run(&place, &["--shard", "3/2"]).code, Some(2));
}

#[test]
fn manifests_that_are_none() {
    let place = workplace();
    for (text, part) in [
        ("nonsense", "a column 'nonsense'"),
        ("id,optical\n", "no scenes"),
        ("id;optical;elevation\na;a.tif;b.tif\n", "columns are separated by commas"),
        ("id,optical,date\na,a.tif,2020-02-31\n", "the date '2020-02-31'"),
        ("id\na\na\n", "the id a again"),
        ("id\n../a\n", "the id '../a'"),
        ("[{\"id\": \"a\", \"colour\": 1}]", "colour"),
    ] {
        fs::write(place.path("scenes.csv"), text).expect("written");
        let refused = run(&place, &[]);
        assert_eq!((refused.code, refused.err.lines().count()), (Some(2), 1), "{text}: {}", refused.err);
        assert!(refused.err.contains(part) && refused.err.contains("scenes.csv"), "{text}: {}", refused.err);
        assert!(!place.path("results").exists());
    }
    fs::remove_file(place.path("scenes.csv")).expect("removed");
    assert_eq!(run(&place, &[]).code, Some(2));
    let both = run(&place, &["--optical", &place.at("a/optical.tif")]);
    assert!(both.code == Some(2) && both.err.contains("cannot be used with"), "{}", both.err);
}
