// How fast the device multiplies and adds in f16: sixteen chains a thread, `value = value * factor + addend`, each step waiting for the
// one before it. 32 steps of vec4 an iteration: 256 floating-point operations.
//
// Assembled for storage in the language's f16: the prelude enables it.
//
// Bindings:
//   0 out: one value a thread
//   1 params
// Dispatch: any number of groups of 256.

struct Params {
    iterations: u32,
    factor: f32,
    addend: f32,
}

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
// 1 for `fma`, 0 for a product and a sum: drivers differ in which of them is fast.
override FUSED: u32 = 1u;
const STEPS: u32 = 8u;

fn step(value: vec4<f16>, factor: vec4<f16>, addend: vec4<f16>) -> vec4<f16> {
    if FUSED == 1u {
        return fma(value, factor, addend);
    }
    return value * factor + addend;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * WORKGROUP_SIZE + local;
    let factor = vec4<f16>(f16(params.factor));
    let addend = vec4<f16>(f16(params.addend));
    var a = vec4<f16>(f16(f32(local) * 0.001)) + vec4<f16>(0.1, 0.2, 0.3, 0.4);
    var b = a + f16(0.01);
    var c = a + f16(0.02);
    var d = a + f16(0.03);
    for (var iteration = 0u; iteration < params.iterations; iteration++) {
        for (var k = 0u; k < STEPS; k++) {
            a = step(a, factor, addend);
            b = step(b, factor, addend);
            c = step(c, factor, addend);
            d = step(d, factor, addend);
        }
    }
    let whole = (a + b) + (c + d);
    if i < arrayLength(&out) {
        out[i] = f32((whole.x + whole.y) + (whole.z + whole.w));
    }
}
