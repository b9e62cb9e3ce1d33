// The gradient of a convolution's output in Winograd's form (shared/winograd_output_gradient.wgsl), a whole tile a thread: fewest loads, many
// registers.
// Taken: second pass of weight gradients after winograd_input_whole, in wide tiles (software adapters).
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
    let at = corner(params.first_tile + tile);
    var columns: array<Side, OUT>;
    for (var j = 0u; j < OUT; j++) {
        columns[j] = gradient_values(column_of(at, j, first_item));
    }
    for (var i = 0u; i < SIDE; i++) {
        var row: array<item32, 4>;
        for (var j = 0u; j < OUT; j++) {
            row[j] = columns[j][i];
        }
        let values = gradient_values(row);
        for (var j = 0u; j < SIDE; j++) {
            out[((SIDE * i + j) * params.tiles + tile) * items + first_item] = values[j];
        }
    }
}
