// Sums and maxima over the threads of a workgroup that shares one row, in a fixed order. To be called by all threads together.
//
// Halves are folded onto each other in workgroup memory. Where there are subgroups, each makes its own sum, and then every one adds up those of all: one
// step instead of six. Nothing is assumed of their sizes and of which threads form one.

override ROW_THREADS: u32 = 64u; // a power of two up to 64

var<workgroup> row_parts: array<f32, 64>;

fn row_sum(value: f32, local: u32) -> f32 {
    var total = 0.0;
    if SUBGROUPS {
        let part = lanes_sum(value);
        // Here, where all threads are active.
        let lane = lane_index();
        let lanes = lane_count();
        row_parts[local] = select(0.0, part, lane == 0u);
        workgroupBarrier();
        var sum = 0.0;
        for (var i = lane; i < ROW_THREADS; i += lanes) {
            sum += row_parts[i];
        }
        total = lanes_sum(sum);
    } else {
        row_parts[local] = value;
        workgroupBarrier();
        for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
            if local < half {
                row_parts[local] += row_parts[local + half];
            }
            workgroupBarrier();
        }
        total = row_parts[0];
    }
    // The memory may be written again as soon as everyone has read it.
    workgroupBarrier();
    return total;
}

fn row_max(value: f32, local: u32) -> f32 {
    var top = value;
    if SUBGROUPS {
        let lane = lane_index();
        let lanes = lane_count();
        row_parts[local] = lanes_max(value);
        workgroupBarrier();
        for (var i = lane; i < ROW_THREADS; i += lanes) {
            top = max(top, row_parts[i]);
        }
        top = lanes_max(top);
    } else {
        row_parts[local] = value;
        workgroupBarrier();
        for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
            if local < half {
                row_parts[local] = max(row_parts[local], row_parts[local + half]);
            }
            workgroupBarrier();
        }
        top = row_parts[0];
    }
    workgroupBarrier();
    return top;
}
