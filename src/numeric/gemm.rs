//! Matrix products through the `gemm` family of crates.

use std::sync::OnceLock;

use gemm_common::Parallelism;

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
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |rows: usize, cols: usize, rs: usize, cs: usize| (rows - 1) * rs + (cols - 1) * cs;
    assert!(last(m, k, a.row_stride, a.col_stride) < a.data.len(), "matrix a is too short");
    assert!(last(k, n, b.row_stride, b.col_stride) < b.data.len(), "matrix b is too short");
    assert!(last(m, n, out_stride, 1) < out.len() && out_stride >= n, "the result is too short");
    if let Some(bias) = bias {
        for row in out.chunks_mut(out_stride).take(m) {
            row[..n].copy_from_slice(&bias[..n]);
        }
    }
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
            bias.is_some(),
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
