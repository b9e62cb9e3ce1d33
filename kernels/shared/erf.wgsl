// The error function to 2e-7 absolute, of an item.
//
// Up to |x| = 1: the Maclaurin series (Abramowitz & Stegun 1964, 7.1.5) to x^19, whose remainder is 1.5e-8 there. It has no
// cancellation near zero. Beyond: 1 - exp(-x^2) * (polynomial in t = 1 / (1 + p x)), A&S 7.1.26 (1.5e-7); its rounding
// errors are scaled by exp(-x^2) <= 0.37.
fn erf(x: item32) -> item32 {
    let a = abs(x);
    let s = min(a * a, item32(80.0)); // nothing overflows, whichever form is taken
    var sum = item32(-1.6365845e-7);
    sum = sum * s + 1.6462114e-6;
    sum = sum * s - 1.4925650e-5;
    sum = sum * s + 1.2055333e-4;
    sum = sum * s - 8.5483270e-4;
    sum = sum * s + 5.2239776e-3;
    sum = sum * s - 2.6866171e-2;
    sum = sum * s + 1.1283792e-1;
    sum = sum * s - 3.7612639e-1;
    sum = sum * s + 1.1283792;
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let poly = t * (0.25482959 + t * (-0.28449674 + t * (1.42141374 + t * (-1.45315203 + t * 1.06140543))));
    return select(sign(x) * (1.0 - poly * exp(-s)), sum * x, a <= item32(1.0));
}
