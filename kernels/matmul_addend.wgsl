// out = sum + f(scale addend + shift) per channel; f(z) = z where z > 0, else slope * z. The addend may be taken as it is.
//
// Taken: last pass of fused forms with a sum after the product.
// Bindings:
//   0 sum: (rows, channels), just written
//   1 addend: (rows, channels)
//   2 affine: scale, then shift, channels each; any buffer if the addend is taken as it is
//   3 out: (rows, channels), count elements
//   4 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    channels: u32,
    normalised: u32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> sum: array<elem>;
@group(0) @binding(1) var<storage, read> addend: array<elem>;
@group(0) @binding(2) var<storage, read> affine: array<elem>;
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
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * WORKGROUP_SIZE;
        if i < params.count {
            var value = f32(addend[i]);
            if params.normalised != 0u {
                let c = i % params.channels;
                value = value * f32(affine[c]) + f32(affine[params.channels + c]);
                if value < 0.0 {
                    value *= params.slope;
                }
            }
            out[i] = elem(f32(sum[i]) + value);
        }
    }
}
