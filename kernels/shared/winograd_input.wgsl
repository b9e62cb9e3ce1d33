// What both kernels that transform the input of a convolution in Winograd's form share: interface and loads. For every tile and channel,
//   out(6 i + j, tile, channel) = sum over a, b of B(i, a) x(n, 4 row + a - top, 4 column + b - left, channel) B(j, b), zeros outside x;
// tiles are counted row by row, sample by sample, from first_tile on.
//
// Bindings (items along the channels):
//   0 x: (N, height, width, channels)
//   1 out: (36, tiles, channels), scratch
//   2 params

struct Params {
    first_tile: u32,
    tiles: u32,
    height: u32,
    width: u32,
    channels: u32,
    top: u32,
    left: u32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

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

// Column j of a tile.
fn column_of(at: Corner, j: u32, at_item: u32) -> Side {
    let items = params.channels / ITEM;
    let column = at.column + j;
    var side: Side;
    for (var i = 0u; i < SIDE; i++) {
        let row = at.row + i;
        if row < params.height && column < params.width {
            side[i] = load_item(x[((at.first_line + row) * params.width + column) * items + at_item]);
        }
    }
    return side;
}
