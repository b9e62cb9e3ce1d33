//! The input features a model can take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A group of input channels that enters the network through a branch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Blue, green, red, NIR, SWIR1, SWIR2; reflectance 0..1.
    Optical,
    /// Elevation (m), slope (degrees).
    Dem,
    /// Backscatter sigma0 (linear) in co-polarisation: ascending, descending.
    CoPolSar,
    /// Backscatter sigma0 (linear) in cross-polarisation: ascending, descending.
    CrossPolSar,
    /// Interferometric coherence 0..1: ascending, descending.
    InSar,
    /// Brightness temperature (K).
    Thermal,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 6] =
        [Self::Optical, Self::Dem, Self::CoPolSar, Self::CrossPolSar, Self::InSar, Self::Thermal];

    /// The name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optical => "optical",
            Self::Dem => "dem",
            Self::CoPolSar => "co_pol_sar",
            Self::CrossPolSar => "cross_pol_sar",
            Self::InSar => "in_sar",
            Self::Thermal => "thermal",
        }
    }

    /// Number of channels.
    #[must_use]
    pub const fn channels(self) -> usize {
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

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|feature| feature.name() == name).ok_or_else(|| {
            Error::bad_argument(
                format!("feature '{name}'"),
                Self::ALL.map(Self::name).join(", "),
                "use one of these names",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree() {
        for feature in Feature::ALL {
            assert_eq!(feature.name().parse::<Feature>().expect("its own name"), feature);
            assert_eq!(serde_json::to_string(&feature).expect("a string"), format!("\"{feature}\""));
        }
        assert!("Optical".parse::<Feature>().is_err());
    }
}
