//! A sample of a raster's pixels: all of a small one, windows spread over a large one, so that a large file takes about a second.

use rayon::prelude::*;

use crate::error::Result;
use crate::raster::grid::Window;
use crate::raster::read::RasterFile;

/// Up to this many pixels, a raster is read whole.
const WHOLE_PIXELS: usize = 1 << 20;

/// Windows along each side of a larger one.
const WINDOWS: usize = 8;

/// Rows and columns of a window.
const SIDE: usize = 64;

/// The most bytes of strips and tiles that a sample decodes, as far as one window a file allows.
const BYTES: usize = 256 << 20;

/// The most bands that are looked at.
pub const MOST_BANDS: usize = 32;

/// Physical values of the same pixels in every band; NaN without data.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Values by band.
    pub bands: Vec<Vec<f32>>,
    /// Whether these are all pixels.
    pub is_whole: bool,
}

impl Sample {
    /// Reads a sample of a file's bands, the first [`MOST_BANDS`] of them.
    ///
    /// # Errors
    /// A window cannot be read.
    pub fn read(file: &RasterFile) -> Result<Self> {
        let bands = file.bands().len().min(MOST_BANDS);
        let grid = file.grid();
        if grid.len() <= WHOLE_PIXELS / bands.max(1) {
            let all = (0..bands).map(|band| file.read_window(band, grid.window())).collect::<Result<_>>()?;
            return Ok(Self { bands: all, is_whole: true });
        }
        let rows: Vec<Vec<Vec<f32>>> = window_rows(file)
            .into_par_iter()
            .map(|windows| {
                let mut values = vec![Vec::new(); bands];
                for window in windows {
                    for (band, values) in values.iter_mut().enumerate() {
                        values.extend(file.read_window(band, window)?);
                    }
                }
                Ok(values)
            })
            .collect::<Result<_>>()?;
        let mut all = vec![Vec::new(); bands];
        for row in rows {
            for (all, values) in all.iter_mut().zip(row) {
                all.extend(values);
            }
        }
        Ok(Self { bands: all, is_whole: false })
    }

    /// What the values of a band say; `None` if there is no such band.
    #[must_use]
    pub fn statistics(&self, band: usize) -> Option<Statistics> {
        self.bands.get(band).map(|values| Statistics::of(values))
    }
}

/// Windows in rows; those of one row share strips.
fn window_rows(file: &RasterFile) -> Vec<Vec<Window>> {
    let grid = file.grid();
    let (block_width, block_height) = file.block_size();
    let bands = file.bands().len();
    let sample = file.bands().first().map_or(1, |band| band.sample_type.bytes());
    let block = block_width.saturating_mul(block_height).saturating_mul(sample).saturating_mul(bands);
    let blocks = |along: usize| {
        let across = if block_width >= grid.width { 1 } else { along * SIDE.div_ceil(block_width) };
        across.saturating_mul(along * SIDE.div_ceil(block_height))
    };
    let along = (1..=WINDOWS).rev().find(|&along| blocks(along).saturating_mul(block) <= BYTES).unwrap_or(1);
    let place = |index: usize, size: usize, block: usize| {
        let length = SIDE.min(size);
        let middle = (2 * index + 1) * size / (2 * along);
        // From the beginning of a block on, a window touches as few as it can.
        let start = if block >= SIDE { middle / block * block } else { middle.saturating_sub(SIDE / 2) };
        (start.min(size - length), length)
    };
    (0..along)
        .map(|y| {
            let (row, height) = place(y, grid.height, block_height);
            (0..along)
                .map(|x| {
                    let (col, width) = place(x, grid.width, block_width);
                    Window { row, col, height, width }
                })
                .collect()
        })
        .collect()
}

/// Order statistics of a band's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Values looked at.
    pub pixels: usize,
    /// Those with data.
    pub known: usize,
    /// Those that are infinite.
    pub infinite: usize,
    /// Those that are 0.
    pub zeros: usize,
    /// The least value; NaN where none is known, as for all below.
    pub least: f32,
    /// A fiftieth of the values are lower.
    pub low: f32,
    /// Half of the values are lower.
    pub median: f32,
    /// A fiftieth of the values are higher.
    pub high: f32,
    /// The greatest value.
    pub greatest: f32,
}

impl Statistics {
    /// Statistics of values; NaN is no data.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut known: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let infinite = values.iter().filter(|v| v.is_infinite()).count();
        known.sort_unstable_by(f32::total_cmp);
        let at = |hundredth: usize| {
            let last = known.len().saturating_sub(1);
            known.get((last * hundredth + 50) / 100).copied().unwrap_or(f32::NAN)
        };
        Self {
            pixels: values.len(),
            known: known.len(),
            infinite,
            zeros: known.iter().filter(|v| **v == 0.0).count(),
            least: at(0),
            low: at(2),
            median: at(50),
            high: at(98),
            greatest: at(100),
        }
    }

    /// The share of pixels without data, 0 to 1.
    #[must_use]
    pub fn nodata_share(&self) -> f64 {
        if self.pixels == 0 { 1.0 } else { 1.0 - (self.known + self.infinite) as f64 / self.pixels as f64 }
    }

    /// Whether all values are one.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.known > 1 && self.infinite == 0 && self.least == self.greatest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_values() {
        let mut values: Vec<f32> = (0..=100_u8).rev().map(f32::from).collect();
        values.extend([f32::NAN, f32::INFINITY]);
        let found = Statistics::of(&values);
        assert_eq!((found.pixels, found.known, found.infinite, found.zeros), (103, 101, 1, 1));
        assert_eq!((found.least, found.low, found.median, found.high, found.greatest), (0.0, 2.0, 50.0, 98.0, 100.0));
        assert!((found.nodata_share() - 1.0 / 103.0).abs() < 1e-12);
        assert!(Statistics::of(&[f32::NAN]).median.is_nan());
        assert!(Statistics::of(&[3.0, 3.0]).is_constant() && !Statistics::of(&[3.0, 4.0]).is_constant());
    }
}
