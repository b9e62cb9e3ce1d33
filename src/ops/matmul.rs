//! Matrix product: dense layers and batches of matrices.

use std::any::Any;

use super::case::{Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Launch, Operator, Shape, Shapes};
use crate::numeric::gemm;

/// `a b`, optionally of transposed matrices, plus an optional bias over the columns.
///
/// With a matrix b (K, N), a may have any rank (..., K): a dense layer over its innermost axis, and `transpose_a` needs
/// rank 2. With b of rank 3, (B, K, N), a is (B, M, K): B products. Transposed operands are stored (K, M) and (N, K).
#[derive(Debug, Clone, Copy, Default)]
pub struct MatMul {
    /// a is stored (K, M).
    pub transpose_a: bool,
    /// b is stored (N, K).
    pub transpose_b: bool,
}

/// The extents of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Number of products.
    pub(crate) batch: usize,
    /// Rows of the result.
    pub(crate) m: usize,
    /// Columns of the result.
    pub(crate) n: usize,
    /// Summed extent.
    pub(crate) k: usize,
}

impl MatMul {
    /// The extents for inputs that [`Operator::shapes`] accepts.
    pub(crate) fn extents(self, a: &Shape, b: &Shape) -> Option<Extents> {
        let swap = |swap: bool, x: usize, y: usize| if swap { (y, x) } else { (x, y) };
        let (batch, (m, k), (kb, n)) = match (&a[..], &b[..]) {
            (&[x, y], &[p, q]) => (1, swap(self.transpose_a, x, y), swap(self.transpose_b, p, q)),
            (_, &[p, q]) if !self.transpose_a => (1, (a.rows(), a.channels()), swap(self.transpose_b, p, q)),
            (&[ba, x, y], &[bb, p, q]) if ba == bb => (ba, swap(self.transpose_a, x, y), swap(self.transpose_b, p, q)),
            _ => return None,
        };
        (k == kb).then_some(Extents { batch, m, n, k })
    }
}

pub(super) const ENTRY: Entry = Entry { name: "matmul", kernels: &[], cases };

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wrong =
            || Error::shape(self.name(), format!("{inputs:?}"), "a (..., M, K), b (K, N) and optionally bias (N)");
        let (a, b, bias) = match inputs {
            [a, b] => (a, b, None),
            [a, b, bias] => (a, b, Some(bias)),
            _ => return Err(wrong()),
        };
        let e = self.extents(a, b).ok_or_else(wrong)?;
        if bias.is_some_and(|s| s.len() != 1 || s[0] != e.n) {
            return Err(wrong());
        }
        Ok(vec![match a.len() {
            2 => Shape::from([e.m, e.n]),
            3 if b.len() == 3 => Shape::from([e.batch, e.m, e.n]),
            _ => a.with_channels(e.n),
        }])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost {
            flop: self
                .extents(&shapes.inputs[0], &shapes.inputs[1])
                .map_or(0, |e| 2 * (e.batch * e.m * e.n * e.k) as u64),
            bytes: bytes_moved(shapes),
        }
    }

    fn launches(&self, _shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(Vec::new())
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let Some(e) = self.extents(&shapes.inputs[0], &shapes.inputs[1]) else { return };
        let bias = inputs.get(2).copied();
        for i in 0..e.batch {
            let a = gemm::Matrix { data: &inputs[0][i * e.m * e.k..], transposed: self.transpose_a };
            let b = gemm::Matrix { data: &inputs[1][i * e.k * e.n..], transposed: self.transpose_b };
            gemm::multiply([e.m, e.n, e.k], a, b, bias, &mut outputs[0][i * e.m * e.n..]);
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let Some(e) = self.extents(&shapes.inputs[0], &shapes.inputs[1]) else { return vec![Vec::new()] };
        let (a, b) = (inputs[0], inputs[1]);
        let mut out = Vec::with_capacity(e.batch * e.m * e.n);
        for batch in 0..e.batch {
            for i in 0..e.m {
                for j in 0..e.n {
                    let mut sum = inputs.get(2).map_or(0.0, |bias| bias[j]);
                    for q in 0..e.k {
                        let at_a = if self.transpose_a { q * e.m + i } else { i * e.k + q };
                        let at_b = if self.transpose_b { j * e.k + q } else { q * e.n + j };
                        sum += a[batch * e.m * e.k + at_a] * b[batch * e.k * e.n + at_b];
                    }
                    out.push(sum);
                }
            }
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(PLAIN, [[5, 7], [7, 3]]),
        Case::new(PLAIN, [[1, 1], [1, 1]]),
        Case::new(PLAIN, [Shape::from([2, 3, 5, 17]), Shape::from([17, 9]), Shape::from([9])]),
        Case::new(PLAIN, [[64, 16], [16, 64]]),
        Case::new(PLAIN, [[65, 33], [33, 127]]),
        Case::new(PLAIN, [[3, 7, 5], [3, 5, 11]]),
        Case::new(MatMul { transpose_a: true, transpose_b: false }, [[19, 6], [19, 34]]),
        Case::new(MatMul { transpose_a: false, transpose_b: true }, [[2, 66, 19], [2, 34, 19]]),
        Case::new(MatMul { transpose_a: true, transpose_b: true }, [[2, 19, 6], [2, 34, 19]]),
        Case::new(PLAIN, [Shape::from([1, 384, 384, 64]), Shape::from([64, 64])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 576, 16384]), Shape::from([16384, 64]), Shape::from([64])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 576, 64]), Shape::from([64, 256]), Shape::from([256])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 384, 384, 64]), Shape::from([64, 2]), Shape::from([2])]).published_size(),
    ]
}

const PLAIN: MatMul = MatMul { transpose_a: false, transpose_b: false };
