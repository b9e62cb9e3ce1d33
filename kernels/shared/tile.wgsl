// The tile of the matrix products: what a group of threads makes of rows by columns, and a thread of it. No workgroup memory and no barriers:
// rows and columns come from the caches. A thread has 16 rows.
//
// Of single elements, 16 rows x 64 columns for 64 threads, a thread one column. All threads of a group share their rows, so that whatever is read of the left
// operand is uniform: scalar registers on AMD, one broadcast elsewhere. No more than 32 registers: 8 waves per SIMD and more, down to GCN 5.
// Of quads, 64 rows x 64 columns for 32 threads, a thread 8 columns: fewer loads, many registers.
// Of quads in long words, the same for 8 threads, a thread 32 columns: fewest loads, far more sums than registers. For software adapters, whose loads are dear.

const UNIFORM_ROWS: bool = ITEM == 1u;
const THREAD_ROWS: u32 = 16u;
// Rows of a block, and items of a thread.
const ROWS: u32 = THREAD_ROWS / BLOCKS;
const ITEMS: u32 = select(select(2u, 8u, LONG_WORDS), 1u, UNIFORM_ROWS);
const GROUP_ROWS: u32 = select(64u, 16u, UNIFORM_ROWS);
const GROUP_ITEMS: u32 = 64u / ITEM;
const THREADS_ACROSS: u32 = GROUP_ITEMS / ITEMS;
const GROUP_THREADS: u32 = GROUP_ROWS / THREAD_ROWS * THREADS_ACROSS;

alias Items = array<item32, ITEMS>;
// Of a block.
alias Sums = array<Items, ROWS>;

// A thread's first row and its first item within the group's tile.
fn tile_row(local: u32) -> u32 {
    if UNIFORM_ROWS {
        return 0u;
    }
    return local / THREADS_ACROSS * THREAD_ROWS;
}
fn tile_item(local: u32) -> u32 {
    return local % THREADS_ACROSS * ITEMS;
}

// The sums of one row with a quad of it times four rows of items added. The loops here and in the kernels are of constant length: compilers unroll
// them and keep the arrays in registers, since no counter against endless loops is in the way (src/gpu/kernel.rs). lavapipe does so only while they are
// short: hence blocks of rows, each with arrays and loops of its own, written out (`// each BLOCK < BLOCKS`).
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
