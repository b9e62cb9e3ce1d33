//! The network through the program against the published implementation in float64.

mod program;

use std::path::Path;

use glavitu::model::arrays::{NamedArray, read_arrays, write_arrays};
use glavitu::raster::RasterFile;
use program::{Run, Workplace, data, glavitu, shared};

/// Softmax outputs in float32 may be this far from float64: with `--exact`, and with the fast algorithms.
const TOLERANCE: [(bool, f32); 2] = [(true, 2e-5), (false, 1e-4)];

fn forward(model: &str, inputs: &str, output: &str, device: &str, batch: usize) -> Run {
    forward_as(true, model, inputs, output, device, batch)
}

fn forward_as(exact: bool, model: &str, inputs: &str, output: &str, device: &str, batch: usize) -> Run {
    let args = ["forward", "--model", model, "--inputs", inputs, "-o", output, "--device", device, "--batch"];
    let batch = batch.to_string();
    let exact = exact.then_some("--exact");
    glavitu(&args.into_iter().chain([batch.as_str()]).chain(exact).map(str::to_owned).collect::<Vec<_>>())
}

fn array<'a>(arrays: &'a [NamedArray], name: &str) -> &'a NamedArray {
    arrays.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no array {name}"))
}

/// The largest difference; not a number anywhere counts as infinite.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    found.iter().zip(expected).map(difference).fold(0.0, f32::max)
}

/// Runs a small model of the test data on a device, in batches of one and two, exactly and fast, and compares both outputs.
fn check(model: &str, device: &str) {
    let place = Workplace::new();
    place.import(&format!("{model}.h5"), "model.safetensors");
    let inputs = data(&format!("{model}_inference.safetensors"));
    let expected = read_arrays(&inputs).expect("the reference");
    for (batch, (exact, tolerance)) in [(1, TOLERANCE[0]), (2, TOLERANCE[0]), (1, TOLERANCE[1])] {
        let output = place.at("output.safetensors");
        let run =
            forward_as(exact, &place.at("model.safetensors"), &inputs.display().to_string(), &output, device, batch);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{model} on {device}");
        let found = read_arrays(&output).expect("the output");
        assert_eq!(found.len(), 2);
        for name in ["deepsupervision", "output"] {
            let (found, expected) = (array(&found, name), array(&expected, &format!("inference.{name}")));
            assert_eq!(found.shape, expected.shape, "{name}");
            let worst = largest_difference(&found.data, &expected.data);
            println!("{model} on {device}, batch {batch}, exact {exact}, {name}: {worst:.1e}");
            assert!(worst <= tolerance, "{model} on {device}, batch {batch}, exact {exact}, {name}: {worst:e}");
        }
    }
}

#[test]
fn a_bound_on_memory_makes_batches_smaller() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let (model, inputs) = (place.at("model.safetensors"), data("tiny_global_inference.safetensors"));
    let plan = glavitu(&["plan", "--exact", "--json", "--model", &model].map(str::to_owned));
    let plan: serde_json::Value = serde_json::from_str(&plan.out).expect("JSON");
    let one = plan["peak_bytes"].as_u64().expect("a number");
    let run = |bytes: u64, output: &str| {
        let (inputs, output, bytes) = (inputs.display().to_string(), place.at(output), format!("{bytes}B"));
        let args = ["forward", "--model", &model, "--inputs", &inputs, "-o", &output, "--device", "cpu", "--exact"];
        glavitu(
            &args.iter().chain(&["--batch", "2", "--max-memory", &bytes]).map(|a| (*a).to_owned()).collect::<Vec<_>>(),
        )
    };
    for (bytes, output) in [(100 * one, "free.safetensors"), (one, "bounded.safetensors")] {
        let found = run(bytes, output);
        assert_eq!((found.code, found.err.as_str()), (Some(0), ""));
    }
    let found = |output: &str| read_arrays(place.path(output)).expect("the output");
    for (free, bounded) in found("free.safetensors").iter().zip(found("bounded.safetensors")) {
        let worst = largest_difference(&bounded.data, &free.data);
        assert!(worst <= TOLERANCE[0].1, "{}: {worst:e}", free.name);
    }
    let refused = run(1000, "none.safetensors");
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("--max-memory") && !place.path("none.safetensors").exists(), "{}", refused.err);
}

