// Matrix product of any sizes, with operands transposed or not, which differ in their strides only:
// out(b, i, j) = bias(j) + sum over q of a(b, i, q) b(b, q, j).
//
// Taken: any k, transposed operands, n of 16 or more.
// Bindings:
//   0 a: a_batch per product, a_row, a_inner strides
//   1 b: b_batch per product, b_inner, b_column strides
//   2 bias: n; anything where has_bias is 0
//   3 out: (batch, m, n)
//   4 params
// Tile: 128 rows x 64 columns per group of 256, 8 x 4 per thread, 16 of the inner axis at a time (shared/tile.wgsl).
// Dispatch: batch * ceil(m / 128) * ceil(n / 64) groups, columns fastest.

struct Params {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    a_batch: u32,
    a_row: u32,
    a_inner: u32,
    b_batch: u32,
    b_inner: u32,
    b_column: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<storage, read> a: array<elem>;
@group(0) @binding(1) var<storage, read> b: array<elem>;
@group(0) @binding(2) var<storage, read> bias: array<elem>;
@group(0) @binding(3) var<storage, read_write> out: array<elem>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u; // TILE_THREADS; the tile allows no other

fn quad_of_a(product: u32, row: u32, k: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if row < params.m {
        let at = product * params.a_batch + row * params.a_row;
        for (var j = 0u; j < 4u; j++) {
            if k + j < params.k {
                quad[j] = f32(a[at + (k + j) * params.a_inner]);
            }
        }
    }
    return quad;
}

fn quad_of_b(product: u32, k: u32, column: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if k < params.k {
        let at = product * params.b_batch + k * params.b_inner;
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.n {
                quad[j] = f32(b[at + (column + j) * params.b_column]);
            }
        }
    }
    return quad;
}

fn store(product: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row < params.m {
        for (var j = 0u; j < 4u; j++) {
            if column + j < params.n {
                var value = sum[j];
                if params.has_bias != 0u {
                    value += f32(bias[column + j]);
                }
                out[(product * params.m + row) * params.n + column + j] = elem(value);
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
    let columns = (params.n + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = columns * ((params.m + TILE_ROWS - 1u) / TILE_ROWS);
    let index = group_index(group, groups);
    let product = index / tiles;
    if product >= params.batch {
        return;
    }
    let first = index % tiles / columns * TILE_ROWS;
    let column = index % columns * TILE_COLUMNS + 4u * (local % 16u);

    var sums = Sums();
    for (var k = 0u; k < params.k; k += TILE_INNER) {
        let upper = quad_of_a(product, first + local / 4u, k + 4u * (local % 4u));
        let lower = quad_of_a(product, first + local / 4u + 64u, k + 4u * (local % 4u));
        let right = quad_of_b(product, k + local / 16u, column);
        workgroupBarrier(); // the tiles of the step before have been read
        tile_store(local, upper, lower, right);
        workgroupBarrier();
        sums = tile_multiply(sums, local / 16u, local % 16u);
    }
    let row = first + local / 16u;
    store(product, row + 0u, column, sums.s0);
    store(product, row + 16u, column, sums.s1);
    store(product, row + 32u, column, sums.s2);
    store(product, row + 48u, column, sums.s3);
    store(product, row + 64u, column, sums.s4);
    store(product, row + 80u, column, sums.s5);
    store(product, row + 96u, column, sums.s6);
    store(product, row + 112u, column, sums.s7);
}
