// First pass of the sum over a map's pixels of x dy: sums of spans of pixels, per channel.
//   out(span, n, c) = sum of x(n, p, c) dy(n, p, c) over the pixels p of the span.
// Each sum is taken in one fixed order, so results are reproducible; the second pass adds the spans.
//
// Bindings:
//   0 x: (N, pixels, channels)
//   1 dy: (N, pixels, channels)
//   2 out: (spans, N, channels), scratch
//   3 params
// Tile: 64 channels x span pixels per group of 256: thread t sums every 4th pixel for channel t % 64.
// Dispatch: N * spans * ceil(channels / 64) groups, channels fastest.

struct Params {
    batch: u32,
    pixels: u32,
    channels: u32,
    spans: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> dy: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.channels + 63u) / 64u;
    let index = group_index(group, groups);
    if index >= params.batch * params.spans * blocks {
        return;
    }
    let c = index % blocks * 64u + local % 64u;
    let span = index / blocks % params.spans;
    let n = index / blocks / params.spans;
    var sum = 0.0;
    if c < params.channels {
        let end = min((span + 1u) * params.span, params.pixels);
        for (var p = span * params.span + local / 64u; p < end; p += 4u) {
            let i = (n * params.pixels + p) * params.channels + c;
            sum += f32(x[i]) * f32(dy[i]);
        }
    }
    parts[local] = sum;
    workgroupBarrier();
    if local < 64u && c < params.channels {
        out[(span * params.batch + n) * params.channels + c] =
            (parts[local] + parts[local + 64u]) + (parts[local + 128u] + parts[local + 192u]);
    }
}
