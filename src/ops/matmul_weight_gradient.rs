//! Gradient of a dense layer's weights.

use std::any::Any;

use super::activation::Activation;
use super::case::{self, Case, Entry};
use super::conv2d_weight_gradient::{Extents, PLAIN, SHARED, TILED};
use super::gpu_work::{self, GpuWork, MapRead};
use super::matmul;
use super::prologue::{self, Prologue};
use super::sum_to;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Launch, Operator, Shape, Shapes};
use crate::numeric::gemm;

/// The gradient of the matrix of a dense layer: the sum of `a^T dy` over all rows.
///
/// Inputs: a (..., K), the layer's input, and dy (..., N), the gradient of its result. Output (K, N). Exchanged inputs give
/// the gradient of a matrix that is stored transposed. a may be several inputs, see [`Prologue`].
#[derive(Debug, Clone, Copy, Default)]
pub struct MatMulWeightGradient {
    /// How a is read.
    pub prologue: Prologue,
}

// On the GPU, a dense layer is a convolution with a kernel of one tap.
pub(super) const ENTRY: Entry = Entry {
    name: "matmul_weight_gradient",
    kernels: &[&PLAIN, &TILED, &SHARED, &gpu_work::FILL_ROWS, &sum_to::KERNEL, &matmul::SUM, &prologue::KERNEL],
    cases,
};

/// For the shapes with a in one piece.
fn extents(shapes: &Shapes) -> Extents {
    let (a, dy) = (&shapes.inputs[0], &shapes.inputs[1]);
    Extents { x: [1, 1, a.rows(), a.channels()], kernel: [1, 1], co: dy.channels(), exact: false }
}

impl MatMulWeightGradient {
    fn gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let (extents, caps) = (extents(&self.prologue.merged(shapes)), &caps.chosen(&self, shapes));
        match self.prologue.read(shapes).filter(|&map| extents.reads(map, caps)) {
            Some(map) => extents.work(map, Binding::Input(self.prologue.inputs()), caps),
            None => {
                let plain = MapRead::plain(Binding::Input(0), extents.x[3]);
                self.prologue.work(shapes, extents.work(plain, Binding::Input(1), caps))
            }
        }
    }
}

impl Operator for MatMulWeightGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let merged = self.prologue.merge(self.name(), inputs)?;
        let [a, dy] = case::arity(self.name(), &merged)?;
        if a.with_channels(dy.channels()) != *dy {
            return Err(Error::shape(self.name(), format!("{a} and {dy}"), "a (..., K) and dy (..., N)"));
        }
        Ok(vec![Shape::from([a.channels(), dy.channels()])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let merged = self.prologue.merged(shapes);
        let flop = 2 * (merged.inputs[0].elements() * merged.inputs[1].channels()) as u64;
        Cost { flop, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(self.gpu_work(shapes, caps).launches)
    }

    fn variants(&self, shapes: &Shapes, caps: &Caps) -> Vec<&'static str> {
        extents(&self.prologue.merged(shapes)).variants(caps)
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        self.gpu_work(shapes, caps).scratch
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        let merged = self.prologue.merged(shapes);
        let (a, n) = (&merged.inputs[0], merged.inputs[1].channels());
        let (source, others) = self.prologue.source(shapes, inputs);
        gemm::multiply_over_rows([a.channels(), n, a.rows()], source, others[0], outputs[0], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        let merged = self.prologue.merged(shapes);
        let (a, n) = (&merged.inputs[0], merged.inputs[1].channels());
        gemm::over_rows_scratch([a.channels(), n, a.rows()])
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (inputs, shapes) = (self.prologue.reference(shapes, inputs), self.prologue.merged(shapes));
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
        Case::new(MatMulWeightGradient::default(), [a, dy])
    };
    vec![
        case([5, 7].into(), 3),
        case([1, 1].into(), 1),
        case([2, 3, 5, 17].into(), 9),
        case([2, 19, 33, 64].into(), 64),
        case([3, 700, 20].into(), 2),
        case([2, 2600, 12].into(), 70),
        case([2, 5, 260].into(), 256),
        fused([2, 5, 7, 3].into(), Prologue { normalised: Some(LEAKY), joined: false }, 3, 5),
        fused([2, 50, 50, 16].into(), Prologue { normalised: Some(LEAKY), joined: true }, 37, 20),
        fused([1, 8, 11, 5].into(), Prologue { normalised: None, joined: true }, 26, 9),
        fused([1, 30, 40, 150].into(), Prologue { normalised: Some(Activation::Identity), joined: true }, 300, 256),
        case([1, 384, 384, 64].into(), 64).published_size(),
        case([1, 384, 384, 64].into(), 2).published_size(),
        case([1, 576, 16384].into(), 64).published_size(),
        case([1, 576, 64].into(), 256).published_size(),
    ]
}

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.2 };

/// A map with a prologue and `k` channels in all.
fn fused(a: Shape, prologue: Prologue, k: usize, n: usize) -> Case {
    let dy = a.with_channels(n);
    prologue::case(MatMulWeightGradient { prologue }, prologue, a, k, &[dy])
}
