//! `glavitu backward`: losses, gradients and optimiser steps on one fixed batch.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::device_args::DeviceArgs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::error::Error;
use crate::executor::Arrays;
use crate::graph::Source;
use crate::model::arrays::{NamedArray, read_arrays, write_arrays};
use crate::model::{Weights, parameters};
use crate::train::graph::{Purpose, RATE, TARGET, training_graph};
use crate::train::{AdamSettings, Objective, TrainingStep};

/// Compute losses and gradients on one batch, and take optimiser steps.
///
/// Reads `input.optical`, `input.dem`, ... and, for models with a location, `input.location`, as `glavitu forward` does, and `target`
/// (N x tile x tile x 2): class probabilities, one-hot or smoothed; (0, 0) marks unlabelled pixels. Takes N steps of Adam on this batch
/// with the published objective, and writes `losses` (N x 3: deep supervision with its weight, output, total; each before its step) and,
/// of the first step, `grad.<name>`, `param.<name>` (parameters after it) and `stat.<name>` (moving statistics after it).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu backward --model global.safetensors --batch batch.safetensors -o gradients.safetensors
  glavitu backward --model global.safetensors --batch batch.safetensors --steps 5 --lr 5e-4 --device llvmpipe -o g.safetensors")]
pub struct BackwardArgs {
    /// The model
    #[arg(long, value_name = "MODEL.safetensors")]
    model: PathBuf,
    /// Inputs and target; all N samples are one batch
    #[arg(long, value_name = "BATCH.safetensors")]
    batch: PathBuf,
    /// Optimiser steps to take
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Learning rate
    #[arg(long = "lr", value_name = "RATE", default_value_t = 5e-4)]
    learning_rate: f64,
    #[command(flatten)]
    device: DeviceArgs,
    /// The file to write
    #[arg(short, long, value_name = "OUTPUT.safetensors")]
    output: PathBuf,
}

/// Runs `glavitu backward`.
///
/// # Errors
/// Files that do not fit together, or a device that fails.
pub fn run(args: &BackwardArgs) -> Result<()> {
    check_output(&args.output, &[&args.model, &args.batch])?;
    if !(args.learning_rate.is_finite() && args.learning_rate >= 0.0) {
        let found = format!("learning rate {}", args.learning_rate);
        return Err(Error::bad_argument(found, "a number from 0 on", "correct --lr").into());
    }
    let options = args.device.options_for_gradients()?;
    let weights = Weights::load(&args.model)?;
    let (batch, samples) = read_batch(args, &weights)?;
    let (objective, adam) = (Objective::default(), AdamSettings::default());
    let mut step =
        TrainingStep::with_gradients(weights.config(), samples, &objective, &adam, &args.device.device, &options)?;
    step.load(&weights)?;
    let mut results = Vec::new();
    let mut losses = Vec::new();
    for index in 0..args.steps {
        let (found, gradients) = step.run_with_gradients(&batch, args.learning_rate)?;
        losses.extend([found.deep_supervision, found.output, found.total].map(crate::train::objective::narrow));
        if !found.total.is_finite() {
            let node = step.first_non_finite(&batch)?.unwrap_or_else(|| "the loss".to_owned());
            let found = format!("a loss of {} at step {}, first at {node}", found.total, index + 1);
            return Err(Error::bad_file(&args.batch, found, "finite values", "check the inputs, or lower --lr").into());
        }
        if index == 0 {
            let named = |prefix: &str, name: &str, shape: &[usize], data: Vec<f32>| NamedArray {
                name: format!("{prefix}.{name}"),
                shape: shape.to_vec(),
                data,
            };
            results.extend(gradients.into_iter().map(|(spec, data)| named("grad", &spec.name, &spec.shape, data)));
            let after = step.weights()?;
            for (spec, (name, tensor)) in parameters(weights.config()).iter().zip(after.tensors()) {
                let prefix = if spec.trainable { "param" } else { "stat" };
                results.push(named(prefix, name, &tensor.shape, tensor.data.clone()));
            }
        }
    }
    print_line(format_args!(
        "loss {:.6} before the first step, {:.6} before the last",
        losses[2],
        losses[losses.len() - 1]
    ))?;
    results.insert(0, NamedArray { name: "losses".into(), shape: vec![args.steps as usize, 3], data: losses });
    write_arrays(&args.output, &results)?;
    Ok(())
}

/// The batch and its number of samples, checked against the model.
fn read_batch(args: &BackwardArgs, weights: &Weights) -> Result<(Arrays, usize)> {
    let wrong = |found: String, expected: String| {
        Error::bad_file(
            &args.batch,
            found,
            expected,
            "write the arrays this model takes; `glavitu info` lists its features",
        )
    };
    let arrays = read_arrays(&args.batch)?;
    let graph =
        training_graph(weights.config(), 1, &Objective::default(), &AdamSettings::default(), Purpose::Comparison)?;
    let mut batch = Arrays::new();
    let mut samples = None;
    for (_, tensor) in graph.sources(Source::Input).filter(|(_, t)| t.name != RATE) {
        let shape = &tensor.shape;
        let expected = format!("N x {}", shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join(" x "));
        let Some(array) = arrays.iter().find(|a| a.name == tensor.name) else {
            return Err(wrong(format!("no array {}", tensor.name), format!("one of {expected}")).into());
        };
        if array.shape.len() != shape.len() || array.shape[1..] != shape[1..] || array.shape[0] == 0 {
            return Err(wrong(format!("{} of shape {:?}", array.name, array.shape), expected).into());
        }
        if *samples.get_or_insert(array.shape[0]) != array.shape[0] {
            let found = format!("{} samples in {}", array.shape[0], array.name);
            return Err(wrong(found, "one N for all arrays".into()).into());
        }
        if let Some(bad) = array.data.iter().find(|v| !v.is_finite()) {
            return Err(wrong(format!("{bad} in {}", array.name), "finite values".into()).into());
        }
        if array.name == TARGET && array.data.iter().any(|v| !(0.0..=1.0).contains(v)) {
            return Err(wrong("class probabilities outside 0 to 1".into(), "probabilities in target".into()).into());
        }
        batch.insert(array.name.clone(), array.data.clone());
    }
    Ok((batch, samples.unwrap_or(1)))
}
