//! Random numbers and smooth noise that are the same on every machine for one seed.
//!
//! Sines and the like come from `libm` and not from the system, whose last digits differ.

/// One step of SplitMix64 (Steele, Lea and Flood 2014): a good 64-bit mix.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The upper 53 bits as a number from 0 to 1, without 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit f64 exactly")]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A generator of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Generators of different seeds or streams are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed) ^ stream))
    }

    /// Any 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A number from `low` to `high`, each as likely.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * unit(self.bits())
    }

    /// A whole number below `count`, each as likely; 0 for a count of 0.
    #[expect(clippy::cast_possible_truncation, reason = "the upper half of the product is below count")]
    pub(crate) fn below(&mut self, count: usize) -> usize {
        // The upper half of a 128-bit product (Lemire 2019); the bias is below count / 2^64.
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        unit(self.bits()) < probability
    }

    /// Two independent normal numbers of mean 0 and deviation 1, with true tails (Box and Muller 1958).
    pub(crate) fn gaussian_pair(&mut self) -> [f64; 2] {
        // 1 - unit is above 0, so the logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - unit(self.bits()))).sqrt();
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * unit(self.bits()));
        [radius * cosine, radius * sine]
    }

    /// Nearly a normal number of mean 0 and deviation 1: a sum of four uniform ones, which is within 3.5 and needs no logarithm.
    pub(crate) fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.uniform(-1.0, 1.0)).sum();
        sum * 0.75_f64.sqrt()
    }
}

/// Gradient noise (Perlin 1985, with the smoother step of 2002), about -0.7 to 0.7, with features of about 1 unit.
pub(crate) fn gradient_noise(seed: u64, x: f64, y: f64) -> f64 {
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let corner = |i: f64, j: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any bits do, if always the same")]
        let (column, row) = ((left + i) as i64 as u64, (top + j) as i64 as u64);
        // Gradients from a square of mean square length 1: sines of an angle would take half of all the time.
        let bits = mix(mix(seed ^ column) ^ row);
        let part = |bits: u64| (2.0 * unit(bits) - 1.0) * 1.5_f64.sqrt();
        part(bits) * (dx - i) + part(bits << 32) * (dy - j)
    };
    let smooth = |t: f64| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let blend = |a: f64, b: f64, t: f64| a + (b - a) * t;
    let (sx, sy) = (smooth(dx), smooth(dy));
    blend(blend(corner(0.0, 0.0), corner(1.0, 0.0), sx), blend(corner(0.0, 1.0), corner(1.0, 1.0), sx), sy)
}

/// Sum of `octaves` of [`gradient_noise`], each of half the size and half the height.
pub(crate) fn fractal(seed: u64, x: f64, y: f64, octaves: u32) -> f64 {
    let (mut sum, mut scale) = (0.0, 1.0);
    for octave in 0..octaves {
        sum += gradient_noise(seed.wrapping_add(u64::from(octave)), x * scale, y * scale) / scale;
        scale *= 2.0;
    }
    sum
}

/// Sharp ridges between rounded valleys (the ridged multifractal of Musgrave 1994): detail grows on the ridges. About 0 to 2.
pub(crate) fn ridged(seed: u64, x: f64, y: f64, octaves: u32) -> f64 {
    let (mut sum, mut weight, mut scale) = (0.0, 1.0, 1.0);
    for octave in 0..octaves {
        let ridge = 1.0 - 1.6 * gradient_noise(seed.wrapping_add(u64::from(octave)), x * scale, y * scale).abs();
        let signal = ridge * ridge * weight;
        weight = (2.0 * signal).clamp(0.0, 1.0);
        sum += signal / scale;
        scale *= 2.0;
    }
    sum
}

/// Waves about 1 unit apart whose crests run at right angles to `across` (a unit vector), -1 to 1; where the direction turns they fork and
/// join. Gabor noise (Lagae et al. 2009, doi 10.1145/1531326.1531360) with one kernel per square of the lattice, normalised.
pub(crate) fn stripes(seed: u64, x: f64, y: f64, across: (f64, f64)) -> f64 {
    let (left, top) = (x.floor(), y.floor());
    let (mut sum, mut weights) = (0.0, 0.0);
    for i in [-1.0, 0.0, 1.0] {
        for j in [-1.0, 0.0, 1.0] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "any bits do, if always the same"
            )]
            let bits = mix(mix(seed ^ (left + i) as i64 as u64) ^ (top + j) as i64 as u64);
            let (dx, dy) = (x - left - i - unit(bits), y - top - j - unit(bits << 32));
            // A bell that ends at 1.5 units, where the next squares' kernels begin.
            let bell = (1.0 - (dx * dx + dy * dy) / 2.25).max(0.0);
            let weight = bell * bell * bell;
            weights += weight;
            sum += weight * wave(dx * across.0 + dy * across.1);
        }
    }
    if weights > 1e-9 { sum / weights } else { 0.0 }
}

/// Nearly the cosine of 2 pi `t`, from parabolas: a tenth of the time.
fn wave(t: f64) -> f64 {
    let t = t - t.floor() - 0.5;
    let quarter = (t.abs() - 0.25) * 4.0;
    // Odd about the quarter: a parabola on each side.
    quarter * (2.0 - quarter.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let mut random = Random::new(3, 1);
        let values: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_ne!(Random::new(3, 2).bits(), Random::new(3, 1).bits());
    }

    #[test]
    fn gaussian_pairs_have_normal_tails() {
        let mut random = Random::new(7, 1);
        let pairs: Vec<[f64; 2]> = (0..200_000).map(|_| random.gaussian_pair()).collect();
        let values: Vec<f64> = pairs.iter().flatten().copied().collect();
        let n = 400_000.0;
        let moment = |power: i32| values.iter().map(|v| v.powi(power)).sum::<f64>() / n;
        // Within 4 standard errors: var(x^k) is 1, 2, 15, 96 for k = 1 to 4.
        for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0_f64)] {
            assert!((moment(power) - expected).abs() < 4.0 * (variance / n).sqrt(), "{power}: {}", moment(power));
        }
        // P(|x| > 3.5) = 4.6526e-4, where the sum of uniform numbers ends.
        let far = values.iter().filter(|v| v.abs() > 3.5).count() as f64;
        assert!((far - n * 4.6526e-4).abs() < 4.0 * (n * 4.6526e-4).sqrt(), "{far}");
        let product = pairs.iter().map(|[a, b]| a * b).sum::<f64>() / 200_000.0;
        assert!(product.abs() < 4.0 / 200_000_f64.sqrt(), "{product}");
    }

    #[test]
    fn whole_numbers_and_chances() {
        let mut random = Random::new(9, 4);
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        // 4 deviations of a binomial with n = 70,000 and p = 1/7.
        assert!(counts.iter().all(|&c| (f64::from(c) - 10_000.0).abs() < 4.0 * 92.6), "{counts:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert!(!(0..1000).any(|_| random.chance(0.0)) && (0..1000).all(|_| random.chance(1.0)));
    }

    #[test]
    fn noise_is_zero_on_the_lattice_and_continuous() {
        assert_eq!(gradient_noise(5, 3.0, -2.0), 0.0);
        let step = 1e-6;
        for i in 0..200 {
            let (x, y) = (f64::from(i) * 0.037 - 3.0, f64::from(i) * 0.029);
            assert!((gradient_noise(5, x, y) - gradient_noise(5, x + step, y)).abs() < 1e-5);
            assert!((0.0..2.5).contains(&ridged(5, x, y, 6)));
        }
    }
}
