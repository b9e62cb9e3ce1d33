//! Bilinear upsampling by two.

use std::any::Any;

use pulp::Arch;
use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::upsample_bilinear_gradient::UpsampleBilinearGradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{
    Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent, launch::ELEMENTS_PER_GROUP,
};
use crate::{kernel, params};

/// (N, H, W, C) to (N, 2H, 2W, C), half-pixel centres, edges clamped: output i lies at (i + 0.5) / 2 - 0.5, so its two
/// neighbours weigh 3/4 and 1/4 along each axis.
///
/// Inputs: x, and with `addend` what is added to the result.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpsampleBilinear {
    /// Whether there is an addend.
    pub addend: bool,
}

pub(super) const ENTRY: Entry = Entry { name: "upsample_bilinear", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("upsample_bilinear");

params! { struct BilinearParams { count: u32, height: u32, width: u32, channels: u32, has_addend: u32 } }

impl Operator for UpsampleBilinear {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let (x, addend) = inputs.split_at(1.min(inputs.len()));
        let [x] = case::arity(self.name(), x)?;
        let [n, h, w, c] = case::nhwc(self.name(), x)?;
        let out = Shape::from([n, 2 * h, 2 * w, c]);
        if addend != vec![out.clone(); usize::from(self.addend)] {
            return Err(Error::shape(
                self.name(),
                format!("{inputs:?}"),
                "x, and an addend of twice its extents if asked for",
            ));
        }
        Ok(vec![out])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 7 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [_, height, width, channels] = shapes.inputs[0].padded4();
        let item = caps.item(&[channels]);
        let count = shapes.outputs[0].elements() / item;
        let [height, width, channels] = [height, width, channels / item].map(extent);
        let has_addend = u32::from(self.addend);
        let params = BilinearParams { count: extent(count), height, width, channels, has_addend };
        // Without an addend its binding is left to x.
        let bindings = vec![Binding::Input(0), Binding::Input(usize::from(self.addend)), Binding::Output(0)];
        Ok(vec![Launch::new(&KERNEL, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP)).with_item(item)])
    }

    fn batched(&self, shapes: &Shapes) -> Vec<bool> {
        vec![true; shapes.inputs.len()]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, h, w, c] = shapes.inputs[0].padded4();
        // The nearer neighbour is the pixel itself, the farther one before it for even outputs and after it for odd ones.
        let farther =
            |i: usize, n: usize| if i.is_multiple_of(2) { (i / 2).saturating_sub(1) } else { (i / 2 + 1).min(n - 1) };
        let arch = Arch::new();
        outputs[0].par_chunks_mut(2 * w * c).enumerate().for_each(|(row, out)| {
            let (b, i) = (row / (2 * h), row % (2 * h));
            let line = |y: usize| &inputs[0][(b * h + y) * w * c..][..w * c];
            let (near, far) = (line(i / 2), line(farther(i, h)));
            arch.dispatch(|| {
                for (j, out) in out.chunks_exact_mut(c).enumerate() {
                    let (p, q) = (j / 2 * c, farther(j, w) * c);
                    blend([&near[p..p + c], &near[q..q + c], &far[p..p + c], &far[q..q + c]], out);
                    if self.addend {
                        let addend = &inputs[1][(row * 2 * w + j) * c..][..c];
                        out.iter_mut().zip(addend).for_each(|(out, addend)| *out += addend);
                    }
                }
            });
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.inputs[0].padded4();
        // Position of output i on the input axis, as two clamped neighbours and the weight of the second.
        let axis = |i: usize, n: usize| {
            let at = (i as f64 + 0.5) / 2.0 - 0.5;
            #[expect(clippy::cast_possible_truncation, reason = "a whole number in 0..n")]
            let clamp = |x: f64| x.clamp(0.0, (n - 1) as f64) as usize;
            (clamp(at.floor()), clamp(at.floor() + 1.0), at - at.floor())
        };
        let mut out: Vec<f64> = Vec::with_capacity(4 * n * h * w * c);
        for b in 0..n {
            for i in 0..2 * h {
                for j in 0..2 * w {
                    let ((y0, y1, v), (x0, x1, u)) = (axis(i, h), axis(j, w));
                    for q in 0..c {
                        let at = |y: usize, x: usize| inputs[0][((b * h + y) * w + x) * c + q];
                        let top = at(y0, x0) * (1.0 - u) + at(y0, x1) * u;
                        let bottom = at(y1, x0) * (1.0 - u) + at(y1, x1) * u;
                        let addend = if self.addend { inputs[1][out.len()] } else { 0.0 };
                        out.push(top * (1.0 - v) + bottom * v + addend);
                    }
                }
            }
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; inputs.len()]) };
        let dx = graph.apply(UpsampleBilinearGradient, &[dy])?;
        Ok([Some(dx), self.addend.then_some(dy)].into_iter().filter(Option::is_some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `9/16 a + 3/16 b + 3/16 c + 1/16 d`. Only of arguments does the compiler know that they do not overlap.
#[inline(always)]
fn blend([a, b, c, d]: [&[f32]; 4], out: &mut [f32]) {
    let count = out.len();
    let (a, b, c, d) = (&a[..count], &b[..count], &c[..count], &d[..count]);
    for k in 0..count {
        let top = 0.75 * a[k] + 0.25 * b[k];
        let bottom = 0.75 * c[k] + 0.25 * d[k];
        out[k] = 0.75 * top + 0.25 * bottom;
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(UpsampleBilinear::default(), [[2, 3, 5, 3]]),
        Case::new(UpsampleBilinear::default(), [[1, 1, 1, 1]]),
        Case::new(UpsampleBilinear::default(), [[1, 1, 7, 2]]),
        Case::new(UpsampleBilinear::default(), [[1, 17, 31, 33]]),
        Case::new(UpsampleBilinear::default(), [[2, 7, 9, 20]]),
        Case::new(UpsampleBilinear { addend: true }, [[2, 3, 5, 3], [2, 6, 10, 3]]),
        Case::new(UpsampleBilinear { addend: true }, [[1, 17, 31, 33], [1, 34, 62, 33]]),
        Case::new(UpsampleBilinear { addend: true }, [[2, 7, 9, 20], [2, 14, 18, 20]]),
        Case::new(UpsampleBilinear::default(), [[1, 192, 192, 64]]).published_size(),
        Case::new(UpsampleBilinear { addend: true }, [[1, 192, 192, 64], [1, 384, 384, 64]]).published_size(),
    ]
}
