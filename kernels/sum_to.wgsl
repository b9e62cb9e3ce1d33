// Sums over the axes along which a shape was broadcast. Neighbouring axes of a kind are taken together, so that the input is
// (keep0, sum0, keep1, sum1, keep2):
//   out(i, j, k) = sum over r, s of x(i, r, j, s, k).
// The summed positions (sum0 * sum1) may be split into parts of part_length: each part is a result of its own, in scratch,
// which matmul_sum adds up. Every sum is taken in one fixed order.
//
// Bindings:
//   0 x: (keep0, sum0, keep1, sum1, keep2)
//   1 out: (parts, keep0, keep1, keep2)
//   2 params
// Tile: COLUMNS outputs per group of 256; 256 / COLUMNS threads share the sum of one. COLUMNS is a power of two up to 256.
// Dispatch: parts * ceil(keep0 * keep1 * keep2 / COLUMNS) groups, outputs fastest.

struct Params {
    keep0: u32,
    sum0: u32,
    keep1: u32,
    sum1: u32,
    keep2: u32,
    parts: u32,
    part_length: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

override COLUMNS: u32 = 64u;
const THREADS: u32 = 256u;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let count = params.keep0 * params.keep1 * params.keep2;
    let blocks = (count + COLUMNS - 1u) / COLUMNS;
    let index = group_index(group, groups);
    let part = index / blocks;
    if part >= params.parts {
        return;
    }
    let i = index % blocks * COLUMNS + local % COLUMNS;
    var sum = 0.0;
    if i < count {
        let k = i % params.keep2;
        let j = i / params.keep2 % params.keep1;
        let first = i / params.keep2 / params.keep1 * params.sum0;
        let end = min((part + 1u) * params.part_length, params.sum0 * params.sum1);
        for (var r = part * params.part_length + local / COLUMNS; r < end; r += THREADS / COLUMNS) {
            let row = ((first + r / params.sum1) * params.keep1 + j) * params.sum1 + r % params.sum1;
            sum += f32(x[row * params.keep2 + k]);
        }
    }
    sums[local] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half >= COLUMNS; half /= 2u) {
        if local < half {
            sums[local] += sums[local + half];
        }
        workgroupBarrier();
    }
    if local < COLUMNS && i < count {
        out[part * count + i] = elem(sums[local]);
    }
}
