// The definition: out(n, y, x, o) = f(bias(o) + sum over a, b, q of x(n, y + a - top, x + b - left, q) kernel(a, b, q, o)),
// zeros outside, f(v) = v where positive, else slope * v. Forward, top = (kernel_height - 1) / 2 and left = (kernel_width - 1) / 2; the
// gradient of the input runs the same kernels with the flipped kernel and the mirrored padding.
// height and width are the output's; where doubled is 1, x has half of each and every pixel of it counts as 2 x 2.
// For small channel counts, and the readable statement of conv2d_tiled.
//
// Taken: fewer than 8 channels out; plain kernels.
// Bindings:
//   0 x: (N, height >> doubled, width >> doubled, channels_in)
//   1 kernel: (kernel_height, kernel_width, channels_in, channels_out)
//   2 bias: channels_out; anything where has_bias is 0
//   3 out: (N, height, width, channels_out); pixels = N * height * width
//   4 params
// Dispatch: ceil(pixels * channels_out / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    pixels: u32,
    height: u32,
    width: u32,
    channels_in: u32,
    channels_out: u32,
    kernel_height: u32,
    kernel_width: u32,
    top: u32,
    left: u32,
    has_bias: u32,
    doubled: u32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> kernel: array<elem>;
@group(0) @binding(2) var<storage, read> bias: array<elem>;
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
        if i < params.pixels * params.channels_out {
            let o = i % params.channels_out;
            let pixel = i / params.channels_out;
            let column = pixel % params.width;
            let row = pixel / params.width % params.height;
            let first_row = pixel / params.width - row; // n * height
            var sum = 0.0;
            if params.has_bias != 0u {
                sum = f32(bias[o]);
            }
            for (var a = 0u; a < params.kernel_height; a++) {
                // Unsigned: a row above the map wraps to a huge number and fails the test below.
                let y = row + a - params.top;
                for (var b = 0u; b < params.kernel_width; b++) {
                    let across = column + b - params.left;
                    if y < params.height && across < params.width {
                        let row_in = (first_row + y) >> params.doubled;
                        let at_x = (row_in * (params.width >> params.doubled) + (across >> params.doubled)) * params.channels_in;
                        let at_k = (a * params.kernel_width + b) * params.channels_in * params.channels_out + o;
                        for (var q = 0u; q < params.channels_in; q++) {
                            sum += f32(x[at_x + q]) * f32(kernel[at_k + q * params.channels_out]);
                        }
                    }
                }
            }
            if sum < 0.0 {
                sum *= params.slope;
            }
            out[i] = elem(sum);
        }
    }
}
