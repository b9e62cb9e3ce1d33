//! Puts flattened square patches back into a map.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::{kernel, params};

/// (N, (H/P)(W/P), P P C) to (N, H, W, C): the inverse of [`super::ExtractPatches`], a permutation.
#[derive(Debug, Clone, Copy)]
pub struct ExtractPatchesGradient {
    /// The side P of a patch, in pixels.
    pub size: usize,
    /// The height H of the map.
    pub height: usize,
    /// The width W of the map.
    pub width: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "extract_patches_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("extract_patches_gradient");

params! { struct GradientParams { count: u32, size: u32, across: u32, channels: u32 } }

impl Operator for ExtractPatchesGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy] = case::arity(self.name(), inputs)?;
        let (p, h, w) = (self.size, self.height, self.width);
        match dy[..] {
            [n, patches, row]
                if p > 0 && h % p == 0 && w % p == 0 && patches == h / p * (w / p) && row % (p * p) == 0 =>
            {
                Ok(vec![Shape::from([n, h, w, row / (p * p)])])
            }
            _ => Err(Error::shape(self.name(), dy.to_string(), format!("the patches of side {p} of a {h} x {w} map"))),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 0, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let [size, across] = [self.size, self.width / self.size].map(extent);
        let params =
            GradientParams { count: extent(count), size, across, channels: extent(shapes.outputs[0].channels()) };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, h, w, c] = shapes.outputs[0].padded4();
        let p = self.size;
        let (down, across) = (h / p, w / p);
        outputs[0].par_chunks_mut(w * c).enumerate().for_each(|(row, out)| {
            let (b, y) = (row / h, row % h);
            for (j, out) in out.chunks_exact_mut(p * c).enumerate() {
                let at = (((b * down + y / p) * across + j) * p + y % p) * p * c;
                out.copy_from_slice(&inputs[0][at..at + p * c]);
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.outputs[0].padded4();
        let p = self.size;
        let mut out = vec![0.0; inputs[0].len()];
        let mut from = inputs[0].chunks_exact(c);
        for b in 0..n {
            for (i, j) in (0..h / p).flat_map(|i| (0..w / p).map(move |j| (i, j))) {
                for (y, x) in (0..p).flat_map(|y| (0..p).map(move |x| (y, x))) {
                    let at = ((b * h + i * p + y) * w + j * p + x) * c;
                    out[at..at + c].copy_from_slice(from.next().unwrap_or_default());
                }
            }
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(2, 6, 4, [2, 6, 12]),
        case(1, 1, 1, [1, 1, 1]),
        case(16, 32, 48, [1, 6, 1280]),
        case(16, 384, 384, [1, 576, 16384]).published_size(),
    ]
}

fn case(size: usize, height: usize, width: usize, dy: [usize; 3]) -> Case {
    Case::new(ExtractPatchesGradient { size, height, width }, [dy])
}
