//! The derivative of batch normalisation in inference form.

use std::any::Any;

use super::batch_norm_training_gradient::{
    CHANNEL_PARTS, check_inputs, inverse_deviation, sum_launches, sum_scratch, sums,
};
use super::case::{Case, Entry, Fill};
use super::partial_sums::SUM_PARTS;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent, launch::ELEMENTS_PER_GROUP};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// The gradient of [`super::BatchNorm`]. Inputs: x (..., C), gamma, beta, mean, variance (C each), dy (..., C). Outputs:
/// dx (..., C), dgamma, dbeta, dmean, dvariance (C each).
#[derive(Debug, Clone, Copy)]
pub struct BatchNormGradient {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry =
    Entry { name: "batch_norm_gradient", kernels: &[&CHANNEL_PARTS, &SUM_PARTS, &APPLY], cases };

static APPLY: Kernel = kernel!("batch_norm_gradient");

/// As the slope of an activation: there is none.
const IDENTITY: f32 = 1.0;

params! { struct ApplyParams { count: u32, channels: u32, epsilon: f32 } }

impl Operator for BatchNormGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let (x, channels) = check_inputs(self.name(), inputs)?;
        Ok([vec![x.clone()], vec![channels.clone(); 4]].concat())
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 8 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (count, channels) = (shapes.inputs[0].elements(), shapes.inputs[0].channels());
        let (parts, mut launches) = sum_launches(shapes, self.epsilon, IDENTITY);
        launches.push(parts.sum(Binding::ScratchIn(0), Binding::ScratchOut(1), 0, 2 * channels, 1.0));
        let params = ApplyParams { count: extent(count), channels: extent(channels), epsilon: self.epsilon };
        let inputs = [Binding::Input(1), Binding::Input(4), Binding::Input(5), Binding::ScratchIn(1)];
        let bindings = inputs.into_iter().chain([0, 3, 4].map(Binding::Output)).collect();
        launches.push(Launch::new(&APPLY, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP)));
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
        let c = shapes.inputs[0].channels();
        let (gamma, dy) = (inputs[1], inputs[5]);
        let [dx, dgamma, dbeta, dmean, dvariance] = outputs else { return };
        let inverse = inverse_deviation(inputs[4], self.epsilon);
        let sums = sums(inputs, if dy.is_empty() { dx } else { dy }, &inverse, IDENTITY);
        for q in 0..c {
            let (scale, inverse) = (f64::from(gamma[q]) * f64::from(inverse[q]), f64::from(inverse[q]));
            dgamma[q] = reduce::narrow(sums[q]);
            dbeta[q] = reduce::narrow(sums[c + q]);
            dmean[q] = reduce::narrow(-scale * sums[c + q]);
            dvariance[q] = reduce::narrow(-0.5 * scale * inverse * sums[q]);
        }
        let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(g, i)| g * i).collect();
        vector::rows(dy, dx, c, |dy, dx| {
            for ((dx, &dy), &scale) in dx.iter_mut().zip(dy).zip(&scale) {
                *dx = scale * dy;
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let c = shapes.inputs[0].channels();
        let [x, gamma, _, mean, variance, dy] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        let deviation = |q: usize| (variance[q] + f64::from(self.epsilon)).sqrt();
        let mut sums = vec![vec![0.0; c]; 4];
        for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
            let q = i % c;
            sums[0][q] += dy * (x - mean[q]) / deviation(q);
            sums[1][q] += dy;
            sums[2][q] -= dy * gamma[q] / deviation(q);
            sums[3][q] -= 0.5 * dy * gamma[q] * (x - mean[q]) / deviation(q).powi(3);
        }
        let dx = dy.iter().enumerate().map(|(i, dy)| dy * gamma[i % c] / deviation(i % c)).collect();
        [vec![dx], sums].concat()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 3].into()),
        case([1, 1].into()),
        case([9, 65].into()),
        case([2, 70, 90, 5].into()),
        case([1, 24, 24, 64].into()).published_size(),
    ]
}

fn case(x: Shape) -> Case {
    let c = Shape::from([x.channels()]);
    let inputs = [x.clone(), c.clone(), c.clone(), c.clone(), c, x];
    Case::new(BatchNormGradient { epsilon: 1e-3 }, inputs).fill(4, Fill::Positive)
}
