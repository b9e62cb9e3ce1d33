//! The gradient of a 2-D convolution with same padding with respect to its kernel, in Winograd's form for kernels of 2 x 2 and
//! 3 x 3 (`winograd_weight_gradient.rs`), else in the direct form of this file.
//!
//! A weight's gradient sums over every pixel of the map, some hundred thousand. The rows are dealt out to a fixed number of
//! groups, each with sums of its own, which are added up in f64: the result has the same bits on any number of threads, and
//! no sum is long enough to lose many of them.
//!
//! A task takes one group of rows and `CHANNELS` input channels. For every row it copies the rows of x that the kernel
//! touches, and dy's row, to blocks of channels with the zero border in place. A tap is then a shifted view of the copy,
//! and the micro-kernel a sum of outer products over pixels: it keeps `ROWS` input channels x `V` vectors of output
//! channels in registers.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::channel_block::{MAX_BLOCK, block};
use super::map_source::MapSource;
use super::thread_buffer::{at_least, with_thread_buffer};
use super::winograd_transform::narrow;
use super::winograd_weight_gradient as winograd;

/// Input channels of a task, one cache line.
const CHANNELS: usize = 16;
/// Pixels that the micro-kernel sums in registers: the inputs of all taps and a block of dy stay in the first-level cache.
const PIXELS: usize = 64;
/// Most groups of rows, and most floats for all their sums (more groups than one need them).
const GROUPS: usize = 32;
const MOST_SUMS: usize = 4 << 20;

/// The work, cut into pieces that depend on the shape alone.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    x: [usize; 4],
    kernel: [usize; 4],
    /// Rows of all images, and rows of a group.
    rows: usize,
    group_rows: usize,
    groups: usize,
    /// Blocks of input channels.
    blocks: usize,
}

impl Pieces {
    fn new(x: [usize; 4], kernel: [usize; 4]) -> Self {
        let [kh, kw, ci, co] = kernel;
        let rows = x[0] * x[1];
        let blocks = ci.div_ceil(CHANNELS);
        let sums = kh * kw * blocks * CHANNELS * co.next_multiple_of(MAX_BLOCK);
        let group_rows = rows.div_ceil((MOST_SUMS / sums.max(1)).clamp(1, GROUPS)).max(1);
        Self { x, kernel, rows, group_rows, groups: rows.div_ceil(group_rows), blocks }
    }

    /// Sums of one task, for blocks of `block` output channels.
    fn task(self, block: usize) -> usize {
        let [kh, kw, _, co] = self.kernel;
        kh * kw * CHANNELS * co.next_multiple_of(block)
    }
}

/// Floats of temporary memory for [`weight_gradient`]: the sums of all groups of rows.
#[must_use]
pub fn weight_gradient_scratch(x_shape: [usize; 4], kernel: [usize; 4], doubled: bool, exact: bool) -> usize {
    if !exact && winograd::suits(x_shape, kernel, doubled) {
        return winograd::scratch(x_shape, kernel, doubled);
    }
    let pieces = Pieces::new(x_shape, kernel);
    pieces.groups * pieces.blocks * pieces.task(MAX_BLOCK)
}

/// `out[a, b, ci, co] = sum over n, i, j of x[n, i + a - (Kh-1)/2, j + b - (Kw-1)/2, ci] dy[n, i, j, co]`, zeros outside.
///
/// x is (N, H, W, Ci), or (N, H/2, W/2, Ci) and to be `doubled`; dy (N, H, W, Co), out (Kh, Kw, Ci, Co) as `kernel` says. `exact` asks for the direct form. `scratch` holds
/// [`weight_gradient_scratch`] floats.
pub fn weight_gradient(
    x_shape: [usize; 4],
    kernel: [usize; 4],
    exact: bool,
    (x, doubled): (MapSource, bool),
    dy: &[f32],
    out: &mut [f32],
    scratch: &mut [f32],
) {
    if !exact && winograd::suits(x_shape, kernel, doubled) {
        winograd::weight_gradient(x_shape, kernel, (x, doubled, dy), out, scratch);
        return;
    }
    direct(x_shape, kernel, (x, doubled, dy), out, scratch);
}

