// out = (x - mean) * gamma / sqrt(variance + epsilon) + beta, per channel.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (rows, channels)
//   1 gamma: channels; f32 in any storage of x, as are the next three
//   2 beta: channels
//   3 mean: channels
//   4 variance: channels
//   5 out: (rows, channels), count items
//   6 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read> gamma: array<item32>;
@group(0) @binding(2) var<storage, read> beta: array<item32>;
@group(0) @binding(3) var<storage, read> mean: array<item32>;
@group(0) @binding(4) var<storage, read> variance: array<item32>;
@group(0) @binding(5) var<storage, read_write> out: array<item>;
@group(0) @binding(6) var<uniform> params: Params;

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
            let scale = gamma[c] / sqrt(variance[c] + params.epsilon);
            out[i] = store_item((load_item(x[i]) - mean[c]) * scale + beta[c]);
        }
    }
}
