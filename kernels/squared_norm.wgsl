// First pass of the sum of squares: sums over spans.
//
// Bindings:
//   0 x: count elements
//   1 out: spans, scratch
//   2 params
// Dispatch: ceil(count / span) groups of 64; a thread takes every 64th element of the span.

struct Params {
    count: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group_index(group, groups);
    let first = index * params.span;
    if first >= params.count {
        return;
    }
    let end = min(first + params.span, params.count);
    var sum = 0.0;
    for (var i = first + local; i < end; i += ROW_THREADS) {
        let v = f32(x[i]);
        sum += v * v;
    }
    let total = row_sum(sum, local);
    if local == 0u {
        out[index] = total;
    }
}
