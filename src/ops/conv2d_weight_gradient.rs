//! Gradient of a convolution's kernel.

use std::any::Any;
use std::sync::Arc;

use super::activation::Activation;
use super::case::{self, Case, Entry};
use super::gpu_winograd;
use super::gpu_winograd_weight_gradient as winograd;
use super::gpu_work::{self, GpuWork, MapRead, tile};
use super::matmul;
use super::prologue::{self, Prologue};
use super::sum_to;
use super::upsample_nearest;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, Tile, extent, tuning};
use crate::numeric::conv_weight_gradient;
use crate::{kernel, params};

/// The gradient of a [`super::Conv2d`]'s kernel.
///
/// Inputs: x (N, H, W, Ci), the convolution's input, and dy (N, H, W, Co), the gradient of its result. Output (Kh, Kw, Ci, Co):
/// `dw[a, b] = sum over n, i, j of x[n, i + a - (Kh-1)/2, j + b - (Kw-1)/2]^T dy[n, i, j]`, zeros outside x. x may be several inputs, see
/// [`Prologue`]; with `doubled` it is (N, H/2, W/2, Ci).
#[derive(Debug, Clone, Copy, Default)]
pub struct Conv2dWeightGradient {
    /// The kernel's height and width.
    pub kernel: [usize; 2],
    /// How x is read.
    pub prologue: Prologue,
    /// Whether the convolution doubled x first.
    pub doubled: bool,
    /// Whether only the direct form is taken, which rounds least.
    pub exact: bool,
}

pub(super) const ENTRY: Entry = Entry {
    name: "conv2d_weight_gradient",
    kernels: &[
        &PLAIN,
        &TILED,
        &SHARED,
        &gpu_work::FILL_ROWS,
        &sum_to::KERNEL,
        &matmul::SUM,
        &upsample_nearest::KERNEL,
        &prologue::KERNEL,
        &gpu_winograd::INPUT,
        &gpu_winograd::INPUT_WHOLE,
        &winograd::OUTPUT_GRADIENT,
        &winograd::OUTPUT_GRADIENT_WHOLE,
        &winograd::KERNEL_GRADIENT,
    ],
    cases,
};

pub(super) static PLAIN: Kernel = kernel!("conv2d_weight_gradient_plain");
pub(super) static TILED: Kernel = kernel!("conv2d_weight_gradient_tiled", "tile", "map_quads");
pub(super) static SHARED: Kernel = kernel!("conv2d_weight_gradient_shared", "map_quads");

/// With fewer output channels most of a tile's 64 columns would be empty.
const TILED_FROM: usize = 8;
/// Workgroups of tiles, narrow, wide and in workgroup memory, and threads of the plain kernel, that the pixels are split for.
const NARROW_GROUPS: usize = 4096;
const WIDE_GROUPS: usize = 256;
const SHARED_GROUPS: usize = 1024;
const THREADS: usize = 1 << 16;
/// Threads of a group whose tiles lie in workgroup memory, and that memory.
const SHARED_THREADS: u32 = 256;
const SHARED_BYTES: u32 = 12 << 10;
/// A part has at least about this many pixels.
const PART_PIXELS: usize = 256;
/// Temporary memory for the parts, in floats: 32 MiB.
const MOST_SCRATCH: usize = 8 << 20;

params! {
    struct PlainParams {
        pixels: u32,
        height: u32,
        width: u32,
        channels_in: u32,
        channels_out: u32,
        kernel_height: u32,
        kernel_width: u32,
        top: u32,
        left: u32,
        parts: u32,
        part_pixels: u32,
    }
}
params! {
    struct TiledParams {
        pixels: u32,
        height: u32,
        width: u32,
        channels_in: u32,
        channels_filled: u32,
        channels_out: u32,
        kernel_height: u32,
        kernel_width: u32,
        top: u32,
        left: u32,
        parts: u32,
        part_pixels: u32,
        channels_first: u32,
        slope_in: f32,
        adds: u32,
    }
}

