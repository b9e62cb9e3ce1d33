// The last pass after the statistics: scale = gamma / sqrt(variance + epsilon), shift = beta - mean scale.
//
// Bindings:
//   0 gamma: channels
//   1 beta: channels
//   2 mean: channels, just written
//   3 variance: channels, just written
//   4 affine: (2, channels): scale, then shift
//   5 params
// Dispatch: ceil(channels / 256) groups of 256; a thread takes one channel.

struct Params {
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> gamma: array<elem>;
@group(0) @binding(1) var<storage, read> beta: array<elem>;
@group(0) @binding(2) var<storage, read_write> mean: array<elem>;
@group(0) @binding(3) var<storage, read_write> variance: array<elem>;
@group(0) @binding(4) var<storage, read_write> affine: array<elem>;
@group(0) @binding(5) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = group_index(group, groups) * WORKGROUP_SIZE + local;
    if c < params.channels {
        let scale = f32(gamma[c]) / sqrt(f32(variance[c]) + params.epsilon);
        affine[c] = elem(scale);
        affine[params.channels + c] = elem(f32(beta[c]) - f32(mean[c]) * scale);
    }
}
