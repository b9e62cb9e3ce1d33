// The gradient of a convolution's output in Winograd's form (shared/winograd_output_gradient.wgsl). A third of the work a thread, two rows of
// points each, for the same reason as in winograd_input.
// Taken: second pass of weight gradients after winograd_input, in narrow tiles.
// Dispatch: 3 * ceil(tiles * channels / elements of an item / 64) groups of 64; the rows of points change slowest.

override WORKGROUP_SIZE: u32 = 64u;

fn write_rows(tile: u32, first_item: u32, first: u32, second: u32) {
    let at = corner(params.first_tile + tile);
    var rows: array<array<item32, 4>, 2>;
    for (var j = 0u; j < OUT; j++) {
        let values = gradient_values(column_of(at, j, first_item));
        rows[0][j] = values[first];
        rows[1][j] = values[second];
    }
    let items = params.channels / ITEM;
    for (var r = 0u; r < 2u; r++) {
        let values = gradient_values(rows[r]);
        let row = select(first, second, r == 1u);
        for (var j = 0u; j < SIDE; j++) {
            out[((SIDE * row + j) * params.tiles + tile) * items + first_item] = values[j];
        }
    }
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
        write_rows(tile, first_item, 0u, 5u);
    } else if rows == 1u {
        write_rows(tile, first_item, 1u, 2u);
    } else if rows == 2u {
        write_rows(tile, first_item, 3u, 4u);
    }
}
