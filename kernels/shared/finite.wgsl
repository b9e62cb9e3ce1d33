// Whether a number is neither infinite nor NaN. By its bits: compilers may take it that comparisons never see either.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
