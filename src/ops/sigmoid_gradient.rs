//! The derivative of the logistic function.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// (y, dy) to `dy y (1 - y)`; y is the result of [`super::Sigmoid`].
#[derive(Debug, Clone, Copy)]
pub struct SigmoidGradient;

pub(super) const ENTRY: Entry = Entry { name: "sigmoid_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("sigmoid_gradient");

params! { struct Elementwise { count: u32 } }

impl Operator for SigmoidGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        case::same_pair(self.name(), inputs)
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 3 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        Ok(vec![Launch::elementwise(&KERNEL, 2, &Elementwise { count: extent(count) }, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![1, 0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        vector::map2(inputs[0], inputs[1], outputs[0], move |y, dy| dy * y * (1.0 - y));
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].iter().zip(inputs[1]).map(|(y, dy)| dy * y * (1.0 - y)).collect()]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(SigmoidGradient, [[2, 5, 7, 3], [2, 5, 7, 3]]),
        Case::new(SigmoidGradient, [[1], [1]]).fill(0, Fill::Positive),
        Case::new(SigmoidGradient, [[1025], [1025]]).fill(0, Fill::Positive),
        Case::new(SigmoidGradient, [[8, 1, 1, 64], [8, 1, 1, 64]]).published_size(),
    ]
}
