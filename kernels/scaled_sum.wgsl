// out = f(x) w + g(y) v + addend; f(x) is z = scale x + shift of the channel where z > 0, else x_slope * z, and g likewise; w and v per
// sample and channel. Without normalisation f and g are the identity; the second term and the addend may be absent.
//
// Bindings:
//   0 x: (N, pixels, channels)
//   1 x_affine: scale, then shift, channels each; any buffer if not normalised
//   2 w: (N, channels)
//   3 y: like x; any buffer if there is one term
//   4 y_affine: like x_affine
//   5 v: like w; any buffer if there is one term
//   6 addend: like x; any buffer if there is none
//   7 out: like x, count elements
//   8 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels: u32,
    pixels: u32,
    terms: u32,
    x_normalised: u32,
    y_normalised: u32,
    has_addend: u32,
    x_slope: f32,
    y_slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> x_affine: array<elem>;
@group(0) @binding(2) var<storage, read> w: array<elem>;
@group(0) @binding(3) var<storage, read> y: array<elem>;
@group(0) @binding(4) var<storage, read> y_affine: array<elem>;
@group(0) @binding(5) var<storage, read> v: array<elem>;
@group(0) @binding(6) var<storage, read> addend: array<elem>;
@group(0) @binding(7) var<storage, read_write> out: array<elem>;
@group(0) @binding(8) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

fn rectified(value: f32, slope: f32) -> f32 {
    if value < 0.0 {
        return value * slope;
    }
    return value;
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
        if i < params.count {
            let c = i % params.channels;
            let weight = i / (params.pixels * params.channels) * params.channels + c;
            var value = f32(x[i]);
            if params.x_normalised != 0u {
                value = rectified(value * f32(x_affine[c]) + f32(x_affine[params.channels + c]), params.x_slope);
            }
            var sum = value * f32(w[weight]);
            if params.terms > 1u {
                value = f32(y[i]);
                if params.y_normalised != 0u {
                    value = rectified(value * f32(y_affine[c]) + f32(y_affine[params.channels + c]), params.y_slope);
                }
                sum += value * f32(v[weight]);
            }
            if params.has_addend != 0u {
                sum += f32(addend[i]);
            }
            out[i] = elem(sum);
        }
    }
}
