// First pass of the mean over a map: sums of spans of SPAN pixels, per channel.
//   out(n, span, c) = sum of x(n, p, c) over the pixels p of the span.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Each sum is taken in one fixed order, so results are reproducible; the second pass adds the spans.
//
// Bindings:
//   0 x: (N, pixels, channels)
//   1 out: (N, spans, channels), scratch
//   2 params
// Tile: 64 items of channels x span pixels per group of 256: thread t sums every 4th pixel for item t % 64.
// Dispatch: N * spans * ceil(channels / 64) groups, channels fastest.

struct Params {
    batch: u32,
    pixels: u32,
    channels: u32,
    spans: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item32>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

var<workgroup> parts: array<item32, 256>;

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
    var sum = item32();
    if c < params.channels {
        let end = min((span + 1u) * params.span, params.pixels);
        for (var p = span * params.span + local / 64u; p < end; p += 4u) {
            sum += load_item(x[(n * params.pixels + p) * params.channels + c]);
        }
    }
    parts[local] = sum;
    workgroupBarrier();
    if local < 64u && c < params.channels {
        out[(n * params.spans + span) * params.channels + c] =
            (parts[local] + parts[local + 64u]) + (parts[local + 128u] + parts[local + 192u]);
    }
}
