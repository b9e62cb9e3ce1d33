//! `glavitu predict` with several members: symmetries, dropout, more models.

mod program;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use glavitu::cpu::CpuExecutor;
use glavitu::executor::{Arrays, Executor};
use glavitu::gpu::adapters;
use glavitu::graph::Source;
use glavitu::infer::symmetry::Symmetry;
use glavitu::model::network::{DropoutMask, LOCATION, OUTPUT, dropout_graph, inference_graph};
use glavitu::model::{Feature, Location, ModelConfig, Normalisation, Weights};
use glavitu::plan::PlanOptions;
use glavitu::raster::{Crs, Grid, Metadata, RasterFile, Window, write_bands, write_floats};
use glavitu::train::initialisation::initial_weights;
use program::{Run, Workplace, glavitu};
use serde_json::Value;

const UNCERTAINTY: [&str; 3] = ["entropy.tif", "mutual_information.tif", "standard_deviation.tif"];
/// Tiles of the models here.
const TILE: usize = 64;

fn grid(height: usize, width: usize) -> Grid {
    let transform = [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_180_000.0];
    Grid { width, height, transform, crs: Crs::from_epsg(32632).ok() }
}

/// Writes a scene: six optical bands, elevation and slope as functions of row and column.
fn write_scene(
    place: &Workplace,
    folder: &str,
    (height, width): (usize, usize),
    value: impl Fn(usize, usize, usize) -> f32,
) {
    let grid = grid(height, width);
    fs::create_dir_all(place.path(folder)).expect("made");
    let band = |n: usize| -> Vec<f32> { (0..grid.len()).map(|i| value(n, i / width, i % width)).collect() };
    let bands: Vec<Vec<f32>> = (0..6).map(band).collect();
    let named: Vec<(&str, &[f32])> = bands.iter().map(|band| ("band", band.as_slice())).collect();
    write_bands(place.path(folder).join("optical.tif"), &grid, &named, &[]).expect("written");
    for (n, name, scale) in [(6, "elevation.tif", 3000.0), (7, "slope.tif", 40.0)] {
        let values: Vec<f32> = band(n).iter().map(|v| v * scale).collect();
        write_floats(place.path(folder).join(name), &grid, &values, &Metadata::default()).expect("written");
    }
}

fn waves(n: usize, row: usize, col: usize) -> f32 {
    ((col * (n + 2) + row * (2 * n + 1)) as f32 / 23.0).sin().abs()
}

/// A folder with two models of different weights and a scene of waves.
fn workplace(height: usize, width: usize) -> Workplace {
    let place = Workplace::new();
    place.import("tiny_global.h5", "a.safetensors");
    let config = Weights::load(place.path("a.safetensors")).expect("a model").config().clone();
    assert_eq!(config.tile, TILE);
    let weights = initial_weights(&config, Normalisation::default(), 5).expect("weights");
    weights.save(place.path("b.safetensors")).expect("written");
    write_scene(&place, "scene", (height, width), waves);
    place
}

fn arguments(place: &Workplace, scene: &str, model: &str, output: &str, more: &[&str]) -> Vec<String> {
    let mut args = vec!["predict".to_owned(), "--model".into(), place.at(model)];
    for (option, name) in [("--optical", "optical"), ("--elevation", "elevation"), ("--slope", "slope")] {
        args.extend([option.to_owned(), place.at(&format!("{scene}/{name}.tif"))]);
    }
    args.extend(["-o".into(), place.at(output)]);
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    if !more.contains(&"--device") {
        args.extend(["--device".to_owned(), "cpu".into()]);
    }
    args
}

fn mapped(place: &Workplace, model: &str, output: &str, more: &[&str]) -> Run {
    mapped_scene(place, "scene", model, output, more)
}

fn mapped_scene(place: &Workplace, scene: &str, model: &str, output: &str, more: &[&str]) -> Run {
    let run = glavitu(&arguments(place, scene, model, output, more));
    assert_eq!(run.code, Some(0), "{}", run.err);
    run
}

