// da, db = the first and the last channels of each row of dy.
//
// Bindings:
//   0 dy: (rows, channels_a + channels_b), count elements
//   1 da: (rows, channels_a)
//   2 db: (rows, channels_b)
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels_a: u32,
    channels_b: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<elem>;
@group(0) @binding(1) var<storage, read_write> da: array<elem>;
@group(0) @binding(2) var<storage, read_write> db: array<elem>;
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
                da[row * params.channels_a + c] = dy[i];
            } else {
                db[row * params.channels_b + c - params.channels_a] = dy[i];
            }
        }
    }
}
