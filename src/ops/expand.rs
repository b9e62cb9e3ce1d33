//! Repetition along broadcast axes.

use std::any::Any;

use super::broadcast;
use super::case::{self, Case, Entry};
use super::sum_to;
use crate::error::{Error, Result};
use crate::graph::{Caps, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// The input repeated to `shape`, as [`super::Add`] broadcasts: the gradient of [`super::SumTo`].
#[derive(Debug, Clone)]
pub struct Expand {
    /// The output's shape.
    pub shape: Vec<usize>,
}

pub(super) const ENTRY: Entry = Entry { name: "expand", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("expand");

params! {
    struct ExpandParams {
        count: u32,
        height: u32,
        width: u32,
        channels: u32,
        x0: u32,
        x1: u32,
        x2: u32,
        x3: u32,
    }
}

impl Operator for Expand {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let shape = Shape::from(self.shape.clone());
        if x.len() > shape.len() || broadcast::shape(self.name(), x, &shape)? != shape {
            return Err(Error::shape(self.name(), format!("{x} to {shape}"), "an input that broadcasts to the shape"));
        }
        Ok(vec![shape])
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let out = &shapes.outputs[0];
        let [_, height, width, channels] = out.padded4().map(extent);
        let [x0, x1, x2, x3] = broadcast::strides(&shapes.inputs[0], out).map(extent);
        let params = ExpandParams { count: extent(out.elements()), height, width, channels, x0, x1, x2, x3 };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, out.elements())])
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let shapes = (&shapes.inputs[0], &shapes.inputs[0], &shapes.outputs[0]);
        broadcast::compute(shapes, inputs[0], inputs[0], outputs[0], |x, _| x);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let shapes = (&shapes.inputs[0], &shapes.inputs[0], &shapes.outputs[0]);
        vec![broadcast::reference(shapes, inputs[0], inputs[0], |x, _| x)]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None]) };
        Ok(vec![Some(sum_to::reduced(graph, dy, inputs[0])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(&[3], &[2, 5, 7, 3]),
        case(&[3, 1, 1, 6], &[3, 5, 7, 6]),
        case(&[2, 1, 5, 1], &[2, 6, 5, 3]),
        case(&[9, 8], &[2, 9, 8]),
        case(&[1], &[65]),
        case(&[1], &[1]),
        case(&[3, 1, 1, 5], &[3, 17, 29, 5]),
        case(&[1, 1, 1, 64], &[1, 384, 384, 64]).published_size(),
    ]
}

fn case(input: &[usize], shape: &[usize]) -> Case {
    Case::new(Expand { shape: shape.to_vec() }, [input.to_vec()])
}
