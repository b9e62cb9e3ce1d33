// First pass of the gradients of a layer norm's scale and shift: sums over a span of rows, per channel, of dy xhat and of dy,
// with xhat = (x - mean) / s of the row.
//
// Bindings:
//   0 x: (rows, channels)
//   1 dy: (rows, channels)
//   2 moments: (rows, 2), scratch: mean and 1 / s of each row
//   3 out: (spans, 2, channels), scratch: sums of dy xhat, then of dy
//   4 params
// Tile: 64 channels x span rows per group of 256: thread t sums every 4th row for channel t % 64.
// Dispatch: spans * ceil(channels / 64) groups, channels fastest.

struct Params {
    rows: u32,
    channels: u32,
    spans: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> dy: array<elem>;
@group(0) @binding(2) var<storage, read> moments: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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
        let end = min((span + 1u) * params.span, params.rows);
        for (var row = span * params.span + local / 64u; row < end; row += 4u) {
            let g = f32(dy[row * params.channels + c]);
            first += g * (f32(x[row * params.channels + c]) - moments[2u * row]) * moments[2u * row + 1u];
            second += g;
        }
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
