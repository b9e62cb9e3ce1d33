// First pass of the Tversky loss: sums over a span of pixels, for one class, of p t, p (1 - t) and (1 - p) t, with p the
// softmax of the logits. A pixel without a label, whose targets are all zero, adds nothing.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 target_share: (pixels, channels), probabilities
//   2 out: (spans, channels, 3), scratch
//   3 params
// Dispatch: ceil(pixels / span) * channels groups of 64, channels fastest; a thread takes every 64th pixel of the span.

struct Params {
    pixels: u32,
    channels: u32,
    span: u32,
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
    let c = index % params.channels;
    let first = index / params.channels * params.span;
    if first >= params.pixels {
        return;
    }
    let end = min(first + params.span, params.pixels);
    var hit = 0.0;
    var excess = 0.0;
    var missed = 0.0;
    for (var pixel = first + local; pixel < end; pixel += ROW_THREADS) {
        let at = pixel * params.channels;
        var labelled = 0.0;
        for (var other = 0u; other < params.channels; other++) {
            labelled += f32(target_share[at + other]);
        }
        if labelled > 0.0 {
            let k = classes(at, params.channels);
            let t = f32(target_share[at + c]);
            let p = probability(k, c);
            hit += p * t;
            excess += p * (1.0 - t);
            missed += complement(k, c) * t;
        }
    }
    let all_hit = row_sum(hit, local);
    let all_excess = row_sum(excess, local);
    let all_missed = row_sum(missed, local);
    if local == 0u {
        out[3u * index] = all_hit;
        out[3u * index + 1u] = all_excess;
        out[3u * index + 2u] = all_missed;
    }
}
