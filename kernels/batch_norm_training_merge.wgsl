// Second pass of the statistics of each channel: merges the spans into mean and biased variance.
//
// Bindings:
//   0 parts: (spans, 2, channels), scratch of the first pass: means, then sums of squared deviations
//   1 mean: channels
//   2 variance: channels
//   3 params
// Dispatch: one group of 64 per channel; a thread takes every 64th span, then halves are folded onto each other.

struct Params {
    rows: u32,
    channels: u32,
    spans: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<elem>;
@group(0) @binding(2) var<storage, read_write> variance: array<elem>;
@group(0) @binding(3) var<uniform> params: Params;

const THREADS: u32 = 64u;

var<workgroup> counts: array<f32, 64>;
var<workgroup> means: array<f32, 64>;
var<workgroup> squares: array<f32, 64>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = group_index(group, groups);
    if c >= params.channels {
        return;
    }
    var sum = Moments(0.0, 0.0, 0.0);
    for (var span = local; span < params.spans; span += THREADS) {
        let first = span * params.span;
        let count = f32(min(first + params.span, params.rows) - first);
        let at = 2u * span * params.channels + c;
        sum = merge(sum, Moments(count, parts[at], parts[at + params.channels]));
    }
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        counts[local] = sum.count;
        means[local] = sum.mean;
        squares[local] = sum.squares;
        workgroupBarrier();
        if local < half {
            let other = local + half;
            sum = merge(sum, Moments(counts[other], means[other], squares[other]));
        }
        workgroupBarrier();
    }
    if local == 0u {
        mean[c] = elem(sum.mean);
        variance[c] = elem(sum.squares / f32(params.rows));
    }
}
