//! `glavitu calibrate` as a user runs it.

mod program;

use std::fs;
use std::path::Path;

use glavitu::evaluate::Calibrator;
use glavitu::raster::{Crs, Grid, Metadata, RasterFile, write_bytes, write_floats};
use program::{Run, Workplace, data, glavitu, shared};
use serde_json::Value;

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/models/small.safetensors").display().to_string()
}

fn run(args: &[&str]) -> Run {
    glavitu(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
}

/// Runs it and reads its report.
fn calibrate(place: &Workplace, args: &[&str]) -> Value {
    let run = run(&[&["calibrate", "-o", &place.at("c.json"), "--json"], args].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn tiles(place: &Workplace, name: &str, count: usize, side: usize, seed: u64) -> String {
    let file = place.at(name);
    let [count, side, seed] = [count.to_string(), side.to_string(), seed.to_string()];
    let args = ["dataset", "synthetic", "-o", &file, "--tiles", &count, "--size", &side, "--seed", &seed];
    let run = run(&[&args[..], &["--features", "optical,dem"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    file
}

fn number(report: &Value, part: &str, when: &str, name: &str) -> f64 {
    report[part][when][name].as_f64().unwrap_or_else(|| panic!("{part}, {when}, {name}: {report}"))
}

/// The model that ships was trained with a focal loss, which makes it less sure than it is right. Fitted to some mountains, scored on others.
#[test]
fn a_focal_model_says_how_often_it_is_right() {
    let place = Workplace::new();
    let is_full = std::env::var_os("GLAVITU_FULL").is_some();
    let (count, side) = if is_full { (66, 384) } else { (22, 256) };
    let validation = tiles(&place, "validation.hdf5", count, side, 5_000_001);
    let test = tiles(&place, "test.hdf5", count, side, 6_000_001);
    let model = model();
    let usual = ["--model", &model, "--validation", &validation, "--test", &test, "--device", "cpu"];
    let mut first = None;
    for method in ["kernel-ridge", "temperature", "isotonic"] {
        let report = calibrate(&place, &[&usual[..], &["--method", method]].concat());
        let ece = |part: &str, when: &str| number(&report, part, when, "ece_100");
        let [raw, fitted] = ["before", "after"].map(|when| ece("fitted", when));
        let [test_raw, test] = ["before", "after"].map(|when| ece("test", when));
        println!(
            "{method}: ECE of 100 bins {raw:.4} -> {fitted:.4} on {} pixels it was fitted to, {test_raw:.4} -> {test:.4} on {} others; {} monotone",
            report["fitted"]["before"]["samples"],
            report["test"]["before"]["samples"],
            if report["monotone"] == true { "is" } else { "is not" }
        );
        // The same raw confidences for all methods, to the last bit.
        let same = first.get_or_insert_with(|| report["fitted"]["before"].clone());
        assert_eq!(*same, report["fitted"]["before"]);
        assert!(report["monotone"] == true || method == "kernel-ridge", "{method}");
        assert!(raw >= 10.0 * fitted, "{method}: {raw} -> {fitted}");
        assert!(test_raw >= 10.0 * test, "{method} on other tiles: {test_raw} -> {test}");
        for measure in ["brier", "nll", "adaptive_ece_15"] {
            let [before, after] = ["before", "after"].map(|when| number(&report, "test", when, measure));
            assert!(after < before, "{method}: {measure} {before} -> {after}");
        }
    }
    let shown = run(&["info", &place.at("c.json")]);
    assert!(shown.code == Some(0) && shown.out.contains("points") && shown.out.contains("isotonic"), "{}", shown.out);
    let diagram = fs::read_to_string(place.path("c.svg")).expect("a diagram");
    assert!(diagram.contains("before, test data: ECE") && diagram.ends_with("</svg>\n"));
}

#[test]
fn tiles_can_be_held_out() {
    let place = Workplace::new();
    let validation = tiles(&place, "validation.hdf5", 4, 128, 7);
    let model = model();
    let usual = ["--model", &model, "--validation", &validation, "--device", "cpu"];
    let all = calibrate(&place, &usual);
    assert!(all["held_out"].is_null() && all["test"].is_null());
    let report = calibrate(&place, &[&usual[..], &["--hold-out", "0.25"]].concat());
    assert_eq!((&report["source"]["tiles_fitted"], &report["source"]["tiles_held_out"]), (&3.into(), &1.into()));
    let samples = |report: &Value, part: &str| report[part]["after"]["samples"].as_u64().expect("a number");
    assert_eq!(samples(&all, "fitted"), samples(&report, "fitted") + samples(&report, "held_out"));
    let out = run(&[&["calibrate", "-o", &place.at("d.json")], &usual[..], &["--hold-out", "0.25"]].concat()).out;
    assert!(out.contains("tiles held out") && !out.contains("not as good"), "{out}");
    // A region's own calibrator.
    let report = calibrate(&place, &[&usual[..], &["--regions", "ALP", "--method", "temperature"]].concat());
    assert!(samples(&report, "fitted") <= 128 * 128 && report["source"]["tiles_fitted"] == 1, "{report}");
    // A model with regions meets every patch twice; it counts once.
    let args = ["import", "keras", &data("tiny_region.h5").display().to_string(), "--features", "optical,dem", "-o"];
    let imported = run(&[&args[..], &[&place.at("region.safetensors")]].concat());
    assert_eq!(imported.code, Some(0), "{}", imported.err);
    let region = place.at("region.safetensors");
    let report = calibrate(&place, &["--model", &region, "--validation", &validation, "--device", "cpu"]);
    assert!(samples(&report, "fitted") <= 4 * 128 * 128, "{report}");
}

/// How often pixels of a confidence are right in [`table`].
fn chance(c: f64) -> f64 {
    0.5 + 0.5 * c.sqrt()
}

/// Ten thousand pixels whose class is right with a probability from 0.5 to 1.
fn table(place: &Workplace) -> String {
    let mut text = "confidence,correct\n".to_owned();
    for i in 0..10_000_u32 {
        let c = f64::from(i % 100) / 100.0 + 0.005;
        text += &format!("{c},{}\n", u32::from(f64::from(i / 100) / 100.0 < chance(c)));
    }
    fs::write(place.path("samples.csv"), text).expect("written");
    place.at("samples.csv")
}

#[test]
fn tables_of_other_programs() {
    let place = Workplace::new();
    let samples = table(&place);
    for (method, far) in [("isotonic", 0.011), ("kernel-ridge", 0.011), ("temperature", 0.05)] {
        let test = place.at("test.csv");
        fs::copy(&samples, &test).expect("copied");
        let report = calibrate(&place, &["--samples", &samples, "--test", &test, "--method", method]);
        assert_eq!(report["fitted"]["after"], report["test"]["after"]);
        let calibrator = Calibrator::load(place.path("c.json")).expect("a calibrator");
        assert!(calibrator.origin().contains("10000 pixels of samples.csv"), "{}", calibrator.origin());
        for c in [0.055, 0.255, 0.505, 0.905] {
            let found = calibrator.predict(c);
            assert!((found - chance(c)).abs() <= far, "{method}: {c} -> {found}");
        }
        assert_eq!(report["sha256"], calibrator.sha256());
        assert_eq!(report["temperature"].is_null(), method != "temperature");
    }
    let told = run(&["calibrate", "--samples", &samples, "-o", &place.at("c.json")]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    assert!(told.out.contains("ECE, 100 bins") && told.out.contains("On others it is not as good"), "{}", told.out);
    let written = fs::read_to_string(place.path("c.report.json")).expect("a report");
    assert!(written.contains("\"method\": \"isotonic\""));
    fs::write(place.path("few.csv"), "confidence,correct\n0.5,1\n0.6,0\n").expect("written");
    let told = run(&["calibrate", "--samples", &place.at("few.csv"), "-o", &place.at("few.json")]);
    assert!(told.code == Some(0) && told.err.contains("fitted to 2 pixels only"), "{}", told.err);
    // The published method may fall, and says so.
    let bent: String =
        (0..4000_u32).map(|i| format!("{},{}\n", f64::from(i % 97) / 100.0, u32::from(i % 97 < 40))).collect();
    fs::write(place.path("bent.csv"), format!("confidence,correct\n{bent}")).expect("written");
    let told =
        run(&["calibrate", "--samples", &place.at("bent.csv"), "--method", "kernel-ridge", "-o", &place.at("c.json")]);
    assert!(told.code == Some(0) && told.err.contains("falls by up to 1.0000"), "{}", told.err);
}

const SIDE: usize = 40;

fn grid() -> Grid {
    let crs = Crs::from_epsg(32611).expect("a registered code");
    Grid { width: SIDE, height: SIDE, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs: Some(crs) }
}

#[test]
fn a_mapped_scene_and_its_truth() {
    let place = Workplace::new();
    // Rows of a confidence each; wrong in every fourth column where it is low. Two pixels without a label and one without a class.
    let confidence: Vec<f32> = (0..SIDE * SIDE).map(|i| if i / SIDE < 20 { 0.25 } else { 0.75 }).collect();
    let mut classes: Vec<u8> = (0..SIDE * SIDE).map(|i| u8::from(i % SIDE < 20)).collect();
    let mut truth = classes.clone();
    for i in (0..SIDE * 20).filter(|i| i % 4 == 0) {
        truth[i] = 1 - truth[i];
    }
    (truth[0], truth[1], classes[2]) = (255, 255, 255);
    write_floats(place.path("confidence.tif"), &grid(), &confidence, &Metadata::default()).expect("written");
    write_bytes(place.path("outlines.tif"), &grid(), &classes, 255, &Metadata::default()).expect("written");
    write_bytes(place.path("truth.tif"), &grid(), &truth, 255, &Metadata::default()).expect("written");
    let [confidence, predicted, reference] = ["confidence.tif", "outlines.tif", "truth.tif"].map(|name| place.at(name));
    let usual = ["--confidence", &confidence, "--predicted", &predicted, "--reference", &reference];
    let report = calibrate(&place, &usual);
    assert_eq!(report["fitted"]["before"]["samples"], SIDE * SIDE - 3);
    let (low, wrong) = (20.0 * 40.0 - 3.0, 199.0);
    let expected = (low * (1.0 - wrong / low - 0.25_f64).abs() + 800.0 * 0.25) / (low + 800.0);
    assert!((number(&report, "fitted", "before", "ece_10") - expected).abs() < 1e-12, "{report}");
    assert!(number(&report, "fitted", "after", "ece_10") < 1e-12);

    // Pixels without a confidence are told by an evaluation, and refused if there are no others.
    let evaluate = |name: &str, more: &[&str]| {
        let confidence = place.at(name);
        let files = ["evaluate", "--predicted", &predicted, "--reference", &reference, "--confidence", &confidence];
        run(&[&files[..], more].concat())
    };
    let part: Vec<f32> = (0..SIDE * SIDE).map(|i| if i / SIDE < 30 { 0.5 } else { f32::NAN }).collect();
    write_floats(place.path("part.tif"), &grid(), &part, &Metadata::default()).expect("written");
    write_floats(place.path("nothing.tif"), &grid(), &[f32::NAN; SIDE * SIDE], &Metadata::default()).expect("written");
    let told = evaluate("part.tif", &[]);
    assert!(told.out.contains("400 pixels with a class and a label have no confidence"), "{}{}", told.out, told.err);
    let told: Value = serde_json::from_str(&evaluate("part.tif", &["--json"]).out).expect("JSON");
    assert_eq!(told["reliability"]["pixels_without_confidence"], 400);
    // A map of no ice has no area, not a negative one.
    write_bytes(place.path("bare.tif"), &grid(), &[0; SIDE * SIDE], 255, &Metadata::default()).expect("written");
    let told = run(&["evaluate", "--predicted", &place.at("bare.tif"), "--reference", &place.at("bare.tif")]);
    assert!(told.out.contains(" 0.00 km2") && !told.out.contains("-0.00"), "{}{}", told.out, told.err);
    let refused = evaluate("nothing.tif", &[]);
    assert!(refused.code == Some(2) && refused.err.contains("no confidence for any of 1597 pixels"), "{}", refused.err);

    let calibrated =
        Metadata { items: vec![("GLAVITU_CALIBRATION_SHA256".into(), "0123".into())], ..Metadata::default() };
    write_floats(place.path("again.tif"), &grid(), &[0.5; SIDE * SIDE], &calibrated).expect("written");
    let again = place.at("again.tif");
    let out = place.at("x.json");
    let refused =
        run(&["calibrate", "--confidence", &again, "--predicted", &predicted, "--reference", &reference, "-o", &out]);
    assert!(refused.code == Some(2) && refused.err.contains("calibrated"), "{}", refused.err);
    assert!(!place.path("x.json").exists());
}

/// The new kinds of calibrators map the confidence of a scene.
#[test]
fn predict_takes_every_kind() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "global.safetensors");
    place.scene("scene", 64);
    let samples = table(&place);
    let predict = |output: &str, more: &[&str]| {
        let [model, optical, elevation, output] =
            ["global.safetensors", "scene/optical.tif", "scene/elevation.tif", output].map(|name| place.at(name));
        let usual = ["predict", "--model", &model, "--optical", &optical, "--elevation", &elevation, "-o", &output];
        let run = run(&[&usual[..], &["--device", "cpu"], more].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        let file = RasterFile::open(Path::new(&output).join("confidence.tif")).expect("a raster");
        file.read_window(0, file.grid().window()).expect("values")
    };
    let raw = predict("raw", &[]);
    for method in ["temperature", "isotonic", "kernel-ridge"] {
        calibrate(&place, &["--samples", &samples, "--method", method]);
        let calibrator = Calibrator::load(place.path("c.json")).expect("a calibrator");
        let mapped = predict(method, &["--calibration", &place.at("c.json")]);
        for (raw, mapped) in raw.iter().zip(&mapped) {
            let expected = calibrator.predict(f64::from(*raw));
            // Compressed rasters are exact; the raw confidence was rounded to 32 bits.
            assert!((expected - f64::from(*mapped)).abs() < 1e-4, "{method}: {raw} -> {mapped}, not {expected}");
        }
    }
    // One of another model is taken, with a warning; one of this model without.
    let own = glavitu::model::Weights::load(place.path("global.safetensors")).expect("a model");
    for (hash, warns) in [("ef".repeat(32).as_str(), true), (own.parameters_sha256(), false)] {
        let calibrator = Calibrator::from_temperature(2.0, format!("10 pixels of tiles.hdf5, model {hash}"));
        calibrator.and_then(|c| c.save(place.path("c.json"))).expect("saved");
        let [model, optical, elevation, calibration, output] =
            ["global.safetensors", "scene/optical.tif", "scene/elevation.tif", "c.json", "other"]
                .map(|name| place.at(name));
        let usual = ["predict", "--model", &model, "--optical", &optical, "--elevation", &elevation, "-o", &output];
        let run = run(&[&usual[..], &["--device", "cpu", "--calibration", &calibration]].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert_eq!(run.err.contains("the calibrator was fitted to the model"), warns, "{}", run.err);
    }
}

#[test]
fn bad_inputs() {
    let place = Workplace::new();
    let samples = table(&place);
    fs::write(place.path("empty.csv"), "confidence,correct\n").expect("written");
    fs::write(place.path("wrong.csv"), "confidence,correct\n0.5,1\n2,0\n").expect("written");
    let [empty, wrong, missing, out] = ["empty.csv", "wrong.csv", "none.csv", "x.json"].map(|name| place.at(name));
    let model = model();
    let refused = |args: &[&str], expected: &str| {
        let run = run(&[&["calibrate"], args].concat());
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
        assert!(run.out.is_empty() && run.err.contains(expected), "{args:?}: {}", run.err);
        assert!(!place.path("x.json").exists() && !place.path("x.svg").exists());
        run.err.lines().count()
    };
    for (args, expected) in [
        (&["-o", &out][..], "nothing to fit to"),
        (&["--samples", &empty, "-o", &out], "no labelled pixel"),
        (&["--samples", &wrong, "-o", &out], "the confidence '2' in line 3"),
        (&["--samples", &missing, "-o", &out], "none.csv"),
        (&["--samples", &samples, "--test", &wrong, "-o", &out], "the confidence '2' in line 3"),
        (&["--samples", &samples, "--test", &samples, "-o", &out], "which it is fitted to"),
        (&["--samples", &samples, "--ridge", "per-bin", "-o", &out], "--method kernel-ridge"),
        (&["--samples", &samples, "-o", &samples], "a file that is read"),
        (&["--samples", &samples, "-o", &place.at("none/x.json")], "no folder"),
        (&["--samples", &samples, "-o", &place.at("x.svg")], "a report and a diagram"),
        (&["--model", &model, "--validation", &samples, "-o", &out], "samples.csv"),
        (&["--model", &model, "--validation", &missing, "-o", &out], "none.csv"),
        (&["--model", &samples, "--validation", &missing, "-o", &out], "samples.csv"),
        (&["--model", &model, "--validation", &missing, "--hold-out", "1", "-o", &out], "--hold-out 1"),
        (&["--confidence", &samples, "--predicted", &samples, "--reference", &samples, "-o", &out], "samples.csv"),
    ] {
        assert_eq!(refused(args, expected), 1, "{args:?}");
    }
    // What clap refuses takes more lines.
    refused(&["--samples", &samples, "--model", &model, "--validation", &missing, "-o", &out], "cannot be used with");
    refused(&["--model", &model, "-o", &out], "--validation");
    refused(&["--samples", &samples, "--method", "magic", "-o", &out], "magic");
    refused(&["--samples", &samples, "--hold-out", "0.5", "-o", &out], "cannot be used with");
}

/// The published calibrator goes through its points, as one without a ridge does.
#[test]
fn the_published_calibrator_has_no_ridge() {
    let Some(shared) = shared() else { return };
    let file = shared.join("data/calibrators/glavitu_global_softmax.pickle");
    let published = glavitu::evaluate::calibration_pickle::import_calibrator(&file).expect("imports");
    // The anchors are met exactly; with the ridges that the file names, its points would not be shares.
    assert!(published.predict(0.0).abs() < 1e-12 && (published.predict(1.0) - 1.0).abs() < 1e-12);
}
