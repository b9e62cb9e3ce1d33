//! Direct 2-D convolution with same padding: register-tiled, no im2col.
//!
//! A band of output rows is one task. Its input rows are copied once, transposed to (row, channel, column) with the zero
//! border in place, so that the micro-kernel finds the same channel of neighbouring pixels side by side. The micro-kernel
//! keeps `PIXELS` x `2 vectors` of output channels in registers: each step loads two vectors of weights and multiplies
//! them by `PIXELS` broadcast inputs.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Output rows of a task.
const BAND_ROWS: usize = 8;
/// Vectors of output channels that the micro-kernel keeps per pixel.
const VECTORS: usize = 2;
/// Most output channels in a block: two vectors of 16 floats.
const MAX_BLOCK: usize = 32;
/// Maps at least this wide reuse a block of weights enough within one output row.
const WIDE: usize = 192;

/// Floats of temporary memory for [`convolve`]: the packed weights.
#[must_use]
pub fn scratch([_, _, _, ci]: [usize; 4], [kh, kw, _, co]: [usize; 4]) -> usize {
    kh * kw * ci * co.next_multiple_of(MAX_BLOCK)
}

/// `out = f(x * kernel + bias)`, f being the identity for positive values and a factor for negative ones.
///
/// x is (N, H, W, Ci), the kernel (Kh, Kw, Ci, Co), out (N, H, W, Co). `scratch` holds [`scratch`] floats.
#[expect(clippy::too_many_arguments, reason = "two shapes, three tensors, a factor, a result and its scratch")]
pub fn convolve(
    [_, h, w, ci]: [usize; 4],
    [kh, kw, _, co]: [usize; 4],
    x: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    negative_slope: f32,
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let arch = Arch::new();
    let block = VECTORS * arch.dispatch(Lanes);
    let weights = &mut scratch[..kh * kw * ci * co.next_multiple_of(block)];
    pack_weights(kernel, kh * kw * ci, co, block, weights);
    let mut padded_bias = vec![0.0; co.next_multiple_of(block)];
    if let Some(bias) = bias {
        padded_bias[..co].copy_from_slice(bias);
    }
    let (weights, bias) = (&*weights, &padded_bias);
    let rows_per_image = h.div_ceil(BAND_ROWS);
    // Bands do not cross images, so chunk within each image.
    out.par_chunks_mut(h * w * co).zip(x.par_chunks(h * w * ci)).for_each(|(out, x)| {
        out.par_chunks_mut(BAND_ROWS * w * co).take(rows_per_image).enumerate().for_each(|(band, out)| {
            with_band_buffer(|buffer| {
                arch.dispatch(Band {
                    x,
                    weights,
                    bias,
                    negative_slope,
                    out,
                    buffer,
                    first_row: band * BAND_ROWS,
                    extents: Extents { h, w, ci, co, kh, kw },
                });
            });
        });
    });
}

/// Kernel (taps x channels, Co) to (blocks of output channels, taps x channels, block), zero-padded.
fn pack_weights(kernel: &[f32], rows: usize, co: usize, block: usize, packed: &mut [f32]) {
    packed.par_chunks_mut(rows * block).enumerate().for_each(|(b, packed)| {
        let first = b * block;
        let count = block.min(co - first);
        for (to, from) in packed.chunks_exact_mut(block).zip(kernel.chunks_exact(co)) {
            to[..count].copy_from_slice(&from[first..first + count]);
            to[count..].fill(0.0);
        }
    });
}

