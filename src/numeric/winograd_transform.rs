//! Winograd's transforms for tiles of 4 x 4 pixels and kernels of 3 x 3, or 5 x 5 and 2 x 2 (Lavin & Gray, 2016, "Fast algorithms for convolutional
//! neural networks").
//!
//! Tiles and kernels become the values of polynomials at six points a side; the product of the values is the convolution's. The
//! points are 0, ±5/8, ±3/2 and infinity. The common 0, ±1, ±2 err 2.2 times as much; how much the choice matters is shown by
//! Barabasz, Anderson, Soodhalter & Gregg (2020), "Error analysis and improving the accuracy of Winograd convolution for
//! deep neural networks"; these points were found by search among fractions that are exact in f32.

#![expect(
    clippy::needless_range_loop,
    reason = "transposing reads by index; iterators' closures are not always compiled for the machine's vectors"
)]

use std::marker::PhantomData;

use pulp::Simd;

/// Most pixels a side of an output tile, and most taps a side of a kernel.
pub(super) const MOST_OUT: usize = 5;
pub(super) const MOST_TAPS: usize = 3;
/// Points a side, also the side of an input tile; points in all.
pub(super) const SIDE: usize = 6;
pub(super) const POINTS: usize = SIDE * SIDE;
/// Channels of a block: one cache line.
pub(super) const CHANNELS: usize = 16;
/// The finite points other than zero, ± each, and their squares.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// How a convolution is cut: tiles of `OUT` x `OUT` outputs and a kernel of `TAPS` x `TAPS`, with `OUT + TAPS - 1` = [`SIDE`].
///
/// Every function is one side of a transform; entries past `OUT` or `TAPS` are not used.
pub(super) trait Form: Send + Sync {
    const OUT: usize;
    const TAPS: usize;

    /// Of the output's gradient, which is the kernel when the kernel's gradient is computed: the polynomial's value at each point.
    fn gradient<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE];

    /// The way back: from values at the points to outputs.
    fn output<S: Simd>(simd: S, m: [S::f32s; SIDE]) -> [S::f32s; MOST_OUT];

    /// Of the kernel: the polynomial's value over the point's divisor; at infinity its last tap.
    fn kernel(g: [f64; MOST_TAPS]) -> [f64; SIDE];

    /// The way back to a kernel's gradient: the transpose of `kernel`.
    fn kernel_gradient(m: [f64; SIDE]) -> [f64; MOST_TAPS];
}

/// F(4x4, 3x3).
pub(super) struct Three;

impl Form for Three {
    const OUT: usize = 4;
    const TAPS: usize = 3;

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
        let (a2, b2) = (simd.splat_f32s(A2), simd.splat_f32s(B2));
        let even = [simd.mul_add_e_f32s(a2, d[2], d[0]), simd.mul_add_e_f32s(b2, d[2], d[0])];
        let odd = [simd.mul_add_e_f32s(a2, d[3], d[1]), simd.mul_add_e_f32s(b2, d[3], d[1])];
        values(simd, d[0], even, odd, d[3])
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::f32s; SIDE]) -> [S::f32s; MOST_OUT] {
        let mut out = moments(simd, m);
        out[3] = simd.add_f32s(out[3], m[5]);
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, g2]: [f64; MOST_TAPS]) -> [f64; SIDE] {
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
    fn kernel_gradient(m: [f64; SIDE]) -> [f64; MOST_TAPS] {
        let [g0, g1, g2] = kernel_moments(m);
        [g0, g1, g2 + m[5]]
    }
}

/// F(5x5, 2x2).
pub(super) struct Two;

impl Form for Two {
    const OUT: usize = 5;
    const TAPS: usize = 2;

