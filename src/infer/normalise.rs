//! Raw values of a feature to what the network expects.

use crate::error::{Error, Result};
use crate::model::{Feature, Normalisation};

/// Added to backscatter before the logarithm, so that 0 becomes -6.
const SAR_OFFSET: f64 = 1e-6;

/// Normalises `values` (pixels, channels of `feature`, interleaved) in place: `(x - min) / (max - min)` per channel, in f64.
///
/// Before that, NaN of optical bands becomes 0, and backscatter becomes `log10(x + 1e-6)`. Backscatter below 0, which noise removal can
/// leave, counts as 0: its logarithm does not exist. Gaps of all other features must have been filled.
///
/// Padding around the scene is 0 *after* this, so pad the result.
///
/// # Errors
/// The length is not a multiple of its channels, or a value is not finite where it must be.
pub fn normalise(feature: Feature, normalisation: &Normalisation, values: &mut [f32]) -> Result<()> {
    let range = normalisation.of(feature);
    let channels = feature.channels();
    if !values.len().is_multiple_of(channels) || range.len() != channels {
        return Err(Error::bad_argument(
            format!("{} values and {} statistics of {feature}", values.len(), range.len()),
            format!("{channels} channels"),
            "pass all channels of every pixel",
        ));
    }
    for (pixel, of_pixel) in values.chunks_exact_mut(channels).enumerate() {
        for (channel, (value, (min, max))) in of_pixel.iter_mut().zip(&range).enumerate() {
            let raw = f64::from(*value);
            let raw = match feature {
                Feature::Optical if raw.is_nan() => 0.0,
                // `max` would turn NaN into 0 and hide a gap.
                Feature::CoPolSar | Feature::CrossPolSar if raw < 0.0 => SAR_OFFSET.log10(),
                Feature::CoPolSar | Feature::CrossPolSar => (raw + SAR_OFFSET).log10(),
                _ => raw,
            };
            #[expect(clippy::cast_possible_truncation, reason = "the network works in f32")]
            let normalised = ((raw - min) / (max - min)) as f32;
            if !normalised.is_finite() {
                return Err(Error::bad_argument(
                    format!("{value} in channel {channel} of {feature}, pixel {pixel} of the window"),
                    "a finite number",
                    "fill the gaps of this raster or mark them with its nodata value",
                ));
            }
            *value = normalised;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(feature: Feature, values: &[f32]) -> Result<Vec<f32>> {
        let mut values = values.to_vec();
        normalise(feature, &Normalisation::default(), &mut values)?;
        Ok(values)
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let elevation = normalised(Feature::Dem, &[-103.296_75, 0.0, 8_349.427, 88.978_35]).expect("finite");
        close(&elevation, &[0.0, 0.0, 1.0, 1.0]);
        let sar = normalised(Feature::CoPolSar, &[0.0, -0.1, 1.0, 1.0]).expect("finite");
        close(&sar, &[0.0, 0.0, 6.0 / 7.757_612_5, 6.0 / 21.635_085]);
    }

    #[test]
    fn gaps() {
        let optical = normalised(Feature::Optical, &[f32::NAN; 6]).expect("gaps are zeros");
        let zero = normalised(Feature::Optical, &[0.0; 6]).expect("finite");
        assert_eq!(optical, zero);
        assert!(normalised(Feature::Dem, &[f32::NAN, 0.0]).is_err());
        assert!(normalised(Feature::CoPolSar, &[f32::NAN, 0.0]).is_err());
        assert!(normalised(Feature::Optical, &[f32::INFINITY; 6]).is_err());
        assert!(normalised(Feature::Optical, &[0.0; 5]).is_err());
    }
}
