//! Product of two tensors with broadcasting.

use std::any::Any;

use super::broadcast;
use super::case::{Case, Entry};
use super::sum_to;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId};
use crate::kernel;

/// `a * b`; extents are equal or one, aligned at the innermost axis.
#[derive(Debug, Clone, Copy)]
pub struct Multiply;

pub(super) const ENTRY: Entry = Entry { name: "multiply", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("multiply");

impl Operator for Multiply {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b] = super::case::arity(self.name(), inputs)?;
        Ok(vec![broadcast::shape(self.name(), a, b)?])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![broadcast::launch(&KERNEL, shapes, caps)])
    }

    fn batched(&self, shapes: &Shapes) -> Vec<bool> {
        broadcast::batched(shapes)
    }

    fn in_place(&self, shapes: &Shapes) -> Vec<usize> {
        broadcast::in_place(shapes)
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let shapes = (&shapes.inputs[0], &shapes.inputs[1], &shapes.outputs[0]);
        broadcast::compute(shapes, inputs[0], inputs[1], outputs[0], |a, b| a * b);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let shapes = (&shapes.inputs[0], &shapes.inputs[1], &shapes.outputs[0]);
        vec![broadcast::reference(shapes, inputs[0], inputs[1], |a, b| a * b)]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 2]) };
        let mut by = |other: usize, own: usize| {
            let product = graph.apply(Self, &[dy, inputs[other]])?;
            sum_to::reduced(graph, product, inputs[own])
        };
        Ok(vec![Some(by(1, 0)?), Some(by(0, 1)?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Multiply, [[2, 5, 7, 3], [2, 5, 7, 3]]),
        Case::new(Multiply, [[2, 5, 7, 3], [2, 1, 1, 3]]),
        Case::new(Multiply, [[2, 5, 7, 8], [1, 1, 1, 8]]),
        Case::new(Multiply, [[1, 1, 1, 1], [1, 4, 1, 6]]),
        Case::new(Multiply, [Shape::from([2, 9, 8]), Shape::from([9, 8])]),
        Case::new(Multiply, [[3, 5], [3, 1]]),
        Case::new(Multiply, [[3, 5, 4], [3, 5, 4]]),
        Case::new(Multiply, [[3, 8], [3, 1]]),
        Case::new(Multiply, [Shape::from([2, 3, 1, 12]), Shape::from([2, 1, 5, 12])]),
        Case::new(Multiply, [[11, 257, 4], [1, 257, 4]]),
        Case::new(Multiply, [[3, 17, 29, 4], [3, 17, 29, 4]]),
        Case::new(Multiply, [[3, 17, 29, 3], [3, 1, 1, 3]]),
        Case::new(Multiply, [[1, 384, 384, 64], [1, 1, 1, 64]]).published_size(),
    ]
}
