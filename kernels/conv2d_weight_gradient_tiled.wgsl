// Gradient of a convolution's kernel as an implicit matrix product: rows are the taps of the kernel and the input channels, columns
// are output channels, the inner axis runs over the pixels. The equation is that of conv2d_weight_gradient_plain, for rows of x whose channels are
// filled up to a multiple of four.
//
// The pixels are split into parts of part_pixels: each part is a result of its own, in scratch, which sum_to adds up; with one part the
// result is the output.
// Taken: 8 channels out or more.
// Bindings (quads of input channels; items along the output channels):
//   0 to 2 x, affine, second: the map (N, height, width, channels_filled / 4), read by shared/map_quads.wgsl; pixels = N * height * width
//   3 dy: (N, height, width, channels_out)
//   4 out: (parts, kernel_height, kernel_width, channels_in, channels_out)
//   5 params
// Tile: shared/tile.wgsl; of quads where the output channels are a multiple of four.
// Dispatch: parts * ceil(kernel_height * kernel_width * channels_filled / rows of the tile) * ceil(channels_out / 64) groups, output channels
// fastest.

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
}

@group(0) @binding(3) var<storage, read> dy: array<item>;
@group(0) @binding(4) var<storage, read_write> out: array<item>;
@group(0) @binding(5) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 64u; // GROUP_THREADS; the tile allows no other

// Quads of rows that a thread owns, and pixels that it reads together.
const ROW_QUADS: u32 = ROWS / 4u;
const PIXELS: u32 = 2u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = params.channels_filled / 4u;
    let taps = params.kernel_height * params.kernel_width;
    let items = params.channels_out / ITEM;
    let columns = (items + GROUP_ITEMS - 1u) / GROUP_ITEMS;
    let tiles = columns * ((taps * params.channels_filled + GROUP_ROWS - 1u) / GROUP_ROWS);
    let index = group_index(group, groups);
    let part = index / tiles;
    if part >= params.parts {
        return;
    }
    let row_quad = (index % tiles / columns * GROUP_ROWS + tile_row(local)) / 4u;
    let first_item = index % columns * GROUP_ITEMS + tile_item(local);

    // Each quad of rows: its quad of channels and the way to its tap's neighbour. Unsigned: a step up or to the left wraps, and the sum with a
    // row or column wraps back. Quads and items past the end read the last one, and are not stored.
    var channel_quad: array<u32, ROW_QUADS>;
    var down: array<u32, ROW_QUADS>;
    var right: array<u32, ROW_QUADS>;
    for (var r = 0u; r < ROW_QUADS; r++) {
        let at = min(row_quad + r, taps * quads - 1u);
        let tap = at / quads;
        channel_quad[r] = at - tap * quads;
        down[r] = tap / params.kernel_width - params.top;
        right[r] = tap % params.kernel_width - params.left;
    }
    var last: array<u32, ITEMS>;
    for (var c = 0u; c < ITEMS; c++) {
        last[c] = min(first_item + c, items - 1u);
    }

    var sums = Sums();
    let start = part * params.part_pixels;
    let end = min(start + params.part_pixels, params.pixels);
    var row = start / params.width % params.height;
    var column = start % params.width;
    for (var pixel = start; pixel < end; pixel += PIXELS) {
        var gradient: array<Items, PIXELS>;
        var values: array<array<vec4<f32>, ROW_QUADS>, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) {
            let at = min(pixel + p, end - 1u);
            for (var c = 0u; c < ITEMS; c++) {
                gradient[p][c] = load_item(dy[at * items + last[c]]);
            }
            for (var r = 0u; r < ROW_QUADS; r++) {
                // What lies outside the map, or after the part, counts as zeros; the first pixel is read in its place.
                let inside = pixel + p < end && row + down[r] < params.height && column + right[r] < params.width;
                var at_x = 0u;
                if inside {
                    at_x = at + down[r] * params.width + right[r];
                }
                values[p][r] = select(vec4<f32>(), quad_of_map(at_x, channel_quad[r], quads), inside);
            }
            column += 1u;
            if column == params.width {
                column = 0u;
                row += 1u;
                if row == params.height {
                    row = 0u;
                }
            }
        }
        for (var p = 0u; p < PIXELS; p++) {
            for (var r = 0u; r < ROWS; r++) {
                for (var c = 0u; c < ITEMS; c++) {
                    sums[r][c] += values[p][r / 4u][r % 4u] * gradient[p][c];
                }
            }
        }
    }

    for (var c = 0u; c < ITEMS; c++) {
        if first_item + c < items {
            for (var r = 0u; r < ROWS; r++) {
                let tap = (row_quad + r / 4u) / quads;
                let channel = (row_quad + r / 4u - tap * quads) * 4u + r % 4u;
                if tap < taps && channel < params.channels_in {
                    out[((part * taps + tap) * params.channels_in + channel) * items + first_item + c] = store_item(sums[r][c]);
                }
            }
        }
    }
}
