// dx(n, 2y + a, 2x + b, c) = dy(n, y, x, c) at the first largest x of each 2 x 2 block in row-major order, zero elsewhere.
// A thread owns a block's channel.
//
// Bindings:
//   0 x: (N, 2 height, 2 width, channels)
//   1 dy: (N, height, width, channels), count elements
//   2 dx: like x
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    width: u32,
    channels: u32,
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
            let pixel = i / params.channels;
            let c = i % params.channels;
            let row = pixel / params.width; // n * height + y
            let column = pixel % params.width;
            let line = 2u * params.width * params.channels;
            let at = 2u * row * line + 2u * column * params.channels + c;
            let v0 = f32(x[at]);
            let v1 = f32(x[at + params.channels]);
            let v2 = f32(x[at + line]);
            let v3 = f32(x[at + line + params.channels]);
            let first = v0 >= v1 && v0 >= v2 && v0 >= v3;
            let second = !first && v1 >= v2 && v1 >= v3;
            let third = !first && !second && v2 >= v3;
            let g = f32(dy[i]);
            dx[at] = elem(select(0.0, g, first));
            dx[at + params.channels] = elem(select(0.0, g, second));
            dx[at + line] = elem(select(0.0, g, third));
            dx[at + line + params.channels] = elem(select(g, 0.0, first || second || third));
        }
    }
}
