// dlogits(k) = h(k) (1 - p(k)) - p(k) * sum of h(c) over the other classes c, with p the softmax of the logits and
// h(c) = dloss / pixels * t (gamma (1 - p)^(gamma - 1) p ln p - (1 - p)^gamma), zero where p is clipped.
// A thread owns a pixel.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 target_share: (pixels, channels), probabilities
//   2 dloss: one element
//   3 dlogits: (pixels, channels)
//   4 params
// Dispatch: ceil(pixels / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    pixels: u32,
    channels: u32,
    gamma: f32,
    share: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<elem>;
@group(0) @binding(1) var<storage, read> target_share: array<elem>;
@group(0) @binding(2) var<storage, read> dloss: array<elem>;
@group(0) @binding(3) var<storage, read_write> dlogits: array<elem>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

// h(c) without dloss / pixels.
fn slope(k: Classes, c: u32, t: f32) -> f32 {
    let q = complement(k, c);
    let logarithm = log_probability(k, c);
    if q < LOWEST || logarithm < LOG_LOWEST {
        return 0.0;
    }
    let power = focus(q, params.gamma);
    return t * (params.gamma * power / q * probability(k, c) * logarithm - power);
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
            let k = classes(at, params.channels);
            var sum = 0.0;
            for (var c = 0u; c < params.channels; c++) {
                sum += slope(k, c, f32(target_share[at + c]));
            }
            let weight = params.share * f32(dloss[0]);
            for (var c = 0u; c < params.channels; c++) {
                let own = slope(k, c, f32(target_share[at + c]));
                // The sum over the others is taken anew for the likeliest class, where the difference might cancel.
                var rest = sum - own;
                if c == k.top {
                    rest = 0.0;
                    for (var other = 0u; other < params.channels; other++) {
                        if other != c {
                            rest += slope(k, other, f32(target_share[at + other]));
                        }
                    }
                }
                dlogits[at + c] = elem(weight * (own * complement(k, c) - probability(k, c) * rest));
            }
        }
    }
}
