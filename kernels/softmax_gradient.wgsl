// dx = y (dy - sum over the row of y dy), with y the result of softmax. A thread owns a row.
//
// Bindings:
//   0 y: (rows, channels)
//   1 dy: (rows, channels)
//   2 dx: (rows, channels)
//   3 params
// Dispatch: ceil(rows / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    rows: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> y: array<elem>;
@group(0) @binding(1) var<storage, read> dy: array<elem>;
@group(0) @binding(2) var<storage, read_write> dx: array<elem>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = group_index(group, groups) * WORKGROUP_SIZE * ITEMS + local;
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * WORKGROUP_SIZE;
        if i < params.rows {
            let at = i * params.channels;
            var sum = 0.0;
            for (var c = 0u; c < params.channels; c++) {
                sum += f32(y[at + c]) * f32(dy[at + c]);
            }
            for (var c = 0u; c < params.channels; c++) {
                dx[at + c] = elem(f32(y[at + c]) * (f32(dy[at + c]) - sum));
            }
        }
    }
}
