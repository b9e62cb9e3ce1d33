// out(n, patch, (row, column, c)) = x(n, patch row * size + row, patch column * size + column, c).
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, H, across * size, channels)
//   1 out: (N, down * across, size * size * channels), count items
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    size: u32,
    across: u32,
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
            let c = i % params.channels;
            let pixel = i / params.channels;
            let column = pixel % params.size;
            let row = pixel / params.size % params.size;
            let patch_index = pixel / (params.size * params.size); // (n * down + j) * across + k
            let k = patch_index % params.across;
            let j = patch_index / params.across; // n * down + j: the rows of all samples are one sequence
            let line = j * params.size + row;
            out[i] = x[(line * params.across * params.size + k * params.size + column) * params.channels + c];
        }
    }
}