/// The direct form, for any shape.
fn direct(
    x_shape: [usize; 4],
    kernel: [usize; 4],
    (x, doubled, dy): (MapSource, bool, &[f32]),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let pieces = Pieces::new(x_shape, kernel);
    let arch = Arch::new();
    let block = block(arch, kernel[3]);
    let task = pieces.task(block);
    let sums = &mut scratch[..pieces.groups * pieces.blocks * task];
    sums.par_chunks_mut(task).enumerate().for_each(|(i, sums)| {
        let first_row = i / pieces.blocks * pieces.group_rows;
        let rows = first_row..pieces.rows.min(first_row + pieces.group_rows);
        with_thread_buffer(|buffer| {
            arch.dispatch(Task {
                x,
                doubled,
                dy,
                sums,
                buffer,
                rows,
                first_channel: i % pieces.blocks * CHANNELS,
                pieces,
            });
        });
    });
    let sums = &*sums;
    let [kh, kw, ci, co] = kernel;
    out.par_chunks_mut(co).with_min_len(16).enumerate().for_each(|(i, out)| {
        let (tap, channel) = (i / ci, i % ci);
        for (b, out) in out.chunks_mut(block).enumerate() {
            let mut totals = [0.0_f64; MAX_BLOCK];
            for group in sums.chunks_exact(pieces.blocks * task) {
                let sums = &group[channel / CHANNELS * task..][..task];
                let row = (b * kh * kw + tap) * CHANNELS + channel % CHANNELS;
                for (total, &sum) in totals.iter_mut().zip(&sums[row * block..][..block]) {
                    *total += f64::from(sum);
                }
            }
            for (out, total) in out.iter_mut().zip(totals) {
                *out = narrow(total);
            }
        }
    });
}

/// The sums of one group of rows for one block of input channels.
struct Task<'a> {
    x: MapSource<'a>,
    doubled: bool,
    dy: &'a [f32],
    /// (block of output channels, tap, input channel, output channel of the block).
    sums: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
    /// Rows of all images.
    rows: std::ops::Range<usize>,
    first_channel: usize,
    pieces: Pieces,
}

impl WithSimd for Task<'_> {
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

impl Task<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let Pieces { x: [_, h, w, ci], kernel: [kh, kw, _, co], .. } = self.pieces;
        let block = V * S::F32_LANES;
        let co_blocks = co.div_ceil(block);
        let line = (w + kw - 1) * CHANNELS;
        self.sums.fill(0.0);
        let size = kh * line + co_blocks * w * block;
        let buffer = at_least(self.buffer, size);
        let (lines, dy_row) = buffer.split_at_mut(kh * line);
        let channels = self.first_channel..ci.min(self.first_channel + CHANNELS);
        for row in self.rows {
            let (image, i) = (row / h, row % h);
            for (a, to) in lines.chunks_exact_mut(line).enumerate() {
                let y = (i + a).wrapping_sub((kh - 1) / 2);
                to.fill(0.0);
                if y >= h {
                    continue;
                }
                let to = &mut to[(kw - 1) / 2 * CHANNELS..];
                if self.doubled {
                    let first = (image * h + y) / 2 * (w / 2);
                    for (j, to) in to.chunks_exact_mut(CHANNELS).take(w).enumerate() {
                        self.x.read(first + j / 2..first + j / 2 + 1, channels.clone(), to, CHANNELS);
                    }
                } else {
                    let first = (image * h + y) * w;
                    self.x.read(first..first + w, channels.clone(), to, CHANNELS);
                }
            }
            let from = &self.dy[row * w * co..][..w * co];
            for (b, to) in dy_row.chunks_exact_mut(w * block).enumerate() {
                let count = block.min(co - b * block);
                for (to, from) in to.chunks_exact_mut(block).zip(from.chunks_exact(co)) {
                    to[count..].fill(0.0);
                    to[..count].copy_from_slice(&from[b * block..][..count]);
                }
            }
            for (dy, sums) in dy_row.chunks_exact(w * block).zip(self.sums.chunks_exact_mut(kh * kw * CHANNELS * block))
            {
                for (chunk, dy) in dy.chunks(PIXELS * block).enumerate() {
                    for (tap, sums) in sums.chunks_exact_mut(CHANNELS * block).enumerate() {
                        let (a, b) = (tap / kw, tap % kw);
                        let x = &lines[a * line + (chunk * PIXELS + b) * CHANNELS..][..dy.len() / block * CHANNELS];
                        add_outer_products::<S, V>(simd, x, dy, sums);
                    }
                }
            }
        }
    }
}

/// `sums[c, o] += sum over pixels of x[pixel, c] dy[pixel, o]`, for [`CHANNELS`] input channels and one block of output
/// channels.
#[inline(always)]
pub(super) fn add_outer_products<S: Simd, const V: usize>(simd: S, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    let (dy, _) = S::as_simd_f32s(dy);
    let (sums, _) = S::as_mut_simd_f32s(sums);
    // 16 accumulators hide the latency of the multiply-adds; 8 leave room in 16 registers.
    if S::F32_LANES == 16 && V == 1 {
        add_rows::<S, V, 16, 0>(simd, x, dy, sums);
    } else if S::F32_LANES == 16 {
        let (first, second) = sums.split_at_mut(8 * V);
        add_rows::<S, V, 8, 0>(simd, x, dy, first);
        add_rows::<S, V, 8, 8>(simd, x, dy, second);
    } else {
        let (first, second) = sums.split_at_mut(8 * V);
        let ((a, b), (c, d)) = (first.split_at_mut(4 * V), second.split_at_mut(4 * V));
        add_rows::<S, V, 4, 0>(simd, x, dy, a);
        add_rows::<S, V, 4, 4>(simd, x, dy, b);
        add_rows::<S, V, 4, 8>(simd, x, dy, c);
        add_rows::<S, V, 4, 12>(simd, x, dy, d);
    }
}

