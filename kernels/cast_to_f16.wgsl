// out[i] = x[i] rounded to the nearest half, to the even one of two equally near; beyond the largest half, the largest.
//
// Bindings:
//   0 x: count floats
//   1 out: count halves in pairs, the last one filled up with zero
//   2 params
// Dispatch: ceil(count / 2 / 1024) groups of 256; a thread takes 4 pairs, 256 apart.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
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
        if 2u * i < params.count {
            var second = 0u;
            if 2u * i + 1u < params.count {
                second = half_bits(x[2u * i + 1u]);
            }
            out[i] = half_bits(x[2u * i]) | (second << 16u);
        }
    }
}
