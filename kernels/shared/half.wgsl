// The bits of the half nearest to x, to the even one of two equally near. In integers: the language leaves the rounding of
// its own conversions, and what becomes of numbers too large or too small, to the device.
fn half_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u {
        return sign | 0x7e00u; // not a number
    }
    if size >= 0x477fe000u {
        return sign | 0x7bffu; // 65504, the largest
    }
    if size >= 0x38800000u {
        // The exponent's bias is 127 in one and 15 in the other; 13 bits of the fraction go.
        return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
    }
    if size < 0x33000000u {
        return sign; // less than half of the smallest, 2^-24
    }
    // Below 2^-14 halves are multiples of 2^-24: the fraction, its leading one put in, is shifted and rounded.
    let shift = 126u - (size >> 23u);
    let fraction = (size & 0x7fffffu) | 0x800000u;
    let kept = fraction >> shift;
    let rest = fraction & ((1u << shift) - 1u);
    let middle = 1u << (shift - 1u);
    if rest > middle || (rest == middle && (kept & 1u) == 1u) {
        return sign | (kept + 1u);
    }
    return sign | kept;
}

// The float of a half's bits.
fn half_value(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 31u;
    let fraction = bits & 0x3ffu;
    if exponent == 0u {
        let value = f32(fraction) * 5.9604645e-8; // 2^-24
        return bitcast<f32>(bitcast<u32>(value) | sign);
    }
    if exponent == 31u {
        return bitcast<f32>(sign | 0x7f800000u | (fraction << 13u));
    }
    return bitcast<f32>(sign | ((exponent + 112u) << 23u) | (fraction << 13u));
}
