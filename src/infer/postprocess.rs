//! Blended probabilities to classes and confidence.
//!
//! The order of the published tool: class = argmax of the probabilities, then the optional median filter of the classes; confidence from the
//! probabilities before any filter.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// Class of pixels that are not glacier.
pub const OTHER: u8 = 0;
/// Class of glacier pixels.
pub const GLACIER: u8 = 1;
/// Class of pixels without data. The published tool has none; 255 is what GDAL's tools take for 8-bit classes.
pub const NODATA: u8 = 255;

/// Classes from the probability of glacier: [`GLACIER`] above 0.5 (an argmax that takes the first class of equals), [`NODATA`] for NaN.
#[must_use]
pub fn classify(glacier: &[f32]) -> Vec<u8> {
    glacier
        .iter()
        .map(|&p| match p {
            p if p.is_nan() => NODATA,
            p if p > 0.5 => GLACIER,
            _ => OTHER,
        })
        .collect()
}

/// Confidence `1 - H / log 2` of the probability of one of two classes, H being the entropy: 0 at 0.5, almost 1 at 0 and 1. NaN stays NaN.
///
/// Both probabilities are clipped to [1e-6, 1 - 1e-6] first, as published.
#[must_use]
pub fn confidence(glacier: f64) -> f64 {
    let p = glacier.clamp(1e-6, 1.0 - 1e-6);
    let q = (1.0 - glacier).clamp(1e-6, 1.0 - 1e-6);
    1.0 + (p * p.ln() + q * q.ln()) / std::f64::consts::LN_2
}

/// [`confidence`] of many pixels, computed in f64.
#[must_use]
pub fn confidences(glacier: &[f32]) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "confidence rasters are f32")]
    let narrow = |value: f64| value as f32;
    glacier.iter().map(|&p| narrow(confidence(f64::from(p)))).collect()
}

/// `size` x `size` median of a class map of `height` rows and `width` columns, holding [`OTHER`], [`GLACIER`] and [`NODATA`].
///
/// Beyond the edges the map is mirrored with the edge pixel repeated (SciPy's `reflect`: d c b a | a b c d | d c b a), however large the
/// window. Pixels without data stay so and count as [`OTHER`] for their neighbours. Where there are none the result is that of
/// `scipy.ndimage.median_filter(classes, size)`.
///
/// # Errors
/// The size is even or above 65535, the map holds other classes, or its length is not `height * width`.
pub fn median(classes: &[u8], height: usize, width: usize, size: usize) -> Result<Vec<u8>> {
    if height.checked_mul(width) != Some(classes.len()) {
        return Err(Error::bad_argument(
            format!("{} classes", classes.len()),
            format!("{height} x {width}"),
            "pass all pixels of the scene",
        ));
    }
    MedianRows::new(height, width, size)?.add_rows(classes)
}

/// [`median`] of a map whose rows come from the north: the same pixels, in memory of about `size` rows.
///
/// The median of an odd number of zeros and ones is 1 if more than half are ones, so running sums do: the time is O(pixels) for any size.
#[derive(Debug, Clone)]
pub struct MedianRows {
    height: usize,
    width: usize,
    size: usize,
    /// Mirrored columns: the column at position `i - radius`.
    col_at: Vec<usize>,
    /// Rows that are still needed, the first of them being number `first`.
    rows: VecDeque<Vec<u8>>,
    first: usize,
    /// The next row to come out, and the glacier pixels of each column within its window.
    next: usize,
    in_column: Vec<u64>,
}

impl MedianRows {
    /// A filter for a map of `height` x `width` pixels.
    ///
    /// # Errors
    /// The size is even or above 65535.
    pub fn new(height: usize, width: usize, size: usize) -> Result<Self> {
        if size.is_multiple_of(2) || size > 65_535 {
            return Err(Error::bad_argument(
                format!("a median filter of {size} x {size} pixels"),
                "an odd size, 1 to 65535",
                "use 3 or 5, say",
            ));
        }
        let col_at = if width > 0 { mirrored(width, size / 2) } else { Vec::new() };
        let in_column = Vec::new();
        Ok(Self { height, width, size, col_at, rows: VecDeque::new(), first: 0, next: 0, in_column })
    }

