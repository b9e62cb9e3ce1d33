// out = exp(x - max x) / sum exp(x - max x) along rows, one workgroup per row: for long rows.
//
// Taken: rows of 64 and more.
// Bindings:
//   0 x: (rows, channels)
//   1 out: (rows, channels)
//   2 params
// Dispatch: one group of 64 per row; a thread takes every 64th channel.

struct Params {
    rows: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let at = row * params.channels;
    var top = -LARGEST;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        top = max(top, f32(x[at + c]));
    }
    top = row_max(top, local);
    var sum = 0.0;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        sum += exp(f32(x[at + c]) - top);
    }
    sum = row_sum(sum, local);
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        out[at + c] = elem(exp(f32(x[at + c]) - top) / sum);
    }
}
