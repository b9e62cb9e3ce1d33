//! Matrix products through the `gemm` family of crates.

use std::sync::OnceLock;

use gemm_common::Parallelism;
use pulp::Arch;
use rayon::prelude::*;

use super::map_source::MapSource;
use super::thread_buffer::{at_least, with_thread_buffer};

/// A row-major matrix, possibly stored transposed.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements; more than needed is fine.
    pub data: &'a [f32],
    /// Whether rows and columns are exchanged in memory.
    pub transposed: bool,
}

impl<'a> Matrix<'a> {
    fn view(self, rows: usize, cols: usize) -> View<'a> {
        View {
            data: self.data,
            row_stride: if self.transposed { 1 } else { cols },
            col_stride: if self.transposed { rows } else { 1 },
        }
    }
}

/// Products smaller than this run on the calling thread: handing them over costs more.
const PARALLEL_FLOP: usize = 1 << 20;

/// `out = a b + bias`, row-major, for a of `m x k` and b of `k x n`; all cores take part in large products.
///
/// # Panics
/// If a slice is shorter than its extents say: operators check shapes before.
pub fn multiply([m, n, k]: [usize; 3], a: Matrix, b: Matrix, bias: Option<&[f32]>, out: &mut [f32]) {
    let parallel = 2 * m * n * k >= PARALLEL_FLOP;
    multiply_strided([m, n, k], a.view(m, k), b.view(k, n), bias, (out, n), 1.0, parallel);
}

/// Floats of the result that a thread takes at a time in [`multiply_map`]: they stay in the second-level cache.
const BLOCK: usize = 1 << 16;

/// `out = x b + bias + addend`, row-major, for a map x of `k` channels and b of `k x n`. Neither the joined or normalised map nor
/// the product alone is made whole. Results do not depend on the number of threads.
///
/// # Panics
/// If a slice is shorter than its extents say: operators check shapes before.
pub fn multiply_map(
    [n, k]: [usize; 2],
    x: MapSource,
    b: Matrix,
    bias: Option<&[f32]>,
    addend: Option<MapSource>,
    out: &mut [f32],
) {
    let block = (BLOCK / n.max(k)).max(64);
    let b = b.view(k, n);
    let arch = Arch::new();
    out.par_chunks_mut(block * n).enumerate().for_each(|(i, out)| {
        let first = i * block;
        let count = out.len() / n;
        if let Some(addend) = addend {
            arch.dispatch(|| addend.read(first..first + count, 0..n, out, n));
        }
        if let Some(bias) = bias {
            for row in out.chunks_exact_mut(n) {
                for (out, &bias) in row.iter_mut().zip(bias) {
                    *out = bias + if addend.is_some() { *out } else { 0.0 };
                }
            }
        }
        let mut keep = addend.is_some() || bias.is_some();
        for (channel, part) in x.parts() {
            let b = View { data: &b.data[channel * b.row_stride..], ..b };
            let part = part.rows(first..first + count);
            let width = part.channels();
            let mut multiply = |x: &[f32]| {
                let x = View { data: x, row_stride: width, col_stride: 1 };
                run([count, n, width], x, b, keep, (&mut *out, n), 1.0, false);
            };
            match part.values() {
                Some(values) => multiply(values),
                None => with_thread_buffer(|buffer| {
                    let values = at_least(buffer, count * width);
                    arch.dispatch(|| part.read(0..count, 0..width, values, width));
                    multiply(values);
                }),
            }
            keep = true;
        }
    });
}

/// Rows that one product over rows takes at a time, so that a long sum is a sum of short ones.
const BAND: usize = 4096;
/// Results of at least this many elements occupy all cores by themselves.
const WIDE: usize = 256 * 256;

/// Bands of rows, and their length, for `a^T b` with a of `rows x m` and b of `rows x n`.
fn bands([m, n, rows]: [usize; 3]) -> (usize, usize) {
    if m * n >= WIDE || rows <= BAND {
        return (1, rows);
    }
    let length = rows.div_ceil(rows.div_ceil(BAND));
    (rows.div_ceil(length), length)
}

/// Floats of temporary memory for [`multiply_over_rows`].
#[must_use]
pub fn over_rows_scratch([m, n, rows]: [usize; 3]) -> usize {
    match bands([m, n, rows]).0 {
        1 => 0,
        bands => bands * m * n,
    }
}

/// Rows of a map that is not plain that are read at a time.
const READ: usize = 512;

