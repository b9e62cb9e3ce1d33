//! Stored zeros of optical rasters: products of Sentinel-2 hold 0 outside the swath and carry no nodata value.

use crate::raster::inspect::sample::{Sample, Statistics};
use crate::raster::read::{Band, RasterFile};

/// So many zeros in a row of the sample are no chance: fill comes in blocks, zeros that were measured do not.
const RUN: usize = 8;

/// The share of the sample above which fill is worth a word.
const SHARE: f64 = 0.001;

/// What a stored 0 is as a physical value, rounded as the reader does.
#[expect(clippy::cast_possible_truncation, reason = "the reader rounds to single precision too")]
fn stored_zero(band: &Band) -> f32 {
    band.offset as f32
}

/// Statistics of each band without the stored zeros of integers, which may be fill.
pub(super) fn without_fill(file: &RasterFile, sample: &Sample) -> Vec<Statistics> {
    let bands = sample.bands.iter().zip(file.bands());
    bands
        .map(|(values, band)| {
            if !band.sample_type.is_integer() {
                return Statistics::of(values);
            }
            let zero = stored_zero(band);
            Statistics::of(&values.iter().copied().filter(|value| *value != zero).collect::<Vec<_>>())
        })
        .collect()
}

/// The share of the sample (0 to 1) in blocks of pixels whose every band is a stored 0; `None` where it is small, where the file has a
/// nodata value, and where nothing else is in the file.
pub(super) fn unmarked(file: &RasterFile, sample: &Sample) -> Option<f64> {
    if file.bands().iter().any(|band| band.nodata.is_some()) {
        return None;
    }
    let zeros: Vec<f32> = file.bands().iter().map(stored_zero).collect();
    share_in_runs(&sample.bands, &zeros).filter(|share| *share > SHARE && *share < 1.0)
}

fn share_in_runs(bands: &[Vec<f32>], zeros: &[f32]) -> Option<f64> {
    let pixels = bands.iter().map(Vec::len).min().filter(|pixels| *pixels > 0)?;
    let is_zero = |pixel: usize| bands.iter().zip(zeros).all(|(values, zero)| values.get(pixel) == Some(zero));
    let (mut run, mut blank) = (0_usize, 0_usize);
    for pixel in 0..pixels {
        run = if is_zero(pixel) { run + 1 } else { 0 };
        blank += match run.cmp(&RUN) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => RUN,
            std::cmp::Ordering::Greater => 1,
        };
    }
    Some(blank as f64 / pixels as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeros_are_told_from_single_ones() {
        let mut values = vec![5.0_f32; 1000];
        let share = |values: &[f32]| share_in_runs(&[values.to_vec(), values.to_vec()], &[0.0, 0.0]);
        (0..1000).step_by(2).for_each(|pixel| values[pixel] = 0.0);
        assert_eq!(share(&values), Some(0.0));
        values[100..120].fill(0.0);
        values[300..308].fill(0.0);
        // The runs reach to the single zeros beside them: 100 to 120 and 300 to 308.
        assert_eq!(share(&values), Some(0.030));
        // A pixel with data in one band has data.
        assert_eq!(share_in_runs(&[values, vec![5.0; 1000]], &[0.0, 0.0]), Some(0.0));
        assert_eq!(share_in_runs(&[], &[]), None);
    }
}
