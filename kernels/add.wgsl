// out = a + b with broadcasting over four axes (shorter shapes are padded with ones in front).
// Equal shapes take the short way; otherwise every element finds its operands by the strides, which are zero
// along broadcast axes.
// An item is an element, or a quad of them where the channels are multiples of four; strides and channels count items.
// Bindings:
//   0 a: strides a0..a3
//   1 b: strides b0..b3
//   2 out: (batch, height, width, channels), count items
//   3 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    count: u32,
    equal: u32,
    height: u32,
    width: u32,
    channels: u32,
    a0: u32,
    a1: u32,
    a2: u32,
    a3: u32,
    b0: u32,
    b1: u32,
    b2: u32,
    b3: u32,
}

@group(0) @binding(0) var<storage, read> a: array<item>;
@group(0) @binding(1) var<storage, read> b: array<item>;
@group(0) @binding(2) var<storage, read_write> out: array<item>;
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
            if params.equal != 0u {
                out[i] = store_item(load_item(a[i]) + load_item(b[i]));
            } else {
                let pixel = i / params.channels;
                let c = i % params.channels;
                let row = pixel / params.width;
                let x = pixel % params.width;
                let n = row / params.height;
                let y = row % params.height;
                let at_a = n * params.a0 + y * params.a1 + x * params.a2 + c * params.a3;
                let at_b = n * params.b0 + y * params.b1 + x * params.b2 + c * params.b3;
                out[i] = store_item(load_item(a[at_a]) + load_item(b[at_b]));
            }
        }
    }
}
