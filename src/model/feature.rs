//! The kinds of raster the network can take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One input of the network: a group of co-registered bands with its own fusion branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Top-of-atmosphere reflectance: blue, green, red, NIR, SWIR1, SWIR2.
    Optical,
    /// Elevation in metres and slope in degrees.
    Dem,
    /// Co-polarised backscatter sigma0 (linear): ascending, descending orbit.
    CoPolSar,
    /// Cross-polarised backscatter sigma0 (linear): ascending, descending orbit.
    CrossPolSar,
    /// Interferometric coherence (0..1): ascending, descending orbit.
    InSar,
    /// Brightness temperature in kelvin.
    Thermal,
}

impl Feature {
    /// Every feature, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Optical, Self::Dem, Self::CoPolSar, Self::CrossPolSar, Self::InSar, Self::Thermal];

    /// The name used in options, files and tensor names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optical => "optical",
            Self::Dem => "dem",
            Self::CoPolSar => "co_pol_sar",
            Self::CrossPolSar => "cross_pol_sar",
            Self::InSar => "in_sar",
            Self::Thermal => "thermal",
        }
    }

    /// The number of bands.
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Self::Optical => 6,
            Self::Dem | Self::CoPolSar | Self::CrossPolSar | Self::InSar => 2,
            Self::Thermal => 1,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Feature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.name() == text.trim()).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::bad_argument(format!("feature '{text}'"), format!("one of {names}"), "correct the name")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_serialise_alike() {
        for feature in Feature::ALL {
            assert_eq!(feature.name().parse::<Feature>().ok(), Some(feature));
            assert_eq!(serde_json::to_string(&feature).ok(), Some(format!("\"{feature}\"")));
        }
        let message = "radar".parse::<Feature>().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("'radar'") && message.contains("co_pol_sar, cross_pol_sar"), "{message}");
    }
}
