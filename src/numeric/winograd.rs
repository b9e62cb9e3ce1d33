//! Fast 3 x 3 convolution in Winograd's forms: F(4x4, 3x3), 36 products per tile and pair of channels instead of 144; for 2 x 2 kernels
//! F(5x5, 2x2), 36 instead of 100, and on doubled maps one product per output.
//!
//! A task makes a band of output rows, strip by strip of tiles: it transforms a strip of inputs to (point, channel block, tile,
//! channel), multiplies by the transformed kernel one point and block of output channels at a time, and transforms the
//! products back. 2 x 3 and 3 x 2 are taken as 3 x 3 with zeros.
//!
//! Sums over channels are cut into pieces of 32, which takes a fifth off the error.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::channel_block::{MAX_BLOCK, block};
use super::map_source::MapSource;
use super::thread_buffer::{at_least, with_thread_buffer};
use super::winograd_transform::{
    CHANNELS, Doubled, Form, Halved, Image, Input, MOST_SIDE, MOST_TAPS, Places, Three, Two, narrow,
};

/// A strip takes as many blocks of tiles as keep its inputs within this many floats.
const STRIP: usize = 64 << 10;
/// Output blocks whose products are kept to be transformed back together: whole pixels of up to 128 channels are then written at a
/// time.
const KEPT: usize = 4;
/// Pixels of output of a band, if the image has that many: each band reads all weights.
const BAND_PIXELS: usize = 768;
/// Channels that are summed on their own first: short sums round less than one long one.
const SUMMED: usize = 32;

/// The forms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// F(4x4, 3x3), for kernels up to 3 x 3.
    Three,
    /// F(5x5, 2x2), for kernels up to 2 x 2.
    Two,
    /// [`Doubled`], for kernels of 2 x 2 on a doubled map.
    Doubled,
    /// [`Halved`], for the input's gradient of those.
    Halved,
}

impl Kind {
    /// The form for a convolution of x (N, H, W, Ci), if one is worth its transforms, by measurement: where it multiplies at most 5/8 as
    /// often as the direct form.
    pub(super) fn of([_, h, w, ci]: [usize; 4], kernel: [usize; 4]) -> Option<Self> {
        let [kh, kw, ..] = kernel;
        let (kind, out, points) = if kh <= 2 && kw <= 2 {
            (Self::Two, Two::OUT, Two::POINTS)
        } else {
            (Self::Three, Three::OUT, Three::POINTS)
        };
        let fits = (2..=MOST_TAPS).contains(&kh) && (2..=MOST_TAPS).contains(&kw) && h >= 2 * out && w >= 2 * out;
        (fits && ci >= LEAST_CHANNELS && 8 * points <= 5 * out * out * kh * kw).then_some(kind)
    }

    /// The form for a convolution of a doubled map.
    pub(super) fn of_doubled(kernel: [usize; 4]) -> Option<Self> {
        (kernel[..2] == [2, 2] && kernel[2] >= LEAST_CHANNELS).then_some(Self::Doubled)
    }

    fn points(self) -> usize {
        match self {
            Self::Three => Three::POINTS,
            Self::Two => Two::POINTS,
            Self::Doubled => Doubled::POINTS,
            Self::Halved => Halved::POINTS,
        }
    }

    /// Floats of temporary memory: the transformed kernel.
    pub(super) fn scratch(self, [_, _, ci, co]: [usize; 4]) -> usize {
        self.points() * ci.next_multiple_of(CHANNELS) * co.next_multiple_of(MAX_BLOCK)
    }

    /// Height and width of what becomes of a map.
    fn out(self, [h, w]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Doubled => [2 * h, 2 * w],
            Self::Halved => [h / 2, w / 2],
            _ => [h, w],
        }
    }
}

/// With fewer input channels the transforms are mostly of zeros.
const LEAST_CHANNELS: usize = 4;