    /// Takes whole rows and gives the filtered rows that they complete; the last rows of the map complete all.
    ///
    /// # Errors
    /// The classes are not whole rows, are too many, or are others than [`OTHER`], [`GLACIER`] and [`NODATA`].
    pub fn add_rows(&mut self, classes: &[u8]) -> Result<Vec<u8>> {
        let width = self.width;
        let room = self.height - self.first - self.rows.len();
        if !classes.len().is_multiple_of(width.max(1)) || classes.len() > room * width {
            return Err(Error::bad_argument(
                format!("{} classes", classes.len()),
                format!("whole rows of {width} pixels, {room} at most"),
                "pass all pixels of the scene",
            ));
        }
        if let Some(strange) = classes.iter().find(|&&c| !matches!(c, OTHER | GLACIER | NODATA)) {
            return Err(Error::bad_argument(
                format!("class {strange}"),
                format!("{OTHER}, {GLACIER} or {NODATA}"),
                "filter class maps of glacier and not glacier only",
            ));
        }
        if classes.is_empty() || self.size == 1 {
            self.first += classes.len() / width.max(1);
            return Ok(classes.to_vec());
        }
        self.rows.extend(classes.chunks_exact(width).map(<[u8]>::to_vec));
        let known = self.first + self.rows.len();
        let radius = self.size / 2;
        let mut filtered = Vec::new();
        while self.next < self.height && (known == self.height || self.next + radius < known) {
            self.move_window();
            self.filter_row(&mut filtered);
            self.next += 1;
            // The next window still loses the first row of this one.
            while self.first + radius + 1 < self.next && !self.rows.is_empty() {
                self.rows.pop_front();
                self.first += 1;
            }
        }
        Ok(filtered)
    }

    /// Counts the glacier pixels per column in the window of row `next`.
    fn move_window(&mut self) {
        let radius = self.size / 2;
        let row_at = |position: usize| mirrored_at(position, radius, self.height);
        if self.next == 0 {
            self.in_column = vec![0; self.width];
            for position in 0..self.size {
                let row = &self.rows[row_at(position) - self.first];
                self.in_column.iter_mut().zip(row).for_each(|(count, class)| *count += u64::from(*class == GLACIER));
            }
            return;
        }
        let enters = &self.rows[row_at(self.next + self.size - 1) - self.first];
        let leaves = &self.rows[row_at(self.next - 1) - self.first];
        for ((count, enters), leaves) in self.in_column.iter_mut().zip(enters).zip(leaves) {
            *count = *count + u64::from(*enters == GLACIER) - u64::from(*leaves == GLACIER);
        }
    }

    fn filter_row(&self, filtered: &mut Vec<u8>) {
        let (size, col_at) = (self.size, &self.col_at);
        let half = (size as u64 * size as u64) / 2;
        let mut inside: u64 = col_at[..size].iter().map(|&col| self.in_column[col]).sum();
        for (col, class) in self.rows[self.next - self.first].iter().enumerate() {
            if col > 0 {
                inside = inside + self.in_column[col_at[col + size - 1]] - self.in_column[col_at[col - 1]];
            }
            filtered.push(match *class {
                NODATA => NODATA,
                _ if inside > half => GLACIER,
                _ => OTHER,
            });
        }
    }
}

/// Positions -radius .. length + radius, mirrored into 0 .. length with the edge repeated.
fn mirrored(length: usize, radius: usize) -> Vec<usize> {
    (0..length + 2 * radius).map(|position| mirrored_at(position, radius, length)).collect()
}

