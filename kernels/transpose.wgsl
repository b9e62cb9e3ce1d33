// Matrices turned over, one after another or in the opposite order: out(t, c, r) = x(t or matrices - 1 - t, r, c). In the opposite order, the
// taps of a convolution's kernel become those of the convolution that gives the gradient of its input.
//
// Taken: first pass for transposed operands and the kernels of input gradients.
// Bindings:
//   0 x: (matrices, rows, columns)
//   1 out: (matrices, columns, rows), scratch
//   2 params
// Dispatch: ceil(matrices * rows * columns / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    matrices: u32,
    rows: u32,
    columns: u32,
    backwards: u32,
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
        if i < params.matrices * params.rows * params.columns {
            let row = i % params.rows;
            let column = i / params.rows % params.columns;
            var matrix = i / params.rows / params.columns;
            if params.backwards != 0u {
                matrix = params.matrices - 1u - matrix;
            }
            out[i] = x[(matrix * params.rows + row) * params.columns + column];
        }
    }
}
