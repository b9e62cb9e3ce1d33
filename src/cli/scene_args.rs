//! The options that name a scene's rasters.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use serde_json::{Value, json};

use crate::cli::assumed_crs::parse_crs;
use crate::error::Result;
use crate::infer::scene::{SarUnit, Scene, SceneFiles, SceneOptions};
use crate::model::Feature;
use crate::raster::TargetGrid;

/// How backscatter is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SarUnitArg {
    /// Power
    Linear,
    /// Decibels
    Db,
}

/// A scene's rasters.
#[derive(Debug, Clone, Args)]
pub(super) struct SceneArgs {
    /// Top-of-atmosphere reflectance, 0 to 1: blue, green, red, NIR, SWIR1, SWIR2
    #[arg(long, value_name = "FILE", num_args = 1..=6, value_hint = ValueHint::FilePath)]
    optical: Vec<PathBuf>,
    /// Elevation in metres
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    elevation: Option<PathBuf>,
    /// Slope in degrees; derived from the elevation if not given
    #[arg(long, value_name = "FILE", requires = "elevation", value_hint = ValueHint::FilePath)]
    slope: Option<PathBuf>,
    /// Co-polarised backscatter: ascending, descending
    #[arg(long, value_name = "FILE", num_args = 1..=2, value_hint = ValueHint::FilePath)]
    co_pol_sar: Vec<PathBuf>,
    /// Cross-polarised backscatter: ascending, descending
    #[arg(long, value_name = "FILE", num_args = 1..=2, value_hint = ValueHint::FilePath)]
    cross_pol_sar: Vec<PathBuf>,
    /// Interferometric coherence, 0 to 1: ascending, descending
    #[arg(long, value_name = "FILE", num_args = 1..=2, value_hint = ValueHint::FilePath)]
    in_sar: Vec<PathBuf>,
    /// Brightness temperature in kelvin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    thermal: Option<PathBuf>,
    /// The CRS of rasters that name none or an unknown one, as EPSG:CODE. It also replaces a CRS without an EPSG code that puts the raster's
    /// centre within 1000 m of where this one does, so that outputs carry the code
    #[arg(long, value_name = "EPSG:CODE")]
    pub(super) assume_crs: Option<String>,
    /// The grid of the scene: a raster, or EPSG:CODE@RESOLUTION[@XMIN,YMIN,XMAX,YMAX] in units of that CRS; the optical grid (with the
    /// smallest pixels) if not given. Rasters on other grids are warped
    #[arg(long, value_name = "FILE|EPSG:CODE@RES", allow_hyphen_values = true)]
    grid: Option<String>,
    /// The unit of backscatter
    #[arg(long, value_name = "UNIT", value_enum, default_value = "linear")]
    sar_unit: SarUnitArg,
    /// Reflectance = stored value * SCALE + OFFSET; what is not given is the file's
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    reflectance_scale: Option<f64>,
    /// See --reflectance-scale; -0.1 for Sentinel-2 since processing baseline 04.00
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    reflectance_offset: Option<f64>,
    /// The value that means no data in the optical files, as stored, besides the files' own: 0 for Sentinel-2 as ESA writes it
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    optical_nodata: Option<f64>,
}

impl SceneArgs {
    /// The files by what they hold.
    pub(super) fn files(&self) -> SceneFiles {
        SceneFiles {
            optical: self.optical.clone(),
            elevation: self.elevation.clone(),
            slope: self.slope.clone(),
            co_pol_sar: self.co_pol_sar.clone(),
            cross_pol_sar: self.cross_pol_sar.clone(),
            in_sar: self.in_sar.clone(),
            thermal: self.thermal.iter().cloned().collect(),
        }
    }

    /// The same options for other files.
    pub(super) fn with_files(&self, files: SceneFiles) -> Self {
        Self {
            optical: files.optical,
            elevation: files.elevation,
            slope: files.slope,
            co_pol_sar: files.co_pol_sar,
            cross_pol_sar: files.cross_pol_sar,
            in_sar: files.in_sar,
            thermal: files.thermal.into_iter().next(),
            ..self.clone()
        }
    }

    /// Opens what a model with `features` takes.
    pub(super) fn open(&self, features: &[Feature]) -> Result<Scene> {
        let options = SceneOptions {
            assumed_crs: self.assume_crs.as_deref().map(parse_crs).transpose()?,
            grid: self.grid.as_deref().map(TargetGrid::parse).transpose()?,
            sar_unit: match self.sar_unit {
                SarUnitArg::Linear => SarUnit::Linear,
                SarUnitArg::Db => SarUnit::Decibels,
            },
            reflectance_scale: self.reflectance_scale,
            reflectance_offset: self.reflectance_offset,
            optical_nodata: self.optical_nodata,
        };
        Scene::open_with(&self.files(), features, &options)
    }

    /// How the rasters are read, for the report of a run.
    pub(super) fn settings(&self) -> Value {
        json!({
            "assume_crs": self.assume_crs,
            "grid": self.grid,
            "sar_unit": if self.sar_unit == SarUnitArg::Db { "db" } else { "linear" },
            "reflectance_scale": self.reflectance_scale,
            "reflectance_offset": self.reflectance_offset,
            "optical_nodata": self.optical_nodata,
        })
    }
}
