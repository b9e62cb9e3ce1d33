//! Matrix products through the `gemm` family of crates.

use std::sync::OnceLock;

use gemm_common::Parallelism;
use rayon::prelude::*;

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

/// `out = a^T b` for a of `rows x m` and b of `rows x n`, both row-major, with many rows. Bands of rows are products of their own,
/// which depend on the extents alone and are added up in f64 in order: the same bits on any number of threads.
///
/// # Panics
/// If a slice is shorter than its extents say: operators check shapes before.
pub fn multiply_over_rows([m, n, rows]: [usize; 3], a: &[f32], b: &[f32], out: &mut [f32], scratch: &mut [f32]) {
    let (count, length) = bands([m, n, rows]);
    if count == 1 {
        let a = Matrix { data: a, transposed: true };
        multiply([m, n, rows], a, Matrix { data: b, transposed: false }, None, out);
        return;
    }
    let bands = a.par_chunks(length * m).zip(b.par_chunks(length * n));
    scratch.par_chunks_mut(m * n).zip(bands).for_each(|(out, (a, b))| {
        let a_transposed = View { data: a, row_stride: 1, col_stride: m };
        let b = View { data: b, row_stride: n, col_stride: 1 };
        multiply_strided([m, n, a.len() / m], a_transposed, b, None, (out, n), 1.0, false);
    });
    let scratch = &scratch[..count * m * n];
    out.par_chunks_mut(1024).enumerate().for_each(|(block, out)| {
        for (i, out) in out.iter_mut().enumerate() {
            let parts = scratch.iter().skip(block * 1024 + i).step_by(m * n);
            #[expect(clippy::cast_possible_truncation, reason = "the sum as f32 is the result")]
            let sum = parts.map(|&x| f64::from(x)).sum::<f64>() as f32;
            *out = sum;
        }
    });
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
