// Gradient of a convolution's kernel as an implicit matrix product: rows are the taps of the kernel and the input channels, columns
// are output channels, the inner axis runs over the pixels. The equation is that of conv2d_weight_gradient_plain. For channel
// counts that are multiples of four; conv2d_weight_gradient_tiled takes any.
//
// The pixels are split into parts of part_pixels (a multiple of 16): each part is a result of its own, in scratch, which matmul_sum
// adds up; with one part the result is the output.
// Taken: channels in and out are multiples of 4.
// Bindings (quads of four channels):
//   0 x: (N, height, width, channels_in / 4); pixels = N * height * width
//   1 dy: (N, height, width, channels_out / 4)
//   2 out: (parts, kernel_height, kernel_width, channels_in, channels_out / 4)
//   3 params
// Tile: 128 rows x 64 output channels per group of 256, 8 x 4 per thread, 16 pixels at a time (shared/tile_outer.wgsl).
// Dispatch: parts * ceil(kernel_height * kernel_width * channels_in / 128) * ceil(channels_out / 64) groups, output channels fastest.

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

@group(0) @binding(0) var<storage, read> x: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<elem>>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u; // the tile allows no other

// A pixel that moves on by steps, without a division at each.
struct Place {
    pixel: u32,
    row: u32,
    column: u32,
}

fn place(pixel: u32) -> Place {
    return Place(pixel, pixel / params.width % params.height, pixel % params.width);
}

fn moved_on(before: Place) -> Place {
    var next = before;
    next.pixel += TILE_INNER;
    next.column += TILE_INNER;
    while next.column >= params.width {
        next.column -= params.width;
        next.row += 1u;
        if next.row == params.height {
            next.row = 0u;
        }
    }
    return next;
}

// The quad of x that a quad of rows needs at a pixel: the tap's neighbour of the pixel, zero outside the map.
struct Tap {
    inside: bool,
    down: u32,
    right: u32,
    quad: u32,
}

fn tap_of(row: u32) -> Tap {
    let tap = row / params.channels_in;
    // Unsigned: a step up or to the left wraps, and the sum with a row or column wraps back.
    return Tap(
        tap < params.kernel_height * params.kernel_width,
        tap / params.kernel_width - params.top,
        tap % params.kernel_width - params.left,
        row % params.channels_in / 4u,
    );
}

fn quad_of_x(tap: Tap, centre: Place, end: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if tap.inside && centre.pixel < end && centre.row + tap.down < params.height && centre.column + tap.right < params.width {
        let at = centre.pixel + tap.down * params.width + tap.right;
        quad = vec4<f32>(x[at * (params.channels_in / 4u) + tap.quad]);
    }
    return quad;
}

fn store(first: u32, row: u32, column: u32, sum: vec4<f32>) {
    let quads = params.channels_out / 4u;
    if row < params.kernel_height * params.kernel_width * params.channels_in && column < quads {
        out[(first + row) * quads + column] = vec4<elem>(sum);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let inner = params.kernel_height * params.kernel_width * params.channels_in;
    let columns = (params.channels_out + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = columns * ((inner + TILE_ROWS - 1u) / TILE_ROWS);
    let index = group_index(group, groups);
    let part = index / tiles;
    if part >= params.parts {
        return;
    }
    let first = index % tiles / columns * TILE_ROWS;
    let quads_out = params.channels_out / 4u;
    let column = index % columns * (TILE_COLUMNS / 4u) + local % 16u;
    let tap = tap_of(first + 4u * (local % 32u));
    let start = part * params.part_pixels;
    let end = min(start + params.part_pixels, params.pixels);
    var upper_place = place(start + local / 32u);
    var lower_place = place(start + local / 32u + 8u);

    var sums = Sums();
    for (var pixel = start; pixel < end; pixel += TILE_INNER) {
        let upper = quad_of_x(tap, upper_place, end);
        let lower = quad_of_x(tap, lower_place, end);
        var right = vec4<f32>();
        let pixel_right = pixel + local / 16u;
        if pixel_right < end && column < quads_out {
            right = vec4<f32>(dy[pixel_right * quads_out + column]);
        }
        workgroupBarrier(); // the tiles of the step before have been read
        tile_store(local, upper, lower, right);
        workgroupBarrier();
        sums = tile_multiply(sums, local / 16u, local % 16u);
        upper_place = moved_on(upper_place);
        lower_place = moved_on(lower_place);
    }
    let row = first + 4u * (local / 16u);
    store(part * inner, row + 0u, column, sums.s0);
    store(part * inner, row + 1u, column, sums.s1);
    store(part * inner, row + 2u, column, sums.s2);
    store(part * inner, row + 3u, column, sums.s3);
    store(part * inner, row + 64u, column, sums.s4);
    store(part * inner, row + 65u, column, sums.s5);
    store(part * inner, row + 66u, column, sums.s6);
    store(part * inner, row + 67u, column, sums.s7);
}
