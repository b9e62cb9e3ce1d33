// The end of a convolution in Winograd's form (shared/winograd_output.wgsl), a whole tile a thread: fewest loads, many registers.
// Taken: last pass after winograd_kernel and matmul_tiled, in wide tiles (software adapters).
// Dispatch: ceil(tiles * channels / elements of an item / 64) groups of 64.

override WORKGROUP_SIZE: u32 = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let items = params.channels / ITEM;
    let i = group_index(group, groups) * WORKGROUP_SIZE + local;
    let tile = i / items;
    let first_item = i - tile * items;
    if tile >= params.tiles {
        return;
    }
    var columns: array<array<item32, 4>, SIDE>;
    for (var j = 0u; j < SIDE; j++) {
        columns[j] = output_values(column_of(tile, j, first_item));
    }
    for (var i = 0u; i < OUT; i++) {
        var points: Side;
        for (var j = 0u; j < SIDE; j++) {
            points[j] = columns[j][i];
        }
        write_row(tile, first_item, i, points);
    }
}
