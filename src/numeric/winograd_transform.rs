//! Winograd's transforms for tiles and kernels of some sizes (Lavin & Gray, 2016, "Fast algorithms for convolutional neural networks").
//!
//! Tiles and kernels become the values of polynomials at some points a side; the product of the values is the convolution's. The six
//! points of F(4x4, 3x3) and F(5x5, 2x2) are 0, ±5/8, ±3/2 and infinity: the common 0, ±1, ±2 err 2.2 times as much. How much the choice
//! matters is shown by Barabasz, Anderson, Soodhalter & Gregg (2020), "Error analysis and improving the accuracy of Winograd convolution
//! for deep neural networks"; these points were found by search among fractions that are exact in f32.

#![expect(
    clippy::needless_range_loop,
    reason = "transposing reads by index; iterators' closures are not always compiled for the machine's vectors"
)]

use std::marker::PhantomData;

use pulp::Simd;

use super::map_source::MapSource;

/// Most pixels a side of an output tile, and most taps a side of a kernel.
pub(super) const MOST_OUT: usize = 5;
pub(super) const MOST_TAPS: usize = 3;
/// Most points a side.
pub(super) const MOST_SIDE: usize = 6;
/// Channels of a block: one cache line.
pub(super) const CHANNELS: usize = 16;
/// The finite points of six other than zero, ± each, and their squares.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Values at the points of one side.
pub(super) type Values<S> = [<S as Simd>::f32s; MOST_SIDE];

/// How a convolution is cut: tiles of `OUT` x `OUT` outputs from tiles of `PIXELS` x `PIXELS` inputs, `STEP` apart, at `SIDE` x `SIDE`
/// points.
///
/// Every function is one side of a transform; entries past what there is are not used.
pub(super) trait Form: Send + Sync {
    const OUT: usize;
    const PIXELS: usize;
    const STEP: usize;
    const SIDE: usize;
    const POINTS: usize = Self::SIDE * Self::SIDE;

    /// Of the input.
    fn input<S: Simd>(simd: S, d: Values<S>) -> Values<S>;

    /// Of the output's gradient, which is the kernel when the kernel's gradient is computed: the transpose of `output`.
    fn gradient<S: Simd>(simd: S, d: Values<S>) -> Values<S>;

    /// The way back: from values at the points to outputs.
    fn output<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT];

    /// Of the kernel.
    fn kernel(g: [f64; MOST_TAPS]) -> [f64; MOST_SIDE];

    /// The way back to a kernel's gradient: the transpose of `kernel`.
    fn kernel_gradient(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS];
}

/// F(4x4, 3x3).
pub(super) struct Three;

impl Form for Three {
    const OUT: usize = 4;
    const PIXELS: usize = 6;
    const STEP: usize = 4;
    const SIDE: usize = 6;

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        input_of_six(simd, d)
    }

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let (a2, b2) = (simd.splat_f32s(A2), simd.splat_f32s(B2));
        let even = [simd.mul_add_e_f32s(a2, d[2], d[0]), simd.mul_add_e_f32s(b2, d[2], d[0])];
        let odd = [simd.mul_add_e_f32s(a2, d[3], d[1]), simd.mul_add_e_f32s(b2, d[3], d[1])];
        values_of_six(simd, d[0], even, odd, d[3])
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT] {
        let mut out = moments_of_six(simd, m);
        out[3] = simd.add_f32s(out[3], m[5]);
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, g2]: [f64; MOST_TAPS]) -> [f64; MOST_SIDE] {
        let (even_a, odd_a) = (g0 + f64::from(A2) * g2, f64::from(A) * g1);
        let (even_b, odd_b) = (g0 + f64::from(B2) * g2, f64::from(B) * g1);
        [
            g0 * DIVISORS[0],
            (even_a + odd_a) * DIVISORS[1],
            (even_a - odd_a) * DIVISORS[2],
            (even_b + odd_b) * DIVISORS[3],
            (even_b - odd_b) * DIVISORS[4],
            g2,
        ]
    }

    #[inline(always)]
    fn kernel_gradient(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS] {
        let [g0, g1, g2] = kernel_moments(m);
        [g0, g1, g2 + m[5]]
    }
}

/// F(5x5, 2x2).
pub(super) struct Two;

