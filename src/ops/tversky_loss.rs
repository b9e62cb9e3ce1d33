//! The Tversky loss of logits, and with it the Dice loss.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::loss;
use super::partial_sums::{Parts, SUM_PARTS};
use super::tversky_loss_gradient::TverskyLossGradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::class_softmax::ClassSoftmax;
use crate::numeric::reduce;
use crate::{kernel, params};

/// `1 - mean over classes of (TP + smooth) / (TP + alpha FP + beta FN + smooth)` (Salehi et al. 2017), with TP the sum of
/// p t over all labelled pixels of the batch, FP of p (1 - t) and FN of (1 - p) t, where p is the softmax of the logits.
/// With alpha = beta = 0.5 it is the Dice loss (Milletari et al. 2016).
///
/// Inputs: logits (N, H, W, C), targets t of the same shape: probabilities, or zeros for a pixel without a label.
/// Outputs: the loss `[1]`; the sums TP, FP, FN (C, 3), through which no gradient flows. None flows to the targets.
#[derive(Debug, Clone, Copy)]
pub struct TverskyLoss {
    /// The weight of false positives.
    pub alpha: f32,
    /// The weight of false negatives.
    pub beta: f32,
    /// Added to numerator and denominator, in pixels; positive.
    pub smooth: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "tversky_loss", kernels: &[&PARTS, &SUM_PARTS, &LOSS], cases };

static PARTS: Kernel = kernel!("tversky_loss_parts", "class_softmax", "row");
static LOSS: Kernel = kernel!("tversky_loss", "row");

params! { struct PartsParams { pixels: u32, channels: u32, span: u32 } }
params! { struct LossParams { channels: u32, alpha: f32, beta: f32, smooth_by: f32 } }

impl TverskyLoss {
    /// TP + smooth, and TP + alpha FP + beta FN + smooth, of a class's sums.
    pub(super) fn parts(self, sums: &[f64]) -> (f64, f64) {
        let hit = sums[0] + f64::from(self.smooth);
        (hit, hit + f64::from(self.alpha) * sums[1] + f64::from(self.beta) * sums[2])
    }

    /// # Errors
    /// Weights with which the ratio may have no value.
    pub(super) fn check(self, operator: &'static str) -> Result<()> {
        if self.smooth > 0.0 && self.alpha >= 0.0 && self.beta >= 0.0 {
            return Ok(());
        }
        Err(Error::shape(operator, format!("{self:?}"), "a positive smooth, alpha and beta of zero or more"))
    }
}

impl Operator for TverskyLoss {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.check(self.name())?;
        loss::check(self.name(), inputs, 1, &[])?;
        Ok(vec![loss::scalar(), Shape::from([inputs[0].channels(), 3])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 24 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let parts = Parts { spans: pixels.div_ceil(loss::SPAN), stride: 3 * channels };
        let params = PartsParams { pixels: extent(pixels), channels: extent(channels), span: extent(loss::SPAN) };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::ScratchOut(0)];
        let last =
            LossParams { channels: extent(channels), alpha: self.alpha, beta: self.beta, smooth_by: self.smooth };
        Ok(vec![
            Launch::new(&PARTS, bindings, &params, parts.spans * channels),
            parts.sum(Binding::ScratchIn(0), Binding::Output(1), 0, 3 * channels, 1.0),
            Launch::new(&LOSS, vec![Binding::Output(1), Binding::Output(0)], &last, 1),
        ])
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        let (pixels, channels) = loss::extents(shapes);
        vec![pixels.div_ceil(loss::SPAN) * 3 * channels]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (pixels, classes) = loss::extents(shapes);
        let sums = reduce::sum(pixels, classes, 3 * classes, |range, sums| {
            let mut softmax = ClassSoftmax::new(classes);
            let range = range.start * classes..range.end * classes;
            let rows = inputs[0][range.clone()].chunks_exact(classes).zip(inputs[1][range].chunks_exact(classes));
            for (logits, target) in rows.filter(|(_, target)| target.iter().sum::<f32>() > 0.0) {
                softmax.set(logits);
                for (c, (&t, sums)) in target.iter().zip(sums.chunks_exact_mut(3)).enumerate() {
                    let t = f64::from(t);
                    sums[0] += softmax.probability[c] * t;
                    sums[1] += softmax.probability[c] * (1.0 - t);
                    sums[2] += softmax.complement[c] * t;
                }
            }
        });
        let [loss, kept] = outputs else { return };
        let ratio = |sums: &[f64]| {
            let (hit, size) = self.parts(sums);
            hit / size
        };
        loss[0] = reduce::narrow(1.0 - sums.chunks_exact(3).map(ratio).sum::<f64>() / classes as f64);
        for (kept, sum) in kept.iter_mut().zip(sums) {
            *kept = reduce::narrow(sum);
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (_, classes) = loss::extents(shapes);
        let mut sums = vec![0.0; 3 * classes];
        for (logits, target) in inputs[0].chunks_exact(classes).zip(inputs[1].chunks_exact(classes)) {
            if target.iter().sum::<f64>() == 0.0 {
                continue;
            }
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            for c in 0..classes {
                let (p, t) = ((logits[c] - max).exp() / total, target[c]);
                sums[3 * c] += p * t;
                sums[3 * c + 1] += p * (1.0 - t);
                sums[3 * c + 2] += (1.0 - p) * t;
            }
        }
        let (alpha, beta, smooth) = (f64::from(self.alpha), f64::from(self.beta), f64::from(self.smooth));
        let mut mean = 0.0;
        for s in sums.chunks_exact(3) {
            mean += (s[0] + smooth) / (s[0] + alpha * s[1] + beta * s[2] + smooth) / classes as f64;
        }
        vec![vec![1.0 - mean], sums]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (&[logits, target], &[_, sums], &[Some(dloss), _]) = (inputs, outputs, output_gradients) else {
            return Ok(vec![None; inputs.len()]);
        };
        Ok(vec![Some(graph.apply(TverskyLossGradient { loss: *self }, &[logits, target, sums, dloss])?), None])
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

fn case(operator: TverskyLoss, shape: [usize; 4], logits: Fill) -> Case {
    Case::new(operator, [shape, shape])
        .fill(0, logits)
        .fill(1, Fill::Target)
        .differentiable_outputs(1)
        .differentiable_inputs(&[0])
        .tolerance(4e-12)
}
