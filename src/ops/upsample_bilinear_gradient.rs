//! The transpose of bilinear upsampling by two.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::{kernel, params};

/// (N, 2H, 2W, C) to (N, H, W, C), the transpose of [`super::UpsampleBilinear`]: along each axis input i collects 3/4 of
/// outputs 2i and 2i + 1 and 1/4 of outputs 2i - 1 and 2i + 2; at the clamped edges the outermost output comes whole.
#[derive(Debug, Clone, Copy)]
pub struct UpsampleBilinearGradient;

pub(super) const ENTRY: Entry = Entry { name: "upsample_bilinear_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("upsample_bilinear_gradient");

params! { struct GradientParams { count: u32, height: u32, width: u32, channels: u32 } }

impl Operator for UpsampleBilinearGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), dy)?;
        if h % 2 != 0 || w % 2 != 0 {
            return Err(Error::shape(self.name(), dy.to_string(), "even height and width"));
        }
        Ok(vec![Shape::from([n, h / 2, w / 2, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 20 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let [_, height, width, channels] = shapes.outputs[0].padded4().map(extent);
        let params = GradientParams { count: extent(count), height, width, channels };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, h, w, c] = shapes.outputs[0].padded4();
        let line = 2 * w * c;
        outputs[0].par_chunks_mut(w * c).enumerate().for_each_init(
            || vec![0.0_f32; line],
            |sum, (row, out)| {
                let (b, y) = (row / h, row % h);
                // First along the columns, into one line of 2 W pixels, then along it.
                sum.fill(0.0);
                for (i, weight) in collected(y, h) {
                    for (s, dy) in sum.iter_mut().zip(&inputs[0][(2 * b * h + i) * line..][..line]) {
                        *s += weight * dy;
                    }
                }
                out.fill(0.0);
                for (x, out) in out.chunks_exact_mut(c).enumerate() {
                    for (j, weight) in collected(x, w) {
                        for (o, s) in out.iter_mut().zip(&sum[j * c..][..c]) {
                            *o += weight * s;
                        }
                    }
                }
            },
        );
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.outputs[0].padded4();
        // Output i of the forward step lies between two clamped neighbours; the second weighs the third value.
        let axis = |i: usize, n: usize| {
            let at = (i as f64 + 0.5) / 2.0 - 0.5;
            #[expect(clippy::cast_possible_truncation, reason = "a whole number in 0..n")]
            let clamp = |x: f64| x.clamp(0.0, (n - 1) as f64) as usize;
            (clamp(at.floor()), clamp(at.floor() + 1.0), at - at.floor())
        };
        let mut out = vec![0.0; n * h * w * c];
        for b in 0..n {
            for i in 0..2 * h {
                for j in 0..2 * w {
                    let ((y0, y1, v), (x0, x1, u)) = (axis(i, h), axis(j, w));
                    for q in 0..c {
                        let dy = inputs[0][((b * 2 * h + i) * 2 * w + j) * c + q];
                        for (y, x, weight) in [
                            (y0, x0, (1.0 - v) * (1.0 - u)),
                            (y0, x1, (1.0 - v) * u),
                            (y1, x0, v * (1.0 - u)),
                            (y1, x1, v * u),
                        ] {
                            out[((b * h + y) * w + x) * c + q] += weight * dy;
                        }
                    }
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
        Case::new(UpsampleBilinearGradient, [[2, 6, 10, 3]]),
        Case::new(UpsampleBilinearGradient, [[1, 2, 2, 1]]),
        Case::new(UpsampleBilinearGradient, [[1, 2, 14, 2]]),
        Case::new(UpsampleBilinearGradient, [[1, 34, 62, 33]]),
        Case::new(UpsampleBilinearGradient, [[1, 384, 384, 64]]).published_size(),
    ]
}

/// The outputs that input i of an axis of n collects from, with their weights; those outside are left out.
fn collected(i: usize, n: usize) -> impl Iterator<Item = (usize, f32)> {
    let (first, last) = (i == 0, i + 1 == n);
    let weights = [
        (2 * i).wrapping_sub(1), // left out where it wraps
        2 * i,
        2 * i + 1,
        2 * i + 2,
    ]
    .into_iter()
    .zip([
        if first { 0.0 } else { 0.25 },
        if first { 1.0 } else { 0.75 },
        if last { 1.0 } else { 0.75 },
        if last { 0.0 } else { 0.25 },
    ]);
    weights.filter(|(_, weight)| *weight > 0.0)
}