impl Form for Two {
    const OUT: usize = 5;
    const PIXELS: usize = 6;
    const STEP: usize = 5;
    const SIDE: usize = 6;

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        input_of_six(simd, d)
    }

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let (a2, b2) = (simd.splat_f32s(A2), simd.splat_f32s(B2));
        let even = [
            simd.mul_add_e_f32s(a2, simd.mul_add_e_f32s(a2, d[4], d[2]), d[0]),
            simd.mul_add_e_f32s(b2, simd.mul_add_e_f32s(b2, d[4], d[2]), d[0]),
        ];
        let odd = [simd.mul_add_e_f32s(a2, d[3], d[1]), simd.mul_add_e_f32s(b2, d[3], d[1])];
        values_of_six(simd, d[0], even, odd, d[4])
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT] {
        let mut out = moments_of_six(simd, m);
        out[4] = simd.add_f32s(out[4], m[5]);
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, _]: [f64; MOST_TAPS]) -> [f64; MOST_SIDE] {
        let (a, b) = (f64::from(A) * g1, f64::from(B) * g1);
        [
            g0 * DIVISORS[0],
            (g0 + a) * DIVISORS[1],
            (g0 - a) * DIVISORS[2],
            (g0 + b) * DIVISORS[3],
            (g0 - b) * DIVISORS[4],
            g1,
        ]
    }

    #[inline(always)]
    fn kernel_gradient(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS] {
        let [g0, g1, _] = kernel_moments(m);
        [g0, g1 + m[5], 0.0]
    }
}

/// A 2 x 2 kernel on a map doubled by nearest neighbours: 4 products for four outputs, where phases take 9 and the doubled map 16.
///
/// Along an axis outputs 2i and 2i + 1 are `(g0 + g1) x[i]` and `g0 x[i] + g1 x[i+1]`: the first and the second's difference from
/// it, `g1 (x[i+1] - x[i])`, are one product each.
pub(super) struct Doubled;

impl Form for Doubled {
    const OUT: usize = 2;
    const PIXELS: usize = 2;
    const STEP: usize = 1;
    const SIDE: usize = 2;

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let mut values = [simd.splat_f32s(0.0); MOST_SIDE];
        (values[0], values[1]) = (d[0], simd.sub_f32s(d[1], d[0]));
        values
    }

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let mut values = [simd.splat_f32s(0.0); MOST_SIDE];
        (values[0], values[1]) = (simd.add_f32s(d[0], d[1]), d[1]);
        values
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT] {
        let mut out = [simd.splat_f32s(0.0); MOST_OUT];
        (out[0], out[1]) = (m[0], simd.add_f32s(m[0], m[1]));
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, _]: [f64; MOST_TAPS]) -> [f64; MOST_SIDE] {
        [g0 + g1, g1, 0.0, 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn kernel_gradient(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS] {
        [m[0], m[0] + m[1], 0.0]
    }
}

/// The gradient of [`Doubled`]'s input, as a convolution of the large map's gradient with the turned kernel: along an axis
/// `(g0 + g1) (d[2i] + d[2i+1]) + g0 (d[2i-1] - d[2i+1])`.
pub(super) struct Halved;

impl Form for Halved {
    const OUT: usize = 1;
    const PIXELS: usize = 3;
    const STEP: usize = 2;
    const SIDE: usize = 2;

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let mut values = [simd.splat_f32s(0.0); MOST_SIDE];
        (values[0], values[1]) = (simd.add_f32s(d[1], d[2]), simd.sub_f32s(d[0], d[2]));
        values
    }

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        let mut values = [simd.splat_f32s(0.0); MOST_SIDE];
        (values[0], values[1]) = (d[0], d[0]);
        values
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT] {
        let mut out = [simd.splat_f32s(0.0); MOST_OUT];
        out[0] = simd.add_f32s(m[0], m[1]);
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, _]: [f64; MOST_TAPS]) -> [f64; MOST_SIDE] {
        [g0 + g1, g0, 0.0, 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn kernel_gradient(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS] {
        [m[0] + m[1], m[0], 0.0]
    }
}

/// For each point p of six, the tile times the product of (x - q) over the other points q.
#[inline(always)]
fn input_of_six<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
    let even_a = simd.mul_add_e_f32s(simd.splat_f32s(-B2), d[2], d[4]);
    let odd_a = simd.mul_add_e_f32s(simd.splat_f32s(-B2), d[1], d[3]);
    let even_b = simd.mul_add_e_f32s(simd.splat_f32s(-A2), d[2], d[4]);
    let odd_b = simd.mul_add_e_f32s(simd.splat_f32s(-A2), d[1], d[3]);
    let (product, sum) = (simd.splat_f32s(A2 * B2), simd.splat_f32s(-A2 - B2));
    let zero = simd.mul_add_e_f32s(product, d[0], simd.mul_add_e_f32s(sum, d[2], d[4]));
    let infinity = simd.mul_add_e_f32s(product, d[1], simd.mul_add_e_f32s(sum, d[3], d[5]));
    values_of_six(simd, zero, [even_a, even_b], [odd_a, odd_b], infinity)
}

