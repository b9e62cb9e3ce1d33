// dlogits(k) = p(k) * sum over classes c of p(c) (g(k) - g(c)), with p the softmax of the logits and g(c) the derivative of the
// loss by p(c): -dloss / classes * (t D - (TP + smooth) (t + alpha (1 - t) - beta t)) / D^2,
// D = TP + alpha FP + beta FN + smooth. Zero where a pixel has no label. A thread owns a pixel.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 target_share: (pixels, channels), probabilities
//   2 sums: (channels, 3): TP, FP, FN
//   3 dloss: one element
//   4 dlogits: (pixels, channels)
//   5 params
// Dispatch: ceil(pixels / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    pixels: u32,
    channels: u32,
    alpha: f32,
    beta: f32,
    smooth_by: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<elem>;
@group(0) @binding(1) var<storage, read> target_share: array<elem>;
@group(0) @binding(2) var<storage, read> sums: array<elem>;
@group(0) @binding(3) var<storage, read> dloss: array<elem>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<elem>;
@group(0) @binding(5) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

// g(c) without -dloss / classes.
fn slope(c: u32, t: f32) -> f32 {
    let hit = f32(sums[3u * c]) + params.smooth_by;
    let size = hit + params.alpha * f32(sums[3u * c + 1u]) + params.beta * f32(sums[3u * c + 2u]);
    return (t - hit / size * (t + params.alpha * (1.0 - t) - params.beta * t)) / size;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = group_index(group, groups) * WORKGROUP_SIZE * ITEMS + local;
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * WORKGROUP_SIZE;
        if i < params.pixels {
            let at = i * params.channels;
            var labelled = 0.0;
            for (var c = 0u; c < params.channels; c++) {
                labelled += f32(target_share[at + c]);
            }
            let k = classes(at, params.channels);
            let weight = -f32(dloss[0]) / f32(params.channels);
            for (var c = 0u; c < params.channels; c++) {
                var sum = 0.0;
                if labelled > 0.0 {
                    let own = slope(c, f32(target_share[at + c]));
                    for (var other = 0u; other < params.channels; other++) {
                        sum += probability(k, other) * (own - slope(other, f32(target_share[at + other])));
                    }
                }
                dlogits[at + c] = elem(weight * probability(k, c) * sum);
            }
        }
    }
}
