//! The derivative of the exact Gaussian error linear unit.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// (x, dy) to `dy (Phi(x) + x phi(x))`, where Phi and phi are the distribution and the density of the standard normal.
#[derive(Debug, Clone, Copy)]
pub struct GeluGradient;

pub(super) const ENTRY: Entry = Entry { name: "gelu_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("gelu_gradient", "erf");

params! { struct Elementwise { count: u32 } }

impl Operator for GeluGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        case::same_pair(self.name(), inputs)
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 30 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        Ok(vec![Launch::elementwise(&KERNEL, 2, &Elementwise { count: extent(count) }, count)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 2]
    }

    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        vec![1, 0]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        const ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
        // 1 / sqrt(2 pi).
        const DENSITY: f32 = 0.398_942_3;
        vector::map2(inputs[0], inputs[1], outputs[0], move |x, dy| {
            dy * (0.5 * (1.0 + vector::erf(x * ROOT)) + x * DENSITY * vector::exp(-0.5 * x * x))
        });
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let slope = |x: f64| {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)) + x * density
        };
        vec![inputs[0].iter().zip(inputs[1]).map(|(&x, dy)| dy * slope(x)).collect()]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(GeluGradient, [[2, 5, 7, 3], [2, 5, 7, 3]]),
        Case::new(GeluGradient, [[1], [1]]),
        Case::new(GeluGradient, [[1025], [1025]]).fill(0, Fill::Wide),
        Case::new(GeluGradient, [[8, 576, 256], [8, 576, 256]]).published_size(),
    ]
}
