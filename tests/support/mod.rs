//! What the tests of operators and executors share: seeded inputs, error measures, adapters.

#![allow(dead_code, reason = "every test binary uses its own part")]

use glavitu::gpu::{Gpu, adapters};
use glavitu::graph::Shapes;
use glavitu::ops::Case;
use glavitu::ops::case_values::nmse;

/// The shapes of a case.
pub(crate) fn shapes(case: &Case) -> Shapes {
    case.shapes().expect("a case's shapes fit its operator")
}

/// Seeded values for all inputs of a case.
pub(crate) fn values(case: &Case, seed: u64) -> Vec<Vec<f32>> {
    case.values(seed)
}

/// The f64 definition's outputs.
pub(crate) fn reference(case: &Case, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    case.reference(shapes, inputs)
}

/// Fails on values that are not finite, then on a normalised mean squared error above `tolerance`.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    if let Some(i) = found.iter().position(|x| !x.is_finite()) {
        panic!("{what}: value {i} is {}", found[i]);
    }
    let nmse = nmse(found, expected);
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
