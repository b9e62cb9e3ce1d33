// Winograd's form of a 3 x 3 convolution, F(4x4, 3x3) (Lavin & Gray, 2016): tiles of 6 x 6 pixels, 4 apart, and the kernel become the values
// of polynomials at six points a side, 0, ±5/8, ±3/2 and infinity; the product of the values is the convolution's, at 36 products for 16
// pixels instead of 144. The points err less than half as much as 0, ±1, ±2 (src/numeric/winograd_transform.rs). One side of each transform:

const SIDE: u32 = 6u;
const OUT: u32 = 4u;
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = 0.390625;
const B2: f32 = 2.25;

alias Side = array<item32, 6>;

// Of the input: for each point, the tile times the product of (x - q) over the other points q.
fn input_values(d: Side) -> Side {
    let even_a = d[4] - B2 * d[2];
    let odd_a = A * (d[3] - B2 * d[1]);
    let even_b = d[4] - A2 * d[2];
    let odd_b = B * (d[3] - A2 * d[1]);
    return Side(
        A2 * B2 * d[0] - (A2 + B2) * d[2] + d[4],
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        A2 * B2 * d[1] - (A2 + B2) * d[3] + d[5],
    );
}

// The way back: from values at the points to four outputs.
fn output_values(m: Side) -> array<item32, 4> {
    let sum_a = m[1] + m[2];
    let difference_a = m[1] - m[2];
    let sum_b = m[3] + m[4];
    let difference_b = m[3] - m[4];
    return array<item32, 4>(
        m[0] + sum_a + sum_b,
        A * difference_a + B * difference_b,
        A2 * sum_a + B2 * sum_b,
        A * A2 * difference_a + B * B2 * difference_b + m[5],
    );
}
