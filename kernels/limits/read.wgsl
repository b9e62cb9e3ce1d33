// How fast the device reads: every group reads `iterations` runs of 256 vec4, one after another, from `stride` times its number on,
// around the end of the working set.
//
// Bindings:
//   0 x: mask + 1 vec4, a power of two
//   1 out: one value a thread
//   2 params
// Dispatch: any number of groups of 256.

struct Params {
    mask: u32,
    stride: u32,
    iterations: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group_index(group, groups);
    let start = number * params.stride + local;
    var sum = vec4<f32>(0.0);
    for (var iteration = 0u; iteration < params.iterations; iteration++) {
        sum += x[(start + iteration * WORKGROUP_SIZE) & params.mask];
    }
    let i = number * WORKGROUP_SIZE + local;
    if i < arrayLength(&out) {
        out[i] = (sum.x + sum.y) + (sum.z + sum.w);
    }
}
