// The focal loss clips probabilities to 1e-7..1 - 1e-7.

const LOWEST: f32 = 1.0e-7;
const LOG_LOWEST: f32 = -16.118096; // ln 1e-7
const LOG_HIGHEST: f32 = -1.0e-7; // ln(1 - 1e-7)

// q to the power gamma, exact where gamma is 2.
fn focus(q: f32, gamma: f32) -> f32 {
    if gamma == 2.0 {
        return q * q;
    }
    return pow(q, gamma);
}
