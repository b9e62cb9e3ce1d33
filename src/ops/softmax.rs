//! Softmax over the channels.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Launch, Operator, Shape, Shapes};
use crate::numeric::vector;

/// `exp(x - max x) / sum exp(x - max x)` over the innermost axis.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

pub(super) const ENTRY: Entry = Entry { name: "softmax", kernels: &[], cases };

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 12 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, _shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(Vec::new())
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        vector::rows(inputs[0], outputs[0], shapes.inputs[0].channels(), |x, out| {
            let max = x.iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0;
            for (o, &x) in out.iter_mut().zip(x) {
                *o = vector::exp(x - max);
                sum += *o;
            }
            for o in out {
                *o /= sum;
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let mut out = Vec::with_capacity(inputs[0].len());
        for row in inputs[0].chunks_exact(shapes.inputs[0].channels()) {
            let max = row.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
            out.extend(row.iter().map(|x| (x - max).exp() / sum));
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Softmax, [[2, 5, 7, 2]]).fill(0, Fill::Wide),
        Case::new(Softmax, [[3, 1]]),
        Case::new(Softmax, [[5, 67]]).fill(0, Fill::Wide),
        Case::new(Softmax, [[1, 384, 384, 2]]).published_size(),
    ]
}
