//! `--report`: pages that need nothing else, as a user gets them.

mod program;

use std::fs;

use program::{Workplace, glavitu};
use serde_json::Value;

fn predict(place: &Workplace, output: &str, more: &[&str]) -> program::Run {
    glavitu(&place.predict_arguments(output, more))
}

/// What every page must be: whole, of one file, without a request to anywhere, and with a name for all that can be used or seen.
fn page(place: &Workplace, file: &str) -> String {
    let text = fs::read_to_string(place.path(file)).expect("a report");
    assert!(text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"), "{file}");
    let lower = text.to_lowercase();
    for outside in ["http://", "https://", "url(", "@import", "<link", "<iframe", "fetch(", "xmlhttprequest"] {
        assert!(!lower.contains(outside), "{file}: {outside}");
    }
    assert!(text.contains("default-src 'none'"));
    for image in text.split("<img ").skip(1) {
        let tag = image.split('>').next().unwrap_or_default();
        assert!(tag.contains("alt=\"") && tag.contains("src=\"data:image/"), "{file}: {}", &tag[..tag.len().min(80)]);
    }
    for input in text.split("<input ").skip(1) {
        let (tag, after) = input.split_once('>').expect("a whole tag");
        let is_named = tag.contains("aria-label=")
            || tag.contains("id=\"find-")
            || after.find("</label>").is_some_and(|end| after.find("<label").is_none_or(|next| end < next));
        assert!(is_named, "{file}: {tag}");
    }
    // Every anchor exists, and every identifier once.
    for target in text.split("href=\"#").skip(1).chain(text.split("for=\"").skip(1)) {
        let id = target.split('"').next().unwrap_or_default();
        assert_eq!(text.matches(&format!("id=\"{id}\"")).count(), 1, "{file}: {id}");
    }
    text
}

#[test]
fn a_mapped_scene() {
    let place = Workplace::of_scene(96);
    let run = predict(&place, "result", &["--report"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let text = page(&place, "result/report.html");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(place.path("result/run.json")).expect("run.json")).expect("JSON");
    let area = report["result"]["glacier_area_km2"].as_f64().expect("an area");
    assert!(text.contains(&format!("{area:.2} km²")), "the area {area}");
    for layer in ["Imagery", "Confidence", "Probability of glacier", "Glacier outlines"] {
        assert!(text.contains(layer), "{layer}");
    }
    assert!(text.contains("image/jpeg") && text.contains("image/png") && text.contains("<path d=\"M"));
    assert!(text.contains("not calibrated"));
    // A glacier for each row of the table.
    let outlines = report["result"]["outlines"].as_u64().expect("a number");
    assert!(outlines > 0 && text.contains(&format!("All {outlines} outlines")));
    // The model's hash is part of how it was made.
    assert!(text.contains(report["model"]["parameters_sha256"].as_str().expect("a hash")));

    // Without it, there is no such file, and nobody may take its name.
    assert_eq!(predict(&place, "plain", &[]).code, Some(0));
    assert!(!place.path("plain/report.html").exists());
    let run = predict(&place, "odd", &["--outlines", "report.html"]);
    assert_eq!(run.code, Some(2), "{}", run.err);
}

#[test]
fn a_manifest_asks_for_reports_that_are_missing() {
    let place = Workplace::of_scene(96);
    fs::write(place.path("scenes.csv"), "id,optical,elevation\na,scene/optical.tif,scene/elevation.tif\n")
        .expect("written");
    let args = |more: &[&str]| {
        let fixed = [
            "predict",
            "--model",
            &place.at("global.safetensors"),
            "--manifest",
            &place.at("scenes.csv"),
            "-o",
            &place.at("many"),
            "--json",
        ];
        fixed.iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let status = |more: &[&str]| {
        let run = glavitu(&args(more));
        assert_eq!(run.code, Some(0), "{}", run.err);
        let summary: Value = serde_json::from_str(&run.out).expect("JSON");
        summary["scenes"][0]["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status(&[]), "done");
    assert_eq!(status(&[]), "skipped");
    assert_eq!(status(&["--report"]), "done");
    assert_eq!(status(&["--report"]), "skipped");
    assert!(page(&place, "many/a/report.html").contains("<h1>a</h1>"));
}

#[test]
fn a_change() {
    let place = Workplace::of_scene(96);
    assert_eq!(predict(&place, "result", &[]).code, Some(0));
    let arguments = |output: &str, more: &[&str]| {
        let fixed =
            ["change", &place.at("scene/outlines.gpkg"), &place.at("result/outlines.tif"), "-o", &place.at(output)];
        fixed.iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let run = glavitu(&arguments("change", &["--report", "--dates", "2000-08-01,2020-08-01"]));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let text = page(&place, "change/report.html");
    for words in
        ["2000-08-01 to 2020-08-01, 20.0 years", "Ice at both dates", "Lost", "Gained", "class=\"total\"", "% a year"]
    {
        assert!(text.contains(words), "{words}");
    }
    assert_eq!(glavitu(&arguments("plain", &[])).code, Some(0));
    assert!(!place.path("plain/report.html").exists());
}

#[test]
fn a_training_run() {
    let place = Workplace::new();
    for (name, seed) in [("train.hdf5", "1"), ("validation.hdf5", "2")] {
        let args = [
            "dataset",
            "synthetic",
            "--tiles",
            "2",
            "--size",
            "64",
            "--features",
            "optical,dem",
            "--seed",
            seed,
            "-o",
            &place.at(name),
        ];
        let run = glavitu(&args.map(str::to_owned));
        assert_eq!(run.code, Some(0), "{}", run.err);
    }
    let (train, validation, output) = (place.at("train.hdf5"), place.at("validation.hdf5"), place.at("run"));
    let args = [
        "train",
        "--train",
        &train,
        "--validation",
        &validation,
        "--model-size",
        "tiny",
        "--epochs",
        "2",
        "--batch",
        "2",
        "--steps-per-epoch",
        "1",
        "--device",
        "cpu",
        "--report",
        "-o",
        &output,
    ];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let text = page(&place, "run/report.html");
    assert!(text.contains("<polyline") && text.contains("All epochs"));
    assert!(text.contains("learning_rate = "), "the settings");
}

#[test]
fn evaluations() {
    let place = Workplace::of_scene(96);
    assert_eq!(predict(&place, "result", &[]).code, Some(0));
    let run = |args: &[&str]| {
        let named = |arg: &&str| if arg.contains('/') || arg.contains('.') { place.at(arg) } else { (*arg).to_owned() };
        let args: Vec<String> = ["evaluate"].iter().chain(args).map(named).collect();
        glavitu(&args)
    };
    let scene = ["--predicted", "result/outlines.tif", "--reference", "scene/truth.tif"];
    let found = run(&[&scene[..], &["--background", "scene/optical.tif", "--report", "-o", "./scored"]].concat());
    assert_eq!(found.code, Some(0), "{}", found.err);
    let text = page(&place, "scored/report.html");
    let numbers: Value =
        serde_json::from_str(&fs::read_to_string(place.path("scored/evaluation.json")).expect("written"))
            .expect("JSON");
    let iou = numbers["iou"].as_f64().expect("an IoU");
    assert!(text.contains(&format!("<dd>{iou:.3}")), "the IoU {iou}");
    for words in ["Found (true positive)", "Too much (false positive)", "Missed (false negative)", "Confusion matrix"] {
        assert!(text.contains(words), "{words}");
    }

    let outlines = ["--predicted", "result/outlines.gpkg", "--reference", "scene/outlines.gpkg", "--distances"];
    let found = run(&[&outlines[..], &["--report", "-o", "./distances"]].concat());
    assert_eq!(found.code, Some(0), "{}", found.err);
    assert!(page(&place, "distances/report.html").contains("Hausdorff (m)"));

    let made = glavitu(
        &[
            "dataset",
            "synthetic",
            "--tiles",
            "3",
            "--size",
            "64",
            "--features",
            "optical,dem",
            "-o",
            &place.at("tiles.hdf5"),
        ]
        .map(str::to_owned),
    );
    assert_eq!(made.code, Some(0), "{}", made.err);
    let tiles = ["--model", "global.safetensors", "--dataset", "tiles.hdf5", "--group-by", "region"];
    let found = run(&[&tiles[..], &["--report", "-o", "./tiles"]].concat());
    assert_eq!(found.code, Some(0), "{}", found.err);
    let text = page(&place, "tiles/report.html");
    assert!(text.contains("IoU of glacier by region") && text.contains("Mean IoU by region"));

    // A report needs a folder.
    let found = run(&[&scene[..], &["--report"]].concat());
    assert_eq!(found.code, Some(2), "{}", found.err);
}

#[test]
fn files_of_an_earlier_run_do_not_stay() {
    let place = Workplace::of_scene(96);
    let first = predict(&place, "result", &["--tta", "--confidence-bands", "--report"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let there = |name: &str| place.path(&format!("result/{name}")).exists();
    let optional =
        ["entropy.tif", "mutual_information.tif", "standard_deviation.tif", "confidence_bands.gpkg", "report.html"];
    assert!(optional.into_iter().all(there));
    // The report of an evaluation must not take the map's place.
    let (map, truth, folder) = (place.at("result/outlines.tif"), place.at("scene/truth.tif"), place.at("result"));
    let evaluate = ["evaluate", "--predicted", &map, "--reference", &truth, "-o", &folder, "--report"];
    let run = glavitu(&evaluate.map(str::to_owned));
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.err.contains("the report of a map"), "{}", run.err);

    assert_eq!(predict(&place, "result", &[]).code, Some(0));
    assert!(!optional.into_iter().any(there));
}
