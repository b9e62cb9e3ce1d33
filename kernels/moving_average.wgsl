// out = old * momentum + new * share; old where the new value is not finite.
//
// Bindings:
//   0 old: count elements
//   1 new_value: count elements
//   2 out: count elements
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    momentum: f32,
    share: f32,
}

@group(0) @binding(0) var<storage, read> old: array<elem>;
@group(0) @binding(1) var<storage, read> new_value: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<elem>;
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
        if i < params.count {
            var value = f32(old[i]);
            if finite(f32(new_value[i])) {
                value = value * params.momentum + f32(new_value[i]) * params.share;
            }
            out[i] = elem(value);
        }
    }
}