/// Values at all of six points of a polynomial in even and odd parts, for both pairs of points; the odd parts lack the point itself.
#[inline(always)]
fn values_of_six<S: Simd>(
    simd: S,
    zero: S::f32s,
    even: [S::f32s; 2],
    odd: [S::f32s; 2],
    infinity: S::f32s,
) -> Values<S> {
    [
        zero,
        simd.mul_add_e_f32s(simd.splat_f32s(A), odd[0], even[0]),
        simd.mul_add_e_f32s(simd.splat_f32s(-A), odd[0], even[0]),
        simd.mul_add_e_f32s(simd.splat_f32s(B), odd[1], even[1]),
        simd.mul_add_e_f32s(simd.splat_f32s(-B), odd[1], even[1]),
        infinity,
    ]
}

/// Sums over the finite points of six of value times a power of the point, from 0 to 4.
#[inline(always)]
fn moments_of_six<S: Simd>(simd: S, m: Values<S>) -> [S::f32s; MOST_OUT] {
    let (sum_a, difference_a) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (sum_b, difference_b) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    let moment =
        |a: f32, x, b: f32, y| simd.mul_add_e_f32s(simd.splat_f32s(a), x, simd.mul_f32s(simd.splat_f32s(b), y));
    [
        simd.add_f32s(m[0], simd.add_f32s(sum_a, sum_b)),
        moment(A, difference_a, B, difference_b),
        moment(A2, sum_a, B2, sum_b),
        moment(A * A2, difference_a, B * B2, difference_b),
        moment(A2 * A2, sum_a, B2 * B2, sum_b),
    ]
}

/// The same over the points' divisors, from 0 to 2.
#[inline(always)]
fn kernel_moments(m: [f64; MOST_SIDE]) -> [f64; MOST_TAPS] {
    let (plus_a, minus_a) = (m[1] * DIVISORS[1], m[2] * DIVISORS[2]);
    let (plus_b, minus_b) = (m[3] * DIVISORS[3], m[4] * DIVISORS[4]);
    let (sum_a, sum_b) = (plus_a + minus_a, plus_b + minus_b);
    [
        m[0] * DIVISORS[0] + sum_a + sum_b,
        f64::from(A) * (plus_a - minus_a) + f64::from(B) * (plus_b - minus_b),
        f64::from(A2) * sum_a + f64::from(B2) * sum_b,
    ]
}

/// One over the product of a point's differences from the other finite points of six; 1 for infinity.
const DIVISORS: [f64; 6] = {
    let (a2, b2) = (A2 as f64, B2 as f64);
    let (a, b) = (1.0 / (2.0 * a2 * (a2 - b2)), 1.0 / (2.0 * b2 * (b2 - a2)));
    [1.0 / (a2 * b2), a, a, b, b, 1.0]
};

/// One side of a tile's transform, from `PIXELS` pixels to `SIDE` values; tiles lie `STEP` pixels apart.
pub(super) trait Transform {
    const PIXELS: usize;
    const STEP: usize;
    const SIDE: usize;

    /// Values at the points; entries of `d` past `PIXELS` are not used.
    fn apply<S: Simd>(simd: S, d: Values<S>) -> Values<S>;
}

/// Of the convolution's input: [`Form::input`].
pub(super) struct Input<F>(PhantomData<F>);

impl<F: Form> Transform for Input<F> {
    const PIXELS: usize = F::PIXELS;
    const STEP: usize = F::STEP;
    const SIDE: usize = F::SIDE;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        F::input(simd, d)
    }
}

/// Of the output's gradient: [`Form::gradient`].
pub(super) struct Gradient<F>(PhantomData<F>);

impl<F: Form> Transform for Gradient<F> {
    const PIXELS: usize = F::OUT;
    const STEP: usize = F::OUT;
    const SIDE: usize = F::SIDE;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: Values<S>) -> Values<S> {
        F::gradient(simd, d)
    }
}

