//! The learning rate over a training run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The shape of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Cosine decay with warm restarts (SGDR, Loshchilov and Hutter 2017): the published recipe.
    #[default]
    Restarts,
    /// One cosine from the first step to the last: published for fine-tuning.
    Cosine,
    /// The same rate throughout.
    Constant,
}

/// When the rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// With every step, as Keras' schedules do: the published recipe.
    #[default]
    Step,
    /// With every epoch: all of its steps have the rate of its first.
    Epoch,
}

/// A learning rate schedule. [`Default`] gives the published one: restarts at epochs 10, 30, 70 and 150.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The shape of the curve.
    pub kind: ScheduleKind,
    /// When the rate changes.
    pub update: Update,
    /// Epochs of the first period, for restarts.
    pub first_period: f64,
    /// Each period is this many times as long as the one before, for restarts.
    pub growth: f64,
    /// Epochs of the decay, for one cosine; afterwards the rate stays at the lowest. 0 stands for all epochs of the run.
    pub decay: f64,
    /// The lowest rate, as a part of the highest.
    pub lowest: f64,
    /// Epochs at the beginning during which the rate is lowered, rising linearly with the steps to the scheduled one. 0 for none.
    pub warm_up: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Restarts,
            update: Update::Step,
            first_period: 10.0,
            growth: 2.0,
            decay: 0.0,
            lowest: 0.0,
            warm_up: 0.0,
        }
    }
}

