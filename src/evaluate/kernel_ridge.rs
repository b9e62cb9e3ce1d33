//! Kernel ridge regression of accuracy on confidence, as the published calibrators were made (Maslov et al., Nat. Commun. 16, 43, 2025).
//!
//! Confidences are put into 100 equally wide bins. Every bin that has samples is a point: mean confidence x, accuracy y, and the weight
//! w = (count / largest count)^0.1. The anchors (0, 0) and (1, 1) of weight 1 are added. With the Laplacian kernel exp(-|x - x'|), the coefficients a solve
//! (K + diag(r)) a = y.
//!
//! The ridge r of a point is described as (1 - w) * 0.01. The published calibrators do not have it: they were made with scikit-learn's `KernelRidge`,
//! which takes an array of ridges for one of each *target* and, as there is one target, uses the first alone. That is the anchor's 0, so that the function goes
//! through every point; the published file's own numbers show it (with the ridges it names, its points would have accuracies up to 2.7). [`Ridge`]
//! has both.

use crate::error::{Error, Result};
use crate::evaluate::calibration::Calibrator;
use crate::evaluate::reliability::{Bin, Reliability};

/// Bins of confidence.
pub const BINS: usize = 100;
/// The ridge of a point without weight.
const LARGEST_RIDGE: f64 = 1e-2;
/// The power of the share of samples that is the weight.
const POWER: f64 = 0.1;

/// The ridge of the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ridge {
    /// None, as the published calibrators have it.
    #[default]
    None,
    /// (1 - w) * 0.01, as the method is described: bins with few samples count less.
    PerBin,
}

/// The calibrator of some samples. A bin whose mean is exactly an anchor's takes its place.
///
/// # Errors
/// There are no samples.
pub fn fit_kernel_ridge(samples: &Reliability, ridge: Ridge, origin: &str) -> Result<Calibrator> {
    let bins = samples.bins(BINS);
    let largest = bins.iter().map(|bin| bin.count).fold(0.0, f64::max);
    let point = |bin: &Bin| {
        let weight = (bin.count / largest).powf(POWER);
        let ridge = if ridge == Ridge::PerBin { (1.0 - weight) * LARGEST_RIDGE } else { 0.0 };
        Some((bin.confidence?, bin.accuracy?, ridge))
    };
    let mut points: Vec<(f64, f64, f64)> = bins.iter().filter_map(point).collect();
    if points.is_empty() {
        return Err(Error::bad_argument(
            "no samples",
            "confidences, and whether they were right",
            "give labelled data",
        ));
    }
    if points.first().is_some_and(|point| point.0 > 0.0) {
        points.insert(0, (0.0, 0.0, 0.0));
    }
    if points.last().is_some_and(|point| point.0 < 1.0) {
        points.push((1.0, 1.0, 0.0));
    }
    let n = points.len();
    let mut matrix = vec![0.0; n * n];
    for (row, (a, &(x, _, ridge))) in matrix.chunks_exact_mut(n).zip(&points).enumerate() {
        for (column, (value, other)) in a.iter_mut().zip(&points).enumerate() {
            *value = (-(x - other.0).abs()).exp() + if row == column { ridge } else { 0.0 };
        }
    }
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let coefficients = solve(matrix, values).ok_or_else(|| {
        Error::bad_argument(
            "bins whose mean confidences are nearly the same",
            "confidences that differ",
            "use --method isotonic",
        )
    })?;
    Calibrator::from_kernel(1.0, points.into_iter().map(|point| point.0).collect(), coefficients, origin)
}

/// Solves a symmetric positive definite system by Cholesky's decomposition; `matrix` holds the rows one after the other. `None` if it is not positive
/// definite.
fn solve(mut matrix: Vec<f64>, mut values: Vec<f64>) -> Option<Vec<f64>> {
    let n = values.len();
    // The lower triangle becomes L with L L^T = matrix.
    for row in 0..n {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| matrix[row * n + k] * matrix[column * n + k]).sum();
            let rest = matrix[row * n + column] - dot;
            matrix[row * n + column] = if row != column {
                rest / matrix[column * n + column]
            } else if rest > 0.0 {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    for row in 0..n {
        let dot: f64 = (0..row).map(|k| matrix[row * n + k] * values[k]).sum();
        values[row] = (values[row] - dot) / matrix[row * n + row];
    }
    for row in (0..n).rev() {
        let dot: f64 = (row + 1..n).map(|k| matrix[k * n + row] * values[k]).sum();
        values[row] = (values[row] - dot) / matrix[row * n + row];
    }
    values.iter().all(|value| value.is_finite()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_solved() {
        let found = solve(vec![4.0, 2.0, 2.0, 3.0], vec![10.0, 8.0]).expect("positive definite");
        assert!((found[0] - 1.75).abs() < 1e-15 && (found[1] - 1.5).abs() < 1e-15, "{found:?}");
        assert!(solve(vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 1.0]).is_none());
    }

    fn samples() -> Reliability {
        let mut samples = Reliability::new();
        for i in 0..20_000_u32 {
            // Confidences near 0.3 that are nearly always right, few others.
            let c = 0.3 + f64::from(i % 200) / 1000.0 * if i % 50 == 0 { 3.0 } else { 0.5 };
            samples.add(c, i % 10 != 0);
        }
        samples
    }

    #[test]
    fn without_a_ridge_it_goes_through_every_bin() {
        let samples = samples();
        let fitted = fit_kernel_ridge(&samples, Ridge::None, "a test").expect("fits");
        let used: Vec<Bin> = samples.bins(BINS).into_iter().filter(|bin| bin.count > 0.0).collect();
        assert_eq!((fitted.kind(), fitted.points(), fitted.gamma()), ("kernel", used.len() + 2, Some(1.0)));
        for bin in &used {
            let (c, accuracy) = (bin.confidence.expect("samples"), bin.accuracy.expect("samples"));
            assert!((fitted.predict(c) - accuracy).abs() < 1e-9, "{bin:?}: {}", fitted.predict(c));
        }
        assert!(fitted.predict(0.0).abs() < 1e-9 && (fitted.predict(1.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn with_ridges_it_follows_large_bins() {
        let samples = samples();
        let fitted = fit_kernel_ridge(&samples, Ridge::PerBin, "a test").expect("fits");
        let through = fit_kernel_ridge(&samples, Ridge::None, "a test").expect("fits");
        assert_ne!(fitted, through);
        let misses = samples
            .bins(BINS)
            .into_iter()
            .filter_map(|bin| Some((bin.count, (fitted.predict(bin.confidence?) - bin.accuracy?).abs())));
        let mut misses: Vec<(f64, f64)> = misses.collect();
        misses.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert!(misses[0].1 < 1e-9, "the largest bin has no ridge: {misses:?}");
        assert!(misses.iter().any(|miss| miss.1 > 1e-4), "{misses:?}");
        assert!(fit_kernel_ridge(&Reliability::new(), Ridge::None, "nothing").is_err());
    }

    #[test]
    fn a_bin_takes_the_place_of_an_anchor() {
        let mut samples = Reliability::new();
        for (c, correct) in [(0.0, true), (0.5, false), (1.0, false)] {
            samples.add(c, correct);
        }
        let fitted = fit_kernel_ridge(&samples, Ridge::None, "a test").expect("fits");
        assert_eq!(fitted.points(), 3);
        assert!((fitted.predict(0.0) - 1.0).abs() < 1e-12 && fitted.predict(1.0).abs() < 1e-12);
    }
}
