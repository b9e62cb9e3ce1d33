//! The derivative of the leaky rectifier.

use std::any::Any;

use super::case::{self, Case, Entry};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// (y, dy) to dx: dy where y is positive, else `slope * dy`. Inputs of one shape; y is the result of
/// [`super::LeakyRelu`], whose sign is that of its input as long as the slope is positive.
#[derive(Debug, Clone, Copy)]
pub struct LeakyReluGradient {
    /// The factor for negative values.
    pub slope: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "leaky_relu_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("leaky_relu_gradient");

params! { struct LeakyReluParams { count: u32, slope: f32 } }

impl Operator for LeakyReluGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        case::same_pair(self.name(), inputs)
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        Ok(vec![Launch::elementwise(&KERNEL, 2, &LeakyReluParams { count: extent(count), slope: self.slope }, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![1, 0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let slope = self.slope;
        vector::map2(inputs[0], inputs[1], outputs[0], move |y, dy| if y > 0.0 { dy } else { slope * dy });
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let slope = f64::from(self.slope);
        vec![inputs[0].iter().zip(inputs[1]).map(|(&y, &dy)| if y > 0.0 { dy } else { slope * dy }).collect()]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let operator = LeakyReluGradient { slope: 0.2 };
    vec![
        Case::new(operator, [[2, 5, 7, 3], [2, 5, 7, 3]]),
        Case::new(operator, [[1], [1]]),
        Case::new(operator, [[1025], [1025]]),
        Case::new(operator, [[1, 384, 384, 64], [1, 384, 384, 64]]).published_size(),
    ]
}
