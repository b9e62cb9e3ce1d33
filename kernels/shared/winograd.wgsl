// Winograd's form of a 3 x 3 convolution, F(4x4, 3x3) (Lavin & Gray, 2016): tiles of 6 x 6 pixels, 4 apart, and the kernel become the values
// of polynomials at six points a side, 0, ±5/8, ±3/2 and infinity; the product of the values is the convolution's, at 36 products for 16
// pixels instead of 144. The points err less than half as much as 0, ±1, ±2 (src/numeric/winograd_transform.rs). One side of each transform:

const SIDE: u32 = 6u;
const OUT: u32 = 4u;
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = 0.390625;
const B2: f32 = 2.25;

// One over the product of a point's differences from the other finite points.
const ZERO: f32 = 1.0 / (0.390625 * 2.25);
const NEAR: f32 = 1.0 / (2.0 * 0.390625 * (0.390625 - 2.25));
const FAR: f32 = 1.0 / (2.0 * 2.25 * (2.25 - 0.390625));

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

// Of the output's gradient, which is the kernel where the kernel's gradient is computed: the transpose of output_values.
fn gradient_values(d: array<item32, 4>) -> Side {
    let near = d[0] + A2 * d[2];
    let near_odd = A * (d[1] + A2 * d[3]);
    let far = d[0] + B2 * d[2];
    let far_odd = B * (d[1] + B2 * d[3]);
    return Side(d[0], near + near_odd, near - near_odd, far + far_odd, far - far_odd, d[3]);
}

// Of the kernel.
fn kernel_values(g: array<item32, 3>) -> Side {
    let near = NEAR * (g[0] + A2 * g[2]);
    let far = FAR * (g[0] + B2 * g[2]);
    return Side(
        ZERO * g[0],
        near + NEAR * A * g[1],
        near - NEAR * A * g[1],
        far + FAR * B * g[1],
        far - FAR * B * g[1],
        g[2],
    );
}

// The way back to a kernel's gradient: the transpose of kernel_values.
fn kernel_gradient(m: Side) -> array<item32, 3> {
    let near = NEAR * (m[1] + m[2]);
    let far = FAR * (m[3] + m[4]);
    return array<item32, 3>(
        ZERO * m[0] + near + far,
        NEAR * A * (m[1] - m[2]) + FAR * B * (m[3] - m[4]),
        A2 * near + B2 * far + m[5],
    );
}
