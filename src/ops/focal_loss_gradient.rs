//! The derivative of the focal loss.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::focal_loss::{LOWEST, focus};
use super::loss;
use super::partial_sums::reciprocal;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::class_softmax::for_pixels;
use crate::numeric::reduce;
use crate::{kernel, params};

/// The gradient of [`super::FocalLoss`]. Inputs: logits and targets (N, H, W, C), the gradient of the loss `[1]`.
/// Output: the gradient of the logits. Nothing comes from a class whose probability is clipped.
#[derive(Debug, Clone, Copy)]
pub struct FocalLossGradient {
    /// The exponent.
    pub gamma: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "focal_loss_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("focal_loss_gradient", "class_softmax", "focal");

params! { struct FocalParams { pixels: u32, channels: u32, gamma: f32, share: f32 } }

impl Operator for FocalLossGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        loss::check(self.name(), inputs, 1, &[loss::scalar()])?;
        Ok(vec![inputs[0].clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 40 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let params = FocalParams {
            pixels: extent(pixels),
            channels: extent(channels),
            gamma: self.gamma,
            share: reciprocal(pixels),
        };
        Ok(vec![Launch::elementwise(&KERNEL, 3, &params, pixels)])
    }

    fn batch_separable(&self) -> bool {
        // The mean is over all pixels of the batch.
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (pixels, classes) = loss::extents(shapes);
        let gamma = f64::from(self.gamma);
        let share = f64::from(inputs[2][0]) / pixels as f64;
        for_pixels(inputs[0], outputs[0], classes, |softmax, pixel, out| {
            let target = &inputs[1][pixel * classes..][..classes];
            let slope = |c: usize| {
                let (p, q, l) = (softmax.probability[c], softmax.complement[c], softmax.logarithm[c]);
                if q < LOWEST || p < LOWEST {
                    return 0.0;
                }
                f64::from(target[c]) * (gamma * focus(q, gamma) / q * p * l - focus(q, gamma))
            };
            let sum: f64 = (0..classes).map(slope).sum();
            for (k, o) in out.iter_mut().enumerate() {
                let own = slope(k);
                *o = reduce::narrow(share * (own * softmax.complement[k] - softmax.probability[k] * (sum - own)));
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (pixels, classes) = loss::extents(shapes);
        let gamma = f64::from(self.gamma);
        let mut out = Vec::with_capacity(inputs[0].len());
        for (logits, target) in inputs[0].chunks_exact(classes).zip(inputs[1].chunks_exact(classes)) {
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            let p: Vec<f64> = logits.iter().map(|x| (x - max).exp() / total).collect();
            // The derivative of a class's term by its probability.
            let by_p = |c: usize| {
                if !(LOWEST..=1.0 - LOWEST).contains(&p[c]) {
                    return 0.0;
                }
                let q = 1.0 - p[c];
                target[c] * (gamma * q.powf(gamma - 1.0) * p[c].ln() - q.powf(gamma) / p[c])
            };
            for k in 0..classes {
                let by_x = |c: usize| p[c] * (f64::from(u8::from(c == k)) - p[k]);
                let sum: f64 = (0..classes).map(|c| by_p(c) * by_x(c)).sum();
                out.push(inputs[2][0] / pixels as f64 * sum);
            }
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(2.0, [2, 5, 7, 2], Fill::Signed),
        case(2.0, [1, 1, 1, 1], Fill::Signed),
        case(1.5, [2, 5, 7, 3], Fill::Wide),
        case(0.0, [1, 4, 5, 2], Fill::Wide),
        case(2.0, [1, 3, 4, 65], Fill::Signed),
        case(2.0, [2, 70, 90, 2], Fill::Wide),
        case(2.0, [8, 384, 384, 2], Fill::Signed).published_size(),
    ]
}

fn case(gamma: f32, shape: [usize; 4], logits: Fill) -> Case {
    let operator = FocalLossGradient { gamma };
    Case::new(operator, [Shape::from(shape), Shape::from(shape), loss::scalar()])
        .fill(0, logits)
        .fill(1, Fill::Target)
        .tolerance(4e-12)
}
