// out = exp(x - max x) / sum exp(x - max x) along rows, one thread per row: for short rows.
//
// Taken: rows shorter than 64; plain kernels.
// Bindings:
//   0 x: (count, channels)
//   1 out: (count, channels)
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

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
        if i < params.count {
            let at = i * params.channels;
            var top = f32(x[at]);
            for (var c = 1u; c < params.channels; c++) {
                top = max(top, f32(x[at + c]));
            }
            var sum = 0.0;
            for (var c = 0u; c < params.channels; c++) {
                sum += exp(f32(x[at + c]) - top);
            }
            for (var c = 0u; c < params.channels; c++) {
                out[at + c] = elem(exp(f32(x[at + c]) - top) / sum);
            }
        }
    }
}
