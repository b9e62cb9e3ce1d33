//! The derivative of the Tversky loss.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::loss;
use super::tversky_loss::TverskyLoss;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::class_softmax::for_pixels;
use crate::numeric::reduce;
use crate::{kernel, params};

/// The gradient of [`TverskyLoss`]. Inputs: logits and targets (N, H, W, C), the sums (C, 3) of the forward step, the
/// gradient of the loss `[1]`. Output: the gradient of the logits, zero where a pixel has no label.
#[derive(Debug, Clone, Copy)]
pub struct TverskyLossGradient {
    /// The loss.
    pub loss: TverskyLoss,
}

pub(super) const ENTRY: Entry = Entry { name: "tversky_loss_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("tversky_loss_gradient", "class_softmax");

params! { struct TverskyParams { pixels: u32, channels: u32, alpha: f32, beta: f32, smooth_by: f32 } }

impl Operator for TverskyLossGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.loss.check(self.name())?;
        let channels = inputs.first().map_or(0, Shape::channels);
        loss::check(self.name(), inputs, 1, &[Shape::from([channels, 3]), loss::scalar()])?;
        Ok(vec![inputs[0].clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let (pixels, classes) = loss::extents(shapes);
        Cost { flop: (pixels * classes * (16 + 16 * classes)) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let params = TverskyParams {
            pixels: extent(pixels),
            channels: extent(channels),
            alpha: self.loss.alpha,
            beta: self.loss.beta,
            smooth_by: self.loss.smooth,
        };
        Ok(vec![Launch::elementwise(&KERNEL, 4, &params, pixels)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true, true, false, false]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (_, classes) = loss::extents(shapes);
        let [alpha, beta] = [self.loss.alpha, self.loss.beta].map(f64::from);
        let sums: Vec<f64> = inputs[2].iter().copied().map(f64::from).collect();
        let parts: Vec<(f64, f64)> = sums.chunks_exact(3).map(|s| self.loss.parts(s)).collect();
        let weight = -f64::from(inputs[3][0]) / classes as f64;
        // The derivative of the ratio of class c by p(c), where the target is t.
        let slope = |c: usize, t: f32| {
            let ((hit, size), t) = (parts[c], f64::from(t));
            (t - hit / size * (t + alpha * (1.0 - t) - beta * t)) / size
        };
        for_pixels(inputs[0], outputs[0], classes, |softmax, pixel, out| {
            let target = &inputs[1][pixel * classes..][..classes];
            if target.iter().sum::<f32>() <= 0.0 {
                out.fill(0.0);
                return;
            }
            for (k, o) in out.iter_mut().enumerate() {
                let own = slope(k, target[k]);
                let term = |c: usize| softmax.probability[c] * (own - slope(c, target[c]));
                *o = reduce::narrow(weight * softmax.probability[k] * (0..classes).map(term).sum::<f64>());
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (_, classes) = loss::extents(shapes);
        let [alpha, beta, smooth] = [self.loss.alpha, self.loss.beta, self.loss.smooth].map(f64::from);
        let mut out = Vec::with_capacity(inputs[0].len());
        for (logits, target) in inputs[0].chunks_exact(classes).zip(inputs[1].chunks_exact(classes)) {
            let labelled = target.iter().sum::<f64>() > 0.0;
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            let p: Vec<f64> = logits.iter().map(|x| (x - max).exp() / total).collect();
            // The derivative of the loss by a class's probability: that of a quotient.
            let by_p = |c: usize| {
                let (s, t) = (&inputs[2][3 * c..][..3], target[c]);
                let (over, under) = (s[0] + smooth, s[0] + alpha * s[1] + beta * s[2] + smooth);
                let (d_over, d_under) = (t, t + alpha * (1.0 - t) - beta * t);
                -inputs[3][0] / classes as f64 * (d_over * under - over * d_under) / (under * under)
            };
            for k in 0..classes {
                let by_x = |c: usize| p[c] * (f64::from(u8::from(c == k)) - p[k]);
                let sum: f64 = (0..classes).map(|c| by_p(c) * by_x(c)).sum();
                out.push(if labelled { sum } else { 0.0 });
            }
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let dice = TverskyLoss { alpha: 0.5, beta: 0.5, smooth: 1.0 };
    let tversky = TverskyLoss { alpha: 0.3, beta: 0.7, smooth: 1e-3 };
    vec![
        case(dice, [2, 5, 7, 2], Fill::Signed),
        case(dice, [1, 1, 1, 2], Fill::Signed),
        case(tversky, [2, 5, 7, 3], Fill::Wide),
        case(tversky, [1, 3, 4, 65], Fill::Signed),
        case(dice, [2, 70, 90, 2], Fill::Wide),
        case(dice, [8, 384, 384, 2], Fill::Signed).published_size(),
    ]
}

fn case(loss: TverskyLoss, shape: [usize; 4], logits: Fill) -> Case {
    let inputs = [Shape::from(shape), Shape::from(shape), Shape::from([shape[3], 3]), loss::scalar()];
    Case::new(TverskyLossGradient { loss }, inputs)
        .fill(0, logits)
        .fill(1, Fill::Target)
        .fill(2, Fill::Positive)
        .tolerance(4e-12)
}
