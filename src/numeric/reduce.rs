//! Sums over many items in f64, the same bits on any number of threads.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

/// Values that a thread reads at a time.
const BLOCK: usize = 1 << 15;

/// Sums of `width` quantities over `items` items of `values` values each: `add(range, sums)` adds the items of `range`.
///
/// The ranges and the order in which their sums are added depend on the sizes alone.
pub fn sum(items: usize, values: usize, width: usize, add: impl Fn(Range<usize>, &mut [f64]) + Sync) -> Vec<f64> {
    let arch = Arch::new();
    let span = 1 + BLOCK / values.max(1);
    let parts: Vec<Vec<f64>> = (0..items.div_ceil(span))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![0.0; width];
            let range = part * span..items.min((part + 1) * span);
            arch.dispatch(|| add(range.clone(), &mut sums));
            sums
        })
        .collect();
    let mut total = vec![0.0; width];
    for part in parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}

/// A result in f64 as the f32 that is stored.
#[must_use]
pub fn narrow(x: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "the sum is in f64, its result is stored as f32")]
    let x = x as f32;
    x
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, sum};

    #[test]
    fn every_item_is_added_once() {
        for items in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let sums = sum(items, 1, 2, |range, sums| {
                for i in range {
                    sums[0] += 1.0;
                    sums[1] += i as f64;
                }
            });
            let n = items as f64;
            assert_eq!(sums, [n, n * (n - 1.0).max(0.0) / 2.0]);
        }
    }
}
