//! Batch normalisation with the batch's own statistics, as in training, with the activation after it.

use std::any::Any;
use std::sync::Arc;

use super::activation::Activation;
use super::batch_norm_training_gradient::BatchNormTrainingGradient;
use super::case::{self, Case, Entry, Fill};
use super::partial_sums::row_span;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// `activation(gamma (x - mean) / sqrt(variance + epsilon) + beta)` per channel, mean and biased variance over all rows of
/// the batch (Ioffe & Szegedy 2015).
///
/// Inputs: x (..., C), gamma, beta (C each). Outputs: the result (..., C), mean (C), variance (C). The statistics are for
/// the moving averages; no gradient flows through them.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTraining {
    /// Added to the variance.
    pub epsilon: f32,
    /// Applied to the normalised values. The slope of a leaky rectifier must be positive.
    pub activation: Activation,
}

pub(super) const ENTRY: Entry = Entry { name: "batch_norm_training", kernels: &[&PARTS, &MERGE, &APPLY], cases };

pub(super) static PARTS: Kernel = kernel!("batch_norm_training_parts", "moments");
pub(super) static MERGE: Kernel = kernel!("batch_norm_training_merge", "moments");
static APPLY: Kernel = kernel!("batch_norm_training");

params! { struct StatisticsParams { rows: u32, channels: u32, spans: u32, span: u32 } }
params! { struct ApplyParams { count: u32, channels: u32, epsilon: f32, slope: f32 } }

/// The launches that write the mean and the variance of each channel of x (input 0) to these outputs.
pub(super) fn statistics_launches(x: &Shape, [mean, variance]: [usize; 2]) -> Vec<Launch> {
    let (rows, channels) = (x.rows(), x.channels());
    let span = row_span(rows);
    let spans = rows.div_ceil(span);
    let statistics =
        StatisticsParams { rows: extent(rows), channels: extent(channels), spans: extent(spans), span: extent(span) };
    let parts = vec![Binding::Input(0), Binding::ScratchOut(0)];
    let merged = vec![Binding::ScratchIn(0), Binding::Output(mean), Binding::Output(variance)];
    vec![
        Launch::new(&PARTS, parts, &statistics, spans * channels.div_ceil(64)),
        Launch::new(&MERGE, merged, &statistics, channels),
    ]
}

/// Size of the temporary memory of [`statistics_launches`].
pub(super) fn statistics_scratch(x: &Shape) -> usize {
    x.rows().div_ceil(row_span(x.rows())) * 2 * x.channels()
}

/// Mean and biased variance of each of `c` channels.
///
/// In f64 the sum of squares loses nothing that matters: values are f32, and their squares are exact.
pub(super) fn moments(x: &[f32], c: usize) -> Vec<(f64, f64)> {
    let rows = x.len() / c;
    let sums = reduce::sum(rows, c, 2 * c, |range, sums| {
        let (sum, squares) = sums.split_at_mut(c);
        for row in x[range.start * c..range.end * c].chunks_exact(c) {
            add_row(row, sum, squares);
        }
    });
    let moments = |q: usize| {
        let mean = sums[q] / rows as f64;
        (mean, (sums[c + q] / rows as f64 - mean * mean).max(0.0))
    };
    (0..c).map(moments).collect()
}

/// Adds a row to the sums of values and squares. Only of arguments does the compiler know that they do not overlap.
#[inline(always)]
fn add_row(row: &[f32], sum: &mut [f64], squares: &mut [f64]) {
    let c = row.len();
    let (sum, squares) = (&mut sum[..c], &mut squares[..c]);
    for q in 0..c {
        let x = f64::from(row[q]);
        sum[q] += x;
        squares[q] += x * x;
    }
}

