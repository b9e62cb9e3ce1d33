// out(i) = bias(i % n) + sum over parts p of x(p, i): the second pass of a split matrix product.
//
// Taken: second pass where k was split into parts.
// Bindings:
//   0 x: (parts, count)
//   1 bias: n; anything where has_bias is 0
//   2 out: (m, n), count elements
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    parts: u32,
    n: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read> bias: array<elem>;
@group(0) @binding(2) var<storage, read_write> out: array<elem>;
@group(0) @binding(3) var<uniform> params: Params;

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
        if i < params.count {
            var sum = 0.0;
            if params.has_bias != 0u {
                sum = f32(bias[i % params.n]);
            }
            for (var part = 0u; part < params.parts; part++) {
                sum += f32(x[part * params.count + i]);
            }
            out[i] = elem(sum);
        }
    }
}
