//! 2-D convolution with same padding, and its gradient with respect to the input.
//!
//! Where the kernel and the map are large enough it runs in Winograd's form (`winograd.rs`), else in the direct form of this file:
//! register-tiled, no im2col.
//!
//! A band of output rows is one task. Its input is copied once, with the zero border in place, to (block of pixels, row,
//! channel, column): one channel of the pixels that a block of outputs needs is one cache line, and the micro-kernel reads
//! line after line. It keeps `PIXELS` x `2 vectors` of output channels in registers: each step loads two vectors of weights
//! and multiplies them by `PIXELS` broadcast inputs.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::channel_block::{MAX_BLOCK, block};
use super::map_source::MapSource;
use super::thread_buffer::{at_least, with_thread_buffer};
use super::winograd::{self, Kind};

/// Output rows of a task.
const BAND_ROWS: usize = 8;
/// Floats in a cache line.
const LINE: usize = 16;
/// Weights of at most this many floats stay in the second-level cache, so that a strip of pixels can go through all of
/// them before the next strip is copied. Larger ones are read once for all strips of a band.
const CACHED_WEIGHTS: usize = 160 << 10;

/// What to convolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The input: N, H, W, Ci.
    pub x: [usize; 4],
    /// The kernel: Kh, Kw, Ci, Co.
    pub kernel: [usize; 4],
    /// Whether the input is doubled by nearest neighbours first. The doubled map is never made: each of the four kinds of
    /// output pixels (even and odd rows and columns) is a convolution of the small map, with the taps that fall on one pixel
    /// added up. A 2 x 2 kernel takes 9 taps for four outputs instead of 16.
    pub doubled: bool,
    /// Whether only the direct form is taken.
    pub exact: bool,
}

/// One kind of output pixels: all, or those in even or odd rows and columns of a doubled map.
#[derive(Debug)]
struct Phase {
    /// Which rows and columns it makes, modulo the step.
    row: usize,
    col: usize,
    /// For each tap of the kernel, which tap of the phase it is added to.
    row_taps: Vec<usize>,
    col_taps: Vec<usize>,
    /// The phase's own kernel: extents, and rows and columns before the centre.
    kh: usize,
    kw: usize,
    top: usize,
    left: usize,
}

impl Geometry {
    /// Output pixels per input pixel along an axis.
    fn step(self) -> usize {
        if self.doubled { 2 } else { 1 }
    }

    /// The fast form that is taken instead of the direct one.
    fn fast(self) -> Option<Kind> {
        match (self.exact, self.doubled) {
            (true, _) => None,
            (false, true) => Kind::of_doubled(self.kernel),
            (false, false) => Kind::of(self.x, self.kernel),
        }
    }

    /// Rows above and columns left of an output that its kernel reaches, for same padding.
    fn before(self) -> [usize; 2] {
        [(self.kernel[0] - 1) / 2, (self.kernel[1] - 1) / 2]
    }

    fn phases(self, [above, left]: [usize; 2]) -> Vec<Phase> {
        let [kh, kw, ..] = self.kernel;
        let step = self.step();
        let mut phases = Vec::new();
        for row in 0..step {
            for col in 0..step {
                let (row_taps, top) = phase_taps(row, kh, above, step);
                let (col_taps, left) = phase_taps(col, kw, left, step);
                let extent = |taps: &[usize]| taps.iter().max().map_or(0, |last| last + 1);
                let (kh, kw) = (extent(&row_taps), extent(&col_taps));
                phases.push(Phase { row, col, row_taps, col_taps, kh, kw, top, left });
            }
        }
        phases
    }
}

/// For output `phase` of `step` per input: where each of `taps` taps, `before` of them before the centre, falls, from the first
/// input that any falls on, and how many inputs lie before the centre.
fn phase_taps(phase: usize, taps: usize, before: usize, step: usize) -> (Vec<usize>, usize) {
    // Position on the doubled map, shifted by an even number to stay positive, then on the small one.
    let shift = before.next_multiple_of(step);
    let inputs: Vec<usize> = (0..taps).map(|tap| (phase + tap + shift - before) / step).collect();
    let first = inputs[0];
    (inputs.iter().map(|i| i - first).collect(), shift / step - first)
}

