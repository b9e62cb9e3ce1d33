// out(n, y, x, c) = x(n, y / 2, x / 2, c).
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, H, width / 2, channels)
//   1 out: (N, 2 H, width, channels), count items
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    width: u32,
    channels: u32,
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
            let pixel = i / params.channels;
            let c = i % params.channels;
            let row = pixel / params.width; // n * 2 H + y; n * 2 H is even, so halving it gives n * H + y / 2
            let column = pixel % params.width;
            out[i] = x[((row / 2u) * (params.width / 2u) + column / 2u) * params.channels + c];
        }
    }
}