/// `out = f(x * kernel + bias)` for x (N, H, W, Ci) and kernel (Kh, Kw, Ci, Co), Kh and Kw up to 3, reaching `before` rows above
/// and columns left of an output; f is the identity for positive values and a factor for negative ones.
pub(super) fn convolve(
    kind: Kind,
    (x_shape, kernel_shape): ([usize; 4], [usize; 4]),
    before: [usize; 2],
    (x, kernel): (MapSource, &[f32]),
    (bias, negative_slope): (Option<&[f32]>, f32),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let run = match kind {
        Kind::Three => convolve_in::<Three>,
        Kind::Two => convolve_in::<Two>,
        Kind::Doubled => convolve_in::<Doubled>,
        Kind::Halved => convolve_in::<Halved>,
    };
    let out_size = kind.out([x_shape[1], x_shape[2]]);
    run((x_shape, kernel_shape, out_size), before, (x, kernel), (bias, negative_slope), out, scratch);
}

fn convolve_in<F: Form>(
    (x_shape, kernel_shape, [out_h, out_w]): ([usize; 4], [usize; 4], [usize; 2]),
    before: [usize; 2],
    (x, kernel): (MapSource, &[f32]),
    (bias, negative_slope): (Option<&[f32]>, f32),
    out: &mut [f32],
    scratch: &mut [f32],
) {
    let ([n, h, w, ci], [_, _, _, co]) = (x_shape, kernel_shape);
    let arch = Arch::new();
    let block = block(arch, co);
    let ci_blocks = ci.div_ceil(CHANNELS);
    let weights = &mut scratch[..F::POINTS * ci_blocks * CHANNELS * co.next_multiple_of(block)];
    weights.par_chunks_mut(F::POINTS * ci_blocks * CHANNELS * block).enumerate().for_each(|(b, weights)| {
        arch.dispatch(Kernel {
            form: PhantomData::<F>,
            kernel,
            shape: kernel_shape,
            first: b * block,
            block,
            out: weights,
        });
    });
    let mut padded_bias = vec![0.0; co.next_multiple_of(block)];
    if let Some(bias) = bias {
        padded_bias[..co].copy_from_slice(bias);
    }
    let [rows, columns] = [out_h.div_ceil(F::OUT), out_w.div_ceil(F::OUT)];
    // Large enough to use the weights well, small enough to occupy all threads. A tile's result does not depend on it.
    let fair = (n * rows).div_ceil(2 * rayon::current_num_threads());
    let band = BAND_PIXELS.div_ceil(columns * F::OUT * F::OUT).min(fair).max(1);
    let shared =
        Shared { weights, bias: &padded_bias, negative_slope, h, w, out_w, ci, co, ci_blocks, before, columns };
    // Bands do not cross images, so chunk within each image.
    out.par_chunks_mut(out_h * out_w * co).enumerate().for_each(|(image, out)| {
        let x = x.rows(image * h * w..(image + 1) * h * w);
        out.par_chunks_mut(band * F::OUT * out_w * co).enumerate().for_each(|(i, out)| {
            with_thread_buffer(|buffer| {
                arch.dispatch(Band { form: PhantomData::<F>, x, out, buffer, first_row: i * band, shared: &shared });
            });
        });
    });
}

/// The transformed kernels for `block` output channels from `first` on: to (point, Ci padded, block).
struct Kernel<'a, F> {
    form: PhantomData<F>,
    kernel: &'a [f32],
    shape: [usize; 4],
    first: usize,
    block: usize,
    out: &'a mut [f32],
}

impl<F: Form> WithSimd for Kernel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { form: _, kernel, shape: [kh, kw, ci, co], first, block, out } = self;
        let point = out.len() / F::POINTS;
        let count = block.min(co - first);
        for c in 0..point / block {
            let mut taps = [[[0.0_f32; MAX_BLOCK]; MOST_TAPS]; MOST_TAPS];
            if c < ci {
                for a in 0..kh {
                    for b in 0..kw {
                        let from = &kernel[((a * kw + b) * ci + c) * co + first..][..count];
                        taps[a][b][..count].copy_from_slice(from);
                    }
                }
            }
            let mut values = [[[0.0_f32; MAX_BLOCK]; MOST_SIDE]; MOST_SIDE];
            for o in 0..MAX_BLOCK {
                let mut columns = [[0.0; MOST_SIDE]; MOST_TAPS];
                for b in 0..MOST_TAPS {
                    columns[b] =
                        F::kernel([f64::from(taps[0][b][o]), f64::from(taps[1][b][o]), f64::from(taps[2][b][o])]);
                }
                for i in 0..F::SIDE {
                    let row = F::kernel([columns[0][i], columns[1][i], columns[2][i]]);
                    for j in 0..F::SIDE {
                        values[i][j][o] = narrow(row[j]);
                    }
                }
            }
            for i in 0..F::SIDE {
                for j in 0..F::SIDE {
                    out[(i * F::SIDE + j) * point + c * block..][..block].copy_from_slice(&values[i][j][..block]);
                }
            }
        }
    }
}

