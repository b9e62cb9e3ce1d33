// out row = f(scale a + shift) of each channel of the row of a, then the row of b; f(z) = z where z > 0, else slope * z. Without
// normalisation a is taken as it is, without b there are no more channels.
//
// Taken: first pass of fused forms, where the input is joined or normalised as it is read.
// Bindings:
//   0 a: (rows, channels_a)
//   1 affine: scale, then shift, channels_a each; any buffer if not normalised
//   2 b: (rows, channels_b); any buffer if there are none
//   3 out: (rows, channels_a + channels_b), count elements
//   4 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels_a: u32,
    channels_b: u32,
    normalised: u32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> a: array<elem>;
@group(0) @binding(1) var<storage, read> affine: array<elem>;
@group(0) @binding(2) var<storage, read> b: array<elem>;
@group(0) @binding(3) var<storage, read_write> out: array<elem>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = group_index(group, groups) * WORKGROUP_SIZE * ITEMS + local;
    let channels = params.channels_a + params.channels_b;
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * WORKGROUP_SIZE;
        if i < params.count {
            let row = i / channels;
            let c = i % channels;
            if c >= params.channels_a {
                out[i] = b[row * params.channels_b + c - params.channels_a];
            } else {
                var value = f32(a[row * params.channels_a + c]);
                if params.normalised != 0u {
                    value = value * f32(affine[c]) + f32(affine[params.channels_a + c]);
                    if value < 0.0 {
                        value *= params.slope;
                    }
                }
                out[i] = elem(value);
            }
        }
    }
}
