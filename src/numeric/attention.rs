//! Scaled dot-product attention, one block of queries at a time.

use rayon::prelude::*;

use super::gemm::{self, View};
use super::vector;

/// Queries per block: a block's scores against some hundred keys stay in the second-level cache.
const QUERIES: usize = 64;

/// `softmax(q k^T / sqrt d) v` per head, for q (n, t, e) and k, v (n, s, e) with heads side by side along e.
pub fn attend([n, t, s, e, heads]: [usize; 5], q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
    let d = e / heads;
    #[expect(clippy::cast_precision_loss, reason = "head widths are far below 2^24")]
    let scale = 1.0 / (d as f32).sqrt();
    let arch = pulp::Arch::new();
    debug_assert_eq!(out.len(), n * t * e);
    out.par_chunks_mut(t * e).enumerate().for_each(|(b, out)| {
        out.par_chunks_mut(QUERIES * e).enumerate().for_each(|(block, out)| {
            let count = out.len() / e;
            let first = (b * t + block * QUERIES) * e;
            let mut scores = vec![0.0_f32; count * s];
            for head in 0..heads {
                let queries = View { data: &q[first + head * d..], row_stride: e, col_stride: 1 };
                let keys = View { data: &k[b * s * e + head * d..], row_stride: 1, col_stride: e };
                let values = View { data: &v[b * s * e + head * d..], row_stride: e, col_stride: 1 };
                gemm::multiply_strided([count, s, d], queries, keys, None, (&mut scores, s), scale, false);
                arch.dispatch(|| {
                    for row in scores.chunks_exact_mut(s) {
                        softmax(row);
                    }
                });
                let weights = View { data: &scores, row_stride: s, col_stride: 1 };
                gemm::multiply_strided([count, d, s], weights, values, None, (&mut out[head * d..], e), 1.0, false);
            }
        });
    });
}

/// The softmax of one row, in place. Sixteen partial maxima and sums let the compiler use vectors.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let mut maxima = [f32::MIN; 16];
    for chunk in row.chunks(16) {
        for (m, &x) in maxima.iter_mut().zip(chunk) {
            *m = if x > *m { x } else { *m };
        }
    }
    let max = maxima.into_iter().fold(f32::MIN, f32::max);
    let mut sums = [0.0_f32; 16];
    for chunk in row.chunks_mut(16) {
        for (s, x) in sums.iter_mut().zip(chunk) {
            *x = vector::exp(*x - max);
            *s += *x;
        }
    }
    let factor = 1.0 / sums.into_iter().sum::<f32>();
    for x in row {
        *x *= factor;
    }
}
