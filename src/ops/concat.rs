//! Concatenation of channels.

use std::any::Any;
use std::sync::Arc;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::concat_gradient::ConcatGradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// Two tensors side by side along the innermost axis: (..., A) and (..., B) give (..., A + B).
#[derive(Debug, Clone, Copy)]
pub struct Concat;

pub(super) const ENTRY: Entry = Entry { name: "concat", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("concat");

params! { struct ConcatParams { count: u32, channels_a: u32, channels_b: u32 } }

impl Operator for Concat {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b] = case::arity(self.name(), inputs)?;
        if a.with_channels(1) != b.with_channels(1) {
            return Err(Error::shape(self.name(), format!("{a} and {b}"), "the same extents but for the channels"));
        }
        Ok(vec![a.with_channels(a.channels() + b.channels())])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let channels = [0, 1].map(|i| shapes.inputs[i].channels());
        let item = caps.item(&channels);
        let count = shapes.outputs[0].elements() / item;
        let [channels_a, channels_b] = channels.map(|c| extent(c / item));
        let params = ConcatParams { count: extent(count), channels_a, channels_b };
        Ok(vec![Launch::elementwise(&KERNEL, 2, &params, count).with_item(item)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true, true]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (ca, cb) = (shapes.inputs[0].channels(), shapes.inputs[1].channels());
        let rows = 1 + (1 << 14) / (ca + cb);
        outputs[0]
            .par_chunks_mut(rows * (ca + cb))
            .zip(inputs[0].par_chunks(rows * ca))
            .zip(inputs[1].par_chunks(rows * cb))
            .for_each(|((out, a), b)| {
                for ((out, a), b) in out.chunks_exact_mut(ca + cb).zip(a.chunks_exact(ca)).zip(b.chunks_exact(cb)) {
                    let (left, right) = out.split_at_mut(ca);
                    left.copy_from_slice(a);
                    right.copy_from_slice(b);
                }
            });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (ca, cb) = (shapes.inputs[0].channels(), shapes.inputs[1].channels());
        let mut out = Vec::with_capacity(shapes.outputs[0].elements());
        for row in 0..shapes.inputs[0].rows() {
            out.extend_from_slice(&inputs[0][row * ca..(row + 1) * ca]);
            out.extend_from_slice(&inputs[1][row * cb..(row + 1) * cb]);
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 2]) };
        let operator = ConcatGradient { channels_a: graph.shape(inputs[0]).channels() };
        Ok(graph.apply_shared(Arc::new(operator), &[dy])?.into_iter().map(Some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Concat, [[2, 5, 7, 3], [2, 5, 7, 5]]),
        Case::new(Concat, [[1, 1], [1, 1]]),
        Case::new(Concat, [[3, 64], [3, 65]]),
        Case::new(Concat, [[2, 5, 7, 4], [2, 5, 7, 20]]),
        Case::new(Concat, [[2, 17, 29, 3], [2, 17, 29, 5]]),
        Case::new(Concat, [[1, 384, 384, 64], [1, 384, 384, 64]]).published_size(),
    ]
}
