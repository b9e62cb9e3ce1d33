//! How far an area may be from the truth, by a block bootstrap of the errors that confidences foresee.
//!
//! A pixel that was mapped with the calibrated confidence k is wrong with the probability q = 1 - k; then its area a is missing (mapped as other) or
//! too much (mapped as ice). Errors of neighbours are alike: a shadow is wrong as a whole. So blocks of 3.2 km are resampled instead of pixels (Künsch
//! 1989; Lahiri 2003, "Resampling Methods for Dependent Data"): from the N blocks that have pixels of the area in question, N are drawn with
//! replacement, and in each the errors of its pixels are drawn. A block has thousands of pixels, and the sum of their independent errors is drawn from
//! the normal distribution of the sum's mean and variance, `sum of +-a q` and `sum of a^2 q (1 - q)`, instead of one by one. For a difference of two
//! dates the errors of both are drawn in each block.
//!
//! A resample's sum of errors, less the mean of all of them (the shift that the confidences foresee, given apart), is added to the mapped area. The
//! spread of 1000 such areas is the uncertainty: their standard deviation, and their 2.5th and 97.5th percentile. Within one block, which is what a
//! small glacier has, there is nothing to resample but the drawn errors, and the spread is that of independent pixels: a lower bound.

use std::collections::BTreeMap;

use crate::dataset::noise::Random;
use crate::raster::Grid;

/// The side of a block.
pub const BLOCK_M: f64 = 3200.0;
/// How often blocks are drawn.
pub const RESAMPLES: usize = 1000;

/// Errors of the pixels of one block, in km2 and km4, at two dates.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    mean: [f64; 2],
    variance: [f64; 2],
}

impl Moments {
    /// Adds a pixel of `km2` at a date (0 or 1), mapped as ice or not with a confidence from 0 to 1. Without a confidence there is no error.
    pub fn add(&mut self, date: usize, km2: f64, is_ice: bool, confidence: f32) {
        let wrong = 1.0 - f64::from(confidence);
        if let (Some(mean), Some(variance)) = (self.mean.get_mut(date), self.variance.get_mut(date))
            && wrong.is_finite()
        {
            *mean += if is_ice { -km2 * wrong } else { km2 * wrong };
            *variance += km2 * km2 * wrong * (1.0 - wrong);
        }
    }
}

impl std::ops::AddAssign for Moments {
    fn add_assign(&mut self, other: Self) {
        for date in 0..2 {
            self.mean[date] += other.mean[date];
            self.variance[date] += other.variance[date];
        }
    }
}

/// The spread of an area or of a difference, in km2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Standard deviation.
    pub deviation: f64,
    /// How far the 2.5th percentile is from the mapped value, below 0 as a rule.
    pub low: f64,
    /// How far the 97.5th is.
    pub high: f64,
    /// How much the confidences foresee that the mapped value is too small.
    pub shift: f64,
}

/// The spread of both dates' areas and of their difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spreads {
    /// Of the first date's area.
    pub before: Spread,
    /// Of the second date's.
    pub after: Spread,
    /// Of the second less the first.
    pub change: Spread,
}

/// Pixels to blocks of one grid.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    width: usize,
    rows: usize,
    cols: usize,
}

impl Blocks {
    /// Blocks from the grid's first pixel on; `pixel_m` are the sides of a pixel in metres.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the grid first")]
    pub fn new(grid: &Grid, pixel_m: (f64, f64)) -> Self {
        let pixels = |side: f64, size: usize| (BLOCK_M / side).round().clamp(1.0, size.max(1) as f64) as usize;
        Self { width: grid.width.max(1), rows: pixels(pixel_m.1, grid.height), cols: pixels(pixel_m.0, grid.width) }
    }

    /// The block of a pixel.
    #[must_use]
    pub fn of(&self, pixel: usize) -> usize {
        pixel / self.width / self.rows * self.width.div_ceil(self.cols) + pixel % self.width / self.cols
    }
}

