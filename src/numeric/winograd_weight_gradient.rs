//! The gradient of a 3 x 3 convolution with respect to its kernel in Winograd's form: the 4 x 4 tiles of dy are the kernel
//! that makes 3 x 3 outputs of the 6 x 6 tiles of x, F(3x3, 4x4); for 2 x 2 kernels, F(2x2, 5x5).
//!
//! The 36 values per tile are multiplied and summed over tiles, and only the sums are transformed back, once. As in the direct form,
//! a fixed number of groups of rows has sums of its own, added up in f64. A task takes one group and up to
//! [`TASK_BLOCKS`] blocks of input channels.

#![expect(
    clippy::needless_range_loop,
    reason = "transposing reads by index; iterators' closures are not always compiled for the machine's vectors"
)]

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::channel_block::{MAX_BLOCK, block};
use super::conv_weight_gradient::add_outer_products;
use super::map_source::MapSource;
use super::thread_buffer::{at_least, with_thread_buffer};
use super::winograd_transform::{
    CHANNELS, Doubled, Form, Gradient, Image, Input, MOST_SIDE, MOST_TAPS, Places, Three, Two, narrow,
};

/// Most blocks of input channels of a task: each task transforms all of dy.
const TASK_BLOCKS: usize = 4;
/// Most groups of rows, and most floats for all their sums (more groups than one need them).
const GROUPS: usize = 16;
const MOST_SUMS: usize = 8 << 20;
/// Fewest tiles of a group, if there are so many: sums that are hardly used are not worth their memory.
const GROUP_TILES: usize = 128;
/// Tiles of a strip: as many as keep its transforms within this many floats, between these. Short sums round less than long ones.
const LEAST_TILES: usize = 24;
const MOST_TILES: usize = 32;
const STRIP: usize = 192 << 10;

/// Whether this is worth its transforms, by measurement. The direct form fills up blocks of channels just the same.
pub(super) fn suits([_, h, w, _]: [usize; 4], kernel: [usize; 4], doubled: bool) -> bool {
    let [kh, kw, ..] = kernel;
    let (out, _) = Kind::of(kernel, doubled).extents();
    (2..=MOST_TAPS).contains(&kh) && (2..=MOST_TAPS).contains(&kw) && h >= 2 * out && w >= 2 * out
}

/// Most points of the forms here.
const POINTS: usize = Three::POINTS;

/// The forms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Three,
    Two,
    /// x is read as it is, not doubled.
    Doubled,
}

impl Kind {
    fn of([kh, kw, ..]: [usize; 4], doubled: bool) -> Self {
        match (kh, kw, doubled) {
            (2, 2, true) => Self::Doubled,
            (0..=2, 0..=2, _) => Self::Two,
            _ => Self::Three,
        }
    }

    /// Side of a tile of dy, and points of a tile.
    fn extents(self) -> (usize, usize) {
        match self {
            Self::Three => (Three::OUT, Three::POINTS),
            Self::Two => (Two::OUT, Two::POINTS),
            Self::Doubled => (Doubled::OUT, Doubled::POINTS),
        }
    }
}

/// The work, cut into pieces that depend on the shape alone.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    kind: Kind,
    x: [usize; 4],
    kernel: [usize; 4],
    /// Tiles in a row; rows of tiles of an image, of all images, and of a group.
    columns: usize,
    image_rows: usize,
    rows: usize,
    group_rows: usize,
    groups: usize,
    /// Blocks of input channels, of a task and in all, the last task's not existing ones included; tasks of a group.
    task_blocks: usize,
    tasks: usize,
}

impl Pieces {
    fn new(x: [usize; 4], kernel: [usize; 4], doubled: bool) -> Self {
        let [n, h, w, ci] = x;
        let kind = Kind::of(kernel, doubled);
        let (out, points) = kind.extents();
        let blocks = ci.div_ceil(CHANNELS);
        let task_blocks = blocks.min(TASK_BLOCKS);
        let tasks = blocks.div_ceil(task_blocks);
        let sums = points * tasks * task_blocks * CHANNELS * kernel[3].next_multiple_of(MAX_BLOCK);
        let (columns, image_rows) = (w.div_ceil(out), h.div_ceil(out));
        let rows = n * image_rows;
        let group_rows = rows.div_ceil((MOST_SUMS / sums).clamp(1, GROUPS)).max(GROUP_TILES.div_ceil(columns));
        let groups = rows.div_ceil(group_rows);
        Self { kind, x, kernel, columns, image_rows, rows, group_rows, groups, task_blocks, tasks }
    }

