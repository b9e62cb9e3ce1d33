//! What the registry knows of an operator: its kernels, and the cases it is tested and timed on.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Caps, Kernel, Launch, Operator, Shape, Shapes, Tile};

/// One line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The operator's name.
    pub name: &'static str,
    /// Every kernel it may launch.
    pub kernels: &'static [&'static Kernel],
    /// Its cases.
    pub cases: fn() -> Vec<Case>,
}

/// How the values of a case's input are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Uniform in -1..1.
    Signed,
    /// Uniform in 0.1..1.1, for variances.
    Positive,
    /// Uniform in -30..30, for saturating functions.
    Wide,
    /// Uniform in 99..101, for statistics.
    Shifted,
    /// Whole numbers in -2..2, for ties.
    Coarse,
    /// NaN, an infinity and a number in -1..1 by turns, for what must survive them.
    Faulty,
    /// What is hard to round to a half: ties, numbers near its limits, multiples of parts of its smallest, and ordinary ones.
    Halves,
    /// Along the innermost axis shares that sum to one, most of it in one place; one row in five is zero, as for pixels
    /// without a label.
    Target,
}

/// An operator applied to shapes: odd ones, ones, tile sizes and their neighbours, and the model's own.
#[derive(Debug, Clone)]
pub struct Case {
    /// The operator with its settings.
    pub operator: Arc<dyn Operator>,
    /// Shape and values of every input.
    pub inputs: Vec<(Shape, Fill)>,
    /// Largest normalised mean squared error against the f64 definition.
    pub tolerance: f64,
    /// Whether it is a shape of the published model: for benches, too large for the plain f64 loops.
    pub published_size: bool,
    /// How many of the outputs, from the first on, gradients come back to; the others are kept for gradient rules.
    pub differentiable_outputs: usize,
    /// The inputs that gradients flow to; `None` means all.
    pub differentiable_inputs: Option<&'static [usize]>,
    /// Whether only the plan's fusion makes such an operator: that comes after differentiation, and it has no gradient rule.
    pub fused: bool,
}

impl Case {
    /// A test case with inputs in -1..1 and the tolerance 1e-7.
    pub fn new<const N: usize, S: Into<Shape>>(operator: impl Operator, inputs: [S; N]) -> Self {
        Self::of(operator, inputs.into_iter().map(Into::into).collect())
    }

    /// The same for any number of inputs.
    pub fn of(operator: impl Operator, inputs: Vec<Shape>) -> Self {
        Self {
            operator: Arc::new(operator),
            inputs: inputs.into_iter().map(|s| (s, Fill::Signed)).collect(),
            tolerance: 1e-7,
            published_size: false,
            differentiable_outputs: usize::MAX,
            differentiable_inputs: None,
            fused: false,
        }
    }

    /// The same with another way of drawing input `index`.
    #[must_use]
    pub fn fill(mut self, index: usize, fill: Fill) -> Self {
        if let Some(input) = self.inputs.get_mut(index) {
            input.1 = fill;
        }
        self
    }

    /// The same with another tolerance.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The same where gradients come back only to the first `count` outputs.
    #[must_use]
    pub fn differentiable_outputs(mut self, count: usize) -> Self {
        self.differentiable_outputs = count;
        self
    }

    /// The same where gradients flow only to these inputs, and not, say, to the labels of a loss.
    #[must_use]
    pub fn differentiable_inputs(mut self, inputs: &'static [usize]) -> Self {
        self.differentiable_inputs = Some(inputs);
        self
    }

    /// The same as a form that only fusion makes.
    #[must_use]
    pub fn fused(mut self) -> Self {
        self.fused = true;
        self
    }

    /// The ways in which the operator computes this case on a GPU, each with the capabilities that choose it: the usual one (whose name is
    /// empty), plain kernels, the other tiles, tiles without long words and rows without subgroups where the
    /// device has them, every other variant. No two launch the same.
    ///
    /// # Errors
    /// A limit of the device that no variant can meet.
    pub fn ways(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<(&'static str, Caps)>> {
        let operator = self.operator.as_ref();
        let plain = ("plain kernels", Caps { plain_kernels: true, ..caps.clone() });
        let tile = if caps.tile == Tile::Narrow { Tile::Wide } else { Tile::Narrow };
        let tiles = ("the other tiles", Caps { tile, ..caps.clone() });
        let short = ("words of 32 bits", Caps { long_words: false, ..caps.clone() });
        let apart = ("no subgroups", Caps { subgroups: false, ..caps.clone() });
        let variants = operator.variants(shapes, caps).into_iter();
        let variants = variants.map(|name| (name, caps.with_variant(operator, shapes, name)));
        let mut ways: Vec<(&'static str, Caps)> = Vec::new();
        let mut known = Vec::new();
        for (name, caps) in [("", caps.clone()), plain, tiles, short, apart].into_iter().chain(variants) {
            let launches = operator.launches(shapes, &caps)?;
            // Launches do not tell words and subgroups, but the texts of some kernels do.
            let any_shares = |file| launches.iter().any(|l: &Launch| l.kernel.shared.iter().any(|f| f.name == file));
            let in_long_words = caps.long_words && any_shares("tile") && launches.iter().any(|l| l.item > 1);
            let way = (in_long_words, caps.subgroups && any_shares("row"), launches);
            if !known.contains(&way) {
                known.push(way);
                ways.push((name, caps));
            }
        }
        Ok(ways)
    }

    /// The same as a case of the published model's size.
    #[must_use]
    pub fn published_size(mut self) -> Self {
        self.published_size = true;
        self
    }
}

/// The inputs as an array of the operator's arity.
///
/// # Errors
/// Another number of inputs.
pub(super) fn arity<'a, const N: usize>(operator: &'static str, inputs: &'a [Shape]) -> Result<[&'a Shape; N]> {
    let refs: Vec<&Shape> = inputs.iter().collect();
    refs.try_into().map_err(|_| Error::shape(operator, format!("{} inputs", inputs.len()), format!("{N}")))
}

/// The output of an operator on two tensors of one shape: that shape.
///
/// # Errors
/// Another number of inputs, or two shapes.
pub(super) fn same_pair(operator: &'static str, inputs: &[Shape]) -> Result<Vec<Shape>> {
    let [a, b] = arity(operator, inputs)?;
    if a != b {
        return Err(Error::shape(operator, format!("{a} and {b}"), "two inputs of one shape"));
    }
    Ok(vec![a.clone()])
}

/// Batch, height, width, channels.
///
/// # Errors
/// A rank other than four.
pub(super) fn nhwc(operator: &'static str, shape: &Shape) -> Result<[usize; 4]> {
    shape.nhwc().ok_or_else(|| Error::shape(operator, shape.to_string(), "batch x height x width x channels"))
}
