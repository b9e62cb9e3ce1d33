//! What the losses on class probabilities share: their shapes, and their reduction over pixels.

use super::partial_sums::{Parts, reciprocal};
use crate::error::{Error, Result};
use crate::graph::{Binding, Launch, Shape, Shapes};

/// Pixels that one group of a GPU sums.
pub(super) const SPAN: usize = 1024;

/// The shape of a loss.
pub(super) fn scalar() -> Shape {
    Shape::from([1])
}

/// Logits (..., C), targets of the same shape, `targets` times, and further inputs of the shapes `rest`.
///
/// # Errors
/// Other shapes.
pub(super) fn check(operator: &'static str, inputs: &[Shape], targets: usize, rest: &[Shape]) -> Result<()> {
    let fits = inputs.len() == 1 + targets + rest.len()
        && inputs[0].len() >= 2
        && inputs[1..=targets].iter().all(|s| *s == inputs[0])
        && inputs[1 + targets..] == *rest;
    if fits {
        return Ok(());
    }
    let mut expected = "logits (..., C)".to_owned();
    if targets > 0 {
        expected.push_str(", targets like them");
    }
    for shape in rest {
        expected.push_str(&format!(", {shape}"));
    }
    Err(Error::shape(operator, format!("{inputs:?}"), expected))
}

/// Number of pixels and of classes.
pub(super) fn extents(shapes: &Shapes) -> (usize, usize) {
    (shapes.inputs[0].rows(), shapes.inputs[0].channels())
}

/// The first pass, one group per span of pixels, and the sum of its parts divided by the pixels.
pub(super) fn mean_over_pixels(first: Launch, pixels: usize) -> Vec<Launch> {
    let parts = Parts { spans: pixels.div_ceil(SPAN), stride: 1 };
    vec![first, parts.sum(Binding::ScratchIn(0), Binding::Output(0), 0, 1, reciprocal(pixels))]
}
