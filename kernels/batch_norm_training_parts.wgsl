// First pass of the statistics of each channel over all rows: mean and sum of squared deviations of a span of rows.
//
// x is read once. A thread takes eight rows at a time into registers, so that their mean is known before their deviations
// are squared, and merges the eights (shared/moments.wgsl): no cancellation however far the mean lies from zero.
//
// Bindings:
//   0 x: (rows, channels)
//   1 out: (spans, 2, channels), scratch: means, then sums of squares
//   2 params
// Tile: 64 channels x span rows (a multiple of 32) per group of 256: thread t takes every 4th row of channel t % 64.
// Dispatch: spans * ceil(channels / 64) groups, channels fastest.

struct Params {
    rows: u32,
    channels: u32,
    spans: u32,
    span: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;

var<workgroup> counts: array<f32, 256>;
var<workgroup> means: array<f32, 256>;
var<workgroup> squares: array<f32, 256>;

fn value(row: u32, end: u32, c: u32) -> f32 {
    if row < end {
        return f32(x[row * params.channels + c]);
    }
    return 0.0;
}

// Rows row, row + 4, row + 8, row + 12; zero from `end` on.
fn quad(row: u32, end: u32, c: u32) -> vec4<f32> {
    return vec4<f32>(
        value(row, end, c),
        value(row + 4u, end, c),
        value(row + 8u, end, c),
        value(row + 12u, end, c),
    );
}

// One for each of these rows before `end`.
fn present(row: u32, end: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<u32>(row, row + 4u, row + 8u, row + 12u) < vec4<u32>(end));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let blocks = (params.channels + 63u) / 64u;
    let index = group_index(group, groups);
    if index >= params.spans * blocks {
        return;
    }
    let c = index % blocks * 64u + local % 64u;
    let span = index / blocks;
    var sum = Moments(0.0, 0.0, 0.0);
    if c < params.channels {
        let end = min((span + 1u) * params.span, params.rows);
        let ones = vec4<f32>(1.0);
        for (var row = span * params.span + local / 64u; row < end; row += 32u) {
            let low = quad(row, end, c);
            let high = quad(row + 16u, end, c);
            let in_low = present(row, end);
            let in_high = present(row + 16u, end);
            let count = dot(in_low, ones) + dot(in_high, ones);
            let mean = (dot(low, ones) + dot(high, ones)) / count;
            let low_off = (low - mean) * in_low;
            let high_off = (high - mean) * in_high;
            sum = merge(sum, Moments(count, mean, dot(low_off, low_off) + dot(high_off, high_off)));
        }
    }
    counts[local] = sum.count;
    means[local] = sum.mean;
    squares[local] = sum.squares;
    workgroupBarrier();
    if local < 64u && c < params.channels {
        for (var other = local + 64u; other < 256u; other += 64u) {
            sum = merge(sum, Moments(counts[other], means[other], squares[other]));
        }
        out[2u * span * params.channels + c] = sum.mean;
        out[(2u * span + 1u) * params.channels + c] = sum.squares;
    }
}