/// Floats of temporary memory for [`convolve`]: the packed weights.
#[must_use]
pub fn scratch(geometry: Geometry) -> usize {
    if let Some(kind) = geometry.fast() {
        return kind.scratch(geometry.kernel);
    }
    let [_, _, ci, co] = geometry.kernel;
    geometry.phases(geometry.before()).iter().map(|p| p.kh * p.kw * ci * co.next_multiple_of(MAX_BLOCK)).sum()
}

/// `out = f(x * kernel + bias)`, f being the identity for positive values and a factor for negative ones.
///
/// out is (N, H, W, Co), or (N, 2H, 2W, Co) for a doubled input. `scratch` holds [`scratch`] floats.
pub fn convolve(
    geometry: Geometry,
    x: MapSource,
    kernel: &[f32],
    bias: Option<&[f32]>,
    negative_slope: f32,
    out: &mut [f32],
    scratch: &mut [f32],
) {
    convolve_padded(geometry, geometry.before(), x, kernel, (bias, negative_slope), out, scratch);
}

/// Floats of temporary memory for [`input_gradient`]: the turned kernel and what its convolution needs.
#[must_use]
pub fn input_gradient_scratch(geometry: Geometry) -> usize {
    let turned = turned(geometry);
    let weights = turned.kernel.iter().product::<usize>();
    if let Some(kind) = halved(geometry) {
        return weights + kind.scratch(turned.kernel);
    }
    let large = if geometry.doubled { turned.x[..3].iter().product::<usize>() * turned.kernel[3] } else { 0 };
    large + weights + scratch(turned)
}

/// The gradient with respect to the input of the convolution of `geometry`, from that with respect to its output:
/// `dx[i, j, ci] = sum over a, b, co of dy[i - a + (Kh-1)/2, j - b + (Kw-1)/2, co] kernel[a, b, ci, co]`; for a doubled input, the
/// sum of that over each pixel's four.
///
/// dx has the extents `geometry.x`. It is a convolution of dy with the kernel turned by half a circle and its channels
/// exchanged. `scratch` holds [`input_gradient_scratch`] floats.
pub fn input_gradient(geometry: Geometry, dy: &[f32], kernel_values: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
    let outer = turned(geometry);
    let [kh, kw, co, ci] = outer.kernel;
    let (turned, scratch) = scratch.split_at_mut(kh * kw * co * ci);
    for (to, from) in turned.chunks_exact_mut(co * ci).zip(kernel_values[..kh * kw * ci * co].rchunks_exact(ci * co)) {
        for (o, to) in to.chunks_exact_mut(ci).enumerate() {
            for (to, from) in to.iter_mut().zip(from.chunks_exact(co)) {
                *to = from[o];
            }
        }
    }
    let [above, left] = outer.before();
    // What an even kernel lacks at one end it has at the other when turned.
    let before = [kh - 1 - above, kw - 1 - left];
    let dy = MapSource::plain(dy, co);
    if let Some(kind) = halved(geometry) {
        winograd::convolve(kind, (outer.x, outer.kernel), before, (dy, turned), (None, 1.0), dx, scratch);
    } else if geometry.doubled {
        let [_, h, w, _] = outer.x;
        let (large, scratch) = scratch.split_at_mut(outer.x[0] * h * w * ci);
        convolve_padded(outer, before, dy, turned, (None, 1.0), large, scratch);
        sum_quads(large, [w, ci], dx);
    } else {
        convolve_padded(outer, before, dy, turned, (None, 1.0), dx, scratch);
    }
}

