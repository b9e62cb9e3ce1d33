//! The value of `--size`: which network a measurement or a listing is about.

use clap::ValueEnum;

use crate::model::ModelConfig;
use crate::train::settings::ModelSize;

/// Sizes of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SizeOption {
    /// As published: 10 million parameters, tiles of 384 pixels
    Paper,
    /// Half a million parameters, tiles of 128 pixels
    Small,
}

impl SizeOption {
    /// The network of this size, with optical bands and elevation.
    pub(super) fn config(self) -> ModelConfig {
        match self {
            Self::Paper => ModelSize::Published.config(),
            Self::Small => ModelSize::Small.config(),
        }
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Small => "small",
        }
    }
}
