// What both kernels that transform the gradient of a convolution's output to Winograd's form share: interface and loads. For every tile and channel,
//   out(6 i + j, tile, channel) = sum over a, b of A(a, i) dy(n, 4 row + a, 4 column + b, channel) A(b, j), zeros outside dy;
// tiles are counted row by row, sample by sample, from first_tile on. Those before `counted` are zeros: an earlier dispatch has had them.
//
// Bindings (items along the channels):
//   0 dy: (N, height, width, channels)
//   1 out: (36, tiles, channels), scratch
//   2 params

struct Params {
    first_tile: u32,
    tiles: u32,
    counted: u32,
    height: u32,
    width: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item32>;
@group(0) @binding(2) var<uniform> params: Params;

// The first pixel of a tile.
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
    let first_row = select(OUT * (row - sample * down), params.height, tile < params.counted);
    return Corner(sample * params.height, first_row, OUT * (tile - row * across));
}

// Column j of a tile.
fn column_of(at: Corner, j: u32, first_item: u32) -> array<item32, 4> {
    let items = params.channels / ITEM;
    let column = at.column + j;
    var side: array<item32, 4>;
    for (var i = 0u; i < OUT; i++) {
        let row = at.row + i;
        if row < params.height && column < params.width {
            side[i] = load_item(dy[((at.first_line + row) * params.width + column) * items + first_item]);
        }
    }
    return side;
}
