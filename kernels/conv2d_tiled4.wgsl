// 2-D convolution, same padding, as an implicit matrix product: rows are pixels, the inner axis runs over the taps of the kernel
// and the input channels, columns are output channels. The equation is that of conv2d_plain. For channel counts that are
// multiples of four; conv2d_tiled takes any.
//
// Taken: channels in and out are multiples of 4.
// Bindings (quads of four channels):
//   0 x: (N, height >> doubled, width >> doubled, channels_in / 4)
//   1 kernel: (kernel_height, kernel_width, channels_in, channels_out / 4)
//   2 bias: channels_out / 4; anything where has_bias is 0
//   3 out: (N, height, width, channels_out / 4); pixels = N * height * width
//   4 params
// Tile: 128 pixels x 64 output channels per group of 256, 8 x 4 per thread, 16 input channels at a time (shared/tile.wgsl).
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

@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> kernel: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<elem>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<elem>>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u; // TILE_THREADS; the tile allows no other

// Where a pixel lies: its column, its row, and the first row of its map.
struct Place {
    inside: bool,
    column: u32,
    row: u32,
    first_row: u32,
}

fn place(pixel: u32) -> Place {
    let row = pixel / params.width % params.height;
    return Place(pixel < params.pixels, pixel % params.width, row, pixel / params.width - row);
}

// The first quad of the pixel at (dy, dx) from a place, or no_quad outside the map. Unsigned: a row or column before the
// map wraps to a huge number.
const no_quad: u32 = 0xffffffffu;

fn neighbour(centre: Place, dy: u32, dx: u32) -> u32 {
    let y = centre.row + dy;
    let across = centre.column + dx;
    var at = no_quad;
    if centre.inside && y < params.height && across < params.width {
        let row = (centre.first_row + y) >> params.doubled;
        at = (row * (params.width >> params.doubled) + (across >> params.doubled)) * (params.channels_in / 4u);
    }
    return at;
}

fn store(pixel: u32, column: u32, sum: vec4<f32>) {
    let quads_out = params.channels_out / 4u;
    if pixel < params.pixels && column < quads_out {
        var value = sum;
        if params.has_bias != 0u {
            value += vec4<f32>(bias[column]);
        }
        out[pixel * quads_out + column] = vec4<elem>(select(value, params.slope * value, value < vec4<f32>()));
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads_in = params.channels_in / 4u;
    let quads_out = params.channels_out / 4u;
    let columns = (params.channels_out + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group_index(group, groups);
    let first = index / columns * TILE_ROWS;
    if first >= params.pixels {
        return;
    }
    let column = index % columns * (TILE_COLUMNS / 4u) + local % 16u;
    let upper_place = place(first + local / 4u);
    let lower_place = place(first + local / 4u + 64u);

    var sums = Sums();
    for (var a = 0u; a < params.kernel_height; a++) {
        for (var b = 0u; b < params.kernel_width; b++) {
            let dy = a - params.top;
            let dx = b - params.left;
            let upper_at = neighbour(upper_place, dy, dx);
            let lower_at = neighbour(lower_place, dy, dx);
            let tap = (a * params.kernel_width + b) * params.channels_in;
            for (var q = 0u; q < quads_in; q += TILE_INNER / 4u) {
                let quad = q + local % 4u;
                var upper = vec4<f32>();
                var lower = vec4<f32>();
                if quad < quads_in {
                    if upper_at != no_quad {
                        upper = vec4<f32>(x[upper_at + quad]);
                    }
                    if lower_at != no_quad {
                        lower = vec4<f32>(x[lower_at + quad]);
                    }
                }
                let channel = 4u * q + local / 16u;
                var right = vec4<f32>();
                if channel < params.channels_in && column < quads_out {
                    right = vec4<f32>(kernel[(tap + channel) * quads_out + column]);
                }
                workgroupBarrier(); // the tiles of the step before have been read
                tile_store(local, upper, lower, right);
                workgroupBarrier();
                sums = tile_multiply(sums, local / 16u, local % 16u);
            }
        }
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
