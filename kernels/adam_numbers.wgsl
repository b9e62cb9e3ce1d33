// The three numbers that all elements of an Adam step share: the rate; the factor min(1, clip / norm) that clips the
// gradient to a global norm (one where clip is zero); one if the norm is finite, else zero.
//
// Bindings:
//   0 rate: one element
//   1 norm2: one element, the squared norm of the gradient
//   2 out: three elements, scratch
//   3 params
// Dispatch: one group of one.

struct Params {
    clip: f32,
}

@group(0) @binding(0) var<storage, read> rate: array<elem>;
@group(0) @binding(1) var<storage, read> norm2: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    var factor = 1.0;
    if params.clip > 0.0 {
        factor = params.clip / max(sqrt(f32(norm2[0])), params.clip);
    }
    out[0] = f32(rate[0]);
    out[1] = factor;
    out[2] = select(0.0, 1.0, finite(f32(norm2[0])));
}
