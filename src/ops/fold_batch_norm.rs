//! Folds an inference batch norm into the convolution before it.

use std::any::Any;
use std::sync::Arc;

use super::case::{Case, Entry, Fill};
use super::{Add, BatchNormGradient, Constant};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// Weights of the one convolution that equals a convolution followed by [`super::BatchNorm`].
///
/// Inputs: kernel (..., C), gamma, beta, mean, variance (C each), and optionally the convolution's bias (C).
/// Outputs: kernel scaled by `s = gamma / sqrt(variance + epsilon)`, and bias `beta + (bias - mean) s`.
/// The plan inserts it; its inputs are weights alone, so it runs once when weights are loaded.
#[derive(Debug, Clone, Copy)]
pub struct FoldBatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "fold_batch_norm", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("fold_batch_norm");

params! { struct FoldParams { count: u32, channels: u32, has_bias: u32, epsilon: f32 } }

impl Operator for FoldBatchNorm {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let channels = inputs.first().map_or(0, Shape::channels);
        if !(5..=6).contains(&inputs.len()) || inputs[1..].iter().any(|s| s.len() != 1 || s[0] != channels) {
            return Err(Error::shape(
                self.name(),
                format!("{inputs:?}"),
                "kernel (..., C) and four or five vectors (C)",
            ));
        }
        Ok(vec![inputs[0].clone(), Shape::from([channels])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (count, channels) = (shapes.outputs[0].elements(), shapes.outputs[0].channels());
        let has_bias = shapes.inputs.len() > 5;
        let mut bindings: Vec<Binding> = (0..5).map(Binding::Input).collect();
        // A convolution without bias leaves its binding to any other vector.
        bindings.extend([Binding::Input(if has_bias { 5 } else { 1 }), Binding::Output(0), Binding::Output(1)]);
        let params = FoldParams {
            count: extent(count),
            channels: extent(channels),
            has_bias: u32::from(has_bias),
            epsilon: self.epsilon,
        };
        Ok(vec![Launch::new(&KERNEL, bindings, &params, count.div_ceil(256))])
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let channels = shapes.inputs[0].channels();
        let [gamma, beta, mean, variance] = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let [kernel, bias] = outputs else { return };
        for c in 0..channels {
            let scale = gamma[c] / (variance[c] + self.epsilon).sqrt();
            bias[c] = beta[c] + (inputs.get(5).map_or(0.0, |b| b[c]) - mean[c]) * scale;
        }
        let scale: Vec<f32> = gamma.iter().zip(variance).map(|(g, v)| g / (v + self.epsilon).sqrt()).collect();
        vector::rows(inputs[0], kernel, channels, |x, out| {
            for ((o, &x), &s) in out.iter_mut().zip(x).zip(&scale) {
                *o = x * s;
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let channels = shapes.inputs[0].channels();
        let [gamma, beta, mean, variance] = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let scale: Vec<f64> =
            (0..channels).map(|c| gamma[c] / (variance[c] + f64::from(self.epsilon)).sqrt()).collect();
        let kernel = inputs[0].iter().enumerate().map(|(i, x)| x * scale[i % channels]).collect();
        let bias =
            (0..channels).map(|c| beta[c] + (inputs.get(5).map_or(0.0, |b| b[c]) - mean[c]) * scale[c]).collect();
        vec![kernel, bias]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        // The kernel is a batch of rows normalised with zero mean and shift; the bias is one row normalised in full.
        let channels = graph.shape(inputs[1]).to_vec();
        let zeros = graph.apply(Constant { shape: channels, value: 0.0 }, &[])?;
        let normalisation = Arc::new(BatchNormGradient { epsilon: self.epsilon });
        let [gamma, beta, mean, variance] = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let mut gradients = vec![None; inputs.len()];
        if let Some(dkernel) = output_gradients[0] {
            let of = [inputs[0], gamma, zeros, zeros, variance, dkernel];
            let made = graph.apply_shared(normalisation.clone(), &of)?;
            for (i, from) in [(0, 0), (1, 1), (4, 4)] {
                gradients[i] = Some(made[from]);
            }
        }
        if let Some(dbias) = output_gradients[1] {
            let bias = inputs.get(5).copied().unwrap_or(zeros);
            let made = graph.apply_shared(normalisation, &[bias, gamma, beta, mean, variance, dbias])?;
            let places = [(5, 0), (1, 1), (2, 2), (3, 3), (4, 4)];
            for (i, from) in places.into_iter().filter(|(i, _)| *i < inputs.len()) {
                gradients[i] = Some(match gradients[i] {
                    None => made[from],
                    Some(before) => graph.apply(Add, &[before, made[from]])?,
                });
            }
        }
        Ok(gradients)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([3, 3, 5, 7].into(), true),
        case([2, 2, 3, 4].into(), false),
        case([1, 1].into(), true),
        case([3, 3, 64, 64].into(), true).published_size(),
    ]
}

fn case(kernel: Shape, bias: bool) -> Case {
    let operator = FoldBatchNorm { epsilon: 1e-3 };
    let c = Shape::from([kernel.channels()]);
    let (gamma, beta, mean, variance) = (c.clone(), c.clone(), c.clone(), c.clone());
    let case = if bias {
        Case::new(operator, [kernel, gamma, beta, mean, variance, c])
    } else {
        Case::new(operator, [kernel, gamma, beta, mean, variance])
    };
    case.fill(4, Fill::Positive)
}
