// out(n, y, x, c) = the largest of x(n, 2y..2y+1, 2x..2x+1, c).
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, 2 height, 2 width, channels)
//   1 out: (N, height, width, channels), count items; the batch and height need no telling apart
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
            let row = pixel / params.width; // n * height + y
            let column = pixel % params.width;
            let line = 2u * params.width * params.channels;
            let at = 2u * row * line + 2u * column * params.channels + c;
            let top = max(load_item(x[at]), load_item(x[at + params.channels]));
            let bottom = max(load_item(x[at + line]), load_item(x[at + line + params.channels]));
            out[i] = store_item(max(top, bottom));
        }
    }
}
