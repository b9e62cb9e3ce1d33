//! Between which areas the truth lies, from calibrated probabilities of glacier: a block bootstrap without truth.
//!
//! With a calibrated probability p for every pixel of area a, the expected area is the sum of a p. How far the truth may be from it depends on how errors
//! hang together, which probabilities of single pixels do not say. The model here:
//!
//! - Within a block of 3.2 km all errors are one: a number u from 0 to 1 is drawn for the block, and a pixel is glacier where p > u. Every pixel is glacier with
//!   its own probability p, and no other dependence within a block with these probabilities makes sums of areas spread more (they are comonotonic: Dhaene et
//!   al. 2002, Insurance: Mathematics and Economics 31, 3-33). In one block the interval is that between the areas above p = 0.975 and above p = 0.025.
//! - Blocks are independent.
//! - Pixels less likely than [`SURE`] to be glacier count as none, and those likelier than 1 - [`SURE`] as glacier: what is nearly sure is wrong in a few scattered
//!   places, not a block at a time.
//!
//! An area is drawn 10,000 times, seeded (a parametric bootstrap: numbers are drawn for blocks, and blocks are not drawn from each other, since
//! the map is no sample of a larger one). The 2.5th and the 97.5th percentile are the interval. It surrounds the expected area, which is not the mapped area where
//! probabilities foresee that the map has too much or too little.
//!
//! Where it holds: on generated scenes whose errors come from a smooth random field the interval of the whole covers the truth in about 95 % if correlation
//! has fallen to 0.05 at 3.2 km, and in nearly all if it falls faster, as the interval is wider than needed then. Where it does not: errors that hang together over
//! more than 3.2 km (a snow-covered range, one kind of debris, a model that is wrong everywhere alike) are further from the expectation than the
//! interval says: it covers about 86 % for 4.8 km, 78 % for 6.4 km, 59 % for 9.6 km. A longer `--block-size` is for them. And probabilities that are not calibrated
//! for the place at hand give intervals that mean nothing.

use std::collections::BTreeMap;

use crate::dataset::noise::Random;

/// The side of a block in metres.
pub const BLOCK_M: f64 = 3200.0;
/// How often areas are drawn.
pub const RESAMPLES: usize = 10_000;
/// A probability below this counts as 0, one above 1 - this as 1.
pub const SURE: f64 = 0.01;
/// Steps of the probability in which areas of a block are kept.
const LEVELS: usize = 200;

/// How areas are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalSettings {
    /// The side of a block in metres.
    pub block_m: f64,
    /// How often areas are drawn.
    pub resamples: usize,
    /// The same seed gives the same numbers.
    pub seed: u64,
}

impl Default for IntervalSettings {
    fn default() -> Self {
        Self { block_m: BLOCK_M, resamples: RESAMPLES, seed: 1 }
    }
}

/// An area of which only probabilities are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AreaInterval {
    /// The expected area, in km2.
    pub expected_km2: f64,
    /// The standard deviation of drawn areas.
    pub deviation_km2: f64,
    /// Their 2.5th percentile.
    pub low_km2: f64,
    /// Their 97.5th percentile.
    pub high_km2: f64,
}

/// What probability counts for the area: 0 and 1 for what is sure.
#[must_use]
pub fn effective(probability: f64) -> f64 {
    match probability {
        p if p < SURE => 0.0,
        p if p > 1.0 - SURE => 1.0,
        p => p,
    }
}

/// The pixels of one glacier, or of all, by blocks.
#[derive(Debug, Clone, Default)]
pub struct ProbableArea {
    expected: f64,
    /// Of pixels that are sure.
    sure: f64,
    /// Of every block with doubtful pixels: their areas by probability.
    blocks: BTreeMap<usize, Vec<f64>>,
}

