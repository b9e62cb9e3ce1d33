//! Class probabilities of one pixel in f64, exact near 0 and near 1, as losses need them.

use rayon::prelude::*;

/// Pixels that a thread takes at a time.
const BLOCK: usize = 1 << 12;

/// The softmax of a pixel's logits.
#[derive(Debug, Clone, Default)]
pub struct ClassSoftmax {
    /// The probabilities p.
    pub probability: Vec<f64>,
    /// 1 - p, not taken as a difference where p is near one.
    pub complement: Vec<f64>,
    /// ln p, finite where p is zero.
    pub logarithm: Vec<f64>,
}

impl ClassSoftmax {
    /// Memory for `classes` classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        let zeros = || vec![0.0; classes];
        Self { probability: zeros(), complement: zeros(), logarithm: zeros() }
    }

    /// Takes the softmax of `logits`, one value per class.
    pub fn set(&mut self, logits: &[f32]) {
        let mut top = 0;
        for (c, x) in logits.iter().enumerate() {
            if *x > logits[top] {
                top = c;
            }
        }
        let mut others = 0.0;
        for (c, &x) in logits.iter().enumerate() {
            let off = f64::from(x) - f64::from(logits[top]);
            self.logarithm[c] = off;
            self.probability[c] = if c == top { 1.0 } else { off.exp() };
            others += if c == top { 0.0 } else { self.probability[c] };
        }
        let (sum, log_sum) = (1.0 + others, others.ln_1p());
        let terms = self.probability.iter_mut().zip(&mut self.complement).zip(&mut self.logarithm);
        for (c, ((p, q), l)) in terms.enumerate() {
            *q = if c == top { others } else { 1.0 + (others - *p).max(0.0) } / sum;
            *p /= sum;
            *l -= log_sum;
        }
    }
}

/// Calls `f(softmax of the pixel's logits, the pixel, its row of out)` for every pixel of `classes` logits, in parallel.
pub fn for_pixels(
    logits: &[f32],
    out: &mut [f32],
    classes: usize,
    f: impl Fn(&ClassSoftmax, usize, &mut [f32]) + Sync,
) {
    out.par_chunks_mut(BLOCK * classes).zip(logits.par_chunks(BLOCK * classes)).enumerate().for_each(
        |(block, (out, logits))| {
            let mut softmax = ClassSoftmax::new(classes);
            for (i, (out, logits)) in out.chunks_exact_mut(classes).zip(logits.chunks_exact(classes)).enumerate() {
                softmax.set(logits);
                f(&softmax, block * BLOCK + i, out);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::ClassSoftmax;

    #[test]
    fn probabilities_near_zero_and_one_keep_their_digits() {
        let mut softmax = ClassSoftmax::new(2);
        softmax.set(&[-20.0, 20.0]);
        let small = (-40.0_f64).exp() / (1.0 + (-40.0_f64).exp());
        for (found, exact) in [
            (softmax.probability[0], small),
            (softmax.complement[1], small),
            (softmax.logarithm[0], -40.0 - small),
            (softmax.logarithm[1], -small),
        ] {
            assert!((found / exact - 1.0).abs() < 1e-14, "{found:e} for {exact:e}");
        }
    }
}
