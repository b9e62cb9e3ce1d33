// Gradient of a convolution's kernel as an implicit matrix product whose tiles lie in workgroup memory. The equation is that of
// conv2d_weight_gradient_plain, for rows of x whose channels are filled up to a multiple of four and for output channels that are one.
//
// Rows are the taps of the kernel and the input channels, columns are output channels, the inner axis runs over the pixels, which are split into
// parts of part_pixels (a multiple of 16): each part is a result of its own, in scratch, which sum_to adds up; with one part the result is the output.
// With `adds` the results are added to what is there.
// Taken: where the device's kind has been seen to run it faster than the tiles without workgroup memory (NVIDIA), or `glavitu tune` has.
// Bindings (quads of channels):
//   0 to 2 x, affine, second: the map (N, height, width, channels_filled / 4), read by shared/map_quads.wgsl; pixels = N * height * width
//   3 dy: (N, height, width, channels_out / 4)
//   4 out: (parts, kernel_height, kernel_width, channels_in, channels_out / 4)
//   5 params
// Tile: 128 rows x 64 output channels per group of 256, 8 x 4 per thread, 16 pixels at a time; 12 KiB of workgroup memory.
// Dispatch: parts * ceil(kernel_height * kernel_width * channels_filled / 128) * ceil(channels_out / 64) groups, output channels fastest.

struct Params {
    pixels: u32,
    height: u32,
    width: u32,
    channels_in: u32,
    channels_filled: u32,
    channels_out: u32,
    kernel_height: u32,
    kernel_width: u32,
    top: u32,
    left: u32,
    parts: u32,
    part_pixels: u32,
    channels_first: u32,
    slope_in: f32,
    adds: u32,
}

@group(0) @binding(3) var<storage, read> dy: array<elem4>;
@group(0) @binding(4) var<storage, read_write> out: array<elem4>;
@group(0) @binding(5) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u; // the tile allows no other

const TILE_ROWS: u32 = 128u;
const TILE_COLUMNS: u32 = 64u;
const TILE_PIXELS: u32 = 16u;

// Both as they lie in the tensors, channels innermost. Neighbouring threads read neighbouring quads of the gradient and the same quads of x: no
// bank conflicts.
var<workgroup> x_tile: array<vec4<f32>, 512>; // [pixel][row / 4]
var<workgroup> dy_tile: array<vec4<f32>, 256>; // [pixel][column / 4]

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
    next.pixel += TILE_PIXELS;
    next.column += TILE_PIXELS;
    while next.column >= params.width {
        next.column -= params.width;
        next.row += 1u;
        if next.row == params.height {
            next.row = 0u;
        }
    }
    return next;
}

// The way from a pixel to what a quad of rows needs there. Unsigned: a step up or to the left wraps, and the sum with a row or column wraps back.
struct Tap {
    inside: bool,
    down: u32,
    right: u32,
    quad: u32,
}

fn tap_of(row_quad: u32) -> Tap {
    let quads = params.channels_filled / 4u;
    let tap = row_quad / quads;
    let inside = tap < params.kernel_height * params.kernel_width;
    return Tap(inside, tap / params.kernel_width - params.top, tap % params.kernel_width - params.left, row_quad % quads);
}

fn quad_of_x(tap: Tap, centre: Place, end: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if tap.inside && centre.pixel < end && centre.row + tap.down < params.height && centre.column + tap.right < params.width {
        let at = centre.pixel + tap.down * params.width + tap.right;
        quad = quad_of_map(at, tap.quad, params.channels_filled / 4u);
    }
    return quad;
}

// Four rows of a part's result, from the quad of rows `row_quad` on.
fn store_quad(part: u32, row_quad: u32, column: u32, sums: array<vec4<f32>, 4>) {
    let quads = params.channels_filled / 4u;
    let taps = params.kernel_height * params.kernel_width;
    let tap = row_quad / quads;
    if tap >= taps || column >= params.channels_out / 4u {
        return;
    }
    let channel = row_quad % quads * 4u;
    for (var r = 0u; r < 4u; r++) {
        if channel + r < params.channels_in {
            let row = (part * taps + tap) * params.channels_in + channel + r;
            let at = row * (params.channels_out / 4u) + column;
            var sum = sums[r];
            if params.adds != 0u {
                sum += load4(out[at]);
            }
            out[at] = store4(sum);
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params.kernel_height * params.kernel_width * params.channels_filled;
    let columns = (params.channels_out + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = columns * ((rows + TILE_ROWS - 1u) / TILE_ROWS);
    let index = group_index(group, groups);
    let part = index / tiles;
    if part >= params.parts {
        return;
    }
    let first_quad = index % tiles / columns * (TILE_ROWS / 4u);
    let quads_out = params.channels_out / 4u;
    let column = index % columns * (TILE_COLUMNS / 4u) + local % 16u;
    let tap = tap_of(first_quad + local % 32u);
    let start = part * params.part_pixels;
    let end = min(start + params.part_pixels, params.pixels);
    var upper_place = place(start + local / 32u);
    var lower_place = place(start + local / 32u + 8u);

    var upper_sums: array<vec4<f32>, 4>;
    var lower_sums: array<vec4<f32>, 4>;
    for (var pixel = start; pixel < end; pixel += TILE_PIXELS) {
        let upper = quad_of_x(tap, upper_place, end);
        let lower = quad_of_x(tap, lower_place, end);
        var right = vec4<f32>();
        let pixel_right = pixel + local / 16u;
        if pixel_right < end && column < quads_out {
            right = load4(dy[pixel_right * quads_out + column]);
        }
        workgroupBarrier(); // the tiles of the step before have been read
        x_tile[local] = upper;
        x_tile[local + 256u] = lower;
        dy_tile[local] = right;
        workgroupBarrier();
        for (var p = 0u; p < TILE_PIXELS; p++) {
            let gradient = dy_tile[p * 16u + local % 16u];
            let above = x_tile[p * 32u + local / 16u];
            let below = x_tile[p * 32u + local / 16u + 16u];
            for (var r = 0u; r < 4u; r++) {
                upper_sums[r] += above[r] * gradient;
                lower_sums[r] += below[r] * gradient;
            }
        }
        upper_place = moved_on(upper_place);
        lower_place = moved_on(lower_place);
    }
    store_quad(part, first_quad + local / 16u, column, upper_sums);
    store_quad(part, first_quad + local / 16u + 16u, column, lower_sums);
}