/// `out = x^T b` for a map x of `rows x m` and b of `rows x n`, row-major, with many rows. Bands of rows are products of their own,
/// which depend on the extents alone and are added up in f64 in order: the same bits on any number of threads.
///
/// # Panics
/// If a slice is shorter than its extents say: operators check shapes before.
pub fn multiply_over_rows([m, n, rows]: [usize; 3], x: MapSource, b: &[f32], out: &mut [f32], scratch: &mut [f32]) {
    let (count, length) = bands([m, n, rows]);
    if count == 1 {
        match x.values() {
            Some(x) => {
                let x = Matrix { data: x, transposed: true };
                multiply([m, n, rows], x, Matrix { data: b, transposed: false }, None, out);
            }
            None => over_band([m, n, rows], x, b, out, true),
        }
        return;
    }
    let scratch = &mut scratch[..count * m * n];
    scratch.par_chunks_mut(m * n).enumerate().for_each(|(band, out)| {
        let band = band * length..rows.min((band + 1) * length);
        over_band([m, n, band.len()], x.rows(band.clone()), &b[band.start * n..], out, false);
    });
    let scratch = &*scratch;
    out.par_chunks_mut(1024).enumerate().for_each(|(block, out)| {
        for (i, out) in out.iter_mut().enumerate() {
            let parts = scratch.iter().skip(block * 1024 + i).step_by(m * n);
            #[expect(clippy::cast_possible_truncation, reason = "the sum as f32 is the result")]
            let sum = parts.map(|&x| f64::from(x)).sum::<f64>() as f32;
            *out = sum;
        }
    });
}

/// `out = x^T b` in one band: a product for every tensor of x.
fn over_band([_, n, rows]: [usize; 3], x: MapSource, b: &[f32], out: &mut [f32], parallel: bool) {
    let arch = Arch::new();
    for (channel, part) in x.parts() {
        let width = part.channels();
        let out = &mut out[channel * n..(channel + width) * n];
        let mut multiply = |x: &[f32], first: usize, count: usize| {
            let x = View { data: x, row_stride: 1, col_stride: width };
            let b = View { data: &b[first * n..], row_stride: n, col_stride: 1 };
            run([width, n, count], x, b, first > 0, (&mut *out, n), 1.0, parallel);
        };
        match part.values() {
            Some(values) => multiply(values, 0, rows),
            None => {
                for first in (0..rows).step_by(READ) {
                    let count = READ.min(rows - first);
                    with_thread_buffer(|buffer| {
                        let values = at_least(buffer, count * width);
                        arch.dispatch(|| part.read(first..first + count, 0..width, values, width));
                        multiply(values, first, count);
                    });
                }
            }
        }
    }
}

/// A matrix with free strides, in elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

/// `out = scale * a b + bias` for strided operands, on the calling thread unless `parallel`; rows of `out` are `out.1` elements apart and `n` long.
pub(crate) fn multiply_strided(
    [m, n, k]: [usize; 3],
    a: View,
    b: View,
    bias: Option<&[f32]>,
    (out, out_stride): (&mut [f32], usize),
    scale: f32,
    parallel: bool,
) {
    if let Some(bias) = bias {
        for row in out.chunks_mut(out_stride).take(m) {
            row[..n].copy_from_slice(&bias[..n]);
        }
    }
    run([m, n, k], a, b, bias.is_some(), (out, out_stride), scale, parallel);
}

/// `out += scale * a b` for strided operands, on the calling thread.
pub(crate) fn accumulate_strided(extents: [usize; 3], a: View, b: View, out: (&mut [f32], usize), scale: f32) {
    run(extents, a, b, true, out, scale, false);
}

/// `out = scale * a b`, plus what `out` holds if `keep`.
fn run(
    [m, n, k]: [usize; 3],
    a: View,
    b: View,
    keep: bool,
    (out, out_stride): (&mut [f32], usize),
    scale: f32,
    parallel: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |rows: usize, cols: usize, rs: usize, cs: usize| (rows - 1) * rs + (cols - 1) * cs;
    assert!(last(m, k, a.row_stride, a.col_stride) < a.data.len(), "matrix a is too short");
    assert!(last(k, n, b.row_stride, b.col_stride) < b.data.len(), "matrix b is too short");
    assert!(last(m, n, out_stride, 1) < out.len() && out_stride >= n, "the result is too short");
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    let stride = |x: usize| isize::try_from(x).unwrap_or(isize::MAX);
    // The micro-kernels want a column-major result: the transposed product b^T a^T is one.
    //
    // SAFETY: the assertions above bound every address the strides can reach, `out` is borrowed mutably, and slices do
    // not alias. The crate has no safe entry point.
    unsafe {
        kernel()(
            n,
            m,
            k,
            out.as_mut_ptr(),
            stride(out_stride),
            1,
            keep,
            b.data.as_ptr(),
            stride(b.row_stride),
            stride(b.col_stride),
            a.data.as_ptr(),
            stride(a.row_stride),
            stride(a.col_stride),
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

type Kernel = unsafe fn(
    usize,
    usize,
    usize,
    *mut f32,
    isize,
    isize,
    bool,
    *const f32,
    isize,
    isize,
    *const f32,
    isize,
    isize,
    f32,
    f32,
    bool,
    bool,
    bool,
    Parallelism,
);

/// The micro-kernel for this machine's vectors. `gemm-f32` is the f32 part of the crate `gemm`; the whole would compile
/// four more element types for minutes.
fn kernel() -> Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    *KERNEL.get_or_init(gemm_f32::gemm::f32::get_gemm_fn)
}
