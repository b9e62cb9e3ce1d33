// The transpose of bilinear upsampling by two: along each axis input i collects 3/4 of outputs 2 i and 2 i + 1 and 1/4 of
// outputs 2 i - 1 and 2 i + 2; at the edges, which clamp, the outermost output comes whole.
//
// Bindings:
//   0 dy: (N, 2 height, 2 width, channels)
//   1 dx: (N, height, width, channels), count elements
//   2 params
// Dispatch: ceil(count / 1024) groups of 256; a thread takes 4 elements, 256 apart.

struct Params {
    count: u32,
    height: u32,
    width: u32,
    channels: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<elem>;
@group(0) @binding(1) var<storage, read_write> dx: array<elem>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

// The weights of outputs 2 i - 1 .. 2 i + 2 on an axis of n inputs; zero outside.
fn weights(i: u32, n: u32) -> vec4<f32> {
    let first = i == 0u;
    let last = i == n - 1u;
    return vec4<f32>(
        select(0.25, 0.0, first),
        select(0.75, 1.0, first),
        select(0.75, 1.0, last),
        select(0.25, 0.0, last),
    );
}

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
            let pixel = i / params.channels;
            let c = i % params.channels;
            let row = pixel / params.width;
            let x = pixel % params.width;
            let n = row / params.height;
            let y = row % params.height;
            let down = weights(y, params.height);
            let across = weights(x, params.width);
            var sum = 0.0;
            for (var a = 0u; a < 4u; a++) {
                if down[a] > 0.0 {
                    let line = (2u * params.height * n + 2u * y + a - 1u) * 2u * params.width;
                    var part = 0.0;
                    for (var b = 0u; b < 4u; b++) {
                        if across[b] > 0.0 {
                            part += across[b] * f32(dy[(line + 2u * x + b - 1u) * params.channels + c]);
                        }
                    }
                    sum += down[a] * part;
                }
            }
            dx[i] = elem(sum);
        }
    }
}
