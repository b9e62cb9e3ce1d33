//! Convolutions on the GPU, forward and for the gradient of an input: which kernels run on what.

use super::gpu_winograd;
use super::gpu_work::{GpuWork, MapRead, tile};
use super::matmul;
use crate::graph::{Binding, Caps, Kernel, Tile, extent, launch::ELEMENTS_PER_GROUP, tuning};
use crate::{kernel, params};

pub(super) static PLAIN: Kernel = kernel!("conv2d_plain");
pub(super) static TILED: Kernel = kernel!("conv2d_tiled", "tile", "map_quads");
pub(super) static PHASE: Kernel = kernel!("conv2d_phase");

/// With fewer output channels most of a tile's 64 columns would be empty.
const TILED_FROM: usize = 8;

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
        has_bias: u32,
        doubled: u32,
        slope: f32,
    }
}
params! {
    struct TiledParams {
        lines: u32,
        height: u32,
        width: u32,
        channels_in: u32,
        channels_out: u32,
        kernel_height: u32,
        kernel_width: u32,
        kernel_first: u32,
        top: u32,
        left: u32,
        step: u32,
        row_phase: u32,
        column_phase: u32,
        has_bias: u32,
        slope: f32,
        channels_first: u32,
        slope_in: f32,
    }
}
params! {
    struct PhaseParams {
        kernel_height: u32,
        kernel_width: u32,
        channels: u32,
        top: u32,
        left: u32,
        row_phase: u32,
        column_phase: u32,
        phase_height: u32,
        phase_width: u32,
        phase_top: u32,
        phase_left: u32,
        first: u32,
    }
}

/// A convolution as the kernels take it; with the kernel turned over and the padding mirrored it is the gradient of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct GpuConvolution {
    /// The input: samples, height, width, channels.
    pub(super) x: [usize; 4],
    /// The kernel: height, width, channels in, channels out.
    pub(super) kernel: [usize; 4],
    /// Rows and columns of the kernel before its centre.
    pub(super) before: [usize; 2],
    /// Whether the input is doubled.
    pub(super) doubled: bool,
    /// Whether only the direct form is taken.
    pub(super) exact: bool,
    /// The activation's factor for negative values.
    pub(super) slope: f32,
}

/// What a convolution reads and writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tensors {
    /// The input.
    pub(super) x: MapRead,
    /// The kernel.
    pub(super) kernel: Binding,
    /// The bias, if there is one.
    pub(super) bias: Option<Binding>,
    /// The result.
    pub(super) out: Binding,
}

/// Taps along one axis, and how many of them lie before the centre.
#[derive(Debug, Clone, Copy)]
struct Taps {
    count: usize,
    before: usize,
}

impl Taps {
    /// The taps of a phase of a doubled map: those that tap (phase + i - before) div 2 of the map as it is falls on.
    fn of_phase(self, phase: usize) -> Self {
        // Shifted up by an even number, so that nothing is negative.
        let shift = self.before.next_multiple_of(2);
        let first = (phase + shift - self.before) / 2;
        let last = (phase + shift + self.count - 1 - self.before) / 2;
        Self { count: last + 1 - first, before: shift / 2 - first }
    }
}

