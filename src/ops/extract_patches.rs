//! Cuts a map into flattened square patches.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::extract_patches_gradient::ExtractPatchesGradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// (N, H, W, C) to (N, (H/P)(W/P), P P C): non-overlapping P x P patches in row-major order, each flattened as
/// (row, column, channel).
#[derive(Debug, Clone, Copy)]
pub struct ExtractPatches {
    /// The side P of a patch, in pixels.
    pub size: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "extract_patches", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("extract_patches");

params! { struct PatchParams { count: u32, size: u32, across: u32, channels: u32 } }

impl Operator for ExtractPatches {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), x)?;
        let p = self.size;
        if p == 0 || h % p != 0 || w % p != 0 {
            return Err(Error::shape(self.name(), x.to_string(), format!("height and width divisible by {p}")));
        }
        Ok(vec![Shape::from([n, h / p * (w / p), p * p * c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [_, _, width, channels] = shapes.inputs[0].padded4();
        let item = caps.item(&[channels]);
        let count = shapes.outputs[0].elements() / item;
        let params = PatchParams {
            count: extent(count),
            size: extent(self.size),
            across: extent(width / self.size),
            channels: extent(channels / item),
        };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count).with_item(item)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, h, w, c] = shapes.inputs[0].padded4();
        let p = self.size;
        let (down, across) = (h / p, w / p);
        outputs[0].par_chunks_mut(p * p * c).enumerate().for_each(|(patch, out)| {
            let (b, i, j) = (patch / (down * across), patch / across % down, patch % across);
            for (y, out) in out.chunks_exact_mut(p * c).enumerate() {
                let at = ((b * h + i * p + y) * w + j * p) * c;
                out.copy_from_slice(&inputs[0][at..at + p * c]);
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        let p = self.size;
        let mut out = Vec::with_capacity(n * h * w * c);
        for b in 0..n {
            for i in 0..h / p {
                for j in 0..w / p {
                    for y in 0..p {
                        for x in 0..p {
                            let at = ((b * h + i * p + y) * w + j * p + x) * c;
                            out.extend_from_slice(&inputs[0][at..at + c]);
                        }
                    }
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
        Ok(vec![Some(graph.apply(ExtractPatchesGradient { size: self.size, height, width }, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(ExtractPatches { size: 2 }, [[2, 6, 4, 3]]),
        Case::new(ExtractPatches { size: 1 }, [[1, 1, 1, 1]]),
        Case::new(ExtractPatches { size: 16 }, [[1, 32, 48, 5]]),
        Case::new(ExtractPatches { size: 4 }, [[2, 8, 12, 20]]),
        Case::new(ExtractPatches { size: 16 }, [[1, 384, 384, 64]]).published_size(),
    ]
}
