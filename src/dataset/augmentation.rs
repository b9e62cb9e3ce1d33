//! Random changes to training patches: what the network must not depend on.
//!
//! The steps, their order, probabilities and ranges are those of Maslov et al. (2025), doi 10.1038/s41467-024-54956-x.

use serde::{Deserialize, Serialize};

use crate::dataset::noise::Random;
use crate::dataset::sampling::one_hot;
use crate::error::{Error, Result};
use crate::model::Feature;

/// How often and how strongly patches are changed. [`Default`] is as published; [`Augmentation::none`] changes nothing.
///
/// Steps run in the order of the fields. The first four move inputs and labels together; those from `gamma` on change single features,
/// each feature by its own draw, and never the labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Probability of turning the patch upside down.
    pub vertical_flip: f64,
    /// Probability of swapping left and right.
    pub horizontal_flip: f64,
    /// Probability of a turn by 90, 180 or 270 degrees, each as likely.
    pub rotation: f64,
    /// Probability of cutting out a square and enlarging it (nearest pixel) to the whole patch.
    pub crop: f64,
    /// Side of that square as a part of the patch: lower and upper bound.
    pub crop_range: [f64; 2],
    /// Probability of a region vector becoming `unknown`, so that the model works where no region is known.
    pub unknown_region: f64,
    /// Probability, per feature, of raising every channel to a power of its own. What is negative or NaN becomes 0.
    pub gamma: f64,
    /// That power: lower and upper bound.
    pub gamma_range: [f64; 2],
    /// Probability, per feature, of a rectangle of zeros.
    pub occlusion: f64,
    /// The rectangle's largest side as a part of the patch. Published: 192 of 384 pixels.
    pub occlusion_side: f64,
    /// Probability, per feature, of adding a normal number to every channel.
    pub shift: f64,
    /// Its standard deviation, in normalised units.
    pub shift_deviation: f64,
    /// Probability, per feature, of adding a normal number to every value.
    pub noise: f64,
    /// Its standard deviation, in normalised units.
    pub noise_deviation: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            vertical_flip: 0.5,
            horizontal_flip: 0.5,
            rotation: 0.75,
            crop: 0.5,
            crop_range: [0.8, 1.0],
            unknown_region: 0.1,
            gamma: 0.5,
            gamma_range: [0.8, 1.2],
            occlusion: 0.5,
            occlusion_side: 0.5,
            shift: 0.5,
            shift_deviation: 0.025,
            noise: 0.5,
            noise_deviation: 0.005,
        }
    }
}

/// A patch on its way into a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Rows and columns.
    pub(crate) side: usize,
    /// Per feature (side, side, channels).
    pub(crate) inputs: Vec<(Feature, Vec<f32>)>,
    /// Labels, (side, side, 2).
    pub(crate) target: Vec<f32>,
    /// The location input; empty without one.
    pub(crate) location: Vec<f32>,
    /// Whether the location is a region vector.
    pub(crate) has_region: bool,
    /// Whether the location tells where the patch lies.
    pub(crate) location_known: bool,
}

