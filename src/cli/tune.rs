//! `glavitu tune`: measures kernel variants on an adapter and saves the fastest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueHint};

use crate::bench::statistics::quantile;
use crate::cli::model_size::SizeOption;
use crate::cli::output_file::check_output;
use crate::cli::{open_gpu, print_line};
use crate::error::{self, Error};
use crate::gpu::Gpu;
use crate::gpu::single::SingleOperator;
use crate::gpu::slices::slices;
use crate::graph::{Graph, Operator, Shapes, Tuning};
use crate::model::Weights;
use crate::model::network::inference_graph;
use crate::ops::Fill;
use crate::ops::case_values::{Random, nmse};
use crate::plan::{Plan, PlanOptions, Target};
use crate::train::graph::{Purpose, training_graph};
use crate::train::{AdamSettings, Objective};
use crate::tuning_file::{Choice, TuningFile, default_path};

/// Measure which kernel variants are fastest on this adapter, and use them from now on.
///
/// Operators with several ways to compute are timed on the network's shapes. The fastest are saved in the user's folder for caches, for this
/// adapter and driver; predict, train and the others take them from there. Nothing depends on it: without, a fixed table decides. After an
/// update of the driver the file is ignored, with a warning. GLAVITU_TUNING=off ignores it, GLAVITU_TUNING=FILE takes another. On a software
/// adapter the published network takes a quarter of an hour.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu tune
  glavitu tune --train --device nvidia
  glavitu tune --model own.safetensors
  glavitu tune --size small --file here.json && GLAVITU_TUNING=here.json glavitu predict ...
  glavitu tune --reset")]
pub struct TuneArgs {
    /// auto, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`); auto takes a software adapter where there is no GPU
    #[arg(long, default_value = "auto")]
    device: String,
    /// The network
    #[arg(long, value_enum, default_value = "paper")]
    size: SizeOption,
    /// A model whose shapes are measured instead of those of --size
    #[arg(long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath, conflicts_with = "size")]
    model: Option<PathBuf>,
    /// Measure the shapes of a training step, too
    #[arg(long)]
    train: bool,
    /// Tiles of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    batch: usize,
    /// Runs of each variant
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Save here instead of in the user's folder for caches
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Forget what was saved for this adapter
    #[arg(long, conflicts_with_all = ["size", "model", "train", "batch", "runs", "json"])]
    reset: bool,
    /// Print what is saved as JSON
    #[arg(long)]
    json: bool,
}

/// A variant has to save this share of the usual one's time; less may be noise.
const WORTH: f64 = 0.03;

/// A variant whose first run takes so many times as long as another's is given up.
const HOPELESS: f64 = 3.0;

/// How far two variants may be apart (NMSE): that of Winograd's against the direct form.
const SAME: f64 = 1e-5;

/// Runs `glavitu tune`.
///
/// # Errors
/// No adapter, a file that cannot be written, or a device that fails.
pub fn run(args: &TuneArgs) -> Result<()> {
    let gpu = open_gpu::open(&args.device)?;
    let file =
        args.file.clone().or_else(|| default_path(&gpu.summary)).ok_or_else(|| {
            Error::bad_argument("no folder for caches", "a home directory", "name a file with --file")
        })?;
    if args.file.is_some() {
        check_output(&file, &[])?;
    }
    if args.reset {
        return reset(&file);
    }
    if !args.json {
        print_line(format_args!("variants on {}", gpu.describe()))?;
    }
    let config = match &args.model {
        Some(model) => Weights::load(model)?.config().clone(),
        None => args.size.config(),
    };
    let mut work = vec![inference_graph(&config, args.batch)?];
    if args.train {
        let (objective, adam) = (Objective::default(), AdamSettings::default());
        work.push(training_graph(&config, args.batch, &objective, &adam, Purpose::Training)?);
    }
    let mut choices: Vec<Choice> = Vec::new();
    for (operator, shapes) in tunable(&gpu, &work)? {
        let choice = measure(&gpu, operator.as_ref(), &shapes, args.runs)?;
        if !args.json {
            print_line(line(operator.as_ref(), &shapes, &choice))?;
        }
        choices.push(choice);
    }
    let changed = choices.iter().filter(|choice| choice.variant != choice.usual).count();
    let all = choices.len();
    let tuned = TuningFile::new(&gpu.summary, choices);
    tuned.save(&file)?;
    if args.json {
        return print_line(serde_json::to_string_pretty(&tuned)?);
    }
    print_line(format_args!("{changed} of {all} differ from the usual ones; saved in {}", file.display()))
}