/// The fast form of the gradient of a doubled input, if there is one.
fn halved(geometry: Geometry) -> Option<Kind> {
    let doubled = if geometry.doubled { geometry.fast() } else { None };
    doubled.map(|_| Kind::Halved)
}

/// The sums over blocks of 2 x 2 pixels of maps `w` wide.
pub fn sum_quads(large: &[f32], [w, channels]: [usize; 2], out: &mut [f32]) {
    let arch = Arch::new();
    out.par_chunks_mut(w / 2 * channels).zip(large.par_chunks(2 * w * channels)).for_each(|(out, rows)| {
        arch.dispatch(|| {
            let (top, bottom) = rows.split_at(w * channels);
            let pairs = top.chunks_exact(2 * channels).zip(bottom.chunks_exact(2 * channels));
            for (out, (t, b)) in out.chunks_exact_mut(channels).zip(pairs) {
                let ((t0, t1), (b0, b1)) = (t.split_at(channels), b.split_at(channels));
                for ((((o, t0), t1), b0), b1) in out.iter_mut().zip(t0).zip(t1).zip(b0).zip(b1) {
                    *o = (t0 + t1) + (b0 + b1);
                }
            }
        });
    });
}

/// The convolution of dy that gives the input gradient of one, on the doubled map if there is one.
fn turned(geometry: Geometry) -> Geometry {
    let ([n, h, w, _], [kh, kw, ci, co], step) = (geometry.x, geometry.kernel, geometry.step());
    Geometry { x: [n, step * h, step * w, co], kernel: [kh, kw, co, ci], doubled: false, exact: geometry.exact }
}

/// [`convolve`] with a free number of rows above and columns left of an output that the kernel reaches.
fn convolve_padded(
    geometry: Geometry,
    before: [usize; 2],
    x: MapSource,
    kernel: &[f32],
    (bias, negative_slope): (Option<&[f32]>, f32),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    if let Some(kind) = geometry.fast() {
        let function = (bias, negative_slope);
        winograd::convolve(kind, (geometry.x, geometry.kernel), before, (x, kernel), function, out, scratch);
    } else {
        direct(geometry, before, x, kernel, (bias, negative_slope), out, scratch);
    }
}

/// The direct form, for any shape.
fn direct(
    geometry: Geometry,
    before: [usize; 2],
    x: MapSource,
    kernel: &[f32],
    (bias, negative_slope): (Option<&[f32]>, f32),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let ([_, h, w, ci], [_, _, _, co]) = (geometry.x, geometry.kernel);
    let arch = Arch::new();
    let block = block(arch, co);
    let phases = geometry.phases(before);
    let mut packed = Vec::new();
    let mut rest = scratch;
    for phase in &phases {
        let (weights, after) = rest.split_at_mut(phase.kh * phase.kw * ci * co.next_multiple_of(block));
        pack_weights(kernel, geometry.kernel, phase, block, weights);
        packed.push(&*weights);
        rest = after;
    }
    let mut padded_bias = vec![0.0; co.next_multiple_of(block)];
    if let Some(bias) = bias {
        padded_bias[..co].copy_from_slice(bias);
    }
    let (top, left) = phases.iter().fold((0, 0), |(t, l), p| (t.max(p.top), l.max(p.left)));
    let rows = phases.iter().map(|p| top - p.top + p.kh).max().unwrap_or(1);
    let cols = phases.iter().map(|p| left - p.left + p.kw).max().unwrap_or(1);
    let step = geometry.step();
    let shared = Shared {
        phases: &phases,
        packed: &packed,
        bias: &padded_bias,
        negative_slope,
        step,
        extents: Extents { h, w, ci, co, top, left, rows, cols },
    };
    // Bands do not cross images, so chunk within each image.
    out.par_chunks_mut(step * h * step * w * co).enumerate().for_each(|(image, out)| {
        let x = x.rows(image * h * w..(image + 1) * h * w);
        out.par_chunks_mut(BAND_ROWS * step * step * w * co).enumerate().for_each(|(band, out)| {
            with_thread_buffer(|buffer| {
                arch.dispatch(Band { x, out, buffer, first_row: band * BAND_ROWS, shared: &shared });
            });
        });
    });
}

