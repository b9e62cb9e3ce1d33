//! Layer normalisation over the channels.

use std::any::Any;
use std::sync::Arc;

use super::LayerNormGradient;
use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// `gamma (x - mean) / sqrt(variance + epsilon) + beta`, mean and biased variance over the channels of each row
/// (Ba et al. 2016). Inputs: x (..., C), gamma (C), beta (C).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "layer_norm", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("layer_norm", "row");

params! { struct LayerNormParams { rows: u32, channels: u32, epsilon: f32 } }

impl Operator for LayerNorm {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, gamma, beta] = case::arity(self.name(), inputs)?;
        if [gamma, beta].iter().any(|s| s.len() != 1 || s[0] != x.channels()) {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "x (..., C), gamma (C), beta (C)"));
        }
        Ok(vec![x.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 8 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (rows, channels) = (shapes.inputs[0].rows(), shapes.inputs[0].channels());
        let item = caps.item(&[channels]);
        let params = LayerNormParams { rows: extent(rows), channels: extent(channels / item), epsilon: self.epsilon };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output(0)];
        Ok(vec![Launch::new(&KERNEL, bindings, &params, rows).with_item(item)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let channels = shapes.inputs[0].channels();
        let (gamma, beta) = (inputs[1], inputs[2]);
        #[expect(clippy::cast_precision_loss, reason = "channel counts are far below 2^24")]
        let count = channels as f32;
        vector::rows(inputs[0], outputs[0], channels, |x, out| {
            let mean = x.iter().sum::<f32>() / count;
            let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / count;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for (((o, &x), &g), &b) in out.iter_mut().zip(x).zip(gamma).zip(beta) {
                *o = (x - mean) * scale * g + b;
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let channels = shapes.inputs[0].channels();
        let mut out = Vec::with_capacity(inputs[0].len());
        for row in inputs[0].chunks_exact(channels) {
            let mean = row.iter().sum::<f64>() / channels as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
            for c in 0..channels {
                let normal = (row[c] - mean) / (variance + f64::from(self.epsilon)).sqrt();
                out.push(normal * inputs[1][c] + inputs[2][c]);
            }
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![None; inputs.len()]) };
        let operator = LayerNormGradient { epsilon: self.epsilon };
        let gradients = graph.apply_shared(Arc::new(operator), &[inputs[0], inputs[1], dy])?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 8].into()),
        case([3, 1].into()),
        case([7, 65].into()),
        case([3, 260].into()),
        case([2, 3, 5, 130].into()),
        case([1, 576, 64].into()).published_size(),
    ]
}

fn case(x: Shape) -> Case {
    let c = Shape::from([x.channels()]);
    Case::new(LayerNorm { epsilon: 1e-3 }, [x, c.clone(), c])
}
