//! The exact Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt 2))`.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::gelu_gradient::GeluGradient;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// The exact Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt 2))`.
#[derive(Debug, Clone, Copy)]
pub struct Gelu;

pub(super) const ENTRY: Entry = Entry { name: "gelu", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("gelu", "erf");

params! { struct Elementwise { count: u32 } }

impl Operator for Gelu {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = super::case::arity(self.name(), inputs)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 20 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
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
        vector::map(inputs[0], outputs[0], move |x| 0.5 * x * (1.0 + vector::erf(x * std::f32::consts::FRAC_1_SQRT_2)));
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].iter().map(|&x| 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))).collect()]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 1]) };
        Ok(vec![Some(graph.apply(GeluGradient, &[inputs[0], dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Gelu, [[2, 5, 7, 3]]).fill(0, Fill::Wide),
        Case::new(Gelu, [[1]]).fill(0, Fill::Wide),
        Case::new(Gelu, [[257]]).fill(0, Fill::Wide),
        Case::new(Gelu, [[3, 1028]]).fill(0, Fill::Wide),
        Case::new(Gelu, [[3, 1031]]).fill(0, Fill::Wide),
        Case::new(Gelu, [[1, 576, 256]]).published_size(),
    ]
}