    #[inline(always)]
    fn gradient<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
        let (a2, b2) = (simd.splat_f32s(A2), simd.splat_f32s(B2));
        let even = [
            simd.mul_add_e_f32s(a2, simd.mul_add_e_f32s(a2, d[4], d[2]), d[0]),
            simd.mul_add_e_f32s(b2, simd.mul_add_e_f32s(b2, d[4], d[2]), d[0]),
        ];
        let odd = [simd.mul_add_e_f32s(a2, d[3], d[1]), simd.mul_add_e_f32s(b2, d[3], d[1])];
        values(simd, d[0], even, odd, d[4])
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: [S::f32s; SIDE]) -> [S::f32s; MOST_OUT] {
        let mut out = moments(simd, m);
        out[4] = simd.add_f32s(out[4], m[5]);
        out
    }

    #[inline(always)]
    fn kernel([g0, g1, _]: [f64; MOST_TAPS]) -> [f64; SIDE] {
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
    fn kernel_gradient(m: [f64; SIDE]) -> [f64; MOST_TAPS] {
        let [g0, g1, _] = kernel_moments(m);
        [g0, g1 + m[5], 0.0]
    }
}

/// Values at all points of a polynomial in even and odd parts, for both pairs of points; the odd parts lack the point itself.
#[inline(always)]
fn values<S: Simd>(
    simd: S,
    zero: S::f32s,
    even: [S::f32s; 2],
    odd: [S::f32s; 2],
    infinity: S::f32s,
) -> [S::f32s; SIDE] {
    [
        zero,
        simd.mul_add_e_f32s(simd.splat_f32s(A), odd[0], even[0]),
        simd.mul_add_e_f32s(simd.splat_f32s(-A), odd[0], even[0]),
        simd.mul_add_e_f32s(simd.splat_f32s(B), odd[1], even[1]),
        simd.mul_add_e_f32s(simd.splat_f32s(-B), odd[1], even[1]),
        infinity,
    ]
}

/// Sums over the finite points of value times a power of the point, from 0 to 4.
#[inline(always)]
fn moments<S: Simd>(simd: S, m: [S::f32s; SIDE]) -> [S::f32s; MOST_OUT] {
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
fn kernel_moments(m: [f64; SIDE]) -> [f64; MOST_TAPS] {
    let (plus_a, minus_a) = (m[1] * DIVISORS[1], m[2] * DIVISORS[2]);
    let (plus_b, minus_b) = (m[3] * DIVISORS[3], m[4] * DIVISORS[4]);
    let (sum_a, sum_b) = (plus_a + minus_a, plus_b + minus_b);
    [
        m[0] * DIVISORS[0] + sum_a + sum_b,
        f64::from(A) * (plus_a - minus_a) + f64::from(B) * (plus_b - minus_b),
        f64::from(A2) * sum_a + f64::from(B2) * sum_b,
    ]
}

/// One over the product of a point's differences from the other finite points; 1 for infinity.
const DIVISORS: [f64; SIDE] = {
    let (a2, b2) = (A2 as f64, B2 as f64);
    let (a, b) = (1.0 / (2.0 * a2 * (a2 - b2)), 1.0 / (2.0 * b2 * (b2 - a2)));
    [1.0 / (a2 * b2), a, a, b, b, 1.0]
};

/// One side of a tile's transform, from `PIXELS` pixels to [`SIDE`] values; tiles lie `STEP` pixels apart.
pub(super) trait Transform {
    const PIXELS: usize;
    const STEP: usize;

    /// Values at the points; entries of `d` past `PIXELS` are not used.
    fn apply<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE];
}

/// Of the convolution's input: for each point p, the tile times the product of (x - q) over the other points q.
pub(super) struct Input<F>(PhantomData<F>);