/// The extents of a gradient of weights. A dense layer is a kernel of one tap on a map of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    /// Samples, height, width, channels in.
    pub(super) x: [usize; 4],
    /// Height and width of the kernel.
    pub(super) kernel: [usize; 2],
    /// Channels out.
    pub(super) co: usize,
    /// Whether only the direct form is taken.
    pub(super) exact: bool,
}

impl Extents {
    fn pixels(self) -> usize {
        self.x[0] * self.x[1] * self.x[2]
    }

    fn weights(self) -> usize {
        self.kernel[0] * self.kernel[1] * self.x[3] * self.co
    }

    /// Into how many parts of how many pixels the sums are split, where so many are wanted.
    fn parts(self, wanted: usize) -> (usize, usize) {
        let most = self.pixels().div_ceil(PART_PIXELS).min(MOST_SCRATCH / self.weights());
        let length = self.pixels().div_ceil(wanted.min(most).max(1)).next_multiple_of(16);
        (self.pixels().div_ceil(length), length)
    }

    /// The variants, the usual one first; none where there are too few channels for tiles.
    pub(super) fn variants(self, caps: &Caps) -> Vec<&'static str> {
        if self.co < TILED_FROM {
            return Vec::new();
        }
        let usual = match (self.is_shared(caps), winograd::suits(&self, caps)) {
            (true, false) => tuning::SHARED,
            (true, true) => tuning::WINOGRAD_SHARED,
            (false, winograd) => tuning::tiled(tile(caps, self.co), winograd),
        };
        let mut names = tuning::variants_of_product(tile(caps, self.co), self.co);
        if self.can_be_shared(caps) {
            names.push(tuning::SHARED);
        }
        if winograd::is_possible(&self) {
            let with_tiles = names.clone().into_iter().filter_map(|name| match name {
                tuning::NARROW => Some(tuning::WINOGRAD_NARROW),
                tuning::WIDE => Some(tuning::WINOGRAD_WIDE),
                tuning::SHARED => Some(tuning::WINOGRAD_SHARED),
                _ => None,
            });
            names.extend(with_tiles);
        }
        tuning::usual_first(usual, &names)
    }

    /// Whether tiles in workgroup memory fit the device and the channels.
    fn can_be_shared(self, caps: &Caps) -> bool {
        let fits = caps.max_invocations >= SHARED_THREADS && caps.max_workgroup_bytes >= SHARED_BYTES;
        fits && self.co >= TILED_FROM && self.co.is_multiple_of(4)
    }

    /// Whether its tiles lie in workgroup memory.
    pub(super) fn is_shared(self, caps: &Caps) -> bool {
        caps.shared_tiles && !caps.plain_kernels && self.can_be_shared(caps)
    }

    /// Whether the kernel that it runs can read this map itself. Normalising takes too many registers of the narrow tile in the direct form.
    pub(super) fn reads(self, map: MapRead, caps: &Caps) -> bool {
        let is_tiled = !caps.plain_kernels && self.co >= TILED_FROM;
        let is_light = map.affine.is_none() || self.is_shared(caps) || tile(caps, self.co) == Tile::Wide;
        is_tiled && (is_light || winograd::suits(&self, caps))
    }

    /// The work that makes output 0 from the map x and dy.
    pub(super) fn work(self, x: MapRead, dy: Binding, caps: &Caps) -> GpuWork {
        let ([_, height, width, channels_in], [kernel_height, kernel_width]) = (self.x, self.kernel);
        let is_plain = caps.plain_kernels || self.co < TILED_FROM;
        if !is_plain && winograd::suits(&self, caps) {
            let mut work = GpuWork::default();
            let x = self.filled(&mut work, x);
            return winograd::work(work, self, x, dy, caps);
        }
        let (parts, part_pixels) = if caps.plain_kernels {
            (1, self.pixels())
        } else if is_plain {
            self.parts(THREADS / self.weights())
        } else {
            let groups = match tile(caps, self.co) {
                _ if self.is_shared(caps) => SHARED_GROUPS,
                Tile::Wide => WIDE_GROUPS,
                Tile::Narrow => NARROW_GROUPS,
            };
            self.parts(groups / self.tiles(caps))
        };
        let mut work = GpuWork::default();
        let to = if parts == 1 { Binding::Output(0) } else { work.temporary(parts * self.weights()).write() };
        if is_plain {
            let params = PlainParams {
                pixels: extent(self.pixels()),
                height: extent(height),
                width: extent(width),
                channels_in: extent(channels_in),
                channels_out: extent(self.co),
                kernel_height: extent(kernel_height),
                kernel_width: extent(kernel_width),
                top: extent((kernel_height - 1) / 2),
                left: extent((kernel_width - 1) / 2),
                parts: extent(parts),
                part_pixels: extent(part_pixels),
            };
            let bindings = vec![x.first, dy, to];
            work.launch(&PLAIN, bindings, &params, (parts * self.weights()).div_ceil(256));
        } else {
            let x = self.filled(&mut work, x);
            self.add_tiles(&mut work, (x, dy), to, (parts, part_pixels), false, caps);
        }
        if parts > 1 {
            // The parts are temporary tensor 0. Where threads are few, one makes a sum alone.
            let sum = match tile(caps, self.co) {
                Tile::Wide => {
                    let rows = self.weights() / self.co;
                    matmul::sum_of_parts(Binding::ScratchIn(0), [parts, rows, self.co], None)
                }
                Tile::Narrow => sum_to::sum_of_parts(parts, self.weights()),
            };
            work.launches.push(sum);
        }
        work
    }

    /// The map with its channels filled up to a multiple of four.
    fn filled(self, work: &mut GpuWork, x: MapRead) -> MapRead {
        let (channels, filled) = (self.x[3], self.x[3].next_multiple_of(4));
        if channels == filled {
            return x;
        }
        MapRead::plain(work.filled(x.first, self.pixels(), channels, filled), filled)
    }

    /// Adds the launch of the tiles, for x in channels that are a multiple of four: one result for each of so many parts of so many pixels, which is added to what
    /// is there if `adds`.
    pub(super) fn add_tiles(
        self,
        work: &mut GpuWork,
        (x, dy): (MapRead, Binding),
        to: Binding,
        (parts, part_pixels): (usize, usize),
        adds: bool,
        caps: &Caps,
    ) {
        let ([_, height, width, channels_in], [kernel_height, kernel_width]) = (self.x, self.kernel);
        let channels_filled = channels_in.next_multiple_of(4);
        let params = TiledParams {
            pixels: extent(self.pixels()),
            height: extent(height),
            width: extent(width),
            channels_in: extent(channels_in),
            channels_filled: extent(channels_filled),
            channels_out: extent(self.co),
            kernel_height: extent(kernel_height),
            kernel_width: extent(kernel_width),
            top: extent((kernel_height - 1) / 2),
            left: extent((kernel_width - 1) / 2),
            parts: extent(parts),
            part_pixels: extent(part_pixels),
            channels_first: extent(x.channels_first),
            slope_in: x.slope,
            adds: u32::from(adds),
        };
        let bindings = x.bindings().into_iter().chain([dy, to]).collect();
        let (kernel, item) = if self.is_shared(caps) { (&SHARED, 4) } else { (&TILED, tile(caps, self.co).item()) };
        let groups = parts * self.tiles(caps);
        work.launch_of_items((kernel, item, x.constants()), bindings, &params, groups);
    }

    /// Groups of one part.
    pub(super) fn tiles(self, caps: &Caps) -> usize {
        let rows = self.kernel[0] * self.kernel[1] * self.x[3].next_multiple_of(4);
        if self.is_shared(caps) {
            rows.div_ceil(128) * self.co.div_ceil(64)
        } else {
            tile(caps, self.co).groups(rows, self.co)
        }
    }
}