impl Operator for BatchNormTraining {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, gamma, beta] = case::arity(self.name(), inputs)?;
        if x.len() < 2 || [gamma, beta].iter().any(|s| s.len() != 1 || s[0] != x.channels()) {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "x (..., C), gamma (C), beta (C)"));
        }
        Ok(vec![x.clone(), gamma.clone(), gamma.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        // The input is read twice.
        let elements = shapes.inputs[0].elements() as u64;
        Cost { flop: 8 * elements, bytes: bytes_moved(shapes) + 4 * elements }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let count = rows * channels;
        let apply = ApplyParams {
            count: extent(count),
            channels: extent(channels),
            epsilon: self.epsilon,
            slope: self.activation.negative_slope(),
        };
        let mut applied = Launch::elementwise(&APPLY, 3, &apply, count);
        applied.bindings.splice(3.., [Binding::Output(1), Binding::Output(2), Binding::Output(0)]);
        Ok(statistics_launches(&shapes.inputs[0], [1, 2]).into_iter().chain([applied]).collect())
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![statistics_scratch(&shapes.inputs[0])]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let c = shapes.inputs[0].channels();
        let [x, gamma, beta] = [inputs[0], inputs[1], inputs[2]];
        let [y, mean, variance] = outputs else { return };
        let mut scale = vec![0.0_f32; c];
        for (q, (centre, spread)) in moments(x, c).into_iter().enumerate() {
            mean[q] = reduce::narrow(centre);
            variance[q] = reduce::narrow(spread);
            scale[q] = reduce::narrow(f64::from(gamma[q]) / (spread + f64::from(self.epsilon)).sqrt());
        }
        let (mean, slope): (&[f32], f32) = (mean, self.activation.negative_slope());
        vector::rows(x, y, c, |x, y| {
            for ((((y, &x), &m), &s), &b) in y.iter_mut().zip(x).zip(mean).zip(&scale).zip(beta) {
                let z = (x - m) * s + b;
                *y = if z > 0.0 { z } else { slope * z };
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let c = shapes.inputs[0].channels();
        let x = inputs[0];
        let rows = (x.len() / c) as f64;
        let mean: Vec<f64> = (0..c).map(|q| x.iter().skip(q).step_by(c).sum::<f64>() / rows).collect();
        let variance: Vec<f64> =
            (0..c).map(|q| x.iter().skip(q).step_by(c).map(|x| (x - mean[q]).powi(2)).sum::<f64>() / rows).collect();
        let normal = |(i, x): (usize, &f64)| {
            let q = i % c;
            let z = inputs[1][q] * (x - mean[q]) / (variance[q] + f64::from(self.epsilon)).sqrt() + inputs[2][q];
            self.activation.reference(z)
        };
        vec![x.iter().enumerate().map(normal).collect(), mean, variance]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (&[x, gamma, beta], &[_, mean, variance], &[Some(dy), ..]) = (inputs, outputs, output_gradients) else {
            return Ok(vec![None; inputs.len()]);
        };
        let operator = BatchNormTrainingGradient { epsilon: self.epsilon, activation: self.activation };
        let made = graph.apply_shared(Arc::new(operator), &[x, gamma, beta, mean, variance, dy])?;
        Ok(made.into_iter().map(Some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    vec![
        case([2, 5, 7, 3].into(), leaky),
        case([2, 1].into(), Activation::Identity),
        case([1, 4].into(), leaky),
        case([9, 65].into(), leaky),
        case([2, 20, 30, 33].into(), leaky),
        // Without activation: among so many values some lie too close to its kink for numerical derivatives.
        case([3, 70, 90, 33].into(), Activation::Identity),
        // Far from zero: means are exact to f32 only, but deviations must not suffer more than that.
        case([2, 70, 90, 3].into(), leaky).fill(0, Fill::Shifted).tolerance(1e-10),
        case([1, 384, 384, 64].into(), leaky).published_size(),
    ]
}

fn case(x: Shape, activation: Activation) -> Case {
    let c = Shape::from([x.channels()]);
    Case::new(BatchNormTraining { epsilon: 1e-3, activation }, [x, c.clone(), c])
        .differentiable_outputs(1)
        .tolerance(1e-12)
}