/// Kernel (Kh, Kw, Ci, Co) to (blocks of output channels, taps of the phase x Ci, block), zero-padded.
fn pack_weights(kernel: &[f32], [_, kw, ci, co]: [usize; 4], phase: &Phase, block: usize, packed: &mut [f32]) {
    packed.par_chunks_mut(phase.kh * phase.kw * ci * block).enumerate().for_each(|(b, packed)| {
        packed.fill(0.0);
        let first = b * block;
        let count = block.min(co - first);
        for (a, &row) in phase.row_taps.iter().enumerate() {
            for (c, &col) in phase.col_taps.iter().enumerate() {
                let to = &mut packed[(row * phase.kw + col) * ci * block..][..ci * block];
                let from = &kernel[(a * kw + c) * ci * co..][..ci * co];
                for (to, from) in to.chunks_exact_mut(block).zip(from.chunks_exact(co)) {
                    for (to, from) in to.iter_mut().zip(&from[first..first + count]) {
                        *to += from;
                    }
                }
            }
        }
    });
}

#[derive(Debug, Clone, Copy)]
struct Extents {
    h: usize,
    w: usize,
    ci: usize,
    co: usize,
    /// Rows and columns of input before the first output's centre, and in all that one output needs, over all phases.
    top: usize,
    left: usize,
    rows: usize,
    cols: usize,
}

/// What all bands have in common.
struct Shared<'a> {
    phases: &'a [Phase],
    packed: &'a [&'a [f32]],
    bias: &'a [f32],
    negative_slope: f32,
    step: usize,
    extents: Extents,
}

/// The convolution of one band of rows of one image.
struct Band<'a> {
    /// The image.
    x: MapSource<'a>,
    out: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
    first_row: usize,
    shared: &'a Shared<'a>,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 12 x 2 accumulators leave room for weights and inputs in 32 registers; 6 x 2 in 16.
        match (S::F32_LANES, self.shared.extents.co.div_ceil(S::F32_LANES)) {
            (16, 1) => self.run::<S, 24, 1>(simd),
            (16, _) => self.run::<S, 12, 2>(simd),
            (_, 1) => self.run::<S, 12, 1>(simd),
            _ => self.run::<S, 6, 2>(simd),
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn run<S: Simd, const PIXELS: usize, const V: usize>(self, simd: S) {
        let Shared { phases, packed, step, .. } = *self.shared;
        let e = self.shared.extents;
        let width = step * e.w;
        let rows = self.out.len() / (step * width * e.co);
        let line = (PIXELS + e.cols - 1).next_multiple_of(LINE);
        let strip = (rows + e.rows - 1) * e.ci * line;
        let strips = e.w.div_ceil(PIXELS);
        let weights: usize = packed.iter().map(|weights| weights.len()).sum();
        let group = if weights <= CACHED_WEIGHTS { 1 } else { strips };
        // Rows of the image that the band reads: where they lie, or a copy.
        let first_row = self.first_row.saturating_sub(e.top);
        let last_row = e.h.min((self.first_row + rows + e.rows - 1).saturating_sub(e.top)).max(first_row);
        let copied = if self.x.values().is_some() { 0 } else { (last_row - first_row) * e.w * e.ci };
        let (copy, buffer) = at_least(self.buffer, copied + group * strip).split_at_mut(copied);
        self.x.read(first_row * e.w..first_row * e.w + copied / e.ci, 0..e.ci, copy, e.ci);
        let x = (self.x.values().unwrap_or(copy), if copied > 0 { first_row } else { 0 });
        for first in (0..strips).step_by(group) {
            let buffer = &mut buffer[..group.min(strips - first) * strip];
            for (i, strip) in buffer.chunks_exact_mut(strip).enumerate() {
                fill_strip(x, (self.first_row, (first + i) * PIXELS), line, e, strip);
            }
            let block = V * S::F32_LANES;
            for (phase, packed) in phases.iter().zip(packed) {
                let (above, before) = (e.top - phase.top, e.left - phase.left);
                let taps = phase.kh * phase.kw * e.ci * block;
                for (b, weights) in packed.chunks_exact(taps).enumerate() {
                    let bias = &self.shared.bias[b * block..][..block];
                    for row in 0..rows {
                        let out = &mut self.out[(step * row + phase.row) * width * e.co..][..width * e.co];
                        for (i, strip) in buffer.chunks_exact(strip).enumerate() {
                            let input = &strip[(row + above) * e.ci * line..][..phase.kh * e.ci * line];
                            let extents = (e.ci, phase.kh, phase.kw, line, before);
                            let sums = accumulate::<S, PIXELS, V>(simd, input, weights, bias, extents);
                            let first = (first + i) * PIXELS;
                            let pixels = out.chunks_exact_mut(e.co).skip(step * first + phase.col).step_by(step);
                            let pixels = pixels.take(PIXELS.min(e.w - first)).map(|pixel| &mut pixel[b * block..]);
                            store(simd, &sums, self.shared.negative_slope, pixels);
                        }
                    }
                }
            }
        }
    }
}

