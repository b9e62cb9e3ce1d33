//! Min-max normalisation of the inputs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Feature;

/// The statistics of the published training set, one [`MinMax`] per raster.
const PUBLISHED: &str = include_str!("../../datasets/normalisation.json");

/// Minimum and maximum per channel. A channel is normalised as `(x - min) / (max - min)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinMax {
    /// The value that becomes 0, per channel.
    pub min: Vec<f64>,
    /// The value that becomes 1, per channel.
    pub max: Vec<f64>,
}

/// The statistics that normalise every raster, in the units of [`Feature`].
///
/// Backscatter is normalised after `log10(x + 1e-6)`. [`Default`] gives the published statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Six reflectances.
    pub optical: MinMax,
    /// Elevation in metres.
    pub elevation: MinMax,
    /// Slope in degrees.
    pub slope: MinMax,
    /// Two backscatters, as `log10(sigma0 + 1e-6)`.
    pub co_pol_sar: MinMax,
    /// Two backscatters, as `log10(sigma0 + 1e-6)`.
    pub cross_pol_sar: MinMax,
    /// Two coherences.
    pub in_sar: MinMax,
    /// Brightness temperature in kelvin.
    pub thermal: MinMax,
}

impl Normalisation {
    /// Minimum and maximum of every channel of `feature`, in channel order.
    #[must_use]
    pub fn of(&self, feature: Feature) -> Vec<(f64, f64)> {
        self.parts(feature).into_iter().flat_map(|(_, s)| s.min.iter().copied().zip(s.max.iter().copied())).collect()
    }

    /// Checks lengths, that every value is finite and that every maximum exceeds its minimum.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the raster.
    pub fn validate(&self) -> Result<()> {
        for feature in Feature::ALL {
            let parts = self.parts(feature);
            let channels = feature.channels() / parts.len();
            for (name, statistics) in parts {
                if statistics.min.len() != channels || statistics.max.len() != channels {
                    return Err(Error::bad_argument(
                        format!("{} minima and {} maxima for {name}", statistics.min.len(), statistics.max.len()),
                        format!("{channels} of each"),
                        "give one minimum and one maximum per channel",
                    ));
                }
                for (min, max) in statistics.min.iter().zip(&statistics.max) {
                    if !(min.is_finite() && max.is_finite() && max > min) {
                        return Err(Error::bad_argument(
                            format!("normalisation {min} to {max} for {name}"),
                            "finite numbers, the maximum above the minimum",
                            "correct the statistics",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The statistics that belong to one feature. The DEM has two rasters, each with its own.
    fn parts(&self, feature: Feature) -> Vec<(&'static str, &MinMax)> {
        match feature {
            Feature::Optical => vec![("optical", &self.optical)],
            Feature::Dem => vec![("elevation", &self.elevation), ("slope", &self.slope)],
            Feature::CoPolSar => vec![("co_pol_sar", &self.co_pol_sar)],
            Feature::CrossPolSar => vec![("cross_pol_sar", &self.cross_pol_sar)],
            Feature::InSar => vec![("in_sar", &self.in_sar)],
            Feature::Thermal => vec![("thermal", &self.thermal)],
        }
    }
}

impl Default for Normalisation {
    fn default() -> Self {
        // The text is compiled in and tested, so no input reaches this.
        serde_json::from_str(PUBLISHED).expect("the built-in statistics are valid JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_statistics_are_read_exactly() {
        let n = Normalisation::default();
        n.validate().expect("valid");
        assert_eq!(
            n.of(Feature::Dem),
            [(-103.296_756_273_873_57, 8_349.427_068_840_781), (0.0, 88.978_352_440_661_31)]
        );
        for feature in Feature::ALL {
            assert_eq!(n.of(feature).len(), feature.channels());
        }
    }

    #[test]
    fn wrong_statistics_are_refused() {
        let mut n = Normalisation::default();
        n.slope.max[0] = 0.0;
        assert!(n.validate().is_err());
        let mut n = Normalisation::default();
        n.optical.min.pop();
        assert!(n.validate().is_err());
    }
}
