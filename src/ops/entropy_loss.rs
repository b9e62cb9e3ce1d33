//! The mean entropy of predictions.

use std::any::Any;

use super::case::{Case, Entry, Fill};
use super::entropy_loss_gradient::EntropyLossGradient;
use super::loss;
use super::partial_sums::SUM_PARTS;
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::class_softmax::ClassSoftmax;
use crate::numeric::reduce;
use crate::{kernel, params};

/// Mean over all pixels of `-sum p ln p` (in nats), where p is the softmax of the logits (N, H, W, C). Output: `[1]`.
///
/// What the bias optimisation minimises (Maslov et al. 2025).
#[derive(Debug, Clone, Copy)]
pub struct EntropyLoss;

pub(super) const ENTRY: Entry = Entry { name: "entropy_loss", kernels: &[&PARTS, &SUM_PARTS], cases };

static PARTS: Kernel = kernel!("entropy_loss", "class_softmax", "row");

params! { struct EntropyParams { pixels: u32, channels: u32, span: u32 } }

impl Operator for EntropyLoss {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        loss::check(self.name(), inputs, 0, &[])?;
        Ok(vec![loss::scalar()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 20 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (pixels, channels) = loss::extents(shapes);
        let params = EntropyParams { pixels: extent(pixels), channels: extent(channels), span: extent(loss::SPAN) };
        let bindings = vec![Binding::Input(0), Binding::ScratchOut(0)];
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
        let sum = reduce::sum(pixels, classes, 1, |range, sum| {
            let mut softmax = ClassSoftmax::new(classes);
            for logits in inputs[0][range.start * classes..range.end * classes].chunks_exact(classes) {
                softmax.set(logits);
                for (p, l) in softmax.probability.iter().zip(&softmax.logarithm) {
                    sum[0] -= p * l;
                }
            }
        });
        outputs[0][0] = reduce::narrow(sum[0] / pixels as f64);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (pixels, classes) = loss::extents(shapes);
        let mut sum = 0.0;
        for logits in inputs[0].chunks_exact(classes) {
            let max = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - max).exp()).sum();
            sum -= logits.iter().map(|x| (x - max).exp() / total * (x - max - total.ln())).sum::<f64>();
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
        let (&[logits], &[Some(dloss)]) = (inputs, output_gradients) else { return Ok(vec![None; inputs.len()]) };
        Ok(vec![Some(graph.apply(EntropyLossGradient, &[logits, dloss])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 2], Fill::Signed),
        case([1, 1, 1, 1], Fill::Signed),
        case([2, 5, 7, 3], Fill::Wide),
        case([1, 3, 4, 65], Fill::Signed),
        case([2, 70, 90, 2], Fill::Wide),
        case([8, 384, 384, 2], Fill::Signed).published_size(),
    ]
}

fn case(shape: [usize; 4], logits: Fill) -> Case {
    Case::new(EntropyLoss, [shape]).fill(0, logits).tolerance(4e-12)
}
