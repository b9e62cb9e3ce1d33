//! The derivative of layer normalisation.

use std::any::Any;

use super::case::{self, Case, Entry};
use super::partial_sums::{Parts, SUM_PARTS, row_span};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// The gradient of [`super::LayerNorm`]. Inputs: x (..., C), gamma (C), dy (..., C). Outputs: dx (..., C), dgamma (C), dbeta (C).
///
/// Means and deviations of the rows are computed again; they cost less than keeping them.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormGradient {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry =
    Entry { name: "layer_norm_gradient", kernels: &[&ROWS, &CHANNEL_PARTS, &SUM_PARTS], cases };

static ROWS: Kernel = kernel!("layer_norm_gradient", "row");
static CHANNEL_PARTS: Kernel = kernel!("layer_norm_gradient_parts");

params! { struct RowParams { rows: u32, channels: u32, epsilon: f32 } }
params! { struct PartsParams { rows: u32, channels: u32, spans: u32, span: u32 } }

/// Mean and inverse deviation of a row.
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    (reduce::narrow(mean), reduce::narrow(1.0 / (variance + f64::from(epsilon)).sqrt()))
}

impl Operator for LayerNormGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, gamma, dy] = case::arity(self.name(), inputs)?;
        if x != dy || gamma.len() != 1 || gamma[0] != x.channels() {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "x (..., C), gamma (C), dy like x"));
        }
        Ok(vec![x.clone(), gamma.clone(), gamma.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 20 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let span = row_span(rows);
        let parts = Parts { spans: rows.div_ceil(span), stride: 2 * channels };
        let by_row = RowParams { rows: extent(rows), channels: extent(channels), epsilon: self.epsilon };
        let inputs = (0..3).map(Binding::Input);
        let row_bindings = inputs.chain([Binding::Output(0), Binding::ScratchOut(0)]).collect();
        let by_channel = PartsParams {
            rows: extent(rows),
            channels: extent(channels),
            spans: extent(parts.spans),
            span: extent(span),
        };
        let part_bindings = vec![Binding::Input(0), Binding::Input(2), Binding::ScratchIn(0), Binding::ScratchOut(1)];
        let sum =
            |index| parts.sum(Binding::ScratchIn(1), Binding::Output(index), (index - 1) * channels, channels, 1.0);
        Ok(vec![
            Launch::new(&ROWS, row_bindings, &by_row, rows),
            Launch::new(&CHANNEL_PARTS, part_bindings, &by_channel, parts.spans * channels.div_ceil(64)),
            sum(1),
            sum(2),
        ])
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        vec![2 * rows, rows.div_ceil(row_span(rows)) * 2 * channels]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (rows, c) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let (x, gamma, dy) = (inputs[0], inputs[1], inputs[2]);
        let [dx, dgamma, dbeta] = outputs else { return };
        let sums = reduce::sum(rows, 2 * c, 2 * c, |range, sums| {
            let (first, second) = sums.split_at_mut(c);
            let range = range.start * c..range.end * c;
            for (x, dy) in x[range.clone()].chunks_exact(c).zip(dy[range].chunks_exact(c)) {
                let (mean, inverse) = moments(x, self.epsilon);
                for (((x, dy), first), second) in x.iter().zip(dy).zip(&mut *first).zip(&mut *second) {
                    *first += f64::from(dy * ((x - mean) * inverse));
                    *second += f64::from(*dy);
                }
            }
        });
        for q in 0..c {
            dgamma[q] = reduce::narrow(sums[q]);
            dbeta[q] = reduce::narrow(sums[c + q]);
        }
        vector::rows2(x, dy, dx, c, |x, dy, dx| {
            let (mean, inverse) = moments(x, self.epsilon);
            let (mut of_slope, mut of_product) = (0.0_f64, 0.0_f64);
            for ((x, dy), gamma) in x.iter().zip(dy).zip(gamma) {
                of_slope += f64::from(gamma * dy);
                of_product += f64::from(gamma * dy * ((x - mean) * inverse));
            }
            let [of_slope, of_product] = [of_slope, of_product].map(|sum| reduce::narrow(sum / c as f64));
            for (((dx, x), dy), gamma) in dx.iter_mut().zip(x).zip(dy).zip(gamma) {
                *dx = inverse * (gamma * dy - of_slope - (x - mean) * inverse * of_product);
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let c = shapes.inputs[0].channels();
        let (mut dx, mut dgamma, mut dbeta) = (Vec::new(), vec![0.0; c], vec![0.0; c]);
        for (x, dy) in inputs[0].chunks_exact(c).zip(inputs[2].chunks_exact(c)) {
            let mean = x.iter().sum::<f64>() / c as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c as f64;
            let deviation = (variance + f64::from(self.epsilon)).sqrt();
            let normal: Vec<f64> = x.iter().map(|x| (x - mean) / deviation).collect();
            let slope: Vec<f64> = dy.iter().zip(inputs[1]).map(|(dy, gamma)| dy * gamma).collect();
            let of_slope = slope.iter().sum::<f64>() / c as f64;
            let of_product = slope.iter().zip(&normal).map(|(s, n)| s * n).sum::<f64>() / c as f64;
            for q in 0..c {
                dx.push((slope[q] - of_slope - normal[q] * of_product) / deviation);
                dgamma[q] += dy[q] * normal[q];
                dbeta[q] += dy[q];
            }
        }
        vec![dx, dgamma, dbeta]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 8].into()),
        case([3, 2].into()),
        case([7, 65].into()),
        case([2, 30, 5, 130].into()),
        case([8, 576, 64].into()).published_size(),
    ]
}

fn case(x: Shape) -> Case {
    Case::new(LayerNormGradient { epsilon: 1e-3 }, [x.clone(), Shape::from([x.channels()]), x])
}
