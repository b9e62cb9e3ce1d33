//! `glavitu plan`: what a run would do and hold, known before anything runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use comfy_table::Table;
use serde::Serialize;

use crate::atomic_file::StagedFiles;
use crate::cli::device_args::PrecisionOption;
use crate::cli::model_size::SizeOption;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::device;
use crate::error;
use crate::gpu::slices::slices;
use crate::graph::{Caps, Graph};
use crate::model::network::inference_graph;
use crate::model::{ModelConfig, Weights};
use crate::plan::{MemorySize, Plan, PlanOptions, Step, Target};
use crate::train::graph::{Purpose, training_graph};
use crate::train::{AdamSettings, Objective};

/// Show the plan of a run: steps, kernels, work, and memory with its peak.
///
/// No device is needed: the plan is for the CPU, or for a GPU with no more than WebGPU promises, unless --device names one. What the plan
/// says a run holds is what it takes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu plan
  glavitu plan --train --batch 8 --max-memory 4GiB
  glavitu plan --model global.safetensors --target gpu --json -o plan.json")]
pub struct PlanArgs {
    /// The model; without one, the network of --size
    #[arg(long, value_name = "MODEL.safetensors", conflicts_with = "size", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// The network
    #[arg(long, alias = "model-size", value_enum, default_value = "paper")]
    size: SizeOption,
    /// Side of a tile in pixels, a multiple of 16; the network's own if not given
    #[arg(long, value_name = "PIXELS")]
    tile: Option<usize>,
    /// Tiles of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    batch: usize,
    /// The plan of a training step instead of inference
    #[arg(long)]
    train: bool,
    /// Hold no more than this, as in 4GiB or 500MB; what does not fit is computed again
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<MemorySize>,
    /// What to plan for
    #[arg(long, value_enum, default_value = "cpu", conflicts_with = "device")]
    target: TargetOption,
    /// Plan for this device: auto, cpu, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`)
    #[arg(long)]
    device: Option<String>,
    /// Take convolutions in their direct form, which rounds less and takes longer
    #[arg(long)]
    exact: bool,
    /// How weights and activations are stored; f16 is for inference on a GPU
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionOption,
    /// Print JSON for programs to read
    #[arg(long)]
    json: bool,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TargetOption {
    /// The native code
    Cpu,
    /// A GPU with the limits that WebGPU promises
    Gpu,
}

/// Most tensors that are listed.
const LARGEST: usize = 12;

/// Everything that is told of a plan. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct Report {
    purpose: &'static str,
    target: &'static str,
    batch: usize,
    tile: usize,
    peak_bytes: u64,
    weight_bytes: u64,
    prepared_bytes: u64,
    slot_bytes: u64,
    result_bytes: u64,
    /// The most bytes alive in the slots at one time: no plan of these steps needs less for them.
    alive_bytes: u64,
    /// The step at which they are.
    peak_step: String,
    flop: u64,
    /// The work that is done a second time to need less memory.
    repeated_flop: u64,
    /// Why the plan cannot run on the target, if it cannot.
    refused: Option<String>,
    largest: Vec<Tensor>,
    prepared: Vec<Row>,
    steps: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    bytes: u64,
    /// Whether it is alive at the peak.
    at_peak: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    node: String,
    operator: &'static str,
    /// The kernels in the order they are launched; none on the CPU.
    kernels: Vec<&'static str>,
    flop: u64,
    /// Bytes that must at least move.
    bytes: u64,
    /// Bytes alive in the slots.
    alive_bytes: u64,
    in_place: bool,
    /// Whether it makes again what was dropped to need less memory.
    again: bool,
}

