//! The derivative of batch normalisation with the batch's own statistics.

use std::any::Any;
use std::ops::Range;

use super::activation::Activation;
use super::case::{self, Case, Entry, Fill};
use super::partial_sums::{Parts, SUM_PARTS, reciprocal, row_span};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// The gradient of [`super::BatchNormTraining`]. Inputs: x (..., C), gamma, beta, mean, variance (C each), dy (..., C).
/// Outputs: dx (..., C), dgamma (C), dbeta (C).
///
/// The sign before the activation is computed again from x, so the result of the forward step need not be kept.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTrainingGradient {
    /// Added to the variance.
    pub epsilon: f32,
    /// The activation after the normalisation.
    pub activation: Activation,
}

pub(super) const ENTRY: Entry =
    Entry { name: "batch_norm_training_gradient", kernels: &[&CHANNEL_PARTS, &SUM_PARTS, &APPLY], cases };

/// First pass of the sums of dz xhat and of dz.
pub(super) static CHANNEL_PARTS: Kernel = kernel!("batch_norm_gradient_parts");
static APPLY: Kernel = kernel!("batch_norm_training_gradient");

params! { struct PartsParams { rows: u32, channels: u32, spans: u32, span: u32, epsilon: f32, slope: f32 } }
params! { struct ApplyParams { count: u32, channels: u32, epsilon: f32, slope: f32 } }

/// The kernels and launches that sum dz xhat and dz over spans of rows into temporary memory 0, then over the spans into
/// outputs 1 and 2.
pub(super) fn sum_launches(shapes: &Shapes, epsilon: f32, slope: f32) -> (Parts, Vec<Launch>) {
    let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
    let span = row_span(rows);
    let parts = Parts { spans: rows.div_ceil(span), stride: 2 * channels };
    let params = PartsParams {
        rows: extent(rows),
        channels: extent(channels),
        spans: extent(parts.spans),
        span: extent(span),
        epsilon,
        slope,
    };
    let bindings = (0..6).map(Binding::Input).chain([Binding::ScratchOut(0)]).collect();
    let first = Launch::new(&CHANNEL_PARTS, bindings, &params, parts.spans * channels.div_ceil(64));
    let sum = |index| parts.sum(Binding::ScratchIn(0), Binding::Output(index), (index - 1) * channels, channels, 1.0);
    (parts, vec![first, sum(1), sum(2)])
}

/// Size of the temporary memory of [`sum_launches`].
pub(super) fn sum_scratch(shapes: &Shapes) -> usize {
    let rows = shapes.inputs[0].rows();
    rows.div_ceil(row_span(rows)) * 2 * shapes.inputs[0].channels()
}

/// The six inputs: x and dy of one shape, four vectors of its channels.
///
/// # Errors
/// Others.
pub(super) fn check_inputs<'a>(operator: &'static str, inputs: &'a [Shape]) -> Result<(&'a Shape, &'a Shape)> {
    let [x, vectors @ .., dy] = case::arity::<6>(operator, inputs)?;
    if x != dy || vectors.iter().any(|s| s.len() != 1 || s[0] != x.channels()) {
        return Err(Error::shape(operator, format!("{inputs:?}"), "x (..., C), four vectors (C), dy like x"));
    }
    Ok((x, vectors[0]))
}

/// `1 / sqrt(variance + epsilon)`.
pub(super) fn inverse_deviation(variance: &[f32], epsilon: f32) -> Vec<f32> {
    let inverse = |&v: &f32| reduce::narrow(1.0 / (f64::from(v) + f64::from(epsilon)).sqrt());
    variance.iter().map(inverse).collect()
}

/// The gradient before the activation, from that after it and x's distance from the mean.
#[inline(always)]
fn before_activation(off: f32, scale: f32, shift: f32, dy: f32, slope: f32) -> f32 {
    if off * scale + shift > 0.0 { dy } else { slope * dy }
}

/// Adds a row to the sums of dz xhat and of dz. `channels`: mean, gamma / deviation, beta, 1 / deviation.
///
/// A function of its own, like [`write_row`]: only of its arguments does the compiler know that they do not overlap, and
/// without that it makes no vector code of so many slices (2.6 and 2.9 times as slow).
#[inline(always)]
fn add_row(x: &[f32], dy: &[f32], first: &mut [f64], second: &mut [f64], channels: [&[f32]; 4], slope: f32) {
    let c = x.len();
    let [mean, scale, shift, inverse] = channels.map(|v| &v[..c]);
    let (dy, first, second) = (&dy[..c], &mut first[..c], &mut second[..c]);
    for q in 0..c {
        let off = x[q] - mean[q];
        let dz = before_activation(off, scale[q], shift[q], dy[q], slope);
        first[q] += f64::from(dz) * f64::from(off * inverse[q]);
        second[q] += f64::from(dz);
    }
}

/// Writes a row of dx. `channels`: mean, scale = gamma / deviation, beta, scale times the mean of dz, and scale / deviation
/// times the mean of dz xhat.
#[inline(always)]
fn write_row(x: &[f32], dy: &[f32], dx: &mut [f32], channels: [&[f32]; 5], slope: f32) {
    let c = x.len();
    let [mean, scale, shift, level, tilt] = channels.map(|v| &v[..c]);
    let (dy, dx) = (&dy[..c], &mut dx[..c]);
    for q in 0..c {
        let off = x[q] - mean[q];
        let dz = before_activation(off, scale[q], shift[q], dy[q], slope);
        dx[q] = (scale[q] * dz - level[q]) - off * tilt[q];
    }
}

