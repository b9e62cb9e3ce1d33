// Matrix product of rows by a matrix: out(b, i, j) = f(bias(j) + sum over q of a(b, i, q) b(b, q, j) + addend(b, i, j)), f(v) = v where positive, else
// slope * v, for k that is a multiple of four.
//
// Where the constants say so there is an addend, which may be normalised as maps are.
// A long inner axis may be split into parts (k_part long, a multiple of 4): each part is a result of its own, in scratch, which
// matmul_sum adds up. Otherwise parts is 1 and k_part is k.
// Taken: n of 16 or more; convolutions of one tap with 8 channels out or more; products of Winograd's form.
// Bindings (quads along k; items along n):
//   0 to 2 x, affine, second: a, (batch, m, k / 4), read by shared/map_quads.wgsl
//   3 b: (batch or 1, k, n); b_batch items per product, 0 where all share one
//   4 bias: n; anything where has_bias is 0
//   5 addend: (batch, m, n), and 6 its affine: scale, then shift, n each; anything if there is none
//   7 out: (batch, parts, m, n)
//   8 params
// Tile: shared/tile.wgsl; of quads where n is a multiple of four.
// Dispatch: batch * parts * ceil(m / rows of the tile) * ceil(n / 64) groups, columns fastest.

struct Params {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    parts: u32,
    k_part: u32,
    b_batch: u32,
    has_bias: u32,
    channels_first: u32,
    slope_in: f32,
    slope_addend: f32,
    slope: f32,
}

@group(0) @binding(3) var<storage, read> b: array<item>;
@group(0) @binding(4) var<storage, read> bias: array<item>;
@group(0) @binding(5) var<storage, read> addend: array<item>;
@group(0) @binding(6) var<storage, read> addend_affine: array<item>;
@group(0) @binding(7) var<storage, read_write> out: array<item>;
@group(0) @binding(8) var<uniform> params: Params;

// 1: an addend; 2: one that is normalised.
override ADDEND: u32 = 0u;
override WORKGROUP_SIZE: u32 = GROUP_THREADS; // the tile allows no other

fn addend_at(at: u32, column: u32, items: u32) -> item32 {
    var value = item32();
    if ADDEND != 0u {
        value = load_item(addend[at]);
    }
    if ADDEND == 2u {
        value = load_item(addend_affine[column]) * value + load_item(addend_affine[items + column]);
        value = select(value, params.slope_addend * value, value < item32());
    }
    return value;
}

fn bias_at(column: u32) -> item32 {
    var offset = item32();
    if params.has_bias != 0u {
        offset = load_item(bias[column]);
    }
    return offset;
}

fn store(at: u32, column: u32, sum: item32) {
    let value = sum + addend_at(at, column, params.n / ITEM);
    out[at] = store_item(select(value, params.slope * value, value < item32()));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads = params.k / 4u;
    let items = params.n / ITEM;
    let columns = (items + GROUP_ITEMS - 1u) / GROUP_ITEMS;
    let tiles = columns * ((params.m + GROUP_ROWS - 1u) / GROUP_ROWS);
    let index = group_index(group, groups);
    let result = index / tiles;
    if result >= params.batch * params.parts {
        return;
    }
    let product = result / params.parts;
    let part = result % params.parts;
    let row = index % tiles / columns * GROUP_ROWS + tile_row(local);
    let first_item = index % columns * GROUP_ITEMS + tile_item(local);

    // Rows and items past the end read the last one, and are not stored.
    // each BLOCK < BLOCKS
    var at_BLOCK: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        at_BLOCK[r] = product * params.m + min(row + BLOCK * ROWS + r, params.m - 1u);
    }
    var sums_BLOCK = Sums();
    // end
    var at_b: array<u32, ITEMS>;
    for (var c = 0u; c < ITEMS; c++) {
        at_b[c] = product * params.b_batch + min(first_item + c, items - 1u);
    }

    let end = min((part + 1u) * params.k_part, params.k) / 4u;
    for (var quad = part * params.k_part / 4u; quad < end; quad++) {
        var right: array<Items, 4>;
        for (var j = 0u; j < 4u; j++) {
            for (var c = 0u; c < ITEMS; c++) {
                right[j][c] = load_item(b[at_b[c] + (4u * quad + j) * items]);
            }
        }
        // each BLOCK < BLOCKS
        for (var r = 0u; r < ROWS; r++) {
            sums_BLOCK[r] = multiply(sums_BLOCK[r], quad_of_map(at_BLOCK[r], quad, quads), right);
        }
        // end
    }

    var offsets: Items;
    for (var c = 0u; c < ITEMS; c++) {
        offsets[c] = bias_at(min(first_item + c, items - 1u));
    }
    let at = (result * params.m + row) * items + first_item;
    // each BLOCK < BLOCKS
    for (var c = 0u; c < ITEMS; c++) {
        if first_item + c < items {
            for (var r = BLOCK * ROWS; r < BLOCK * ROWS + ROWS; r++) {
                if row + r < params.m {
                    store(at + r * items + c, first_item + c, sums_BLOCK[r - BLOCK * ROWS][c] + offsets[c]);
                }
            }
        }
    }
    // end
}
