// First pass of the gradients of a batch norm's scale and shift: sums over a span of rows, per channel, of dz xhat and of dz,
// with xhat = (x - mean) / sqrt(variance + epsilon) and dz = dy where gamma xhat + beta > 0, else slope * dy.
// A slope of one is no activation.
//
// Bindings:
//   0 x: (rows, channels)
//   1 gamma, 2 beta, 3 mean, 4 variance: channels each
//   5 dy: (rows, channels)
//   6 out: (spans, 2, channels), scratch: sums of dz xhat, then of dz
//   7 params
// Tile: 64 channels x span rows per group of 256: thread t sums every 4th row for channel t % 64.
// Dispatch: spans * ceil(channels / 64) groups, channels fastest.

struct Params {
    rows: u32,
    channels: u32,
    spans: u32,
    span: u32,
    epsilon: f32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> gamma: array<elem>;
@group(0) @binding(2) var<storage, read> beta: array<elem>;
@group(0) @binding(3) var<storage, read> mean: array<elem>;
@group(0) @binding(4) var<storage, read> variance: array<elem>;
@group(0) @binding(5) var<storage, read> dy: array<elem>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

var<workgroup> firsts: array<f32, 256>;
var<workgroup> seconds: array<f32, 256>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.channels + 63u) / 64u;
    let index = group_index(group, groups);
    if index >= params.spans * blocks {
        return;
    }
    let c = index % blocks * 64u + local % 64u;
    let span = index / blocks;
    var first = 0.0;
    var second = 0.0;
    if c < params.channels {
        let inverse = 1.0 / sqrt(f32(variance[c]) + params.epsilon);
        let scale = f32(gamma[c]) * inverse;
        let shift = f32(beta[c]);
        let centre = f32(mean[c]);
        let end = min((span + 1u) * params.span, params.rows);
        for (var row = span * params.span + local / 64u; row < end; row += 4u) {
            let off = f32(x[row * params.channels + c]) - centre;
            let g = f32(dy[row * params.channels + c]);
            let dz = select(params.slope * g, g, off * scale + shift > 0.0);
            first += dz * off;
            second += dz;
        }
        first *= inverse;
    }
    firsts[local] = first;
    seconds[local] = second;
    workgroupBarrier();
    if local < 64u && c < params.channels {
        out[2u * span * params.channels + c] =
            (firsts[local] + firsts[local + 64u]) + (firsts[local + 128u] + firsts[local + 192u]);
        out[(2u * span + 1u) * params.channels + c] =
            (seconds[local] + seconds[local + 64u]) + (seconds[local + 128u] + seconds[local + 192u]);
    }
}
