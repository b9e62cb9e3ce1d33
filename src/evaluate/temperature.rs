//! Temperature scaling (Guo et al., ICML 2017): logits divided by one number T > 0.
//!
//! The network's probability p of the class it chooses has the logit z = ln(p / (1 - p)) >= 0. T minimises the negative log-likelihood of right and wrong
//! under the probability 1 / (1 + exp(-z / T)), which is that of softmax(logits / T). With two classes, confidence (1 - entropy / ln 2) and p tell
//! each other, so the scaled probability is a function of confidence that never falls.

use crate::error::{Error, Result};
use crate::evaluate::calibration::Calibrator;

/// The largest logit: that of the largest probability, 1 - 1e-6.
pub const LARGEST_LOGIT: f64 = 13.815_509_557_963_773;
/// Cells of z, 0.0002 wide. Their means are kept, so that the loss is exact to about the square of that.
const CELLS: usize = 1 << 16;
/// Temperatures from the inverse of this to this are looked for.
const MOST: f64 = 1e3;

/// Counts of logits, and of how often they were right. Memory does not grow with the samples.
#[derive(Debug, Clone)]
pub struct Logits {
    /// Of every cell: sum of z and number, where wrong and where right.
    cells: Vec<[(f64, u64); 2]>,
}

impl Default for Logits {
    fn default() -> Self {
        Self { cells: vec![[(0.0, 0); 2]; CELLS] }
    }
}

impl Logits {
    /// Nothing counted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the logit of the chosen class, 0 to [`LARGEST_LOGIT`]; others are taken into that range, what is not a number does not count.
    #[expect(clippy::cast_possible_truncation, reason = "within the range of cells")]
    pub fn add(&mut self, logit: f64, correct: bool) {
        if logit.is_nan() {
            return;
        }
        let z = logit.clamp(0.0, LARGEST_LOGIT);
        let cell = ((z / LARGEST_LOGIT * CELLS as f64) as usize).min(CELLS - 1);
        if let Some(cell) = self.cells.get_mut(cell) {
            let (sum, count) = &mut cell[usize::from(correct)];
            *sum += z;
            *count += 1;
        }
    }

    /// Mean z, whether right, and number, of all that was counted.
    fn groups(&self) -> impl Iterator<Item = (f64, bool, f64)> + '_ {
        let pairs = self.cells.iter().flat_map(|cell| [(cell[0], false), (cell[1], true)]);
        pairs.filter(|((_, n), _)| *n > 0).map(|((sum, n), right)| (sum / n as f64, right, n as f64))
    }

    /// The temperature of the least negative log-likelihood, and whether it lies within the range that is looked through (0.001 to 1000). It does not
    /// where all samples are right, say, and every higher confidence is better.
    ///
    /// # Errors
    /// There are no samples.
    pub fn temperature(&self) -> Result<(f64, bool)> {
        let groups: Vec<(f64, bool, f64)> = self.groups().collect();
        if groups.is_empty() {
            return Err(Error::bad_argument(
                "no samples",
                "confidences, and whether they were right",
                "give labelled data",
            ));
        }
        // The loss is convex in b = 1 / T; its slope rises.
        let slope = |b: f64| -> f64 {
            let one = |&(z, right, n): &(f64, bool, f64)| n * z * if right { -sigmoid(-z * b) } else { sigmoid(z * b) };
            groups.iter().map(one).sum()
        };
        let (mut low, mut high) = (1.0 / MOST, MOST);
        if slope(low) >= 0.0 {
            return Ok((MOST, false));
        }
        if slope(high) <= 0.0 {
            return Ok((1.0 / MOST, false));
        }
        // Halved in the logarithm until nothing lies between.
        for _ in 0..200 {
            let middle = (low * high).sqrt();
            if middle <= low || middle >= high {
                break;
            }
            if slope(middle) < 0.0 { low = middle } else { high = middle }
        }
        Ok((1.0 / (low * high).sqrt(), true))
    }

    /// The calibrator of the best temperature.
    ///
    /// # Errors
    /// As [`Logits::temperature`].
    pub fn fit(&self, origin: &str) -> Result<Calibrator> {
        Calibrator::from_temperature(self.temperature()?.0, origin)
    }
}

