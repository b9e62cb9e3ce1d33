// Matrix product of rows by a matrix: out(b, i, j) = bias(j) + sum over q of a(b, i, q) b(b, q, j), for k and n that are multiples of
// four and nothing transposed; matmul_tiled takes the rest.
//
// A long inner axis may be split into parts (k_part long, a multiple of 16): each part is a result of its own, in scratch, which
// matmul_sum adds up. Otherwise parts is 1 and k_part is k.
// Taken: k and n are multiples of 4, n is 16 or more, nothing transposed.
// Bindings (quads along the innermost axis):
//   0 a: (batch, m, k / 4)
//   1 b: (batch or 1, k, n / 4); b_batch quads per product, 0 where all share one
//   2 bias: n / 4; anything where has_bias is 0
//   3 out: (batch, parts, m, n / 4)
//   4 params
// Tile: 128 rows x 64 columns per group of 256, 8 x 4 per thread, 16 of the inner axis at a time (shared/tile.wgsl).
// Dispatch: batch * parts * ceil(m / 128) * ceil(n / 64) groups, columns fastest.

struct Params {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    parts: u32,
    k_part: u32,
    b_batch: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<elem>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<elem>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<elem>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<elem>>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u; // TILE_THREADS; the tile allows no other

fn store(result: u32, row: u32, column: u32, sum: vec4<f32>) {
    let quads = params.n / 4u;
    if row < params.m && column < quads {
        var value = sum;
        if params.has_bias != 0u {
            value += vec4<f32>(bias[column]);
        }
        out[(result * params.m + row) * quads + column] = vec4<elem>(value);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quads_inner = params.k / 4u;
    let quads_out = params.n / 4u;
    let columns = (params.n + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let tiles = columns * ((params.m + TILE_ROWS - 1u) / TILE_ROWS);
    let index = group_index(group, groups);
    let result = index / tiles;
    if result >= params.batch * params.parts {
        return;
    }
    let product = result / params.parts;
    let part = result % params.parts;
    let first = index % tiles / columns * TILE_ROWS;
    let column = index % columns * (TILE_COLUMNS / 4u) + local % 16u;
    let upper_row = first + local / 4u;
    let at_a = (product * params.m + upper_row) * quads_inner;
    let end = min((part + 1u) * params.k_part, params.k);

    var sums = Sums();
    for (var k = part * params.k_part; k < end; k += TILE_INNER) {
        let quad = k / 4u + local % 4u;
        var upper = vec4<f32>();
        var lower = vec4<f32>();
        if quad < end / 4u {
            if upper_row < params.m {
                upper = vec4<f32>(a[at_a + quad]);
            }
            if upper_row + 64u < params.m {
                lower = vec4<f32>(a[at_a + 64u * quads_inner + quad]);
            }
        }
        var right = vec4<f32>();
        let k_right = k + local / 16u;
        if k_right < end && column < quads_out {
            right = vec4<f32>(b[product * params.b_batch + k_right * quads_out + column]);
        }
        workgroupBarrier(); // the tiles of the step before have been read
        tile_store(local, upper, lower, right);
        workgroupBarrier();
        sums = tile_multiply(sums, local / 16u, local % 16u);
    }
    let row = first + local / 16u;
    store(result, row + 0u, column, sums.s0);
    store(result, row + 16u, column, sums.s1);
    store(result, row + 32u, column, sums.s2);
    store(result, row + 48u, column, sums.s3);
    store(result, row + 64u, column, sums.s4);
    store(result, row + 80u, column, sums.s5);
    store(result, row + 96u, column, sums.s6);
    store(result, row + 112u, column, sums.s7);
}
