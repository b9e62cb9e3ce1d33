//! Isotonic regression: the closest function that never falls.

use crate::error::Result;
use crate::evaluate::calibration::Calibrator;
use crate::evaluate::reliability::Reliability;

/// Pool-adjacent-violators (Barlow et al., Statistical Inference under Order Restrictions, 1972): the nondecreasing sequence closest to the values of the
/// (value, weight) pairs in weighted least squares. Weights are positive.
#[must_use]
pub fn isotonic(pairs: &[(f64, f64)]) -> Vec<f64> {
    // Blocks of equal fitted value: (weighted sum, weight, pairs).
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for &(value, weight) in pairs {
        let (mut sum, mut total, mut count) = (value * weight, weight, 1);
        while let Some(&(before, w, n)) = blocks.last() {
            if before / w <= sum / total {
                break;
            }
            sum += before;
            total += w;
            count += n;
            blocks.pop();
        }
        blocks.push((sum, total, count));
    }
    blocks.into_iter().flat_map(|(sum, total, n)| std::iter::repeat_n(sum / total, n)).collect()
}

/// The calibrator that maps confidence to accuracy by isotonic regression (Zadrozny and Elkan 2002), over the cells of `samples` weighed by their numbers
/// of samples. It is level over cells with one value, linear between, and level below the first and above the last.
///
/// # Errors
/// There are no samples.
pub fn fit_isotonic(samples: &Reliability, origin: &str) -> Result<Calibrator> {
    let cells: Vec<(f64, f64, u64)> = samples.cells().collect();
    let pairs: Vec<(f64, f64)> = cells.iter().map(|&(_, accuracy, count)| (accuracy, count as f64)).collect();
    let fitted = isotonic(&pairs);
    let (mut points, mut values): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for (i, (&(c, _, _), &value)) in cells.iter().zip(&fitted).enumerate() {
        // Within a level only its ends are needed.
        let is_inner = i > 0 && fitted.get(i - 1) == Some(&value) && fitted.get(i + 1) == Some(&value);
        if !is_inner {
            points.push(c);
            values.push(value);
        }
    }
    Calibrator::from_points(points, values, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_by_hand() {
        let equal = |values: &[f64]| isotonic(&values.iter().map(|v| (*v, 1.0)).collect::<Vec<_>>());
        assert_eq!(equal(&[1.0, 3.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(equal(&[3.0, 2.0, 1.0]), [2.0, 2.0, 2.0]);
        assert_eq!(equal(&[0.0, 0.5, 1.0]), [0.0, 0.5, 1.0]);
        assert_eq!(isotonic(&[(1.0, 3.0), (0.0, 1.0), (2.0, 5.0)]), [0.75, 0.75, 2.0]);
    }

    #[test]
    fn levels_are_kept_by_their_ends() {
        let mut samples = Reliability::new();
        for (c, correct, times) in [(0.1, false, 10), (0.4, true, 6), (0.4, false, 4), (0.6, true, 4), (0.6, false, 6)]
        {
            (0..times).for_each(|_| samples.add(c, correct));
        }
        let fitted = fit_isotonic(&samples, "a test").expect("samples");
        assert_eq!((fitted.kind(), fitted.points()), ("points", 3));
        for (c, expected) in [(0.0, 0.0), (0.1, 0.0), (0.25, 0.25), (0.4, 0.5), (0.5, 0.5), (0.6, 0.5), (1.0, 0.5)] {
            assert!((fitted.predict(c) - expected).abs() < 1e-12, "{c}: {}", fitted.predict(c));
        }
        assert!(fit_isotonic(&Reliability::new(), "nothing").is_err());
    }
}
