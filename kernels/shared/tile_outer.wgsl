// The heart of the tiled products that sum over rows: a workgroup of 256 threads multiplies the transpose of a tile of
// 16 inner x 128 rows by one of 16 inner x 64 columns, both in workgroup memory (12 KiB) as they lie in the tensors, innermost axis
// first. A thread owns two quads of rows, 64 rows apart, x 4 columns and adds outer products. Neighbouring threads read neighbouring
// quads of b and the same quads of a, so there are no bank conflicts.

const TILE_ROWS: u32 = 128u;
const TILE_COLUMNS: u32 = 64u;
const TILE_INNER: u32 = 16u;

var<workgroup> a_tile: array<vec4<f32>, 512>; // [inner][row / 4]
var<workgroup> b_tile: array<vec4<f32>, 256>; // [inner][column / 4]

// Rows r to r + 3 of the two quads of rows, four columns each.
struct Sums {
    s0: vec4<f32>,
    s1: vec4<f32>,
    s2: vec4<f32>,
    s3: vec4<f32>,
    s4: vec4<f32>,
    s5: vec4<f32>,
    s6: vec4<f32>,
    s7: vec4<f32>,
}

// Puts the quads that this thread has read in place: of a, row quad local % 32 at the inner indices local / 32 and
// local / 32 + 8; of b, column quad local % 16 at the inner index local / 16.
fn tile_store(local: u32, upper: vec4<f32>, lower: vec4<f32>, right: vec4<f32>) {
    a_tile[local] = upper;
    a_tile[local + 256u] = lower;
    b_tile[local] = right;
}

// The sums of row quads `row` and `row + 16` and column quad `column`, with the product of the tiles added. By value, and written out,
// for the same reasons as in tile.wgsl.
fn tile_multiply(before: Sums, row: u32, column: u32) -> Sums {
    var sums = before;
    for (var inner = 0u; inner < TILE_INNER; inner++) {
        let b = b_tile[inner * 16u + column];
        var a = a_tile[inner * 32u + row];
        sums.s0 += a.x * b;
        sums.s1 += a.y * b;
        sums.s2 += a.z * b;
        sums.s3 += a.w * b;
        a = a_tile[inner * 32u + row + 16u];
        sums.s4 += a.x * b;
        sums.s5 += a.y * b;
        sums.s6 += a.z * b;
        sums.s7 += a.w * b;
    }
    return sums;
}
