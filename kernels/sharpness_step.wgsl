// out = p + radius * g / (norm + 1e-12), the ascent step of sharpness-aware minimisation (Foret et al. 2021).
//
// Bindings:
//   0 p: count elements
//   1 g: count elements
//   2 norm2: one element, the squared norm of g
//   3 out: count elements
//   4 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    radius: f32,
}

@group(0) @binding(0) var<storage, read> p: array<elem>;
@group(0) @binding(1) var<storage, read> g: array<elem>;
@group(0) @binding(2) var<storage, read> norm2: array<elem>;
@group(0) @binding(3) var<storage, read_write> out: array<elem>;
@group(0) @binding(4) var<uniform> params: Params;

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
            let scale = params.radius / (sqrt(f32(norm2[0])) + 1.0e-12);
            out[i] = elem(f32(p[i]) + scale * f32(g[i]));
        }
    }
}
