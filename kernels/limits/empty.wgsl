// What a launch costs that does nothing but wait for the one before it: both may write `out`, so the device keeps their order.
//
// Bindings:
//   0 out: at least one value
//   1 params
// Dispatch: one group of 64.

struct Params {
    number: u32,
}

@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 64u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) local: u32) {
    if local == 0u {
        out[0] = params.number;
    }
}
