// 2-D convolution, same padding, as an implicit matrix product, for any channel counts: conv2d_tiled4 with single loads, and
// with taps and input channels as one inner axis, so that few channels leave no gaps in the tiles.
//
// Taken: any channels, 8 or more out.
// Bindings:
//   0 x: (N, height >> doubled, width >> doubled, channels_in)
//   1 kernel: (kernel_height, kernel_width, channels_in, channels_out)
//   2 bias: channels_out; anything where has_bias is 0
//   3 out: (N, height, width, channels_out); pixels = N * height * width
//   4 params
// Tile: 128 pixels x 64 output channels per group of 256, 8 x 4 per thread, 16 of the inner axis at a time (shared/tile.wgsl).
// Dispatch: ceil(pixels / 128) * ceil(channels_out / 64) groups, output channels fastest.

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

override WORKGROUP_SIZE: u32 = 256u; // TILE_THREADS; the tile allows no other

// x at the inner indices k to k + 3 of a pixel.
fn quad_of_x(pixel: u32, k: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if pixel < params.pixels {
        let column = pixel % params.width;
        let row = pixel / params.width % params.height;
        let first_row = pixel / params.width - row;
        for (var j = 0u; j < 4u; j++) {
            let tap = (k + j) / params.channels_in;
            let a = tap / params.kernel_width;
            let y = row + a - params.top;
            let across = column + tap % params.kernel_width - params.left;
            if a < params.kernel_height && y < params.height && across < params.width {
                let row_in = (first_row + y) >> params.doubled;
                let at = (row_in * (params.width >> params.doubled) + (across >> params.doubled)) * params.channels_in;
                quad[j] = f32(x[at + (k + j) % params.channels_in]);
            }
        }
    }
    return quad;
}

fn store(pixel: u32, column: u32, sum: vec4<f32>) {
    if pixel < params.pixels {
        for (var j = 0u; j < 4u; j++) {
            let o = 4u * column + j;
            if o < params.channels_out {
                var value = sum[j];
                if params.has_bias != 0u {
                    value += f32(bias[o]);
                }
                out[pixel * params.channels_out + o] = elem(select(value, params.slope * value, value < 0.0));
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let columns = (params.channels_out + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group_index(group, groups);
    let first = index / columns * TILE_ROWS;
    if first >= params.pixels {
        return;
    }
    let column = index % columns * (TILE_COLUMNS / 4u) + local % 16u;
    let inner = params.kernel_height * params.kernel_width * params.channels_in;

    var sums = Sums();
    for (var k = 0u; k < inner; k += TILE_INNER) {
        let upper = quad_of_x(first + local / 4u, k + 4u * (local % 4u));
        let lower = quad_of_x(first + local / 4u + 64u, k + 4u * (local % 4u));
        var right = vec4<f32>();
        let k_right = k + local / 16u;
        if k_right < inner {
            for (var j = 0u; j < 4u; j++) {
                let o = 4u * column + j;
                if o < params.channels_out {
                    right[j] = f32(kernel[k_right * params.channels_out + o]);
                }
            }
        }
        workgroupBarrier(); // the tiles of the step before have been read
        tile_store(local, upper, lower, right);
        workgroupBarrier();
        sums = tile_multiply(sums, local / 16u, local % 16u);
    }
    let row = first + local / 16u;
    store(row + 0u, column, sums.s0);
    store(row + 16u, column, sums.s1);
    store(row + 32u, column, sums.s2);
    store(row + 48u, column, sums.s3);
    store(row + 64u, column, sums.s4);
    store(row + 80u, column, sums.s5);
    store(row + 96u, column, sums.s6);
    store(row + 112u, column, sums.s7);
}
