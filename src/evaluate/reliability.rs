//! Whether confidence is what it should be: the share of pixels of that confidence that are right.
//!
//! Samples are pairs of a confidence c in 0..=1 and whether the class was right. They are counted one by one, in memory that does not grow, and in sums of
//! whole numbers: the same samples give the same measures to the last bit in any order and in any parts ([`Reliability::merge`]).
//!
//! | measure | definition |
//! |---|---|
//! | expected calibration error, ECE | sum over bins of n_b / N * abs(accuracy_b - mean confidence_b); bin i of n equally wide ones holds i/n <= c < (i+1)/n, the last one 1 too (Naeini et al. 2015; Guo et al. 2017) |
//! | adaptive ECE | the same over n bins of equally many samples (Nguyen and O'Connor 2015; Nixon et al. 2019) |
//! | Brier score | mean of (c - right)^2, right being 1 or 0 (Brier 1950): of the confidence as chance of being right |
//! | negative log-likelihood | mean of -ln c where right, -ln(1 - c) where wrong, c clipped to [1e-6, 1 - 1e-6] |
//!
//! Bins of equally many samples are made of [`CELLS`] equally wide cells of c. A cell that lies across two bins gives each its share of samples with the
//! cell's mean confidence and accuracy, so that the order of samples of one confidence does not matter.

use serde::Serialize;

/// Numbers of equally wide bins whose edges are exact.
pub const EQUAL_WIDTH: [usize; 3] = [10, 15, 100];
/// Cells of c from which other bins are made.
pub const CELLS: usize = 1 << 16;
/// How far from 0 and 1 a confidence is taken to be for the logarithm.
const CLIP: f64 = 1e-6;
/// One in the whole numbers that confidences and squares are summed in.
const ONE: f64 = (1_u64 << 60) as f64;
/// The same for logarithms, which reach 13.8.
const ONE_LOG: f64 = (1_u64 << 56) as f64;

/// What is counted of some samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    correct: u64,
    /// The sum of confidences in units of 2^-60.
    confidence: u128,
}

impl Tally {
    fn add(&mut self, confidence: u64, correct: bool) {
        self.count += 1;
        self.correct += u64::from(correct);
        self.confidence += u128::from(confidence);
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.correct += other.correct;
        self.confidence += other.confidence;
    }

    fn sum(&self) -> f64 {
        self.confidence as f64 / ONE
    }
}

/// The samples of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// The least confidence that belongs to it.
    pub low: f64,
    /// Where the next one begins.
    pub high: f64,
    /// Samples; not whole in bins of equally many.
    pub count: f64,
    /// Mean confidence; `None` without samples.
    pub confidence: Option<f64>,
    /// The share of samples that are right; `None` without samples.
    pub accuracy: Option<f64>,
}

impl Bin {
    fn new(low: f64, high: f64, count: f64, confidence: f64, correct: f64) -> Self {
        let mean = |sum: f64| (count > 0.0).then(|| sum / count);
        Self { low, high, count, confidence: mean(confidence), accuracy: mean(correct) }
    }

    /// How far confidence and accuracy are apart, times the number of samples.
    fn gap(&self) -> f64 {
        self.accuracy.zip(self.confidence).map_or(0.0, |(a, c)| (a - c).abs() * self.count)
    }
}

/// Counts of confidences and of how often they were right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reliability {
    /// Of the bins of [`EQUAL_WIDTH`].
    bins: [Vec<Tally>; 3],
    cells: Vec<Tally>,
    all: Tally,
    /// Sums in units of 2^-60 and 2^-56.
    squares: u128,
    logarithms: u128,
}

impl Default for Reliability {
    fn default() -> Self {
        Self {
            bins: EQUAL_WIDTH.map(|n| vec![Tally::default(); n]),
            cells: vec![Tally::default(); CELLS],
            all: Tally::default(),
            squares: 0,
            logarithms: 0,
        }
    }
}

impl Reliability {
    /// Nothing counted. Takes 2 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a sample. A confidence that is not a number does not count; others are taken into 0..=1.
    pub fn add(&mut self, confidence: f64, correct: bool) {
        if confidence.is_nan() {
            return;
        }
        let c = confidence.clamp(0.0, 1.0);
        let units = whole(c * ONE);
        for (bins, n) in self.bins.iter_mut().zip(EQUAL_WIDTH) {
            if let Some(bin) = bins.get_mut(index(c, n)) {
                bin.add(units, correct);
            }
        }
        if let Some(cell) = self.cells.get_mut(index(c, CELLS)) {
            cell.add(units, correct);
        }
        self.all.add(units, correct);
        let miss = if correct { 1.0 - c } else { c };
        self.squares += u128::from(whole(miss * miss * ONE));
        let chance = if correct { c } else { 1.0 - c };
        self.logarithms += u128::from(whole(-chance.clamp(CLIP, 1.0 - CLIP).ln() * ONE_LOG));
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        let bins = self.bins.iter_mut().flatten().zip(other.bins.iter().flatten());
        bins.chain(self.cells.iter_mut().zip(&other.cells)).for_each(|(a, b)| a.merge(b));
        self.all.merge(&other.all);
        self.squares += other.squares;
        self.logarithms += other.logarithms;
    }

