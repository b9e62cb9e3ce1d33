//! Batch normalisation with the batch's own statistics, left to the operators that read the map.

use std::any::Any;

use super::activation::Activation;
use super::batch_norm_training::{self, MERGE, PARTS, moments};
use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::reduce;
use crate::{kernel, params};

/// The statistics of [`super::BatchNormTraining`], and what they make of it: a factor and a summand for each channel.
///
/// Inputs: x (..., C), gamma, beta (C each). Outputs: mean (C), biased variance (C), and affine (2, C): the scale
/// `gamma / sqrt(variance + epsilon)`, then the shift `beta - mean scale`. Operators with a [`super::Prologue`] apply them as they
/// read x, so that the normalised map is never made. The plan inserts it.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormStatistics {
    /// Added to the variance.
    pub epsilon: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "batch_norm_statistics", kernels: &[&PARTS, &MERGE, &KERNEL], cases };

static KERNEL: Kernel = kernel!("batch_norm_statistics");

params! { struct AffineParams { channels: u32, epsilon: f32 } }

impl Operator for BatchNormStatistics {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x, gamma, beta] = case::arity(self.name(), inputs)?;
        if x.len() < 2 || [gamma, beta].iter().any(|s| s.len() != 1 || s[0] != x.channels()) {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "x (..., C), gamma (C), beta (C)"));
        }
        Ok(vec![gamma.clone(), gamma.clone(), Shape::from([2, x.channels()])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 3 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let channels = shapes.inputs[0].channels();
        let mut launches = batch_norm_training::statistics_launches(&shapes.inputs[0], [0, 1]);
        let bindings =
            vec![Binding::Input(1), Binding::Input(2), Binding::Output(0), Binding::Output(1), Binding::Output(2)];
        let params = AffineParams { channels: extent(channels), epsilon: self.epsilon };
        launches.push(Launch::new(&KERNEL, bindings, &params, channels.div_ceil(256)));
        Ok(launches)
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![batch_norm_training::statistics_scratch(&shapes.inputs[0])]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let c = shapes.inputs[0].channels();
        let [x, gamma, beta] = [inputs[0], inputs[1], inputs[2]];
        let [mean, variance, affine] = outputs else { return };
        let (scale, shift) = affine.split_at_mut(c);
        for (q, (centre, spread)) in moments(x, c).into_iter().enumerate() {
            mean[q] = reduce::narrow(centre);
            variance[q] = reduce::narrow(spread);
            let factor = f64::from(gamma[q]) / (spread + f64::from(self.epsilon)).sqrt();
            scale[q] = reduce::narrow(factor);
            shift[q] = reduce::narrow(f64::from(beta[q]) - centre * factor);
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let c = shapes.inputs[0].channels();
        let norm = super::BatchNormTraining { epsilon: self.epsilon, activation: Activation::Identity };
        let mut made = norm.reference(shapes, inputs);
        let (variance, mean) = (made.swap_remove(2), made.swap_remove(1));
        let scale: Vec<f64> = (0..c).map(|q| inputs[1][q] / (variance[q] + f64::from(self.epsilon)).sqrt()).collect();
        let shift = (0..c).map(|q| inputs[2][q] - mean[q] * scale[q]);
        let affine = scale.iter().copied().chain(shift).collect();
        vec![mean, variance, affine]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 3].into()),
        case([2, 1].into()),
        case([1, 4].into()),
        case([9, 65].into()),
        case([3, 70, 90, 33].into()),
        case([2, 70, 90, 3].into()).fill(0, Fill::Shifted).tolerance(1e-10),
        case([1, 384, 384, 64].into()).published_size(),
    ]
}

fn case(x: Shape) -> Case {
    let c = Shape::from([x.channels()]);
    Case::new(BatchNormStatistics { epsilon: 1e-3 }, [x, c.clone(), c]).tolerance(1e-11).fused()
}
