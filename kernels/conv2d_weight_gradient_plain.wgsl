// The definition: out(a, b, q, o) = sum over n, i, j of x(n, i + a - top, j + b - left, q) dy(n, i, j, o), zeros outside x.
// A dense layer is the case of one tap on a map of one row. For few output channels, and the readable statement of
// conv2d_weight_gradient_tiled.
//
// The pixels may be split into parts of part_pixels: each part is a result of its own, in scratch, which matmul_sum adds up.
// Taken: fewer than 8 channels out; plain kernels.
// Bindings:
//   0 x: (N, height, width, channels_in); pixels = N * height * width
//   1 dy: (N, height, width, channels_out)
//   2 out: (parts, kernel_height, kernel_width, channels_in, channels_out); weights = elements of one part
//   3 params
// Dispatch: ceil(parts * weights / 256) groups of 256, one element per thread.

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
    parts: u32,
    part_pixels: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> dy: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<elem>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * WORKGROUP_SIZE + local;
    let weights = params.kernel_height * params.kernel_width * params.channels_in * params.channels_out;
    if i < params.parts * weights {
        let part = i / weights;
        let o = i % params.channels_out;
        let q = i / params.channels_out % params.channels_in;
        let tap = i % weights / params.channels_out / params.channels_in;
        let down = tap / params.kernel_width - params.top;
        let right = tap % params.kernel_width - params.left;
        let end = min((part + 1u) * params.part_pixels, params.pixels);
        var sum = 0.0;
        for (var pixel = part * params.part_pixels; pixel < end; pixel++) {
            // Unsigned: a row above the map wraps to a huge number and fails the test.
            let row = pixel / params.width % params.height + down;
            let column = pixel % params.width + right;
            if row < params.height && column < params.width {
                let at = pixel + down * params.width + right;
                sum += f32(x[at * params.channels_in + q]) * f32(dy[pixel * params.channels_out + o]);
            }
        }
        out[i] = elem(sum);
    }
}