/// Runs `glavitu plan`.
///
/// # Errors
/// A model or bound that cannot be, a device that does not exist, or a file that cannot be written.
pub fn run(args: &PlanArgs) -> Result<()> {
    if let Some(output) = &args.output {
        check_output(output, &args.model.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    }
    let mut config = match &args.model {
        Some(model) => Weights::load(model)?.config().clone(),
        None => args.size.config(),
    };
    config.tile = args.tile.unwrap_or(config.tile);
    let target = match (&args.device, args.target) {
        (Some(device), _) => device::target(device)?,
        (None, TargetOption::Cpu) => Target::Cpu,
        (None, TargetOption::Gpu) => Target::Gpu(Caps::default()),
    };
    let graph = graph(&config, args)?;
    let max_memory = args.max_memory.map(|size| size.0);
    let options = PlanOptions { exact: args.exact, max_memory, precision: args.precision.precision() };
    let report = report(args, &config, &target, &Plan::new(&graph, &target, &options)?)?;
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { table(&report)? };
    let Some(output) = &args.output else { return print_line(text) };
    let mut staged = StagedFiles::new();
    staged.stage_bytes(output, format!("{text}\n").as_bytes())?;
    Ok(staged.publish()?)
}

fn graph(config: &ModelConfig, args: &PlanArgs) -> error::Result<Graph> {
    if args.train {
        let (objective, adam) = (Objective::default(), AdamSettings::default());
        return training_graph(config, args.batch, &objective, &adam, Purpose::Training);
    }
    inference_graph(config, args.batch)
}

fn report(args: &PlanArgs, config: &ModelConfig, target: &Target, plan: &Plan) -> Result<Report> {
    let mut refused = None;
    let mut rows = |steps: &[Step], alive: &[usize]| -> error::Result<Vec<Row>> {
        let all = steps.iter().zip(alive);
        all.map(|(step, &floats)| row(plan, target, step, floats, &mut refused)).collect()
    };
    let (prepared, steps) = (rows(&plan.prepare, &plan.alive_in_preparation)?, rows(&plan.steps, &plan.alive)?);
    let peak = (0..plan.steps.len()).max_by_key(|&i| (plan.alive[i], std::cmp::Reverse(i))).unwrap_or(0);
    let at_peak = plan.alive_tensors(peak);
    let largest = plan.largest_tensors(LARGEST).into_iter().map(|(id, bytes)| {
        let tensor = &plan.graph.tensors()[id.index()];
        Tensor { name: format!("{} ({})", tensor.name, tensor.shape), bytes, at_peak: at_peak.contains(&id) }
    });
    let flop = steps.iter().map(|row| row.flop).sum();
    Ok(Report {
        purpose: if args.train { "training" } else { "inference" },
        target: if *target == Target::Cpu { "cpu" } else { "gpu" },
        batch: args.batch,
        tile: config.tile,
        peak_bytes: plan.peak_bytes(),
        weight_bytes: 4 * plan.parameter_floats as u64,
        prepared_bytes: 4 * plan.prepared_floats as u64,
        slot_bytes: plan.slot_bytes(),
        result_bytes: 4 * plan.result_floats as u64,
        alive_bytes: 4 * plan.lower_bound_floats as u64,
        peak_step: plan.steps.get(peak).map_or_else(String::new, |s| plan.graph.nodes()[s.node].name.clone()),
        flop,
        repeated_flop: steps.iter().filter(|row| row.again).map(|row| row.flop).sum(),
        refused,
        largest: largest.collect(),
        prepared,
        steps,
    })
}

fn row(plan: &Plan, target: &Target, step: &Step, alive: usize, refused: &mut Option<String>) -> error::Result<Row> {
    let node = &plan.graph.nodes()[step.node];
    let shapes = plan.graph.shapes(node);
    let mut kernels = Vec::new();
    if let Target::Gpu(caps) = target {
        match slices(&node.name, node.operator.as_ref(), &shapes, &plan.graph.storage(node), caps) {
            Ok(slices) => {
                for slice in slices {
                    kernels.extend(step.launches(node, &slice.shapes, caps)?.iter().map(|launch| launch.kernel.name));
                }
            }
            Err(error) => drop(refused.get_or_insert(error.to_string())),
        }
    }
    let cost = node.operator.cost(&shapes);
    Ok(Row {
        node: node.name.clone(),
        operator: node.operator.name(),
        kernels,
        flop: cost.flop,
        bytes: cost.bytes,
        alive_bytes: 4 * alive as u64,
        in_place: step.in_place.is_some(),
        again: step.again,
    })
}

/// What the steps of one operator, or of one kernel of it, come to.
#[derive(Debug, Default)]
struct Sum {
    kernels: Vec<&'static str>,
    steps: usize,
    launches: usize,
    in_place: usize,
    again: usize,
    flop: u64,
    bytes: u64,
}

/// The report as text.
fn table(report: &Report) -> Result<String> {
    let mib = |bytes: u64| format!("{:.1}", MemorySize(bytes).mebibytes());
    let gflop = |flop: u64| format!("{:.1}", flop as f64 / 1e9);
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for row in report.prepared.iter().chain(&report.steps) {
        let sum = sums.entry(row.operator).or_default();
        for kernel in &row.kernels {
            if !sum.kernels.contains(kernel) {
                sum.kernels.push(kernel);
            }
        }
        sum.steps += 1;
        sum.launches += row.kernels.len();
        sum.in_place += usize::from(row.in_place);
        sum.again += usize::from(row.again);
        sum.flop += row.flop;
        sum.bytes += row.bytes;
    }
    let mut sums: Vec<(&str, Sum)> = sums.into_iter().collect();
    sums.sort_by_key(|(name, sum)| (std::cmp::Reverse((sum.flop, sum.bytes)), *name));
    let mut steps = Table::new();
    steps.set_header(["operator", "kernels", "steps", "launches", "in place", "again", "GFLOP", "MiB moved"]);
    for (operator, sum) in sums {
        steps.add_row([
            operator.to_owned(),
            sum.kernels.join("\n"),
            sum.steps.to_string(),
            sum.launches.to_string(),
            sum.in_place.to_string(),
            sum.again.to_string(),
            gflop(sum.flop),
            mib(sum.bytes),
        ]);
    }
    let mut tensors = Table::new();
    tensors.set_header(["largest tensors", "MiB", "at the peak"]);
    for tensor in &report.largest {
        let at_peak = if tensor.at_peak { "yes" } else { "" };
        tensors.add_row([tensor.name.clone(), mib(tensor.bytes), at_peak.to_owned()]);
    }
    let mut text = String::new();
    let Report { purpose, target, batch, tile, .. } = report;
    writeln!(
        text,
        "{purpose} on the {target}, batch {batch}, tiles of {tile} x {tile}: {} steps and {} once, {} GFLOP",
        report.steps.len(),
        report.prepared.len(),
        gflop(report.flop)
    )?;
    if report.repeated_flop > 0 {
        writeln!(text, "of these {} GFLOP again, to need less memory", gflop(report.repeated_flop))?;
    }
    writeln!(
        text,
        "peak {} MiB: weights {}, made of weights {}, slots {}, results {}",
        mib(report.peak_bytes),
        mib(report.weight_bytes),
        mib(report.prepared_bytes),
        mib(report.slot_bytes),
        mib(report.result_bytes)
    )?;
    writeln!(text, "most alive in the slots: {} MiB, at {}", mib(report.alive_bytes), report.peak_step)?;
    if let Some(refused) = &report.refused {
        writeln!(text, "this plan cannot run: {refused}")?;
    }
    write!(text, "{steps}\n{tensors}")?;
    Ok(text)
}
