//! Nearest-neighbour upsampling by two.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::upsample_nearest_gradient::UpsampleNearestGradient;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// (N, H, W, C) to (N, 2H, 2W, C): every pixel four times.
#[derive(Debug, Clone, Copy)]
pub struct UpsampleNearest;

pub(super) const ENTRY: Entry = Entry { name: "upsample_nearest", kernels: &[&KERNEL], cases };

pub(super) static KERNEL: Kernel = kernel!("upsample_nearest");

params! { struct NearestParams { count: u32, width: u32, channels: u32 } }

/// The launch that makes an output of this shape.
pub(super) fn launch(out: &Shape, caps: &Caps) -> Launch {
    let [_, _, width, channels] = out.padded4();
    let item = caps.item(&[channels]);
    let count = out.elements() / item;
    let [width, channels] = [width, channels / item].map(extent);
    Launch::elementwise(&KERNEL, 1, &NearestParams { count: extent(count), width, channels }, count).with_item(item)
}

impl Operator for UpsampleNearest {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), x)?;
        Ok(vec![Shape::from([n, 2 * h, 2 * w, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![launch(&shapes.outputs[0], caps)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, _, w, c] = shapes.inputs[0].padded4();
        outputs[0].par_chunks_mut(4 * w * c).zip(inputs[0].par_chunks(w * c)).for_each(|(out, row)| {
            let (first, second) = out.split_at_mut(2 * w * c);
            for (out, pixel) in first.chunks_exact_mut(2 * c).zip(row.chunks_exact(c)) {
                out[..c].copy_from_slice(pixel);
                out[c..].copy_from_slice(pixel);
            }
            second.copy_from_slice(first);
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.outputs[0].padded4();
        let mut out = Vec::with_capacity(n * h * w * c);
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    let at = ((b * h / 2 + i / 2) * (w / 2) + j / 2) * c;
                    out.extend_from_slice(&inputs[0][at..at + c]);
                }
            }
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply(UpsampleNearestGradient, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(UpsampleNearest, [[2, 3, 5, 3]]),
        Case::new(UpsampleNearest, [[1, 1, 1, 1]]),
        Case::new(UpsampleNearest, [[1, 17, 31, 65]]),
        Case::new(UpsampleNearest, [[2, 7, 9, 20]]),
        Case::new(UpsampleNearest, [[1, 192, 192, 128]]).published_size(),
    ]
}
