// dx = (g - mean of g - xhat * mean of (g xhat)) / s over each row, with g = gamma dy, s = sqrt(variance + epsilon),
// xhat = (x - mean) / s.
//
// Bindings:
//   0 x: (rows, channels)
//   1 gamma: channels
//   2 dy: (rows, channels)
//   3 dx: (rows, channels)
//   4 moments: (rows, 2), scratch: mean and 1 / s of each row, for the sums over the rows
//   5 params
// Dispatch: one group of 64 per row; a thread takes every 64th channel.

struct Params {
    rows: u32,
    channels: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> gamma: array<elem>;
@group(0) @binding(2) var<storage, read> dy: array<elem>;
@group(0) @binding(3) var<storage, read_write> dx: array<elem>;
@group(0) @binding(4) var<storage, read_write> moments: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
    let count = f32(params.channels);
    var sum = 0.0;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        sum += f32(x[at + c]);
    }
    let mean = row_sum(sum, local) / count;
    var squares = 0.0;
    var slopes = 0.0;
    var products = 0.0;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        let d = f32(x[at + c]) - mean;
        let g = f32(gamma[c]) * f32(dy[at + c]);
        squares += d * d;
        slopes += g;
        products += g * d;
    }
    let inverse = 1.0 / sqrt(row_sum(squares, local) / count + params.epsilon);
    let of_slope = row_sum(slopes, local) / count;
    let of_product = row_sum(products, local) * inverse / count;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        let normal = (f32(x[at + c]) - mean) * inverse;
        dx[at + c] = elem(inverse * (f32(gamma[c]) * f32(dy[at + c]) - of_slope - normal * of_product));
    }
    if local == 0u {
        moments[2u * row] = mean;
        moments[2u * row + 1u] = inverse;
    }
}
