// The end of a convolution in Winograd's form (shared/winograd_output.wgsl). Half of the work a thread, two rows of outputs each, for the same
// reason as in winograd_input.
// Taken: last pass after winograd_kernel and matmul_tiled, in narrow tiles.
// Dispatch: 2 * ceil(tiles * channels / elements of an item / 64) groups of 64; the rows of outputs change slowest.

override WORKGROUP_SIZE: u32 = 64u;

fn write_rows(tile: u32, first_item: u32, first: u32) {
    var rows: array<Side, 2>;
    for (var j = 0u; j < SIDE; j++) {
        let values = output_values(column_of(tile, j, first_item));
        rows[0][j] = values[first];
        rows[1][j] = values[first + 2u];
    }
    write_row(tile, first_item, first, rows[0]);
    write_row(tile, first_item, first + 2u, rows[1]);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let items = params.channels / ITEM;
    let of_rows = (params.tiles * items + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
    let index = group_index(group, groups);
    let rows = index / of_rows;
    let i = (index - rows * of_rows) * WORKGROUP_SIZE + local;
    let tile = i / items;
    let first_item = i - tile * items;
    if tile >= params.tiles {
        return;
    }
    if rows == 0u {
        write_rows(tile, first_item, 0u);
    } else if rows == 1u {
        write_rows(tile, first_item, 1u);
    }
}
