//! Gradient of a dense layer's weights.

use std::any::Any;

use super::case::{self, Case, Entry};
use super::conv2d_weight_gradient::{Extents, PLAIN, TILED};
use super::gpu_work;
use super::sum_to;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Launch, Operator, Shape, Shapes};
use crate::numeric::gemm;

/// The gradient of the matrix of a dense layer: the sum of `a^T dy` over all rows.
///
/// Inputs: a (..., K), the layer's input, and dy (..., N), the gradient of its result. Output (K, N). Exchanged inputs give
/// the gradient of a matrix that is stored transposed.
#[derive(Debug, Clone, Copy)]
pub struct MatMulWeightGradient;

// On the GPU, a dense layer is a convolution with a kernel of one tap.
pub(super) const ENTRY: Entry =
    Entry { name: "matmul_weight_gradient", kernels: &[&PLAIN, &TILED, &gpu_work::FILL_ROWS, &sum_to::KERNEL], cases };

fn extents(shapes: &Shapes) -> Extents {
    let (a, dy) = (&shapes.inputs[0], &shapes.inputs[1]);
    Extents { x: [1, 1, a.rows(), a.channels()], kernel: [1, 1], co: dy.channels() }
}

impl Operator for MatMulWeightGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [a, dy] = case::arity(self.name(), inputs)?;
        if a.with_channels(dy.channels()) != *dy {
            return Err(Error::shape(self.name(), format!("{a} and {dy}"), "a (..., K) and dy (..., N)"));
        }
        Ok(vec![Shape::from([a.channels(), dy.channels()])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let flop = 2 * (shapes.inputs[0].elements() * shapes.inputs[1].channels()) as u64;
        Cost { flop, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(extents(shapes).work(caps).launches)
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        extents(shapes).work(caps).scratch
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        let (a, n) = (&shapes.inputs[0], shapes.inputs[1].channels());
        gemm::multiply_over_rows([a.channels(), n, a.rows()], inputs[0], inputs[1], outputs[0], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        let (a, n) = (&shapes.inputs[0], shapes.inputs[1].channels());
        gemm::over_rows_scratch([a.channels(), n, a.rows()])
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (k, n) = (shapes.inputs[0].channels(), shapes.inputs[1].channels());
        let mut out = vec![0.0; k * n];
        for (a, dy) in inputs[0].chunks_exact(k).zip(inputs[1].chunks_exact(n)) {
            for i in 0..k {
                for j in 0..n {
                    out[i * n + j] += a[i] * dy[j];
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
    let case = |a: Shape, n: usize| {
        let dy = a.with_channels(n);
        Case::new(MatMulWeightGradient, [a, dy])
    };
    vec![
        case([5, 7].into(), 3),
        case([1, 1].into(), 1),
        case([2, 3, 5, 17].into(), 9),
        case([2, 19, 33, 64].into(), 64),
        case([3, 700, 20].into(), 2),
        case([2, 2600, 12].into(), 70),
        case([2, 5, 260].into(), 256),
        case([1, 384, 384, 64].into(), 64).published_size(),
        case([1, 384, 384, 64].into(), 2).published_size(),
        case([1, 576, 16384].into(), 64).published_size(),
        case([1, 576, 64].into(), 256).published_size(),
    ]
}