fn refused(place: &Workplace, more: &[&str], parts: &[&str]) {
    let run = glavitu(&arguments(place, "scene", "a.safetensors", "refused", more));
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{more:?}: {}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    for part in parts {
        assert!(run.err.contains(part), "no '{part}' in: {}", run.err);
    }
    assert!(!place.path("refused").exists());
}

fn pixels(path: impl AsRef<Path>) -> Vec<f32> {
    let file = RasterFile::open(path).expect("a raster");
    file.read_window(0, file.grid().window()).expect("its pixels")
}

fn raster(place: &Workplace, folder: &str, name: &str) -> Vec<f32> {
    pixels(place.path(folder).join(name))
}

fn report(place: &Workplace, output: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(output).join("run.json")).expect("run.json")).expect("JSON")
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(0.0, f32::max)
}

fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p == 0.0 { 0.0 } else { -p * p.ln() / std::f64::consts::LN_2 };
    term(p) + term(1.0 - p)
}

/// Mean, entropy of the mean, mutual information and standard deviation of members' maps, by their definitions.
fn definition(members: &[Vec<f32>]) -> [Vec<f64>; 4] {
    let mut out = [(); 4].map(|()| Vec::new());
    let count = members.len() as f64;
    for i in 0..members[0].len() {
        let all: Vec<f64> = members.iter().map(|map| f64::from(map[i])).collect();
        let mean = all.iter().sum::<f64>() / count;
        let own = all.iter().map(|p| entropy(*p)).sum::<f64>() / count;
        let variance = all.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / count;
        for (out, value) in out.iter_mut().zip([mean, entropy(mean), entropy(mean) - own, variance.sqrt()]) {
            out.push(value);
        }
    }
    out
}

/// Holds the rasters of a prediction against the members' own maps: the mean and its entropy exactly; the others exactly where a pixel has one window,
/// else they are not less.
fn check_definition(place: &Workplace, folder: &str, members: &[Vec<f32>], is_one_window: bool) {
    let [mean, entropy, information, deviation] = definition(members);
    let found = |name: &str| raster(place, folder, name);
    let near = |found: &[f32], expected: &[f64], bound: f64, name: &str| {
        let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        println!("{folder}, {name}: {worst:.1e} from the definition");
        assert!(worst < bound, "{name}: {worst}");
    };
    near(&found("probability.tif"), &mean, 1e-6, "mean");
    near(&found("entropy.tif"), &entropy, 1e-5, "entropy");
    for (name, expected) in [("mutual_information.tif", &information), ("standard_deviation.tif", &deviation)] {
        let found = found(name);
        assert!(largest(&found) > 1e-3, "{name} says nothing");
        if is_one_window {
            near(&found, expected, 2e-6, name);
        } else {
            let below = found.iter().zip(expected).map(|(a, b)| b - f64::from(*a)).fold(0.0, f64::max);
            println!("{folder}, {name}: at most {below:.1e} below the maps' own");
            assert!(below < 2e-6, "{name}: {below}");
        }
    }
}

