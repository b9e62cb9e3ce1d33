//! `x` where positive, else `slope * x`.

use std::any::Any;

use super::case::{Case, Entry};
use super::leaky_relu_gradient::LeakyReluGradient;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// `x` where positive, else `slope * x`.
#[derive(Debug, Clone, Copy)]
pub struct LeakyRelu {
    /// The factor for negative values.
    pub slope: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "leaky_relu", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("leaky_relu");

params! { struct LeakyReluParams { count: u32, slope: f32 } }

impl Operator for LeakyRelu {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = super::case::arity(self.name(), inputs)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let item = caps.item(&[shapes.outputs[0].elements()]);
        let count = shapes.outputs[0].elements() / item;
        let params = LeakyReluParams { count: extent(count), slope: self.slope };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count).with_item(item)])
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let slope = self.slope;
        vector::map(inputs[0], outputs[0], move |x| if x > 0.0 { x } else { slope * x });
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].iter().map(|&x| if x > 0.0 { x } else { f64::from(self.slope) * x }).collect()]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        _inputs: &[TensorId],
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None]) };
        Ok(vec![Some(graph.apply(LeakyReluGradient { slope: self.slope }, &[outputs[0], dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(LeakyRelu { slope: 0.2 }, [[2, 5, 7, 3]]),
        Case::new(LeakyRelu { slope: 0.2 }, [[1]]),
        Case::new(LeakyRelu { slope: 0.2 }, [[257]]),
        Case::new(LeakyRelu { slope: 0.2 }, [[3, 1028]]),
        Case::new(LeakyRelu { slope: 0.2 }, [[3, 1031]]),
        Case::new(LeakyRelu { slope: 0.2 }, [[1, 384, 384, 64]]).published_size(),
    ]
}
