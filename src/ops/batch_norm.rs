//! Batch normalisation in inference form.

use std::any::Any;
use std::sync::Arc;

use super::BatchNormGradient;
use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// `gamma (x - mean) / sqrt(variance + epsilon) + beta` per channel, with given statistics (Ioffe & Szegedy 2015).
///
/// Inputs: x (..., C), gamma, beta, mean, variance (C each). After a convolution the plan folds it into the weights.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "batch_norm", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("batch_norm");

params! { struct BatchNormParams { count: u32, channels: u32, epsilon: f32 } }

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, stats @ ..] = case::arity::<5>(self.name(), inputs)?;
        if stats.iter().any(|s| s.len() != 1 || s[0] != x.channels()) {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "x (..., C) and four vectors (C)"));
        }
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 2 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let item = caps.item(&[shapes.outputs[0].channels()]);
        let (count, channels) = (shapes.outputs[0].elements() / item, shapes.outputs[0].channels() / item);
        let params = BatchNormParams { count: extent(count), channels: extent(channels), epsilon: self.epsilon };
        Ok(vec![Launch::elementwise(&KERNEL, 5, &params, count).with_item(item)])
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![0]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let channels = shapes.inputs[0].channels();
        let [gamma, beta, mean, variance] = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let scale: Vec<f32> = gamma.iter().zip(variance).map(|(g, v)| g / (v + self.epsilon).sqrt()).collect();
        let shift: Vec<f32> = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        vector::rows(inputs[0], outputs[0], channels, |x, out| {
            for (((o, &x), &s), &t) in out.iter_mut().zip(x).zip(&scale).zip(&shift) {
                *o = x * s + t;
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let channels = shapes.inputs[0].channels();
        let [x, gamma, beta, mean, variance] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]];
        let normal = |(i, &x): (usize, &f64)| {
            let c = i % channels;
            gamma[c] * (x - mean[c]) / (variance[c] + f64::from(self.epsilon)).sqrt() + beta[c]
        };
        vec![x.iter().enumerate().map(normal).collect()]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![None; inputs.len()]) };
        let operator = BatchNormGradient { epsilon: self.epsilon };
        let gradients = graph.apply_shared(Arc::new(operator), &[inputs, &[dy]].concat())?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 3].into()),
        case([1, 1].into()),
        case([3, 65].into()),
        case([3, 7, 68].into()),
        case([2, 17, 29, 5].into()),
        case([1, 24, 24, 64].into()).published_size(),
    ]
}

fn case(x: Shape) -> Case {
    let c = Shape::from([x.channels()]);
    Case::new(BatchNorm { epsilon: 1e-3 }, [x, c.clone(), c.clone(), c.clone(), c]).fill(4, Fill::Positive)
}