#[test]
fn an_ensemble_is_what_its_models_say() {
    for (side, name) in [(40, "one window"), (110, "many windows")] {
        let place = workplace(side, side);
        mapped(&place, "a.safetensors", "a", &[]);
        mapped(&place, "b.safetensors", "b", &[]);
        assert!(!place.path("a/entropy.tif").exists());
        mapped(&place, "a.safetensors", name, &["--ensemble", &place.at("b.safetensors")]);
        let maps = ["a", "b"].map(|folder| raster(&place, folder, "probability.tif"));
        assert!(furthest(&maps[0], &maps[1]) > 0.05, "the models say the same");
        check_definition(&place, name, &maps, side < TILE);
        // What is made of the mean is made of it as ever.
        let (mean, confidence) = (raster(&place, name, "probability.tif"), raster(&place, name, "confidence.tif"));
        let entropies = raster(&place, name, "entropy.tif");
        // Confidence clips probabilities to 1e-6.
        assert!(confidence.iter().zip(&entropies).all(|(c, h)| (1.0 - h - c).abs() < 3e-5));
        let classes = raster(&place, name, "outlines.tif");
        assert!(classes.iter().zip(&mean).all(|(class, p)| *class == f32::from(u8::from(*p > 0.5))));

        let report = report(&place, name);
        assert_eq!(report["members"]["count"], 2);
        assert_eq!(report["members"]["dropout"], Value::Null);
        let b = Weights::load(place.path("b.safetensors")).expect("a model");
        assert_eq!(report["members"]["ensemble"][0]["parameters_sha256"], b.parameters_sha256());
        for name in UNCERTAINTY {
            assert!(report["files"].as_array().expect("files").contains(&name.into()));
        }
        let average = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let found = &report["result"]["uncertainty"];
        for (key, file) in
            ["mean_entropy_bit", "mean_mutual_information_bit", "mean_standard_deviation"].iter().zip(UNCERTAINTY)
        {
            let expected = average(&raster(&place, name, file));
            assert!(found[*key].as_f64().is_some_and(|found| (found - expected).abs() < 1e-9), "{key}: {found}");
        }
    }
}

#[test]
fn a_model_twice_has_no_spread() {
    let place = workplace(100, 90);
    mapped(&place, "a.safetensors", "plain", &[]);
    mapped(&place, "a.safetensors", "twice", &["--ensemble", &place.at("a.safetensors"), &place.at("a.safetensors")]);
    for name in ["probability.tif", "confidence.tif", "outlines.tif"] {
        assert_eq!(raster(&place, "plain", name), raster(&place, "twice", name), "{name}");
    }
    for name in ["mutual_information.tif", "standard_deviation.tif"] {
        assert!(raster(&place, "twice", name).iter().all(|value| *value == 0.0), "{name}");
    }
    assert!(largest(&raster(&place, "twice", "entropy.tif")) > 0.1);
    assert_eq!(report(&place, "plain")["members"], Value::Null);
    assert!(report(&place, "plain")["result"]["uncertainty"].is_null());
}

#[test]
fn symmetric_scenes_have_symmetric_maps() {
    let side = 2 * TILE - 32;
    let place = workplace(side, side);
    // The distances from the two axes, and their sum and product: the same from all eight sides.
    write_scene(&place, "round", (side, side), |n, row, col| {
        let (a, b) = (row.abs_diff(side - 1 - row), col.abs_diff(side - 1 - col));
        let (n, sum, product) = (n as f32, (a + b) as f32, (a * b) as f32);
        (sum * (n + 2.0) / 40.0).sin().abs() * 0.6 + (product / (300.0 + 50.0 * n)).cos().abs() * 0.3
    });
    let asymmetry = |folder: &str, name: &str| {
        let map = raster(&place, folder, name);
        let turned = |symmetry: Symmetry| {
            let mut out = vec![0.0; map.len()];
            symmetry.turn(side, 1, &map, &mut out);
            furthest(&out, &map)
        };
        Symmetry::ALL.map(turned).into_iter().fold(0.0, f32::max)
    };
    mapped_scene(&place, "round", "a.safetensors", "plain", &[]);
    assert!(asymmetry("plain", "probability.tif") > 1e-3, "the network itself is symmetric");
    for batch in ["1", "8", "3"] {
        mapped_scene(&place, "round", "a.safetensors", batch, &["--tta", "--batch", batch]);
        for name in ["probability.tif", "entropy.tif", "mutual_information.tif", "standard_deviation.tif"] {
            let found = asymmetry(batch, name);
            println!("--batch {batch}, {name}: asymmetry {found:.1e}");
            assert!(found <= 1e-6, "{name}: {found}");
        }
        assert!(largest(&raster(&place, batch, "standard_deviation.tif")) > 1e-3);
        assert!(furthest(&raster(&place, "1", "probability.tif"), &raster(&place, batch, "probability.tif")) < 1e-5);
    }
    assert_eq!(report(&place, "8")["members"]["symmetries"], 8);
}

