//! `glavitu kernels check`: kernels against the operators' definitions.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde::Serialize;

use super::trial::trials;
use super::{catalogue, changed_folder};
use crate::cli::{open_gpu, print_line};
use crate::error::{self, Error};
use crate::gpu::ChangedKernels;

/// Run kernels on the cases of their operators and hold the results against float64 and the CPU.
///
/// The cases are those of the project's own tests: odd shapes, ones, tile sizes and their neighbours. Outputs are NaN before, and what lies
/// after them must stay as it is. Cases of the published network's sizes (--published-size) are held against the CPU alone. The exit code
/// is 2 where a changed kernel is wrong, 1 where a built-in one is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels check
  glavitu kernels check attention softmax --device llvmpipe
  glavitu kernels check --kernels mine
  glavitu kernels check matmul_tiled --kernels mine --published-size --json")]
pub(super) struct CheckArgs {
    /// The kernels; all that --kernels changes, or all there are, where none is named
    #[arg(value_name = "NAME", value_parser = catalogue::kernel_name(), hide_possible_values = true)]
    names: Vec<String>,
    /// A folder of changed kernels, run instead of the built-in ones
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    kernels: Option<PathBuf>,
    /// auto, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`); auto takes a software adapter where there is no GPU
    #[arg(long, default_value = "auto")]
    device: String,
    /// Check the cases of the published network's sizes too
    #[arg(long)]
    published_size: bool,
    /// Print JSON for programs to read
    #[arg(long)]
    json: bool,
}

/// What became of a case.
#[derive(Debug, Serialize)]
struct Outcome {
    case: String,
    passed: bool,
    /// Against the f64 definition; absent for cases of the published size.
    nmse: Option<f64>,
    nmse_against_cpu: f64,
    tolerance: f64,
    fault: Option<String>,
}

/// Runs `glavitu kernels check`.
pub(super) fn run(args: &CheckArgs) -> Result<()> {
    let changed = args.kernels.as_deref().map_or_else(|| Ok(ChangedKernels::default()), changed_folder::read)?;
    let names = wanted(&args.names, &changed)?;
    let mut gpu = open_gpu::open(&args.device)?;
    gpu.changed_kernels = Arc::new(changed);
    if !args.json {
        print_line(format_args!("{} on {}", listed(&names), gpu.describe()))?;
    }
    let mut outcomes = Vec::new();
    for trial in trials(&names, &gpu.caps, |case| args.published_size || !case.published_size)? {
        trial.check_interface(&gpu)?;
        let verdict = trial.run(&gpu)?;
        let outcome = Outcome {
            case: trial.label(),
            passed: verdict.fault.is_none(),
            nmse: verdict.against_definition,
            nmse_against_cpu: verdict.against_cpu,
            tolerance: trial.case.tolerance,
            fault: verdict.fault,
        };
        if !args.json {
            print_line(line(&outcome))?;
        }
        outcomes.push(outcome);
    }
    if args.json {
        print_line(serde_json::to_string_pretty(&outcomes)?)?;
    }
    let (cases, failed) = (outcomes.len(), outcomes.iter().filter(|o| !o.passed).count());
    if failed > 0 {
        let changed = !gpu.changed_kernels.is_empty();
        return Err(Error::WrongResults { failed, cases, device: gpu.describe(), changed }.into());
    }
    if !args.json {
        print_line(format_args!("all {cases} cases agree"))?;
    }
    Ok(())
}

/// The kernels that are named, or that are changed, or all.
pub(super) fn wanted<'a>(names: &'a [String], changed: &ChangedKernels) -> error::Result<BTreeSet<&'a str>> {
    let kernels = catalogue::kernels();
    if names.is_empty() {
        let all = kernels.values().filter(|kernel| changed.is_empty() || changed.concern(kernel));
        return Ok(all.map(|kernel| kernel.name).collect());
    }
    let untouched = |name: &&String| kernels.get(name.as_str()).is_some_and(|kernel| !changed.concern(kernel));
    if let Some(name) = names.iter().find(untouched).filter(|_| !changed.is_empty()) {
        return Err(Error::bad_argument(
            format!("no change of {name} in the folder"),
            format!("its file or one it shares; there are {}", changed.names().collect::<Vec<_>>().join(", ")),
            "name a kernel that is changed, or none for all of them",
        ));
    }
    Ok(names.iter().map(String::as_str).collect())
}

fn listed(names: &BTreeSet<&str>) -> String {
    if names.len() > 4 {
        format!("{} kernels", names.len())
    } else {
        names.iter().copied().collect::<Vec<_>>().join(", ")
    }
}

fn line(outcome: &Outcome) -> String {
    let mark = if outcome.passed { "ok    " } else { "WRONG " };
    if let Some(fault) = &outcome.fault {
        return format!("{mark}{}: {fault}", outcome.case);
    }
    let definition = outcome.nmse.map_or_else(String::new, |nmse| format!("{nmse:.1e} against float64, "));
    format!(
        "{mark}{}: NMSE {definition}{:.1e} against the CPU; at most {:.0e}",
        outcome.case, outcome.nmse_against_cpu, outcome.tolerance
    )
}