impl Augmentation {
    /// Changes nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            vertical_flip: 0.0,
            horizontal_flip: 0.0,
            rotation: 0.0,
            crop: 0.0,
            unknown_region: 0.0,
            gamma: 0.0,
            occlusion: 0.0,
            shift: 0.0,
            noise: 0.0,
            ..Self::default()
        }
    }

    /// Checks every probability and range.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        let check = |name: &str, found: String, good: bool, expected: &str| {
            if good {
                return Ok(());
            }
            Err(Error::bad_argument(format!("augmentation {name} {found}"), expected, "correct the value"))
        };
        let probabilities = [
            ("vertical_flip", self.vertical_flip),
            ("horizontal_flip", self.horizontal_flip),
            ("rotation", self.rotation),
            ("crop", self.crop),
            ("unknown_region", self.unknown_region),
            ("gamma", self.gamma),
            ("occlusion", self.occlusion),
            ("occlusion_side", self.occlusion_side),
            ("shift", self.shift),
            ("noise", self.noise),
        ];
        for (name, value) in probabilities {
            check(name, value.to_string(), (0.0..=1.0).contains(&value), "0 to 1")?;
        }
        for (name, value) in [("shift_deviation", self.shift_deviation), ("noise_deviation", self.noise_deviation)] {
            check(name, value.to_string(), (0.0..=1e3).contains(&value), "0 or more")?;
        }
        for (name, [low, high], most) in
            [("crop_range", self.crop_range, 1.0), ("gamma_range", self.gamma_range, 100.0)]
        {
            let good = low > 0.0 && low <= high && high <= most;
            check(name, format!("{low} to {high}"), good, &format!("two values above 0 and up to {most}, rising"))?;
        }
        Ok(())
    }

    /// Applies every step in order.
    pub(crate) fn apply(&self, sample: &mut Sample, random: &mut Random) {
        self.move_pixels(sample, random);
        if sample.has_region && random.chance(self.unknown_region) {
            sample.location = one_hot(sample.location.len(), sample.location.len().saturating_sub(1));
            sample.location_known = false;
        }
        let side = sample.side;
        for (feature, values) in &mut sample.inputs {
            let channels = feature.channels();
            if random.chance(self.gamma) {
                gamma(values, channels, self.gamma_range, random);
            }
            if random.chance(self.occlusion) {
                occlude(values, side, channels, self.occlusion_side, random);
            }
            if random.chance(self.shift) {
                shift(values, channels, self.shift_deviation, random);
            }
            if random.chance(self.noise) {
                add_noise(values, self.noise_deviation, random);
            }
        }
    }

    /// Flips, rotation and crop. They are composed into one map of source pixels, so that each array is copied once.
    fn move_pixels(&self, sample: &mut Sample, random: &mut Random) {
        let side = sample.side;
        let mut source: Option<Vec<usize>> = None;
        // After a step, pixel (row, col) is what was at `from(row, col)` before it.
        let mut step = |from: &dyn Fn(usize, usize) -> (usize, usize)| {
            let at = |row: usize, col: usize| {
                let (row, col) = from(row, col);
                let before = row * side + col;
                source.as_ref().map_or(before, |s| s[before])
            };
            let moved = (0..side).flat_map(|row| (0..side).map(move |col| (row, col)));
            let moved = moved.map(|(row, col)| at(row, col)).collect();
            source = Some(moved);
        };
        if random.chance(self.vertical_flip) {
            step(&|row, col| (side - 1 - row, col));
        }
        if random.chance(self.horizontal_flip) {
            step(&|row, col| (row, side - 1 - col));
        }
        if random.chance(self.rotation) {
            match random.below(3) {
                0 => step(&|row, col| (col, side - 1 - row)),
                1 => step(&|row, col| (side - 1 - row, side - 1 - col)),
                _ => step(&|row, col| (side - 1 - col, row)),
            }
        }
        if random.chance(self.crop) {
            let [low, high] = self.crop_range;
            let size = part_of(side, random.uniform(low, high));
            let (top, left) = (random.below(side - size + 1), random.below(side - size + 1));
            // The centre of a pixel of the patch lies in this pixel of the square.
            let nearest = |i: usize| (2 * i + 1) * size / (2 * side);
            step(&|row, col| (top + nearest(row), left + nearest(col)));
        }
        let Some(source) = source else { return };
        for (feature, values) in &mut sample.inputs {
            *values = gather(values, feature.channels(), &source);
        }
        sample.target = gather(&sample.target, 2, &source);
    }
}

/// A part of `side`, rounded to pixels, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to side")]
fn part_of(side: usize, part: f64) -> usize {
    ((side as f64 * part).round() as usize).clamp(1, side)
}

/// The pixels at `source`, in this order.
fn gather(values: &[f32], channels: usize, source: &[usize]) -> Vec<f32> {
    let mut moved = Vec::with_capacity(values.len());
    for &pixel in source {
        moved.extend_from_slice(&values[pixel * channels..(pixel + 1) * channels]);
    }
    moved
}

fn gamma(values: &mut [f32], channels: usize, [low, high]: [f64; 2], random: &mut Random) {
    let powers: Vec<f32> = (0..channels).map(|_| narrow(random.uniform(low, high))).collect();
    for pixel in values.chunks_exact_mut(channels) {
        for (value, &power) in pixel.iter_mut().zip(&powers) {
            // `libm` gives the same digits on every machine.
            let raised = libm::powf(*value, power);
            *value = if raised.is_nan() { 0.0 } else { raised };
        }
    }
}

fn occlude(values: &mut [f32], side: usize, channels: usize, largest: f64, random: &mut Random) {
    let largest = part_of(side, largest);
    let (height, width) = (1 + random.below(largest), 1 + random.below(largest));
    let (top, left) = (random.below(side - height + 1), random.below(side - width + 1));
    for row in values.chunks_exact_mut(side * channels).skip(top).take(height) {
        row[left * channels..(left + width) * channels].fill(0.0);
    }
}

fn shift(values: &mut [f32], channels: usize, deviation: f64, random: &mut Random) {
    let shifts: Vec<f32> = (0..channels).map(|_| narrow(deviation * random.gaussian_pair()[0])).collect();
    for pixel in values.chunks_exact_mut(channels) {
        pixel.iter_mut().zip(&shifts).for_each(|(value, by)| *value += by);
    }
}

fn add_noise(values: &mut [f32], deviation: f64, random: &mut Random) {
    for pair in values.chunks_mut(2) {
        let noise = random.gaussian_pair();
        pair.iter_mut().zip(noise).for_each(|(value, by)| *value += narrow(deviation * by));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the network works in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[path = "augmentation_tests.rs"]
mod tests;
