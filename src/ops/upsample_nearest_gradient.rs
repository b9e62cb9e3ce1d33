//! The transpose of nearest-neighbour upsampling by two.

use std::any::Any;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::conv::sum_quads;
use crate::{kernel, params};

/// (N, 2H, 2W, C) to (N, H, W, C): the sum of each 2 x 2 block.
#[derive(Debug, Clone, Copy)]
pub struct UpsampleNearestGradient;

pub(super) const ENTRY: Entry = Entry { name: "upsample_nearest_gradient", kernels: &[&KERNEL], cases };

pub(super) static KERNEL: Kernel = kernel!("upsample_nearest_gradient");

params! { struct NearestParams { count: u32, width: u32, channels: u32 } }

/// The launch that makes an output of this shape.
pub(super) fn launch(out: &Shape) -> Launch {
    let count = out.elements();
    let [_, _, width, channels] = out.padded4().map(extent);
    Launch::elementwise(&KERNEL, 1, &NearestParams { count: extent(count), width, channels }, count)
}

impl Operator for UpsampleNearestGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), dy)?;
        if h % 2 != 0 || w % 2 != 0 {
            return Err(Error::shape(self.name(), dy.to_string(), "even height and width"));
        }
        Ok(vec![Shape::from([n, h / 2, w / 2, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 3 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![launch(&shapes.outputs[0])])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, _, w, c] = shapes.inputs[0].padded4();
        sum_quads(inputs[0], [w, c], outputs[0]);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        let mut out = vec![0.0; shapes.outputs[0].elements()];
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    for q in 0..c {
                        out[((b * h / 2 + i / 2) * (w / 2) + j / 2) * c + q] +=
                            inputs[0][((b * h + i) * w + j) * c + q];
                    }
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
        Case::new(UpsampleNearestGradient, [[2, 6, 10, 3]]),
        Case::new(UpsampleNearestGradient, [[1, 2, 2, 1]]),
        Case::new(UpsampleNearestGradient, [[1, 34, 62, 65]]),
        Case::new(UpsampleNearestGradient, [[1, 384, 384, 128]]).published_size(),
    ]
}
