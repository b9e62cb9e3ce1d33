//! What convolutions and matrix products do to a map as they read it, so that the changed map is never made.

use super::activation::Activation;
use super::case::Case;
use super::gpu_work::{GpuWork, MapRead};
use crate::error::{Error, Result};
use crate::graph::{Binding, Kernel, Launch, Operator, Shape, Shapes, extent, launch::ELEMENTS_PER_GROUP};
use crate::numeric::map_source::{Affine, MapSource};
use crate::{kernel, params};

/// How a map is read: normalised, joined with another, or as it is.
///
/// The operator's first input, the map (..., C), is followed by
/// - with `normalised`, an input (2, C): the scale, then the shift of every channel, as [`super::BatchNormStatistics`] makes it.
///   What is read is `activation(scale x + shift)`; zeros outside the map stay zero;
/// - with `joined`, a second map (..., D), whose channels follow the first's and are taken as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prologue {
    /// Whether to normalise, and what to apply then.
    pub normalised: Option<Activation>,
    /// Whether there is a second map.
    pub joined: bool,
}

pub(super) static KERNEL: Kernel = kernel!("prologue");

params! { struct PrologueParams { count: u32, channels_a: u32, channels_b: u32, normalised: u32, slope: f32 } }

impl Prologue {
    /// Whether the map is one tensor, taken as it is.
    pub(super) fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// Number of inputs that make the map.
    pub(crate) fn inputs(self) -> usize {
        1 + usize::from(self.normalised.is_some()) + usize::from(self.joined)
    }