impl ProbableArea {
    /// Adds a pixel of a block. A probability that is not a number adds nothing.
    #[expect(clippy::cast_possible_truncation, reason = "probabilities are from 0 to 1")]
    pub fn add(&mut self, block: usize, km2: f64, probability: f64) {
        if probability.is_nan() {
            return;
        }
        let p = effective(probability);
        self.expected += km2 * p;
        if p == 0.0 || p == 1.0 {
            self.sure += km2 * p;
            return;
        }
        let levels = self.blocks.entry(block).or_insert_with(|| vec![0.0; LEVELS]);
        if let Some(level) = levels.get_mut((p * LEVELS as f64) as usize) {
            *level += km2;
        }
    }

    /// The expected area in km2.
    #[must_use]
    pub fn expected_km2(&self) -> f64 {
        self.expected
    }

    /// Draws areas. `stream` makes the numbers of one glacier independent of those of others. Takes `resamples` times the blocks with doubtful pixels.
    #[must_use]
    pub fn interval(&self, settings: &IntervalSettings, stream: u64) -> AreaInterval {
        let resamples = settings.resamples.max(1);
        let mut drawn = vec![self.sure; resamples];
        // Areas within a level are taken to lie evenly in it; what this moves the mean by is given back.
        let mut mean = self.sure;
        let mut random = Random::new(settings.seed, stream);
        for levels in self.blocks.values() {
            // The area above each level's lower edge.
            let mut above = vec![0.0; LEVELS + 1];
            for (level, km2) in levels.iter().enumerate().rev() {
                above[level] = above[level + 1] + km2;
                mean += km2 * (level as f64 + 0.5) / LEVELS as f64;
            }
            for area in &mut drawn {
                let u = random.uniform(0.0, LEVELS as f64);
                #[expect(clippy::cast_possible_truncation, reason = "below the number of levels")]
                let level = (u as usize).min(LEVELS - 1);
                *area += above[level] + (above[level + 1] - above[level]) * (u - level as f64);
            }
        }
        let shift = self.expected - mean;
        drawn.iter_mut().for_each(|area| *area = (*area + shift).max(0.0));
        drawn.sort_unstable_by(f64::total_cmp);
        let tail = resamples / 40;
        let at = |number: usize| drawn.get(number).copied().unwrap_or(self.expected);
        let squares: f64 = drawn.iter().map(|area| (area - self.expected).powi(2)).sum();
        AreaInterval {
            expected_km2: self.expected,
            deviation_km2: (squares / resamples as f64).sqrt(),
            low_km2: at(tail),
            high_km2: at(resamples - 1 - tail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> IntervalSettings {
        IntervalSettings::default()
    }

    #[test]
    fn one_block_by_hand() {
        let mut area = ProbableArea::default();
        // A sure half, a likely quarter, an unlikely quarter, and what does not count.
        for (p, km2) in [(0.995, 2.0), (0.6025, 1.0), (0.2025, 1.0), (0.005, 100.0), (f64::NAN, 7.0)] {
            area.add(3, km2, p);
        }
        let found = area.interval(&settings(), 0);
        assert!((found.expected_km2 - 2.805).abs() < 1e-12, "{found:?}");
        assert!((found.low_km2 - 2.0).abs() < 0.01 && (found.high_km2 - 4.0).abs() < 0.01, "{found:?}");
        // 2, 3 or 4 with the chances 0.3975, 0.4 and 0.2025.
        let variance = 0.4 + 4.0 * 0.2025 - 0.805_f64.powi(2);
        assert!((found.deviation_km2 - variance.sqrt()).abs() < 0.02, "{found:?}");
        assert_eq!(found, area.interval(&settings(), 0));
        assert_ne!(found, area.interval(&settings(), 1));
        assert_ne!(found, area.interval(&IntervalSettings { seed: 2, ..settings() }, 0));
    }

    #[test]
    fn blocks_are_independent() {
        let mut area = ProbableArea::default();
        (0..100).for_each(|block| area.add(block, 1.0, 0.5));
        let found = area.interval(&settings(), 0);
        // Binomial: sqrt(100 / 4).
        assert!((found.deviation_km2 - 5.0).abs() < 0.15 && (found.expected_km2 - 50.0).abs() < 1e-9, "{found:?}");
        assert!((found.low_km2 - 40.0).abs() <= 1.0 && (found.high_km2 - 60.0).abs() <= 1.0, "{found:?}");
        let mut sure = ProbableArea::default();
        sure.add(0, 1.5, 1.0);
        let found = sure.interval(&settings(), 0);
        assert_eq!((found.low_km2, found.high_km2, found.deviation_km2), (1.5, 1.5, 0.0));
        let nothing = ProbableArea::default().interval(&settings(), 0);
        assert_eq!((nothing.low_km2, nothing.high_km2), (0.0, 0.0));
    }

    /// Pixels of 100 m on a side of 256, blocks of 32.
    const SIDE: usize = 256;

    /// A random field of mean 0 and deviation 1 whose correlation at a distance d in pixels is exp(-d^2 / (4 sigma^2)), around a torus.
    fn field(random: &mut Random, sigma: f64) -> Vec<f64> {
        #[expect(clippy::cast_possible_truncation, reason = "some pixels")]
        let reach = (4.0 * sigma).ceil() as usize;
        let weights: Vec<f64> =
            (0..=2 * reach).map(|i| (-(i as f64 - reach as f64).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
        let scale = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        let mut values: Vec<f64> = (0..SIDE * SIDE / 2).flat_map(|_| random.gaussian_pair()).collect();
        for _ in 0..2 {
            // Along rows, and turned over in between.
            let mut smooth = vec![0.0; SIDE * SIDE];
            for row in 0..SIDE {
                for col in 0..SIDE {
                    let at = |i: usize| values[row * SIDE + (col + i + SIDE - reach % SIDE) % SIDE];
                    smooth[col * SIDE + row] = weights.iter().enumerate().map(|(i, w)| w * at(i)).sum::<f64>() / scale;
                }
            }
            values = smooth;
        }
        values
    }

    /// A scene of 25.6 km: glaciers some kilometres long with edges now sharp, now doubtful. The truth has the probabilities of the map, and errors that hang
    /// together over `range_km`, where their correlation has fallen to 0.05.
    fn covers(seed: u64, range_km: f64) -> bool {
        let mut random = Random::new(seed, 5);
        let (shape, doubt) = (field(&mut random, 14.0), field(&mut random, 20.0));
        // exp(-d^2 / (4 sigma^2)) = 0.05.
        let error = field(&mut random, range_km * 10.0 / (4.0 * 20.0_f64.ln()).sqrt());
        let km2 = 0.01;
        let (mut area, mut truth) = (ProbableArea::default(), 0.0);
        for i in 0..SIDE * SIDE {
            let p = 1.0 / (1.0 + (-(shape[i] - 0.5) / (0.12 * (0.5 * doubt[i]).exp())).exp());
            // The normal distribution's function is uniform from 0 to 1.
            let uniform = 0.5 * libm::erfc(-error[i] / std::f64::consts::SQRT_2);
            truth += if uniform < p { km2 } else { 0.0 };
            area.add(i / SIDE / 32 * 8 + i % SIDE / 32, km2, p);
        }
        let found = area.interval(&IntervalSettings { seed, ..settings() }, 0);
        (found.low_km2..=found.high_km2).contains(&truth)
    }

    #[test]
    fn intervals_cover_the_truth() {
        use rayon::prelude::*;
        let share = |range_km: f64| (0..200_u64).into_par_iter().filter(|seed| covers(*seed, range_km)).count();
        let found = share(3.2);
        println!("errors of 3.2 km: {found} of 200 intervals cover the true area");
        assert!((180..=198).contains(&found), "{found} of 200");
        if std::env::var_os("GLAVITU_FULL").is_some() {
            let others = [0.8, 1.6, 4.8, 6.4, 9.6].map(|range| (range, share(range)));
            println!("of other ranges in km: {others:?}");
            assert!(others[0].1 >= 198 && others[4].1 < 180, "{others:?}");
        }
    }
}
