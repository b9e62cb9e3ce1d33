//! Times of two competitors, taken by turns.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The times of repeated runs, in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Times {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub runs: usize,
}

impl Times {
    /// Of at least one time.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let runs = times.len();
        let median = (times[(runs - 1) / 2] + times[runs / 2]) / 2.0;
        Self { median, least: times[0], most: times[runs - 1], runs }
    }
}

/// Seconds that `work` takes.
///
/// # Errors
/// Those of `work`.
pub fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Runs each competitor `runs` times by turns, after the warm-up that is the caller's. Each gives its own time in seconds.
///
/// # Errors
/// Those of the competitors.
pub fn by_turns<const N: usize>(
    runs: usize,
    mut competitors: [&mut dyn FnMut() -> Result<f64>; N],
) -> Result<[Times; N]> {
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(runs));
    for _ in 0..runs {
        for (competitor, times) in competitors.iter_mut().zip(&mut times) {
            times.push(competitor()?);
        }
    }
    Ok(times.map(Times::of))
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn the_median_is_in_the_middle() {
        let odd = Times::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.least, odd.most, odd.runs), (2.0, 1.0, 3.0, 3));
        assert_eq!(Times::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }
}