    /// Samples counted.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.all.count
    }

    /// The share of samples that are right; `None` without samples, as all measures.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        self.mean(self.all.correct as f64)
    }

    /// The mean of all confidences.
    #[must_use]
    pub fn mean_confidence(&self) -> Option<f64> {
        self.mean(self.all.sum())
    }

    /// `n` equally wide bins. For an `n` that is not in [`EQUAL_WIDTH`], edges lie on those of the nearest cells.
    #[must_use]
    pub fn bins(&self, n: usize) -> Vec<Bin> {
        let edge = |i: usize| i as f64 / n as f64;
        let bin = |i: usize, t: &Tally| Bin::new(edge(i), edge(i + 1), t.count as f64, t.sum(), t.correct as f64);
        if let Some(exact) = self.bins.iter().find(|bins| bins.len() == n) {
            return exact.iter().enumerate().map(|(i, tally)| bin(i, tally)).collect();
        }
        let mut tallies = vec![Tally::default(); n];
        for (number, cell) in self.cells.iter().enumerate() {
            if let Some(tally) = tallies.get_mut(index((number as f64 + 0.5) / CELLS as f64, n)) {
                tally.merge(cell);
            }
        }
        tallies.iter().enumerate().map(|(i, tally)| bin(i, tally)).collect()
    }

    /// `n` bins of equally many samples, least confidence first; see the module. `low` and `high` are the edges of their cells.
    #[must_use]
    pub fn adaptive_bins(&self, n: usize) -> Vec<Bin> {
        let all = self.all.count as f64;
        let bound = |k: usize| all * k as f64 / n as f64;
        let mut bins = Vec::new();
        let (mut low, mut sums) = (None, [0.0; 3]);
        let mut before = 0_u64;
        for (number, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.count > 0) {
            let (first, end) = (before as f64, (before + cell.count) as f64);
            before += cell.count;
            let (confidence, accuracy) = (cell.sum() / cell.count as f64, cell.correct as f64 / cell.count as f64);
            let edge = |add: usize| (number + add) as f64 / CELLS as f64;
            // The last bin takes what rounding leaves.
            while bins.len() < n {
                let k = bins.len();
                let last = k + 1 == n;
                let until = if last { end } else { bound(k + 1).min(end) };
                let taken = until - bound(k).max(first);
                if taken > 0.0 {
                    low = low.or(Some(edge(0)));
                    sums = [sums[0] + taken, sums[1] + taken * confidence, sums[2] + taken * accuracy];
                }
                if last || bound(k + 1) > end {
                    break;
                }
                bins.push(Bin::new(low.take().unwrap_or(edge(0)), edge(1), sums[0], sums[1], sums[2]));
                sums = [0.0; 3];
            }
        }
        if let Some(low) = low {
            bins.push(Bin::new(low, 1.0, sums[0], sums[1], sums[2]));
        }
        bins
    }

    /// Cells that have samples: mean confidence, accuracy, number of samples; confidence rises.
    pub fn cells(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        let used = self.cells.iter().filter(|cell| cell.count > 0);
        used.map(|t| (t.sum() / t.count as f64, t.correct as f64 / t.count as f64, t.count))
    }

    /// Expected calibration error over `n` equally wide bins.
    #[must_use]
    pub fn ece(&self, n: usize) -> Option<f64> {
        self.mean(self.bins(n).iter().map(Bin::gap).sum())
    }

    /// Expected calibration error over `n` bins of equally many samples.
    #[must_use]
    pub fn adaptive_ece(&self, n: usize) -> Option<f64> {
        self.mean(self.adaptive_bins(n).iter().map(Bin::gap).sum())
    }

    /// Brier score of the confidence as chance of being right.
    #[must_use]
    pub fn brier(&self) -> Option<f64> {
        self.mean(self.squares as f64 / ONE)
    }

    /// Mean negative log-likelihood of right and wrong.
    #[must_use]
    pub fn nll(&self) -> Option<f64> {
        self.mean(self.logarithms as f64 / ONE_LOG)
    }

    /// All measures.
    #[must_use]
    pub fn measures(&self) -> Measures {
        Measures {
            samples: self.samples(),
            accuracy: self.accuracy(),
            mean_confidence: self.mean_confidence(),
            ece_10: self.ece(10),
            ece_15: self.ece(15),
            ece_100: self.ece(100),
            adaptive_ece_15: self.adaptive_ece(15),
            adaptive_ece_100: self.adaptive_ece(100),
            brier: self.brier(),
            nll: self.nll(),
        }
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.all.count > 0).then(|| sum / self.all.count as f64)
    }
}