/// 1 / (1 + e^-z).
#[must_use]
pub fn sigmoid(z: f64) -> f64 {
    // The exponential of what is not positive does not overflow.
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// The confidence, 1 - entropy / ln 2, of two classes with the logit z.
#[must_use]
pub fn confidence_of_logit(z: f64) -> f64 {
    let (p, q) = (sigmoid(z), sigmoid(-z));
    // -p ln p - q ln q, with ln q = ln p - z.
    let entropy = q.mul_add(z, -p.ln());
    1.0 - entropy / std::f64::consts::LN_2
}

/// The logit of the chosen class whose confidence is c: from 0 where c is 0 to [`LARGEST_LOGIT`]. NaN stays NaN. A larger confidence never has a smaller
/// logit, not by a bit.
#[must_use]
pub fn logit_of_confidence(c: f64) -> f64 {
    if c.is_nan() {
        return c;
    }
    // Below, confidence is rounded to 0 for logits up to 3e-8.
    if c <= 0.0 {
        return 0.0;
    }
    // Halving asks the same questions for every c, and a larger c never says less often yes.
    let (mut low, mut high) = (0.0, LARGEST_LOGIT);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if confidence_of_logit(middle) <= c { low = middle } else { high = middle }
    }
    low
}

/// The logit of the class that a probability of glacier chooses, of two probabilities clipped to [1e-6, 1 - 1e-6].
#[must_use]
pub fn logit_of_probability(glacier: f64) -> f64 {
    let p = glacier.max(1.0 - glacier).min(1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::infer::postprocess::confidence;

    #[test]
    fn logits_and_confidences_tell_each_other() {
        for p in [0.5, 0.500_1, 0.6, 0.9, 0.99, 0.999, 0.999_99, 1.0 - 1e-6, 1.0] {
            for glacier in [p, 1.0 - p] {
                let z = logit_of_probability(glacier);
                assert!((confidence_of_logit(z) - confidence(glacier)).abs() < 1e-12, "{glacier}");
                // Near 0.5 confidence is level: a digit of it is half a digit of the logit.
                assert!((logit_of_confidence(confidence(glacier)) - z).abs() < 1e-6, "{glacier}");
            }
        }
        assert!((LARGEST_LOGIT - logit_of_probability(1.0)).abs() < 1e-9);
        assert_eq!((logit_of_confidence(-1.0), logit_of_confidence(0.0)), (0.0, 0.0));
        assert!((logit_of_confidence(1.0) - LARGEST_LOGIT).abs() < 1e-12 && logit_of_confidence(f64::NAN).is_nan());
    }

    /// Samples of logits z that are right with the probability sigmoid(z / T).
    fn samples(temperature: f64) -> Logits {
        let mut logits = Logits::new();
        for i in 0..2000_u32 {
            // Not so sure that a thousand of them would all be right.
            let z = f64::from(i) / 2000.0 * 4.0 * temperature;
            let right = (1000.0 * sigmoid(z / temperature)).round();
            for k in 0..1000_u32 {
                logits.add(z, f64::from(k) < right);
            }
        }
        logits
    }

    #[test]
    fn temperatures_are_found_again() {
        for temperature in [0.3, 1.0, 2.5] {
            let (found, inside) = samples(temperature).temperature().expect("samples");
            assert!(inside && (found / temperature - 1.0).abs() < 1e-3, "{temperature}: {found}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let mut right = Logits::new();
        right.add(1.0, true);
        assert_eq!(right.temperature().expect("a sample"), (1e-3, false));
        let mut wrong = Logits::new();
        wrong.add(1.0, false);
        assert_eq!(wrong.temperature().expect("a sample"), (1e3, false));
        assert!(Logits::new().temperature().is_err());
    }

    #[test]
    fn cells_do_not_matter() {
        // The exact minimum over the samples themselves, by Newton's steps.
        let samples: Vec<(f64, bool)> =
            (0..5000_u32).map(|i| (f64::from(i * 7919 % 5000) / 400.0, i % 13 != 0 && i % 7 != 3)).collect();
        let mut b = 0.2_f64;
        for _ in 0..100 {
            let (mut slope, mut curvature) = (0.0, 0.0);
            for &(z, right) in &samples {
                slope += z * if right { -sigmoid(-z * b) } else { sigmoid(z * b) };
                curvature += z * z * sigmoid(z * b) * sigmoid(-z * b);
            }
            b -= slope / curvature;
        }
        let mut logits = Logits::new();
        samples.iter().for_each(|&(z, right)| logits.add(z, right));
        let found = logits.temperature().expect("samples").0;
        assert!((found * b - 1.0).abs() < 1e-7, "{found} {}", 1.0 / b);
    }

    proptest! {
        #[test]
        fn logits_never_fall(a in 0.0f64..=1.0, step in 0.0f64..1e-6) {
            prop_assert!(logit_of_confidence(a) <= logit_of_confidence(a + step));
        }
    }
}
