// out = f(x) w + g(y) v + addend; f(x) is z = scale x + shift of the channel where z > 0, else x_slope * z, and g likewise; w and v per
// sample and channel. Without normalisation f and g are the identity; the second term and the addend may be absent.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (N, pixels, channels)
//   1 x_affine: scale, then shift, channels each; any buffer if not normalised
//   2 w: (N, channels)
//   3 y: like x; any buffer if there is one term
//   4 y_affine: like x_affine
//   5 v: like w; any buffer if there is one term
//   6 addend: like x; any buffer if there is none
//   7 out: like x, count items
//   8 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

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

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read> x_affine: array<item>;
@group(0) @binding(2) var<storage, read> w: array<item>;
@group(0) @binding(3) var<storage, read> y: array<item>;
@group(0) @binding(4) var<storage, read> y_affine: array<item>;
@group(0) @binding(5) var<storage, read> v: array<item>;
@group(0) @binding(6) var<storage, read> addend: array<item>;
@group(0) @binding(7) var<storage, read_write> out: array<item>;
@group(0) @binding(8) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

fn rectified(value: item32, slope: f32) -> item32 {
    return select(value, value * slope, value < item32());
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
            var value = load_item(x[i]);
            if params.x_normalised != 0u {
                value = rectified(value * load_item(x_affine[c]) + load_item(x_affine[params.channels + c]), params.x_slope);
            }
            var sum = value * load_item(w[weight]);
            if params.terms > 1u {
                value = load_item(y[i]);
                if params.y_normalised != 0u {
                    value = rectified(value * load_item(y_affine[c]) + load_item(y_affine[params.channels + c]), params.y_slope);
                }
                sum += value * load_item(v[weight]);
            }
            if params.has_addend != 0u {
                sum += load_item(addend[i]);
            }
            out[i] = store_item(sum);
        }
    }
}
