// Kernels of 3 x 3 taps as values at the points of Winograd's form: out(6 i + j, q, o) = sum over a, b of G(i, a) kernel(a, b, q, o) G(j, b), where row p
// of G holds the powers of point p over the product of its differences from the other points.
//
// Taken: first pass of 3 x 3 kernels with 32 channels or more (4 in wide tiles), not exact.
// Bindings:
//   0 kernel: (3, 3, channels), channels in and out taken together
//   1 out: (36, channels), scratch
//   2 params
// Dispatch: 3 * ceil(channels / 64) groups of 64; a thread takes two rows of points of one channel, as in winograd_input, the rows slowest.

struct Params {
    channels: u32,
}

@group(0) @binding(0) var<storage, read> kernel: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item32>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 64u;

// Rows `first` and `second` of the points.
fn write_rows(channel: u32, first: u32, second: u32) {
    var rows: array<array<item32, 3>, 2>;
    for (var b = 0u; b < 3u; b++) {
        var g: array<item32, 3>;
        for (var a = 0u; a < 3u; a++) {
            g[a] = load_item(kernel[(3u * a + b) * params.channels + channel]);
        }
        let values = kernel_values(g);
        rows[0][b] = values[first];
        rows[1][b] = values[second];
    }
    for (var r = 0u; r < 2u; r++) {
        let values = kernel_values(rows[r]);
        let row = select(first, second, r == 1u);
        for (var j = 0u; j < 6u; j++) {
            out[(6u * row + j) * params.channels + channel] = values[j];
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let of_rows = (params.channels + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
    let index = group_index(group, groups);
    let rows = index / of_rows;
    let channel = (index - rows * of_rows) * WORKGROUP_SIZE + local;
    if channel >= params.channels {
        return;
    }
    if rows == 0u {
        write_rows(channel, 0u, 5u);
    } else if rows == 1u {
        write_rows(channel, 1u, 2u);
    } else if rows == 2u {
        write_rows(channel, 3u, 4u);
    }
}
