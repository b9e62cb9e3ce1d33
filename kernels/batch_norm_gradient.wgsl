// dx = gamma / s dy, dmean = -gamma / s * sum of dy, dvariance = -gamma / (2 s^2) * sum of (dy xhat), with
// s = sqrt(variance + epsilon): the last pass, after the sums.
//
// Bindings:
//   0 gamma, 1 variance: channels each
//   2 dy: (rows, channels)
//   3 sums: (2, channels), scratch: sums over the rows of dy xhat, then of dy
//   4 dx: (rows, channels), count elements
//   5 dmean, 6 dvariance: channels each
//   7 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart. Those of the first row write 5 and 6.

struct Params {
    count: u32,
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> gamma: array<elem>;
@group(0) @binding(1) var<storage, read> variance: array<elem>;
@group(0) @binding(2) var<storage, read> dy: array<elem>;
@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<elem>;
@group(0) @binding(5) var<storage, read_write> dmean: array<elem>;
@group(0) @binding(6) var<storage, read_write> dvariance: array<elem>;
@group(0) @binding(7) var<uniform> params: Params;

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
            let inverse = 1.0 / sqrt(f32(variance[c]) + params.epsilon);
            let scale = f32(gamma[c]) * inverse;
            dx[i] = elem(scale * f32(dy[i]));
            if i < params.channels {
                dmean[i] = elem(-scale * sums[params.channels + i]);
                dvariance[i] = elem(-0.5 * scale * inverse * sums[i]);
            }
        }
    }
}