#[test]
fn tiny_global_on_the_cpu() {
    check("tiny_global", "cpu");
}

#[test]
fn tiny_region_on_the_cpu() {
    check("tiny_region", "cpu");
}

#[test]
fn tiny_models_on_every_gpu() {
    let adapters = glavitu::gpu::adapters();
    assert!(
        !adapters.is_empty(),
        "no GPU adapter, not even a software one: on Debian, apt-get install mesa-vulkan-drivers"
    );
    for adapter in adapters {
        for model in ["tiny_global", "tiny_region"] {
            check(model, &format!("gpu:{}", adapter.index));
        }
    }
}

#[test]
fn inputs_that_do_not_fit() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let whole: Vec<NamedArray> = read_arrays(data("tiny_global_inference.safetensors"))
        .expect("the reference")
        .into_iter()
        .filter(|a| a.name.starts_with("input."))
        .collect();
    let change = |name: &str, change: &dyn Fn(&mut NamedArray)| {
        let mut arrays = whole.clone();
        change(arrays.iter_mut().find(|a| a.name == name).expect("an input"));
        arrays
    };
    let cases = [
        (whole.iter().filter(|a| a.name != "input.dem").cloned().collect(), "an array input.dem"),
        (
            change("input.dem", &|a| a.shape = vec![a.shape[0], a.shape[1] / 2, a.shape[2] * 2, a.shape[3]]),
            "N x 64 x 64 x 2",
        ),
        (change("input.optical", &|a| a.shape = vec![a.data.len()]), "N x 64 x 64 x 6"),
        (change("input.optical", &|a| a.data[77] = f32::NAN), "NaN in input.optical"),
        (change("input.dem", &|a| a.data[5] = f32::INFINITY), "inf in input.dem"),
        (
            change("input.dem", &|a| {
                a.shape[0] = 1;
                a.data.truncate(64 * 64 * 2);
            }),
            "one N for all inputs",
        ),
    ];
    let (model, inputs, output) =
        (place.at("model.safetensors"), place.at("in.safetensors"), place.at("out.safetensors"));
    let refused = |parts: &[&str]| {
        let run = forward(&model, &inputs, &output, "cpu", 1);
        assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (Some(2), "", 1), "{}", run.err);
        assert!(run.err.starts_with("error: ") && run.err.contains("in.safetensors"), "{}", run.err);
        for part in parts {
            assert!(run.err.contains(part), "no '{part}' in: {}", run.err);
        }
        assert!(!Path::new(&output).exists());
    };
    for (arrays, part) in &cases {
        write_arrays(&inputs, arrays).expect("written");
        refused(&[part]);
    }
    std::fs::write(&inputs, "not safetensors at all").expect("written");
    refused(&[]);
    std::fs::remove_file(&inputs).expect("removed");
    refused(&["cannot read"]);
}

#[test]
fn files_that_are_read_are_never_replaced() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    std::fs::copy(data("tiny_global_inference.safetensors"), place.path("in.safetensors")).expect("copied");
    std::fs::copy(data("tiny_global.h5"), place.path("weights.h5")).expect("copied");
    std::fs::copy(data("calibrator.pickle"), place.path("c.pickle")).expect("copied");
    let (model, inputs) = (place.at("model.safetensors"), place.at("in.safetensors"));
    let keras = |output: String| {
        let args = ["import", "keras", &place.at("weights.h5"), "--features", "optical,dem", "-o", &output];
        glavitu(&args.map(str::to_owned))
    };
    let pickle = place.at("c.pickle");
    let runs = [
        ("in.safetensors", forward(&model, &inputs, &inputs, "cpu", 1)),
        ("model.safetensors", forward(&model, &inputs, &place.at("./model.safetensors"), "cpu", 1)),
        ("weights.h5", keras(place.at("weights.h5"))),
        ("c.pickle", glavitu(&["import", "calibration", &pickle, "-o", &pickle].map(str::to_owned))),
    ];
    for (name, run) in runs {
        assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (Some(2), "", 1), "{name}: {}", run.err);
        assert!(run.err.contains(name) && run.err.contains("found a file that is read"), "{}", run.err);
    }
    let same = |name: &str, original: &str| {
        assert!(std::fs::read(place.path(name)).ok() == std::fs::read(data(original)).ok(), "{name} has changed");
    };
    same("in.safetensors", "tiny_global_inference.safetensors");
    same("weights.h5", "tiny_global.h5");
    same("c.pickle", "calibrator.pickle");
}