impl Conv2dWeightGradient {
    /// For the shapes with x in one piece, doubled if it is to be.
    fn extents(self, shapes: &Shapes) -> Extents {
        Extents {
            x: shapes.inputs[0].padded4(),
            kernel: self.kernel,
            co: shapes.inputs[1].channels(),
            exact: self.exact,
        }
    }

    /// The shapes with x in one piece.
    fn merged(self, shapes: &Shapes) -> Shapes {
        self.prologue.merged(shapes)
    }

    /// And doubled, if it is to be.
    fn large(self, merged: &Shapes) -> Shapes {
        let (x, dy) = (&merged.inputs[0], &merged.inputs[1]);
        Shapes { inputs: vec![dy.with_channels(x.channels()), dy.clone()], outputs: merged.outputs.clone() }
    }
}

impl Conv2dWeightGradient {
    /// The work and its temporary memory, with what comes before it: by its kernel if it can, else by one of its own.
    fn gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let (merged, caps) = (self.merged(shapes), &caps.chosen(&self, shapes));
        let large = self.large(&merged);
        let extents = self.extents(&large);
        if let Some(map) = self.prologue.read(shapes).filter(|&map| !self.doubled && extents.reads(map, caps)) {
            return extents.work(map, Binding::Input(self.prologue.inputs()), caps);
        }
        let plain = MapRead::plain(Binding::Input(0), large.inputs[0].channels());
        let mut work = extents.work(plain, Binding::Input(1), caps);
        if self.doubled {
            let x = work.temporary(large.inputs[0].elements());
            let from_large = |binding| if binding == Binding::Input(0) { x.read() } else { binding };
            let to_large = |binding| if binding == Binding::Output(0) { x.write() } else { binding };
            let plain = std::mem::take(&mut work.launches).into_iter().map(|launch| launch.rebound(from_large));
            work.launches = plain.collect();
            work.launches.insert(0, upsample_nearest::launch(&large.inputs[0], caps).rebound(to_large));
        }
        self.prologue.work(shapes, work)
    }
}