/// Copies the input of one block of pixels in all rows of a band to (row, channel, column), with a zero border. `x` begins
/// with row `x_row` of the image.
#[inline(always)]
fn fill_strip(
    (x, x_row): (&[f32], usize),
    (first_row, first_col): (usize, usize),
    line: usize,
    e: Extents,
    strip: &mut [f32],
) {
    for (i, lines) in strip.chunks_exact_mut(e.ci * line).enumerate() {
        let y = (first_row + i).wrapping_sub(e.top);
        if y >= e.h {
            lines.fill(0.0);
            continue;
        }
        let row = &x[(y - x_row) * e.w * e.ci..][..e.w * e.ci];
        for p in (0..line).step_by(4) {
            let col = (first_col + p).wrapping_sub(e.left);
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
fn accumulate<S: Simd, const PIXELS: usize, const V: usize>(
    simd: S,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    (ci, kh, kw, line, before): (usize, usize, usize, usize, usize),
) -> [[S::f32s; V]; PIXELS] {
    let (bias, _) = S::as_simd_f32s(bias);
    let mut sums = [std::array::from_fn(|v| bias[v]); PIXELS];
    let (weights, _) = S::as_simd_f32s(weights);
    for a in 0..kh {
        for b in 0..kw {
            let taps = &weights[(a * kw + b) * ci * V..][..ci * V];
            let lines = &input[a * ci * line..][..ci * line];
            // Each tap is summed on its own first: short sums round less than one long one.
            let mut tap = [[simd.splat_f32s(0.0); V]; PIXELS];
            for (weights, line) in taps.chunks_exact(V).zip(lines.chunks_exact(line)) {
                for (tap, &x) in tap.iter_mut().zip(&line[before + b..before + b + PIXELS]) {
                    let x = simd.splat_f32s(x);
                    for (sum, &weight) in tap.iter_mut().zip(weights) {
                        *sum = simd.mul_add_e_f32s(x, weight, *sum);
                    }
                }
            }
            for (sums, tap) in sums.iter_mut().zip(tap) {
                for (sum, tap) in sums.iter_mut().zip(tap) {
                    *sum = simd.add_f32s(*sum, tap);
                }
            }
        }
    }
    sums
}

/// Applies the activation and writes the pixels and channels that exist.
#[inline(always)]
fn store<'a, S: Simd, const PIXELS: usize, const V: usize>(
    simd: S,
    sums: &[[S::f32s; V]; PIXELS],
    negative_slope: f32,
    pixels: impl Iterator<Item = &'a mut [f32]>,
) {
    let (zero, slope) = (simd.splat_f32s(0.0), simd.splat_f32s(negative_slope));
    for (pixel, sums) in pixels.zip(sums) {
        for (channels, &sum) in pixel.chunks_mut(S::F32_LANES).zip(sums) {
            // A comparison keeps NaN, where minimum and maximum would hide it.
            let negative = simd.less_than_f32s(sum, zero);
            let value = simd.select_f32s(negative, simd.mul_f32s(sum, slope), sum);
            simd.partial_store_f32s(channels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, input_gradient, input_gradient_scratch};

    /// Plain loops in f64: every output hands its gradient back to the inputs that it was made of.
    fn definition([n, h, w, co]: [usize; 4], [kh, kw, ci, _]: [usize; 4], dy: &[f32], kernel: &[f32]) -> Vec<f64> {
        let mut dx = vec![0.0; n * h * w * ci];
        for (p, dy) in dy.chunks_exact(co).enumerate() {
            for (k, kernel) in kernel.chunks_exact(co).enumerate() {
                let (a, b, c) = (k / (kw * ci), k / ci % kw, k % ci);
                let y = (p / w % h + a).wrapping_sub((kh - 1) / 2);
                let z = (p % w + b).wrapping_sub((kw - 1) / 2);
                if y < h && z < w {
                    let sum: f64 = dy.iter().zip(kernel).map(|(&d, &k)| f64::from(d) * f64::from(k)).sum();
                    dx[((p / (h * w) * h + y) * w + z) * ci + c] += sum;
                }
            }
        }
        dx
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
    fn the_input_gradient_agrees_with_plain_loops_for_odd_shapes() {
        for (dy_shape, kernel) in [
            ([1, 1, 1, 1], [3, 3, 1, 1]),
            ([2, 5, 7, 5], [3, 3, 3, 5]),
            ([1, 9, 70, 33], [2, 2, 6, 33]),
            ([2, 3, 4, 2], [1, 1, 33, 2]),
            ([1, 1, 30, 16], [3, 1, 17, 16]),
            ([3, 20, 6, 70], [2, 3, 2, 70]),
            ([2, 9, 13, 33], [3, 3, 17, 33]),
            ([1, 23, 70, 16], [2, 2, 6, 16]),
            ([3, 21, 8, 30], [2, 3, 70, 30]),
            ([1, 60, 17, 65], [3, 2, 3, 65]),
        ] {
            let ([n, h, w, co], ci) = (dy_shape, kernel[2]);
            let (dy, weights) = (values(n * h * w * co, 1), values(kernel.iter().product(), 2));
            let expected = definition(dy_shape, kernel, &dy, &weights);
            let power: f64 = expected.iter().map(|b| b * b).sum();
            for exact in [false, true] {
                let mut dx = vec![f32::NAN; n * h * w * ci];
                let geometry = Geometry { x: [n, h, w, ci], kernel, doubled: false, exact };
                let mut scratch = vec![f32::NAN; input_gradient_scratch(geometry)];
                input_gradient(geometry, &dy, &weights, &mut dx, &mut scratch);
                let error: f64 = dx.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
                assert!(error <= 1e-12 * power, "{dy_shape:?} {kernel:?}: {error:e} of {power:e}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for (kernel, exact) in [([3, 3, 20, 35], false), ([3, 3, 20, 35], true), ([1, 3, 20, 35], false)] {
            let dy_shape = [2, 37, 41, 35];
            let (dy, weights) = (values(dy_shape.iter().product(), 1), values(kernel.iter().product(), 2));
            let on = |threads: usize| {
                let mut dx = vec![f32::NAN; 2 * 37 * 41 * 20];
                let geometry = Geometry { x: [2, 37, 41, 20], kernel, doubled: false, exact };
                let mut scratch = vec![f32::NAN; input_gradient_scratch(geometry)];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| input_gradient(geometry, &dy, &weights, &mut dx, &mut scratch));
                dx
            };
            assert_eq!(on(1), on(3), "{kernel:?}");
        }
    }
}
