//! The derivative of the mean entropy.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::loss;
use super::partial_sums::reciprocal;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::class_softmax::for_pixels;
use crate::numeric::reduce;
use crate::{kernel, params};

/// The gradient of [`super::EntropyLoss`]. Inputs: logits (N, H, W, C), the gradient of the loss `[1]`. Output: the
/// gradient of the logits.
#[derive(Debug, Clone, Copy)]
pub struct EntropyLossGradient;

pub(super) const ENTRY: Entry = Entry { name: "entropy_loss_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("entropy_loss_gradient", "class_softmax");

params! { struct EntropyParams { pixels: u32, channels: u32, share: f32 } }

impl Operator for EntropyLossGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        loss::check(self.name(), inputs, 0, &[loss::scalar()])?;
        Ok(vec![inputs[0].clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let (pixels, classes) = loss::extents(shapes);
        Cost { flop: (pixels * classes * (16 + 3 * classes)) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let params = EntropyParams { pixels: extent(pixels), channels: extent(channels), share: reciprocal(pixels) };
        Ok(vec![Launch::elementwise(&KERNEL, 2, &params, pixels)])
    }

    fn batch_separable(&self) -> bool {
        // The mean is over all pixels of the batch.
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (pixels, classes) = loss::extents(shapes);
        let share = f64::from(inputs[1][0]) / pixels as f64;
        for_pixels(inputs[0], outputs[0], classes, |softmax, pixel, out| {
            let logits = &inputs[0][pixel * classes..][..classes];
            for (k, o) in out.iter_mut().enumerate() {
                let off = |c: usize| softmax.probability[c] * (f64::from(logits[k]) - f64::from(logits[c]));
                *o = reduce::narrow(-share * softmax.probability[k] * (0..classes).map(off).sum::<f64>());
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (pixels, classes) = loss::extents(shapes);
        let mut out = Vec::with_capacity(inputs[0].len());
        for logits in inputs[0].chunks_exact(classes) {
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            let p = |x: f64| (x - max).exp() / total;
            let log_p = |x: f64| x - max - total.ln();
            let entropy = -logits.iter().map(|&x| p(x) * log_p(x)).sum::<f64>();
            out.extend(logits.iter().map(|&x| -inputs[1][0] / pixels as f64 * p(x) * (log_p(x) + entropy)));
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 2], Fill::Signed),
        case([1, 1, 1, 3], Fill::Signed),
        case([2, 5, 7, 3], Fill::Wide),
        case([1, 3, 4, 65], Fill::Signed),
        case([2, 70, 90, 2], Fill::Wide),
        case([8, 384, 384, 2], Fill::Signed).published_size(),
    ]
}

fn case(shape: [usize; 4], logits: Fill) -> Case {
    Case::new(EntropyLossGradient, [Shape::from(shape), loss::scalar()]).fill(0, logits).tolerance(4e-12)
}
