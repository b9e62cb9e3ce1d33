//! The transpose of the concatenation of channels.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::{kernel, params};

/// (..., A + B) to (..., A) and (..., B).
#[derive(Debug, Clone, Copy)]
pub struct ConcatGradient {
    /// The number A of channels of the first part.
    pub channels_a: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "concat_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("concat_gradient");

params! { struct GradientParams { count: u32, channels_a: u32, channels_b: u32 } }

impl Operator for ConcatGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy] = case::arity(self.name(), inputs)?;
        if self.channels_a >= dy.channels() || self.channels_a == 0 {
            return Err(Error::shape(
                self.name(),
                dy.to_string(),
                format!("more channels than the {} of the first part, which is not empty", self.channels_a),
            ));
        }
        Ok(vec![dy.with_channels(self.channels_a), dy.with_channels(dy.channels() - self.channels_a)])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.inputs[0].elements();
        let [channels_a, channels_b] = [0, 1].map(|i| extent(shapes.outputs[i].channels()));
        let params = GradientParams { count: extent(count), channels_a, channels_b };
        let mut launch = Launch::elementwise(&KERNEL, 1, &params, count);
        launch.bindings.push(Binding::Output(1));
        Ok(vec![launch])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (ca, cb) = (shapes.outputs[0].channels(), shapes.outputs[1].channels());
        let rows = 1 + (1 << 14) / (ca + cb);
        let [da, db] = outputs else { return };
        let parts = da.par_chunks_mut(rows * ca).zip(db.par_chunks_mut(rows * cb));
        parts.zip(inputs[0].par_chunks(rows * (ca + cb))).for_each(|((da, db), dy)| {
            let parts = da.chunks_exact_mut(ca).zip(db.chunks_exact_mut(cb));
            for ((da, db), dy) in parts.zip(dy.chunks_exact(ca + cb)) {
                da.copy_from_slice(&dy[..ca]);
                db.copy_from_slice(&dy[ca..]);
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let rows = || inputs[0].chunks_exact(shapes.inputs[0].channels());
        let part = |of: fn(&[f64], usize) -> &[f64]| rows().flat_map(|row| of(row, self.channels_a)).copied().collect();
        vec![part(|row, a| &row[..a]), part(|row, a| &row[a..])]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(ConcatGradient { channels_a: 3 }, [[2, 5, 7, 8]]),
        Case::new(ConcatGradient { channels_a: 1 }, [[1, 2]]),
        Case::new(ConcatGradient { channels_a: 64 }, [[3, 129]]),
        Case::new(ConcatGradient { channels_a: 3 }, [[2, 17, 29, 8]]),
        Case::new(ConcatGradient { channels_a: 64 }, [[1, 384, 384, 128]]).published_size(),
    ]
}
