//! The model's operators in both engines on one adapter.

use anyhow::{Context, Result, ensure};
use glavitu::gpu::Gpu;
use serde::{Deserialize, Serialize};

use crate::burn_engine::{BurnEngine, Prepared};
use crate::ours;
use crate::timing::{Times, by_turns, seconds};
use crate::work::{Kind, Pass, Task, Work};

/// Largest normalised mean squared difference between the engines' results. Reordered f32 sums, and Winograd's form, stay below.
const LARGEST_DIFFERENCE: f64 = 1e-6;
/// From this time on, in seconds, an operator is run fewer times.
const SLOW: f64 = 2.0;
/// How often a slow one is run at least.
const RUNS_OF_SLOW: usize = 3;
/// Warm-up ends once a run of burn takes no less than this share of the one before, or after so many runs.
const STEADY: f64 = 0.8;
const LONGEST_WARM_UP: usize = 6;

/// Both engines' times for one piece of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub kind: Kind,
    pub pass: Pass,
    pub label: String,
    /// How often the model has it.
    pub count: usize,
    pub flop: u64,
    pub ours: Times,
    pub burn: Times,
    /// Normalised mean squared difference of the results.
    pub difference: f64,
    /// Whether they differ because burn's are wrong: ours are those of the native code.
    pub burn_is_wrong: bool,
}

impl Row {
    /// How many times as long burn takes.
    pub fn speedup(&self) -> f64 {
        self.burn.median / self.ours.median
    }
}

/// Times one piece of work in both engines by turns, and compares the results.
///
/// # Errors
/// A device fails, or the results differ and native code does not side with ours.
pub fn compare(gpu: &Gpu, burn: &BurnEngine, work: &Work, runs: usize) -> Result<Row> {
    let label = work.label();
    let compared = || -> Result<Row> {
        let inputs = ours::inputs(work);
        let single = ours::prepare(gpu, work, &inputs)?;
        let theirs = burn.prepare(work, &inputs);
        single.run()?;
        let found = single.read()?;
        let difference = difference(work, &found, &theirs.results()?)?;
        // Written so that NaN counts as different.
        let differ = !(difference <= LARGEST_DIFFERENCE);
        let burn_is_wrong =
            differ && self::difference(work, &found, &ours::natively(work, &inputs))? <= LARGEST_DIFFERENCE;
        ensure!(
            !differ || burn_is_wrong,
            "the engines' results differ: normalised mean squared error {difference:e}, {LARGEST_DIFFERENCE:e} at most was expected"
        );
        let expected = warm_up(burn, &theirs)?;
        let runs = if expected < SLOW { runs } else { runs.min(RUNS_OF_SLOW) };
        let mut ours = || seconds(|| Ok(single.run()?));
        let mut burns = || time(burn, &theirs);
        let [ours, burn] = by_turns(runs, [&mut ours, &mut burns])?;
        let (kind, pass) = (work.kind, work.pass);
        Ok(Row {
            kind,
            pass,
            label: label.clone(),
            count: work.count,
            flop: work.flop(),
            ours,
            burn,
            difference,
            burn_is_wrong,
        })
    };
    compared().with_context(|| format!("{} {} {label}", work.kind.name(), work.pass.name()))
}

/// Seconds of one run, without what is not part of the operator.
fn time(burn: &BurnEngine, prepared: &Prepared) -> Result<f64> {
    let before = match prepared.before_alone() {
        Some(before) => seconds(|| {
            before();
            burn.wait()
        })?,
        None => 0.0,
    };
    let whole = seconds(|| {
        prepared.run();
        burn.wait()
    })?;
    Ok(whole - before)
}

/// Runs until burn gets no faster; gives the last time in seconds. It has chosen its kernels before, when its results were read.
fn warm_up(burn: &BurnEngine, prepared: &Prepared) -> Result<f64> {
    let mut last = time(burn, prepared)?;
    for _ in 1..LONGEST_WARM_UP {
        // A slow operator is past all that is done once.
        if last >= SLOW {
            break;
        }
        let next = time(burn, prepared)?;
        let steady = next >= STEADY * last;
        last = next;
        if steady {
            break;
        }
    }
    Ok(last)
}

/// The normalised mean squared difference of all results together.
fn difference(work: &Work, ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Result<f64> {
    // Attention's second result is kept for its gradient and is no one else's.
    let compared =
        if matches!((&work.task, work.pass), (Task::Attention { .. }, Pass::Forward)) { &ours[..1] } else { ours };
    ensure!(compared.len() == theirs.len(), "{} results against {}", compared.len(), theirs.len());
    let (mut error, mut norm) = (0.0, 0.0);
    for (a, b) in compared.iter().zip(theirs) {
        ensure!(a.len() == b.len(), "{} values against {}", a.len(), b.len());
        for (&a, &b) in a.iter().zip(b) {
            error += (f64::from(a) - f64::from(b)).powi(2);
            norm += f64::from(b).powi(2);
        }
    }
    Ok(error / norm)
}