#[test]
fn the_output_is_checked_before_the_work() {
    let place = Workplace::new();
    for (output, part) in [("none/o.safetensors", "no folder"), ("", "a folder")] {
        // Neither file exists: the output is what is complained of first.
        let run = forward(&place.at("m.safetensors"), &place.at("in.safetensors"), &place.at(output), "cpu", 1);
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(part), "{}", run.err);
    }
}

#[test]
fn results_that_are_not_numbers_are_told_of() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let mut arrays = read_arrays(data("tiny_global_inference.safetensors")).expect("the reference");
    arrays.retain(|a| a.name.starts_with("input."));
    for array in &mut arrays {
        array.data.fill(3e38);
    }
    write_arrays(place.path("in.safetensors"), &arrays).expect("written");
    let run = forward(&place.at("model.safetensors"), &place.at("in.safetensors"), &place.at("o"), "cpu", 2);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("WARN") && run.err.contains("values of output are not numbers"), "{}", run.err);
}

#[test]
fn files_without_the_inputs_are_described_briefly() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    write_arrays(place.path("empty"), &[]).expect("written");
    for (inputs, part) in [("empty", "found no arrays, expected"), ("model.safetensors", "conv2.bias, ..., expected")] {
        let run = forward(&place.at("model.safetensors"), &place.at(inputs), &place.at("o"), "cpu", 1);
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(part) && run.err.len() < 700, "{}", run.err);
    }
}

/// The folder with the full-size model, if it is there and `GLAVITU_FULL=1` asks for the long checks.
fn full() -> Option<std::path::PathBuf> {
    if std::env::var_os("GLAVITU_FULL").is_none_or(|value| value != "1") {
        println!("skipped: not asked for with GLAVITU_FULL=1");
        return None;
    }
    shared()
}

#[test]
fn published_size() {
    let Some(shared) = full() else { return };
    let place = Workplace::new();
    place.import_from(&shared.join("fixtures/full/random_global.h5"), "model.safetensors");
    let inputs = shared.join("fixtures/full/global_384_inference.safetensors");
    let output = place.at("output.safetensors");
    let expected = read_arrays(&inputs).expect("the reference");
    for (exact, tolerance) in TOLERANCE {
        let (model, inputs) = (place.at("model.safetensors"), inputs.display().to_string());
        let run = forward_as(exact, &model, &inputs, &output, "cpu", 1);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
        let found = read_arrays(&output).expect("the output");
        for name in ["deepsupervision", "output"] {
            let glacier: Vec<f32> = array(&found, name).data.chunks_exact(2).map(|p| p[1]).collect();
            let worst = largest_difference(&glacier, &array(&expected, &format!("inference_glacier.{name}")).data);
            println!("exact {exact}, {name}: {worst:.1e}");
            assert!(worst <= tolerance, "exact {exact}, {name}: {worst:e}");
        }
    }
}

fn raster(path: impl AsRef<Path>) -> Vec<Vec<f32>> {
    let file = RasterFile::open(path).expect("a raster");
    (0..file.bands().len()).map(|b| file.read_window(b, file.grid().window()).expect("its pixels")).collect()
}

#[test]
fn published_scene() {
    let Some(shared) = full() else { return };
    let place = Workplace::new();
    place.import_from(&shared.join("fixtures/full/random_global.h5"), "model.safetensors");
    let scene = shared.join("fixtures/scene_athabasca");
    let calibrator = std::fs::read_dir(shared.join("data/calibrators"))
        .expect("calibrators")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().ends_with("softmax.pickle")))
        .expect("a pickled calibrator");
    let import = ["import", "calibration", &calibrator.display().to_string(), "-o", &place.at("calibrator.json")];
    assert_eq!(glavitu(&import.map(str::to_owned)).code, Some(0));
    for (exact, tolerance) in [(true, 5e-4), (false, 2e-3)] {
        check_scene(&place, &scene, exact, tolerance);
    }
}

