// Last pass of the Tversky loss (Salehi et al. 2017):
// 1 - mean over classes of (TP + smooth) / (TP + alpha FP + beta FN + smooth).
//
// Bindings:
//   0 sums: (channels, 3), just written: TP, FP, FN
//   1 loss: one element
//   2 params
// Dispatch: one group of 64; a thread takes every 64th class.

struct Params {
    channels: u32,
    alpha: f32,
    beta: f32,
    smooth_by: f32,
}

@group(0) @binding(0) var<storage, read_write> sums: array<elem>;
@group(0) @binding(1) var<storage, read_write> loss: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(ROW_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var part = 0.0;
    for (var c = local; c < params.channels; c += ROW_THREADS) {
        let hit = f32(sums[3u * c]) + params.smooth_by;
        part += hit / (hit + params.alpha * f32(sums[3u * c + 1u]) + params.beta * f32(sums[3u * c + 2u]));
    }
    let sum = row_sum(part, local);
    if group_index(group, groups) == 0u && local == 0u {
        loss[0] = elem(1.0 - sum / f32(params.channels));
    }
}
