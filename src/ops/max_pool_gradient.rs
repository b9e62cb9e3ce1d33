//! The derivative of 2 x 2 max pooling.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::{kernel, params};

/// x (N, 2H, 2W, C), dy (N, H, W, C) to dx (N, 2H, 2W, C): dy at the first of the largest values of each 2 x 2 block in
/// row-major order, zero elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct MaxPoolGradient;

pub(super) const ENTRY: Entry = Entry { name: "max_pool_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("max_pool_gradient");

params! { struct GradientParams { count: u32, width: u32, channels: u32 } }

impl Operator for MaxPoolGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, dy] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), x)?;
        if h % 2 != 0 || w % 2 != 0 || *dy != Shape::from([n, h / 2, w / 2, c]) {
            return Err(Error::shape(self.name(), format!("{x} and {dy}"), "even height and width, dy half as large"));
        }
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 3 * shapes.inputs[1].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.inputs[1].elements();
        let [_, _, width, channels] = shapes.inputs[1].padded4().map(extent);
        let params = GradientParams { count: extent(count), width, channels };
        Ok(vec![Launch::elementwise(&KERNEL, 2, &params, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, _, w, c] = shapes.inputs[1].padded4();
        let blocks = outputs[0].par_chunks_mut(4 * w * c).zip(inputs[0].par_chunks(4 * w * c));
        blocks.zip(inputs[1].par_chunks(w * c)).for_each(|((dx, x), dy)| {
            let (dx_top, dx_bottom) = dx.split_at_mut(2 * w * c);
            let (top, bottom) = x.split_at(2 * w * c);
            for (j, dy) in dy.chunks_exact(c).enumerate() {
                let (top, bottom) = (top[2 * j * c..][..2 * c].split_at(c), bottom[2 * j * c..][..2 * c].split_at(c));
                let (dx0, dx1) = dx_top[2 * j * c..][..2 * c].split_at_mut(c);
                let (dx2, dx3) = dx_bottom[2 * j * c..][..2 * c].split_at_mut(c);
                for q in 0..c {
                    let [v0, v1, v2, v3] = [top.0[q], top.1[q], bottom.0[q], bottom.1[q]];
                    let first = v0 >= v1 && v0 >= v2 && v0 >= v3;
                    let second = !first && v1 >= v2 && v1 >= v3;
                    let third = !first && !second && v2 >= v3;
                    dx0[q] = if first { dy[q] } else { 0.0 };
                    dx1[q] = if second { dy[q] } else { 0.0 };
                    dx2[q] = if third { dy[q] } else { 0.0 };
                    dx3[q] = if first || second || third { 0.0 } else { dy[q] };
                }
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.inputs[1].padded4();
        let mut out = vec![0.0; inputs[0].len()];
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    for q in 0..c {
                        let at = |y: usize, x: usize| ((b * 2 * h + 2 * i + y) * 2 * w + 2 * j + x) * c + q;
                        let mut largest = at(0, 0);
                        for other in [at(0, 1), at(1, 0), at(1, 1)] {
                            if inputs[0][other] > inputs[0][largest] {
                                largest = other;
                            }
                        }
                        out[largest] = inputs[1][((b * h + i) * w + j) * c + q];
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
        case([2, 6, 10, 3]).fill(0, Fill::Coarse),
        case([1, 2, 2, 1]),
        case([1, 34, 62, 65]),
        case([1, 384, 384, 64]).published_size(),
    ]
}

fn case(x: [usize; 4]) -> Case {
    let [n, h, w, c] = x;
    Case::new(MaxPoolGradient, [x, [n, h / 2, w / 2, c]])
}
