//! The ascent step of sharpness-aware minimisation.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use super::loss::scalar;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::{reduce, vector};
use crate::{kernel, params};

/// `p + rho g / (norm + 1e-12)` (Foret et al. 2021): the weights at the steepest point of a ball around p.
///
/// Inputs: weights p, gradient g of the same shape, the squared norm of the gradient `[1]`.
#[derive(Debug, Clone, Copy)]
pub struct SharpnessStep {
    /// The radius of the ball.
    pub rho: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "sharpness_step", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("sharpness_step");

params! { struct SharpnessParams { count: u32, radius: f32 } }

impl Operator for SharpnessStep {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [p, g, norm2] = case::arity(self.name(), inputs)?;
        if p != g || *norm2 != scalar() {
            return Err(Error::shape(self.name(), format!("{inputs:?}"), "p and g of one shape, norm of 1"));
        }
        Ok(vec![p.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 2 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let params = SharpnessParams { count: extent(count), radius: self.rho };
        Ok(vec![Launch::elementwise(&KERNEL, 3, &params, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true, true, false]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let scale = reduce::narrow(f64::from(self.rho) / (f64::from(inputs[2][0]).sqrt() + 1e-12));
        vector::map2(inputs[0], inputs[1], outputs[0], move |p, g| p + scale * g);
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let norm = inputs[2][0].sqrt();
        let step = |(p, g): (&f64, &f64)| p + f64::from(self.rho) * g / (norm + 1e-12);
        vec![inputs[0].iter().zip(inputs[1]).map(step).collect()]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![case(1), case(1025), case(10_024_516).published_size()]
}

fn case(count: usize) -> Case {
    let all = Shape::from([count]);
    Case::new(SharpnessStep { rho: 0.05 }, [all.clone(), all, scalar()]).fill(2, Fill::Positive).tolerance(1e-12)
}
