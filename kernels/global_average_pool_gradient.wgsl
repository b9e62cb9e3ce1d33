// dx(n, y, x, c) = dy(n, c) / pixels, the same for all pixels.
//
// Bindings:
//   0 dy: (N, channels)
//   1 dx: (N, pixels, channels), count elements
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    pixels: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<elem>;
@group(0) @binding(1) var<storage, read_write> dx: array<elem>;
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
            let c = i % params.channels;
            let n = i / params.channels / params.pixels;
            dx[i] = elem(f32(dy[n * params.channels + c]) / f32(params.pixels));
        }
    }
}