impl Schedule {
    /// The published schedule of fine-tuning: one cosine.
    #[must_use]
    pub fn cosine() -> Self {
        Self { kind: ScheduleKind::Cosine, ..Self::default() }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the first that cannot be.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("first_period", self.first_period, self.first_period > 0.0, "epochs above 0"),
            ("growth", self.growth, self.growth >= 1.0, "1 or more"),
            ("decay", self.decay, self.decay >= 0.0, "epochs, or 0 for all of the run"),
            ("lowest", self.lowest, (0.0..=1.0).contains(&self.lowest), "a part from 0 to 1"),
            ("warm_up", self.warm_up, self.warm_up >= 0.0, "epochs, or 0 for none"),
        ];
        match checks.into_iter().find(|(_, value, good, _)| !good || !value.is_finite()) {
            None => Ok(()),
            Some((name, value, _, expected)) => Err(Error::bad_argument(
                format!("schedule.{name} = {value}"),
                expected,
                "correct it, or leave it out for the published recipe",
            )),
        }
    }

    /// The rate of a step, counted from 0, where `highest` is the rate at the start.
    ///
    /// A period of `n` steps goes from the highest rate at its first step along half a cosine; the step after its last one begins the
    /// next. This is what Keras' `CosineDecayRestarts` (t_mul 2, m_mul 1) and `CosineDecay` give.
    #[must_use]
    pub fn rate(&self, highest: f64, step: u64, steps_per_epoch: usize) -> f64 {
        let per_epoch = steps_per_epoch.max(1) as u64;
        let moment = match self.update {
            Update::Step => step,
            Update::Epoch => step - step % per_epoch,
        };
        #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 steps")]
        let (epochs, warm) = (moment as f64 / per_epoch as f64, (moment + 1) as f64 / per_epoch as f64);
        let progress = match self.kind {
            ScheduleKind::Constant => 0.0,
            ScheduleKind::Cosine if self.decay > 0.0 => (epochs / self.decay).min(1.0),
            ScheduleKind::Cosine => 0.0,
            ScheduleKind::Restarts => self.part_of_period(epochs),
        };
        let part = self.lowest + (1.0 - self.lowest) * 0.5 * (1.0 + libm::cos(PI * progress));
        let warmth = if self.warm_up > 0.0 { (warm / self.warm_up).min(1.0) } else { 1.0 };
        highest * part * warmth
    }

    /// How much of the current period has passed.
    fn part_of_period(&self, epochs: f64) -> f64 {
        let (mut start, mut length) = (0.0, self.first_period);
        // Bounded, so that no period length can make this endless; with growth 1 a division would do, but no run has this many periods.
        for _ in 0..100_000 {
            if epochs < start + length {
                break;
            }
            start += length;
            length *= self.growth;
        }
        ((epochs - start) / length).clamp(0.0, 1.0)
    }

    /// The epochs at which periods end, up to `epochs`.
    #[must_use]
    pub fn restarts(&self, epochs: u64) -> Vec<f64> {
        let (mut ends, mut end, mut length) = (Vec::new(), self.first_period, self.first_period);
        #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 epochs")]
        while self.kind == ScheduleKind::Restarts && end < epochs as f64 && ends.len() < 1000 {
            ends.push(end);
            length *= self.growth;
            end += length;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-15, "{found} instead of {expected}");
    }

    #[test]
    fn published_restarts() {
        let schedule = Schedule::default();
        let rate = |step| schedule.rate(5e-4, step, 4);
        // Periods of 10, 20, 40, 80 epochs of 4 steps: they begin at steps 0, 40, 120, 280, 600.
        for step in [0, 40, 120, 280, 600] {
            close(rate(step), 5e-4);
        }
        for (step, period, start) in [(39, 40.0, 0.0), (119, 80.0, 40.0), (279, 160.0, 120.0), (599, 320.0, 280.0)] {
            close(rate(step), 5e-4 * 0.5 * (1.0 + (PI * (step as f64 - start) / period).cos()));
        }
        // Half way and a quarter through the first period: cos(pi/2) = 0, cos(pi/4) = sqrt(1/2).
        close(rate(20), 2.5e-4);
        close(rate(10), 2.5e-4 * (1.0 + 0.5_f64.sqrt()));
        assert_eq!(schedule.restarts(150), [10.0, 30.0, 70.0]);
    }

    #[test]
    fn one_cosine_and_a_constant() {
        let schedule = Schedule { decay: 80.0, ..Schedule::cosine() };
        close(schedule.rate(5e-5, 0, 3), 5e-5);
        close(schedule.rate(5e-5, 120, 3), 2.5e-5);
        close(schedule.rate(5e-5, 240, 3), 0.0);
        close(schedule.rate(5e-5, 1000, 3), 0.0);
        let lowest = Schedule { lowest: 0.1, ..schedule };
        close(lowest.rate(1.0, 240, 3), 0.1);
        close(lowest.rate(1.0, 120, 3), 0.55);
        let constant = Schedule { kind: ScheduleKind::Constant, ..Schedule::default() };
        close(constant.rate(0.1, 12_345, 3), 0.1);
    }

    #[test]
    fn warm_up_and_epochs() {
        let schedule = Schedule { warm_up: 2.0, kind: ScheduleKind::Constant, ..Schedule::default() };
        for (step, part) in [(0, 0.125), (3, 0.5), (7, 1.0), (8, 1.0)] {
            close(schedule.rate(1.0, step, 4), part);
        }
        let by_epoch = Schedule { update: Update::Epoch, ..Schedule::default() };
        let by_step = Schedule::default();
        for step in 0..100 {
            close(by_epoch.rate(1.0, step, 4), by_step.rate(1.0, step - step % 4, 4));
        }
    }

    #[test]
    fn bad_numbers() {
        Schedule::default().validate().expect("valid");
        let spoil: [fn(&mut Schedule); 6] = [
            |s| s.first_period = 0.0,
            |s| s.growth = 0.5,
            |s| s.decay = -1.0,
            |s| s.lowest = 1.5,
            |s| s.warm_up = f64::NAN,
            |s| s.growth = f64::INFINITY,
        ];
        for change in spoil {
            let mut schedule = Schedule::default();
            change(&mut schedule);
            assert!(schedule.validate().is_err(), "{schedule:?}");
        }
    }
}