/// The measures of some samples by their names in reports; all `None` without samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measures {
    /// How many there are.
    pub samples: u64,
    /// The share that is right.
    pub accuracy: Option<f64>,
    /// Mean confidence.
    pub mean_confidence: Option<f64>,
    /// ECE with 10 equally wide bins.
    pub ece_10: Option<f64>,
    /// With 15.
    pub ece_15: Option<f64>,
    /// With 100.
    pub ece_100: Option<f64>,
    /// ECE with 15 bins of equally many samples.
    pub adaptive_ece_15: Option<f64>,
    /// With 100.
    pub adaptive_ece_100: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
    /// Negative log-likelihood.
    pub nll: Option<f64>,
}

/// The bin of `n` that holds c.
#[expect(clippy::cast_possible_truncation, reason = "c is from 0 to 1")]
fn index(c: f64, n: usize) -> usize {
    ((c * n as f64) as usize).min(n.saturating_sub(1))
}

#[expect(clippy::cast_possible_truncation, reason = "at most 2^60")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[(f64, bool)]) -> Reliability {
        let mut all = Reliability::new();
        samples.iter().for_each(|&(c, right)| all.add(c, right));
        all
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-12)
    }

    #[test]
    fn measures_by_hand() {
        let all = of(&[(0.25, true), (0.25, false), (0.75, true), (0.75, true), (f64::NAN, true)]);
        assert_eq!(all.samples(), 4);
        assert!(close(all.accuracy(), 0.75) && close(all.mean_confidence(), 0.5));
        // Two bins of two: 0.5 against 0.25, 1 against 0.75.
        assert!([10, 15, 100, 7].iter().all(|&n| close(all.ece(n), 0.25)), "{all:?}");
        assert!(close(all.adaptive_ece(2), 0.25));
        // All in one: 0.75 against 0.5.
        assert!(close(all.ece(1), 0.25) && close(all.adaptive_ece(1), 0.25));
        assert!(close(all.brier(), (0.75_f64.powi(2) + 3.0 * 0.25_f64.powi(2)) / 4.0));
        let nll = -(0.25_f64.ln() + 3.0 * 0.75_f64.ln()) / 4.0;
        assert!(close(all.nll(), nll), "{:?} {nll}", all.nll());
        // Surely wrong is bad, but not infinitely so.
        assert!(close(of(&[(1.0, false)]).nll(), -(1e-6_f64.ln())) && close(of(&[(1.0, true)]).ece(10), 0.0));
    }

    #[test]
    fn edges_belong_to_the_upper_bin() {
        let all = of(&[(0.0, true), (0.1, true), (0.2, true), (1.0, true)]);
        let counts: Vec<f64> = all.bins(10).iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!((all.bins(10)[1].low, all.bins(10)[9].high), (0.1, 1.0));
    }

    #[test]
    fn cells_are_shared_by_bins_of_equally_many() {
        // Three of one confidence in two bins: one and a half each.
        let bins = of(&[(0.5, true), (0.5, false), (0.5, true), (0.9, true)]).adaptive_bins(2);
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [2.0, 2.0]);
        assert!(close(bins[0].accuracy, 2.0 / 3.0) && close(bins[1].accuracy, (2.0 / 3.0 + 1.0) / 2.0));
        assert!(close(bins[1].confidence, 0.7));
        assert!(Reliability::new().adaptive_bins(3).is_empty() && Reliability::new().ece(10).is_none());
    }

    proptest! {
        #[test]
        fn parts_are_the_whole(
            samples in prop::collection::vec((-0.1f64..1.1, any::<bool>()), 0..300),
            at in 0usize..300,
            n in 1usize..40,
        ) {
            let whole = of(&samples);
            let (first, second) = samples.split_at(at.min(samples.len()));
            // Backwards, too: the order does not matter.
            let mut parts = of(&second.iter().rev().copied().collect::<Vec<_>>());
            parts.merge(&of(first));
            prop_assert_eq!(&parts, &whole);
            let bins = whole.adaptive_bins(n);
            let count = samples.len() as f64;
            prop_assert!(samples.is_empty() || bins.len() == n);
            prop_assert!(bins.iter().all(|bin| (bin.count - count / n as f64).abs() < 1e-9), "{:?}", bins);
            let sum: f64 = bins.iter().filter_map(|bin| Some(bin.confidence? * bin.count)).sum();
            prop_assert!((sum - samples.iter().map(|s| s.0.clamp(0.0, 1.0)).sum::<f64>()).abs() < 1e-9);
            for ece in [whole.ece(10), whole.ece(n), whole.adaptive_ece(n)].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&ece));
            }
        }
    }
}
