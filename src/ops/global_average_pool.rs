//! Mean over height and width.

use std::any::Any;

use super::activation::Activation;
use super::case::{self, Case, Entry};
use super::global_average_pool_gradient::GlobalAveragePoolGradient;
use super::prologue::{self, Prologue};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::reduce;
use crate::{kernel, params};

/// (N, H, W, C) to (N, 1, 1, C): the mean of each channel over the map.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalAveragePool {
    /// How the map is read.
    pub prologue: Prologue,
}

pub(super) const ENTRY: Entry =
    Entry { name: "global_average_pool", kernels: &[&PARTS, &MEAN, &prologue::KERNEL], cases };

static PARTS: Kernel = kernel!("global_average_pool_parts");
static MEAN: Kernel = kernel!("global_average_pool");

/// Pixels that one workgroup sums.
const SPAN: usize = 1024;

/// Number of spans of a map.
fn spans(pixels: usize) -> usize {
    pixels.div_ceil(SPAN)
}

params! { struct PartsParams { batch: u32, pixels: u32, channels: u32, spans: u32, span: u32 } }
params! { struct MeanParams { count: u32, channels: u32, spans: u32, pixels: u32 } }

impl Operator for GlobalAveragePool {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let merged = self.prologue.merge(self.name(), inputs)?;
        let [x] = case::arity(self.name(), &merged)?;
        let [n, _, _, c] = case::nhwc(self.name(), x)?;
        Ok(vec![Shape::from([n, 1, 1, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [n, h, w, c] = self.prologue.merged(shapes).inputs[0].padded4();
        let spans = spans(h * w);
        let item = caps.item(&[c]);
        let c = c / item;
        let [batch, pixels, channels] = [n, h * w, c].map(extent);
        let parts = PartsParams { batch, pixels, channels, spans: extent(spans), span: extent(SPAN) };
        let mean = MeanParams { count: extent(n * c), channels, spans: extent(spans), pixels };
        let (to_scratch, from_scratch) =
            (vec![Binding::Input(0), Binding::ScratchOut(0)], vec![Binding::ScratchIn(0), Binding::Output(0)]);
        let plain = vec![
            Launch::new(&PARTS, to_scratch, &parts, n * spans * c.div_ceil(64)).with_item(item),
            Launch::new(&MEAN, from_scratch, &mean, (n * c).div_ceil(256)).with_item(item),
        ];
        Ok(self.prologue.launches(shapes, 1, plain))
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        let [n, h, w, c] = self.prologue.merged(shapes).inputs[0].padded4();
        self.prologue.scratch(shapes, vec![n * spans(h * w) * c])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        self.prologue.batched()
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (x, _) = self.prologue.source(shapes, inputs);
        let [n, h, w, _] = shapes.inputs[0].padded4();
        let (c, pixels) = (x.channels(), h * w);
        for (sample, out) in outputs[0].chunks_exact_mut(c).enumerate().take(n) {
            let sums = reduce::sum(pixels, c, c, |range, sums| {
                let mut values = vec![0.0; c];
                for pixel in range {
                    let row = sample * pixels + pixel;
                    x.read(row..row + 1, 0..c, &mut values, c);
                    for (sum, &value) in sums.iter_mut().zip(&values) {
                        *sum += f64::from(value);
                    }
                }
            });
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = reduce::narrow(sum / pixels as f64);
            }
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let inputs = self.prologue.reference(shapes, inputs);
        let [n, h, w, c] = self.prologue.merged(shapes).inputs[0].padded4();
        let mut out = vec![0.0; n * c];
        for b in 0..n {
            for p in 0..h * w {
                for q in 0..c {
                    out[b * c + q] += inputs[0][(b * h * w + p) * c + q] / (h * w) as f64;
                }
            }
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        if !self.prologue.is_plain() {
            return Err(Error::NoGradient { operator: self.name() });
        }
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 1]) };
        let [_, height, width, _] = graph.shape(inputs[0]).padded4();
        Ok(vec![Some(graph.apply(GlobalAveragePoolGradient { height, width }, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(GlobalAveragePool::default(), [[2, 5, 7, 3]]),
        Case::new(GlobalAveragePool::default(), [[1, 1, 1, 1]]),
        Case::new(GlobalAveragePool::default(), [[3, 17, 33, 65]]),
        Case::new(GlobalAveragePool::default(), [[2, 37, 33, 260]]),
        Case::new(GlobalAveragePool::default(), [[2, 64, 64, 8]]),
        fused([2, 17, 33, 5]),
        fused([1, 40, 30, 64]),
        Case::new(GlobalAveragePool::default(), [[1, 384, 384, 64]]).published_size(),
    ]
}

/// A map that is normalised.
fn fused(x: [usize; 4]) -> Case {
    let prologue = Prologue { normalised: Some(Activation::LeakyRelu { slope: 0.2 }), joined: false };
    prologue::case(GlobalAveragePool { prologue }, prologue, x.into(), x[3], &[])
}
