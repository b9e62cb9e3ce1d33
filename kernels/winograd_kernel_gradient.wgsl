// The way back to the gradient of a kernel of 3 x 3 taps from sums over tiles at the points of Winograd's form:
//   out(a, b, channel) = sum over i, j of G(i, a) sums(6 i + j, channel) G(j, b), sums(point, channel) = sum over parts p of parts(point, p, channel),
// with the G of winograd_kernel.
//
// Taken: last pass of weight gradients in Winograd's form.
// Bindings:
//   0 parts: (36, parts, channels), channels in and out taken together, scratch
//   1 out: (3, 3, channels)
//   2 params
// Dispatch: ceil(channels / elements of an item / 64) groups of 64; `channels` counts items.

struct Params {
    channels: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<item32>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 64u;

// The sum over all parts.
fn sum_of(point: u32, channel: u32) -> item32 {
    var sum = item32();
    for (var part = 0u; part < params.parts; part++) {
        sum += parts[(point * params.parts + part) * params.channels + channel];
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = group_index(group, groups) * WORKGROUP_SIZE + local;
    if channel >= params.channels {
        return;
    }
    var columns: array<array<item32, 3>, SIDE>;
    for (var j = 0u; j < SIDE; j++) {
        var side: Side;
        for (var i = 0u; i < SIDE; i++) {
            side[i] = sum_of(SIDE * i + j, channel);
        }
        columns[j] = kernel_gradient(side);
    }
    for (var a = 0u; a < 3u; a++) {
        var row: Side;
        for (var j = 0u; j < SIDE; j++) {
            row[j] = columns[j][a];
        }
        let values = kernel_gradient(row);
        for (var b = 0u; b < 3u; b++) {
            out[(3u * a + b) * params.channels + channel] = store_item(values[b]);
        }
    }
}
