// dx = gamma / s (dz - mean of dz - xhat * mean of (dz xhat)), with s = sqrt(variance + epsilon), xhat = (x - mean) / s and
// dz = dy where gamma xhat + beta > 0, else slope * dy: the last pass, after the sums.
//
// Bindings:
//   0 x: (rows, channels)
//   1 gamma: channels
//   2 beta: channels
//   3 mean: channels
//   4 variance: channels
//   5 dy: (rows, channels)
//   6 means: (2, channels), scratch: means over the rows of dz xhat, then of dz
//   7 dx: (rows, channels), count elements
//   8 params
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
@group(0) @binding(3) var<storage, read> mean: array<elem>;
@group(0) @binding(4) var<storage, read> variance: array<elem>;
@group(0) @binding(5) var<storage, read> dy: array<elem>;
@group(0) @binding(6) var<storage, read> means: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<elem>;
@group(0) @binding(8) var<uniform> params: Params;

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
            let off = f32(x[i]) - f32(mean[c]);
            let g = f32(dy[i]);
            let dz = select(params.slope * g, g, off * scale + f32(beta[c]) > 0.0);
            dx[i] = elem(scale * ((dz - means[params.channels + c]) - off * inverse * means[c]));
        }
    }
}
