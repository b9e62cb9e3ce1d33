//! Sum of a product of two maps over their pixels.

use std::any::Any;

use super::activation::Activation;
use super::case::{Case, Entry};
use super::partial_sums::{Parts, SUM_PARTS};
use super::prologue::{self, Prologue};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::reduce;
use crate::{kernel, params};

/// For every sample and channel the sum over pixels of `x dy`: the gradient of weights that scaled a map, in one pass.
///
/// Inputs: x (N, H, W, C), which may be several, see [`Prologue`], and dy (N, H, W, C). Output (N, 1, 1, C). The plan makes it of a
/// product and a sum.
#[derive(Debug, Clone, Copy)]
pub struct ProductSum {
    /// How x is read.
    pub prologue: Prologue,
}

pub(super) const ENTRY: Entry =
    Entry { name: "product_sum", kernels: &[&KERNEL, &SUM_PARTS, &prologue::KERNEL], cases };

static KERNEL: Kernel = kernel!("product_sum");

/// Pixels of a sample that one workgroup sums.
const SPAN: usize = 1024;

params! { struct ProductSumParams { batch: u32, pixels: u32, channels: u32, spans: u32, span: u32 } }

/// Spans of a sample.
fn spans(shapes: &Shapes) -> usize {
    let [_, h, w, _] = shapes.inputs[0].padded4();
    (h * w).div_ceil(SPAN)
}

impl Operator for ProductSum {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let merged = self.prologue.merge(self.name(), inputs)?;
        match merged.as_slice() {
            [x, dy] if x == dy && x.len() == 4 => Ok(vec![Shape::from([x[0], 1, 1, x[3]])]),
            _ => Err(Error::shape(self.name(), format!("{inputs:?}"), "x and dy of one shape (N, H, W, C)")),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 2 * self.prologue.merged(shapes).inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let merged = self.prologue.merged(shapes);
        let [n, h, w, c] = merged.inputs[0].padded4();
        let spans = spans(&merged);
        let params = ProductSumParams {
            batch: extent(n),
            pixels: extent(h * w),
            channels: extent(c),
            spans: extent(spans),
            span: extent(SPAN),
        };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::ScratchOut(0)];
        // A span's row holds the channels of all samples.
        let parts = Parts { spans, stride: n * c };
        let plain = vec![
            Launch::new(&KERNEL, bindings, &params, n * spans * c.div_ceil(64)),
            parts.sum(Binding::ScratchIn(0), Binding::Output(0), 0, n * c, 1.0),
        ];
        Ok(self.prologue.launches(shapes, 1, plain))
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        let merged = self.prologue.merged(shapes);
        self.prologue.scratch(shapes, vec![spans(&merged) * merged.outputs[0].elements()])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        self.prologue.batched().into_iter().chain([true]).collect()
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (x, others) = self.prologue.source(shapes, inputs);
        let (c, dy) = (x.channels(), others[0]);
        let pixels = dy.len() / outputs[0].len();
        for (sample, out) in outputs[0].chunks_exact_mut(c).enumerate() {
            let sums = reduce::sum(pixels, 2 * c, c, |range, sums| {
                let mut values = vec![0.0; c];
                for pixel in range {
                    let row = sample * pixels + pixel;
                    x.read(row..row + 1, 0..c, &mut values, c);
                    add_product(&values, &dy[row * c..][..c], sums);
                }
            });
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = reduce::narrow(sum);
            }
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let inputs = self.prologue.reference(shapes, inputs);
        let [_, h, w, c] = self.prologue.merged(shapes).inputs[0].padded4();
        let mut out = vec![0.0; shapes.outputs[0].elements()];
        for (i, (x, dy)) in inputs[0].iter().zip(&inputs[1]).enumerate() {
            out[i / (h * w * c) * c + i % c] += x * dy;
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `sums += x dy`. Only of arguments does the compiler know that they do not overlap.
#[inline(always)]
fn add_product(x: &[f32], dy: &[f32], sums: &mut [f64]) {
    let count = sums.len();
    let (x, dy) = (&x[..count], &dy[..count]);
    for c in 0..count {
        sums[c] += f64::from(x[c]) * f64::from(dy[c]);
    }
}

fn cases() -> Vec<Case> {
    let leaky = Some(Activation::LeakyRelu { slope: 0.2 });
    let case = |x: [usize; 4], normalised| {
        let prologue = Prologue { normalised, joined: false };
        prologue::case(ProductSum { prologue }, prologue, x.into(), x[3], &[x.into()])
    };
    vec![
        case([2, 5, 7, 3], None),
        case([1, 1, 1, 1], leaky),
        case([3, 17, 33, 65], leaky),
        case([2, 64, 64, 8], None),
        case([1, 384, 384, 64], leaky).published_size(),
    ]
}