/// The same for `ROWS` input channels from `FIRST` on.
#[inline(always)]
fn add_rows<S: Simd, const V: usize, const ROWS: usize, const FIRST: usize>(
    simd: S,
    x: &[f32],
    dy: &[S::f32s],
    sums: &mut [S::f32s],
) {
    let mut partial = [[simd.splat_f32s(0.0); V]; ROWS];
    for (x, dy) in x.chunks_exact(CHANNELS).zip(dy.chunks_exact(V)) {
        for r in 0..ROWS {
            let x = simd.splat_f32s(x[FIRST + r]);
            for v in 0..V {
                partial[r][v] = simd.mul_add_e_f32s(x, dy[v], partial[r][v]);
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..V {
            sums[r * V + v] = simd.add_f32s(sums[r * V + v], partial[r][v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MapSource, weight_gradient, weight_gradient_scratch};

    /// Plain loops in f64.
    fn definition([n, h, w, ci]: [usize; 4], [kh, kw, _, co]: [usize; 4], x: &[f32], dy: &[f32]) -> Vec<f64> {
        let mut out = vec![0.0; kh * kw * ci * co];
        for (i, out) in out.iter_mut().enumerate() {
            let (a, b, c, o) = (i / (kw * ci * co), i / (ci * co) % kw, i / co % ci, i % co);
            for p in 0..n * h * w {
                let y = (p / w % h + a).wrapping_sub((kh - 1) / 2);
                let z = (p % w + b).wrapping_sub((kw - 1) / 2);
                if y < h && z < w {
                    *out += f64::from(x[((p / (h * w) * h + y) * w + z) * ci + c]) * f64::from(dy[p * co + o]);
                }
            }
        }
        out
    }

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 32768.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn agrees_with_plain_loops_for_odd_shapes() {
        for (shape, kernel) in [
            ([1, 1, 1, 1], [3, 3, 1, 1]),
            ([2, 5, 7, 3], [3, 3, 3, 5]),
            ([1, 9, 70, 6], [2, 2, 6, 33]),
            ([2, 3, 4, 33], [1, 1, 33, 2]),
            ([1, 1, 130, 17], [3, 1, 17, 16]),
            ([3, 20, 6, 2], [2, 3, 2, 70]),
            ([1, 8, 8, 1], [3, 3, 1, 1]),
            ([2, 9, 13, 17], [3, 3, 17, 33]),
            ([1, 23, 70, 6], [2, 2, 6, 16]),
            ([3, 21, 8, 70], [2, 3, 70, 3]),
            ([1, 130, 17, 3], [3, 2, 3, 65]),
            ([1, 160, 160, 2], [3, 3, 2, 3]),
            ([1, 160, 160, 2], [1, 1, 2, 3]),
        ] {
            let ([n, h, w, ci], co) = (shape, kernel[3]);
            let (x, dy) = (values(n * h * w * ci, 1), values(n * h * w * co, 2));
            let expected = definition(shape, kernel, &x, &dy);
            let power: f64 = expected.iter().map(|b| b * b).sum();
            for exact in [false, true] {
                let mut out = vec![f32::NAN; kernel.iter().product()];
                let mut scratch = vec![f32::NAN; weight_gradient_scratch(shape, kernel, false, exact)];
                weight_gradient(
                    shape,
                    kernel,
                    exact,
                    (MapSource::plain(&x, shape[3]), false),
                    &dy,
                    &mut out,
                    &mut scratch,
                );
                let error: f64 = out.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
                assert!(error <= 1e-12 * power, "{shape:?} {kernel:?}: {error:e} of {power:e}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for (kernel, exact) in [([3, 3, 70, 35], false), ([3, 3, 70, 35], true), ([1, 3, 70, 35], false)] {
            let shape = [2, 37, 41, 70];
            let (x, dy) = (values(shape.iter().product(), 1), values(2 * 37 * 41 * 35, 2));
            let on = |threads: usize| {
                let mut out = vec![f32::NAN; kernel.iter().product()];
                let mut scratch = vec![f32::NAN; weight_gradient_scratch(shape, kernel, false, exact)];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| {
                    weight_gradient(
                        shape,
                        kernel,
                        exact,
                        (MapSource::plain(&x, shape[3]), false),
                        &dy,
                        &mut out,
                        &mut scratch,
                    );
                });
                out
            };
            assert_eq!(on(1), on(3), "{kernel:?}");
        }
    }
}
