// The definition: out(b, i, j) = bias(j) + sum over q of a(b, i, q) b(b, q, j).
// Transposed operands differ in their strides only. For narrow results, and the readable statement of matmul_tiled.
//
// Taken: n below 16; plain kernels.
// Bindings:
//   0 a: a_batch per product, a_row, a_inner strides
//   1 b: b_batch per product, b_inner, b_column strides
//   2 bias: n; anything where has_bias is 0
//   3 out: (batch, m, n)
//   4 params
// Dispatch: ceil(batch * m * n / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    a_batch: u32,
    a_row: u32,
    a_inner: u32,
    b_batch: u32,
    b_inner: u32,
    b_column: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<storage, read> a: array<elem>;
@group(0) @binding(1) var<storage, read> b: array<elem>;
@group(0) @binding(2) var<storage, read> bias: array<elem>;
@group(0) @binding(3) var<storage, read_write> out: array<elem>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = group_index(group, groups) * WORKGROUP_SIZE * ITEMS + local;
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * WORKGROUP_SIZE;
        if i < params.batch * params.m * params.n {
            let column = i % params.n;
            let row = i / params.n % params.m;
            let product = i / params.n / params.m;
            let at_a = product * params.a_batch + row * params.a_row;
            let at_b = product * params.b_batch + column * params.b_column;
            var sum = 0.0;
            if params.has_bias != 0u {
                sum = f32(bias[column]);
            }
            for (var q = 0u; q < params.k; q++) {
                sum += f32(a[at_a + q * params.a_inner]) * f32(b[at_b + q * params.b_inner]);
            }
            out[i] = elem(sum);
        }
    }
}
