// What both kernels that transform the input of a convolution in Winograd's form share: interface and loads. For every tile and channel,
//   out(6 i + j, tile, channel) = sum over a, b of B(i, a) x(n, 4 row + a - top, 4 column + b - left, channel) B(j, b), zeros outside x;
// tiles are counted row by row, sample by sample, from first_tile on.
//
// Bindings (items along the channels):
//   0 x: (N, height, width, channels_first)
//   1 affine: scale, then shift, channels_first each; anything if not normalised
//   2 second: (N, height, width, the other channels); anything if not joined
//   3 out: (36, tiles, channels), scratch
//   4 params
// Where the constants say so, x is normalised as it is read and a second map's channels follow its own, as in shared/map_quads.wgsl.

struct Params {
    first_tile: u32,
    tiles: u32,
    height: u32,
    width: u32,
    channels: u32,
    top: u32,
    left: u32,
    channels_first: u32,
    slope_in: f32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read> affine: array<item>;
@group(0) @binding(2) var<storage, read> second: array<item>;
@group(0) @binding(3) var<storage, read_write> out: array<item32>;
@group(0) @binding(4) var<uniform> params: Params;

// The first pixel of a tile, which may lie above or left of the map: such a row or column wraps to a huge number.
struct Corner {
    first_line: u32, // n * height
    row: u32,
    column: u32,
}

fn corner(tile: u32) -> Corner {
    let across = (params.width + OUT - 1u) / OUT;
    let down = (params.height + OUT - 1u) / OUT;
    let row = tile / across;
    let sample = row / down;
    return Corner(
        sample * params.height,
        OUT * (row - sample * down) - params.top,
        OUT * (tile - row * across) - params.left,
    );
}

override NORMALISED: u32 = 0u;
override JOINED: u32 = 0u;

fn item_of_map(pixel: u32, at: u32, items: u32) -> item32 {
    var items_first = items;
    if JOINED != 0u {
        items_first = params.channels_first / ITEM;
        if at >= items_first {
            return load_item(second[pixel * (items - items_first) + at - items_first]);
        }
    }
    var value = load_item(x[pixel * items_first + at]);
    if NORMALISED != 0u {
        value = load_item(affine[at]) * value + load_item(affine[items_first + at]);
        value = select(value, params.slope_in * value, value < item32());
    }
    return value;
}

// Column j of a tile.
fn column_of(at: Corner, j: u32, first_item: u32) -> Side {
    let items = params.channels / ITEM;
    let column = at.column + j;
    var side: Side;
    for (var i = 0u; i < SIDE; i++) {
        let row = at.row + i;
        if row < params.height && column < params.width {
            side[i] = item_of_map((at.first_line + row) * params.width + column, first_item, items);
        }
    }
    return side;
}