/// What all bands have in common.
struct Shared<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    negative_slope: f32,
    /// The input's height and width, and the output's width.
    h: usize,
    w: usize,
    out_w: usize,
    ci: usize,
    co: usize,
    ci_blocks: usize,
    before: [usize; 2],
    /// Tiles in a row of tiles.
    columns: usize,
}

/// The convolution of one band of rows of one image.
struct Band<'a, F> {
    form: PhantomData<F>,
    /// The image.
    x: MapSource<'a>,
    out: &'a mut [f32],
    buffer: &'a mut Vec<f32>,
    /// Of tiles.
    first_row: usize,
    shared: &'a Shared<'a>,
}

impl<F: Form> WithSimd for Band<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 12 x 2 accumulators leave room for weights and inputs in 32 registers; 6 x 2 in 16.
        match (S::F32_LANES, self.shared.co.div_ceil(S::F32_LANES)) {
            (16, 1) => self.run::<S, 24, 1>(simd),
            (16, _) => self.run::<S, 12, 2>(simd),
            (_, 1) => self.run::<S, 12, 1>(simd),
            _ => self.run::<S, 6, 2>(simd),
        }
    }
}

impl<F: Form> Band<'_, F> {
    #[inline(always)]
    fn run<S: Simd, const TILES: usize, const V: usize>(self, simd: S) {
        let Shared { weights, h, w, out_w, ci, co, ci_blocks, before, columns, .. } = *self.shared;
        let block = V * S::F32_LANES;
        let tiles = (self.out.len() / (out_w * co)).div_ceil(F::OUT) * columns;
        // One line more than needed: a power of two would put all points of a tile into one set of the cache.
        let depth = ci_blocks * CHANNELS;
        let point = depth * TILES + CHANNELS;
        let blocks = (STRIP / (F::POINTS * point)).clamp(1, tiles.div_ceil(TILES).max(1));
        let products = F::POINTS * TILES * block;
        let co_blocks = co.div_ceil(block);
        let kept = co_blocks.min(KEPT);
        let size = blocks * (F::POINTS * point + kept * products) + Image::columns(depth);
        let buffer = at_least(self.buffer, size);
        let (inputs, rest) = buffer.split_at_mut(blocks * F::POINTS * point);
        let (outputs, line) = rest.split_at_mut(blocks * kept * products);
        let image = Image { source: self.x, h, w, step: 1, before };
        let places = Places { point, block: TILES * CHANNELS, tile: CHANNELS, channels: CHANNELS };
        for first in (0..tiles).step_by(blocks * TILES) {
            let last = tiles.min(first + blocks * TILES);
            let mut i = first;
            while i < last {
                // As many tiles as lie in one block and one row of tiles.
                let (b, t) = ((i - first) / TILES, (i - first) % TILES);
                let count = (last - i).min(TILES - t).min(columns - i % columns);
                let at = (self.first_row + i / columns, i % columns, count);
                let to = &mut inputs[b * F::POINTS * point + t * CHANNELS..(b + 1) * F::POINTS * point];
                image.transform::<Input<F>, S>(simd, at, (0, ci_blocks), line, (to, places));
                i += count;
            }
            let used = (last - first).div_ceil(TILES);
            for first_block in (0..co_blocks).step_by(kept) {
                let now = kept.min(co_blocks - first_block);
                for k in 0..now {
                    for p in 0..F::POINTS {
                        let weights = &weights[((first_block + k) * F::POINTS + p) * depth * block..][..depth * block];
                        for b in 0..used {
                            let inputs = &inputs[(b * F::POINTS + p) * point..][..depth * TILES];
                            let start = (b * kept + k) * products + p * TILES * block;
                            let out = &mut outputs[start..start + TILES * block];
                            multiply::<S, TILES, V>(simd, ci, inputs, weights, out);
                        }
                    }
                }
                for i in first..last {
                    let (b, t) = ((i - first) / TILES, (i - first) % TILES);
                    let corner = [i / columns * F::OUT, i % columns * F::OUT];
                    for k in 0..now {
                        let from = (&outputs[(b * kept + k) * products + t * block..], TILES * block);
                        let channel = (first_block + k) * block;
                        store_tile::<F, S, V>(simd, from, self.shared, channel, corner, line, self.out);
                    }
                }
            }
        }
    }
}

