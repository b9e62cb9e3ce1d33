// Gradient of a convolution's kernel as an implicit matrix product: rows are the taps of the kernel and the input channels, columns
// are output channels, the inner axis runs over the pixels. The equation is that of conv2d_weight_gradient_plain, for rows of x whose channels are
// filled up to a multiple of four.
//
// The pixels are split into parts of part_pixels: each part is a result of its own, in scratch, which sum_to adds up; with one part the
// result is the output. With `adds` the results are added to what is there.
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
    adds: u32,
}

@group(0) @binding(3) var<storage, read> dy: array<item>;
@group(0) @binding(4) var<storage, read_write> out: array<item>;
@group(0) @binding(5) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = GROUP_THREADS; // the tile allows no other

const ROW_QUADS: u32 = THREAD_ROWS / 4u;
// Of a block, or the one that it is a part of.
const BLOCK_QUADS: u32 = max(ROWS / 4u, 1u);
// Pixels that a thread reads together.
const PIXELS: u32 = select(4u, 2u, UNIFORM_ROWS);

// What a quad of rows reads: its quad of channels and the way to its tap's neighbour. Unsigned: a step up or to the left wraps, and the sum with a row
// or column wraps back. Quads past the end read the last one, and are not stored.
struct Rows {
    channel_quad: array<u32, ROW_QUADS>,
    down: array<u32, ROW_QUADS>,
    right: array<u32, ROW_QUADS>,
}

fn rows_from(first_quad: u32) -> Rows {
    let quads = params.channels_filled / 4u;
    var rows: Rows;
    for (var r = 0u; r < ROW_QUADS; r++) {
        let at = min(first_quad + r, params.kernel_height * params.kernel_width * quads - 1u);
        let tap = at / quads;
        rows.channel_quad[r] = at - tap * quads;
        rows.down[r] = tap / params.kernel_width - params.top;
        rows.right[r] = tap % params.kernel_width - params.left;
    }
    return rows;
}

struct Pixel {
    at: u32,
    row: u32,
    column: u32,
    counts: bool,
}

// What lies outside the map, or after the part, counts as zeros; the first pixel is read in its place.
fn value_at(pixel: Pixel, channel_quad: u32, down: u32, right: u32) -> vec4<f32> {
    let inside = pixel.counts && pixel.row + down < params.height && pixel.column + right < params.width;
    var at = 0u;
    if inside {
        at = pixel.at + down * params.width + right;
    }
    return select(vec4<f32>(), quad_of_map(at, channel_quad, params.channels_filled / 4u), inside);
}

// One row of four pixels' quads of rows.
fn row_of(values: array<vec4<f32>, PIXELS>, row: u32) -> vec4<f32> {
    return vec4<f32>(values[0][row], values[1][row], values[PIXELS - 2u][row], values[PIXELS - 1u][row]);
}

// A row's sums with four pixels' products added, four together: without fused multiply-adds it is no more work, and rounds less.
fn add_products(before: Items, values: vec4<f32>, gradient: array<Items, PIXELS>) -> Items {
    var sums = before;
    for (var c = 0u; c < ITEMS; c++) {
        sums[c] += (values.x * gradient[0][c] + values.y * gradient[1][c])
            + (values.z * gradient[PIXELS - 2u][c] + values.w * gradient[PIXELS - 1u][c]);
    }
    return sums;
}

// Where a quad of rows lies in a result, and how many of its rows are there.
struct Place {
    at: u32,
    rows: u32,
}

fn place_of(part: u32, row_quad: u32) -> Place {
    let taps = params.kernel_height * params.kernel_width;
    let quads = params.channels_filled / 4u;
    let tap = row_quad / quads;
    let channel = (row_quad - tap * quads) * 4u;
    let at = ((part * taps + tap) * params.channels_in + channel) * (params.channels_out / ITEM);
    return Place(at, select(0u, params.channels_in - channel, tap < taps));
}

// A thread's items of a row: the results, or their sums with what is there.
fn store(place: Place, row: u32, first_item: u32, sums: Items) {
    let items = params.channels_out / ITEM;
    let at = place.at + row * items + first_item;
    for (var c = 0u; c < ITEMS; c++) {
        if row < place.rows && first_item + c < items {
            var total = sums[c];
            if params.adds != 0u {
                total += load_item(out[at + c]);
            }
            out[at + c] = store_item(total);
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
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

    let rows = rows_from(row_quad);
    // Items past the end read the last one, and are not stored.
    var last: array<u32, ITEMS>;
    for (var c = 0u; c < ITEMS; c++) {
        last[c] = min(first_item + c, items - 1u);
    }

    // each BLOCK < BLOCKS
    var sums_BLOCK = Sums();
    // end
    let start = part * params.part_pixels;
    let end = min(start + params.part_pixels, params.pixels);
    var row = start / params.width % params.height;
    var column = start % params.width;
    for (var pixel = start; pixel < end; pixel += PIXELS) {
        var pixels: array<Pixel, PIXELS>;
        var gradient: array<Items, PIXELS>;
        for (var p = 0u; p < PIXELS; p++) {
            let at = min(pixel + p, end - 1u);
            for (var c = 0u; c < ITEMS; c++) {
                gradient[p][c] = load_item(dy[at * items + last[c]]);
            }
            pixels[p] = Pixel(at, row, column, pixel + p < end);
            column += 1u;
            if column == params.width {
                column = 0u;
                row += 1u;
                if row == params.height {
                    row = 0u;
                }
            }
        }
        var values: array<array<vec4<f32>, PIXELS>, BLOCK_QUADS>;
        // each BLOCK < BLOCKS
        if BLOCK * ROWS % 4u == 0u {
            for (var p = 0u; p < PIXELS; p++) {
                for (var r = 0u; r < BLOCK_QUADS; r++) {
                    let at = BLOCK * ROWS / 4u + r;
                    values[r][p] = value_at(pixels[p], rows.channel_quad[at], rows.down[at], rows.right[at]);
                }
            }
        }
        if UNIFORM_ROWS {
            for (var p = 0u; p < PIXELS; p++) {
                for (var r = 0u; r < ROWS; r++) {
                    for (var c = 0u; c < ITEMS; c++) {
                        sums_BLOCK[r][c] += values[r / 4u][p][r % 4u] * gradient[p][c];
                    }
                }
            }
        } else {
            for (var r = 0u; r < ROWS; r++) {
                sums_BLOCK[r] = add_products(sums_BLOCK[r], row_of(values[r / 4u], (BLOCK * ROWS + r) % 4u), gradient);
            }
        }
        // end
    }

    // each BLOCK < BLOCKS
    for (var q = 0u; q < BLOCK_QUADS; q++) {
        let place = place_of(part, row_quad + BLOCK * ROWS / 4u + q);
        for (var r = 0u; r < ROWS / BLOCK_QUADS; r++) {
            store(place, (BLOCK * ROWS + r) % 4u, first_item, sums_BLOCK[4u * q + r]);
        }
    }
    // end
}
