//! Compares this engine with others on the same machine in the same run; see README.md.

mod burn_engine;
mod onnx_runtime;
mod operators;
mod ours;
mod report;
mod timing;
mod work;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use glavitu::gpu::{Gpu, adapters};
use glavitu::model::ModelConfig;
use serde::Serialize;

use burn_engine::BurnEngine;
use onnx_runtime::Comparison;
use operators::Row;
use work::Work;

/// Side of the published network's tiles, which the targets are about.
const PUBLISHED_TILE: usize = 384;

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
    /// Side of the tile whose operators are compared with burn's; less than the published 384 is a quick look
    #[arg(long, value_name = "PIXELS", default_value_t = PUBLISHED_TILE)]
    tile: usize,
    /// Write everything as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare the operator of this number alone and print its row as JSON
    #[arg(long, hide = true)]
    operator: Option<usize>,
}

/// What `--json` writes.
#[derive(Debug, Default, Serialize)]
struct Results {
    cpu: Option<Comparison>,
    ours_on: Option<String>,
    burn_on: Option<String>,
    operators: Vec<Row>,
    crashes: Vec<String>,
    verdict: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(number) = args.operator {
        return compare_operator(&args, number);
    }
    let mut results = Results::default();
    if args.only != Some(Peer::Burn) {
        let (onnx, model) =
            args.onnx.as_deref().zip(args.model.as_deref()).context("--onnx and --model belong together")?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx_runtime.py");
        let compared = onnx_runtime::compare(&args.python, &script, onnx, model, args.runs)?;
        println!("{}", report::cpu_table(&compared));
        results.cpu = Some(compared);
    }
    let mut complete = args.tile == PUBLISHED_TILE;
    if args.only != Some(Peer::Ort) {
        let all = work(args.tile)?;
        let chosen = most_work(&all, args.shapes.unwrap_or(all.len()));
        complete &= chosen.len() == all.len();
        compare_operators(&args, &all, &chosen, &mut results)?;
    }
    results.verdict = report::verdict(results.cpu.as_ref(), &results.operators, complete && results.crashes.is_empty());
    println!("{}", results.verdict);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn work(tile: usize) -> Result<Vec<Work>> {
    work::of_model(&ModelConfig { tile, ..ModelConfig::default() })
}

/// Compares operators, each in a process of its own: a driver that crashes on one engine's kernel takes only that operator along.
fn compare_operators(args: &Args, all: &[Work], chosen: &[usize], results: &mut Results) -> Result<()> {
    let (gpu, burn) = engines(args)?;
    println!("glavitu on {}\nburn {} on {}\n", gpu.describe(), burn_engine::version(), burn.description);
    println!("{}", report::operator_heading());
    results.ours_on = Some(gpu.describe());
    results.burn_on = Some(burn.description);
    for &number in chosen {
        let child = Command::new(std::env::current_exe()?)
            .args(["--only", "burn", "--device", &args.device])
            .args(["--runs", &args.runs.to_string(), "--tile", &args.tile.to_string()])
            .args(["--operator", &number.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        let work = &all[number];
        if child.status.success() {
            let row: Row = serde_json::from_slice(&child.stdout)?;
            println!("{}", report::operator_line(&row));
            results.operators.push(row);
        } else if child.status.code().is_some() {
            // It has said what is wrong: results that differ, or a device that fails.
            bail!("{} {} {} could not be compared", work.kind.name(), work.pass.name(), work.label());
        } else {
            let crash = format!("{} {}: {}", work.pass.name(), work.label(), child.status);
            println!("{crash}");
            results.crashes.push(crash);
        }
    }
    println!("\n{}", report::totals_table(&results.operators));
    if !results.crashes.is_empty() {
        println!("{} operators are left out: the driver crashed.\n", results.crashes.len());
    }
    Ok(())
}

fn compare_operator(args: &Args, number: usize) -> Result<()> {
    let all = work(args.tile)?;
    let chosen = all.get(number).with_context(|| format!("operator {number} of {}", all.len()))?;
    let (gpu, burn) = engines(args)?;
    let row = operators::compare(&gpu, &burn, chosen, args.runs)?;
    println!("{}", serde_json::to_string(&row)?);
    Ok(())
}

fn engines(args: &Args) -> Result<(Gpu, BurnEngine)> {
    let gpu = Gpu::open(&args.device)?;
    let burn = BurnEngine::open(&gpu.summary, &adapters())?;
    Ok((gpu, burn))
}

/// The numbers of the `count` pieces of work with the most floating-point operations in all, in their order.
fn most_work(all: &[Work], count: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..all.len()).collect();
    chosen.sort_by_key(|&i| std::cmp::Reverse(all[i].flop() * all[i].count as u64));
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}
