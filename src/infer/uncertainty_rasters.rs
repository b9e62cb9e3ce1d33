//! The rasters of what the members of a prediction say of each other; see [`uncertainty`](crate::infer::uncertainty).

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::Result;
use crate::infer::uncertainty::{CHANNELS, ENTROPY_FILE, MUTUAL_INFORMATION_FILE, STANDARD_DEVIATION_FILE, entropy};
use crate::raster::cog::{CogSettings, CogWriter, Overview};
use crate::raster::{Grid, Metadata};

/// Names, what they hold, and its unit, in the order of the values of a pixel.
const FILES: [(&str, &str, &str); 3] = [
    (ENTROPY_FILE, "predictive entropy of the members' mean probability", "bit"),
    (MUTUAL_INFORMATION_FILE, "mutual information of class and member", "bit"),
    (STANDARD_DEVIATION_FILE, "standard deviation of the members' probabilities of glacier", "1"),
];

/// Names of the files.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().map(|(name, ..)| name)
}

/// Means over all valid pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanUncertainty {
    /// Of the predictive entropy, in bits.
    pub entropy: f64,
    /// Of the mutual information, in bits.
    pub mutual_information: f64,
    /// Of the standard deviation.
    pub standard_deviation: f64,
}

impl MeanUncertainty {
    /// The numbers by name.
    pub(super) fn json(self) -> Json {
        json!({
            "mean_entropy_bit": self.entropy,
            "mean_mutual_information_bit": self.mutual_information,
            "mean_standard_deviation": self.standard_deviation,
        })
    }
}

/// The files under way.
pub(super) struct UncertaintyRasters {
    writers: Vec<CogWriter<f32>>,
    sums: [f64; 3],
    valid: u64,
}

impl UncertaintyRasters {
    /// Empty ones, whose parts wait in `scratch`. `origin` is what every file says of itself.
    ///
    /// # Errors
    /// A grid that no GeoTIFF can have, or a full disk.
    pub(super) fn create(scratch: &Path, grid: &Grid, origin: &[(String, String)]) -> Result<Self> {
        let create = |(_, description, unit): (&str, &str, &str)| {
            let unit = ("GLAVITU_UNIT".to_owned(), unit.to_owned());
            let items = origin.iter().cloned().chain([unit]).collect();
            let metadata = &Metadata { description: Some(description.to_owned()), items };
            let settings = CogSettings { nodata: f32::NAN, overview: Overview::Average, scale: None, metadata };
            CogWriter::create(scratch, grid, &settings)
        };
        Ok(Self { writers: FILES.into_iter().map(create).collect::<Result<_>>()?, sums: [0.0; 3], valid: 0 })
    }

    /// Takes the next rows: mean probabilities, NaN where there are no data, and what follows them in the spool: variances and mutual information.
    ///
    /// # Errors
    /// They are no rows, or the disk is full.
    pub(super) fn add_rows(
        &mut self,
        probability: &[f32],
        [variance, information]: [&[f32]; CHANNELS - 1],
    ) -> Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "rasters are f32")]
        let entropies: Vec<f32> = probability.par_iter().map(|p| entropy(f64::from(*p)) as f32).collect();
        let blank = |values: &[f32], change: fn(f32) -> f32| -> Vec<f32> {
            let values = values.par_iter().zip(probability);
            values.map(|(value, p)| if p.is_nan() { f32::NAN } else { change(*value) }).collect()
        };
        let rows = [entropies, blank(information, |value| value), blank(variance, f32::sqrt)];
        self.valid += probability.iter().filter(|p| !p.is_nan()).count() as u64;
        for ((writer, sum), values) in self.writers.iter_mut().zip(&mut self.sums).zip(&rows) {
            *sum += values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).sum::<f64>();
            writer.add_rows(values)?;
        }
        Ok(())
    }

    /// Stages the files for `folder`; gives the means.
    ///
    /// # Errors
    /// A full disk.
    pub(super) fn stage(self, folder: &Path, staged: &mut StagedFiles) -> Result<MeanUncertainty> {
        for (writer, name) in self.writers.into_iter().zip(names()) {
            staged.stage(folder.join(name), |path| writer.finish(path))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "pixel counts are far below 2^52")]
        let [entropy, mutual_information, standard_deviation] = self.sums.map(|sum| sum / self.valid.max(1) as f64);
        Ok(MeanUncertainty { entropy, mutual_information, standard_deviation })
    }
}
