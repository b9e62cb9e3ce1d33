// Weights of the convolution that equals a convolution followed by a batch norm, with s = gamma / sqrt(variance + epsilon):
//   out = kernel * s,  out_bias = beta + (bias - mean) * s.
//
// Bindings:
//   0 kernel: (rows, channels), count elements
//   1 gamma, 2 beta, 3 mean, 4 variance: channels each
//   5 bias: channels; anything where has_bias is 0
//   6 out: (rows, channels)
//   7 out_bias: channels
//   8 params
// Eight storage buffers: the most that WebGPU's defaults allow.
// Dispatch: ceil(count / 256) groups of 256, one element per thread; the first `channels` threads also write the bias.

struct Params {
    count: u32,
    channels: u32,
    has_bias: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> kernel: array<elem>;
@group(0) @binding(1) var<storage, read> gamma: array<elem>;
@group(0) @binding(2) var<storage, read> beta: array<elem>;
@group(0) @binding(3) var<storage, read> mean: array<elem>;
@group(0) @binding(4) var<storage, read> variance: array<elem>;
@group(0) @binding(5) var<storage, read> bias: array<elem>;
@group(0) @binding(6) var<storage, read_write> out: array<elem>;
@group(0) @binding(7) var<storage, read_write> out_bias: array<elem>;
@group(0) @binding(8) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * WORKGROUP_SIZE + local;
    if i < params.count {
        let c = i % params.channels;
        let scale = f32(gamma[c]) / sqrt(f32(variance[c]) + params.epsilon);
        out[i] = elem(f32(kernel[i]) * scale);
        if i < params.channels {
            var from_bias = 0.0;
            if params.has_bias != 0u {
                from_bias = f32(bias[c]);
            }
            out_bias[i] = elem(f32(beta[c]) + (from_bias - f32(mean[c])) * scale);
        }
    }
}
