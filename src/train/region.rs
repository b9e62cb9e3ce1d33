//! Bias optimisation: the region vector with which a model is surest of a scene (Maslov et al. 2025).
//!
//! For a scene of no known region, logits of all regions start at 1. Their softmax is the region vector. Adam lowers the mean entropy of the
//! predictions for random patches of the scene; the network itself does not change.

use serde::{Deserialize, Serialize};

use crate::dataset::noise::Random;
use crate::device;
use crate::error::{Error, Result};
use crate::executor::{ArraySource, Arrays};
use crate::infer::scene::Scene;
use crate::infer::tiles::{TileWindow, Tiling};
use crate::model::network::{ENTROPY, ENTROPY_GRADIENT, REGION_LOGITS, entropy_graph, input_name};
use crate::model::{Location, ModelConfig, Weights};
use crate::plan::PlanOptions;
use crate::train::objective::AdamSettings;

/// Separates the random numbers of patches from all others of the same seed.
const PATCHES: u64 = 0x7265_6769_6f6e_7331;
/// Places tried for a patch that has data in half of its pixels.
const ATTEMPTS: usize = 20;

/// How the vector is searched for. [`Default`] is as published, but for the number of patches, which is not.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionSearch {
    /// Adam's rate.
    pub learning_rate: f64,
    /// The most epochs.
    pub epochs: usize,
    /// Random patches per epoch; rounded up to whole batches.
    pub patches: usize,
    /// Patches per step.
    pub batch: usize,
    /// The search ends after so many epochs in a row without change.
    pub patience: usize,
    /// No change: the entries of the vector have changed by less than this, squared and summed.
    pub tolerance: f64,
    /// Decides the patches.
    pub seed: u64,
}

impl Default for RegionSearch {
    fn default() -> Self {
        Self { learning_rate: 1e-4, epochs: 100, patches: 64, batch: 1, patience: 5, tolerance: 1e-8, seed: 1 }
    }
}

/// What was found; written as JSON it is a file for `glavitu predict --region-vector`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionFit {
    /// Names of the entries.
    pub regions: Vec<String>,
    /// Weight of each region; their sum is 1.
    pub vector: Vec<f64>,
    /// Mean entropy of the predictions in each epoch, in nats.
    pub entropy: Vec<f64>,
    /// Whether the vector had come to rest.
    pub converged: bool,
    /// The model, by the SHA-256 of its parameters.
    pub parameters_sha256: String,
}

/// Searches for the region vector of a scene. `progress` is told the number of steps done and of all; its error ends the search.
///
/// # Errors
/// A model without a region vector, settings that cannot be, a device that fails, or what `progress` returns.
pub fn optimise_region(
    weights: &Weights,
    scene: &Scene,
    search: &RegionSearch,
    device: &str,
    options: &PlanOptions,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<RegionFit> {
    let config = weights.config();
    check(search)?;
    let mut executor = device::executor(device, &entropy_graph(config, search.batch)?, options)?;
    let Location::Regions(regions) = &config.location else {
        // `entropy_graph` has refused it.
        return Err(Error::bad_argument("a model without regions", "one with a region vector", "choose another model"));
    };
    let mut adam = Adam::new(vec![1.0; regions.len()]);
    let (mut still, mut entropy) = (0, Vec::new());
    let steps = search.patches.div_ceil(search.batch);
    let mut random = Random::new(search.seed, PATCHES);
    for epoch in 0..search.epochs {
        let before = softmax(&adam.values);
        let mut sum = 0.0;
        for step in 0..steps {
            let patches = random_patches(config, weights, scene, search.batch, &mut random)?;
            // The logits are parameters, as the weights are: they are set by loading.
            executor.load(&WithLogits { weights, logits: adam.values.iter().map(|&v| narrow(v)).collect() })?;
            let outputs = executor.run(&patches)?;
            let value = outputs.get(ENTROPY).and_then(|v| v.first()).map_or(f64::NAN, |&v| f64::from(v));
            let gradient: Vec<f64> =
                outputs.get(ENTROPY_GRADIENT).into_iter().flatten().map(|&g| f64::from(g)).collect();
            if !value.is_finite() || gradient.len() != regions.len() || gradient.iter().any(|g| !g.is_finite()) {
                return Err(Error::bad_argument(
                    "predictions that are not numbers",
                    "finite predictions",
                    "check the units of the scene's rasters",
                ));
            }
            sum += value;
            adam.step(&gradient, search.learning_rate);
            progress(epoch * steps + step + 1, search.epochs * steps)?;
        }
        entropy.push(sum / as_f64(steps));
        let change: f64 = softmax(&adam.values).iter().zip(&before).map(|(a, b)| (a - b).powi(2)).sum();
        still = if change < search.tolerance { still + 1 } else { 0 };
        if still >= search.patience {
            break;
        }
    }
    Ok(RegionFit {
        regions: regions.clone(),
        vector: softmax(&adam.values),
        entropy,
        converged: still >= search.patience,
        parameters_sha256: weights.parameters_sha256().to_owned(),
    })
}

fn check(search: &RegionSearch) -> Result<()> {
    let checks = [
        ("learning rate", search.learning_rate > 0.0 && search.learning_rate <= 10.0, "above 0, up to 10"),
        ("number of epochs", search.epochs >= 1, "1 or more"),
        ("number of patches", search.patches >= 1, "1 or more"),
        ("batch", (1..=1024).contains(&search.batch), "1 to 1024"),
    ];
    match checks.into_iter().find(|(_, good, _)| !good) {
        None => Ok(()),
        Some((what, _, expected)) => Err(Error::bad_argument(format!("an impossible {what}"), expected, "correct it")),
    }
}

/// Weights, and the logits beside them.
struct WithLogits<'a> {
    weights: &'a Weights,
    logits: Vec<f32>,
}

