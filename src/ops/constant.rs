//! A tensor of one value.

use std::any::Any;

use super::case::{self, Case, Entry};
use crate::error::Result;
use crate::graph::{Caps, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// A tensor of the given shape that holds `value` everywhere. No inputs: the plan makes it once.
#[derive(Debug, Clone)]
pub struct Constant {
    /// The extents.
    pub shape: Vec<usize>,
    /// The value.
    pub value: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "constant", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("constant");

params! { struct ConstantParams { count: u32, value: f32 } }

impl Operator for Constant {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [] = case::arity(self.name(), inputs)?;
        Ok(vec![Shape::from(self.shape.clone())])
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        Ok(vec![Launch::elementwise(&KERNEL, 0, &ConstantParams { count: extent(count), value: self.value }, count)])
    }

    fn compute(&self, _shapes: &Shapes, _inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        outputs[0].fill(self.value);
    }

    fn reference(&self, shapes: &Shapes, _inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![vec![f64::from(self.value); shapes.outputs[0].elements()]]
    }

    fn gradient(
        &self,
        _graph: &mut crate::graph::Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        _output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(Vec::new())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let case = |shape: &[usize], value| Case::new(Constant { shape: shape.to_vec(), value }, [] as [Shape; 0]);
    vec![case(&[1], 1.0), case(&[3, 5, 7], -0.5), case(&[2, 1, 700], 3.0)]
}
