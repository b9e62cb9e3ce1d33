// out[i] = x / 2 * (1 + erf(x / sqrt 2)), exact to f32 (see shared/erf.wgsl).
// An item is an element, or a quad of them where the count is a multiple of four.
// Bindings:
//   0 x: count items
//   1 out: count items
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
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
            let v = load_item(x[i]);
            out[i] = store_item(0.5 * v * (1.0 + erf(v * 0.70710678)));
        }
    }
}
