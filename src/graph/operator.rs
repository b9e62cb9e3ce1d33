//! What an operator is: a shape rule, a gradient rule, a cost, and three ways to compute it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::launch::{Caps, Launch};
use super::shape::Shape;
use super::{Graph, TensorId};
use crate::error::{Error, Result};

/// The shapes of one application of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shapes {
    /// Inputs, in the operator's order.
    pub inputs: Vec<Shape>,
    /// Outputs, in the operator's order.
    pub outputs: Vec<Shape>,
}

/// The work of one application of an operator in its direct form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flop: u64,
    /// Bytes that must at least move: every input read once, every output written once, as f32.
    pub bytes: u64,
}

/// An operator over dense f32 tensors.
///
/// One operator is one file in `src/ops`, its kernels in `kernels`, and one line in the registry of `src/ops/mod.rs`.
/// Everything else (tests, plans, listings, benches) finds it through the registry.
pub trait Operator: fmt::Debug + Send + Sync + 'static {
    /// The registered name, also the stem of its kernels' file names.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs.
    ///
    /// # Errors
    /// [`Error::Shape`] for inputs that do not fit the operator.
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>>;

    /// The work. `bytes` is every tensor moved once unless the operator knows better.
    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    /// The GPU's part: kernels, their constants, parameters and grids, in order. Shapes are those of one batch slice.
    ///
    /// # Errors
    /// A limit of the device that no variant can meet.
    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>>;

    /// The ways to compute the operator on a GPU for these shapes, the usual one first; nothing where there is one way only. `launches`
    /// and `gpu_scratch` choose by [`Caps::chosen`]; see [`crate::graph::tuning`].
    fn variants(&self, _shapes: &Shapes, _caps: &Caps) -> Vec<&'static str> {
        Vec::new()
    }

    /// Sizes in floats of the temporary tensors that the GPU launches need.
    fn gpu_scratch(&self, _shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        Vec::new()
    }

    /// The inputs in whose memory the first output may lie: of the same number of elements, and element i of the output needs
    /// no element of them but i, in every pass that writes the output. The plan takes one that nothing reads afterwards.
    fn in_place(&self, _shapes: &Shapes) -> Vec<usize> {
        Vec::new()
    }

    /// The CPU's part. Outputs are to be overwritten whole: what they hold before is undefined, except that an input which the
    /// plan put into the first output's memory (see [`Operator::in_place`]) comes as an empty slice and is found there.
    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]);

    /// Size in floats of the temporary memory that [`Operator::compute`] needs.
    fn cpu_scratch(&self, _shapes: &Shapes) -> usize {
        0
    }

    /// The definition: plain loops in f64 that a reader can follow. Tests hold both executors against it.
    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>>;

    /// Appends to `graph` the nodes that give, from the gradient of each output of `node` (`None` where the loss does not
    /// depend on it), the gradient of each input (`None` where it has none).
    ///
    /// # Errors
    /// [`Error::NoGradient`] where the operator has no rule.
    fn gradient(
        &self,
        _graph: &mut Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        _output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Err(Error::NoGradient { operator: self.name() })
    }

    /// Whether samples of a batch are independent, so that a launch may be split along the outermost axis.
    fn batch_separable(&self) -> bool {
        true
    }

    /// Which inputs carry the samples of the batch along their outermost axis, as the outputs do; the others, like weights,
    /// are the same for all samples. A batch slice takes its part of the former. The first input alone unless the operator
    /// knows better.
    fn batched(&self, shapes: &Shapes) -> Vec<bool> {
        (0..shapes.inputs.len()).map(|i| i == 0).collect()
    }

    /// The same operator in its direct form, if it has a faster one that rounds more, which is what it takes otherwise.
    fn exact(&self) -> Option<Arc<dyn Operator>> {
        None
    }

    /// For the plan's fusion rules, which look for operators by type.
    fn as_any(&self) -> &dyn Any;
}

/// Every input read once and every output written once, as f32.
#[must_use]
pub fn bytes_moved(shapes: &Shapes) -> u64 {
    shapes.inputs.iter().chain(&shapes.outputs).map(|s| 4 * s.elements() as u64).sum()
}