/// Sums over the rows, per channel, of dz xhat, then of dz; inputs as of the operator, but for dy, which may lie in dx.
pub(super) fn sums(inputs: &[&[f32]], dy: &[f32], inverse: &[f32], slope: f32) -> Vec<f64> {
    let [x, gamma, beta, mean] = [inputs[0], inputs[1], inputs[2], inputs[3]];
    let c = gamma.len();
    let scale: Vec<f32> = gamma.iter().zip(inverse).map(|(g, i)| g * i).collect();
    reduce::sum(
        x.len() / c,
        2 * c,
        2 * c,
        #[inline(always)]
        |range: Range<usize>, sums: &mut [f64]| {
            let (first, second) = sums.split_at_mut(c);
            let range = range.start * c..range.end * c;
            for (x, dy) in x[range.clone()].chunks_exact(c).zip(dy[range].chunks_exact(c)) {
                add_row(x, dy, first, second, [mean, &scale, beta, inverse], slope);
            }
        },
    )
}

impl Operator for BatchNormTrainingGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let (x, channels) = check_inputs(self.name(), inputs)?;
        Ok(vec![x.clone(), channels.clone(), channels.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        // x and dy are read twice.
        let elements = shapes.inputs[0].elements() as u64;
        Cost { flop: 16 * elements, bytes: bytes_moved(shapes) + 8 * elements }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let (count, slope) = (rows * channels, self.activation.negative_slope());
        let (parts, mut launches) = sum_launches(shapes, self.epsilon, slope);
        // The means come in one piece: with the sums apart, the last pass would need nine bindings.
        let means = parts.sum(Binding::ScratchIn(0), Binding::ScratchOut(1), 0, 2 * channels, reciprocal(rows));
        let apply = ApplyParams { count: extent(count), channels: extent(channels), epsilon: self.epsilon, slope };
        let mut applied = Launch::elementwise(&APPLY, 6, &apply, count);
        applied.bindings.insert(6, Binding::ScratchIn(1));
        launches.extend([means, applied]);
        Ok(launches)
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![sum_scratch(shapes), 2 * shapes.inputs[0].channels()]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![5]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (rows, c) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let [x, gamma, beta, mean, variance, dy] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        let [dx, dgamma, dbeta] = outputs else { return };
        let slope = self.activation.negative_slope();
        let inverse = inverse_deviation(variance, self.epsilon);
        let sums = sums(inputs, if dy.is_empty() { dx } else { dy }, &inverse, slope);
        let n = rows as f64;
        let (mut scale, mut level, mut tilt) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
        for q in 0..c {
            let factor = f64::from(gamma[q]) * f64::from(inverse[q]);
            scale[q] = gamma[q] * inverse[q];
            level[q] = reduce::narrow(factor * sums[c + q] / n);
            tilt[q] = reduce::narrow(factor * f64::from(inverse[q]) * sums[q] / n);
            dgamma[q] = reduce::narrow(sums[q]);
            dbeta[q] = reduce::narrow(sums[c + q]);
        }
        vector::rows2(
            x,
            dy,
            dx,
            c,
            #[inline(always)]
            |x: &[f32], dy: &[f32], dx: &mut [f32]| write_row(x, dy, dx, [mean, &scale, beta, &level, &tilt], slope),
        );
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (rows, c) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let [x, gamma, beta, mean, variance, dy] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        let deviation = |q: usize| (variance[q] + f64::from(self.epsilon)).sqrt();
        let normal = |i: usize| (x[i] - mean[i % c]) / deviation(i % c);
        let dz = |i: usize| {
            let positive = gamma[i % c] * normal(i) + beta[i % c] > 0.0;
            if positive { dy[i] } else { f64::from(self.activation.negative_slope()) * dy[i] }
        };
        let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
        for i in 0..rows * c {
            dgamma[i % c] += dz(i) * normal(i);
            dbeta[i % c] += dz(i);
        }
        let n = rows as f64;
        let dx = |i: usize| {
            let q = i % c;
            gamma[q] / deviation(q) * (dz(i) - dbeta[q] / n - normal(i) * dgamma[q] / n)
        };
        vec![(0..rows * c).map(dx).collect(), dgamma, dbeta]
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
        case([9, 65].into(), leaky),
        case([2, 70, 90, 5].into(), Activation::Identity),
        case([3, 70, 90, 33].into(), leaky),
        // Whole numbers: among so many others some would lie within rounding of the rectifier's kink.
        case([1, 384, 384, 64].into(), leaky).fill(0, Fill::Coarse).published_size(),
    ]
}

fn case(x: Shape, activation: Activation) -> Case {
    let c = Shape::from([x.channels()]);
    let operator = BatchNormTrainingGradient { epsilon: 1e-3, activation };
    let inputs = [x.clone(), c.clone(), c.clone(), c.clone(), c, x];
    Case::new(operator, inputs).fill(4, Fill::Positive).tolerance(1e-10)
}