fn reset(file: &std::path::Path) -> Result<()> {
    match fs::remove_file(file) {
        Ok(()) => print_line(format_args!("removed {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            print_line(format_args!("nothing was saved in {}", file.display()))
        }
        Err(error) => Err(Error::io("remove", file, error).into()),
    }
}

/// Every operator with more than one variant, once for each of its shapes.
fn tunable(gpu: &Gpu, graphs: &[Graph]) -> error::Result<Vec<(Arc<dyn Operator>, Shapes)>> {
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    for graph in graphs {
        let plan = Plan::new(graph, &Target::Gpu(gpu.caps.clone()), &PlanOptions::default())?;
        for step in plan.prepare.iter().chain(&plan.steps) {
            let node = &plan.graph.nodes()[step.node];
            let operator = node.operator.as_ref();
            for slice in slices(&node.name, operator, &plan.graph.shapes(node), &plan.graph.storage(node), &gpu.caps)? {
                let has_choice = operator.variants(&slice.shapes, &gpu.caps).len() > 1;
                if has_choice && known.insert(Tuning::key(operator, &slice.shapes)) {
                    found.push((Arc::clone(&node.operator), slice.shapes));
                }
            }
        }
    }
    Ok(found)
}

/// Times the variants by turns, those that give the usual one's results.
fn measure(gpu: &Gpu, operator: &dyn Operator, shapes: &Shapes, runs: u32) -> error::Result<Choice> {
    let mut random = Random::new(1);
    let inputs: Vec<Vec<f32>> = shapes.inputs.iter().map(|shape| random.fill(shape, Fill::Signed)).collect();
    let offered = operator.variants(shapes, &gpu.caps);
    let usual = offered.first().copied().unwrap_or_default();
    let devices: Vec<(&str, Gpu)> = offered
        .iter()
        .map(|&variant| {
            let mut gpu = gpu.clone();
            // What is usual is what happens without a choice.
            if variant != usual {
                gpu.caps = gpu.caps.with_variant(operator, shapes, variant);
            }
            (variant, gpu)
        })
        .collect();
    let mut running = Vec::new();
    let mut expected: Vec<Vec<f64>> = Vec::new();
    let mut fastest = f64::INFINITY;
    for (variant, gpu) in &devices {
        let single = SingleOperator::new(gpu, operator, shapes, 0)?;
        single.write(&inputs);
        single.run()?;
        let found = single.read()?;
        if *variant == usual {
            expected = found.iter().map(|output| output.iter().copied().map(f64::from).collect()).collect();
        } else if let Some(worst) = differing(&found, &expected) {
            tracing::warn!("{} {variant} is off by {worst:.1e} on this adapter and not taken", operator.name());
            continue;
        }
        let first = timed(&single)?;
        fastest = fastest.min(first);
        running.push((*variant, single, vec![first]));
    }
    running.retain(|(_, _, times)| times[0] <= HOPELESS * fastest);
    for _ in 1..runs {
        for (_, single, times) in &mut running {
            times.push(timed(single)?);
        }
    }
    let seconds: BTreeMap<String, f64> =
        running.into_iter().map(|(variant, _, times)| (variant.to_owned(), quantile(&times, 0.5))).collect();
    let of_usual = seconds.get(usual).copied().unwrap_or(f64::INFINITY);
    let best = seconds.iter().min_by(|a, b| a.1.total_cmp(b.1));
    let variant = best.filter(|(_, time)| **time < (1.0 - WORTH) * of_usual).map_or(usual, |(name, _)| name);
    Ok(Choice { key: Tuning::key(operator, shapes), variant: variant.to_owned(), usual: usual.to_owned(), seconds })
}

/// The largest error against other results, if it is more than rounding.
fn differing(found: &[Vec<f32>], expected: &[Vec<f64>]) -> Option<f64> {
    let errors = found.iter().zip(expected).map(|(found, expected)| nmse(found, expected));
    errors.max_by(f64::total_cmp).filter(|worst| *worst > SAME)
}

/// Seconds of one run, by the device's clock where it has one.
fn timed(single: &SingleOperator<'_>) -> error::Result<f64> {
    Ok(single.time()?.seconds.iter().sum())
}

fn line(operator: &dyn Operator, shapes: &Shapes, choice: &Choice) -> String {
    let shapes = shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let times = choice.seconds.iter().map(|(name, seconds)| format!("{name} {:.3} ms", 1e3 * seconds));
    let times = times.collect::<Vec<_>>().join(", ");
    let taken = if choice.variant == choice.usual { "as usual" } else { "instead of the usual" };
    let usual = if choice.variant == choice.usual { "" } else { &choice.usual };
    format!("{} {shapes}: {times}: {} {taken} {usual}", operator.name(), choice.variant).trim_end().to_owned()
}
