// Reads a map by quads of channels. Where the constants say so, its channels are normalised, f(scale x + shift) with f(v) = v where positive, else
// params.slope_in v; and a second map's channels follow the first's, as they are.
//
// Bindings:
//   0 x: (..., channels_first / 4)
//   1 affine: scale, then shift, channels_first / 4 each; anything if not normalised
//   2 second: (..., the other channels / 4); anything if not joined

override NORMALISED: u32 = 0u;
override JOINED: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<elem4>;
@group(0) @binding(1) var<storage, read> affine: array<elem4>;
@group(0) @binding(2) var<storage, read> second: array<elem4>;

// Quad `quad` of `quads` of a pixel.
fn quad_of_map(pixel: u32, quad: u32, quads: u32) -> vec4<f32> {
    var quads_first = quads;
    if JOINED != 0u {
        quads_first = params.channels_first / 4u;
        if quad >= quads_first {
            return load4(second[pixel * (quads - quads_first) + quad - quads_first]);
        }
    }
    var value = load4(x[pixel * quads_first + quad]);
    if NORMALISED != 0u {
        value = load4(affine[quad]) * value + load4(affine[quads_first + quad]);
        value = select(value, params.slope_in * value, value < vec4<f32>());
    }
    return value;
}
