//! Losses, gradients and optimiser steps against the published implementation in float64.
//!
//! `tests/data/*_training.safetensors` hold its results: `target`, `losses` of five steps on one batch, and gradients, parameters and
//! moving statistics of the first step under this program's names.

mod program;

use std::path::Path;

use glavitu::model::arrays::{NamedArray, read_arrays, write_arrays};
use program::{Run, Workplace, data, glavitu};

fn array<'a>(arrays: &'a [NamedArray], name: &str) -> &'a [f32] {
    &arrays.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no array {name}")).data
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Writes the batch of a model of the test data; `change` may spoil it.
fn write_batch(place: &Workplace, model: &str, change: impl Fn(&mut Vec<NamedArray>)) -> String {
    let mut arrays = read_arrays(data(&format!("{model}_inference.safetensors"))).expect("the inputs");
    arrays.retain(|a| a.name.starts_with("input."));
    let reference = read_arrays(data(&format!("{model}_training.safetensors"))).expect("the reference");
    arrays.extend(reference.into_iter().filter(|a| a.name == "target"));
    change(&mut arrays);
    let path = place.at("batch.safetensors");
    write_arrays(Path::new(&path), &arrays).expect("a file");
    path
}

fn backward(place: &Workplace, batch: &str, device: &str, exact: bool, output: &str) -> Run {
    let model = place.at("model.safetensors");
    let args = ["backward", "--model", &model, "--batch", batch, "--steps", "5", "--device", device, "-o", output];
    glavitu(&args.into_iter().chain(exact.then_some("--exact")).map(str::to_owned).collect::<Vec<_>>())
}

fn check(model: &str, device: &str, exact: bool) {
    let place = Workplace::new();
    place.import(&format!("{model}.h5"), "model.safetensors");
    let batch = write_batch(&place, model, |_| ());
    let output = place.at("gradients.safetensors");
    let run = backward(&place, &batch, device, exact, &output);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{model} on {device}");
    let found = read_arrays(&output).expect("the output");
    let expected = read_arrays(data(&format!("{model}_training.safetensors"))).expect("the reference");

    let losses = |arrays| array(arrays, "losses").iter().copied().map(f64::from).collect::<Vec<_>>();
    let errors: Vec<f64> = losses(&found).iter().zip(losses(&expected)).map(|(a, b)| ((a - b) / b).abs()).collect();
    assert_eq!(errors.len(), 15);
    let (first, all) =
        (errors[..3].iter().fold(0.0, |a: f64, &b| a.max(b)), errors.iter().fold(0.0, |a: f64, &b| a.max(b)));

    let gradients: Vec<&NamedArray> = expected.iter().filter(|a| a.name.starts_with("grad.")).collect();
    let norms: Vec<f64> = gradients.iter().map(|g| norm(g.data.iter().copied().map(f64::from))).collect();
    let largest = norms.iter().fold(0.0, |a: f64, &b| a.max(b));
    let mut relative = Vec::new();
    let mut parameter = 0.0_f64;
    for (gradient, norm_of) in gradients.iter().zip(norms) {
        let mine = array(&found, &gradient.name);
        assert_eq!(mine.len(), gradient.data.len(), "{}", gradient.name);
        // Some gradients are zero but for rounding: those of biases before a normalisation, for one.
        if norm_of >= 1e-7 * largest {
            let differences = mine.iter().zip(&gradient.data).map(|(a, b)| f64::from(*a) - f64::from(*b));
            relative.push(norm(differences) / norm_of);
        }
        let name = gradient.name.replacen("grad.", "param.", 1);
        for ((a, b), g) in array(&found, &name).iter().zip(array(&expected, &name)).zip(&gradient.data) {
            if g.abs() > 1e-5 {
                parameter = parameter.max(f64::from((a - b).abs()));
            }
        }
    }
    relative.sort_by(f64::total_cmp);
    let (median, worst) = (relative[relative.len() / 2], relative[relative.len() - 1]);
    let mut statistic = 0.0_f64;
    for reference in expected.iter().filter(|a| a.name.starts_with("stat.")) {
        for (a, b) in array(&found, &reference.name).iter().zip(&reference.data) {
            statistic = statistic.max(f64::from((a - b).abs()));
        }
    }
    println!(
        "{model} on {device}, exact {exact}: losses {first:.1e} first, {all:.1e} all; gradients {median:.1e} median, {worst:.1e} worst of {}; \
         parameters {parameter:.1e}; statistics {statistic:.1e}",
        relative.len()
    );
    assert!(first <= 2e-6 && all <= 5e-4, "losses off by {first:e} first, {all:e} all");
    assert!(median <= 2e-5 && worst <= 1e-2, "gradients off by {median:e} median, {worst:e} worst");
    assert!(parameter <= 2e-5 && statistic <= 1e-6, "parameters off by {parameter:e}, statistics by {statistic:e}");
}

#[test]
fn tiny_models_on_the_cpu() {
    for exact in [true, false] {
        check("tiny_global", "cpu", exact);
        check("tiny_region", "cpu", exact);
    }
}

#[test]
fn tiny_models_on_every_gpu() {
    let adapters = glavitu::gpu::adapters();
    assert!(!adapters.is_empty(), "no GPU adapter: on Debian, apt-get install mesa-vulkan-drivers");
    for adapter in adapters {
        for model in ["tiny_global", "tiny_region"] {
            for exact in [true, false] {
                check(model, &format!("gpu:{}", adapter.index), exact);
            }
        }
    }
}

#[test]
fn batches_that_do_not_fit() {
    type Change = fn(&mut Vec<NamedArray>);
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let spoil: [(Change, &str); 5] = [
        (|a| a.retain(|a| a.name != "target"), "no array target"),
        (|a| a.retain(|a| a.name != "input.dem"), "no array input.dem"),
        (|a| a[0].data[5] = f32::NAN, "NaN in"),
        (|a| a.iter_mut().filter(|a| a.name == "target").for_each(|a| a.data[7] = 1.5), "outside 0 to 1"),
        (
            |a| {
                for a in a.iter_mut().filter(|a| a.name == "target") {
                    a.shape[0] = 1;
                    a.data.truncate(64 * 64 * 2);
                }
            },
            "1 samples in target",
        ),
    ];
    for (change, message) in spoil {
        let batch = write_batch(&place, "tiny_global", change);
        let output = place.at("output.safetensors");
        let run = backward(&place, &batch, "cpu", true, &output);
        assert_eq!(run.code, Some(2), "{message}: {}", run.err);
        assert!(run.err.contains(message) && run.err.lines().count() == 1, "{message}: {}", run.err);
        assert!(!Path::new(&output).exists(), "{message}");
    }
}
