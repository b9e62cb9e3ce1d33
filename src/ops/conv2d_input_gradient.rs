//! Gradient of a convolution's input.

use std::any::Any;
use std::sync::Arc;

use super::case::{self, Case, Entry};
use super::gpu_convolution::{self, GpuConvolution, Tensors};
use super::gpu_winograd;
use super::gpu_work::{self, GpuWork, MapRead};
use super::matmul;
use super::upsample_nearest_gradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Launch, Operator, Shape, Shapes};
use crate::numeric::conv::{self, Geometry};

/// The gradient of a [`super::Conv2d`]'s input.
///
/// Inputs: dy (N, H, W, Co), the gradient of the result, and the kernel (Kh, Kw, Ci, Co). Output (N, H, W, Ci): a convolution
/// of dy with the kernel flipped and its channels exchanged, padded the other way round:
/// `dx[i, j] = sum over a, b of dy[i + (Kh-1)/2 - a, j + (Kw-1)/2 - b] kernel[a, b]^T`, zeros outside dy.
/// With `doubled`, the sum of that over the four pixels that each of the small map's became: (N, H/2, W/2, Ci).
#[derive(Debug, Clone, Copy, Default)]
pub struct Conv2dInputGradient {
    /// Whether the convolution doubled its input first.
    pub doubled: bool,
    /// Whether only the direct form is taken, which rounds least.
    pub exact: bool,
}

pub(super) const ENTRY: Entry = Entry {
    name: "conv2d_input_gradient",
    kernels: &[
        &gpu_work::TRANSPOSE,
        &gpu_work::FILL_ROWS,
        &gpu_convolution::PLAIN,
        &gpu_convolution::TILED,
        &gpu_winograd::KERNEL,
        &gpu_winograd::INPUT,
        &gpu_winograd::INPUT_WHOLE,
        &gpu_winograd::OUTPUT,
        &gpu_winograd::OUTPUT_WHOLE,
        &matmul::TILED,
        &upsample_nearest_gradient::KERNEL,
    ],
    cases,
};

impl Conv2dInputGradient {
    /// Pixels of dy per pixel of the result along an axis.
    fn step(self) -> usize {
        if self.doubled { 2 } else { 1 }
    }

    /// Of the convolution.
    fn geometry(self, shapes: &Shapes) -> Geometry {
        let (x, kernel) = (shapes.outputs[0].padded4(), shapes.inputs[1].padded4());
        Geometry { x, kernel, doubled: self.doubled, exact: self.exact }
    }

    fn gpu_convolution(self, shapes: &Shapes) -> GpuConvolution {
        let [kh, kw, ci, co] = shapes.inputs[1].padded4();
        GpuConvolution {
            x: shapes.inputs[0].padded4(),
            kernel: [kh, kw, co, ci],
            before: [kh - 1 - (kh - 1) / 2, kw - 1 - (kw - 1) / 2],
            doubled: false,
            exact: self.exact,
            slope: 1.0,
        }
    }

    fn gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let (convolution, caps) = (self.gpu_convolution(shapes), &caps.chosen(&self, shapes));
        let [kh, kw, ci, co] = shapes.inputs[1].padded4();
        let mut work = GpuWork::default();
        // Counted backwards, rows and columns of taps are flipped together.
        let kernel = work.transposed(Binding::Input(1), [kh * kw, ci, co], true);
        let mut tensors =
            Tensors { x: MapRead::plain(Binding::Input(0), co), kernel, bias: None, out: Binding::Output(0) };
        if !self.doubled {
            convolution.add_to(&mut work, tensors, caps);
            return work;
        }
        let large = work.temporary(shapes.inputs[0].with_channels(ci).elements());
        tensors.out = large.write();
        convolution.add_to(&mut work, tensors, caps);
        let from_large = |binding| if binding == Binding::Input(0) { large.read() } else { binding };
        work.launches.push(upsample_nearest_gradient::launch(&shapes.outputs[0]).rebound(from_large));
        work
    }
}

