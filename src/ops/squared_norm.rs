//! The squared Euclidean norm.

use std::any::Any;

use super::case::{self, Case, Entry};
use super::loss::scalar;
use super::partial_sums::{Parts, SUM_PARTS};
use crate::error::Result;
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::reduce;
use crate::{kernel, params};

/// The sum of the squares of all elements, `[1]`.
#[derive(Debug, Clone, Copy)]
pub struct SquaredNorm;

pub(super) const ENTRY: Entry = Entry { name: "squared_norm", kernels: &[&PARTS, &SUM_PARTS], cases };

static PARTS: Kernel = kernel!("squared_norm", "row");

/// Elements that one group sums.
const SPAN: usize = 4096;

params! { struct NormParams { count: u32, span: u32 } }

impl Operator for SquaredNorm {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        case::arity::<1>(self.name(), inputs)?;
        Ok(vec![scalar()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 2 * shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.inputs[0].elements();
        let parts = Parts { spans: count.div_ceil(SPAN), stride: 1 };
        let params = NormParams { count: extent(count), span: extent(SPAN) };
        Ok(vec![
            Launch::new(&PARTS, vec![Binding::Input(0), Binding::ScratchOut(0)], &params, parts.spans),
            parts.sum(Binding::ScratchIn(0), Binding::Output(0), 0, 1, 1.0),
        ])
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![shapes.inputs[0].elements().div_ceil(SPAN)]
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        /// Sums side by side, for vector code.
        const LANES: usize = 16;
        let sums = reduce::sum(inputs[0].len(), 1, LANES, |range, sums| {
            let mut blocks = inputs[0][range].chunks_exact(LANES);
            for block in &mut blocks {
                for (s, &x) in sums.iter_mut().zip(block) {
                    *s += f64::from(x) * f64::from(x);
                }
            }
            for (s, &x) in sums.iter_mut().zip(blocks.remainder()) {
                *s += f64::from(x) * f64::from(x);
            }
        });
        outputs[0][0] = reduce::narrow(sums.iter().sum());
    }

    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![vec![inputs[0].iter().map(|x| x * x).sum()]]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let case = |count: usize| Case::new(SquaredNorm, [[count]]).tolerance(1e-12);
    vec![case(1), case(65), case(4097), case(300_001), case(10_024_516).published_size()]
}