    /// Sums of one task, for blocks of `block` output channels.
    fn task(self, block: usize) -> usize {
        self.kind.extents().1 * self.task_blocks * CHANNELS * self.kernel[3].next_multiple_of(block)
    }
}

/// Floats of temporary memory: the sums of all groups of rows.
pub(super) fn scratch(x_shape: [usize; 4], kernel: [usize; 4], doubled: bool) -> usize {
    let pieces = Pieces::new(x_shape, kernel, doubled);
    pieces.groups * pieces.tasks * pieces.task(MAX_BLOCK)
}

/// The same as [`super::conv_weight_gradient::weight_gradient`], for kernels up to 3 x 3.
pub(super) fn weight_gradient(
    x_shape: [usize; 4],
    kernel: [usize; 4],
    (x, doubled, dy): (MapSource, bool, &[f32]),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let run = match Kind::of(kernel, doubled) {
        Kind::Three => weight_gradient_in::<Three>,
        Kind::Two => weight_gradient_in::<Two>,
        Kind::Doubled => weight_gradient_in::<Doubled>,
    };
    run(x_shape, kernel, (x, doubled, dy), out, scratch);
}

fn weight_gradient_in<F: Form>(
    x_shape: [usize; 4],
    kernel: [usize; 4],
    (x, doubled, dy): (MapSource, bool, &[f32]),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let pieces = Pieces::new(x_shape, kernel, doubled);
    let arch = Arch::new();
    let block = block(arch, kernel[3]);
    let task = pieces.task(block);
    let sums = &mut scratch[..pieces.groups * pieces.tasks * task];
    sums.par_chunks_mut(task).enumerate().for_each(|(i, sums)| {
        let first_row = i / pieces.tasks * pieces.group_rows;
        let rows = first_row..pieces.rows.min(first_row + pieces.group_rows);
        let first_channel = i % pieces.tasks * pieces.task_blocks * CHANNELS;
        with_thread_buffer(|buffer| {
            arch.dispatch(Task { form: PhantomData::<F>, x, doubled, dy, sums, buffer, rows, first_channel, pieces });
        });
    });
    // The first group's sums give way to the kernel's gradient: per pair of blocks, the taps where the points were.
    let pair = F::POINTS * CHANNELS * block;
    let (first, others) = sums.split_at_mut(pieces.tasks * task);
    first.par_chunks_mut(pair).enumerate().for_each(|(i, sums)| {
        arch.dispatch(Back {
            form: PhantomData::<F>,
            sums,
            others: others.get(i * pair..).unwrap_or(&[]),
            group: pieces.tasks * task,
        });
    });
    let first = &*first;
    let [_, kw, ci, co] = kernel;
    let co_blocks = co.div_ceil(block);
    out.par_chunks_mut(co).with_min_len(64).enumerate().for_each(|(i, out)| {
        let (a, b, channel) = (i / ci / kw, i / ci % kw, i % ci);
        for (o, out) in out.chunks_mut(block).enumerate() {
            let pairs = &first[(channel / CHANNELS * co_blocks + o) * pair..][..pair];
            let from = &pairs[((a * F::SIDE + b) * CHANNELS + channel % CHANNELS) * block..];
            out.copy_from_slice(&from[..out.len()]);
        }
    });
}

/// The sums of one group of rows for some blocks of input channels.
struct Task<'a, F> {
    form: PhantomData<F>,
    x: MapSource<'a>,
    doubled: bool,
    dy: &'a [f32],
    /// (block of input channels, block of output channels, point, input channel, output channel).
    sums: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
    /// Rows of tiles of all images.
    rows: Range<usize>,
    first_channel: usize,
    pieces: Pieces,
}

impl<F: Form> WithSimd for Task<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.pieces.kernel[3] <= S::F32_LANES {
            self.run::<S, 1>(simd);
        } else {
            self.run::<S, 2>(simd);
        }
    }
}

