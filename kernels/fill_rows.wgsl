// Rows made longer with zeros: out(i, j) = x(i, j) where j < length, else 0. Kernels that read four channels at once take maps so.
//
// Taken: first pass where channels or k are no multiple of four.
// Bindings:
//   0 x: (rows, length)
//   1 out: (rows, filled), scratch
//   2 params
// Dispatch: ceil(rows * filled / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    rows: u32,
    length: u32,
    filled: u32,
}

@group(0) @binding(0) var<storage, read> x: array<elem>;
@group(0) @binding(1) var<storage, read_write> out: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

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
        if i < params.rows * params.filled {
            let row = i / params.filled;
            let column = i - row * params.filled;
            var value = elem();
            if column < params.length {
                value = x[row * params.length + column];
            }
            out[i] = value;
        }
    }
}
