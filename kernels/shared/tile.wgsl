// The heart of the tiled matrix products: a workgroup of 256 threads multiplies a tile of 128 rows x 16 inner by one of
// 16 inner x 64 columns, both in workgroup memory (12 KiB). A thread owns 8 rows, 16 apart, x 4 columns. Neighbouring
// threads read neighbouring quads of b and the same quads of a, so there are no bank conflicts.

const TILE_ROWS: u32 = 128u;
const TILE_COLUMNS: u32 = 64u;
const TILE_INNER: u32 = 16u;
const TILE_THREADS: u32 = 256u;

var<workgroup> a_tile: array<vec4<f32>, 512>; // [row][inner / 4]
var<workgroup> b_tile: array<vec4<f32>, 256>; // [inner][column / 4]

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

// Puts the quads that this thread has read in place: of a, rows local / 4 and local / 4 + 64, inner quad local % 4; of b,
// inner row local / 16, column quad local % 16.
fn tile_store(local: u32, upper: vec4<f32>, lower: vec4<f32>, right: vec4<f32>) {
    a_tile[local] = upper;
    a_tile[local + 256u] = lower;
    b_tile[local] = right;
}

// The sums of rows row + 16 i and column quad `column`, with the product of the tiles added. By value: a pointer to the sums
// kept them in memory on lavapipe (see README.md).
fn tile_multiply(before: Sums, row: u32, column: u32) -> Sums {
    var sums = before;
    for (var quad = 0u; quad < TILE_INNER / 4u; quad++) {
        let at_b = quad * 64u + column;
        let b0 = b_tile[at_b];
        let b1 = b_tile[at_b + 16u];
        let b2 = b_tile[at_b + 32u];
        let b3 = b_tile[at_b + 48u];
        let at_a = row * 4u + quad;
        // Written out: sums in an array indexed by a loop end up in memory where a driver does not unroll it.
        var a = a_tile[at_a];
        sums.s0 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 64u];
        sums.s1 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 128u];
        sums.s2 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 192u];
        sums.s3 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 256u];
        sums.s4 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 320u];
        sums.s5 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 384u];
        sums.s6 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
        a = a_tile[at_a + 448u];
        sums.s7 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
    }
    return sums;
}