impl ArraySource for WithLogits<'_> {
    fn array(&self, name: &str) -> Option<&[f32]> {
        if name == REGION_LOGITS { Some(&self.logits) } else { self.weights.array(name) }
    }
}

/// Inputs cut out at random places. Patches that lie mostly in gaps say little: others are tried for.
fn random_patches(
    config: &ModelConfig,
    weights: &Weights,
    scene: &Scene,
    batch: usize,
    random: &mut Random,
) -> Result<Arrays> {
    let (grid, tile) = (scene.grid(), config.tile);
    let tiling = Tiling::new(grid.height, grid.width, tile)?;
    let pixels = tile * tile;
    let mut inputs: Arrays =
        config.features.iter().map(|f| (input_name(*f), vec![0.0; batch * pixels * f.channels()])).collect();
    for sample in 0..batch {
        let mut window = random_window(grid.height, grid.width, tile, random);
        let mut read = scene.read_tile(&tiling, window)?;
        for _ in 1..ATTEMPTS {
            if 2 * read.valid_pixels(&tiling, window) >= tile.min(grid.height) * tile.min(grid.width) {
                break;
            }
            window = random_window(grid.height, grid.width, tile, random);
            read = scene.read_tile(&tiling, window)?;
        }
        for &feature in &config.features {
            let size = pixels * feature.channels();
            if let Some(input) = inputs.get_mut(&input_name(feature)) {
                let out = &mut input[sample * size..(sample + 1) * size];
                read.fill_tile(feature, weights.normalisation(), &tiling, window, out)?;
            }
        }
    }
    Ok(inputs)
}

/// A place in the scene, each as likely. Along a side shorter than the tile the scene is centred, as in prediction.
fn random_window(height: usize, width: usize, tile: usize, random: &mut Random) -> TileWindow {
    let mut start = |length: usize| {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        if length >= tile { signed(random.below(length - tile + 1)) } else { -signed((tile - length) / 2) }
    };
    TileWindow { row: start(height), col: start(width), size: tile }
}

/// Adam (Kingma and Ba 2015) in Keras' form for a few values.
struct Adam {
    values: Vec<f64>,
    moments: Vec<(f64, f64)>,
    steps: u64,
}

impl Adam {
    fn new(values: Vec<f64>) -> Self {
        Self { moments: vec![(0.0, 0.0); values.len()], values, steps: 0 }
    }

    fn step(&mut self, gradient: &[f64], learning_rate: f64) {
        self.steps += 1;
        let settings = AdamSettings::default();
        let rate = settings.rate(learning_rate, self.steps);
        for ((value, (m, v)), g) in self.values.iter_mut().zip(&mut self.moments).zip(gradient) {
            *m = settings.beta1 * *m + (1.0 - settings.beta1) * g;
            *v = settings.beta2 * *v + (1.0 - settings.beta2) * g * g;
            *value -= rate * *m / (v.sqrt() + settings.epsilon);
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|l| libm::exp(l - largest)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the network computes in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "a few steps")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_by_hand() {
        let mut adam = Adam::new(vec![1.0, 1.0]);
        adam.step(&[0.5, -2.0], 0.1);
        // The first step goes by the rate, whatever the gradient's size (epsilon aside).
        assert!((adam.values[0] - 0.9).abs() < 1e-5 && (adam.values[1] - 1.1).abs() < 1e-5, "{:?}", adam.values);
        let shares = softmax(&[1.0, 1.0, 1.0 + 2.0_f64.ln()]);
        for (found, expected) in shares.iter().zip([0.25, 0.25, 0.5]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn windows_lie_in_the_scene() {
        let mut random = Random::new(1, 2);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let window = random_window(20, 10, 16, &mut random);
            assert!((0..=4).contains(&window.row) && window.col == -3 && window.size == 16);
            seen.insert(window.row);
        }
        assert_eq!(seen.len(), 5);
    }
}