impl<F: Form> Transform for Input<F> {
    const PIXELS: usize = SIDE;
    const STEP: usize = F::OUT;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
        let even_a = simd.mul_add_e_f32s(simd.splat_f32s(-B2), d[2], d[4]);
        let odd_a = simd.mul_add_e_f32s(simd.splat_f32s(-B2), d[1], d[3]);
        let even_b = simd.mul_add_e_f32s(simd.splat_f32s(-A2), d[2], d[4]);
        let odd_b = simd.mul_add_e_f32s(simd.splat_f32s(-A2), d[1], d[3]);
        let (product, sum) = (simd.splat_f32s(A2 * B2), simd.splat_f32s(-A2 - B2));
        let zero = simd.mul_add_e_f32s(product, d[0], simd.mul_add_e_f32s(sum, d[2], d[4]));
        let infinity = simd.mul_add_e_f32s(product, d[1], simd.mul_add_e_f32s(sum, d[3], d[5]));
        values(simd, zero, [even_a, even_b], [odd_a, odd_b], infinity)
    }
}

/// Of the output's gradient: [`Form::gradient`].
pub(super) struct Gradient<F>(PhantomData<F>);

impl<F: Form> Transform for Gradient<F> {
    const PIXELS: usize = F::OUT;
    const STEP: usize = F::OUT;

    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
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
    pub(super) data: &'a [f32],
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) channels: usize,
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
        SIDE * SIDE * channels
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
        let column = SIDE * padded;
        let overlap = T::PIXELS - T::STEP;
        let last = self.channels.min(first_channel + padded);
        for t in 0..count {
            // The last columns of a tile are the first of the next.
            let known = if t == 0 { 0 } else { overlap };
            if known > 0 {
                columns.copy_within(T::STEP * column..(T::STEP + overlap) * column, 0);
            }
            for j in known..T::PIXELS {
                let x = ((col + t) * T::STEP + j).wrapping_sub(self.before[1]);
                let mut pixels: [&[f32]; SIDE] = [&[]; SIDE];
                for i in 0..T::PIXELS {
                    let y = (row * T::STEP + i).wrapping_sub(self.before[0]);
                    if y < self.h && x < self.w {
                        let start = (y * self.w + x) * self.channels;
                        pixels[i] = &self.data[start + first_channel..start + last];
                    }
                }
                transform_column::<T, S>(simd, &pixels, &mut columns[j * column..(j + 1) * column]);
            }
            for b in 0..blocks {
                for lane in (0..places.channels).step_by(S::F32_LANES) {
                    let from = b * places.channels + lane;
                    for i in 0..SIDE {
                        let mut row = [simd.splat_f32s(0.0); SIDE];
                        for j in 0..T::PIXELS {
                            let start = j * column + i * padded + from;
                            row[j] = S::as_simd_f32s(&columns[start..start + S::F32_LANES]).0[0];
                        }
                        let row = T::apply(simd, row);
                        for j in 0..SIDE {
                            let start = (i * SIDE + j) * places.point + b * places.block + t * places.tile + lane;
                            S::as_mut_simd_f32s(&mut to[start..start + S::F32_LANES]).0[0] = row[j];
                        }
                    }
                }
            }
        }
    }
}

/// Transforms one column of pixels to (point, channel). Empty pixels and channels past the last are zero.
#[inline(always)]
fn transform_column<T: Transform, S: Simd>(simd: S, pixels: &[&[f32]; SIDE], to: &mut [f32]) {
    let padded = to.len() / SIDE;
    for c in (0..padded).step_by(S::F32_LANES) {
        let mut column = [simd.splat_f32s(0.0); SIDE];
        for i in 0..T::PIXELS {
            let pixel = pixels[i];
            if c + S::F32_LANES <= pixel.len() {
                column[i] = S::as_simd_f32s(&pixel[c..c + S::F32_LANES]).0[0];
            } else if c < pixel.len() {
                column[i] = simd.partial_load_f32s(&pixel[c..]);
            }
        }
        let column = T::apply(simd, column);
        for i in 0..SIDE {
            let start = i * padded + c;
            S::as_mut_simd_f32s(&mut to[start..start + S::F32_LANES]).0[0] = column[i];
        }
    }
}
