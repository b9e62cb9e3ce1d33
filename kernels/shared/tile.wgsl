// The tile of the matrix products: what a group of threads makes of rows by columns, and a thread of it. No workgroup memory and no barriers:
// rows and columns come from the caches.
//
// Of single elements, 16 rows x 64 columns for 64 threads, a thread one column. All threads of a group share their rows, so that whatever is read of the left
// operand is uniform: scalar registers on AMD, one broadcast elsewhere. No more than 32 registers: 8 waves per SIMD and more, down to GCN 5.
// Of quads, 64 rows x 64 columns for 32 threads, a thread 16 rows x 8 columns: fewest loads, many registers. For software adapters, whose loads are dear. Kernels take the
// 16 rows as two blocks of 8, each with arrays and loops of its own: lavapipe does not unroll longer loops, and arrays then do not live in registers.

const UNIFORM_ROWS: bool = ITEM == 1u;
const GROUP_THREADS: u32 = select(32u, 64u, UNIFORM_ROWS);
const GROUP_ROWS: u32 = select(64u, 16u, UNIFORM_ROWS);
const GROUP_ITEMS: u32 = 64u / ITEM;
// A thread's rows, those of a block, and its items.
const THREAD_ROWS: u32 = 16u;
const ROWS: u32 = select(8u, 16u, UNIFORM_ROWS);
const ITEMS: u32 = select(2u, 1u, UNIFORM_ROWS);

alias Items = array<item32, ITEMS>;
// Of a block.
alias Sums = array<Items, ROWS>;

// A thread's first row and its first item within the group's tile.
fn tile_row(local: u32) -> u32 {
    if UNIFORM_ROWS {
        return 0u;
    }
    return local / 8u * THREAD_ROWS;
}
fn tile_item(local: u32) -> u32 {
    if UNIFORM_ROWS {
        return local;
    }
    return local % 8u * ITEMS;
}

// The sums of one row with a quad of it times four rows of items added. The loops here and in the kernels are of constant length: compilers unroll
// them and keep the arrays in registers, since no counter against endless loops is in the way (src/gpu/kernel.rs).
fn multiply(before: Items, left: vec4<f32>, right: array<Items, 4>) -> Items {
    var sums = before;
    for (var c = 0u; c < ITEMS; c++) {
        // One at a time, which compiles to fused multiply-adds.
        sums[c] += left.x * right[0][c];
        sums[c] += left.y * right[1][c];
        sums[c] += left.z * right[2][c];
        sums[c] += left.w * right[3][c];
    }
    return sums;
}