/// `out[t, o] = sum over c of inputs[t, c] weights[c, o]` for `TILES` tiles, `ci` channels and one block of output channels.
#[inline(always)]
fn multiply<S: Simd, const TILES: usize, const V: usize>(
    simd: S,
    ci: usize,
    inputs: &[f32],
    weights: &[f32],
    out: &mut [f32],
) {
    let (weights, _) = S::as_simd_f32s(weights);
    let (out, _) = S::as_mut_simd_f32s(out);
    let out = &mut out[..TILES * V];
    let mut first = 0;
    while first < ci {
        let mut partial = [[simd.splat_f32s(0.0); V]; TILES];
        let last = ci.min(first + SUMMED);
        for start in (first..last).step_by(CHANNELS) {
            let inputs = &inputs[start * TILES..][..TILES * CHANNELS];
            let weights = &weights[start * V..][..CHANNELS * V];
            for k in 0..CHANNELS.min(last - start) {
                for t in 0..TILES {
                    let x = simd.splat_f32s(inputs[t * CHANNELS + k]);
                    for v in 0..V {
                        partial[t][v] = simd.mul_add_e_f32s(x, weights[k * V + v], partial[t][v]);
                    }
                }
            }
        }
        for t in 0..TILES {
            for v in 0..V {
                let out = &mut out[t * V + v];
                *out = if first == 0 { partial[t][v] } else { simd.add_f32s(*out, partial[t][v]) };
            }
        }
        first = last;
    }
}

/// Transforms the products of one tile back, by way of `columns`, and writes the pixels and channels that exist, from channel `first` on.
#[inline(always)]
fn store_tile<F: Form, S: Simd, const V: usize>(
    simd: S,
    (products, point): (&[f32], usize),
    shared: &Shared,
    first: usize,
    [row, col]: [usize; 2],
    columns: &mut [f32],
    out: &mut [f32],
) {
    let Shared { out_w: w, co, .. } = *shared;
    let (zero, slope) = (simd.splat_f32s(0.0), simd.splat_f32s(shared.negative_slope));
    let rows = F::OUT.min(out.len() / (w * co) - row);
    let cols = F::OUT.min(w - col);
    for v in 0..V {
        let lane = v * S::F32_LANES;
        let channel = first + lane;
        if channel >= co {
            continue;
        }
        let count = S::F32_LANES.min(co - channel);
        let bias = S::as_simd_f32s(&shared.bias[channel..channel + S::F32_LANES]).0[0];
        for j in 0..F::SIDE {
            let mut values = [zero; MOST_SIDE];
            for i in 0..F::SIDE {
                let from = &products[(i * F::SIDE + j) * point + lane..][..S::F32_LANES];
                values[i] = S::as_simd_f32s(from).0[0];
            }
            let values = F::output(simd, values);
            for i in 0..F::OUT {
                let to = &mut columns[(i * F::SIDE + j) * S::F32_LANES..][..S::F32_LANES];
                S::as_mut_simd_f32s(to).0[0] = values[i];
            }
        }
        for i in 0..rows {
            let mut values = [zero; MOST_SIDE];
            for j in 0..F::SIDE {
                let from = &columns[(i * F::SIDE + j) * S::F32_LANES..][..S::F32_LANES];
                values[j] = S::as_simd_f32s(from).0[0];
            }
            let values = F::output(simd, values);
            for j in 0..cols {
                let value = simd.add_f32s(values[j], bias);
                // A comparison keeps NaN, where minimum and maximum would hide it.
                let negative = simd.less_than_f32s(value, zero);
                let value = simd.select_f32s(negative, simd.mul_f32s(value, slope), value);
                let to = &mut out[((row + i) * w + col + j) * co + channel..][..count];
                if count == S::F32_LANES {
                    S::as_mut_simd_f32s(to).0[0] = value;
                } else {
                    simd.partial_store_f32s(to, value);
                }
            }
        }
    }
}
