//! What training minimises, and how it steps.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, TensorId};
use crate::ops::{Add, FocalLoss, Scale, TverskyLoss};

/// The loss of one head is `focal * focal loss + dice * dice loss + tversky * Tversky loss`; that of the network is the
/// output's plus `deep_supervision` times the deep-supervision head's. [`Default`] is the published objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objective {
    /// Weight of the focal loss (Lin et al. 2017).
    pub focal: f64,
    /// Its exponent: how much less well-classified pixels count.
    pub focal_gamma: f64,
    /// Weight of the dice loss (Milletari et al. 2016).
    pub dice: f64,
    /// Weight of the Tversky loss (Salehi et al. 2017).
    pub tversky: f64,
    /// What false positives weigh in the Tversky loss.
    pub tversky_alpha: f64,
    /// What false negatives weigh in the Tversky loss.
    pub tversky_beta: f64,
    /// Weight of the deep-supervision head.
    pub deep_supervision: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            focal: 1.0,
            focal_gamma: 2.0,
            dice: 0.0,
            tversky: 0.0,
            tversky_alpha: 0.3,
            tversky_beta: 0.7,
            deep_supervision: 0.5,
        }
    }
}

/// Keeps the quotients of the overlap losses finite where a class is absent.
pub const OVERLAP_SMOOTHING: f64 = 1.0;

impl Objective {
    /// Checks every number.
    ///
    /// # Errors
    /// A negative weight, or no loss at all.
    pub fn validate(&self) -> Result<()> {
        let weights = [
            ("focal", self.focal),
            ("focal_gamma", self.focal_gamma),
            ("dice", self.dice),
            ("tversky", self.tversky),
            ("tversky_alpha", self.tversky_alpha),
            ("tversky_beta", self.tversky_beta),
            ("deep_supervision", self.deep_supervision),
        ];
        for (name, value) in weights {
            if !(0.0..=1e3).contains(&value) {
                return Err(Error::bad_argument(format!("{name} {value}"), "0 to 1000", "correct the objective"));
            }
        }
        if self.focal + self.dice + self.tversky <= 0.0 {
            return Err(Error::bad_argument(
                "no loss with a weight above 0",
                "focal, dice or tversky above 0",
                "give one of them a weight",
            ));
        }
        Ok(())
    }

    /// Appends one head's loss to a graph.
    ///
    /// # Errors
    /// Logits and target of different shapes.
    pub(crate) fn append(
        &self,
        graph: &mut Graph,
        logits: TensorId,
        target: TensorId,
        weight: f64,
    ) -> Result<TensorId> {
        let mut sum = None;
        let overlap = |alpha: f64, beta: f64| TverskyLoss {
            alpha: narrow(alpha),
            beta: narrow(beta),
            smooth: narrow(OVERLAP_SMOOTHING),
        };
        for (kind, factor) in [self.focal, self.dice, self.tversky].into_iter().enumerate() {
            if factor <= 0.0 {
                continue;
            }
            let inputs = [logits, target];
            let loss = match kind {
                0 => graph.apply(FocalLoss { gamma: narrow(self.focal_gamma) }, &inputs)?,
                1 => graph.apply(overlap(0.5, 0.5), &inputs)?,
                _ => graph.apply(overlap(self.tversky_alpha, self.tversky_beta), &inputs)?,
            };
            let loss = graph.apply(Scale { factor: narrow(factor * weight) }, &[loss])?;
            sum = Some(match sum {
                None => loss,
                Some(sum) => graph.apply(Add, &[sum, loss])?,
            });
        }
        sum.ok_or_else(|| Error::bad_argument("no loss", "one at least", "give one a weight"))
    }
}

/// How the optimiser steps: Adam (Kingma & Ba 2015) in Keras's form. [`Default`] is the published setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamSettings {
    /// How much of the mean gradient is kept from step to step.
    pub beta1: f64,
    /// How much of the mean square is kept.
    pub beta2: f64,
    /// Added to the root of the mean square, after its bias correction.
    pub epsilon: f64,
    /// The largest norm of all gradients together; longer ones are shortened to it. 0 turns it off.
    pub clip_norm: f64,
    /// How far the weights are moved uphill before the gradient is taken (Foret et al. 2021); doubles the work. 0 turns it off.
    pub sharpness: f64,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, clip_norm: 0.0, sharpness: 0.0 }
    }
}

impl AdamSettings {
    /// Checks every number.
    ///
    /// # Errors
    /// One that cannot be.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("beta1", self.beta1, 0.0..0.999_999),
            ("beta2", self.beta2, 0.0..0.999_999_9),
            ("epsilon", self.epsilon, 1e-12..1.0),
            ("clip_norm", self.clip_norm, 0.0..1e9),
            ("sharpness", self.sharpness, 0.0..10.0),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(Error::bad_argument(
                    format!("{name} {value}"),
                    format!("from {} to below {}", range.start, range.end),
                    "correct the optimiser's settings",
                ));
            }
        }
        Ok(())
    }

    /// The rate of step `step` (from 1 on) with its bias corrections: `lr sqrt(1 - beta2^t) / (1 - beta1^t)`.
    #[must_use]
    pub fn rate(&self, learning_rate: f64, step: u64) -> f64 {
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        learning_rate * (1.0 - self.beta2.powi(t)).sqrt() / (1.0 - self.beta1.powi(t))
    }
}

/// A setting as operators hold it.
#[expect(clippy::cast_possible_truncation, reason = "operators compute in f32")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}