impl Operator for Conv2dInputGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy, kernel] = case::arity(self.name(), inputs)?;
        let [n, h, w, co] = case::nhwc(self.name(), dy)?;
        match kernel.nhwc() {
            Some([_, _, ci, kernel_co]) if kernel_co == co && (!self.doubled || h % 2 == 0 && w % 2 == 0) => {
                Ok(vec![Shape::from([n, h / self.step(), w / self.step(), ci])])
            }
            _ => Err(Error::shape(self.name(), format!("kernel {kernel} for dy {dy}"), "kernel Kh x Kw x Ci x Co")),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let taps = shapes.inputs[1].elements() / shapes.inputs[1].channels();
        Cost { flop: 2 * (shapes.inputs[0].elements() * taps) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(self.gpu_work(shapes, caps).launches)
    }

    fn variants(&self, shapes: &Shapes, caps: &Caps) -> Vec<&'static str> {
        self.gpu_convolution(shapes).variants(caps)
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        self.gpu_work(shapes, caps).scratch
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        conv::input_gradient(self.geometry(shapes), inputs[0], inputs[1], outputs[0], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        conv::input_gradient_scratch(self.geometry(shapes))
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let ([n, h, w, co], [kh, kw, ci, _]) = (shapes.inputs[0].padded4(), shapes.inputs[1].padded4());
        let (top, left, step) = ((kh - 1) / 2, (kw - 1) / 2, self.step());
        let mut out = vec![0.0; shapes.outputs[0].elements()];
        // Each result passes its gradient on to what it was made of.
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    let dy = &inputs[0][((b * h + i) * w + j) * co..][..co];
                    for (tap, kernel) in inputs[1].chunks_exact(ci * co).enumerate() {
                        let (y, x) = ((i + tap / kw).wrapping_sub(top), (j + tap % kw).wrapping_sub(left));
                        if y < h && x < w {
                            let out = &mut out[((b * h + y) / step * (w / step) + x / step) * ci..][..ci];
                            for (out, kernel) in out.iter_mut().zip(kernel.chunks_exact(co)) {
                                *out += kernel.iter().zip(dy).map(|(k, d)| k * d).sum::<f64>();
                            }
                        }
                    }
                }
            }
        }
        debug_assert_eq!(inputs[1].len(), kh * kw * ci * co);
        vec![out]
    }

    fn exact(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { exact: true, ..*self }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 5], [3, 3, 3, 5]),
        case([1, 1, 1, 1], [3, 3, 1, 1]),
        case([1, 8, 8, 4], [2, 2, 6, 4]),
        case([2, 9, 17, 8], [1, 1, 8, 8]),
        case([1, 13, 33, 65], [3, 3, 16, 65]),
        case([1, 16, 64, 64], [3, 3, 12, 64]),
        case([2, 17, 31, 31], [3, 3, 33, 31]),
        case([2, 9, 14, 33], [3, 3, 38, 33]),
        case([1, 7, 65, 32], [2, 2, 64, 32]),
        case([2, 6, 5, 3], [4, 1, 2, 3]),
        doubled([2, 6, 10, 5], [2, 2, 3, 5]),
        doubled([1, 2, 2, 1], [3, 3, 1, 1]),
        doubled([2, 18, 26, 17], [2, 2, 33, 17]),
        case([1, 384, 384, 64], [3, 3, 64, 64]).published_size(),
        case([1, 384, 384, 64], [3, 3, 128, 64]).published_size(),
        doubled([1, 384, 384, 64], [2, 2, 128, 64]).published_size(),
        case([1, 192, 192, 128], [3, 3, 128, 128]).published_size(),
        case([1, 96, 96, 256], [3, 3, 256, 256]).published_size(),
        case([1, 48, 48, 512], [3, 3, 512, 512]).published_size(),
    ]
}

fn case(dy: [usize; 4], kernel: [usize; 4]) -> Case {
    Case::new(Conv2dInputGradient::default(), [dy, kernel]).tolerance(1e-6)
}

fn doubled(dy: [usize; 4], kernel: [usize; 4]) -> Case {
    Case::new(Conv2dInputGradient { doubled: true, exact: false }, [dy, kernel]).tolerance(1e-6)
}