/// Maps the scene and compares probability, confidence and classes with the published tool's.
fn check_scene(place: &Workplace, scene: &Path, exact: bool, tolerance: f32) {
    let at = |name: &str| scene.join(name).display().to_string();
    let args = [
        "predict",
        "--device",
        "cpu",
        "--smoothing",
        "3",
        "--model",
        &place.at("model.safetensors"),
        "--calibration",
        &place.at("calibrator.json"),
        "--optical",
        &at("optical.tif"),
        "--elevation",
        &at("elevation.tif"),
        "--slope",
        &at("slope.tif"),
        "--assume-crs",
        "EPSG:32611",
        "-o",
        &place.at("result"),
    ];
    let run = glavitu(&args.into_iter().chain(exact.then_some("--exact")).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(run.code, Some(0), "{}", run.err);
    let one = |path: std::path::PathBuf| raster(path).swap_remove(0);
    let optical = raster(scene.join("optical.tif"));
    let (probability, expected) = (one(place.path("result/probability.tif")), one(scene.join("probability_f64.tif")));
    let (confidence, expected_confidence) =
        (one(place.path("result/confidence.tif")), one(scene.join("confidence.tif")));
    let (outlines, expected_outlines) = (one(place.path("result/outlines.tif")), one(scene.join("outlines_f64.tif")));
    let file = RasterFile::open(scene.join("optical.tif")).expect("a raster");
    let (width, height) = (file.grid().width, file.grid().height);
    let (mut worst, mut worst_confidence, mut valid, mut unequal, mut excused) = (0.0_f32, 0.0_f32, 0, 0, 0);
    for pixel in 0..width * height {
        if probability[pixel].is_nan() {
            continue;
        }
        assert!(optical.iter().all(|band| !band[pixel].is_nan()), "a gap of the input is one of the output");
        valid += 1;
        worst = worst.max((probability[pixel] - expected[pixel]).abs());
        worst_confidence = worst_confidence.max((confidence[pixel] - expected_confidence[pixel]).abs());
        if outlines[pixel] != expected_outlines[pixel] {
            let (row, col) = (pixel / width, pixel % width);
            let near = |at: usize, size: usize| at.saturating_sub(1)..=(at + 1).min(size - 1);
            // The median may tip where a probability is all but one half.
            let close =
                near(row, height).any(|r| near(col, width).any(|c| (expected[r * width + c] - 0.5).abs() < 1e-3));
            if close { excused += 1 } else { unequal += 1 }
        }
    }
    println!(
        "exact {exact}: {valid} of {} pixels: probability {worst:.1e}, confidence {worst_confidence:.1e}, {unequal} classes differ, {excused} more near 0.5",
        width * height
    );
    assert!(valid * 10 > width * height * 9);
    assert!(worst <= tolerance && worst_confidence <= 1e-2 && unequal == 0);
}

#[test]
fn raw_bands_of_the_scene() {
    let Some(shared) = full() else { return };
    let place = Workplace::new();
    place.import_from(&shared.join("fixtures/full/random_global.h5"), "model.safetensors");
    let folder = shared.join("data/athabasca");
    let mut bands: Vec<String> = std::fs::read_dir(&folder)
        .expect("the scene")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .filter(|path| path.ends_with(".tif") && !path.ends_with("_dem.tif"))
        .collect();
    bands.sort();
    assert_eq!(bands.len(), 6);
    let mut args = vec!["predict".to_owned(), "--optical".into()];
    args.extend(bands);
    args.extend(["--elevation".into(), folder.join("athabasca_dem.tif").display().to_string()]);
    args.extend(["--model".into(), place.at("model.safetensors"), "-o".into(), place.at("result")]);
    let run = glavitu(&args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let probability = raster(place.path("result/probability.tif")).swap_remove(0);
    let valid = probability.iter().filter(|p| !p.is_nan()).count();
    assert!(valid > 40_000 && valid < probability.len(), "{valid}");
    assert!(probability.iter().all(|p| p.is_nan() || (0.0..=1.0).contains(p)));
}
