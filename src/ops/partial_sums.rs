//! Sums on the GPU in two passes: groups sum spans of items into temporary memory, then `sum_parts` adds the spans.

use crate::graph::{Binding, Kernel, Launch, extent};
use crate::{kernel, params};

/// The second pass.
pub(super) static SUM_PARTS: Kernel = kernel!("sum_parts", "row");

params! { struct SumParams { width: u32, spans: u32, stride: u32, offset: u32, factor: f32 } }

/// Sums of spans as they lie in temporary memory: `spans` times `stride` values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// Number of spans.
    pub(super) spans: usize,
    /// Values of a span.
    pub(super) stride: usize,
}

impl Parts {
    /// The launch that writes to `out`, for each of `width` values from `offset` on, `factor` times its sum over the spans.
    pub(super) fn sum(self, parts: Binding, out: Binding, offset: usize, width: usize, factor: f32) -> Launch {
        let [spans, stride] = [self.spans, self.stride].map(extent);
        let params = SumParams { width: extent(width), spans, stride, offset: extent(offset), factor };
        Launch::new(&SUM_PARTS, vec![parts, out], &params, width)
    }
}

/// Rows that one group takes in the first pass of sums per channel: many enough for the second pass to be short, few enough
/// to keep a GPU busy. A multiple of 32.
pub(super) fn row_span(rows: usize) -> usize {
    rows.div_ceil(1024).max(64).next_multiple_of(32)
}

/// `1 / count` as kernels take it.
pub(super) fn reciprocal(count: usize) -> f32 {
    crate::numeric::reduce::narrow(1.0 / count as f64)
}
