//! Change of the storage of a tensor.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::Result;
use crate::graph::storage::nearest_half;
use crate::graph::{Caps, Graph, Kernel, Launch, Operator, Shape, Shapes, Storage, TensorId, extent};
use crate::numeric::vector;
use crate::{kernel, params};

/// The tensor in another storage.
///
/// To halves, every value is rounded to the nearest one, to the even one of two equally near; beyond the largest half, 65504,
/// it becomes that one. To floats, nothing changes. The plan puts casts between nodes that run on halves and others; on the
/// CPU all tensors are floats, and what remains is the rounding.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The storage of the result. The input has the other one.
    pub to: Storage,
}

pub(super) const ENTRY: Entry = Entry { name: "cast", kernels: &[&TO_F16, &TO_F32], cases };

static TO_F16: Kernel = kernel!("cast_to_f16", "half");
static TO_F32: Kernel = kernel!("cast_to_f32", "half");

params! { struct CastParams { count: u32 } }

impl Operator for Cast {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        Ok(vec![x.clone()])
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let kernel = match self.to {
            Storage::F16 => &TO_F16,
            Storage::F32 => &TO_F32,
        };
        Ok(vec![Launch::elementwise(kernel, 1, &CastParams { count: extent(count) }, count.div_ceil(2))])
    }

    fn compute(&self, _shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        match self.to {
            Storage::F16 => vector::map(inputs[0], outputs[0], |x| nearest_half(x).to_f32()),
            Storage::F32 => outputs[0].copy_from_slice(inputs[0]),
        }
    }

    // Rounded to a multiple of the distance between halves: 2^-10 of the power of two below, 2^-24 at least.
    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let rounded = |x: f64| {
            let exponent = (x.abs().max(2.0_f64.powi(-14)).to_bits() >> 52) as i32 - 1023;
            let step = 2.0_f64.powi(exponent - 10);
            ((x / step).round_ties_even() * step).clamp(-65504.0, 65504.0)
        };
        vec![match self.to {
            Storage::F16 => inputs[0].iter().map(|&x| rounded(x)).collect(),
            Storage::F32 => inputs[0].to_vec(),
        }]
    }

    // What rounding adds is noise: the gradient passes through.
    fn gradient(
        &self,
        _graph: &mut Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![output_gradients[0]])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    let to_half = |shape: &[usize]| Case::new(Cast { to: Storage::F16 }, [shape.to_vec()]).differentiable_inputs(&[]);
    let to_float = |shape: &[usize]| Case::new(Cast { to: Storage::F32 }, [shape.to_vec()]);
    vec![
        to_half(&[1]).fill(0, Fill::Halves),
        to_half(&[2, 5, 7, 3]),
        to_half(&[3, 1031]).fill(0, Fill::Halves),
        to_half(&[257]).fill(0, Fill::Wide),
        to_half(&[1, 384, 384, 64]).published_size(),
        to_float(&[1]).fill(0, Fill::Coarse),
        to_float(&[2, 5, 7, 3]).fill(0, Fill::Coarse),
        to_float(&[1, 384, 384, 64]).fill(0, Fill::Coarse).published_size(),
    ]
}
