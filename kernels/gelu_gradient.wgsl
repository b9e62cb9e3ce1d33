// dx = dy (1 + erf(x / sqrt 2)) / 2 + dy x exp(-x^2 / 2) / sqrt(2 pi), exact to f32 (see shared/erf.wgsl).
//
// Bindings:
//   0 x: count elements
//   1 dy: count elements
//   2 dx: count elements
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
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
        if i < params.count {
            let v = f32(x[i]);
            let share = 0.5 * (1.0 + erf(v * 0.70710678));
            let density = 0.39894228 * exp(-min(0.5 * v * v, 80.0));
            dx[i] = elem(f32(dy[i]) * (share + v * density));
        }
    }
}
