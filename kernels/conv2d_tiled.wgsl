// 2-D convolution, same padding, as an implicit matrix product: rows are pixels, the inner axis runs over the taps of the kernel
// and the input channels, columns are output channels. The equation is that of conv2d_plain, for input channels that are a multiple of four.
//
// A convolution of a doubled map is four of these, one for each of the phases of its 2 x 2 pixels: each makes the pixels
// (step y + row_phase, step x + column_phase) of the output out of the map as it is.
// Taken: 8 channels out or more and more than one tap, where Winograd's form is not taken.
// Bindings (quads of input channels; items along the output channels):
//   0 to 2 x, affine, second: the map (N, height, width, channels_in / 4), read by shared/map_quads.wgsl; lines = N * height
//   3 kernel: (kernel_height, kernel_width, channels_in, channels_out), kernel_first items into the buffer
//   4 bias: channels_out; anything where has_bias is 0
//   5 out: (N, step height, step width, channels_out)
//   6 params
// Tile: shared/tile.wgsl; of quads where the output channels are a multiple of four.
// A thread's rows are neighbouring pixels of a line.
// Dispatch: ceil(lines * ceil(width / rows of a thread) * rows of a thread / rows of the tile) * ceil(channels_out / 64) groups, output channels fastest.

struct Params {
    lines: u32,
    height: u32,
    width: u32,
    channels_in: u32,
    channels_out: u32,
    kernel_height: u32,
    kernel_width: u32,
    kernel_first: u32,
    top: u32,
    left: u32,
    step: u32,
    row_phase: u32,
    column_phase: u32,
    has_bias: u32,
    slope: f32,
    channels_first: u32,
    slope_in: f32,
}

@group(0) @binding(3) var<storage, read> kernel: array<item>;
@group(0) @binding(4) var<storage, read> bias: array<item>;
@group(0) @binding(5) var<storage, read_write> out: array<item>;
@group(0) @binding(6) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = GROUP_THREADS; // the tile allows no other

fn bias_at(item_at: u32) -> item32 {
    var offset = item32();
    if params.has_bias != 0u {
        offset = load_item(bias[item_at]);
    }
    return offset;
}

fn store(line: u32, column: u32, item_at: u32, value: item32) {
    let row_out = params.step * line + params.row_phase;
    let at = (row_out * params.width + column) * params.step + params.column_phase;
    let items = params.channels_out / ITEM;
    out[at * items + item_at] = store_item(select(value, params.slope * value, value < item32()));
}

// A quad of a pixel of a line, zeros outside it.
fn quad_of_line(pixel: u32, column: u32, quad: u32, quads: u32) -> vec4<f32> {
    var value = vec4<f32>();
    if column < params.width {
        value = quad_of_map(pixel, quad, quads);
    }
    return value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = params.channels_in / 4u;
    let items = params.channels_out / ITEM;
    let columns = (items + GROUP_ITEMS - 1u) / GROUP_ITEMS;
    let index = group_index(group, groups);
    // So many threads for a line.
    let blocks = (params.width + THREAD_ROWS - 1u) / THREAD_ROWS;
    let first = index / columns * (GROUP_ROWS / THREAD_ROWS);
    if first >= params.lines * blocks {
        return;
    }
    let block = first + tile_row(local) / THREAD_ROWS;
    let line = min(block / blocks, params.lines - 1u);
    let row = line % params.height;
    let column = block % blocks * THREAD_ROWS;
    let first_item = index % columns * GROUP_ITEMS + tile_item(local);
    // Items past the end read the last one, and are not stored.
    var last: array<u32, ITEMS>;
    for (var c = 0u; c < ITEMS; c++) {
        last[c] = min(first_item + c, items - 1u);
    }

    // each BLOCK < BLOCKS
    var sums_BLOCK = Sums();
    // end
    for (var i = 0u; i < params.kernel_height; i++) {
        // Unsigned: a row or column before the map wraps to a huge number.
        if row + i - params.top < params.height {
            for (var j = 0u; j < params.kernel_width; j++) {
                let across = column + j - params.left;
                let is_interior = UNIFORM_ROWS && across < params.width && across + THREAD_ROWS <= params.width;
                let pixel = (line + i - params.top) * params.width + across;
                var at_kernel = params.kernel_first + (i * params.kernel_width + j) * params.channels_in * items;
                for (var quad = 0u; quad < quads; quad++) {
                    var right: array<Items, 4>;
                    for (var k = 0u; k < 4u; k++) {
                        for (var c = 0u; c < ITEMS; c++) {
                            right[k][c] = load_item(kernel[at_kernel + k * items + last[c]]);
                        }
                    }
                    // each BLOCK < BLOCKS
                    if is_interior {
                        for (var r = 0u; r < ROWS; r++) {
                            sums_BLOCK[r] = multiply(sums_BLOCK[r], quad_of_map(pixel + BLOCK * ROWS + r, quad, quads), right);
                        }
                    } else {
                        for (var r = 0u; r < ROWS; r++) {
                            let at = BLOCK * ROWS + r;
                            sums_BLOCK[r] = multiply(sums_BLOCK[r], quad_of_line(pixel + at, across + at, quad, quads), right);
                        }
                    }
                    // end
                    at_kernel += 4u * items;
                }
            }
        }
    }

    if block >= params.lines * blocks {
        return;
    }
    var offsets: Items;
    for (var c = 0u; c < ITEMS; c++) {
        offsets[c] = bias_at(last[c]);
    }
    // each BLOCK < BLOCKS
    for (var c = 0u; c < ITEMS; c++) {
        if first_item + c < items {
            for (var r = BLOCK * ROWS; r < BLOCK * ROWS + ROWS; r++) {
                if column + r < params.width {
                    store(line, column + r, first_item + c, sums_BLOCK[r - BLOCK * ROWS][c] + offsets[c]);
                }
            }
        }
    }
    // end
}
