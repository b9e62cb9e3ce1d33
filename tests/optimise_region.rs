//! `glavitu optimise-region` on a generated scene.

mod program;

use program::{Run, Workplace, glavitu};
use serde_json::Value;

fn optimise(place: &Workplace, model: &str, output: &str, more: &str) -> Run {
    let (optical, elevation) = (place.at("scene/optical.tif"), place.at("scene/elevation.tif"));
    let args = ["optimise-region", "--model", &place.at(model), "--optical", &optical, "--elevation", &elevation];
    let output = place.at(output);
    let all = args.into_iter().chain(["--device", "cpu", "-o", &output]).chain(more.split_whitespace());
    glavitu(&all.map(str::to_owned).collect::<Vec<_>>())
}

fn json(place: &Workplace, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.path(name)).expect("a file")).expect("JSON")
}

#[test]
fn entropy_falls_and_predict_takes_the_vector() {
    let place = Workplace::new();
    place.import("tiny_region.h5", "model.safetensors");
    place.scene("scene", 96);
    let options = "--epochs 12 --patches 8 --batch 2 --lr 0.05";
    let run = optimise(&place, "model.safetensors", "region.json", options);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let fit = json(&place, "region.json");
    let numbers = |key: &str| -> Vec<f64> {
        fit[key].as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
    };
    let (vector, entropy) = (numbers("vector"), numbers("entropy"));
    println!("{vector:?} {entropy:?}");
    assert_eq!(vector.len(), fit["regions"].as_array().map_or(0, Vec::len));
    assert!((vector.iter().sum::<f64>() - 1.0).abs() < 1e-9 && vector.iter().all(|&w| w > 0.0));
    assert_eq!(entropy.len(), 12);
    assert!(entropy[11] < entropy[0]);
    // One seed, one result.
    assert_eq!(optimise(&place, "model.safetensors", "again.json", options).code, Some(0));
    assert_eq!(fit, json(&place, "again.json"));

    let scene = [place.at("scene/optical.tif"), place.at("scene/elevation.tif"), place.at("model.safetensors")];
    let (vector, result) = (place.at("region.json"), place.at("result"));
    let args = ["predict", "--optical", &scene[0], "--elevation", &scene[1], "--model", &scene[2], "--device", "cpu"];
    let all = args.into_iter().chain(["--region-vector", &vector, "-o", &result]);
    let run = glavitu(&all.map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn a_vector_at_rest_ends_the_search() {
    let place = Workplace::new();
    place.import("tiny_region.h5", "model.safetensors");
    place.scene("scene", 64);
    let run = optimise(&place, "model.safetensors", "region.json", "--patches 1 --lr 1e-7 --json");
    assert_eq!(run.code, Some(0), "{}", run.err);
    let fit = json(&place, "region.json");
    assert_eq!((fit["entropy"].as_array().map(Vec::len), fit["converged"].as_bool()), (Some(5), Some(true)));
    assert_eq!(serde_json::from_str::<Value>(&run.out).ok(), Some(fit));
}

#[test]
fn models_and_options_that_do_not_fit() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "global.safetensors");
    place.import("tiny_region.h5", "region.safetensors");
    place.scene("scene", 64);
    for (model, options, part) in [
        ("global.safetensors", "", "without a region vector"),
        ("region.safetensors", "--lr 0", "learning rate"),
        ("region.safetensors", "--patches 0", "patches"),
        ("none.safetensors", "", "none.safetensors"),
    ] {
        let run = optimise(&place, model, "region.json", options);
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(part) && !place.path("region.json").exists(), "{}", run.err);
    }
}
