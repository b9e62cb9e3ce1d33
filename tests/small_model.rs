//! The model that ships: its size, and what it makes of mountains it has never seen.

mod program;

use std::path::Path;

use glavitu::model::{Weights, parameters};
use program::{Workplace, glavitu};
use serde_json::Value;

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/models/small.safetensors").display().to_string()
}

/// What `glavitu evaluate --dataset` finds on generated tiles, each of `side` pixels.
fn evaluate(tiles: usize, side: usize, seed: u64) -> Value {
    let place = Workplace::new();
    let file = place.at("tiles.hdf5");
    let [count, side, seed] = [tiles.to_string(), side.to_string(), seed.to_string()];
    let generate = ["dataset", "synthetic", "-o", &file, "--tiles", &count, "--size", &side, "--seed", &seed];
    let run =
        glavitu(&generate.into_iter().chain(["--features", "optical,dem"]).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(run.code, Some(0), "{}", run.err);
    let evaluate = ["evaluate", "--model", &model(), "--dataset", &file, "--device", "cpu", "--json"];
    let run = glavitu(&evaluate.map(str::to_owned));
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

#[test]
fn it_is_small_and_whole() {
    let bytes = std::fs::metadata(model()).expect("the model").len();
    assert!(bytes <= 4 << 20, "{bytes} bytes");
    let weights = Weights::load(model()).expect("the model");
    let values: usize = parameters(weights.config()).iter().map(glavitu::model::ParameterSpec::len).sum();
    assert!(values <= 1_500_000, "{values} parameters");
    assert!(weights.origin().contains("train"), "{}", weights.origin());
}

#[test]
fn it_maps_mountains_it_has_not_seen() {
    let found = evaluate(11, 256, 3_000_001);
    let iou = found["iou"].as_f64().expect("a score");
    println!("IoU {iou:.3} on 11 unseen tiles");
    assert!(iou >= 0.85, "{iou}");
}

#[test]
fn every_region_reaches_the_bound() {
    if std::env::var_os("GLAVITU_FULL").is_none() {
        println!("only in `make full`: 66 tiles take a minute or two");
        return;
    }
    let found = evaluate(66, 384, 4_000_001);
    let regions = found["regions"].as_object().expect("regions");
    assert_eq!(regions.len(), 11);
    for (region, iou) in regions {
        println!("{region}: IoU {iou}");
    }
    for (region, iou) in regions {
        assert!(iou.as_f64().is_some_and(|iou| iou >= 0.85), "{region}: {iou}");
    }
}

#[test]
fn tile_files_and_models_that_do_not_fit() {
    let place = Workplace::new();
    let missing = place.at("missing.hdf5");
    let run = |args: &[&str]| glavitu(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let refused = run(&["evaluate", "--model", &model(), "--dataset", &missing]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("missing.hdf5") && refused.err.lines().count() == 1, "{}", refused.err);
    let refused = run(&["evaluate", "--model", &model()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("--dataset"), "{}", refused.err);
    let refused = run(&["evaluate", "--model", &missing, "--dataset", &missing]);
    assert_eq!(refused.code, Some(2));
}
