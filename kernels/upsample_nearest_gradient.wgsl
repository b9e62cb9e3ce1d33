// dx(n, y, x, c) = the sum of dy(n, 2y..2y+1, 2x..2x+1, c).
//
// Bindings:
//   0 dy: (N, 2 height, 2 width, channels)
//   1 dx: (N, height, width, channels), count elements; the batch and height need no telling apart
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    width: u32,
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
            let pixel = i / params.channels;
            let c = i % params.channels;
            let row = pixel / params.width; // n * height + y
            let column = pixel % params.width;
            let line = 2u * params.width * params.channels;
            let at = 2u * row * line + 2u * column * params.channels + c;
            let top = f32(dy[at]) + f32(dy[at + params.channels]);
            let bottom = f32(dy[at + line]) + f32(dy[at + line + params.channels]);
            dx[i] = elem(top + bottom);
        }
    }
}
