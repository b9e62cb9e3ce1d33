// out = gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and biased variance over each row.
//
// Two passes over the row, so the variance has no cancellation.
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Bindings:
//   0 x: (rows, channels)
//   1 gamma, 2 beta: channels each; f32 in any storage of x
//   3 out: (rows, channels)
//   4 params
// Dispatch: one group of 64 per row; a thread takes every 64th item.

struct Params {
    rows: u32,
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<item>;
@group(0) @binding(1) var<storage, read> gamma: array<item32>;
@group(0) @binding(2) var<storage, read> beta: array<item32>;
@group(0) @binding(3) var<storage, read_write> out: array<item>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let at = row * params.channels;
    let count = f32(params.channels * ITEM);
    var sum = item32();
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        sum += load_item(x[at + c]);
    }
    let mean = row_sum(item_sum(sum), local) / count;
    var squares = item32();
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        let d = load_item(x[at + c]) - mean;
        squares += d * d;
    }
    let scale = 1.0 / sqrt(row_sum(item_sum(squares), local) / count + params.epsilon);
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        out[at + c] = store_item((load_item(x[at + c]) - mean) * scale * gamma[c] + beta[c]);
    }
}
