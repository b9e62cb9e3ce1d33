//! 2-D convolution with same padding.

use std::any::Any;
use std::sync::Arc;

use super::activation::Activation;
use super::case::{self, Case, Entry};
use super::conv2d_input_gradient::Conv2dInputGradient;
use super::conv2d_weight_gradient::Conv2dWeightGradient;
use super::gpu_convolution::{self, GpuConvolution, Tensors};
use super::gpu_winograd;
use super::gpu_work::{self, GpuWork, MapRead};
use super::leaky_relu_gradient::LeakyReluGradient;
use super::matmul;
use super::prologue::{self, Prologue};
use super::sum_to;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Launch, Operator, Shape, Shapes, TensorId};
use crate::numeric::conv::{self, Geometry};

/// 2-D convolution, stride 1, same padding, with optional bias and fused activation.
///
/// Inputs: x (N, H, W, Ci), kernel (Kh, Kw, Ci, Co), and optionally bias (Co). Output (N, H, W, Co):
/// `y[i, j] = f(bias + sum over a, b of x[i + a - (Kh-1)/2, j + b - (Kw-1)/2] kernel[a, b])`, zeros outside.
/// An even kernel pads at the bottom and right, as TensorFlow's `SAME` does. x may be several inputs, see [`Prologue`]. With `doubled`, x is first upsampled by two with
/// nearest neighbours (and the output is (N, 2H, 2W, Co)), without that map ever being made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conv2d {
    /// Applied to the result.
    pub activation: Activation,
    /// How x is read.
    pub prologue: Prologue,
    /// Whether x is doubled first, as by [`super::UpsampleNearest`].
    pub doubled: bool,
    /// Whether only the direct form is taken, which rounds least.
    pub exact: bool,
}

impl Conv2d {
    /// Output pixels per input pixel along an axis.
    fn step(self) -> usize {
        if self.doubled { 2 } else { 1 }
    }

    /// For the shapes with x in one piece.
    fn gpu_convolution(self, shapes: &Shapes) -> GpuConvolution {
        let kernel = shapes.inputs[1].padded4();
        GpuConvolution {
            x: shapes.inputs[0].padded4(),
            kernel,
            before: [(kernel[0] - 1) / 2, (kernel[1] - 1) / 2],
            doubled: self.doubled,
            exact: self.exact,
            slope: self.activation.negative_slope(),
        }
    }