/// Turns the files instead of the windows.
#[test]
fn symmetries_are_those_of_turned_scenes() {
    for (side, name) in [(40, "one window"), (96, "many windows")] {
        let place = workplace(side, side);
        let members = Symmetry::ALL.map(|symmetry| {
            let folder = format!("turned {}", symmetry.number());
            let mut sources = vec![(0, 0); side * side];
            for row in 0..side {
                for col in 0..side {
                    let (r, c) = symmetry.turned(side, row, col);
                    sources[r * side + c] = (row, col);
                }
            }
            write_scene(&place, &folder, (side, side), |n, row, col| {
                let (row, col) = sources[row * side + col];
                waves(n, row, col)
            });
            let output = format!("map {}", symmetry.number());
            mapped_scene(&place, &folder, "a.safetensors", &output, &[]);
            let turned = raster(&place, &output, "probability.tif");
            let mut back = vec![f32::NAN; side * side];
            for (value, (row, col)) in turned.into_iter().zip(sources) {
                back[row * side + col] = value;
            }
            back
        });
        mapped(&place, "a.safetensors", name, &["--tta", "--batch", "5"]);
        check_definition(&place, name, &members, side < TILE);
    }
}

#[test]
fn dropout_by_seed_and_rate() {
    let place = workplace(100, 90);
    mapped(&place, "a.safetensors", "plain", &[]);
    let map = |output: &str, more: &[&str]| {
        mapped(&place, "a.safetensors", output, more);
        raster(&place, output, "probability.tif")
    };
    let plain = raster(&place, "plain", "probability.tif");
    // No rate, no difference; one run has no spread to tell of.
    let none = map("rate 0", &["--mc-dropout", "3", "--dropout-rate", "0"]);
    println!("rate 0: {:.1e} from the plain run", furthest(&none, &plain));
    assert!(furthest(&none, &plain) <= 1e-6);
    assert!(largest(&raster(&place, "rate 0", "standard_deviation.tif")) == 0.0);
    assert!(furthest(&map("once at 0", &["--mc-dropout", "1", "--dropout-rate", "0"]), &plain) <= 1e-6);
    assert!(!place.path("once at 0/standard_deviation.tif").exists());
    assert_eq!(report(&place, "once at 0")["members"]["dropout"]["runs"], 1);

    let first = map("first", &["--mc-dropout", "4"]);
    assert!(furthest(&first, &plain) > 1e-3);
    let deviation = raster(&place, "first", "standard_deviation.tif");
    assert!(deviation.iter().all(|value| *value > 0.0 && *value <= 0.5));
    assert_eq!(report(&place, "first")["members"]["dropout"]["rates"], serde_json::json!([0.1]));
    assert_eq!(map("given", &["--mc-dropout", "4", "--dropout-rate", "0.1", "--seed", "0"]), first);
    let other = map("other", &["--mc-dropout", "4", "--seed", "1"]);
    assert!(furthest(&other, &first) > 1e-4);
    let more = map("more", &["--mc-dropout", "4", "--dropout-rate", "0.5"]);
    assert!(furthest(&more, &plain) > furthest(&first, &plain));
    // Masks belong to windows and not to batches or parts.
    for batch in ["2", "3", "7"] {
        assert!(furthest(&map(batch, &["--mc-dropout", "4", "--batch", batch]), &first) <= 1e-5, "batch {batch}");
    }
    mapped(&place, "a.safetensors", "part", &["--mc-dropout", "4", "--window", "41,23,50,60"]);
    for name in ["probability.tif", "mutual_information.tif", "standard_deviation.tif"] {
        let whole = RasterFile::open(place.path("first").join(name)).expect("a raster");
        let expected = whole.read_window(0, Window { row: 41, col: 23, height: 50, width: 60 }).expect("its pixels");
        assert_eq!(raster(&place, "part", name), expected, "{name}");
    }
}

