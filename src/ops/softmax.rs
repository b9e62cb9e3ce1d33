//! Softmax over the channels.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use super::softmax_gradient::SoftmaxGradient;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// `exp(x - max x) / sum exp(x - max x)` over the innermost axis.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

pub(super) const ENTRY: Entry = Entry { name: "softmax", kernels: &[&SHORT, &WIDE], cases };

static SHORT: Kernel = kernel!("softmax");
static WIDE: Kernel = kernel!("softmax_wide", "row");

/// From this row length on a workgroup shares a row.
const WIDE_FROM: usize = 64;

params! { struct ShortParams { count: u32, channels: u32 } }
params! { struct WideParams { rows: u32, channels: u32 } }

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

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        if caps.plain_kernels || channels < WIDE_FROM {
            let params = ShortParams { count: extent(rows), channels: extent(channels) };
            return Ok(vec![Launch::elementwise(&SHORT, 1, &params, rows)]);
        }
        let params = WideParams { rows: extent(rows), channels: extent(channels) };
        Ok(vec![Launch::new(&WIDE, vec![Binding::Input(0), Binding::Output(0)], &params, rows)])
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

    fn gradient(
        &self,
        graph: &mut Graph,
        _inputs: &[TensorId],
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 1]) };
        Ok(vec![Some(graph.apply(SoftmaxGradient, &[outputs[0], dy])?)])
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
        Case::new(Softmax, [[3, 701, 2]]).fill(0, Fill::Wide),
        Case::new(Softmax, [[1, 384, 384, 2]]).published_size(),
    ]
}
