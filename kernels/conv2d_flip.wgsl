// The kernel of the convolution that gives the gradient of a convolution's input:
//   out(a, b, o, q) = kernel(kernel_height - 1 - a, kernel_width - 1 - b, q, o).
//
// Bindings:
//   0 kernel: (kernel_height, kernel_width, channels_in, channels_out)
//   1 out: (kernel_height, kernel_width, channels_out, channels_in), scratch
//   2 params: taps = kernel_height * kernel_width
// Dispatch: ceil(taps * channels_in * channels_out / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    taps: u32,
    channels_in: u32,
    channels_out: u32,
}

@group(0) @binding(0) var<storage, read> kernel: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

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
        if i < params.taps * params.channels_in * params.channels_out {
            let q = i % params.channels_in;
            let o = i / params.channels_in % params.channels_out;
            // Counted backwards, rows and columns of taps are flipped together.
            let tap = params.taps - 1u - i / params.channels_in / params.channels_out;
            out[i] = kernel[(tap * params.channels_in + q) * params.channels_out + o];
        }
    }
}
