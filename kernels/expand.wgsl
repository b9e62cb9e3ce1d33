// out = x repeated along its broadcast axes, whose strides are zero.
//
// Bindings:
//   0 x: strides x0..x3
//   1 out: (batch, height, width, channels), count elements
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
    x0: u32,
    x1: u32,
    x2: u32,
    x3: u32,
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
            let pixel = i / params.channels;
            let row = pixel / params.width;
            let at = row / params.height * params.x0 + row % params.height * params.x1;
            out[i] = x[at + pixel % params.width * params.x2 + i % params.channels * params.x3];
        }
    }
}
