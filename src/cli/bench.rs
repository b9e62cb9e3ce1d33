//! `glavitu bench`: how fast this machine is, and how fast it could be.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::breakdown::KernelTime;
use crate::bench::cases::{self, Runner};
use crate::bench::limits::{self, Limits};
use crate::bench::network::{NetworkBench, drawn_weights};
use crate::bench::report::{Benchmark, Device, Program, Report, SCHEMA, Settings};
use crate::bench::statistics::{Sampling, WIDE};
use crate::cli::bench_tables::{compared, measured};
use crate::cli::device_args::DeviceArgs;
use crate::cli::model_size::SizeOption;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::device::{self, DeviceChoice};
use crate::error::Error;
use crate::gpu::Gpu;
use crate::model::Weights;
use crate::plan::Precision;

/// Measure how fast this machine is, and how fast it could be.
///
/// model: the network's forward pass. train: a training step. kernels: every operator alone, at the published network's sizes, or only those
/// named. limits: arithmetic, memory, cache and launches alone. Each says how close the device's own limits are. Times of kernels are from
/// the device's timestamps where it has them; work counts in the direct form, so that fast algorithms may exceed the arithmetic limit.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu bench
  glavitu bench train --device cpu --json train.json
  glavitu bench kernels conv2d matmul --device gpu
  glavitu bench limits --device llvmpipe
  glavitu bench --compare laptop.json workstation.json -o chart.svg")]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, value_name = "WHAT", default_value_t = What::Model)]
    what: What,
    /// With kernels: only these operators, or those that have these kernels
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    on: DeviceArgs,
    /// The network: as published, or a small one. With kernels, small takes the odd shapes that the tests run
    #[arg(long, value_enum, default_value_t = SizeOption::Paper)]
    size: SizeOption,
    /// Tiles computed together
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    batch: usize,
    /// A model's network and weights instead of --size and drawn ones
    #[arg(long, value_name = "MODEL.safetensors", conflicts_with = "size", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// Exactly so many runs, after one to warm up, instead of at least 5 (3 slow ones) and --seconds
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    runs: Option<usize>,
    /// Seconds to measure everything for
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<PathBuf>,
    /// Show results of several machines side by side instead of measuring
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath,
          conflicts_with_all = ["device", "exact", "precision", "max_memory", "size", "batch", "model", "runs", "seconds", "json"])]
    compare: Vec<PathBuf>,
    /// With --compare: the chart to draw
    #[arg(short, long, value_name = "CHART.svg", requires = "compare", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The forward pass
    Model,
    /// A training step
    Train,
    /// Every operator alone
    Kernels,
    /// The device's limits
    Limits,
}