impl Operator for Conv2dWeightGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let merged = self.prologue.merge(self.name(), inputs)?;
        let [x, dy] = case::arity(self.name(), &merged)?;
        let [n, h, w, ci] = case::nhwc(self.name(), x)?;
        let [kh, kw] = self.kernel;
        let step = if self.doubled { 2 } else { 1 };
        match dy.nhwc() {
            Some([dn, dh, dw, co]) if [n, step * h, step * w] == [dn, dh, dw] && kh > 0 && kw > 0 => {
                Ok(vec![Shape::from([kh, kw, ci, co])])
            }
            _ => Err(Error::shape(
                self.name(),
                format!("{x} and {dy} for a kernel of {kh} x {kw}"),
                "x and dy of the same batch, height and width, and a kernel of at least one tap",
            )),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let e = self.extents(&self.large(&self.merged(shapes)));
        Cost { flop: 2 * (e.pixels() * e.weights()) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(self.gpu_work(shapes, caps).launches)
    }

    fn variants(&self, shapes: &Shapes, caps: &Caps) -> Vec<&'static str> {
        self.extents(&self.large(&self.merged(shapes))).variants(caps)
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        self.gpu_work(shapes, caps).scratch
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        let large = self.large(&self.merged(shapes));
        let (extents, kernel) = (large.inputs[0].padded4(), shapes.outputs[0].padded4());
        let (x, others) = self.prologue.source(shapes, inputs);
        let x = (x, self.doubled);
        conv_weight_gradient::weight_gradient(extents, kernel, self.exact, x, others[0], outputs[0], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        let large = self.large(&self.merged(shapes));
        let (extents, kernel) = (large.inputs[0].padded4(), shapes.outputs[0].padded4());
        conv_weight_gradient::weight_gradient_scratch(extents, kernel, self.doubled, self.exact)
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let inputs = self.prologue.reference(shapes, inputs);
        let large = self.large(&self.merged(shapes));
        let ([n, h, w, ci], [kh, kw, _, co]) = (large.inputs[0].padded4(), shapes.outputs[0].padded4());
        let (top, left, step) = ((kh - 1) / 2, (kw - 1) / 2, if self.doubled { 2 } else { 1 });
        let mut out = vec![0.0; kh * kw * ci * co];
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    for (tap, out) in out.chunks_exact_mut(ci * co).enumerate() {
                        let (y, x) = ((i + tap / kw).wrapping_sub(top), (j + tap % kw).wrapping_sub(left));
                        if y < h && x < w {
                            let x = &inputs[0][((b * h + y) / step * (w / step) + x / step) * ci..][..ci];
                            let dy = &inputs[1][((b * h + i) * w + j) * co..][..co];
                            for (at, out) in out.iter_mut().enumerate() {
                                *out += x[at / co] * dy[at % co];
                            }
                        }
                    }
                }
            }
        }
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
        case([2, 5, 7, 3], [3, 3], 5),
        case([1, 1, 1, 1], [3, 3], 1),
        case([1, 8, 8, 6], [2, 2], 4),
        case([2, 9, 17, 8], [1, 1], 8),
        case([1, 13, 33, 16], [3, 3], 65),
        case([2, 31, 29, 12], [3, 3], 64),
        case([2, 17, 31, 33], [3, 3], 31),
        case([1, 7, 65, 64], [2, 2], 32),
        case([3, 40, 1, 5], [2, 3], 2),
        case([2, 46, 61, 24], [3, 3], 40),
        case([1, 61, 125, 4], [3, 3], 252),
        case([2, 33, 34, 40], [3, 3], 33),
        doubled([2, 3, 5, 3], [2, 2], 5),
        doubled([1, 9, 13, 17], [2, 2], 33),
        doubled([1, 7, 6, 4], [3, 3], 8),
        fused([2, 5, 7, 3], Prologue { normalised: Some(LEAKY), joined: false }, 3, 5),
        fused([2, 9, 13, 16], Prologue { normalised: Some(LEAKY), joined: true }, 37, 20),
        fused([1, 8, 11, 5], Prologue { normalised: None, joined: true }, 26, 9),
        fused([1, 12, 17, 32], Prologue { normalised: Some(Activation::Identity), joined: true }, 64, 36),
        case([1, 384, 384, 64], [3, 3], 64).published_size(),
        case([1, 384, 384, 128], [3, 3], 64).published_size(),
        doubled([1, 192, 192, 128], [2, 2], 64).published_size(),
        case([1, 192, 192, 128], [3, 3], 128).published_size(),
        case([1, 96, 96, 256], [3, 3], 256).published_size(),
        case([1, 48, 48, 512], [3, 3], 512).published_size(),
    ]
}

fn case(x: [usize; 4], kernel: [usize; 2], co: usize) -> Case {
    let dy = [x[0], x[1], x[2], co];
    Case::new(Conv2dWeightGradient { kernel, ..Conv2dWeightGradient::default() }, [x, dy]).tolerance(1e-6)
}

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.2 };

fn doubled(x: [usize; 4], kernel: [usize; 2], co: usize) -> Case {
    let dy = [x[0], 2 * x[1], 2 * x[2], co];
    Case::new(Conv2dWeightGradient { kernel, doubled: true, ..Conv2dWeightGradient::default() }, [x, dy])
        .tolerance(1e-6)
}

/// A map with a prologue and `ci` channels in all, and a kernel of 3 x 3.
fn fused(x: [usize; 4], prologue: Prologue, ci: usize, co: usize) -> Case {
    let operator = Conv2dWeightGradient { kernel: [3, 3], prologue, ..Conv2dWeightGradient::default() };
    let dy = Shape::from([x[0], x[1], x[2], co]);
    prologue::case(operator, prologue, x.into(), ci, &[dy]).tolerance(1e-6)
}
