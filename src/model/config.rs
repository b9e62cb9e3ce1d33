//! Every size of the network, as stored with its weights.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Feature;

/// The regions of the published models, sorted; the last entry stands for anywhere else.
pub const PUBLISHED_REGIONS: [&str; 12] =
    ["ALP", "AN", "AWA", "CA", "GR", "HMA", "LL", "NZ", "SA", "SC", "SVAL", "unknown"];

/// How the network is told where on Earth a scene lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Not at all.
    #[default]
    None,
    /// A one-hot vector over these names, the last of which is `unknown`.
    Regions(Vec<String>),
    /// sin(latitude), cos(latitude), sin(longitude), cos(longitude); angles in radians.
    Coordinates,
}

impl Location {
    /// The twelve entries of the published region vector.
    #[must_use]
    pub fn published_regions() -> Self {
        Self::Regions(PUBLISHED_REGIONS.map(String::from).to_vec())
    }
}

/// The network's configuration. [`Default`] gives the published global model for optical and DEM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The inputs, in the order of the fusion branches.
    pub features: Vec<Feature>,
    /// The location input.
    pub location: Location,
    /// Channels of the fused map and of the first U-Net level.
    pub filters: usize,
    /// Width of the transformer.
    pub embedding: usize,
    /// Width of the hidden layer in each transformer block.
    pub mlp: usize,
    /// Number of transformer blocks.
    pub blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a transformer patch in pixels.
    pub patch: usize,
    /// Number of halvings in the U-Net.
    pub unet_steps: usize,
    /// Side of an input tile in pixels.
    pub tile: usize,
    /// Dropout rate, used only where dropout is asked for.
    pub dropout: f32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            features: vec![Feature::Optical, Feature::Dem],
            location: Location::None,
            filters: 64,
            embedding: 64,
            mlp: 256,
            blocks: 12,
            heads: 4,
            patch: 16,
            unet_steps: 3,
            tile: 384,
            dropout: 0.1,
        }
    }
}

impl ModelConfig {
    /// Length of the location vector; 0 without one.
    #[must_use]
    pub fn location_size(&self) -> usize {
        match &self.location {
            Location::None => 0,
            Location::Regions(names) => names.len(),
            Location::Coordinates => 4,
        }
    }

    /// Number of transformer tokens of one tile.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tile.checked_div(self.patch).map_or(0, |side| side * side)
    }

    /// Checks every size and every relation between them.
    ///
    /// The upper bounds are far above any useful model; they keep a damaged file from asking for absurd memory.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the first size that cannot be.
    pub fn validate(&self) -> Result<()> {
        self.validate_inputs()?;
        within("filters", self.filters, 1, 4096)?;
        within("embedding", self.embedding, 1, 4096)?;
        within("mlp", self.mlp, 1, 65_536)?;
        // Two digits number the blocks in the tensor names.
        within("blocks", self.blocks, 1, 99)?;
        within("heads", self.heads, 1, 256)?;
        within("unet_steps", self.unet_steps, 1, 6)?;
        within("tile", self.tile, 16, 8192)?;
        if self.patch != 16 {
            return Err(Error::bad_argument(
                format!("patch {}", self.patch),
                "16",
                "keep 16: the decoder doubles the patch grid four times",
            ));
        }
        let step = self.patch.max(1 << self.unet_steps);
        if !self.tile.is_multiple_of(step) {
            return Err(Error::bad_argument(
                format!("tile {}", self.tile),
                format!("a multiple of {step}"),
                "the tile must divide into patches and halve once per U-Net step",
            ));
        }
        if !self.embedding.is_multiple_of(self.heads) {
            return Err(Error::bad_argument(
                format!("embedding {} with {} heads", self.embedding, self.heads),
                "an embedding that the heads divide",
                "change either",
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::bad_argument(
                format!("dropout {}", self.dropout),
                "a rate from 0 to below 1",
                "correct it",
            ));
        }
        Ok(())
    }

    fn validate_inputs(&self) -> Result<()> {
        if self.features.is_empty() {
            return Err(Error::bad_argument("no features", "at least one", "name the features"));
        }
        for (i, feature) in self.features.iter().enumerate() {
            if self.features[..i].contains(feature) {
                return Err(Error::bad_argument(
                    format!("feature {feature} twice"),
                    "each feature once",
                    "remove the repeated one",
                ));
            }
        }
        if let Location::Regions(names) = &self.location {
            within("number of regions", names.len(), 2, 4096)?;
            for (i, name) in names.iter().enumerate() {
                if name.is_empty() || names[..i].contains(name) {
                    return Err(Error::bad_argument(
                        format!("region '{name}' empty or repeated"),
                        "different names",
                        "correct the region names",
                    ));
                }
            }
            if names.last().is_none_or(|name| name != "unknown") {
                return Err(Error::bad_argument(
                    "region names that do not end with 'unknown'",
                    "the entry for any other place last",
                    "add 'unknown' at the end",
                ));
            }
        }
        Ok(())
    }
}

fn within(name: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::bad_argument(format!("{name} {value}"), format!("{low} to {high}"), "correct the configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_are_valid_and_round_trip() {
        let mut config = ModelConfig { location: Location::published_regions(), ..ModelConfig::default() };
        config.validate().expect("valid");
        assert_eq!((config.location_size(), config.tokens()), (12, 576));
        let text = serde_json::to_string(&config).expect("serialises");
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).expect("parses"), config);
        config.location = Location::Coordinates;
        assert_eq!(config.location_size(), 4);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let spoil: [fn(&mut ModelConfig); 10] = [
            |c| c.features.clear(),
            |c| c.features.push(Feature::Dem),
            |c| c.tile = 100,
            |c| c.tile = 0,
            |c| c.patch = 8,
            |c| c.heads = 5,
            |c| c.filters = usize::MAX,
            |c| c.unet_steps = 70,
            |c| c.dropout = f32::NAN,
            |c| c.location = Location::Regions(vec!["ALP".into(), "AN".into()]),
        ];
        for change in spoil {
            let mut config = ModelConfig::default();
            change(&mut config);
            assert!(config.validate().is_err(), "{config:?}");
        }
    }
}
