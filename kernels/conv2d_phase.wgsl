// The kernel of one phase of a convolution of a doubled map (nearest neighbours). The output's pixels of a phase (row_phase, column_phase) see every pixel of
// the map through the taps that fall on it:
//   out(a, b, e) = sum of kernel(i, j, e) over the i with (row_phase + i - top) div 2 = a - phase_top, and likewise for j and b.
//
// An item is an element, or a quad of them where the channels are multiples of four; channels count items.
// Taken: doubled maps, before each of four conv2d_tiled.
// Bindings:
//   0 kernel: (kernel_height, kernel_width, channels), channels in and out taken together
//   1 out: (phase_height, phase_width, channels), `first` items into the buffer, scratch
//   2 params
// Dispatch: ceil(phase_height * phase_width * channels / 1024) groups of 256; a thread takes 4 items, 256 apart.

struct Params {
    kernel_height: u32,
    kernel_width: u32,
    channels: u32,
    top: u32,
    left: u32,
    row_phase: u32,
    column_phase: u32,
    phase_height: u32,
    phase_width: u32,
    phase_top: u32,
    phase_left: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> kernel: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP_SIZE: u32 = 256u;
const ITEMS: u32 = 4u;

// The taps from .x up to .y of `taps` that fall on tap `at` of the phase. With v = phase + i - before, those with v div 2 = at - phase_before.
fn taps_on(at: u32, phase: u32, before: u32, phase_before: u32, taps: u32) -> vec2<u32> {
    // 2 (at - phase_before) - phase + before, which may be -1.
    let first = i32(2u * at + before) - i32(2u * phase_before + phase);
    return vec2<u32>(vec2<i32>(max(first, 0), min(first + 2, i32(taps))));
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
        if i < params.phase_height * params.phase_width * params.channels {
            let channel = i % params.channels;
            let tap = i / params.channels;
            let rows = taps_on(tap / params.phase_width, params.row_phase, params.top, params.phase_top, params.kernel_height);
            let columns = taps_on(tap % params.phase_width, params.column_phase, params.left, params.phase_left, params.kernel_width);
            var sum = item32();
            for (var a = rows.x; a < rows.y; a++) {
                for (var b = columns.x; b < columns.y; b++) {
                    sum += load_item(kernel[(a * params.kernel_width + b) * params.channels + channel]);
                }
            }
            out[params.first + i] = store_item(sum);
        }
    }
}
