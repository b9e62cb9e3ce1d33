//! A step of Adam.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry, Fill};
use super::loss::scalar;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::reduce;
use crate::{kernel, params};

/// One step of Adam (Kingma & Ba 2015) in Keras's form, epsilon outside the bias correction, with clipping of the gradient
/// to a global norm (Pascanu et al. 2013):
///
/// g' = g min(1, clip / norm), m' = beta1 m + (1 - beta1) g', v' = beta2 v + (1 - beta2) g'^2,
/// p' = p - rate m' / (sqrt(v') + epsilon).
///
/// Inputs: weights p, gradient g, moments m and v, all of one shape; rate `[1]`, which is
/// `lr sqrt(1 - beta2^t) / (1 - beta1^t)` at step t; the squared norm of the gradient `[1]`. Outputs: p', m', v', which
/// are p, m, v where the squared norm is not finite: a step that went wrong changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// What stays of the first moment.
    pub beta1: f32,
    /// What stays of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The largest norm of the gradient; zero for any.
    pub clip: f32,
}

pub(super) const ENTRY: Entry = Entry { name: "adam", kernels: &[&NUMBERS, &STEP], cases };

static NUMBERS: Kernel = kernel!("adam_numbers", "finite");
static STEP: Kernel = kernel!("adam");

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

params! { struct NumbersParams { clip: f32 } }
params! { struct StepParams { count: u32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, epsilon: f32 } }

/// `1 - beta`, without the rounding of f32.
fn rest(beta: f32) -> f32 {
    reduce::narrow(1.0 - f64::from(beta))
}

impl Operator for Adam {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [p, g, m, v, rate, norm2] = case::arity(self.name(), inputs)?;
        if [g, m, v].iter().any(|s| *s != p) || [rate, norm2].iter().any(|s| **s != scalar()) {
            return Err(Error::shape(
                self.name(),
                format!("{inputs:?}"),
                "p, g, m, v of one shape, rate and norm of 1",
            ));
        }
        Ok(vec![p.clone(); 3])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 13 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let params = StepParams {
            count: extent(count),
            beta1: self.beta1,
            rest1: rest(self.beta1),
            beta2: self.beta2,
            rest2: rest(self.beta2),
            epsilon: self.epsilon,
        };
        let numbers = vec![Binding::Input(4), Binding::Input(5), Binding::ScratchOut(0)];
        let mut step = Launch::elementwise(&STEP, 4, &params, count);
        step.bindings.truncate(4);
        step.bindings.extend([Binding::ScratchIn(0), Binding::Output(0), Binding::Output(1), Binding::Output(2)]);
        Ok(vec![Launch::new(&NUMBERS, numbers, &NumbersParams { clip: self.clip }, 1), step])
    }

    fn gpu_scratch(&self, _shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![3]
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true, true, true, true, false, false]
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [p, g, m, v, rate, norm2] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        let [p_out, m_out, v_out] = outputs else { return };
        if !norm2[0].is_finite() {
            for (out, x) in [(p_out, p), (m_out, m), (v_out, v)] {
                out.copy_from_slice(x);
            }
            return;
        }
        let rate = rate[0];
        let factor = if self.clip > 0.0 { self.clip / norm2[0].sqrt().max(self.clip) } else { 1.0 };
        let [beta1, beta2, rest1, rest2] = [self.beta1, self.beta2, rest(self.beta1), rest(self.beta2)];
        let epsilon = self.epsilon;
        let made = p_out.par_chunks_mut(BLOCK).zip(m_out.par_chunks_mut(BLOCK)).zip(v_out.par_chunks_mut(BLOCK));
        let read = p.par_chunks(BLOCK).zip(g.par_chunks(BLOCK)).zip(m.par_chunks(BLOCK)).zip(v.par_chunks(BLOCK));
        made.zip(read).for_each(|(((p_out, m_out), v_out), (((p, g), m), v))| {
            let made = p_out.iter_mut().zip(m_out).zip(v_out);
            for (((p_out, m_out), v_out), (((p, g), m), v)) in made.zip(p.iter().zip(g).zip(m).zip(v)) {
                let slope = g * factor;
                let (first, second) = (beta1 * m + rest1 * slope, beta2 * v + rest2 * slope * slope);
                *m_out = first;
                *v_out = second;
                *p_out = p - rate * first / (second.sqrt() + epsilon);
            }
        });
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [p, g, m, v, rate, norm2] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i]);
        let [beta1, beta2, epsilon, clip] = [self.beta1, self.beta2, self.epsilon, self.clip].map(f64::from);
        if !norm2[0].is_finite() {
            return [p, m, v].map(<[f64]>::to_vec).to_vec();
        }
        let factor = if clip > 0.0 { (clip / norm2[0].sqrt()).min(1.0) } else { 1.0 };
        let slope: Vec<f64> = g.iter().map(|g| g * factor).collect();
        let m: Vec<f64> = m.iter().zip(&slope).map(|(m, g)| beta1 * m + (1.0 - beta1) * g).collect();
        let v: Vec<f64> = v.iter().zip(&slope).map(|(v, g)| beta2 * v + (1.0 - beta2) * g * g).collect();
        let p = (0..p.len()).map(|i| p[i] - rate[0] * m[i] / (v[i].sqrt() + epsilon)).collect();
        vec![p, m, v]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(1, 0.0),
        case(65, 0.25),
        case(4097, 10.0),
        case(300, 1.0).fill(1, Fill::Faulty).fill(5, Fill::Faulty),
        case(10_024_516, 1.0).published_size(),
    ]
}

fn case(count: usize, clip: f32) -> Case {
    let all = Shape::from([count]);
    let operator = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, clip };
    let inputs = [all.clone(), all.clone(), all.clone(), all, scalar(), scalar()];
    Case::new(operator, inputs).fill(3, Fill::Positive).fill(4, Fill::Positive).fill(5, Fill::Positive).tolerance(1e-12)
}
