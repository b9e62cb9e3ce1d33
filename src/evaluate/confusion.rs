//! Counts of agreement between a predicted and a reference class, and the scores made of them.
//!
//! Class 1 is glacier. With true positives TP, false positives FP, false negatives FN and true negatives TN:
//!
//! | score | formula | undefined (`None`) where |
//! |---|---|---|
//! | intersection over union (Jaccard 1912) | TP / (TP + FP + FN) | neither side has a glacier |
//! | F1 (Dice 1945) | 2 TP / (2 TP + FP + FN) | neither side has a glacier |
//! | precision | TP / (TP + FP) | nothing is predicted |
//! | recall | TP / (TP + FN) | the reference has no glacier |
//! | accuracy | (TP + TN) / all | nothing is counted |
//!
//! Counts of several scenes or regions are summed before the scores are taken ([`Confusion::merge`]): a mean of the scores would
//! weigh a small scene as much as a large one.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How many pixels fall into each pair of predicted and reference class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confusion {
    /// Glacier in both.
    pub tp: u64,
    /// Predicted as glacier, but not one.
    pub fp: u64,
    /// A glacier that was not predicted.
    #[serde(rename = "fn")]
    pub fn_: u64,
    /// Glacier in neither.
    pub tn: u64,
}

impl Confusion {
    /// Counts one pixel.
    pub fn add(&mut self, predicted_is_ice: bool, is_ice: bool) {
        *match (predicted_is_ice, is_ice) {
            (true, true) => &mut self.tp,
            (true, false) => &mut self.fp,
            (false, true) => &mut self.fn_,
            (false, false) => &mut self.tn,
        } += 1;
    }

    /// Counts the labelled pixels of some samples. Both slices are (pixels, 2): probabilities and one-hot labels of (other, glacier). A class is
    /// the larger of the two, class 0 where they are equal. Unlabelled pixels, (0, 0) in the target, do not count.
    ///
    /// # Errors
    /// The slices differ in length.
    pub fn add_labelled(&mut self, probabilities: &[f32], target: &[f32]) -> Result<()> {
        if probabilities.len() != target.len() || !target.len().is_multiple_of(2) {
            return Err(Error::bad_argument(
                format!("{} probabilities for {} labels", probabilities.len(), target.len()),
                "two of each for every pixel",
                "pass arrays of the same shape",
            ));
        }
        for (p, t) in probabilities.as_chunks::<2>().0.iter().zip(target.as_chunks::<2>().0) {
            if is_labelled(t) {
                self.add(p[1] > p[0], t[1] > t[0]);
            }
        }
        Ok(())
    }

    /// Adds the counts of another part.
    pub fn merge(&mut self, other: &Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.fn_ += other.fn_;
        self.tn += other.tn;
    }

    /// All pixels counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tp + self.fp + self.fn_ + self.tn
    }

    /// Pixels predicted as glacier.
    #[must_use]
    pub fn predicted(&self) -> u64 {
        self.tp + self.fp
    }

    /// Pixels that the reference holds for glacier.
    #[must_use]
    pub fn reference(&self) -> u64 {
        self.tp + self.fn_
    }

    /// Intersection over union of class 1.
    #[must_use]
    pub fn iou(&self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp + self.fn_)
    }

    /// F1 score of class 1, the harmonic mean of precision and recall.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }

    /// The part of the predicted glaciers that is glacier.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.tp, self.predicted())
    }

    /// The part of the reference's glaciers that was predicted.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.tp, self.reference())
    }

    /// The part of all pixels that has the right class.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.tp + self.tn, self.total())
    }
}

/// Whether a pixel has a label: (0, 0) is none.
#[must_use]
pub fn is_labelled(target: &[f32; 2]) -> bool {
    *target != [0.0, 0.0]
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        self.merge(&other);
    }
}

impl Sum for Confusion {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let mut counts = Confusion::default();
        for (predicted, reference, times) in [(true, true, 6), (true, false, 2), (false, true, 4), (false, false, 8)] {
            (0..times).for_each(|_| counts.add(predicted, reference));
        }
        assert_eq!(counts, Confusion { tp: 6, fp: 2, fn_: 4, tn: 8 });
        assert_eq!((counts.total(), counts.predicted(), counts.reference()), (20, 8, 10));
        assert_eq!(counts.iou(), Some(0.5));
        assert_eq!(counts.f1(), Some(12.0 / 18.0));
        assert_eq!(counts.precision(), Some(0.75));
        assert_eq!(counts.recall(), Some(0.6));
        assert_eq!(counts.accuracy(), Some(0.7));
    }

    #[test]
    fn undefined_scores_are_none() {
        let empty = Confusion::default();
        for score in [empty.iou(), empty.f1(), empty.precision(), empty.recall(), empty.accuracy()] {
            assert_eq!(score, None);
        }
        let no_glacier = Confusion { tn: 5, ..empty };
        assert_eq!((no_glacier.iou(), no_glacier.recall(), no_glacier.accuracy()), (None, None, Some(1.0)));
        let missed = Confusion { fn_: 5, ..empty };
        assert_eq!((missed.iou(), missed.precision(), missed.recall()), (Some(0.0), None, Some(0.0)));
    }

    #[test]
    fn parts_add_up() {
        let parts = [Confusion { tp: 1, fp: 2, fn_: 3, tn: 4 }, Confusion { tp: 10, fp: 20, fn_: 30, tn: 40 }];
        let whole = Confusion { tp: 11, fp: 22, fn_: 33, tn: 44 };
        assert_eq!(parts.into_iter().sum::<Confusion>(), whole);
        let mut merged = parts[0];
        merged.merge(&parts[1]);
        assert_eq!(merged, whole);
        merged += Confusion::default();
        assert_eq!(merged, whole);
        assert_eq!(serde_json::to_string(&whole).ok().as_deref(), Some(r#"{"tp":11,"fp":22,"fn":33,"tn":44}"#));
    }

    #[test]
    fn unlabelled_pixels_and_ties() {
        let mut counts = Confusion::default();
        let target = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.05, 0.95, 1.0, 0.0];
        let found = [0.2, 0.8, 0.5, 0.5, 0.1, 0.9, 0.6, 0.4, 0.3, 0.7];
        counts.add_labelled(&found, &target).expect("equal lengths");
        assert_eq!(counts, Confusion { tp: 1, fp: 1, fn_: 1, tn: 1 });
        assert!(counts.add_labelled(&found, &target[..8]).is_err());
        assert!(counts.add_labelled(&found[..1], &target[..1]).is_err());
    }
}
