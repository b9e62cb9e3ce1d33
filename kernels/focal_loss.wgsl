// First pass of the focal loss (Lin et al. 2017): sums over a span of pixels and all classes of
// -t (1 - p)^gamma ln p, with p the softmax of the logits, clipped to 1e-7..1 - 1e-7.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 target_share: (pixels, channels), probabilities
//   2 out: spans, scratch
//   3 params
// Dispatch: ceil(pixels / span) groups of 64; a thread takes every 64th pixel of the span.

struct Params {
    pixels: u32,
    channels: u32,
    span: u32,
    gamma: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<elem>;
@group(0) @binding(1) var<storage, read> target_share: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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
        let at = pixel * params.channels;
        let k = classes(at, params.channels);
        for (var c = 0u; c < params.channels; c++) {
            let q = clamp(complement(k, c), LOWEST, 1.0 - LOWEST);
            let logarithm = clamp(log_probability(k, c), LOG_LOWEST, LOG_HIGHEST);
            sum -= f32(target_share[at + c]) * focus(q, params.gamma) * logarithm;
        }
    }
    let total = row_sum(sum, local);
    if local == 0u {
        out[index] = total;
    }
}
