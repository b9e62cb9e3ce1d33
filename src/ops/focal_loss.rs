//! The focal loss of logits.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::focal_loss_gradient::FocalLossGradient;
use super::loss;
use super::partial_sums::SUM_PARTS;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::class_softmax::ClassSoftmax;
use crate::numeric::reduce;
use crate::{kernel, params};

/// Probabilities are clipped to this and to one less it.
pub(super) const LOWEST: f64 = 1e-7;

/// Mean over all pixels of the sum over the classes of `-t (1 - p)^gamma ln p` (Lin et al. 2017), where p is the softmax of
/// the logits, clipped to 1e-7..1 - 1e-7.
///
/// Inputs: logits (N, H, W, C), targets t of the same shape: probabilities, or zeros for a pixel without a label, which
/// then adds nothing but counts in the mean. Output: the loss `[1]`. No gradient flows to the targets.
#[derive(Debug, Clone, Copy)]
pub struct FocalLoss {
    /// The exponent.
    pub gamma: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "focal_loss", kernels: &[&PARTS, &SUM_PARTS], cases };

static PARTS: Kernel = kernel!("focal_loss", "class_softmax", "focal", "row");

params! { struct FocalParams { pixels: u32, channels: u32, span: u32, gamma: f32 } }

/// `q` to the power `gamma`.
pub(super) fn focus(q: f64, gamma: f64) -> f64 {
    if gamma == 2.0 { q * q } else { q.powf(gamma) }
}

impl Operator for FocalLoss {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        loss::check(self.name(), inputs, 1, &[])?;
        Ok(vec![loss::scalar()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 24 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let params = FocalParams {
            pixels: extent(pixels),
            channels: extent(channels),
            span: extent(loss::SPAN),
            gamma: self.gamma,
        };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::ScratchOut(0)];
        Ok(loss::mean_over_pixels(Launch::new(&PARTS, bindings, &params, pixels.div_ceil(loss::SPAN)), pixels))
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![loss::extents(shapes).0.div_ceil(loss::SPAN)]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (pixels, classes) = loss::extents(shapes);
        let gamma = f64::from(self.gamma);
        let (log_lowest, log_highest) = (LOWEST.ln(), (-LOWEST).ln_1p());
        let sum = reduce::sum(pixels, classes, 1, |range, sum| {
            let mut softmax = ClassSoftmax::new(classes);
            let range = range.start * classes..range.end * classes;
            let rows = inputs[0][range.clone()].chunks_exact(classes).zip(inputs[1][range].chunks_exact(classes));
            for (logits, target) in rows {
                softmax.set(logits);
                for ((&t, &q), &l) in target.iter().zip(&softmax.complement).zip(&softmax.logarithm) {
                    let q = q.clamp(LOWEST, 1.0 - LOWEST);
                    sum[0] -= f64::from(t) * focus(q, gamma) * l.clamp(log_lowest, log_highest);
                }
            }
        });
        outputs[0][0] = reduce::narrow(sum[0] / pixels as f64);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (pixels, classes) = loss::extents(shapes);
        let mut sum = 0.0;
        for (logits, target) in inputs[0].chunks_exact(classes).zip(inputs[1].chunks_exact(classes)) {
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            for (x, t) in logits.iter().zip(target) {
                let p = ((x - max).exp() / total).clamp(LOWEST, 1.0 - LOWEST);
                sum -= t * (1.0 - p).powf(f64::from(self.gamma)) * p.ln();
            }
        }
        vec![vec![sum / pixels as f64]]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (&[logits, target], &[Some(dloss)]) = (inputs, output_gradients) else {
            return Ok(vec![None; inputs.len()]);
        };
        Ok(vec![Some(graph.apply(FocalLossGradient { gamma: self.gamma }, &[logits, target, dloss])?), None])
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
    Case::new(FocalLoss { gamma }, [shape, shape])
        .fill(0, logits)
        .fill(1, Fill::Target)
        .differentiable_inputs(&[0])
        .tolerance(4e-12)
}