    /// The work and its temporary memory, with what comes before the convolution: by its kernels if they can, else by one of its own.
    fn gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let (merged, caps) = (self.prologue.merged(shapes), caps.chosen(&self, shapes));
        let convolution = self.gpu_convolution(&merged);
        let work = |x, first| {
            let bias = (merged.inputs.len() > 2).then_some(Binding::Input(first + 1));
            let mut work = GpuWork::default();
            let tensors = Tensors { x, kernel: Binding::Input(first), bias, out: Binding::Output(0) };
            convolution.add_to(&mut work, tensors, &caps);
            work
        };
        match self.prologue.read(shapes).filter(|&map| convolution.reads(map, &caps)) {
            Some(map) => work(map, self.prologue.inputs()),
            None => self.prologue.work(shapes, work(MapRead::plain(Binding::Input(0), convolution.x[3]), 1)),
        }
    }

    /// For the shapes with x in one piece.
    fn geometry(self, shapes: &Shapes) -> Geometry {
        Geometry {
            x: shapes.inputs[0].padded4(),
            kernel: shapes.inputs[1].padded4(),
            doubled: self.doubled,
            exact: self.exact,
        }
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "conv2d",
    kernels: &[
        &gpu_convolution::PLAIN,
        &gpu_convolution::TILED,
        &gpu_convolution::PHASE,
        &gpu_winograd::KERNEL,
        &gpu_winograd::INPUT,
        &gpu_winograd::INPUT_WHOLE,
        &gpu_winograd::OUTPUT,
        &gpu_winograd::OUTPUT_WHOLE,
        &matmul::TILED,
        &gpu_work::FILL_ROWS,
        &prologue::KERNEL,
    ],
    cases,
};

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let merged = self.prologue.merge(self.name(), inputs)?;
        let (x, kernel) = match merged.as_slice() {
            [x, kernel] => (x, kernel),
            [x, kernel, bias] if bias.len() == 1 && bias[0] == kernel.channels() => (x, kernel),
            _ => return Err(Error::shape(self.name(), format!("{inputs:?}"), "x, kernel and optionally bias (Co)")),
        };
        let [n, h, w, ci] = case::nhwc(self.name(), x)?;
        match kernel.nhwc() {
            Some([_, _, kernel_ci, co]) if kernel_ci == ci => {
                Ok(vec![Shape::from([n, self.step() * h, self.step() * w, co])])
            }
            _ => Err(Error::shape(self.name(), format!("kernel {kernel} for input {x}"), "kernel Kh x Kw x Ci x Co")),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let kernel = &self.prologue.merged(shapes).inputs[1];
        Cost { flop: 2 * (shapes.outputs[0].elements() * kernel.rows()) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(self.gpu_work(shapes, caps).launches)
    }

    fn variants(&self, shapes: &Shapes, caps: &Caps) -> Vec<&'static str> {
        self.gpu_convolution(&self.prologue.merged(shapes)).variants(caps)
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        self.gpu_work(shapes, caps).scratch
    }

    fn batched(&self, shapes: &Shapes) -> Vec<bool> {
        let mut batched = self.prologue.batched();
        batched.resize(shapes.inputs.len(), false);
        batched
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        let (x, others) = self.prologue.source(shapes, inputs);
        let (bias, slope) = (others.get(1).copied(), self.activation.negative_slope());
        let geometry = self.geometry(&self.prologue.merged(shapes));
        conv::convolve(geometry, x, others[0], bias, slope, outputs[0], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        conv::scratch(self.geometry(&self.prologue.merged(shapes)))
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (inputs, shapes) = (self.prologue.reference(shapes, inputs), self.prologue.merged(shapes));
        let ([n, h, w, ci], [kh, kw, _, co]) = (shapes.inputs[0].padded4(), shapes.inputs[1].padded4());
        let (top, left, step) = ((kh - 1) / 2, (kw - 1) / 2, self.step());
        let mut out = Vec::with_capacity(shapes.outputs[0].elements());
        for b in 0..n {
            for i in 0..step * h {
                for j in 0..step * w {
                    for o in 0..co {
                        let mut sum = inputs.get(2).map_or(0.0, |bias| bias[o]);
                        for a in 0..kh {
                            for c in 0..kw {
                                let (y, x) = ((i + a).wrapping_sub(top), (j + c).wrapping_sub(left));
                                let (y, x) = (y / step, x / step);
                                if y < h && x < w {
                                    for q in 0..ci {
                                        sum += inputs[0][((b * h + y) * w + x) * ci + q]
                                            * inputs[1][((a * kw + c) * ci + q) * co + o];
                                    }
                                }
                            }
                        }
                        out.push(self.activation.reference(sum));
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
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        if !self.prologue.is_plain() {
            return Err(Error::NoGradient { operator: self.name() });
        }
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; inputs.len()]) };
        let dz = match self.activation {
            Activation::Identity => dy,
            Activation::LeakyRelu { slope } => graph.apply(LeakyReluGradient { slope }, &[outputs[0], dy])?,
        };
        let [kh, kw, ..] = graph.shape(inputs[1]).padded4();
        let (doubled, exact) = (self.doubled, self.exact);
        let dx = graph.apply(Conv2dInputGradient { doubled, exact }, &[dz, inputs[1]])?;
        let of_kernel = Conv2dWeightGradient { kernel: [kh, kw], doubled, exact, prologue: Prologue::default() };
        let dw = graph.apply(of_kernel, &[inputs[0], dz])?;
        let mut gradients = vec![Some(dx), Some(dw)];
        if let Some(&bias) = inputs.get(2) {
            gradients.push(Some(sum_to::reduced(graph, dz, bias)?));
        }
        Ok(gradients)
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
        case([2, 5, 7, 3], [3, 3, 3, 5], true, LEAKY),
        case([1, 1, 1, 1], [3, 3, 1, 1], false, Activation::Identity),
        case([1, 8, 8, 6], [2, 2, 6, 4], false, Activation::Identity),
        case([2, 9, 17, 8], [1, 1, 8, 8], true, Activation::Identity),
        case([1, 13, 33, 16], [3, 3, 16, 65], true, LEAKY),
        case([1, 16, 64, 12], [3, 3, 12, 64], true, LEAKY),
        case([2, 17, 31, 33], [3, 3, 33, 31], false, LEAKY),
        case([2, 9, 14, 33], [3, 3, 33, 38], true, LEAKY),
        case([1, 7, 65, 64], [2, 2, 64, 32], true, Activation::Identity),
        doubled([1, 1, 1, 1], [2, 2, 1, 1], false),
        doubled([2, 3, 5, 3], [3, 3, 3, 5], true),
        doubled([1, 7, 13, 8], [2, 2, 8, 12], true),
        doubled([2, 9, 25, 16], [2, 2, 16, 33], false),
        fused([2, 5, 7, 3], Prologue { normalised: Some(LEAKY), joined: false }, [3, 3, 3, 5], false),
        fused([2, 9, 13, 16], Prologue { normalised: Some(LEAKY), joined: true }, [3, 3, 37, 20], false),
        fused([1, 8, 11, 5], Prologue { normalised: None, joined: true }, [2, 2, 26, 9], false),
        fused(
            [1, 12, 17, 32],
            Prologue { normalised: Some(Activation::Identity), joined: true },
            [3, 3, 64, 36],
            false,
        ),
        fused([2, 5, 6, 16], Prologue { normalised: Some(LEAKY), joined: false }, [2, 2, 16, 12], true),
        case([1, 384, 384, 64], [3, 3, 64, 64], true, LEAKY).published_size(),
        case([1, 384, 384, 128], [3, 3, 128, 64], true, LEAKY).published_size(),
        doubled([1, 192, 192, 128], [2, 2, 128, 64], true).published_size(),
        case([1, 192, 192, 128], [3, 3, 128, 128], true, LEAKY).published_size(),
        case([1, 96, 96, 256], [3, 3, 256, 256], true, LEAKY).published_size(),
        case([1, 48, 48, 512], [3, 3, 512, 512], true, LEAKY).published_size(),
    ]
}

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.2 };

fn case(x: [usize; 4], kernel: [usize; 4], bias: bool, activation: Activation) -> Case {
    with_bias(Conv2d { activation, ..Conv2d::default() }, x, kernel, bias)
}

fn doubled(x: [usize; 4], kernel: [usize; 4], bias: bool) -> Case {
    with_bias(Conv2d { doubled: true, ..Conv2d::default() }, x, kernel, bias)
}

fn with_bias(operator: Conv2d, x: [usize; 4], kernel: [usize; 4], bias: bool) -> Case {
    let (x, kernel, co) = (Shape::from(x), Shape::from(kernel), kernel[3]);
    let case =
        if bias { Case::new(operator, [x, kernel, Shape::from([co])]) } else { Case::new(operator, [x, kernel]) };
    case.tolerance(1e-6)
}

/// A map with a prologue; the kernel says how many channels it has in all.
fn fused(x: [usize; 4], prologue: Prologue, kernel: [usize; 4], doubled: bool) -> Case {
    let operator = Conv2d { activation: LEAKY, prologue, doubled, exact: false };
    prologue::case(operator, prologue, x.into(), kernel[2], &[kernel.into(), [kernel[3]].into()]).tolerance(1e-6)
}
