// First pass of the mean entropy: sums over a span of pixels of -sum over classes of p ln p, with p the softmax of the logits.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 out: spans, scratch
//   2 params
// Dispatch: ceil(pixels / span) groups of 64; a thread takes every 64th pixel of the span.

struct Params {
    pixels: u32,
    channels: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group_index(group, groups);
    let first = index * params.span;
    if first >= params.pixels {
        return;
    }
    let end = min(first + params.span, params.pixels);
    var sum = 0.0;
    for (var pixel = first + local; pixel < end; pixel += ROW_THREADS) {
        let k = classes(pixel * params.channels, params.channels);
        for (var c = 0u; c < params.channels; c++) {
            sum -= probability(k, c) * log_probability(k, c);
        }
    }
    let total = row_sum(sum, local);
    if local == 0u {
        out[index] = total;
    }
}
