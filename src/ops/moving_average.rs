//! The moving averages that batch normalisation keeps for inference.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// (old, new) to `momentum * old + (1 - momentum) * factor * new`; all of one shape. Where the new value is not finite the
/// old one stays: a step that went wrong changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct MovingAverage {
    /// What stays of the old value.
    pub momentum: f32,
    /// n / (n - 1) where the biased variance of n values shall count as unbiased, else one.
    pub factor: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "moving_average", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("moving_average", "finite");

params! { struct AverageParams { count: u32, momentum: f32, share: f32 } }

impl MovingAverage {
    /// The factor of the new value.
    fn share(self) -> f32 {
        reduce::narrow((1.0 - f64::from(self.momentum)) * f64::from(self.factor))
    }
}

impl Operator for MovingAverage {
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
        let params = AverageParams { count: extent(count), momentum: self.momentum, share: self.share() };
        Ok(vec![Launch::elementwise(&KERNEL, 2, &params, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (momentum, share) = (self.momentum, self.share());
        vector::map2(inputs[0], inputs[1], outputs[0], move |old, new| {
            if new.is_finite() { old * momentum + new * share } else { old }
        });
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (momentum, factor) = (f64::from(self.momentum), f64::from(self.factor));
        let mean = |(&old, &new): (&f64, &f64)| {
            if new.is_finite() { old * momentum + new * factor * (1.0 - momentum) } else { old }
        };
        vec![inputs[0].iter().zip(inputs[1]).map(mean).collect()]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(MovingAverage { momentum: 0.99, factor: 1.0 }, [[1], [1]]),
        Case::new(MovingAverage { momentum: 0.99, factor: 1.25 }, [[65], [65]]),
        Case::new(MovingAverage { momentum: 0.5, factor: 1.0 }, [[1030], [1030]]).fill(1, Fill::Faulty),
        Case::new(MovingAverage { momentum: 0.99, factor: 1.0 }, [[512], [512]]).published_size(),
    ]
}
