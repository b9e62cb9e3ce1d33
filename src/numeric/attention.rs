//! Scaled dot-product attention, one block of queries at a time.

use rayon::prelude::*;

use super::gemm::{self, View};
use super::vector;

/// Queries per block: a block's scores against some hundred keys stay in the second-level cache.
const QUERIES: usize = 64;

/// `softmax(q k^T / sqrt d) v` per head, for q (n, t, e) and k, v (n, s, e) with heads side by side along e; and the logarithm
/// of the sum of exp of the scores of each query, (n, heads, t).
pub fn attend([n, t, s, e, heads]: [usize; 5], q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], log_sum: &mut [f32]) {
    let d = e / heads;
    let scale = scale(d);
    let arch = pulp::Arch::new();
    debug_assert_eq!(out.len(), n * t * e);
    out.par_chunks_mut(t * e).zip(log_sum.par_chunks_mut(heads * t)).enumerate().for_each(|(b, (out, log_sum))| {
        let blocks = out.par_chunks_mut(QUERIES * e).enumerate().map(|(block, out)| {
            let count = out.len() / e;
            let first = (b * t + block * QUERIES) * e;
            let mut scores = vec![0.0_f32; count * s];
            let mut log_sums = Vec::with_capacity(heads * count);
            for head in 0..heads {
                let queries = View { data: &q[first + head * d..], row_stride: e, col_stride: 1 };
                let keys = View { data: &k[b * s * e + head * d..], row_stride: 1, col_stride: e };
                let values = View { data: &v[b * s * e + head * d..], row_stride: e, col_stride: 1 };
                gemm::multiply_strided([count, s, d], queries, keys, None, (&mut scores, s), scale, false);
                arch.dispatch(|| log_sums.extend(scores.chunks_exact_mut(s).map(softmax)));
                let weights = View { data: &scores, row_stride: s, col_stride: 1 };
                gemm::multiply_strided([count, d, s], weights, values, None, (&mut out[head * d..], e), 1.0, false);
            }
            log_sums
        });
        for (block, values) in blocks.collect::<Vec<_>>().into_iter().enumerate() {
            let count = values.len() / heads;
            for (to, values) in log_sum.chunks_exact_mut(t).zip(values.chunks_exact(count)) {
                to[block * QUERIES..][..count].copy_from_slice(values);
            }
        }
    });
}

/// The factor of the scores for heads of this width.
fn scale(d: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "head widths are far below 2^24")]
    let width = d as f32;
    1.0 / width.sqrt()
}

/// The softmax of one row, in place; gives the logarithm of the sum of exp. Sixteen partial maxima and sums let the compiler use
/// vectors.
#[inline(always)]
fn softmax(row: &mut [f32]) -> f32 {
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
    let sum = sums.into_iter().sum::<f32>();
    let factor = 1.0 / sum;
    for x in row {
        *x *= factor;
    }
    max + sum.ln()
}

/// What the forward pass had and made, in the layouts of [`attend`].
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// The result.
    pub out: &'a [f32],
    /// Logarithms of the sums.
    pub log_sum: &'a [f32],
}

/// Floats of temporary memory for [`attend_gradient`]: the gradients with the heads apart.
#[must_use]
pub fn gradient_scratch([n, t, s, e, _]: [usize; 5]) -> usize {
    n * (t + 2 * s) * e
}

/// The gradients of q, k and v from that of the result, `dout` (Dao et al. 2022). The probabilities are computed again, one block of
/// queries at a time. A head of a sample is one task, so that every sum is taken in one order.
pub fn attend_gradient(
    [n, t, s, e, heads]: [usize; 5],
    saved: Saved,
    dout: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
    scratch: &mut [f32],
) {
    let d = e / heads;
    scratch.par_chunks_mut((t + 2 * s) * d).enumerate().for_each(|(task, gradients)| {
        let (dq, rest) = gradients.split_at_mut(t * d);
        let (dk, dv) = rest.split_at_mut(s * d);
        head_gradient([n, t, s, e, heads], (task / heads, task % heads), saved, dout, [dq, dk, dv]);
    });
    for (out, rows, skip) in [(dq, t, 0), (dk, s, t), (dv, s, t + s)] {
        out.par_chunks_mut(e).enumerate().for_each(|(row, out)| {
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                let at = ((row / rows * heads + head) * (t + 2 * s) + skip + row % rows) * d;
                out.copy_from_slice(&scratch[at..at + d]);
            }
        });
    }
}

/// A matrix whose rows are `stride` apart.
fn rows(data: &[f32], stride: usize) -> View<'_> {
    View { data, row_stride: stride, col_stride: 1 }
}

/// Its transpose.
fn transposed(data: &[f32], stride: usize) -> View<'_> {
    View { data, row_stride: 1, col_stride: stride }
}

/// The gradients for one sample and head, each (rows, d).
fn head_gradient(
    [_, t, s, e, heads]: [usize; 5],
    (b, head): (usize, usize),
    saved: Saved,
    dout: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let d = e / heads;
    let scale = scale(d);
    let arch = pulp::Arch::new();
    dk.fill(0.0);
    dv.fill(0.0);
    let mut buffer = vec![0.0_f32; 2 * QUERIES.min(t) * s];
    let (weights, dscores) = buffer.split_at_mut(QUERIES.min(t) * s);
    let at_keys = b * s * e + head * d;
    let (keys, keys_transposed) = (rows(&saved.k[at_keys..], e), transposed(&saved.k[at_keys..], e));
    let values_transposed = transposed(&saved.v[at_keys..], e);
    for first in (0..t).step_by(QUERIES) {
        let count = QUERIES.min(t - first);
        let at = (b * t + first) * e + head * d;
        let (weights, dscores) = (&mut weights[..count * s], &mut dscores[..count * s]);
        let (queries, douts) = (rows(&saved.q[at..], e), rows(&dout[at..], e));
        gemm::multiply_strided([count, s, d], queries, keys_transposed, None, (weights, s), scale, false);
        gemm::multiply_strided([count, s, d], douts, values_transposed, None, (dscores, s), 1.0, false);
        let log_sums = &saved.log_sum[(b * heads + head) * t + first..];
        for (i, (weights, dscores)) in weights.chunks_exact_mut(s).zip(dscores.chunks_exact_mut(s)).enumerate() {
            let (out, dout) = (&saved.out[at + i * e..][..d], &dout[at + i * e..][..d]);
            let dot: f32 = out.iter().zip(dout).map(|(a, b)| a * b).sum();
            let log_sum = log_sums[i];
            arch.dispatch(|| {
                for (weight, dscore) in weights.iter_mut().zip(dscores) {
                    *weight = vector::exp(*weight - log_sum);
                    *dscore = *weight * (*dscore - dot);
                }
            });
        }
        gemm::accumulate_strided([s, d, count], transposed(weights, s), douts, (dv, d), 1.0);
        gemm::accumulate_strided([s, d, count], transposed(dscores, s), queries, (dk, d), scale);
        gemm::multiply_strided([count, d, s], rows(dscores, s), keys, None, (&mut dq[first * d..], d), scale, false);
    }
}
