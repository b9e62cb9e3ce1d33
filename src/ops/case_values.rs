//! Seeded inputs for a case, what its definition makes of them, and the measure of an error: for tests, benches and `glavitu kernels`.

use super::case::{Case, Fill};
use crate::error::Result;
use crate::graph::{Shape, Shapes};

/// A small seeded generator (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// One that always gives the same numbers for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Values for a tensor.
    pub fn fill(&mut self, shape: &Shape, fill: Fill) -> Vec<f32> {
        let (low, width) = match fill {
            Fill::Signed => (-1.0, 2.0),
            Fill::Positive => (0.1, 1.0),
            Fill::Wide => (-30.0, 60.0),
            Fill::Shifted => (99.0, 2.0),
            Fill::Coarse => return (0..shape.elements()).map(|_| (5.0 * self.unit()).floor() - 2.0).collect(),
            Fill::Faulty => {
                let number = |i: usize, x: f32| [f32::NAN, f32::INFINITY, x][i % 3];
                return (0..shape.elements()).map(|i| number(i, 2.0 * self.unit() - 1.0)).collect();
            }
            Fill::Halves => {
                let hard = [1.0 + 2.0_f32.powi(-11), 65_519.0, 2.5e-8, -3.1e-6, 1e9, -2.0 - 3.0 * 2.0_f32.powi(-10)];
                let number = |i: usize, x: f32| hard.get(i % 12).copied().unwrap_or(x);
                return (0..shape.elements()).map(|i| number(i, 2.0 * self.unit() - 1.0)).collect();
            }
            Fill::Target => return self.targets(shape.elements(), shape.channels()),
        };
        (0..shape.elements()).map(|_| low + width * self.unit()).collect()
    }

    /// Smoothed one-hot rows of `classes` values, one in five of them zero.
    fn targets(&mut self, count: usize, classes: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count / classes {
            let (place, labelled) = (classes as f32 * self.unit(), self.unit() >= 0.2);
            let class = (1..classes).filter(|&c| c as f32 <= place).count();
            let (most, rest) = if labelled { (0.9 + 0.1 / classes as f32, 0.1 / classes as f32) } else { (0.0, 0.0) };
            values.extend((0..classes).map(|c| if c == class { most } else { rest }));
        }
        values
    }
}

impl Case {
    /// The shapes of inputs and outputs.
    ///
    /// # Errors
    /// Inputs that do not fit the operator: a mistake in the case.
    pub fn shapes(&self) -> Result<Shapes> {
        let inputs: Vec<Shape> = self.inputs.iter().map(|(s, _)| s.clone()).collect();
        let outputs = self.operator.shapes(&inputs)?;
        Ok(Shapes { inputs, outputs })
    }

    /// Seeded values for all inputs.
    #[must_use]
    pub fn values(&self, seed: u64) -> Vec<Vec<f32>> {
        let mut random = Random::new(seed);
        self.inputs.iter().map(|(shape, fill)| random.fill(shape, *fill)).collect()
    }

    /// The outputs of the f64 definition.
    #[must_use]
    pub fn reference(&self, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let wide: Vec<Vec<f64>> = inputs.iter().map(|v| v.iter().copied().map(f64::from).collect()).collect();
        self.operator.reference(shapes, &wide.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// The normalised mean squared error: squared differences over squared expectations, summed. Infinite where a value found is not finite.
#[must_use]
pub fn nmse(found: &[f32], expected: &[f64]) -> f64 {
    if found.len() != expected.len() || found.iter().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let error: f64 = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
    let power: f64 = expected.iter().map(|b| b * b).sum();
    if error == 0.0 { 0.0 } else { error / power.max(f64::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests {
    use super::nmse;

    #[test]
    fn errors_are_relative_and_faults_infinite() {
        assert!(nmse(&[1.0, 2.0], &[1.0, 2.0]) == 0.0 && nmse(&[0.0], &[0.0]) == 0.0);
        assert!((nmse(&[3.0, 4.5], &[3.0, 4.0]) - 0.01).abs() < 1e-12);
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(nmse(&[wrong], &[1.0]).is_infinite());
        }
        assert!(nmse(&[1.0], &[1.0, 2.0]).is_infinite());
    }
}