impl GpuConvolution {
    /// The variants, the usual one first; none where there are too few channels for tiles.
    pub(super) fn variants(self, caps: &Caps) -> Vec<&'static str> {
        let [.., ci, co] = self.kernel;
        if co < TILED_FROM {
            return Vec::new();
        }
        let filled = Self { kernel: [self.kernel[0], self.kernel[1], ci.next_multiple_of(4), co], ..self };
        let usual = tuning::tiled(tile(caps, co), !self.exact && gpu_winograd::suits(&filled, caps));
        let mut names = vec![tuning::NARROW];
        if !self.exact && gpu_winograd::is_possible(&filled) {
            names.push(tuning::WINOGRAD_NARROW);
        }
        if co.is_multiple_of(4) {
            names.extend(names.clone().iter().map(|name| match *name {
                tuning::NARROW => tuning::WIDE,
                _ => tuning::WINOGRAD_WIDE,
            }));
        }
        names.push(tuning::PLAIN);
        tuning::usual_first(usual, &names)
    }

    /// Adds the launches.
    pub(super) fn add_to(self, work: &mut GpuWork, tensors: Tensors, caps: &Caps) {
        let co = self.kernel[3];
        if caps.plain_kernels || co < TILED_FROM {
            self.plain(work, tensors);
            return;
        }
        let (filled, tensors) = self.filled(work, tensors);
        if !self.exact && gpu_winograd::suits(&filled, caps) {
            gpu_winograd::add_to(work, &filled, tensors, caps);
            return;
        }
        if filled.doubled {
            filled.phases(work, tensors, caps);
        } else if filled.kernel[..2] == [1, 1] {
            filled.product(work, tensors, caps);
        } else {
            filled.tiled(work, tensors, caps);
        }
    }

    /// One tap: a matrix product of pixels by channels.
    fn product(self, work: &mut GpuWork, tensors: Tensors, caps: &Caps) {
        let ([n, height, width, ci], co) = (self.x, self.kernel[3]);
        let e = matmul::Extents { batch: 1, m: n * height * width, n: co, k: ci };
        let ends = matmul::Ends { bias: tensors.bias, addend: None, slope: Some(self.slope) };
        let product = matmul::Product { e, parts: 1, k_part: ci, b_is_shared: true };
        product.add_to(work, tile(caps, co), tensors.x, tensors.kernel, ends, tensors.out);
    }

    /// Whether the kernels that it runs can read this map themselves. Normalising takes registers of the narrow tile: in the direct form
    /// of two maps too many.
    pub(super) fn reads(&self, map: MapRead, caps: &Caps) -> bool {
        let is_tiled = !caps.plain_kernels && self.kernel[3] >= TILED_FROM;
        let is_light = map.affine.is_none() || map.second.is_none() || caps.tile == Tile::Wide;
        is_tiled && (is_light || !self.exact && gpu_winograd::suits(self, caps))
    }

    /// The readable statement.
    fn plain(self, work: &mut GpuWork, tensors: Tensors) {
        let ([n, height, width, _], [kernel_height, kernel_width, ci, co]) = (self.x, self.kernel);
        let step = if self.doubled { 2 } else { 1 };
        let pixels = n * height * width * step * step;
        let params = PlainParams {
            pixels: extent(pixels),
            height: extent(step * height),
            width: extent(step * width),
            channels_in: extent(ci),
            channels_out: extent(co),
            kernel_height: extent(kernel_height),
            kernel_width: extent(kernel_width),
            top: extent(self.before[0]),
            left: extent(self.before[1]),
            has_bias: u32::from(tensors.bias.is_some()),
            doubled: u32::from(self.doubled),
            slope: self.slope,
        };
        let bias = tensors.bias.unwrap_or(tensors.kernel);
        let bindings = vec![tensors.x.first, tensors.kernel, bias, tensors.out];
        work.launch(&PLAIN, bindings, &params, (pixels * co).div_ceil(ELEMENTS_PER_GROUP));
    }

    /// The same with input channels filled up to a multiple of four.
    fn filled(self, work: &mut GpuWork, tensors: Tensors) -> (Self, Tensors) {
        let ([n, height, width, ci], [kernel_height, kernel_width, _, co]) = (self.x, self.kernel);
        let more = ci.next_multiple_of(4);
        let mut x = tensors.x;
        if ci != more {
            x = MapRead::plain(work.filled(x.first, n * height * width, ci, more), more);
        }
        let kernel = work.filled(tensors.kernel, kernel_height * kernel_width, ci * co, more * co);
        let filled = Self { x: [n, height, width, more], kernel: [kernel_height, kernel_width, more, co], ..self };
        (filled, Tensors { x, kernel, ..tensors })
    }

    fn tiled(self, work: &mut GpuWork, tensors: Tensors, caps: &Caps) {
        let [kernel_height, kernel_width, ..] = self.kernel;
        let rows = Taps { count: kernel_height, before: self.before[0] };
        let columns = Taps { count: kernel_width, before: self.before[1] };
        self.tiles(work, tensors, caps, [rows, columns], Place { step: 1, phase: [0, 0], kernel_first: 0 });
    }

    /// A doubled map as four convolutions of the map as it is: 9 taps for 2 x 2 pixels instead of 16 for a kernel of 2 x 2.
    fn phases(self, work: &mut GpuWork, tensors: Tensors, caps: &Caps) {
        let [kernel_height, kernel_width, ci, co] = self.kernel;
        let rows = Taps { count: kernel_height, before: self.before[0] };
        let columns = Taps { count: kernel_width, before: self.before[1] };
        let channels = ci * co;
        let item = caps.item(&[co]);
        let phases =
            [[0, 0], [0, 1], [1, 0], [1, 1]].map(|phase| (phase, rows.of_phase(phase[0]), columns.of_phase(phase[1])));
        let kernels = work.temporary(phases.iter().map(|(_, r, c)| r.count * c.count * channels).sum());
        let mut first = 0;
        for (phase, r, c) in phases {
            let count = r.count * c.count * channels;
            let params = PhaseParams {
                kernel_height: extent(kernel_height),
                kernel_width: extent(kernel_width),
                channels: extent(channels / item),
                top: extent(rows.before),
                left: extent(columns.before),
                row_phase: extent(phase[0]),
                column_phase: extent(phase[1]),
                phase_height: extent(r.count),
                phase_width: extent(c.count),
                phase_top: extent(r.before),
                phase_left: extent(c.before),
                first: extent(first / item),
            };
            let bindings = vec![tensors.kernel, kernels.write()];
            work.launch_of_items(
                (&PHASE, item, Vec::new()),
                bindings,
                &params,
                (count / item).div_ceil(ELEMENTS_PER_GROUP),
            );
            let of_phase = Tensors { kernel: kernels.read(), ..tensors };
            self.tiles(work, of_phase, caps, [r, c], Place { step: 2, phase, kernel_first: first });
            first += count;
        }
    }

    fn tiles(self, work: &mut GpuWork, tensors: Tensors, caps: &Caps, [rows, columns]: [Taps; 2], place: Place) {
        let ([n, height, width, ci], co) = (self.x, self.kernel[3]);
        let tile = tile(caps, co);
        let params = TiledParams {
            lines: extent(n * height),
            height: extent(height),
            width: extent(width),
            channels_in: extent(ci),
            channels_out: extent(co),
            kernel_height: extent(rows.count),
            kernel_width: extent(columns.count),
            kernel_first: extent(place.kernel_first / tile.item()),
            top: extent(rows.before),
            left: extent(columns.before),
            step: extent(place.step),
            row_phase: extent(place.phase[0]),
            column_phase: extent(place.phase[1]),
            has_bias: u32::from(tensors.bias.is_some()),
            slope: self.slope,
            channels_first: extent(tensors.x.channels_first),
            slope_in: tensors.x.slope,
        };
        let pixels = n * height * width.next_multiple_of(tile.thread_rows());
        work.launch_of_items(
            (&TILED, tile.item(), tensors.x.constants()),
            tensors.bindings(),
            &params,
            tile.groups(pixels, co),
        );
    }
}

/// Where a convolution's results go, and where its kernel begins, in floats.
#[derive(Debug, Clone, Copy)]
struct Place {
    step: usize,
    phase: [usize; 2],
    kernel_first: usize,
}

impl Tensors {
    /// In the tiles' order; without a bias its binding is the kernel's.
    fn bindings(self) -> Vec<Binding> {
        let others = [self.kernel, self.bias.unwrap_or(self.kernel), self.out];
        self.x.bindings().into_iter().chain(others).collect()
    }
}