/// Lends a buffer that each thread keeps from call to call.
fn with_band_buffer(f: impl FnOnce(&mut Vec<f32>)) {
    thread_local! {
        static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out while in use: a task that rayon steals meanwhile on the same thread gets its own.
    let mut buffer = BUFFER.take();
    f(&mut buffer);
    BUFFER.set(buffer);
}

/// Floats in a vector of this machine.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}

#[derive(Clone, Copy)]
struct Extents {
    h: usize,
    w: usize,
    ci: usize,
    co: usize,
    kh: usize,
    kw: usize,
}

/// The convolution of one band of rows of one image.
struct Band<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    negative_slope: f32,
    out: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
    first_row: usize,
    extents: Extents,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 12 x 2 accumulators leave room for weights and inputs in 32 registers; 6 x 2 in 16.
        if S::F32_LANES == 16 {
            self.run::<S, 12>(simd);
        } else {
            self.run::<S, 6>(simd);
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn run<S: Simd, const PIXELS: usize>(self, simd: S) {
        let Extents { w, ci, co, kh, kw, .. } = self.extents;
        let rows = self.out.len() / (w * co);
        let block = VECTORS * S::F32_LANES;
        let stride = w.next_multiple_of(PIXELS) + kw - 1;
        self.buffer.resize((rows + kh - 1) * ci * stride, 0.0);
        transpose_band(self.x, self.first_row, stride, self.extents, self.buffer);
        let blocks = co.div_ceil(block);
        // Wide maps: all blocks for one row, whose inputs stay in cache. Narrow ones: all rows for one block, whose
        // weights stay in cache.
        let (outer, inner) = if w >= WIDE { (rows, blocks) } else { (blocks, rows) };
        for i in 0..outer {
            for j in 0..inner {
                let (row, b) = if w >= WIDE { (i, j) } else { (j, i) };
                let weights = &self.weights[b * kh * kw * ci * block..][..kh * kw * ci * block];
                let bias = &self.bias[b * block..][..block];
                let input = &self.buffer[row * ci * stride..][..kh * ci * stride];
                let out = &mut self.out[row * w * co..][..w * co];
                for first in (0..w).step_by(PIXELS) {
                    let sums = accumulate::<S, PIXELS>(simd, &input[first..], weights, bias, (ci, kh, kw, stride));
                    store(simd, &sums, self.negative_slope, (first, b * block), (w, co), out);
                }
            }
        }
    }
}

/// Copies the input rows of a band into (row, channel, column) order with a zero border.
#[inline(always)]
fn transpose_band(x: &[f32], first_row: usize, stride: usize, e: Extents, buffer: &mut [f32]) {
    const COLUMNS: usize = 16;
    let (top, left) = ((e.kh - 1) / 2, (e.kw - 1) / 2);
    for (i, rows) in buffer.chunks_exact_mut(e.ci * stride).enumerate() {
        let y = (first_row + i).wrapping_sub(top);
        if y >= e.h {
            rows.fill(0.0);
            continue;
        }
        let line = &x[y * e.w * e.ci..][..e.w * e.ci];
        for row in rows.chunks_exact_mut(stride) {
            row[..left].fill(0.0);
            row[left + e.w..].fill(0.0);
        }
        for first in (0..e.w).step_by(COLUMNS) {
            let count = COLUMNS.min(e.w - first);
            let pixels = &line[first * e.ci..][..count * e.ci];
            for (c, row) in rows.chunks_exact_mut(stride).enumerate() {
                for (to, pixel) in row[left + first..][..count].iter_mut().zip(pixels.chunks_exact(e.ci)) {
                    *to = pixel[c];
                }
            }
        }
    }
}

/// Sums over taps and channels for `PIXELS` neighbouring pixels and one block of output channels, starting at the bias.
#[inline(always)]
fn accumulate<S: Simd, const PIXELS: usize>(
    simd: S,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    (ci, kh, kw, stride): (usize, usize, usize, usize),
) -> [[S::f32s; VECTORS]; PIXELS] {
    let (bias, _) = S::as_simd_f32s(bias);
    let mut sums = [[bias[0], bias[1]]; PIXELS];
    let (weights, _) = S::as_simd_f32s(weights);
    for a in 0..kh {
        for b in 0..kw {
            let taps = &weights[(a * kw + b) * ci * VECTORS..][..ci * VECTORS];
            let lines = &input[a * ci * stride + b..];
            for (weights, line) in taps.chunks_exact(VECTORS).zip(lines.chunks(stride)) {
                let line = &line[..PIXELS];
                for (sums, &x) in sums.iter_mut().zip(line) {
                    let x = simd.splat_f32s(x);
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.mul_add_e_f32s(x, weight, *sum);
                    }
                }
            }
        }
    }
    sums
}

/// Applies the activation and writes the pixels and channels that exist.
#[inline(always)]
fn store<S: Simd, const PIXELS: usize>(
    simd: S,
    sums: &[[S::f32s; VECTORS]; PIXELS],
    negative_slope: f32,
    (first_pixel, first_channel): (usize, usize),
    (w, co): (usize, usize),
    out: &mut [f32],
) {
    let (zero, slope) = (simd.splat_f32s(0.0), simd.splat_f32s(negative_slope));
    for (pixel, sums) in out.chunks_exact_mut(co).skip(first_pixel).take(PIXELS.min(w - first_pixel)).zip(sums) {
        for (channels, &sum) in pixel[first_channel..].chunks_mut(S::F32_LANES).zip(sums) {
            // A comparison keeps NaN, where minimum and maximum would hide it.
            let negative = simd.less_than_f32s(sum, zero);
            let value = simd.select_f32s(negative, simd.mul_f32s(sum, slope), sum);
            simd.partial_store_f32s(channels, value);
        }
    }
}
