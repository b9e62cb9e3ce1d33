//! Repeated measurements: how many, and what they say.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Watch;
use crate::error::Result;

/// Fewest runs of what is fast.
const FEWEST: usize = 5;
/// Fewest runs of what takes longer than [`SLOW`] seconds.
const FEWEST_SLOW: usize = 3;
const SLOW: f64 = 10.0;
/// Most runs: a median of so many does not get better.
const MOST: usize = 1000;
/// Spread that is worth a warning.
pub const WIDE: f64 = 0.1;
/// Slowing down over the runs that is worth one.
const DRIFTING: f64 = 0.05;

/// How often to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Exactly so many runs, after one to warm up.
    pub runs: Option<usize>,
    /// Else at least 5 runs (3 where one takes more than 10 s) and so many seconds, after a quarter of it to warm up.
    pub seconds: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { runs: None, seconds: 2.0 }
    }
}

impl Sampling {
    fn wants_more(self, taken: &[f64], spent: f64) -> bool {
        let fewest = if taken.iter().any(|&s| s > SLOW) { FEWEST_SLOW } else { FEWEST };
        match self.runs {
            Some(runs) => taken.len() < runs,
            None => taken.len() < MOST && (taken.len() < fewest || spent < self.seconds),
        }
    }
}

/// Runs `run`, which gives its time in seconds, as often as `sampling` says; the warm-up does not count.
///
/// # Errors
/// What `run` or `watch` return.
pub fn sample(
    sampling: Sampling,
    what: &str,
    watch: Watch<'_>,
    mut run: impl FnMut() -> Result<f64>,
) -> Result<Vec<f64>> {
    let begin = Instant::now();
    watch(&format!("{what}: warming up"))?;
    run()?;
    while sampling.runs.is_none() && begin.elapsed().as_secs_f64() < sampling.seconds / 4.0 {
        watch(&format!("{what}: warming up"))?;
        run()?;
    }
    let begin = Instant::now();
    let mut taken = Vec::new();
    while sampling.wants_more(&taken, begin.elapsed().as_secs_f64()) {
        watch(&format!("{what}: run {}", taken.len() + 1))?;
        taken.push(run()?);
    }
    Ok(taken)
}

/// What repeated measurements say. All times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Number of measurements.
    pub runs: usize,
    /// The median.
    pub median_seconds: f64,
    /// The fastest.
    pub min_seconds: f64,
    /// The slowest.
    pub max_seconds: f64,
    /// A quarter is faster.
    pub lower_quartile_seconds: f64,
    /// A quarter is slower.
    pub upper_quartile_seconds: f64,
    /// Distance of the quartiles over the median.
    pub spread: f64,
    /// Whether the spread is too wide to compare machines by: above 0.1.
    pub wide_spread: bool,
    /// How much slower the last third of the runs is than the first, as a share; negative where it is faster.
    pub drift: f64,
    /// Whether the runs got slower, as they do on a machine that heats up: by more than 0.05, and even the fastest of the last third
    /// is slower than the median of the first.
    pub drifting: bool,
}

impl Timing {
    /// Sums up measurements, in the order they were taken; zeros without any.
    #[must_use]
    pub fn of(seconds: &[f64]) -> Self {
        let third = seconds.len() / 3;
        let (early, late) = (&seconds[..third], &seconds[seconds.len() - third..]);
        let median = quantile(seconds, 0.5);
        let [lower, upper] = [0.25, 0.75].map(|q| quantile(seconds, q));
        let spread = ratio(upper - lower, median);
        let drift = if third == 0 { 0.0 } else { ratio(quantile(late, 0.5), quantile(early, 0.5)) - 1.0 };
        let least = late.iter().copied().fold(f64::INFINITY, f64::min);
        Self {
            runs: seconds.len(),
            median_seconds: median,
            min_seconds: quantile(seconds, 0.0),
            max_seconds: quantile(seconds, 1.0),
            lower_quartile_seconds: lower,
            upper_quartile_seconds: upper,
            spread,
            wide_spread: spread > WIDE,
            drift,
            drifting: third >= 2 && drift > DRIFTING && least > quantile(early, 0.5),
        }
    }

    /// What to say about measurements that cannot be trusted; `None` for good ones.
    #[must_use]
    pub fn warning(&self, what: &str) -> Option<String> {
        if self.drifting {
            return Some(format!(
                "{what} got {:.0} % slower from the first runs to the last: the machine may be heating up or throttling",
                100.0 * self.drift
            ));
        }
        self.wide_spread.then(|| {
            format!(
                "half of the times of {what} lie {:.0} % of the median apart: something else may be using the machine",
                100.0 * self.spread
            )
        })
    }
}

/// The value below which a share `q` of the values lies, interpolated; 0 without values.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "few values")]
    let place = q.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the values")]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// `a / b`, or 0 where there is nothing to divide by.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let values = [4.0, 1.0, 3.0, 2.0];
        let found = [0.0, 0.25, 0.5, 1.0].map(|q| quantile(&values, q));
        assert_eq!(found, [1.0, 1.75, 2.5, 4.0]);
        assert_eq!((quantile(&[], 0.5), quantile(&[7.0], 0.25)), (0.0, 7.0));
    }

    #[test]
    fn noise_and_heat_are_told_apart() {
        let steady = Timing::of(&[1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 0.99]);
        assert_eq!(steady.warning("it"), None, "{steady:?}");
        let noisy = Timing::of(&[1.0, 1.5, 0.9, 1.4, 1.0, 1.6, 0.9, 1.5, 1.0]);
        assert!(noisy.wide_spread && !noisy.drifting, "{noisy:?}");
        let hot = Timing::of(&[1.0, 1.0, 1.0, 1.05, 1.1, 1.1, 1.2, 1.2, 1.2]);
        assert!(hot.drifting && hot.warning("it").is_some_and(|w| w.contains("20 % slower")), "{hot:?}");
        assert!(!Timing::of(&[1.0, 2.0, 3.0]).drifting, "three runs say nothing of heat");
        assert_eq!(Timing::of(&[]).median_seconds, 0.0);
    }

    #[test]
    fn runs_are_counted_after_the_warm_up() {
        let mut calls = 0;
        let mut run = || {
            calls += 1;
            Ok(f64::from(calls))
        };
        let exact = Sampling { runs: Some(2), seconds: 9.0 };
        assert_eq!(sample(exact, "it", &mut |_| Ok(()), &mut run).expect("runs"), [2.0, 3.0]);
        let fast = Sampling { runs: None, seconds: 0.0 };
        assert_eq!(sample(fast, "it", &mut |_| Ok(()), || Ok(0.0)).expect("runs").len(), FEWEST);
        assert_eq!(sample(fast, "it", &mut |_| Ok(()), || Ok(11.0)).expect("runs").len(), FEWEST_SLOW);
        let stop = sample(fast, "it", &mut |_| Err(crate::Error::Interrupted), || Ok(0.0));
        assert!(matches!(stop, Err(crate::Error::Interrupted)));
    }
}
