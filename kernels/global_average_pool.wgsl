// Second pass of the mean over a map: out(n, c) = sum over spans of x(n, span, c), divided by the pixels.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, spans, channels), scratch of the first pass
//   1 out: (N, channels), count items
//   2 params
// Dispatch: ceil(count / 256) groups of 256, one item per thread.

struct Params {
    count: u32,
    channels: u32,
    spans: u32,
    pixels: u32,
}

@group(0) @binding(0) var<storage, read> x: array<item32>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * WORKGROUP_SIZE + local;
    if i < params.count {
        let first = i / params.channels * params.spans * params.channels + i % params.channels;
        var sum = item32();
        for (var span = 0u; span < params.spans; span++) {
            sum += x[first + span * params.channels];
        }
        out[i] = store_item(sum / f32(params.pixels));
    }
}