#[test]
fn all_together_and_resumed() {
    let place = workplace(400, 300);
    let more = ["--tta", "--mc-dropout", "2", "--seed", "3", "--batch", "4", "--ensemble", &place.at("b.safetensors")];
    let run = mapped(&place, "a.safetensors", "whole", &[&more[..], &["--json"]].concat());
    let report_of_run: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(report_of_run["members"]["count"], 2 * 8 * 2);
    let state = place.path("killed/.glavitu-work/state.json");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
        .args(arguments(&place, "scene", "a.safetensors", "killed", &more))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    while !state.exists() {
        assert!(child.try_wait().expect("a process").is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ends");
    // Members of other numbers are another map.
    for other in [&["--tta", "--mc-dropout", "2", "--seed", "4"][..], &["--tta"], &[]] {
        let args = arguments(&place, "scene", "a.safetensors", "killed", &[other, &["--resume"]].concat());
        let run = glavitu(&args);
        assert!(run.code == Some(2) && run.err.contains("other settings"), "{}", run.err);
    }
    mapped(&place, "a.safetensors", "killed", &[&more[..], &["--resume"]].concat());
    assert!(report(&place, "killed")["resumed_after_rows"].as_u64().is_some_and(|rows| rows > 0 && rows < 400));
    for name in ["outlines.tif", "probability.tif", "confidence.tif"].into_iter().chain(UNCERTAINTY) {
        let read = |folder: &str| fs::read(place.path(folder).join(name)).expect("a file");
        assert!(read("whole") == read("killed"), "{name}");
    }
}

#[test]
fn gaps_are_nodata_in_all_rasters() {
    let place = workplace(100, 90);
    // More than a window without data, and a pixel.
    write_scene(&place, "scene", (100, 90), |n, row, col| {
        if n == 1 && (row < 70 && col < 70 || (row, col) == (90, 80)) { f32::NAN } else { waves(n, row, col) }
    });
    mapped(&place, "a.safetensors", "gaps", &["--tta"]);
    let is_gap = |name: &str| raster(&place, "gaps", name).iter().map(|v| v.is_nan()).collect::<Vec<_>>();
    let expected = is_gap("probability.tif");
    assert_eq!(expected.iter().filter(|gap| **gap).count(), 4901);
    for name in UNCERTAINTY {
        assert_eq!(is_gap(name), expected, "{name}");
        let file = RasterFile::open(place.path("gaps").join(name)).expect("a raster");
        assert!(file.bands()[0].nodata.is_some_and(f64::is_nan));
    }
}

#[test]
fn manifests_have_members_too() {
    let place = workplace(70, 80);
    let list = "id,optical,elevation,slope\none,scene/optical.tif,scene/elevation.tif,scene/slope.tif\n";
    fs::write(place.path("scenes.csv"), list).expect("written");
    let run = |more: &[&str]| {
        let mut args = ["predict", "--device", "cpu", "--json", "--model"].map(str::to_owned).to_vec();
        args.extend([place.at("a.safetensors"), "--manifest".into(), place.at("scenes.csv")]);
        args.extend(["-o".into(), place.at("results")]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        let run = glavitu(&args);
        assert_eq!(run.code, Some(0), "{}", run.err);
        let summary: Value = serde_json::from_str(&run.out).expect("JSON");
        summary["scenes"][0]["status"].as_str().expect("a status").to_owned()
    };
    let members = ["--mc-dropout", "2", "--seed", "7"];
    assert_eq!([run(&members), run(&members)], ["done", "skipped"]);
    fs::remove_file(place.path("results/one/entropy.tif")).expect("removed");
    assert_eq!([run(&members), run(&members)], ["done", "skipped"]);
    assert_eq!(run(&["--mc-dropout", "2"]), "done");
    mapped(&place, "a.safetensors", "alone", &["--mc-dropout", "2"]);
    assert_eq!(raster(&place, "alone", "probability.tif"), raster(&place, "results/one", "probability.tif"));
}

#[test]
fn members_that_cannot_be() {
    let place = workplace(70, 70);
    for rate in ["1", "-0.1", "nan", "1.5"] {
        refused(&place, &["--mc-dropout", "2", &format!("--dropout-rate={rate}")], &["--dropout-rate", "below 1"]);
    }
    let config = Weights::load(place.path("a.safetensors")).expect("a model").config().clone();
    let save = |config: &ModelConfig, name: &str| {
        let weights = initial_weights(config, Normalisation::default(), 1).expect("weights");
        weights.save(place.path(name)).expect("written");
        place.at(name)
    };
    let other = save(&ModelConfig { tile: 128, ..config.clone() }, "tile.safetensors");
    refused(&place, &["--ensemble", &other], &["tile.safetensors", "tiles of 128 pixels", "tiles of 64 pixels"]);
    let features = vec![Feature::Optical, Feature::Dem, Feature::Thermal];
    let other = save(&ModelConfig { features, ..config.clone() }, "thermal.safetensors");
    refused(
        &place,
        &["--ensemble", &place.at("b.safetensors"), &other],
        &["thermal.safetensors", "optical, dem, thermal"],
    );
    refused(&place, &["--ensemble", &place.at("none.safetensors")], &["none.safetensors"]);
    refused(&place, &["--ensemble", &place.at("scene/optical.tif")], &["optical.tif"]);
    refused(&place, &["--ensemble", &place.at("b.safetensors"), "--region", "HMA"], &["--region", "without regions"]);
    for (more, part) in [
        (&["--mc-dropout", "0"][..], "--mc-dropout"),
        (&["--mc-dropout", "1001"], "--mc-dropout"),
        (&["--mc-dropout", "many"], "--mc-dropout"),
        (&["--dropout-rate", "0.2"], "--mc-dropout"),
        (&["--seed", "2"], "--mc-dropout"),
        (&["--ensemble"], "--ensemble"),
    ] {
        let run = glavitu(&arguments(&place, "scene", "a.safetensors", "refused", more));
        assert!(run.code == Some(2) && run.err.contains(part), "{more:?}: {}", run.err);
        assert!(!place.path("refused").exists());
    }
}

#[test]
fn models_with_and_without_regions() {
    let place = workplace(40, 40);
    place.import("tiny_region.h5", "region.safetensors");
    for region in ["HMA", "ALP"] {
        let alone = format!("alone {region}");
        mapped(&place, "region.safetensors", &alone, &["--region", region]);
        mapped(&place, "a.safetensors", "global", &[]);
        let maps = [&alone, "global"].map(|folder| raster(&place, folder, "probability.tif"));
        for (model, other) in [("region", "a"), ("a", "region")] {
            let output = format!("{model} {region}");
            let ensemble = place.at(&format!("{other}.safetensors"));
            mapped(&place, &format!("{model}.safetensors"), &output, &["--ensemble", &ensemble, "--region", region]);
            check_definition(&place, &output, &maps, true);
        }
    }
    assert!(
        furthest(&raster(&place, "alone HMA", "probability.tif"), &raster(&place, "alone ALP", "probability.tif"))
            > 1e-4
    );
}

#[test]
fn processors_agree() {
    let place = workplace(80, 70);
    let more = ["--tta", "--mc-dropout", "2", "--batch", "4", "--ensemble", &place.at("b.safetensors")];
    mapped(&place, "a.safetensors", "cpu", &more);
    let adapters = adapters();
    assert!(!adapters.is_empty(), "no GPU adapter found, not even a software one");
    for adapter in adapters {
        let device = format!("gpu:{}", adapter.index);
        mapped(&place, "a.safetensors", &device, &[&more[..], &["--device", &device]].concat());
        for name in ["probability.tif", "entropy.tif", "mutual_information.tif", "standard_deviation.tif"] {
            let worst = furthest(&raster(&place, "cpu", name), &raster(&place, &device, name));
            println!("{}, {name}: {worst:.1e} from the CPU", adapter.name);
            assert!(worst < 1e-4, "{name}: {worst}");
        }
    }
}

/// A model with regions and random inputs for one tile.
fn region_model() -> (ModelConfig, Weights, Arrays, Vec<DropoutMask>) {
    let place = Workplace::new();
    place.import("tiny_region.h5", "region.safetensors");
    let weights = Weights::load(place.path("region.safetensors")).expect("a model");
    let config = weights.config().clone();
    assert!(matches!(config.location, Location::Regions(_)));
    let (graph, masks) = dropout_graph(&config, 1).expect("a graph");
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    let inputs = graph.sources(Source::Input).map(|(_, tensor)| {
        let is_mask = masks.iter().any(|mask| mask.name == tensor.name);
        let mut value = || if is_mask { f32::from(u8::from(next() > 0.3)) / 0.7 } else { next() };
        (tensor.name.clone(), (0..tensor.shape.elements()).map(|_| value()).collect())
    });
    let inputs: Arrays = inputs.collect();
    (config, weights, inputs, masks)
}

#[test]
fn dropout_graphs_are_their_definition() {
    let (config, weights, inputs, masks) = region_model();
    let (graph, _) = dropout_graph(&config, 1).expect("a graph");
    let mut executor = CpuExecutor::new(&graph, &PlanOptions::default()).expect("a plan");
    executor.load(&weights).expect("its weights");
    let mut run = |inputs: &Arrays| executor.run(inputs).expect("runs").remove(OUTPUT).expect("an output");
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let mut values: HashMap<String, Vec<f64>> = inputs.iter().map(|(name, v)| (name.clone(), wide(v))).collect();
    values.extend(weights.tensors().iter().map(|(name, tensor)| (name.clone(), wide(&tensor.data))));
    let expected = graph.evaluate_reference(&values).expect("evaluates").remove(OUTPUT).expect("an output");
    let found = run(&inputs);
    let worst = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    println!("{worst:.1e} from the f64 definition");
    assert!(worst < 2e-5, "{worst}");

    // Ones drop nothing.
    let mut ones = inputs.clone();
    for mask in &masks {
        ones.insert(mask.name.clone(), vec![1.0; mask.values]);
    }
    let mut plain =
        CpuExecutor::new(&inference_graph(&config, 1).expect("a graph"), &PlanOptions::default()).expect("a plan");
    plain.load(&weights).expect("its weights");
    let expected = plain.run(&inputs).expect("runs").remove(OUTPUT).expect("an output");
    assert_eq!(run(&ones), expected);
    // Every place matters. What is dropped whole makes what comes before it void.
    for mask in &masks {
        let mut without = ones.clone();
        without.insert(mask.name.clone(), vec![0.0; mask.values]);
        assert!(furthest(&run(&without), &expected) > 1e-6, "{}", mask.name);
    }
    for (mask, input) in [("dropout.location", LOCATION), ("dropout.fusion.dem", "input.dem")] {
        let mut without = ones.clone();
        let change =
            |arrays: &mut Arrays| arrays.get_mut(input).expect("an input").iter_mut().for_each(|v| *v = 1.0 - *v);
        change(&mut without);
        assert!(furthest(&run(&without), &expected) > 1e-6, "{input}");
        without.get_mut(mask).expect("a mask").fill(0.0);
        let first = run(&without);
        change(&mut without);
        assert_eq!(run(&without), first, "{input}");
    }
}
