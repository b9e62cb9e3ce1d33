// Class probabilities of a pixel, exact near 0 and near 1. The kernel that uses it declares `logits: array<elem>`.
//
// With e(c) = exp(x(c) - max x) the largest class has e = 1; `others` is the sum of e over all other classes. Then
// p(c) = e(c) / (1 + others), and neither 1 - p nor ln p needs a difference of nearly equal numbers.

struct Classes {
    at: u32,
    top: u32,
    largest: f32,
    others: f32,
    log_sum: f32,
}

// ln(1 + v) for v >= 0. Up to 1: 2 artanh(v / (2 + v)) as a series (remainder 2e-8 relative), which is also exact near
// zero and does not depend on the precision of a device's logarithm.
fn log_one_plus(v: f32) -> f32 {
    if v > 1.0 {
        return log(1.0 + v);
    }
    let s = v / (2.0 + v);
    let q = s * s;
    var sum = 1.0 / 15.0;
    sum = sum * q + 1.0 / 13.0;
    sum = sum * q + 1.0 / 11.0;
    sum = sum * q + 1.0 / 9.0;
    sum = sum * q + 1.0 / 7.0;
    sum = sum * q + 1.0 / 5.0;
    sum = sum * q + 1.0 / 3.0;
    sum = sum * q + 1.0;
    return 2.0 * s * sum;
}

// The pixel whose `channels` logits start at `at`.
fn classes(at: u32, channels: u32) -> Classes {
    var top = 0u;
    var largest = f32(logits[at]);
    for (var c = 1u; c < channels; c++) {
        let v = f32(logits[at + c]);
        if v > largest {
            largest = v;
            top = c;
        }
    }
    var others = 0.0;
    for (var c = 0u; c < channels; c++) {
        if c != top {
            others += exp(f32(logits[at + c]) - largest);
        }
    }
    return Classes(at, top, largest, others, log_one_plus(others));
}

// x(c) - max x.
fn below_top(k: Classes, c: u32) -> f32 {
    return f32(logits[k.at + c]) - k.largest;
}

// p(c).
fn probability(k: Classes, c: u32) -> f32 {
    return exp(below_top(k, c)) / (1.0 + k.others);
}

// 1 - p(c).
fn complement(k: Classes, c: u32) -> f32 {
    if c == k.top {
        return k.others / (1.0 + k.others);
    }
    return (1.0 + max(k.others - exp(below_top(k, c)), 0.0)) / (1.0 + k.others);
}

// ln p(c).
fn log_probability(k: Classes, c: u32) -> f32 {
    return below_top(k, c) - k.log_sum;
}