/// The spreads of the sums over blocks. The same seed gives the same numbers.
#[must_use]
pub fn spreads(blocks: &BTreeMap<usize, Moments>, seed: u64, stream: u64) -> Spreads {
    let blocks: Vec<(&Moments, [f64; 2])> = blocks.values().map(|m| (m, m.variance.map(f64::sqrt))).collect();
    let foreseen = [0, 1].map(|date| blocks.iter().map(|(moments, _)| moments.mean[date]).sum::<f64>());
    let mut random = Random::new(seed, stream);
    let mut drawn = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..RESAMPLES {
        let mut sums = [0.0; 2];
        for _ in 0..blocks.len() {
            let Some((moments, deviation)) = blocks.get(random.below(blocks.len())) else { continue };
            let normal = random.gaussian_pair();
            for date in 0..2 {
                sums[date] += moments.mean[date] + deviation[date] * normal[date];
            }
        }
        let errors = [sums[0] - foreseen[0], sums[1] - foreseen[1]];
        for (all, error) in drawn.iter_mut().zip([errors[0], errors[1], errors[1] - errors[0]]) {
            all.push(error);
        }
    }
    let [before, after, change] = drawn;
    Spreads {
        before: spread(before, foreseen[0]),
        after: spread(after, foreseen[1]),
        change: spread(change, foreseen[1] - foreseen[0]),
    }
}

fn spread(mut errors: Vec<f64>, shift: f64) -> Spread {
    errors.sort_unstable_by(f64::total_cmp);
    let count = errors.len().max(1) as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let squares: f64 = errors.iter().map(|error| (error - mean).powi(2)).sum();
    // 25 of 1000 lie below the first and above the second.
    let at = |number: usize| errors.get(number).copied().unwrap_or(0.0);
    let tail = RESAMPLES / 40;
    Spread {
        deviation: (squares / (count - 1.0).max(1.0)).sqrt(),
        low: at(tail),
        high: at(RESAMPLES - 1 - tail),
        shift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid { width: 250, height: 107, transform: [30.0, 0.0, 0.0, 0.0, -30.0, 0.0], crs: None }
    }

    #[test]
    fn blocks_of_a_grid() {
        let blocks = Blocks::new(&grid(), (30.0, 30.0));
        assert_eq!([0, 106, 107, 249, 250 * 106, 250 * 106 + 249].map(|pixel| blocks.of(pixel)), [0, 0, 1, 2, 0, 2]);
    }

    #[test]
    fn one_block_is_independent_pixels() {
        let mut moments = Moments::default();
        // 10000 pixels of ice of 1e-3 km2 with a confidence of 0.9, then sure that a tenth is gone.
        for pixel in 0..10_000 {
            moments.add(0, 1e-3, true, 0.9);
            moments.add(1, 1e-3, pixel >= 1000, 1.0);
        }
        let found = spreads(&BTreeMap::from([(0, moments)]), 1, 0);
        // Binomial: 1e-3 * sqrt(10000 * 0.1 * 0.9).
        assert!((found.before.deviation / 0.03 - 1.0).abs() < 0.1, "{found:?}");
        assert!((found.before.shift + 1.0).abs() < 1e-6 && (found.change.shift - 1.0).abs() < 1e-6);
        assert!((found.before.low / -0.0588 - 1.0).abs() < 0.15 && (found.before.high / 0.0588 - 1.0).abs() < 0.15);
        assert_eq!(found.after.deviation, 0.0);
        assert!((found.change.deviation - found.before.deviation).abs() < 1e-12);
        assert_eq!(found, spreads(&BTreeMap::from([(0, moments)]), 1, 0));
        assert_ne!(found, spreads(&BTreeMap::from([(0, moments)]), 2, 0));
    }

    #[test]
    fn blocks_that_differ_widen_the_spread() {
        // Half of the blocks are wrong as a whole, half are right: sqrt(N) times the deviation between them.
        let block = |confidence: f32| {
            let mut moments = Moments::default();
            moments.add(0, 1.0, false, confidence);
            moments
        };
        let blocks: BTreeMap<usize, Moments> =
            (0..100).map(|n| (n, block(if n % 2 == 0 { 0.0 } else { 1.0 }))).collect();
        let found = spreads(&blocks, 1, 0).before;
        assert!((found.deviation / 5.0 - 1.0).abs() < 0.1 && (found.shift - 50.0).abs() < 1e-9, "{found:?}");
    }
}
