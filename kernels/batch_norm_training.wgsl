// y = z where z > 0, else slope * z, with z = gamma (x - mean) / sqrt(variance + epsilon) + beta: the last pass, after the
// statistics. A slope of one is no activation.
//
// Bindings:
//   0 x: (rows, channels)
//   1 gamma: channels
//   2 beta: channels
//   3 mean: channels, just written
//   4 variance: channels, just written
//   5 y: (rows, channels), count elements
//   6 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels: u32,
    epsilon: f32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> gamma: array<elem>;
@group(0) @binding(2) var<storage, read> beta: array<elem>;
@group(0) @binding(3) var<storage, read_write> mean: array<elem>;
@group(0) @binding(4) var<storage, read_write> variance: array<elem>;
@group(0) @binding(5) var<storage, read_write> y: array<elem>;
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
            let scale = f32(gamma[c]) / sqrt(f32(variance[c]) + params.epsilon);
            let z = (f32(x[i]) - f32(mean[c])) * scale + f32(beta[c]);
            y[i] = elem(select(params.slope * z, z, z > 0.0));
        }
    }
}
