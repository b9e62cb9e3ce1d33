//! The same elements under other extents.

use std::any::Any;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// Copies a tensor to a shape with as many elements. The outermost extent must stay, so that batches can be sliced.
#[derive(Debug, Clone)]
pub struct Reshape {
    /// The extents after the outermost one.
    pub inner: Vec<usize>,
}

pub(super) const ENTRY: Entry = Entry { name: "reshape", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("reshape");

params! { struct Elementwise { count: u32 } }

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let shape = Shape::from([&[x.batch()], self.inner.as_slice()].concat());
        if shape.elements() != x.elements() {
            return Err(Error::shape(self.name(), format!("{x} to {shape}"), "as many elements"));
        }
        Ok(vec![shape])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let item = caps.item(&[shapes.outputs[0].elements()]);
        let count = shapes.outputs[0].elements() / item;
        let params = Elementwise { count: extent(count) };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count).with_item(item)])
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        if !inputs[0].is_empty() {
            outputs[0].copy_from_slice(inputs[0]);
        }
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].to_vec()]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 1]) };
        let inner = graph.shape(inputs[0])[1..].to_vec();
        Ok(vec![Some(graph.apply(Self { inner }, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Reshape { inner: vec![2, 2, 3] }, [[2, 4, 3]]),
        Case::new(Reshape { inner: vec![1] }, [[1]]),
        Case::new(Reshape { inner: vec![17, 13] }, [[3, 221]]),
        Case::new(Reshape { inner: vec![257, 4] }, [[3, 1028]]),
        Case::new(Reshape { inner: vec![17, 61] }, [[3, 1037]]),
        Case::new(Reshape { inner: vec![24, 24, 64] }, [[1, 576, 64]]).published_size(),
    ]
}
