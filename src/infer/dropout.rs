//! Masks of Monte Carlo dropout (Gal and Ghahramani 2016).
//!
//! Every mask is drawn from numbers that say which one it is: the seed, the model, the window's place in the scene, the symmetry, the run and the place in
//! the network. So a seed gives one map, whatever the batch is, whichever part of the scene is mapped, and wherever an interrupted run goes on.

use rayon::prelude::*;

use crate::dataset::noise::Random;
use crate::error::{Error, Result};
use crate::executor::Arrays;
use crate::infer::symmetry::Symmetry;
use crate::infer::tiles::TileWindow;
use crate::model::network::DropoutMask;

/// Dropout of one model.
#[derive(Debug, Clone)]
pub struct Dropout {
    seed: u64,
    rate: f32,
    masks: Vec<DropoutMask>,
}

/// One run of a window through the network.
#[derive(Debug, Clone, Copy)]
pub struct DropoutRun {
    /// The window, placed in the whole scene.
    pub window: TileWindow,
    /// How it is turned.
    pub symmetry: Symmetry,
    /// Number of the run.
    pub run: usize,
}

impl Dropout {
    /// Dropout at `masks`, see [`dropout_graph`](crate::model::network::dropout_graph), of the share `rate` of all channels or values. The
    /// seeds of the models of one prediction come from `seed` and the number of the `model`.
    ///
    /// # Errors
    /// The rate is not from 0 to below 1.
    pub fn new(masks: Vec<DropoutMask>, rate: f32, seed: u64, model: usize) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::bad_argument(
                format!("--dropout-rate {rate}"),
                "a rate from 0 to below 1",
                "give 0.1, say, or leave it out for the model's own",
            ));
        }
        Ok(Self { seed: Random::new(seed, model as u64).bits(), rate, masks })
    }

    /// The rate.
    #[must_use]
    pub fn rate(&self) -> f32 {
        self.rate
    }

    /// Writes the masks of some runs to the inputs of a batch of `batch` tiles. The rest of a batch that is not full keeps what it has.
    pub fn fill(&self, runs: &[DropoutRun], batch: usize, inputs: &mut Arrays) {
        for (place, mask) in self.masks.iter().enumerate() {
            let input = inputs.entry(mask.name.clone()).or_default();
            input.resize(batch * mask.values, 1.0);
            input.par_chunks_exact_mut(mask.values.max(1)).zip(runs).for_each(|(out, run)| self.draw(run, place, out));
        }
    }

    /// One mask of one run.
    fn draw(&self, run: &DropoutRun, place: usize, out: &mut [f32]) {
        let DropoutRun { window, symmetry, run, .. } = *run;
        let parts = [window.row.cast_unsigned(), window.col.cast_unsigned(), symmetry.number() as u64, run as u64];
        let key = parts.into_iter().fold(self.seed, |key, part| Random::new(key, part).bits());
        let mut random = Random::new(key, place as u64);
        let kept = 1.0 / (1.0 - self.rate);
        // A value is dropped if its 32 bits, as a fraction of 2^32, are below the rate.
        let limit = f64::from(self.rate) * 2.0_f64.powi(32);
        let factor = |bits: u64| if (bits as f64) < limit { 0.0 } else { kept };
        for pair in out.chunks_mut(2) {
            let bits = random.bits();
            for (value, bits) in pair.iter_mut().zip([bits >> 32, bits & u64::from(u32::MAX)]) {
                *value = factor(bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(row: i64, number: usize) -> DropoutRun {
        DropoutRun { window: TileWindow { row, col: -3, size: 64 }, symmetry: Symmetry::IDENTITY, run: number }
    }

    fn dropout(rate: f32, seed: u64) -> Dropout {
        let masks = [("a", 100_000), ("b", 7)].map(|(name, values)| DropoutMask { name: name.into(), values });
        Dropout::new(masks.to_vec(), rate, seed, 0).expect("a rate")
    }

    fn drawn(dropout: &Dropout, runs: &[DropoutRun], batch: usize) -> Arrays {
        let mut inputs = Arrays::new();
        dropout.fill(runs, batch, &mut inputs);
        inputs
    }

    #[test]
    fn the_share_is_the_rate_and_the_mean_is_one() {
        let masks = drawn(&dropout(0.3, 1), &[run(5, 0)], 1);
        let dropped = masks["a"].iter().filter(|v| **v == 0.0).count() as f64;
        // 4 deviations of a binomial.
        assert!((dropped - 30_000.0).abs() < 4.0 * (100_000.0 * 0.3 * 0.7_f64).sqrt(), "{dropped}");
        assert!(masks["a"].iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.7).abs() < 1e-6));
        // Neighbours are independent.
        let pairs = masks["a"].chunks_exact(2).filter(|pair| pair == &[0.0, 0.0]).count() as f64;
        assert!((pairs - 4500.0).abs() < 4.0 * (50_000.0 * 0.09 * 0.91_f64).sqrt(), "{pairs}");
        assert!(drawn(&dropout(0.0, 1), &[run(5, 0)], 1)["a"].iter().all(|v| *v == 1.0));
    }

    #[test]
    fn masks_depend_on_what_they_are_for_alone() {
        let first = drawn(&dropout(0.5, 1), &[run(5, 0), run(5, 1), run(6, 0)], 4);
        assert_eq!(first["b"].len(), 28);
        let part = |n: usize| first["a"][n * 100_000..(n + 1) * 100_000].to_vec();
        assert_eq!(drawn(&dropout(0.5, 1), &[run(6, 0)], 1)["a"], part(2));
        assert!(part(0) != part(1) && part(0) != part(2) && part(1) != part(2));
        assert!(drawn(&dropout(0.5, 2), &[run(6, 0)], 1)["a"] != part(2));
        let turned = DropoutRun { symmetry: Symmetry::ALL[3], ..run(6, 0) };
        assert!(drawn(&dropout(0.5, 1), &[turned], 1)["a"] != part(2));
        let other = Dropout::new(dropout(0.5, 1).masks, 0.5, 1, 1).expect("a rate");
        assert!(drawn(&other, &[run(6, 0)], 1)["a"] != part(2));
    }

    #[test]
    fn rates_that_cannot_be() {
        for rate in [1.0, -0.1, f32::NAN, 2.0] {
            assert!(Dropout::new(Vec::new(), rate, 1, 0).is_err(), "{rate}");
        }
    }
}
