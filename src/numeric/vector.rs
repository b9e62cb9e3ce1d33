//! Parallel loops over rows and elements, and pointwise functions that the compiler turns into vector code.
//!
//! An operand that is empty lies in `out`: what is to be read there is read before it is overwritten.

use pulp::Arch;
use rayon::prelude::*;

use super::thread_buffer::{at_least, with_thread_buffer};

/// Elements a thread takes at a time: enough to outweigh the hand-over, few enough to keep every core busy.
const BLOCK: usize = 1 << 14;

/// `out[i] = f(x[i])`, in parallel, compiled for the widest vectors of the machine.
pub fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Sync + Copy) {
    let arch = Arch::new();
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(i, out)| {
        let x = piece(x, i * BLOCK, out.len());
        arch.dispatch(|| match x {
            Some(x) => {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = f(x);
                }
            }
            None => {
                for o in out {
                    *o = f(*o);
                }
            }
        });
    });
}

/// `out[i] = f(a[i], b[i])`, in parallel, compiled for the widest vectors of the machine.
pub fn map2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    let arch = Arch::new();
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(i, out)| {
        let (a, b) = (piece(a, i * BLOCK, out.len()), piece(b, i * BLOCK, out.len()));
        arch.dispatch(|| match (a, b) {
            (Some(a), Some(b)) => {
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *o = f(a, b);
                }
            }
            (None, Some(b)) => {
                for (o, &b) in out.iter_mut().zip(b) {
                    *o = f(*o, b);
                }
            }
            (Some(a), None) => {
                for (o, &a) in out.iter_mut().zip(a) {
                    *o = f(a, *o);
                }
            }
            (None, None) => {
                for o in out {
                    *o = f(*o, *o);
                }
            }
        });
    });
}

/// A piece of an operand; none where the operand lies in the output.
fn piece(x: &[f32], start: usize, len: usize) -> Option<&[f32]> {
    (!x.is_empty()).then(|| &x[start..start + len])
}

/// Calls `f` with the piece of an operand that belongs to `out`, or with a copy of `out` where the operand lies there.
fn with_piece(x: &[f32], start: usize, out: &mut [f32], f: impl FnOnce(&[f32], &mut [f32])) {
    match piece(x, start, out.len()) {
        Some(x) => f(x, out),
        None => with_thread_buffer(|buffer| {
            let copy = at_least(buffer, out.len());
            copy.copy_from_slice(out);
            f(copy, out);
        }),
    }
}

/// Calls `f(row of x, row of out)` for every row of `channels` elements, in parallel, compiled for the widest vectors of
/// the machine.
pub fn rows(x: &[f32], out: &mut [f32], channels: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) {
    let arch = Arch::new();
    let block = channels * (1 + BLOCK / channels);
    out.par_chunks_mut(block).enumerate().for_each(|(i, out)| {
        with_piece(x, i * block, out, |x, out| {
            arch.dispatch(|| {
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    f(x, out);
                }
            });
        });
    });
}

/// The same with two rows to read: `f(row of a, row of b, row of out)`.
pub fn rows2(a: &[f32], b: &[f32], out: &mut [f32], channels: usize, f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) {
    let arch = Arch::new();
    let block = channels * (1 + BLOCK / channels);
    out.par_chunks_mut(block).enumerate().for_each(|(i, out)| {
        with_piece(a, i * block, out, |a, out| {
            with_piece(b, i * block, out, |b, out| {
                arch.dispatch(|| {
                    let pairs = a.chunks_exact(channels).zip(b.chunks_exact(channels));
                    for (out, (a, b)) in out.chunks_exact_mut(channels).zip(pairs) {
                        f(a, b, out);
                    }
                });
            });
        });
    });
}

/// Calls `f(index of the first row, rows of out)` for blocks of rows, in parallel, compiled for the widest vectors of the machine.
pub fn row_blocks(out: &mut [f32], channels: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let arch = Arch::new();
    let rows = 1 + BLOCK / channels;
    out.par_chunks_mut(rows * channels).enumerate().for_each(|(block, out)| {
        arch.dispatch(|| f(block * rows, &mut *out));
    });
}

/// e to the x, to 2 units in the last place. Below -87 it is 0; above 88 it saturates near the largest float.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor polynomial of degree 7 (remainder 5e-9 relative).
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // The low bits of `rounded` hold n in two's complement; shifted into the exponent field they multiply by 2^n.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.0 { 0.0 } else { p * power }
}

/// The error function, to 2e-7 (Abramowitz & Stegun 1964, formula 7.1.26).
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let poly = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - poly * exp(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::{erf, exp};

    #[test]
    fn exp_is_accurate_over_its_range() {
        for i in -8690..8800_i16 {
            let x = f32::from(i) * 0.01;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error:e}");
        }
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn erf_is_accurate_and_odd() {
        for i in -600..=600_i16 {
            let x = f32::from(i) * 0.01;
            assert!((f64::from(erf(x)) - libm::erf(f64::from(x))).abs() < 4e-7, "erf({x})");
            assert_eq!(erf(-x), -erf(x));
        }
    }
}
