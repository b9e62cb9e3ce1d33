//! How much the members of a prediction agree: their mean, variance and mutual information.
//!
//! A member is a model under one symmetry with one run of dropout. Within a window the members' probabilities of glacier p have a mean, a variance
//! and an entropy each; blending averages these over windows as it averages probabilities ([`Blend::of_channels`](crate::infer::blend::Blend::of_channels)). So
//! any number of members takes the memory of one, and masks of dropout may differ from window to window.
//!
//! With h(p) = -p log2 p - (1 - p) log2 (1 - p), in bits, and averages over members (mean) and windows (blend):
//!
//! - predictive entropy: h(blend(mean(p))), of which confidence is the complement;
//! - mutual information: blend(h(mean(p)) - mean(h(p))), what a pixel's class would tell of the member (Houlsby et al. 2011, BALD; Depeweg et al. 2018): the part
//!   of the uncertainty that comes from the model, 0 where all members agree in every window;
//! - standard deviation: sqrt(blend(mean(p^2) - mean(p)^2)).
//!
//! Where windows agree, or a pixel has one window, these are the values of the members' own blended maps. Else they are upper bounds of those: both
//! variance and mutual information are convex in the members' probabilities, so blending whole maps first can only lower them. Disagreement between
//! overlapping windows does not count: members that are all the same have no spread.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::infer::symmetry::Symmetry;

/// File name of the raster of predictive entropies.
pub const ENTROPY_FILE: &str = "entropy.tif";
/// File name of that of mutual information.
pub const MUTUAL_INFORMATION_FILE: &str = "mutual_information.tif";
/// File name of that of standard deviations.
pub const STANDARD_DEVIATION_FILE: &str = "standard_deviation.tif";

/// Values of every pixel: mean probability, variance, mutual information.
pub const CHANNELS: usize = 3;

/// The entropy of the probability of one of two classes in bits, 0 to 1; NaN stays NaN.
#[must_use]
pub fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { p * 0.0 };
    term(p) + term(1.0 - p)
}

/// What the members said of one window so far.
#[derive(Debug, Clone)]
pub struct Moments {
    tile: usize,
    members: f64,
    /// Mean probability, sum of squared differences from it (Welford 1962: exactly 0 for equal members), mean entropy.
    pixels: Vec<[f64; 3]>,
}

impl Moments {
    /// No member yet, of windows of `tile` x `tile` pixels.
    #[must_use]
    pub fn new(tile: usize) -> Self {
        Self { tile, members: 0.0, pixels: vec![[0.0; 3]; tile * tile] }
    }

    /// Forgets all members.
    pub fn clear(&mut self) {
        self.members = 0.0;
        self.pixels.fill([0.0; 3]);
    }

    /// Adds a member: probabilities of the window as turned by `symmetry`, `(tile, tile, classes)`, of which `class` is the one in question.
    ///
    /// # Errors
    /// The length is not that of a window.
    pub fn add(&mut self, symmetry: Symmetry, probabilities: &[f32], classes: usize, class: usize) -> Result<()> {
        let tile = self.tile;
        if class >= classes || probabilities.len() != tile * tile * classes {
            return Err(Error::shape(
                "members",
                format!("class {class} of {classes} in {} probabilities", probabilities.len()),
                format!("{tile} x {tile} pixels"),
            ));
        }
        self.members += 1.0;
        let members = self.members;
        self.pixels.par_chunks_mut(tile).enumerate().for_each(|(row, pixels)| {
            for (col, [mean, squares, uncertain]) in pixels.iter_mut().enumerate() {
                let (r, c) = symmetry.turned(tile, row, col);
                let p = f64::from(probabilities[(r * tile + c) * classes + class]);
                let difference = p - *mean;
                *mean += difference / members;
                *squares += difference * (p - *mean);
                *uncertain += (entropy(p) - *uncertain) / members;
            }
        });
        Ok(())
    }

    /// Mean probability, variance and mutual information of every pixel, `(tile, tile, 3)`.
    #[must_use]
    pub fn channels(&self) -> Vec<f32> {
        let members = self.members.max(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32 in and out")]
        let of_pixel = |[mean, squares, uncertain]: &[f64; 3]| {
            // A value that is not a number must stay so, to be found.
            let information = entropy(*mean) - uncertain;
            let information = if information < 0.0 { 0.0 } else { information };
            [*mean, squares / members, information].map(|value| value as f32)
        };
        self.pixels.par_iter().flat_map_iter(of_pixel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropies() {
        assert_eq!((entropy(0.0), entropy(1.0), entropy(0.5)), (0.0, 0.0, 1.0));
        // By hand: -(1/4) log2(1/4) - (3/4) log2(3/4).
        assert!((entropy(0.25) - (0.5 + 0.75 * (4.0_f64 / 3.0).log2())).abs() < 1e-15);
        assert!(entropy(f64::NAN).is_nan());
    }

    #[test]
    fn moments_are_those_of_the_definition() {
        let tile = 4;
        // Turned by each symmetry, so that they lie on each other again.
        let member = |n: usize| -> Vec<f32> {
            (0..tile * tile)
                .map(|i| f32::from(u8::try_from((n * 37 + i * 11) % 101).expect("below 101")) / 100.0)
                .collect()
        };
        let mut moments = Moments::new(tile);
        for again in 0..2 {
            for (n, symmetry) in Symmetry::ALL.into_iter().enumerate() {
                let both: Vec<f32> = member(n).iter().flat_map(|p| [1.0 - p, *p]).collect();
                let mut turned = vec![0.0; both.len()];
                symmetry.turn(tile, 2, &both, &mut turned);
                moments.add(symmetry, &turned, 2, 1).expect("a window");
            }
            for (i, found) in moments.channels().chunks_exact(CHANNELS).enumerate() {
                let all: Vec<f64> = (0..8).map(|n| f64::from(member(n)[i])).collect();
                let mean = all.iter().sum::<f64>() / 8.0;
                let variance = all.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / 8.0;
                let information = entropy(mean) - all.iter().map(|p| entropy(*p)).sum::<f64>() / 8.0;
                assert!(variance > 0.01 && information > 0.01);
                for (found, expected) in found.iter().zip([mean, variance, information]) {
                    assert!((f64::from(*found) - expected).abs() < 1e-7, "{again} {i}: {found} {expected}");
                }
            }
            moments.clear();
        }
        assert!(moments.add(Symmetry::IDENTITY, &[0.5; 16], 2, 1).is_err());
        assert!(moments.add(Symmetry::IDENTITY, &[0.5; 32], 2, 2).is_err());
    }

    #[test]
    fn equal_members_have_no_spread() {
        let mut moments = Moments::new(2);
        let p = [0.1_f32, 0.123_456_7, 0.0, 1.0];
        for _ in 0..7 {
            moments.add(Symmetry::IDENTITY, &p, 1, 0).expect("a window");
        }
        let expected: Vec<f32> = p.iter().flat_map(|p| [*p, 0.0, 0.0]).collect();
        assert_eq!(moments.channels(), expected);
        moments.add(Symmetry::IDENTITY, &[f32::NAN; 4], 1, 0).expect("a window");
        assert!(moments.channels().iter().all(|value| value.is_nan()));
    }
}