/// Position `position - radius`, mirrored into 0 .. length.
fn mirrored_at(position: usize, radius: usize, length: usize) -> usize {
    let period = 2 * length;
    // Shifted by whole periods so that the first is not negative.
    let shift = radius.div_ceil(period.max(1)) * period - radius;
    let in_period = (position + shift) % period;
    in_period.min(period - 1 - in_period)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_and_confidence() {
        assert_eq!(classify(&[0.2, 0.5, 0.500_001, f32::NAN, 1.0]), [0, 0, 1, NODATA, 1]);
        assert!(confidence(0.5).abs() < 1e-15);
        assert!((confidence(0.0) - confidence(1.0)).abs() < 1e-15);
        // 1 + (1e-6 ln 1e-6 + (1 - 1e-6) ln(1 - 1e-6)) / ln 2
        assert!((confidence(1.0) - 0.999_978_625_737_111).abs() < 1e-13);
        // H(1/4) = 2 - 3/4 log2 3
        assert!((confidence(0.25) - (1.0 - (2.0 - 0.75 * 3.0_f64.log2()))).abs() < 1e-15);
        assert!(confidences(&[f32::NAN])[0].is_nan());
    }

    #[test]
    fn small_medians() {
        let lone = [0, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(median(&lone, 3, 3, 3).expect("odd"), [0; 9]);
        // At the corner the pixel itself counts four times, its neighbours twice.
        let corner = [1, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(median(&corner, 3, 3, 3).expect("odd")[0], 1);
        // From scipy.ndimage.median_filter: windows larger than the map mirror more than once.
        assert_eq!(median(&[1, 0, 1, 1], 2, 2, 7).expect("odd"), [1, 1, 1, 1]);
        assert_eq!(median(&[1, 0, 0, 1, 0], 1, 5, 3).expect("odd"), [1, 0, 0, 0, 0]);
        let gap = [1, 1, 1, 1, NODATA, 1, 1, 1, 1];
        assert_eq!(median(&gap, 3, 3, 3).expect("odd"), gap);
    }

    #[test]
    fn refuses() {
        assert!(median(&[0; 4], 2, 2, 2).is_err());
        assert!(median(&[0; 4], 2, 3, 3).is_err());
        assert!(median(&[0, 2], 1, 2, 3).is_err());
        assert!(median(&[], 0, 0, 3).expect("nothing to do").is_empty());
    }

    /// The definition: sort the window.
    fn sorted(classes: &[u8], height: usize, width: usize, size: usize) -> Vec<u8> {
        let reflect = |mut i: i64, n: i64| loop {
            if i < 0 {
                i = -1 - i;
            } else if i >= n {
                i = 2 * n - 1 - i;
            } else {
                return usize::try_from(i).expect("not negative");
            }
        };
        let radius = size as i64 / 2;
        let mut out = Vec::new();
        for row in 0..height as i64 {
            for col in 0..width as i64 {
                let mut window = Vec::new();
                for r in -radius..=radius {
                    for c in -radius..=radius {
                        let at = reflect(row + r, height as i64) * width + reflect(col + c, width as i64);
                        window.push(classes[at] % NODATA);
                    }
                }
                window.sort_unstable();
                let own = classes[out.len()];
                out.push(if own == NODATA { NODATA } else { window[window.len() / 2] });
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn median_equals_the_definition(
            height in 1usize..12,
            width in 1usize..12,
            radius in 0usize..8,
            bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 1, NODATA]), 144),
        ) {
            let classes = &bytes[..height * width];
            let size = 2 * radius + 1;
            prop_assert_eq!(median(classes, height, width, size).expect("odd"), sorted(classes, height, width, size));
        }

        #[test]
        fn rows_come_out_as_of_the_whole(
            height in 1usize..40,
            width in 1usize..12,
            radius in 0usize..9,
            at_once in 1usize..15,
            bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 1, NODATA]), 480),
        ) {
            let classes = &bytes[..height * width];
            let size = 2 * radius + 1;
            let mut rows = MedianRows::new(height, width, size).expect("odd");
            let mut filtered = Vec::new();
            for band in classes.chunks(at_once * width) {
                filtered.extend(rows.add_rows(band).expect("whole rows"));
                prop_assert!(rows.rows.len() <= size + at_once + 1);
            }
            prop_assert!(rows.add_rows(&classes[..width]).is_err());
            prop_assert_eq!(filtered, sorted(classes, height, width, size));
        }
    }
}
