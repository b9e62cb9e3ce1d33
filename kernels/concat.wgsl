// out row = row of a, then row of b.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 a: (rows, channels_a)
//   1 b: (rows, channels_b)
//   2 out: (rows, channels_a + channels_b), count items
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    channels_a: u32,
    channels_b: u32,
}

@group(0) @binding(0) var<storage, read> a: array<item>;
@group(0) @binding(1) var<storage, read> b: array<item>;
@group(0) @binding(2) var<storage, read_write> out: array<item>;
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
            let channels = params.channels_a + params.channels_b;
            let row = i / channels;
            let c = i % channels;
            if c < params.channels_a {
                out[i] = a[row * params.channels_a + c];
            } else {
                out[i] = b[row * params.channels_b + c - params.channels_a];
            }
        }
    }
}