    /// The operator's inputs with the map in one piece.
    ///
    /// # Errors
    /// Inputs that make no map.
    pub(super) fn merge(self, operator: &'static str, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wrong = || {
            let expected = format!("a map as {self:?} says: x (..., C), scale and shift (2, C), another (..., D)");
            Error::shape(operator, format!("{inputs:?}"), expected)
        };
        let (map, others) = inputs.split_at_checked(self.inputs()).ok_or_else(wrong)?;
        let whole = self.whole(map);
        let fits = (self.normalised.is_none() || map[1][..] == [2, map[0].channels()])
            && (!self.joined || self.second(map).with_channels(1) == map[0].with_channels(1));
        if !fits {
            return Err(wrong());
        }
        Ok([&[whole], others].concat())
    }

    /// The second map's shape.
    fn second(self, map: &[Shape]) -> &Shape {
        &map[self.inputs() - 1]
    }

    /// The shape of the map in one piece.
    fn whole(self, map: &[Shape]) -> Shape {
        let more = if self.joined { self.second(map).channels() } else { 0 };
        map[0].with_channels(map[0].channels() + more)
    }

    /// The shapes of an application with the map in one piece; inputs have been checked.
    pub(super) fn merged(self, shapes: &Shapes) -> Shapes {
        let (map, others) = shapes.inputs.split_at(self.inputs());
        Shapes { inputs: [&[self.whole(map)], others].concat(), outputs: shapes.outputs.clone() }
    }

    /// Which of the inputs that make the map carry the samples of a batch.
    pub(super) fn batched(self) -> Vec<bool> {
        [Some(true), self.normalised.map(|_| false), self.joined.then_some(true)].into_iter().flatten().collect()
    }

    /// The map for the native code, and the other inputs.
    pub(super) fn source<'a, 'b>(self, shapes: &Shapes, inputs: &'b [&'a [f32]]) -> (MapSource<'a>, &'b [&'a [f32]]) {
        let channels = shapes.inputs[0].channels();
        let mut source = MapSource::plain(inputs[0], channels);
        if let Some(activation) = self.normalised {
            let (scale, shift) = inputs[1].split_at(channels);
            source = source.changed(Affine { scale, shift, slope: activation.negative_slope() });
        }
        let last = self.inputs() - 1;
        if self.joined {
            source = source.joined(inputs[last], shapes.inputs[last].channels());
        }
        (source, &inputs[last + 1..])
    }

    /// The definition: the inputs with the map in one piece.
    pub(super) fn reference(self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let last = self.inputs() - 1;
        let a = shapes.inputs[0].channels();
        let b = if self.joined { shapes.inputs[last].channels() } else { 0 };
        let mut whole = Vec::new();
        for row in 0..shapes.inputs[0].rows() {
            for c in 0..a {
                let x = inputs[0][row * a + c];
                whole.push(match self.normalised {
                    Some(activation) => activation.reference(x * inputs[1][c] + inputs[1][a + c]),
                    None => x,
                });
            }
            whole.extend(&inputs[last][row * b..(row + 1) * b]);
        }
        let others = inputs[last + 1..].iter().map(|input| input.to_vec());
        std::iter::once(whole).chain(others).collect()
    }

    /// The map as kernels read it that do what the prologue says themselves: in quads of channels.
    pub(super) fn read(self, shapes: &Shapes) -> Option<MapRead> {
        let (first, last) = (shapes.inputs[0].channels(), self.inputs() - 1);
        let map = MapRead {
            first: Binding::Input(0),
            channels_first: first,
            affine: self.normalised.map(|_| Binding::Input(1)),
            slope: self.normalised.unwrap_or_default().negative_slope(),
            second: self.joined.then_some(Binding::Input(last)),
        };
        let in_quads = first.is_multiple_of(4) && (!self.joined || shapes.inputs[last].channels().is_multiple_of(4));
        (self.is_plain() || in_quads).then_some(map)
    }

    /// [`Prologue::launches`] and [`Prologue::scratch`] together.
    pub(super) fn work(self, shapes: &Shapes, plain: GpuWork) -> GpuWork {
        GpuWork {
            launches: self.launches(shapes, plain.scratch.len(), plain.launches),
            scratch: self.scratch(shapes, plain.scratch),
        }
    }

    /// The launches of an operator that reads the map in one piece (`plain`, for the shapes of [`Prologue::merged`]), after one
    /// that makes it in temporary memory number `scratch`, the first that `plain` does not use.
    pub(super) fn launches(self, shapes: &Shapes, scratch: usize, plain: Vec<Launch>) -> Vec<Launch> {
        if self.is_plain() {
            return plain;
        }
        let last = self.inputs() - 1;
        let count = self.whole(&shapes.inputs[..=last]).elements();
        let params = PrologueParams {
            count: extent(count),
            channels_a: extent(shapes.inputs[0].channels()),
            channels_b: if self.joined { extent(shapes.inputs[last].channels()) } else { 0 },
            normalised: u32::from(self.normalised.is_some()),
            slope: self.normalised.unwrap_or_default().negative_slope(),
        };
        // What there is not leaves its binding to the first map.
        let affine = Binding::Input(usize::from(self.normalised.is_some()));
        let second = Binding::Input(if self.joined { last } else { 0 });
        let bindings = vec![Binding::Input(0), affine, second, Binding::ScratchOut(scratch)];
        let first = Launch::new(&KERNEL, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP));
        let mut launches = vec![first];
        launches.extend(plain.into_iter().map(|launch| {
            launch.rebound(|binding| match binding {
                Binding::Input(0) => Binding::ScratchIn(scratch),
                Binding::Input(i) => Binding::Input(i + last),
                other => other,
            })
        }));
        launches
    }

    /// Temporary memory of [`Prologue::launches`]: that of `plain`, then the map's.
    pub(super) fn scratch(self, shapes: &Shapes, plain: Vec<usize>) -> Vec<usize> {
        let map = (!self.is_plain()).then(|| self.whole(&shapes.inputs[..self.inputs()]).elements());
        plain.into_iter().chain(map).collect()
    }
}

/// A fused case: a first map x, the others that the prologue asks for so that there are `channels` in all, and further inputs.
pub(super) fn case(operator: impl Operator, prologue: Prologue, x: Shape, channels: usize, others: &[Shape]) -> Case {
    let affine = prologue.normalised.map(|_| Shape::from([2, x.channels()]));
    let second = prologue.joined.then(|| x.with_channels(channels - x.channels()));
    let inputs = [Some(x), affine, second].into_iter().flatten().chain(others.iter().cloned());
    Case::of(operator, inputs.collect()).fused()
}
