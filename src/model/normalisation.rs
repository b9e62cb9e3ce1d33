//! Statistics for min-max normalisation. They belong to a model: its weights are of use only with the statistics it was trained with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::feature::Feature;

/// Published statistics (Maslov et al. 2025, doi 10.1038/s41467-024-54956-x).
const PUBLISHED: &str = include_str!("../../datasets/normalisation.json");

/// Minimum and maximum of each channel of a feature, after the logarithm where there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// What becomes 0.
    pub min: Vec<f64>,
    /// What becomes 1.
    pub max: Vec<f64>,
}

/// Min-max statistics by feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Normalisation {
    /// The features known, each with as many entries as it has channels.
    pub features: BTreeMap<Feature, Range>,
}

impl Normalisation {
    /// Reads the JSON form, `{"optical": {"min": [...], "max": [...]}, ...}`, and checks it.
    ///
    /// # Errors
    /// The text is not of this form, or as [`Normalisation::check`].
    pub fn from_json(text: &str) -> Result<Self> {
        let read: Self = serde_json::from_str(text).map_err(|e| {
            Error::bad_argument(
                format!("normalisation statistics that cannot be read ({e})"),
                r#"JSON such as {"thermal": {"min": [0.0], "max": [322.0]}}"#,
                "check the file that carries them",
            )
        })?;
        read.check()?;
        Ok(read)
    }

    /// Checks that every feature has one finite minimum and one larger, finite maximum per channel.
    ///
    /// # Errors
    /// Names the first feature where this does not hold.
    pub fn check(&self) -> Result<()> {
        for (feature, Range { min, max }) in &self.features {
            let is_sound = min.len() == feature.channels()
                && max.len() == feature.channels()
                && min.iter().zip(max).all(|(a, b)| a.is_finite() && b.is_finite() && a < b);
            if !is_sound {
                return Err(Error::bad_argument(
                    format!("normalisation of {feature} from {min:?} to {max:?}"),
                    format!("{} finite values each, every maximum above its minimum", feature.channels()),
                    "use the statistics that the model was trained with",
                ));
            }
        }
        Ok(())
    }

    /// The statistics of one feature.
    ///
    /// # Errors
    /// There are none for it.
    pub fn range(&self, feature: Feature) -> Result<&Range> {
        self.features.get(&feature).ok_or_else(|| {
            let known: Vec<_> = self.features.keys().map(|f| f.name()).collect();
            Error::bad_argument(
                format!("normalisation statistics without {feature} (only {})", known.join(", ")),
                format!("statistics of {feature}"),
                "use the statistics that the model was trained with",
            )
        })
    }
}

impl Default for Normalisation {
    /// The published statistics.
    fn default() -> Self {
        // The text is part of the program and a test reads it, so the empty set is never returned.
        Self::from_json(PUBLISHED).unwrap_or_else(|_| Self { features: BTreeMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_statistics() {
        let published = Normalisation::from_json(PUBLISHED).expect("the shipped file is sound");
        assert_eq!(published, Normalisation::default());
        assert_eq!(published.features.len(), Feature::ALL.len());
        let dem = published.range(Feature::Dem).expect("it is there");
        assert_eq!(dem.min, [-103.296_756_273_873_57, 0.0]);
        assert_eq!(dem.max, [8_349.427_068_840_781, 88.978_352_440_661_31]);
        let text = serde_json::to_string(&published).expect("plain data");
        assert_eq!(Normalisation::from_json(&text).expect("its own output"), published);
    }

    #[test]
    fn refuses() {
        for text in [
            "[]",
            r#"{"radar": {"min": [0.0], "max": [1.0]}}"#,
            r#"{"thermal": {"min": [0.0, 0.0], "max": [1.0, 1.0]}}"#,
            r#"{"thermal": {"min": [1.0], "max": [1.0]}}"#,
        ] {
            assert!(Normalisation::from_json(text).is_err(), "{text}");
        }
        let none = Normalisation::from_json("{}").expect("empty is sound");
        assert!(none.range(Feature::Dem).is_err());
    }
}
