//! Direct 2-D convolution with same padding: register-tiled, no im2col.
//!
//! A band of output rows is one task. Its input is copied once, with the zero border in place, to (block of pixels, row,
//! channel, column): one channel of the pixels that a block of outputs needs is one cache line, and the micro-kernel reads
//! line after line. It keeps `PIXELS` x `2 vectors` of output channels in registers: each step loads two vectors of weights
//! and multiplies them by `PIXELS` broadcast inputs.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Output rows of a task.
const BAND_ROWS: usize = 8;
/// Vectors of output channels that the micro-kernel keeps per pixel.
const VECTORS: usize = 2;
/// Most output channels in a block: two vectors of 16 floats.
const MAX_BLOCK: usize = 32;
/// Floats in a cache line.
const LINE: usize = 16;
/// Weights of at most this many floats stay in the second-level cache, so that a strip of pixels can go through all of
/// them before the next strip is copied. Larger ones are read once for all strips of a band.
const CACHED_WEIGHTS: usize = 160 << 10;

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
        let line = (PIXELS + kw - 1).next_multiple_of(LINE);
        let strip = (rows + kh - 1) * ci * line;
        let strips = w.div_ceil(PIXELS);
        let group = if kh * kw * ci * co <= CACHED_WEIGHTS { 1 } else { strips };
        self.buffer.resize(group.min(strips) * strip, 0.0);
        for first in (0..strips).step_by(group) {
            let count = group.min(strips - first);
            let buffer = &mut self.buffer[..count * strip];
            for (i, strip) in buffer.chunks_exact_mut(strip).enumerate() {
                fill_strip(self.x, (self.first_row, (first + i) * PIXELS), line, self.extents, strip);
            }
            for b in 0..co.div_ceil(block) {
                let weights = &self.weights[b * kh * kw * ci * block..][..kh * kw * ci * block];
                let bias = &self.bias[b * block..][..block];
                for row in 0..rows {
                    let out = &mut self.out[row * w * co..][..w * co];
                    for (i, strip) in buffer.chunks_exact(strip).enumerate() {
                        let input = &strip[row * ci * line..][..kh * ci * line];
                        let sums = accumulate::<S, PIXELS>(simd, input, weights, bias, (ci, kh, kw, line));
                        store(simd, &sums, self.negative_slope, ((first + i) * PIXELS, b * block), (w, co), out);
                    }
                }
            }
        }
    }
}

/// Copies the input of one block of pixels in all rows of a band to (row, channel, column), with a zero border.
#[inline(always)]
fn fill_strip(x: &[f32], (first_row, first_col): (usize, usize), line: usize, e: Extents, strip: &mut [f32]) {
    let (top, left) = ((e.kh - 1) / 2, (e.kw - 1) / 2);
    for (i, lines) in strip.chunks_exact_mut(e.ci * line).enumerate() {
        let y = (first_row + i).wrapping_sub(top);
        if y >= e.h {
            lines.fill(0.0);
            continue;
        }
        let row = &x[y * e.w * e.ci..][..e.w * e.ci];
        for p in (0..line).step_by(4) {
            let col = (first_col + p).wrapping_sub(left);
            if col < e.w && col + 4 <= e.w && e.ci.is_multiple_of(4) {
                transpose_four(&row[col * e.ci..][..4 * e.ci], e.ci, line, &mut lines[p..]);
            } else {
                for q in 0..4 {
                    let col = col.wrapping_add(q);
                    let pixel = if col < e.w { &row[col * e.ci..][..e.ci] } else { &[] };
                    for (c, to) in lines[p + q..].iter_mut().step_by(line).enumerate() {
                        *to = pixel.get(c).copied().unwrap_or(0.0);
                    }
                }
            }
        }
    }
}

/// Four pixels of `channels` values each to `channels` lines of four values, `line` apart; channels are a multiple of four.
#[inline(always)]
fn transpose_four(pixels: &[f32], channels: usize, line: usize, lines: &mut [f32]) {
    let (ab, cd) = pixels.split_at(2 * channels);
    let ((a, b), (c, d)) = (ab.split_at(channels), cd.split_at(channels));
    let quads = a.chunks_exact(4).zip(b.chunks_exact(4)).zip(c.chunks_exact(4).zip(d.chunks_exact(4)));
    // Fixed-size blocks of 4 x 4 become shuffles of vector registers.
    for (((a, b), (c, d)), to) in quads.zip(lines.chunks_mut(4 * line)) {
        to[..4].copy_from_slice(&[a[0], b[0], c[0], d[0]]);
        to[line..line + 4].copy_from_slice(&[a[1], b[1], c[1], d[1]]);
        to[2 * line..2 * line + 4].copy_from_slice(&[a[2], b[2], c[2], d[2]]);
        to[3 * line..3 * line + 4].copy_from_slice(&[a[3], b[3], c[3], d[3]]);
    }
}

/// Sums over taps and channels for `PIXELS` neighbouring pixels and one block of output channels, starting at the bias.
#[inline(always)]
fn accumulate<S: Simd, const PIXELS: usize>(
    simd: S,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    (ci, kh, kw, line): (usize, usize, usize, usize),
) -> [[S::f32s; VECTORS]; PIXELS] {
    let (bias, _) = S::as_simd_f32s(bias);
    let mut sums = [[bias[0], bias[1]]; PIXELS];
    let (weights, _) = S::as_simd_f32s(weights);
    for a in 0..kh {
        for b in 0..kw {
            let taps = &weights[(a * kw + b) * ci * VECTORS..][..ci * VECTORS];
            let lines = &input[a * ci * line..][..ci * line];
            for (weights, line) in taps.chunks_exact(VECTORS).zip(lines.chunks_exact(line)) {
                for (sums, &x) in sums.iter_mut().zip(&line[b..b + PIXELS]) {
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
