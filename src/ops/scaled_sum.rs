//! Sum of maps, each scaled per sample and channel.

use std::any::Any;

use super::activation::Activation;
use super::case::{Case, Entry};
use super::prologue::Prologue;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent, launch::ELEMENTS_PER_GROUP};
use crate::numeric::map_source::MapSource;
use crate::numeric::vector;
use crate::{kernel, params};

/// `x w`, or `x w + y v`, plus an optional addend: what squeeze-and-excitation weights do to feature maps, in one pass.
///
/// Inputs: for each term a map x (N, H, W, C), which may be normalised (see [`Prologue`]) and is not joined, and its weights
/// (N, 1, 1, C); then the addend (N, H, W, C). The plan makes it of products and sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaledSum {
    /// How the map of each term is read.
    pub terms: [Option<Prologue>; 2],
    /// Whether there is an addend.
    pub addend: bool,
}

pub(super) const ENTRY: Entry = Entry { name: "scaled_sum", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("scaled_sum");

params! {
    struct ScaledSumParams {
        count: u32,
        channels: u32,
        pixels: u32,
        terms: u32,
        x_normalised: u32,
        y_normalised: u32,
        has_addend: u32,
        x_slope: f32,
        y_slope: f32,
    }
}

impl ScaledSum {
    /// How each term's map is read, and the term's first input.
    pub(crate) fn parts(self) -> impl Iterator<Item = (Prologue, usize)> {
        let mut next = 0;
        self.terms.into_iter().flatten().map(move |prologue| {
            let first = next;
            next += prologue.inputs() + 1;
            (prologue, first)
        })
    }

    /// Number of inputs of all terms.
    fn term_inputs(self) -> usize {
        self.parts().map(|(prologue, _)| prologue.inputs() + 1).sum()
    }
}

/// The shapes of one term.
fn term(shapes: &Shapes, (prologue, first): (Prologue, usize)) -> Shapes {
    Shapes { inputs: shapes.inputs[first..=first + prologue.inputs()].to_vec(), outputs: Vec::new() }
}

impl Operator for ScaledSum {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wrong = || {
            let expected =
                "for each term x (N, H, W, C)[, affine (2, C)], w (N, 1, 1, C); then the addend, if asked for";
            Error::shape(self.name(), format!("{inputs:?}"), expected)
        };
        let count = self.term_inputs();
        if count == 0 || inputs.len() != count + usize::from(self.addend) || inputs[0].len() != 4 {
            return Err(wrong());
        }
        let out = inputs[0].clone();
        let [n, _, _, c] = out.padded4();
        for (prologue, first) in self.parts() {
            let merged = prologue.merge(self.name(), &inputs[first..=first + prologue.inputs()])?;
            if prologue.joined || merged != [out.clone(), [n, 1, 1, c].into()] {
                return Err(wrong());
            }
        }
        if self.addend && inputs[count] != out {
            return Err(wrong());
        }
        Ok(vec![out])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 2 * (self.parts().count() * shapes.outputs[0].elements()) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [_, h, w, c] = shapes.outputs[0].padded4();
        let item = caps.item(&[c]);
        let (c, count) = (c / item, shapes.outputs[0].elements() / item);
        let parts: Vec<(Prologue, usize)> = self.parts().collect();
        let (x, y) = (parts[0], parts[parts.len() - 1]);
        let normalised = |(prologue, _): (Prologue, usize)| u32::from(prologue.normalised.is_some());
        let slope = |(prologue, _): (Prologue, usize)| prologue.normalised.unwrap_or_default().negative_slope();
        let params = ScaledSumParams {
            count: extent(count),
            channels: extent(c),
            pixels: extent(h * w),
            terms: extent(parts.len()),
            x_normalised: normalised(x),
            y_normalised: normalised(y),
            has_addend: u32::from(self.addend),
            x_slope: slope(x),
            y_slope: slope(y),
        };
        // What there is not leaves its binding to what there is.
        let inputs = |(prologue, first): (Prologue, usize)| {
            [first, first + prologue.inputs() - 1, first + prologue.inputs()].map(Binding::Input)
        };
        let addend = Binding::Input(if self.addend { self.term_inputs() } else { 0 });
        let bindings = [&inputs(x)[..], &inputs(y)[..], &[addend, Binding::Output(0)]].concat();
        Ok(vec![Launch::new(&KERNEL, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP)).with_item(item)])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        let terms = self.parts().flat_map(|(prologue, _)| prologue.batched().into_iter().chain([true]));
        terms.chain(self.addend.then_some(true)).collect()
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, h, w, c] = shapes.outputs[0].padded4();
        let terms: Vec<(MapSource, &[f32])> = self
            .parts()
            .map(|(prologue, first)| {
                let inputs = &inputs[first..=first + prologue.inputs()];
                let (x, others) = prologue.source(&term(shapes, (prologue, first)), inputs);
                (x, others[0])
            })
            .collect();
        let addend = self.addend.then(|| inputs[self.term_inputs()]);
        vector::row_blocks(outputs[0], c, |first, out| {
            for (i, out) in out.chunks_exact_mut(c).enumerate() {
                let row = first + i;
                let mut row_values = [0.0_f32; CHANNELS];
                for start in (0..c).step_by(CHANNELS) {
                    let channels = start..c.min(start + CHANNELS);
                    let out = &mut out[channels.clone()];
                    match addend {
                        Some(addend) => out.copy_from_slice(&addend[row * c..][channels.clone()]),
                        None => out.fill(0.0),
                    }
                    let values = &mut row_values[..channels.len()];
                    for (x, weights) in &terms {
                        x.read(row..row + 1, channels.clone(), values, CHANNELS);
                        add_product(values, &weights[row / (h * w) * c..][channels.clone()], out);
                    }
                }
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [_, h, w, c] = shapes.outputs[0].padded4();
        let mut out = vec![0.0; shapes.outputs[0].elements()];
        for (prologue, first) in self.parts() {
            let inputs = &inputs[first..=first + prologue.inputs()];
            let made = prologue.reference(&term(shapes, (prologue, first)), inputs);
            for (i, out) in out.iter_mut().enumerate() {
                *out += made[0][i] * made[1][i / (h * w * c) * c + i % c];
            }
        }
        if self.addend {
            out.iter_mut().zip(inputs[inputs.len() - 1]).for_each(|(out, addend)| *out += addend);
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Channels that are read at a time.
const CHANNELS: usize = 64;

/// `out += x w`. Only of arguments does the compiler know that they do not overlap.
#[inline(always)]
fn add_product(x: &[f32], w: &[f32], out: &mut [f32]) {
    let count = out.len();
    let (x, w) = (&x[..count], &w[..count]);
    for c in 0..count {
        out[c] += x[c] * w[c];
    }
}

fn cases() -> Vec<Case> {
    let plain = Prologue::default();
    let leaky = Prologue { normalised: Some(Activation::LeakyRelu { slope: 0.2 }), joined: false };
    vec![
        case([2, 5, 7, 3], [Some(plain), None], false),
        case([1, 1, 1, 1], [Some(leaky), None], true),
        case([2, 9, 13, 17], [Some(leaky), Some(leaky)], false),
        case([3, 8, 5, 70], [Some(plain), Some(leaky)], true),
        case([2, 4, 6, 64], [Some(plain), Some(plain)], false),
        case([1, 384, 384, 64], [Some(plain), Some(plain)], false).published_size(),
        case([1, 384, 384, 64], [Some(leaky), Some(leaky)], false).published_size(),
    ]
}

fn case(x: [usize; 4], terms: [Option<Prologue>; 2], addend: bool) -> Case {
    let mut inputs: Vec<Shape> = Vec::new();
    for prologue in terms.into_iter().flatten() {
        inputs.push(x.into());
        inputs.extend(prologue.normalised.map(|_| Shape::from([2, x[3]])));
        inputs.push([x[0], 1, 1, x[3]].into());
    }
    inputs.extend(addend.then(|| Shape::from(x)));
    Case::of(ScaledSum { terms, addend }, inputs).fused()
}
