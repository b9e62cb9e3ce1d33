//! Product of a tensor and a number.

use std::any::Any;

use super::case::{self, Case, Entry};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// `factor * x`.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The number.
    pub factor: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "scale", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("scale");

params! { struct ScaleParams { count: u32, factor: f32 } }

impl Operator for Scale {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let item = caps.item(&[shapes.outputs[0].elements()]);
        let count = shapes.outputs[0].elements() / item;
        let params = ScaleParams { count: extent(count), factor: self.factor };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count).with_item(item)])
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let factor = self.factor;
        vector::map(inputs[0], outputs[0], move |x| factor * x);
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].iter().map(|x| f64::from(self.factor) * x).collect()]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply(*self, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Scale { factor: 0.5 }, [[1]]),
        Case::new(Scale { factor: -1.3 }, [[2, 5, 7, 3]]),
        Case::new(Scale { factor: -1.3 }, [[3, 1028]]),
        Case::new(Scale { factor: 0.5 }, [[3, 1031]]),
        Case::new(Scale { factor: 0.5 }, [[8, 384, 384, 2]]).published_size(),
    ]
}
