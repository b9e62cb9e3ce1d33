//! Compares this engine with others on the same machine in the same run; see README.md.

mod burn_engine;
mod onnx_runtime;
mod operators;
mod ours;
mod report;
mod timing;
mod work;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use glavitu::gpu::{Gpu, adapters};
use glavitu::model::ModelConfig;
use serde::Serialize;

use burn_engine::BurnEngine;
use onnx_runtime::Comparison;
use operators::Row;
use work::Work;

/// Which comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// ONNX Runtime on the CPU
    Ort,
    /// burn's wgpu backend on the GPU
    Burn,
}

/// Compare glavitu with ONNX Runtime on the CPU and with burn on one GPU adapter.
#[derive(Debug, Parser)]
struct Args {
    /// Only this peer
    #[arg(long, value_enum)]
    only: Option<Peer>,
    /// The adapter for burn's part: gpu, gpu:N or a part of its name (see `glavitu devices`)
    #[arg(long, default_value = "gpu")]
    device: String,
    /// The network as an ONNX file, for ONNX Runtime
    #[arg(long, value_name = "FILE.onnx", required_unless_present_any = ["only"], required_if_eq("only", "ort"))]
    onnx: Option<PathBuf>,
    /// The same weights for glavitu: its own safetensors or a Keras file
    #[arg(long, value_name = "FILE.safetensors|FILE.h5", required_unless_present_any = ["only"], required_if_eq("only", "ort"))]
    model: Option<PathBuf>,
    /// A Python that has the packages of requirements.txt
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Timed runs of each; operators that take burn 2 s or more get 3
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Only the N operators that are most of the model's work
    #[arg(long, value_name = "N")]
    shapes: Option<usize>,
    /// Write everything as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Debug, Default, Serialize)]
struct Results {
    cpu: Option<Comparison>,
    ours_on: Option<String>,
    burn_on: Option<String>,
    operators: Vec<Row>,
    verdict: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut results = Results::default();
    if args.only != Some(Peer::Burn) {
        let (onnx, model) =
            args.onnx.as_deref().zip(args.model.as_deref()).context("--onnx and --model belong together")?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx_runtime.py");
        let compared = onnx_runtime::compare(&args.python, &script, onnx, model, args.runs)?;
        println!("{}", report::cpu_table(&compared));
        results.cpu = Some(compared);
    }
    let mut complete = true;
    if args.only != Some(Peer::Ort) {
        let mut all = work::of_model(&ModelConfig::default())?;
        if let Some(count) = args.shapes {
            complete = count >= all.len();
            all = most_work(all, count);
        }
        compare_operators(&args, &all, &mut results)?;
    }
    results.verdict = report::verdict(results.cpu.as_ref(), &results.operators, complete);
    println!("{}", results.verdict);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn compare_operators(args: &Args, all: &[Work], results: &mut Results) -> Result<()> {
    let gpu = Gpu::open(&args.device)?;
    let burn = BurnEngine::open(&gpu.summary, &adapters())?;
    println!("glavitu on {}\nburn {} on {}\n", gpu.describe(), burn_engine::version(), burn.description);
    println!("{}", report::operator_heading());
    for work in all {
        let row = operators::compare(&gpu, &burn, work, args.runs)?;
        println!("{}", report::operator_line(&row));
        results.operators.push(row);
    }
    println!("\n{}", report::totals_table(&results.operators));
    results.ours_on = Some(gpu.describe());
    results.burn_on = Some(burn.description.clone());
    Ok(())
}

/// The `count` pieces of work with the most floating-point operations in all, in their order.
fn most_work(all: Vec<Work>, count: usize) -> Vec<Work> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(all[i].flop() * all[i].count as u64));
    order.truncate(count);
    all.into_iter().enumerate().filter(|(i, _)| order.contains(i)).map(|(_, work)| work).collect()
}
