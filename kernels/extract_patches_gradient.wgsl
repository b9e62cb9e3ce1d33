// dx(n, patch row * size + row, patch column * size + column, c) = dy(n, patch, (row, column, c)).
//
// Bindings:
//   0 dy: (N, down * across, size * size * channels)
//   1 dx: (N, H, across * size, channels), count elements
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    size: u32,
    across: u32,
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
            let pixel = i / params.channels;
            let x = pixel % (params.across * params.size);
            let line = pixel / (params.across * params.size); // n * H + y: H is a multiple of the size
            let patch_index = line / params.size * params.across + x / params.size;
            let within = line % params.size * params.size + x % params.size;
            dx[i] = dy[(patch_index * params.size * params.size + within) * params.channels + c];
        }
    }
}
