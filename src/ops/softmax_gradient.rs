//! The derivative of softmax over the channels.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// (y, dy) to `y (dy - sum of y dy)`, the sum over the innermost axis; y is the result of [`super::Softmax`].
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxGradient;

pub(super) const ENTRY: Entry = Entry { name: "softmax_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("softmax_gradient");

params! { struct GradientParams { rows: u32, channels: u32 } }

impl Operator for SoftmaxGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        case::same_pair(self.name(), inputs)
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 4 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let params = GradientParams { rows: extent(rows), channels: extent(channels) };
        Ok(vec![Launch::elementwise(&KERNEL, 2, &params, rows)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        vector::rows2(inputs[0], inputs[1], outputs[0], shapes.inputs[0].channels(), |y, dy, dx| {
            let sum: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - sum);
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let channels = shapes.inputs[0].channels();
        let mut out = Vec::with_capacity(inputs[0].len());
        for (y, dy) in inputs[0].chunks_exact(channels).zip(inputs[1].chunks_exact(channels)) {
            for k in 0..channels {
                // The derivative of y(c) by x(k) is y(c) (1 - y(k)) where c is k, else -y(c) y(k).
                let by_x = |c: usize| y[c] * (f64::from(u8::from(c == k)) - y[k]);
                out.push((0..channels).map(|c| dy[c] * by_x(c)).sum());
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
        Case::new(SoftmaxGradient, [[2, 5, 7, 2], [2, 5, 7, 2]]).fill(0, Fill::Target),
        Case::new(SoftmaxGradient, [[3, 1], [3, 1]]),
        Case::new(SoftmaxGradient, [[1030, 3], [1030, 3]]).fill(0, Fill::Target),
        Case::new(SoftmaxGradient, [[5, 65], [5, 65]]).fill(0, Fill::Target),
        Case::new(SoftmaxGradient, [[8, 384, 384, 2], [8, 384, 384, 2]]).published_size(),
    ]
}
