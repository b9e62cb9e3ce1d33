//! `glavitu forward`: the network on raw arrays.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::cli::device_args::DeviceArgs;
use crate::cli::output_file::check_output;
use crate::error::Error;
use crate::executor::Arrays;
use crate::graph::{Graph, Source};
use crate::model::arrays::{NamedArray, read_arrays, write_arrays};
use crate::model::network::inference_graph;
use crate::model::{ModelConfig, Weights};
use crate::plan::MemorySize;

/// Run the network on raw arrays.
///
/// Reads `input.optical`, `input.dem`, ... (N x tile x tile x channels) and, for models with a location, `input.location`
/// (N x length) from a safetensors file: float32 or float64, normalised. Writes the class probabilities
/// `deepsupervision` and `output` (N x tile x tile x 2, class 1 is glacier).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu forward --model global.safetensors --inputs batch.safetensors -o probabilities.safetensors
  glavitu forward --model global.safetensors --inputs batch.safetensors -o p.safetensors --device llvmpipe")]
pub struct ForwardArgs {
    /// The model
    #[arg(long, value_name = "MODEL.safetensors")]
    model: PathBuf,
    /// The input arrays
    #[arg(long, value_name = "INPUTS.safetensors")]
    inputs: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUTPUTS.safetensors")]
    output: PathBuf,
    /// Samples computed at a time; more needs more memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    batch: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs `glavitu forward`.
///
/// # Errors
/// Files that do not fit together, or a device that fails.
pub fn run(args: &ForwardArgs) -> Result<()> {
    let start = Instant::now();
    check_output(&args.output, &[&args.model, &args.inputs])?;
    let weights = Weights::load(&args.model)?;
    let arrays = read_arrays(&args.inputs)?;
    let samples = check_inputs(args, weights.config(), &arrays)?;
    let mut results: Vec<NamedArray> = Vec::new();
    let mut executor = None;
    let mut loading = start.elapsed();
    let mut computing = Duration::ZERO;
    let batch = args.device.batch(args.batch, |batch| inference_graph(weights.config(), batch))?;
    for first in (0..samples).step_by(batch) {
        let count = batch.min(samples - first);
        // Shapes are static: a shorter last batch gets a graph of its own.
        // The one of the batches before goes first: two do not fit where one just fits.
        let kept = executor.take().filter(|(planned, _)| *planned == count);
        let mut current = match kept {
            Some((_, executor)) => executor,
            None => {
                let begin = Instant::now();
                let mut made = args.device.executor(&inference_graph(weights.config(), count)?)?;
                made.load(&weights)?;
                loading += begin.elapsed();
                made
            }
        };
        let slice = |a: &NamedArray| {
            let len = a.data.len() / samples;
            (a.name.clone(), a.data[first * len..(first + count) * len].to_vec())
        };
        let inputs: Arrays = arrays.iter().filter(|a| a.name.starts_with("input.")).map(slice).collect();
        let begin = Instant::now();
        let outputs = current.run(&inputs)?;
        computing += begin.elapsed();
        append(&current.plan().graph, samples, outputs, &mut results);
        executor = Some((count, current));
    }
    for result in &results {
        let wrong = result.data.iter().filter(|value| !value.is_finite()).count();
        if wrong > 0 {
            tracing::warn!(
                "{wrong} of {} values of {} are not numbers: the inputs may be far outside the normalised range of about 0 to 1",
                result.data.len(),
                result.name
            );
        }
    }
    write_arrays(&args.output, &results)?;
    if let Some((_, executor)) = executor {
        tracing::info!(
            "{samples} samples: loaded in {:.2} s, computed in {:.2} s; memory planned {:.1} MiB, allocated {:.1} MiB",
            loading.as_secs_f64(),
            computing.as_secs_f64(),
            MemorySize(executor.plan().peak_bytes()).mebibytes(),
            MemorySize(executor.allocated_bytes()).mebibytes()
        );
    }
    Ok(())
}

/// Adds a batch's outputs to the whole.
fn append(graph: &Graph, samples: usize, mut outputs: Arrays, results: &mut Vec<NamedArray>) {
    for (name, id) in graph.outputs() {
        let data = outputs.remove(name).unwrap_or_default();
        match results.iter_mut().find(|r| r.name == *name) {
            Some(result) => result.data.extend(data),
            None => {
                let shape = graph.shape(*id).with_batch(samples).to_vec();
                results.push(NamedArray { name: name.clone(), shape, data });
            }
        }
    }
}

/// Checks that the file holds every input of the model in one number of samples; gives that number.
fn check_inputs(args: &ForwardArgs, config: &ModelConfig, arrays: &[NamedArray]) -> Result<usize> {
    let wrong = |found: String, expected: String| {
        Error::bad_file(
            &args.inputs,
            found,
            expected,
            "write the arrays this model takes; `glavitu info` lists its features",
        )
    };
    let graph = inference_graph(config, 1)?;
    let mut samples = None;
    for (_, tensor) in graph.sources(Source::Input) {
        let shape = tensor.shape.to_vec();
        let Some(array) = arrays.iter().find(|a| a.name == tensor.name) else {
            return Err(wrong(listed(arrays), format!("an array {}", tensor.name)).into());
        };
        let expected = format!("N x {}", shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join(" x "));
        if array.shape.len() != shape.len() || array.shape[1..] != shape[1..] || array.shape[0] == 0 {
            return Err(wrong(format!("{} of shape {:?}", array.name, array.shape), expected).into());
        }
        if *samples.get_or_insert(array.shape[0]) != array.shape[0] {
            return Err(
                wrong(format!("{} samples in {}", array.shape[0], array.name), "one N for all inputs".into()).into()
            );
        }
        if let Some(bad) = array.data.iter().find(|v| !v.is_finite()) {
            return Err(wrong(format!("{bad} in {}", array.name), "finite values".into()).into());
        }
    }
    for array in arrays.iter().filter(|a| a.name.starts_with("input.")) {
        if !graph.sources(Source::Input).any(|(_, t)| t.name == array.name) {
            tracing::warn!("{} is not an input of this model and is ignored", array.name);
        }
    }
    Ok(samples.unwrap_or(0))
}

/// The names of the arrays of a file, for a message; cut after eight.
fn listed(arrays: &[NamedArray]) -> String {
    let names: Vec<&str> = arrays.iter().take(8).map(|a| a.name.as_str()).collect();
    match arrays.len() {
        0 => "no arrays".into(),
        1..=8 => format!("arrays {}", names.join(", ")),
        all => format!("{all} arrays {}, ...", names.join(", ")),
    }
}
