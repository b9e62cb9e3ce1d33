//! `glavitu kernels bench`: a changed kernel's time against the built-in one's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde::Serialize;

use super::trial::{Trial, trials};
use super::{catalogue, changed_folder, check};
use crate::bench::statistics::Timing;
use crate::cli::{open_gpu, print_line};
use crate::error::{self, Error};
use crate::gpu::Gpu;
use crate::gpu::single::SingleOperator;

/// Time a kernel at the published network's sizes, a changed one against the built-in one.
///
/// Results are checked first. The two then run by turns; the ratio is the built-in median over the changed one: above 1, the change is
/// faster. The time is that of all kernels of the operator, by the device's clock where it has one.
/// Quartiles stand in brackets.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels bench attention
  glavitu kernels bench attention --kernels mine
  glavitu kernels bench matmul_tiled --kernels mine --case 13 --runs 21 --device llvmpipe --json")]
pub(super) struct BenchArgs {
    /// The kernel
    #[arg(value_name = "NAME", value_parser = catalogue::kernel_name(), hide_possible_values = true)]
    name: String,
    /// A folder of changed kernels, timed against the built-in ones
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    kernels: Option<PathBuf>,
    /// auto, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`); auto takes a software adapter where there is no GPU
    #[arg(long, default_value = "auto")]
    device: String,
    /// Only the case of this number, as `kernels check` names it; may be given again
    #[arg(long = "case", value_name = "N")]
    cases: Vec<usize>,
    /// Runs of each kernel and case
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Print JSON for programs to read
    #[arg(long)]
    json: bool,
}

/// The times of one case, in seconds.
#[derive(Debug, Serialize)]
struct Timed {
    case: String,
    built_in: Timing,
    changed: Option<Timing>,
    /// The built-in median over the changed one.
    ratio: Option<f64>,
    gflop_per_second: Option<f64>,
}

/// Runs `glavitu kernels bench`.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let changed = args.kernels.as_deref().map(changed_folder::read).transpose()?;
    check::wanted(std::slice::from_ref(&args.name), &changed.clone().unwrap_or_default())?;
    let built_in = open_gpu::open(&args.device)?;
    let with_changed = changed.map(|changed| {
        let mut gpu = built_in.clone();
        gpu.changed_kernels = Arc::new(changed);
        gpu
    });
    let trials = chosen(args, &built_in)?;
    if !args.json {
        print_line(format_args!("{} on {}", args.name, built_in.describe()))?;
    }
    let mut all = Vec::new();
    for trial in &trials {
        if let Some(gpu) = &with_changed {
            trial.check_interface(gpu)?;
            if let Some(fault) = trial.run(gpu)?.fault {
                print_line(format_args!("WRONG {}: {fault}", trial.label()))?;
                let device = gpu.describe();
                return Err(Error::WrongResults { failed: 1, cases: 1, device, changed: true }.into());
            }
        }
        let timed = time(trial, &built_in, with_changed.as_ref(), args.runs)?;
        if !args.json {
            print_line(line(&timed))?;
        }
        all.push(timed);
    }
    if args.json { print_line(serde_json::to_string_pretty(&all)?) } else { Ok(()) }
}

/// The cases to time: those of the published size, the small ones where there are none of it, or those asked for.
fn chosen(args: &BenchArgs, gpu: &Gpu) -> error::Result<Vec<Trial>> {
    let names = BTreeSet::from([args.name.as_str()]);
    let every = trials(&names, &gpu.caps, |_| true)?;
    let known: BTreeSet<usize> = every.iter().map(|trial| trial.index).collect();
    if let Some(unknown) = args.cases.iter().find(|case| !known.contains(case)) {
        let known = known.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::bad_argument(
            format!("case {unknown}"),
            format!("a case that launches {}: {known}", args.name),
            "`glavitu kernels check` lists them",
        ));
    }
    let has_published = every.iter().any(|trial| trial.case.published_size);
    let is_wanted = |trial: &Trial| match args.cases.as_slice() {
        [] => trial.case.published_size || !has_published,
        cases => cases.contains(&trial.index),
    };
    Ok(every.into_iter().filter(is_wanted).collect())
}

/// Runs both by turns, so that whatever else the machine does meets both alike.
fn time(trial: &Trial, built_in: &Gpu, changed: Option<&Gpu>, runs: u32) -> error::Result<Timed> {
    let inputs = trial.inputs();
    let devices: Vec<Gpu> = [Some(built_in), changed].into_iter().flatten().map(|gpu| trial.device(gpu)).collect();
    let operator = trial.case.operator.as_ref();
    let singles = devices.iter().map(|gpu| SingleOperator::new(gpu, operator, &trial.shapes, 0));
    let singles = singles.collect::<error::Result<Vec<_>>>()?;
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); singles.len()];
    for single in &singles {
        single.write(&inputs);
        single.run()?;
    }
    for _ in 0..runs {
        for (single, seconds) in singles.iter().zip(&mut seconds) {
            seconds.push(single.time()?.seconds.iter().sum());
        }
    }
    let timings: Vec<Timing> = seconds.iter().map(|seconds| Timing::of(seconds)).collect();
    let (timed, changed) = (timings.first().cloned().unwrap_or_else(|| Timing::of(&[])), timings.get(1).cloned());
    let of_interest = changed.as_ref().unwrap_or(&timed).median_seconds;
    let flop = operator.cost(&trial.shapes).flop;
    Ok(Timed {
        case: trial.label(),
        ratio: changed.as_ref().map(|changed| timed.median_seconds / changed.median_seconds),
        gflop_per_second: (flop > 0).then(|| flop as f64 / of_interest / 1e9),
        built_in: timed,
        changed,
    })
}

fn line(timed: &Timed) -> String {
    let spread = |t: &Timing| {
        let [low, median, high] =
            [t.lower_quartile_seconds, t.median_seconds, t.upper_quartile_seconds].map(|s| 1e3 * s);
        format!("{median:.3} ms ({low:.3} to {high:.3})")
    };
    let rate = timed.gflop_per_second.map_or_else(String::new, |rate| format!(", {rate:.1} GFLOP/s"));
    match (&timed.changed, timed.ratio) {
        (Some(changed), Some(ratio)) => format!(
            "{}: built-in {}, changed {}{rate}, ratio {ratio:.2}",
            timed.case,
            spread(&timed.built_in),
            spread(changed)
        ),
        _ => format!("{}: {}{rate}", timed.case, spread(&timed.built_in)),
    }
}