/// Set by Ctrl-C; looked at between runs.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu bench`.
///
/// # Errors
/// Arguments or files that make no sense, a device that fails, or Ctrl-C.
pub fn run(args: &BenchArgs) -> Result<()> {
    if !args.compare.is_empty() {
        return compared(&args.compare, args.output.as_deref());
    }
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    let entries = check(args)?;
    if args.what != What::Model && args.on.options().precision == Precision::F16 {
        let expected = "f32 for anything but the forward pass";
        return Err(Error::bad_argument("--precision f16", expected, "give it with `glavitu bench model`").into());
    }
    let json = args.json.as_deref().filter(|path| *path != Path::new("-"));
    if let Some(path) = json {
        check_output(path, &args.model.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    }
    let choice = device::resolve(&args.on.device)?;
    let weights = weights(args)?;
    let gpu = match &choice {
        DeviceChoice::Cpu => None,
        other => Some(Gpu::open(&other.to_string())?),
    };
    let bar = progress();
    let mut watch = |what: &str| {
        bar.set_message(what.to_owned());
        if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
    };
    let limits = match &gpu {
        Some(gpu) => limits::of_gpu(gpu, &mut watch)?,
        None => limits::of_cpu(&mut watch)?,
    };
    let mut report = empty_report(args, Device::new(gpu.as_ref().map(|gpu| &gpu.summary)), weights.as_ref(), limits);
    let sampling = Sampling { runs: args.runs, seconds: args.seconds };
    match (args.what, &weights) {
        (What::Limits, _) => {}
        (What::Kernels, _) => {
            let runner = gpu.as_ref().map_or(Runner::Cpu, Runner::Gpu);
            let small = args.size == SizeOption::Small;
            report.kernels = cases::time(&entries, small, runner, sampling, &report.limits, &mut watch)?;
            report.warnings.extend(noise(&report.kernels));
        }
        (_, None) => {}
        (what, Some(weights)) => {
            // By its number, so that the executor opens the same one.
            let device = gpu.as_ref().map_or_else(|| "cpu".to_owned(), |gpu| format!("gpu:{}", gpu.summary.index));
            let bench =
                NetworkBench { weights, batch: args.batch, device: &device, options: args.on.options(), sampling };
            let (time, breakdown) = if what == What::Train {
                bench.training_step(&report.limits, &mut watch)?
            } else {
                bench.forward(&report.limits, &mut watch)?
            };
            let name = if what == What::Train { "the training step" } else { "the forward pass" };
            report.warnings.extend(time.timing.warning(name));
            report.take(breakdown);
            *(if what == What::Train { &mut report.train_step } else { &mut report.forward }) = Some(time);
        }
    }
    bar.finish_and_clear();
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(path) = json {
        report.write(path)?;
    }
    if args.json.is_some() && json.is_none() {
        return print_line(report.text()?.trim_end());
    }
    print_line(measured(&report))
}

/// What to say where the times of many kernels spread widely.
fn noise(kernels: &[KernelTime]) -> Option<String> {
    let wide = kernels.iter().filter(|k| k.spread.is_some_and(|spread| spread > WIDE)).count();
    (4 * wide > kernels.len()).then(|| {
        format!(
            "half of the times of {wide} of {} kernels lie more than {:.0} % of the median apart: something else may be using the machine",
            kernels.len(),
            100.0 * WIDE
        )
    })
}

/// Refuses what makes no sense before anything is measured; gives the operators that are meant.
fn check(args: &BenchArgs) -> Result<Vec<&'static crate::ops::Entry>> {
    if !(args.seconds.is_finite() && (0.0..=3600.0).contains(&args.seconds)) {
        let found = format!("--seconds {}", args.seconds);
        return Err(Error::bad_argument(found, "a number from 0 to 3600", "give 2, say, or leave it out").into());
    }
    if args.what != What::Kernels && !args.names.is_empty() {
        let found = format!("'{}' after what to measure", args.names.join(" "));
        return Err(Error::bad_argument(found, "names only after kernels", "try `glavitu bench kernels NAME`").into());
    }
    Ok(cases::entries(&args.names)?)
}

/// The network to run, where one is run.
fn weights(args: &BenchArgs) -> Result<Option<Weights>> {
    Ok(match (args.what, &args.model) {
        (What::Kernels | What::Limits, _) => None,
        (_, Some(path)) => Some(Weights::load(path)?),
        (_, None) => Some(drawn_weights(&args.size.config())?),
    })
}

fn empty_report(args: &BenchArgs, device: Device, weights: Option<&Weights>, limits: Limits) -> Report {
    let benchmark = match args.what {
        What::Model => Benchmark::Model,
        What::Train => Benchmark::Train,
        What::Kernels => Benchmark::Kernels,
        What::Limits => Benchmark::Limits,
    };
    let size = match (&args.model, args.size) {
        (Some(path), _) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (None, size) => size.name().to_owned(),
    };
    let tile = weights.map_or_else(|| args.size.config().tile, |weights| weights.config().tile);
    Report {
        schema: SCHEMA,
        benchmark,
        program: Program::this(),
        device,
        settings: Settings {
            size,
            tile,
            batch: args.batch,
            precision: args.on.options().precision.to_string(),
            exact: args.on.exact,
            max_memory_bytes: args.on.options().max_memory,
        },
        limits,
        forward: None,
        train_step: None,
        kernels: Vec::new(),
        launches: Vec::new(),
        nodes: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A line on a terminal; nothing where standard error is piped.
fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
