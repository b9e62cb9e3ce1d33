// out(j) = factor * sum over spans s of x(s * stride + offset + j): the second pass of sums.
//
// Bindings:
//   0 x: (spans, stride), scratch of the first pass
//   1 out: width
//   2 params
// Dispatch: `width` groups of 64, one value each; a thread takes every 64th span.

struct Params {
    width: u32,
    spans: u32,
    stride: u32,
    offset: u32,
    factor: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let j = group_index(group, groups);
    if j >= params.width {
        return;
    }
    var part = 0.0;
    for (var span = local; span < params.spans; span += ROW_THREADS) {
        part += x[span * params.stride + params.offset + j];
    }
    let sum = row_sum(part, local);
    if local == 0u {
        out[j] = elem(params.factor * sum);
    }
}
