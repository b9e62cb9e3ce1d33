//! Mean over height and width.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::global_average_pool_gradient::GlobalAveragePoolGradient;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// (N, H, W, C) to (N, 1, 1, C): the mean of each channel over the map.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAveragePool;

pub(super) const ENTRY: Entry = Entry { name: "global_average_pool", kernels: &[&PARTS, &MEAN], cases };

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
        let [x] = case::arity(self.name(), inputs)?;
        let [n, _, _, c] = case::nhwc(self.name(), x)?;
        Ok(vec![Shape::from([n, 1, 1, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        let spans = spans(h * w);
        let item = caps.item(&[c]);
        let c = c / item;
        let [batch, pixels, channels] = [n, h * w, c].map(extent);
        let parts = PartsParams { batch, pixels, channels, spans: extent(spans), span: extent(SPAN) };
        let mean = MeanParams { count: extent(n * c), channels, spans: extent(spans), pixels };
        let (to_scratch, from_scratch) =
            (vec![Binding::Input(0), Binding::ScratchOut(0)], vec![Binding::ScratchIn(0), Binding::Output(0)]);
        Ok(vec![
            Launch::new(&PARTS, to_scratch, &parts, n * spans * c.div_ceil(64)).with_item(item),
            Launch::new(&MEAN, from_scratch, &mean, (n * c).div_ceil(256)).with_item(item),
        ])
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        vec![n * spans(h * w) * c]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        #[expect(clippy::cast_precision_loss, reason = "the sum is in f64")]
        let count = (h * w) as f64;
        for b in 0..n {
            let map = &inputs[0][b * h * w * c..(b + 1) * h * w * c];
            // Sums per row in f64, added in a fixed order: the same result on any number of threads.
            let rows: Vec<Vec<f64>> = map
                .par_chunks(w * c)
                .map(|row| {
                    let mut sum = vec![0.0_f64; c];
                    for pixel in row.chunks_exact(c) {
                        for (s, &x) in sum.iter_mut().zip(pixel) {
                            *s += f64::from(x);
                        }
                    }
                    sum
                })
                .collect();
            for (q, out) in outputs[0][b * c..(b + 1) * c].iter_mut().enumerate() {
                #[expect(clippy::cast_possible_truncation, reason = "the mean as f32 is the result")]
                let mean = (rows.iter().map(|row| row[q]).sum::<f64>() / count) as f32;
                *out = mean;
            }
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
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
        Case::new(GlobalAveragePool, [[2, 5, 7, 3]]),
        Case::new(GlobalAveragePool, [[1, 1, 1, 1]]),
        Case::new(GlobalAveragePool, [[3, 17, 33, 65]]),
        Case::new(GlobalAveragePool, [[2, 37, 33, 260]]),
        Case::new(GlobalAveragePool, [[2, 64, 64, 8]]),
        Case::new(GlobalAveragePool, [[1, 384, 384, 64]]).published_size(),
    ]
}
