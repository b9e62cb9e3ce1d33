//! Counts of right and wrong pixels, and the scores made of them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Pixels by what they are and what they were taken for. Positive is class 1, glacier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Glacier, found.
    pub true_positive: u64,
    /// Other, taken for glacier.
    pub false_positive: u64,
    /// Glacier, missed.
    pub false_negative: u64,
    /// Other, seen as such.
    pub true_negative: u64,
}

impl Confusion {
    /// Counts one pixel.
    pub fn count(&mut self, is_glacier: bool, found: bool) {
        *match (is_glacier, found) {
            (true, true) => &mut self.true_positive,
            (true, false) => &mut self.false_negative,
            (false, true) => &mut self.false_positive,
            (false, false) => &mut self.true_negative,
        } += 1;
    }

    /// Counts the labelled pixels of some samples. Both slices are (pixels, 2); a class is the larger of the two, class 0 where they are
    /// equal. Unlabelled pixels, (0, 0) in the target, do not count.
    ///
    /// # Errors
    /// The slices differ in length.
    pub fn add(&mut self, probabilities: &[f32], target: &[f32]) -> Result<()> {
        if probabilities.len() != target.len() || !target.len().is_multiple_of(2) {
            return Err(Error::bad_argument(
                format!("{} probabilities for {} labels", probabilities.len(), target.len()),
                "two of each for every pixel",
                "pass arrays of the same shape",
            ));
        }
        for (p, t) in probabilities.chunks_exact(2).zip(target.chunks_exact(2)) {
            if t[0] != 0.0 || t[1] != 0.0 {
                self.count(t[1] > t[0], p[1] > p[0]);
            }
        }
        Ok(())
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.true_positive += other.true_positive;
        self.false_positive += other.false_positive;
        self.false_negative += other.false_negative;
        self.true_negative += other.true_negative;
    }

    /// Number of pixels.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    /// Intersection over union of glacier (Jaccard 1912); none where there is no glacier and none was found.
    #[must_use]
    pub fn iou(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)
    }

    /// The part of what was found that is glacier.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// The part of the glaciers that was found.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    /// The harmonic mean of precision and recall.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)
    }

    /// The part of all pixels that is right.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positive + self.true_negative, self.pixels())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a data set of 2^52 pixels would take 100 PB")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let c = Confusion { true_positive: 6, false_positive: 2, false_negative: 4, true_negative: 8 };
        assert_eq!(c.iou(), Some(0.5));
        assert_eq!(c.precision(), Some(0.75));
        assert_eq!(c.recall(), Some(0.6));
        assert_eq!(c.f1(), Some(12.0 / 18.0));
        assert_eq!(c.accuracy(), Some(0.7));
        let mut twice = c;
        twice.merge(&c);
        assert_eq!((twice.pixels(), twice.iou()), (40, c.iou()));
        assert_eq!((Confusion::default().iou(), Confusion::default().accuracy()), (None, None));
    }

    #[test]
    fn unlabelled_pixels_and_ties() {
        let mut c = Confusion::default();
        let target = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.05, 0.95, 1.0, 0.0];
        let found = [0.2, 0.8, 0.5, 0.5, 0.1, 0.9, 0.6, 0.4, 0.3, 0.7];
        c.add(&found, &target).expect("equal lengths");
        assert_eq!(c, Confusion { true_positive: 1, false_positive: 1, false_negative: 1, true_negative: 1 });
        assert!(c.add(&found, &target[..8]).is_err());
        assert!(c.add(&found[..1], &target[..1]).is_err());
    }
}
