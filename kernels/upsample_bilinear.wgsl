// Twice as large along both axes, half-pixel centres, edges clamped: output i lies at (i + 0.5) / 2 - 0.5, so along
// each axis the nearer pixel i / 2 weighs 3/4 and the farther one (before it for even i, after it for odd) 1/4. An addend may follow.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, height, width, channels)
//   1 addend: like out; any buffer if there is none
//   2 out: (N, 2 height, 2 width, channels), count items
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
    has_addend: u32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read> addend: array<item>;
@group(0) @binding(2) var<storage, read_write> out: array<item>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

// The second neighbour of output i on an axis of n inputs.
fn farther(i: u32, n: u32) -> u32 {
    if i % 2u == 0u {
        return max(i / 2u, 1u) - 1u;
    }
    return min(i / 2u + 1u, n - 1u);
}

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
            let row = pixel / (2u * params.width);
            let column = pixel % (2u * params.width);
            let n = row / (2u * params.height);
            let y = row % (2u * params.height);
            let near_row = (n * params.height + y / 2u) * params.width;
            let far_row = (n * params.height + farther(y, params.height)) * params.width;
            let near = column / 2u;
            let far = farther(column, params.width);
            let top = 0.75 * load_item(x[(near_row + near) * params.channels + c])
                + 0.25 * load_item(x[(near_row + far) * params.channels + c]);
            let bottom = 0.75 * load_item(x[(far_row + near) * params.channels + c])
                + 0.25 * load_item(x[(far_row + far) * params.channels + c]);
            var value = 0.75 * top + 0.25 * bottom;
            if params.has_addend != 0u {
                value += load_item(addend[i]);
            }
            out[i] = store_item(value);
        }
    }
}
