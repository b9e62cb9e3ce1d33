// One step of Adam (Kingma & Ba 2015) in Keras's form, with g' = g * factor:
//   m_out = beta1 m + (1 - beta1) g',  v_out = beta2 v + (1 - beta2) g'^2,  p_out = p - rate * m_out / (sqrt(v_out) + epsilon).
// Where the gradient's norm is not finite, p, m and v stay. Seven tensors and the numbers in one buffer: the eight storage buffers that WebGPU's defaults allow.
//
// Bindings:
//   0 p: count elements
//   1 g: count elements
//   2 m: count elements
//   3 v: count elements
//   4 numbers: rate, factor, and whether the norm is finite, scratch of adam_numbers
//   5 p_out: count elements
//   6 m_out: count elements
//   7 v_out: count elements
//   8 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> p: array<elem>;
@group(0) @binding(1) var<storage, read> g: array<elem>;
@group(0) @binding(2) var<storage, read> m: array<elem>;
@group(0) @binding(3) var<storage, read> v: array<elem>;
@group(0) @binding(4) var<storage, read> numbers: array<f32>;
@group(0) @binding(5) var<storage, read_write> p_out: array<elem>;
@group(0) @binding(6) var<storage, read_write> m_out: array<elem>;
@group(0) @binding(7) var<storage, read_write> v_out: array<elem>;
@group(0) @binding(8) var<uniform> params: Params;

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
            if numbers[2] == 0.0 {
                m_out[i] = m[i];
                v_out[i] = v[i];
                p_out[i] = p[i];
                continue;
            }
            let slope = f32(g[i]) * numbers[1];
            let first = params.beta1 * f32(m[i]) + params.rest1 * slope;
            let second = params.beta2 * f32(v[i]) + params.rest2 * slope * slope;
            m_out[i] = elem(first);
            v_out[i] = elem(second);
            p_out[i] = elem(f32(p[i]) - numbers[0] * first / (sqrt(second) + params.epsilon));
        }
    }
}