/// The nearest f32.
pub(super) fn narrow(x: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
    let narrow = x as f32;
    narrow
}

/// An image (H, W, C) of which tiles are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) source: MapSource<'a>,
    pub(super) h: usize,
    pub(super) w: usize,
    /// Pixels of the image that one of the source stands for, along an axis: two if it is to be doubled.
    pub(super) step: usize,
    /// Rows above and columns left of the first tile that a tile reaches.
    pub(super) before: [usize; 2],
}

/// Where the values of tiles go: those of tile t, point p, channel c of block b to
/// `p * point + b * block + t * tile + c`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) point: usize,
    pub(super) block: usize,
    pub(super) tile: usize,
    /// Channels of a block, a multiple of the machine's vectors.
    pub(super) channels: usize,
}

impl Image<'_> {
    /// Floats of `columns` for [`Image::transform`] of `channels` channels.
    pub(super) fn columns(channels: usize) -> usize {
        MOST_SIDE * MOST_SIDE * channels
    }

    /// Transforms all `first_channel..` channels that `places` has room for, of `count` tiles side by side from tile `(row, col)`
    /// on. Reads row by row along the image, so that the machine can foresee it.
    #[inline(always)]
    pub(super) fn transform<T: Transform, S: Simd>(
        &self,
        simd: S,
        (row, col, count): (usize, usize, usize),
        (first_channel, blocks): (usize, usize),
        columns: &mut [f32],
        (to, places): (&mut [f32], Places),
    ) {
        let padded = blocks * places.channels;
        let column = T::SIDE * padded;
        let overlap = T::PIXELS.saturating_sub(T::STEP);
        for t in 0..count {
            // The last columns of a tile are the first of the next: they stay where they are, and the others take turns.
            let slot = |j: usize| (t * T::STEP + j) % T::PIXELS * column;
            for j in if t == 0 { 0 } else { overlap }..T::PIXELS {
                let x = ((col + t) * T::STEP + j).wrapping_sub(self.before[1]);
                let mut pixels = [None; MOST_SIDE];
                for i in 0..T::PIXELS {
                    let y = (row * T::STEP + i).wrapping_sub(self.before[0]);
                    if y < self.h && x < self.w {
                        pixels[i] = Some(y / self.step * (self.w / self.step) + x / self.step);
                    }
                }
                let to = &mut columns[slot(j)..slot(j) + column];
                transform_column::<T, S>(simd, &self.source, first_channel, &pixels, to);
            }
            let mut slots = [0; MOST_SIDE];
            for j in 0..T::PIXELS {
                slots[j] = slot(j);
            }
            for b in 0..blocks {
                for lane in (0..places.channels).step_by(S::F32_LANES) {
                    let from = b * places.channels + lane;
                    for i in 0..T::SIDE {
                        let mut row = [simd.splat_f32s(0.0); MOST_SIDE];
                        for j in 0..T::PIXELS {
                            let start = slots[j] + i * padded + from;
                            row[j] = S::as_simd_f32s(&columns[start..start + S::F32_LANES]).0[0];
                        }
                        let row = T::apply(simd, row);
                        for j in 0..T::SIDE {
                            let start = (i * T::SIDE + j) * places.point + b * places.block + t * places.tile + lane;
                            S::as_mut_simd_f32s(&mut to[start..start + S::F32_LANES]).0[0] = row[j];
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one column of pixels, from channel `first` on, to (point, channel). Pixels outside and channels past the last are zero.
#[inline(always)]
fn transform_column<T: Transform, S: Simd>(
    simd: S,
    source: &MapSource,
    first: usize,
    pixels: &[Option<usize>; MOST_SIDE],
    to: &mut [f32],
) {
    let padded = to.len() / T::SIDE;
    for c in (0..padded).step_by(S::F32_LANES) {
        let lanes = source.lanes(simd, first + c);
        let mut column = [simd.splat_f32s(0.0); MOST_SIDE];
        for i in 0..T::PIXELS {
            if let Some(pixel) = pixels[i] {
                column[i] = source.load(simd, &lanes, pixel);
            }
        }
        let column = T::apply(simd, column);
        for i in 0..T::SIDE {
            let start = i * padded + c;
            S::as_mut_simd_f32s(&mut to[start..start + S::F32_LANES]).0[0] = column[i];
        }
    }
}
