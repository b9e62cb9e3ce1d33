// Sums and maxima over the threads of a workgroup that shares one row, in a fixed order: halves are folded onto each
// other in workgroup memory. To be called by all threads together.

override ROW_THREADS: u32 = 64u; // a power of two up to 64

var<workgroup> row_parts: array<f32, 64>;

fn row_sum(value: f32, local: u32) -> f32 {
    row_parts[local] = value;
    workgroupBarrier();
    for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            row_parts[local] += row_parts[local + half];
        }
        workgroupBarrier();
    }
    let total = row_parts[0];
    // The memory may be written again as soon as everyone has read it.
    workgroupBarrier();
    return total;
}

fn row_max(value: f32, local: u32) -> f32 {
    row_parts[local] = value;
    workgroupBarrier();
    for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
        if local < half {
            row_parts[local] = max(row_parts[local], row_parts[local + half]);
        }
        workgroupBarrier();
    }
    let top = row_parts[0];
    workgroupBarrier();
    return top;
}