impl<F: Form> Task<'_, F> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let Pieces { x: [_, h, w, ci], kernel: [kh, kw, _, co], columns, image_rows, task_blocks, .. } = self.pieces;
        let block = V * S::F32_LANES;
        let co_blocks = co.div_ceil(block);
        let blocks = task_blocks.min((ci - self.first_channel).div_ceil(CHANNELS));
        let padded = [blocks * CHANNELS, co_blocks * block];
        let most = (self.rows.len() * columns).max(1);
        let tiles = (STRIP / (F::POINTS * (padded[0] + padded[1]))).clamp(LEAST_TILES, MOST_TILES).min(most);
        // One line more than needed: a power of two would put all points of a tile into one set of the cache.
        let x_places =
            Places { point: padded[0] * tiles + CHANNELS, block: tiles * CHANNELS, tile: CHANNELS, channels: CHANNELS };
        let dy_places =
            Places { point: padded[1] * tiles + CHANNELS, block: tiles * block, tile: block, channels: block };
        let line = Image::columns(padded[0].max(padded[1]));
        let size = F::POINTS * (x_places.point + dy_places.point) + line;
        let buffer = at_least(self.buffer, size);
        let (x_values, rest) = buffer.split_at_mut(F::POINTS * x_places.point);
        let (dy_values, line) = rest.split_at_mut(F::POINTS * dy_places.point);
        self.sums.fill(0.0);
        let pair = F::POINTS * CHANNELS * block;
        let mut i = self.rows.start * columns;
        let end = self.rows.end * columns;
        while i < end {
            let mut used = 0;
            while used < tiles && i < end {
                let count = (tiles - used).min(columns - i % columns);
                let (image, row) = (i / columns / image_rows, i / columns % image_rows);
                let at = (row, i % columns, count);
                let small = if self.doubled { 2 } else { 1 };
                let size = (h / small) * (w / small);
                let source = self.x.rows(image * size..(image + 1) * size);
                // One form takes the small map as it is.
                let (scale, step) = if self.pieces.kind == Kind::Doubled { (2, 1) } else { (1, small) };
                let x = Image { source, h: h / scale, w: w / scale, step, before: [(kh - 1) / 2, (kw - 1) / 2] };
                let to = &mut x_values[used * CHANNELS..];
                x.transform::<Input<F>, S>(simd, at, (self.first_channel, blocks), line, (to, x_places));
                let source = MapSource::plain(&self.dy[image * h * w * co..][..h * w * co], co);
                let dy = Image { source, h, w, step: 1, before: [0, 0] };
                let to = &mut dy_values[used * block..];
                dy.transform::<Gradient<F>, S>(simd, at, (0, co_blocks), line, (to, dy_places));
                used += count;
                i += count;
            }
            for p in 0..F::POINTS {
                for b in 0..blocks {
                    let x = &x_values[p * x_places.point + b * x_places.block..][..used * CHANNELS];
                    for o in 0..co_blocks {
                        let dy = &dy_values[p * dy_places.point + o * dy_places.block..][..used * block];
                        let start = (b * co_blocks + o) * pair + p * CHANNELS * block;
                        add_outer_products::<S, V>(simd, x, dy, &mut self.sums[start..start + CHANNELS * block]);
                    }
                }
            }
        }
    }
}

/// Adds the sums of all groups for one pair of blocks and transforms them back.
struct Back<'a, F> {
    form: PhantomData<F>,
    /// Of the first group; replaced by the taps.
    sums: &'a mut [f32],
    /// Of the others, `group` floats apart.
    others: &'a [f32],
    group: usize,
}

impl<F: Form> WithSimd for Back<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let size = self.sums.len() / F::POINTS;
        for e in (0..size).step_by(CHANNELS) {
            let mut totals = [[0.0_f64; CHANNELS]; POINTS];
            for p in 0..F::POINTS {
                for k in 0..CHANNELS {
                    totals[p][k] = f64::from(self.sums[p * size + e + k]);
                }
            }
            let mut start = 0;
            while start < self.others.len() {
                for p in 0..F::POINTS {
                    let sums = &self.others[start + p * size + e..][..CHANNELS];
                    for k in 0..CHANNELS {
                        totals[p][k] += f64::from(sums[k]);
                    }
                }
                start += self.group;
            }
            for k in 0..CHANNELS {
                let mut columns = [[0.0; MOST_TAPS]; MOST_SIDE];
                for j in 0..F::SIDE {
                    let mut column = [0.0; MOST_SIDE];
                    for i in 0..F::SIDE {
                        column[i] = totals[i * F::SIDE + j][k];
                    }
                    columns[j] = F::kernel_gradient(column);
                }
                // No form has more taps than points.
                for a in 0..MOST_TAPS.min(F::SIDE) {
                    let mut row = [0.0; MOST_SIDE];
                    for j in 0..F::SIDE {
                        row[j] = columns[j][a];
                    }
                    let row = F::kernel_gradient(row);
                    for b in 0..MOST_TAPS.min(F::SIDE) {
                        self.sums[(a * F::SIDE + b) * size + e + k] = narrow(row[b]);
                    }
                }
            }
        }
    }
}
