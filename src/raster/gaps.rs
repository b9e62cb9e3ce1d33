//! Gaps: values for pixels that have none.

/// Fills NaN pixels smoothly from what surrounds them; the other pixels stay as they are.
///
/// Push-pull on a pyramid (Gortler et al., "The Lumigraph", SIGGRAPH 1996): means of the known pixels go up to ever coarser
/// levels, and each gap takes the level above by bilinear interpolation on the way down. A few Jacobi steps per level then bring
/// the gap close to the membrane (harmonic) surface through its rim. Linear in the number of pixels and deterministic. Filled
/// values lie within the range of the known ones. If no pixel is known, all become 0.
///
/// # Panics
/// If `values` does not have `width * height` elements: the caller's mistake, never the user's.
pub fn fill_gaps(values: &mut [f32], width: usize, height: usize) {
    assert_eq!(values.len(), width * height, "fill_gaps: the values do not form the raster");
    if !values.iter().any(|value| value.is_nan()) {
        return;
    }
    if values.iter().all(|value| value.is_nan()) {
        values.fill(0.0);
        return;
    }
    let mut base = Level { width, height, values: values.to_vec() };
    base.fill();
    values.copy_from_slice(&base.values);
}

/// Jacobi steps on each level.
const STEPS: usize = 12;

struct Level {
    width: usize,
    height: usize,
    /// NaN where unknown.
    values: Vec<f32>,
}

impl Level {
    fn fill(&mut self) {
        let gaps: Vec<usize> = (0..self.values.len()).filter(|&i| self.values[i].is_nan()).collect();
        if gaps.is_empty() {
            return;
        }
        let mut coarse = self.halved();
        // At least one pixel is known, so the single pixel at the top of the pyramid always is.
        coarse.fill();
        for &i in &gaps {
            self.values[i] = coarse.sample(i % self.width, i / self.width);
        }
        let mut next = vec![0.0; gaps.len()];
        for _ in 0..STEPS {
            for (value, &i) in next.iter_mut().zip(&gaps) {
                *value = self.mean_of_neighbours(i);
            }
            for (value, &i) in next.iter().zip(&gaps) {
                self.values[i] = *value;
            }
        }
    }

    /// The level with half the size: means of the known pixels of each 2 x 2 square.
    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut values = Vec::with_capacity(width * height);
        for row in 0..height {
            for col in 0..width {
                let (mut sum, mut count) = (0.0_f64, 0.0_f64);
                for y in 2 * row..(2 * row + 2).min(self.height) {
                    for x in 2 * col..(2 * col + 2).min(self.width) {
                        let value = self.values[y * self.width + x];
                        if !value.is_nan() {
                            sum += f64::from(value);
                            count += 1.0;
                        }
                    }
                }
                values.push(if count > 0.0 { narrow(sum / count) } else { f32::NAN });
            }
        }
        Self { width, height, values }
    }

    /// The value at pixel (x, y) of the level below, bilinearly between pixel centres.
    fn sample(&self, x: usize, y: usize) -> f32 {
        // The nearer neighbour weighs 3/4; even pixels lean to the one before, odd ones to the one after.
        let pair = |position: usize, size: usize| {
            let near = position / 2;
            let far = if position.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(size - 1) };
            (near, far)
        };
        let ((x0, x1), (y0, y1)) = (pair(x, self.width), pair(y, self.height));
        let at = |x: usize, y: usize| f64::from(self.values[y * self.width + x]);
        let near = 0.75 * at(x0, y0) + 0.25 * at(x1, y0);
        let far = 0.75 * at(x0, y1) + 0.25 * at(x1, y1);
        narrow(0.75 * near + 0.25 * far)
    }

    fn mean_of_neighbours(&self, i: usize) -> f32 {
        let (x, y) = (i % self.width, i / self.width);
        let (mut sum, mut count) = (0.0, 0.0);
        let mut take = |there: bool, j: usize| {
            if there {
                sum += f64::from(self.values[j]);
                count += 1.0;
            }
        };
        take(x > 0, i.wrapping_sub(1));
        take(x + 1 < self.width, i + 1);
        take(y > 0, i.wrapping_sub(self.width));
        take(y + 1 < self.height, i + self.width);
        narrow(sum / count)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "means of f32 values fit f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_gives_zeros() {
        let mut values = vec![f32::NAN; 12];
        fill_gaps(&mut values, 4, 3);
        assert_eq!(values, [0.0; 12]);
        fill_gaps(&mut [], 0, 0);
    }

    #[test]
    fn known_pixels_stay_and_one_of_them_fills_all() {
        let mut values = vec![f32::NAN; 35];
        values[17] = 4.5;
        fill_gaps(&mut values, 7, 5);
        assert_eq!(values, [4.5; 35]);
    }

    #[test]
    fn a_hole_in_a_plane_closes_flush() {
        let (width, height) = (64, 48);
        let plane = |x: usize, y: usize| narrow(100.0 + 3.0 * x as f64 - 2.0 * y as f64);
        let mut values: Vec<f32> = (0..width * height).map(|i| plane(i % width, i / width)).collect();
        for y in 20..30 {
            for x in 25..41 {
                values[y * width + x] = f32::NAN;
            }
        }
        fill_gaps(&mut values, width, height);
        for (i, value) in values.iter().enumerate() {
            let wanted = plane(i % width, i / width);
            assert!((value - wanted).abs() < 2.0, "{i}: {value} for {wanted}");
        }
    }

    #[test]
    fn filled_values_keep_the_range() {
        let (width, height) = (37, 29);
        let mut values: Vec<f32> = (0..width * height)
            .map(|i| if i * 7919 % 11 < 3 { narrow((i * 31 % 97) as f64) } else { f32::NAN })
            .collect();
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let known = values.clone();
        fill_gaps(&mut values, width, height);
        for (value, known) in values.iter().zip(&known) {
            assert!((low..=high).contains(value));
            assert!(known.is_nan() || value == known);
        }
    }
}
