//! Parameters of a network that has not been trained.

use std::collections::BTreeMap;

use crate::dataset::noise::Random;
use crate::error::Result;
use crate::model::parameters::{ParameterSpec, parameters};
use crate::model::{ModelConfig, Normalisation, Tensor, Weights};

/// Bound of the position embedding's first values, as Keras draws them.
const POSITION: f64 = 0.05;

/// Draws the parameters of a new network, as Keras does for the published one.
///
/// Kernels are uniform within `sqrt(6 / (fan_in + fan_out))` of 0 (Glorot and Bengio 2010), where a convolution's fans count every pixel of
/// its kernel; the position embedding is uniform within 0.05 of 0. Biases, beta and moving means are 0; gamma and moving variances are 1.
/// One seed gives the same values on every machine, and a parameter's values depend on no other's.
///
/// # Errors
/// The configuration or the normalisation cannot be.
pub fn initial_weights(config: &ModelConfig, normalisation: Normalisation, seed: u64) -> Result<Weights> {
    config.validate()?;
    let tensors: BTreeMap<String, Tensor> =
        parameters(config).into_iter().map(|spec| (spec.name.clone(), initial(&spec, seed))).collect();
    Weights::new(config.clone(), normalisation, format!("drawn with seed {seed}"), tensors)
}

fn initial(spec: &ParameterSpec, seed: u64) -> Tensor {
    let constant = |value| vec![value; spec.len()];
    let data = match spec.name.rsplit('.').next() {
        Some("kernel") => uniform(spec, glorot_limit(&spec.shape), seed),
        Some("position") => uniform(spec, POSITION, seed),
        Some("gamma" | "variance") => constant(1.0),
        _ => constant(0.0),
    };
    Tensor { shape: spec.shape.clone(), data }
}

/// Kernels are (in, out) or (row, column, in, out).
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn glorot_limit(shape: &[usize]) -> f64 {
    match shape {
        [area @ .., inputs, outputs] => (6.0 / (area.iter().product::<usize>() * (inputs + outputs)) as f64).sqrt(),
        _ => 0.0,
    }
}

fn uniform(spec: &ParameterSpec, limit: f64, seed: u64) -> Vec<f32> {
    // The name chooses the stream (FNV-1a): adding a feature leaves the other parameters as they were.
    let stream =
        spec.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut random = Random::new(seed, stream);
    #[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
    let draw = |_| random.uniform(-limit, limit) as f32;
    (0..spec.len()).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Feature, Location};

    fn small() -> ModelConfig {
        ModelConfig {
            location: Location::Coordinates,
            filters: 8,
            embedding: 8,
            mlp: 16,
            blocks: 1,
            heads: 2,
            tile: 32,
            ..ModelConfig::default()
        }
    }

    #[test]
    fn kernels_are_uniform_within_the_limit() {
        let weights = initial_weights(&small(), Normalisation::default(), 1).expect("valid");
        for (name, limit) in [
            ("transformer.patch.kernel", (6.0_f64 / (16.0 * 16.0 * 8.0 + 8.0)).sqrt()),
            ("unet.bottleneck.conv2.kernel", (6.0_f64 / (9.0 * 128.0)).sqrt()),
            ("fusion.optical.conv1.kernel", (6.0_f64 / (9.0 * 14.0)).sqrt()),
        ] {
            let data = &weights.get(name).expect("a parameter").data;
            let n = data.len() as f64;
            assert!(data.iter().all(|&v| f64::from(v.abs()) <= limit), "{name}");
            let mean = data.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let square = data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
            // Variance limit^2 / 3; the mean of n values deviates by sqrt(variance / n), their mean square by
            // sqrt(4 / 45 / n) limit^2. Four deviations are allowed.
            assert!(mean.abs() < 4.0 * (limit * limit / 3.0 / n).sqrt(), "{name}: mean {mean}");
            let error = (square - limit * limit / 3.0).abs();
            assert!(error < 4.0 * (4.0 / 45.0 / n).sqrt() * limit * limit, "{name}: mean square {square}");
        }
    }

    #[test]
    fn the_rest_is_constant() {
        let weights = initial_weights(&small(), Normalisation::default(), 1).expect("valid");
        for (name, tensor) in weights.tensors() {
            let expected = match name.rsplit('.').next() {
                Some("gamma" | "variance") => 1.0,
                Some("bias" | "beta" | "mean") => 0.0,
                _ => continue,
            };
            assert!(tensor.data.iter().all(|&v| v == expected), "{name}");
        }
        let position = &weights.get("transformer.position").expect("a parameter").data;
        assert!(position.iter().all(|v| v.abs() <= 0.05) && position.iter().any(|v| v.abs() > 0.04));
    }

    #[test]
    fn seeds_and_names_decide() {
        let hash = |config: &ModelConfig, seed| {
            initial_weights(config, Normalisation::default(), seed).expect("valid").parameters_sha256().to_owned()
        };
        assert_eq!(hash(&small(), 4), hash(&small(), 4));
        assert_ne!(hash(&small(), 4), hash(&small(), 5));
        let more = ModelConfig { features: vec![Feature::Thermal, Feature::Optical, Feature::Dem], ..small() };
        let (a, b) = (
            initial_weights(&small(), Normalisation::default(), 4).expect("valid"),
            initial_weights(&more, Normalisation::default(), 4).expect("valid"),
        );
        assert_eq!(a.get("unet.up1.kernel"), b.get("unet.up1.kernel"));
        assert_ne!(a.get("unet.up1.kernel"), a.get("unet.up2.kernel"));
    }
}
