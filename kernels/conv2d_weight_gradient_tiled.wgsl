// Gradient of a convolution's kernel as an implicit matrix product: rows are the taps of the kernel and the input channels, columns
// are output channels, the inner axis runs over the pixels. The equation is that of conv2d_weight_gradient_plain. For any
// channel counts: conv2d_weight_gradient_tiled4 with single loads.
//
// The pixels are split into parts of part_pixels (a multiple of 16): each part is a result of its own, in scratch, which matmul_sum
// adds up; with one part the result is the output.
// Taken: any channels, 8 or more out.
// Bindings:
//   0 x: (N, height, width, channels_in); pixels = N * height * width
//   1 dy: (N, height, width, channels_out)
//   2 out: (parts, kernel_height, kernel_width, channels_in, channels_out)
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

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> dy: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<elem>;
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

// The elements of x that rows `row` to `row + 3` need at a pixel, zero outside the map.
fn quad_of_x(row: u32, centre: Place, end: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if centre.pixel < end {
        for (var j = 0u; j < 4u; j++) {
            let tap = (row + j) / params.channels_in;
            let a = tap / params.kernel_width;
            // Unsigned: a step up or to the left wraps, and the sum with a row or column wraps back.
            let down = a - params.top;
            let right = tap % params.kernel_width - params.left;
            if a < params.kernel_height && centre.row + down < params.height && centre.column + right < params.width {
                let at = centre.pixel + down * params.width + right;
                quad[j] = f32(x[at * params.channels_in + (row + j) % params.channels_in]);
            }
        }
    }
    return quad;
}

fn store(first: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row < params.kernel_height * params.kernel_width * params.channels_in {
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.channels_out {
                out[(first + row) * params.channels_out + column + j] = elem(sum[j]);
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
    let inner = params.kernel_height * params.kernel_width * params.channels_in;
    let columns = (params.channels_out + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = columns * ((inner + TILE_ROWS - 1u) / TILE_ROWS);
    let index = group_index(group, groups);
    let part = index / tiles;
    if part >= params.parts {
        return;
    }
    let first = index % tiles / columns * TILE_ROWS;
    let column = index % columns * TILE_COLUMNS + 4u * (local % 16u);
    let row_left = first + 4u * (local % 32u);
    let start = part * params.part_pixels;
    let end = min(start + params.part_pixels, params.pixels);
    var upper_place = place(start + local / 32u);
    var lower_place = place(start + local / 32u + 8u);

    var sums = Sums();
    for (var pixel = start; pixel < end; pixel += TILE_INNER) {
        let upper = quad_of_x(row_left, upper_place, end);
        let lower = quad_of_x(row_left, lower_place, end);
        var right = vec4<f32>();
        let pixel_right = pixel + local / 16u;
        if pixel_right < end {
            for (var j = 0u; j < 4u; j++) {
                if column + j < params.channels_out {
                    right[j] = f32(dy[pixel_right * params.channels_out + column + j]);
                }
            }
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
