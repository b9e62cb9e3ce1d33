//! What the tests of operators and executors share: seeded inputs, error measures, adapters.

#![allow(dead_code, reason = "every test binary uses its own part")]

use glavitu::gpu::{Gpu, adapters};
use glavitu::graph::{Shape, Shapes};
use glavitu::ops::{Case, Fill};

/// A small seeded generator (SplitMix64, Steele et al. 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    pub(crate) fn fill(&mut self, count: usize, fill: Fill) -> Vec<f32> {
        let (low, width) = match fill {
            Fill::Signed => (-1.0, 2.0),
            Fill::Positive => (0.1, 1.0),
            Fill::Wide => (-30.0, 60.0),
            Fill::Shifted => (99.0, 2.0),
            Fill::Coarse => return (0..count).map(|_| (5.0 * self.unit()).floor() - 2.0).collect(),
            Fill::Faulty => {
                let number = |i: usize, x: f32| [f32::NAN, f32::INFINITY, x][i % 3];
                return (0..count).map(|i| number(i, 2.0 * self.unit() - 1.0)).collect();
            }
            Fill::Target => return self.targets(count, 1),
        };
        (0..count).map(|_| low + width * self.unit()).collect()
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

/// The shapes of a case.
pub(crate) fn shapes(case: &Case) -> Shapes {
    let inputs: Vec<Shape> = case.inputs.iter().map(|(s, _)| s.clone()).collect();
    let outputs = case.operator.shapes(&inputs).expect("a case's shapes fit its operator");
    Shapes { inputs, outputs }
}

/// Seeded values for all inputs of a case.
pub(crate) fn values(case: &Case, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let mut draw = |s: &Shape, fill: Fill| match fill {
        Fill::Target => random.targets(s.elements(), s.channels()),
        _ => random.fill(s.elements(), fill),
    };
    case.inputs.iter().map(|(s, fill)| draw(s, *fill)).collect()
}

/// The f64 definition's outputs.
pub(crate) fn reference(case: &Case, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let wide: Vec<Vec<f64>> = inputs.iter().map(|v| v.iter().copied().map(f64::from).collect()).collect();
    case.operator.reference(shapes, &wide.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Fails on values that are not finite, then on a normalised mean squared error above `tolerance`.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    if let Some(i) = found.iter().position(|x| !x.is_finite()) {
        panic!("{what}: value {i} is {}", found[i]);
    }
    let error: f64 = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
    let power: f64 = expected.iter().map(|b| b * b).sum();
    let nmse = if error == 0.0 { 0.0 } else { error / power.max(f64::MIN_POSITIVE) };
    let worst = found
        .iter()
        .zip(expected)
        .enumerate()
        .max_by(|(_, a), (_, b)| (f64::from(*a.0) - a.1).abs().total_cmp(&(f64::from(*b.0) - b.1).abs()));
    assert!(
        nmse <= tolerance,
        "{what}: NMSE {nmse:.2e} above {tolerance:.0e}; worst (index, (found, expected)) {worst:?}"
    );
}

/// Every adapter of the machine, software ones included. There must be one: without, half of the program goes untested.
pub(crate) fn gpus() -> Vec<Gpu> {
    let list = adapters();
    assert!(
        !list.is_empty(),
        "no GPU adapter found, not even a software one: install one (Debian and Ubuntu: apt install mesa-vulkan-drivers) \
         and see that `glavitu devices` lists it"
    );
    list.iter().map(|a| Gpu::open(&format!("gpu:{}", a.index)).expect("a listed adapter opens")).collect()
}
