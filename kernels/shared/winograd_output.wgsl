// What both kernels that end a convolution in Winograd's form share: interface and stores. For every tile, pixel and channel,
//   out(n, 4 row + i, 4 column + j, channel) = f(bias(channel) + sum over a, b of A(i, a) products(6 a + b, tile, channel) A(j, b)),
// where f(v) = v where positive, else slope * v; tiles are counted row by row, sample by sample, from first_tile on.
//
// Bindings (items along the channels):
//   0 products: (36, tiles, channels), scratch
//   1 bias: channels; anything where has_bias is 0
//   2 out: (N, height, width, channels)
//   3 params

struct Params {
    first_tile: u32,
    tiles: u32,
    height: u32,
    width: u32,
    channels: u32,
    has_bias: u32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> products: array<item32>;
@group(0) @binding(1) var<storage, read> bias: array<item>;
@group(0) @binding(2) var<storage, read_write> out: array<item>;
@group(0) @binding(3) var<uniform> params: Params;

// The values at column j of the points.
fn column_of(tile: u32, j: u32, first_item: u32) -> Side {
    let items = params.channels / ITEM;
    var side: Side;
    for (var i = 0u; i < SIDE; i++) {
        side[i] = products[((SIDE * i + j) * params.tiles + tile) * items + first_item];
    }
    return side;
}

// Ends row i of a tile's outputs.
fn write_row(tile: u32, first_item: u32, i: u32, points: Side) {
    let items = params.channels / ITEM;
    let across = (params.width + OUT - 1u) / OUT;
    let down = (params.height + OUT - 1u) / OUT;
    let line = (params.first_tile + tile) / across;
    let sample = line / down;
    let row = OUT * (line - sample * down) + i;
    let column = OUT * (params.first_tile + tile - line * across);
    if row < params.height {
        var offset = item32();
        if params.has_bias != 0u {
            offset = load_item(bias[first_item]);
        }
        let values = output_values(points);
        for (var j = 0u; j < OUT; j++) {
            if column + j < params.width {
                let value = values[j] + offset;
                let at = (sample * params.height + row) * params.width + column + j;
                out[at * items + first_item] = store_item(select(value, params.slope * value, value < item32()));
            }
        }
    }
}
