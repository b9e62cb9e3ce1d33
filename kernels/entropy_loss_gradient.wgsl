// dlogits(k) = -dloss / pixels * p(k) * sum over classes c of p(c) (x(k) - x(c)), with p the softmax of the logits x: the
// derivative of the mean entropy. A thread owns a pixel.
//
// Bindings:
//   0 logits: (pixels, channels)
//   1 dloss: one element
//   2 dlogits: (pixels, channels)
//   3 params
// Dispatch: ceil(pixels / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    pixels: u32,
    channels: u32,
    share: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<elem>;
@group(0) @binding(1) var<storage, read> dloss: array<elem>;
@group(0) @binding(2) var<storage, read_write> dlogits: array<elem>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

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
            let weight = params.share * f32(dloss[0]);
            for (var c = 0u; c < params.channels; c++) {
                var sum = 0.0;
                for (var other = 0u; other < params.channels; other++) {
                    sum += probability(k, other) * (f32(logits[at + c]) - f32(logits[at + other]));
                }
                dlogits[at + c] = elem(-weight * probability(k, c) * sum);
            }
        }
    }
}
