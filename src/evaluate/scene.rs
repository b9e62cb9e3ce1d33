//! A prediction of a scene against a reference, pixel by pixel.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::confusion::Confusion;
use crate::evaluate::layer::{GLACIER, Kind, Source, UNKNOWN, with_crs};
use crate::raster::area::{Area, area};
use crate::raster::polygons::Regions;
use crate::raster::quicklook::{Caption, Mark, Quicklook, write_png};
use crate::raster::{Crs, Grid, Metadata, RasterFile, Transformer, check_same_grid, write_bytes};

/// Names of the files that [`Evaluation::stage`] makes.
pub const FILES: [&str; 2] = ["errors.tif", "errors.png"];

/// What is compared. Rasters share one grid; polygons are put on it.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Classes, probabilities or polygons.
    pub predicted: &'a Path,
    /// Classes or polygons.
    pub reference: &'a Path,
    /// A raster or polygons outside of which nothing counts.
    pub valid: Option<&'a Path>,
    /// A raster whose grid is that of the comparison, needed where all others are polygons.
    pub grid: Option<&'a Path>,
    /// Stands in for a CRS that a file does not name or that is not known.
    pub assumed_crs: Option<&'a Crs>,
}

/// Pixels that do not count, each under the first reason that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotCounted {
    /// Outside the valid area.
    pub not_valid: u64,
    /// Without data in the prediction.
    pub not_predicted: u64,
    /// Without a label in the reference.
    pub not_labelled: u64,
}

/// Areas of the counted pixels in km2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Areas {
    /// Predicted as glacier.
    pub predicted_km2: f64,
    /// Glacier in the reference.
    pub reference_km2: f64,
    /// Measured on the WGS 84 ellipsoid; else in the plane of the map, whose CRS is not known.
    pub on_ellipsoid: bool,
}

/// The outcome for a pixel, as `errors.tif` holds it.
mod outcome {
    pub(super) const TRUE_NEGATIVE: u8 = 0;
    pub(super) const TRUE_POSITIVE: u8 = 1;
    pub(super) const FALSE_POSITIVE: u8 = 2;
    pub(super) const FALSE_NEGATIVE: u8 = 3;
    pub(super) const NOT_COUNTED: u8 = 255;
}

/// How a prediction agrees with a reference.
#[derive(Debug, Clone)]
pub struct Evaluation {
    grid: Grid,
    /// The file whose grid it is.
    grid_of: PathBuf,
    kinds: (Kind, Kind),
    outcomes: Vec<u8>,
    confusion: Confusion,
    not_counted: NotCounted,
    areas: Areas,
}

impl Evaluation {
    /// Reads and compares.
    ///
    /// # Errors
    /// A file cannot be read or has no classes, rasters have different grids, polygons cannot be put on the grid, there is no grid, or no pixel
    /// counts.
    pub fn new(files: &Files<'_>) -> Result<Self> {
        let assumed = files.assumed_crs;
        let predicted = Source::open(files.predicted)?;
        let reference = Source::open(files.reference)?;
        let valid = files.valid.map(Source::open).transpose()?;
        let given = files.grid.map(RasterFile::open).transpose()?;

        // The first raster's grid is everyone's.
        let of = |path: Option<&Path>, source: Option<&Source>| Some((path?.to_path_buf(), source?.grid(assumed)?));
        let grids: Vec<(PathBuf, Grid)> = [
            of(Some(files.predicted), Some(&predicted)),
            of(Some(files.reference), Some(&reference)),
            of(files.valid, valid.as_ref()),
            given.as_ref().map(|file| (file.path().to_path_buf(), with_crs(file.grid(), assumed))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let Some((first, grid)) = grids.first() else {
            return Err(Error::bad_argument(
                "polygons only",
                "a raster, on whose pixels they are compared",
                "give --grid with a raster of the scene",
            ));
        };
        for (path, other) in &grids[1..] {
            check_same_grid((first, grid), (path, other))?;
        }

        let (predicted_kind, predicted) = predicted.predicted(grid, assumed)?;
        let (reference_kind, reference) = reference.reference(grid, assumed)?;
        let valid = valid.map(|source| source.valid(grid, assumed)).transpose()?;
        let (outcomes, confusion, not_counted) = compare(&predicted, &reference, valid.as_deref());
        if confusion.total() == 0 {
            return Err(Error::bad_argument(
                format!("no pixel that counts ({})", not_counted.describe().join(", ")),
                "pixels that are predicted, labelled and in the valid area",
                "check that the files are of one place, and their nodata values",
            ));
        }
        let areas = areas(grid, &outcomes)?;
        let (grid, grid_of) = (grid.clone(), first.clone());
        Ok(Self { grid, grid_of, kinds: (predicted_kind, reference_kind), outcomes, confusion, not_counted, areas })
    }

    /// The counts, and with them the scores.
    #[must_use]
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// How many pixels do not count, and why.
    #[must_use]
    pub fn not_counted(&self) -> &NotCounted {
        &self.not_counted
    }

    /// Predicted and reference area.
    #[must_use]
    pub fn areas(&self) -> &Areas {
        &self.areas
    }

    /// What the prediction and the reference were made of.
    #[must_use]
    pub fn kinds(&self) -> (Kind, Kind) {
        self.kinds
    }

    /// The common grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// All numbers. Scores that are not defined, such as the IoU without any glacier, are null.
    #[must_use]
    pub fn summary(&self) -> Json {
        let (c, n, a) = (&self.confusion, &self.not_counted, &self.areas);
        json!({
            "iou": c.iou(),
            "f1": c.f1(),
            "precision": c.precision(),
            "recall": c.recall(),
            "accuracy": c.accuracy(),
            "counted_pixels": c.total(),
            "confusion": c,
            "not_counted": {
                "outside_valid_area": n.not_valid,
                "no_prediction": n.not_predicted,
                "not_labelled": n.not_labelled,
            },
            "area_km2": {
                "predicted": a.predicted_km2,
                "reference": a.reference_km2,
                "difference": a.predicted_km2 - a.reference_km2,
                "difference_percent": a.difference_percent(),
                "surface": if a.on_ellipsoid { "WGS 84 ellipsoid" } else { "plane" },
            },
            "grid": {
                "width": self.grid.width,
                "height": self.grid.height,
                "transform": self.grid.transform,
                "crs": self.grid.crs.as_ref().map(|crs| crs.name.clone()),
                "epsg": self.grid.crs.as_ref().and_then(|crs| crs.epsg),
            },
        })
    }

    /// Stages `errors.tif` (0 true negative, 1 true positive, 2 false positive, 3 false negative, 255 not counted) and `errors.png` for `folder`.
    ///
    /// The picture lies over `background` (three bands, row by row, NaN where there is no data), or over grey.
    ///
    /// # Errors
    /// The background has another number of pixels, or a file cannot be written.
    pub fn stage(&self, folder: &Path, background: Option<&[Vec<f32>; 3]>, staged: &mut StagedFiles) -> Result<()> {
        let metadata = Metadata {
            description: Some("0 true negative, 1 true positive, 2 false positive, 3 false negative".into()),
            items: vec![("GLAVITU_VERSION".into(), env!("CARGO_PKG_VERSION").into())],
        };
        staged.stage(folder.join(FILES[0]), |path| {
            write_bytes(path, &self.grid, &self.outcomes, outcome::NOT_COUNTED, &metadata)
        })?;
        staged.stage(folder.join(FILES[1]), |path| self.write_picture(path, background))
    }

    fn write_picture(&self, path: &Path, background: Option<&[Vec<f32>; 3]>) -> Result<()> {
        let mut picture = Quicklook::new(self.grid.height, self.grid.width, 0.0)?;
        // What does not count is shown as a gap.
        let shown = |band: Option<&[f32]>| -> Vec<f32> {
            let value = |i: usize| band.map_or(Some(0.5), |band| band.get(i).copied()).unwrap_or(f32::NAN);
            let known = self.outcomes.iter().enumerate();
            known.map(|(i, o)| if *o == outcome::NOT_COUNTED { f32::NAN } else { value(i) }).collect()
        };
        let bands = [0, 1, 2].map(|band| shown(background.map(|bands| bands[band].as_slice())));
        picture.add_rows([&bands[0], &bands[1], &bands[2]], None)?;
        let marks = [
            Mark { value: outcome::TRUE_POSITIVE, colour: [70, 160, 255], opacity: 0.35, name: "Found" },
            Mark { value: outcome::FALSE_POSITIVE, colour: [235, 30, 30], opacity: 0.85, name: "Too much" },
            Mark { value: outcome::FALSE_NEGATIVE, colour: [255, 210, 0], opacity: 0.85, name: "Missed" },
        ];
        let score =
            |name: &str, value: Option<f64>| value.map_or(String::new(), |value| format!("{name} {value:.3}  "));
        let c = &self.confusion;
        let title =
            format!("{}{}{}", score("IoU", c.iou()), score("Precision", c.precision()), score("Recall", c.recall()));
        let caption = Caption { title: title.trim_end(), pixel_m: self.grid.pixel_m() };
        write_png(&picture.draw_marks(&self.outcomes, &marks, &caption)?, path)
    }
}

impl NotCounted {
    /// Numbers with their reasons; none for reasons that do not occur.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        [
            (self.not_valid, "outside the valid area"),
            (self.not_predicted, "without a prediction"),
            (self.not_labelled, "not labelled"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} {reason}"))
        .collect()
    }
}

impl Areas {
    /// How much more was predicted than there is, in % of the reference; `None` where the reference has no glacier.
    #[must_use]
    pub fn difference_percent(&self) -> Option<f64> {
        (self.reference_km2 > 0.0).then(|| 100.0 * (self.predicted_km2 - self.reference_km2) / self.reference_km2)
    }
}

/// Outcome of every pixel, their counts, and how many do not count.
fn compare(predicted: &[u8], reference: &[u8], valid: Option<&[bool]>) -> (Vec<u8>, Confusion, NotCounted) {
    let (mut confusion, mut not) = (Confusion::default(), NotCounted::default());
    let outcomes = predicted.iter().zip(reference).enumerate().map(|(i, (&predicted, &reference))| {
        let reason = if valid.is_some_and(|valid| !valid[i]) {
            &mut not.not_valid
        } else if predicted == UNKNOWN {
            &mut not.not_predicted
        } else if reference == UNKNOWN {
            &mut not.not_labelled
        } else {
            let (predicted, reference) = (predicted == GLACIER, reference == GLACIER);
            confusion.add(predicted, reference);
            return match (predicted, reference) {
                (false, false) => outcome::TRUE_NEGATIVE,
                (true, true) => outcome::TRUE_POSITIVE,
                (true, false) => outcome::FALSE_POSITIVE,
                (false, true) => outcome::FALSE_NEGATIVE,
            };
        };
        *reason += 1;
        outcome::NOT_COUNTED
    });
    (outcomes.collect(), confusion, not)
}

/// Areas of the outlines of the counted pixels, measured as those of `glavitu predict` are.
fn areas(grid: &Grid, outcomes: &[u8]) -> Result<Areas> {
    let known = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
    let transformer = known.map(Transformer::to_longitude_latitude).transpose()?;
    let km2 = |glacier: [u8; 2]| {
        let classes: Vec<u8> = outcomes.iter().map(|outcome| u8::from(glacier.contains(outcome))).collect();
        let regions = Regions::find(&classes, grid.width, grid.height, 1)?;
        let areas =
            regions.polygons.par_iter().map(|polygon| area(&polygon.to_map(grid), transformer.as_ref()).map(Area::km2));
        // Gathered first: a sum in any order would differ from run to run.
        Ok::<f64, Error>(areas.collect::<Result<Vec<f64>>>()?.into_iter().sum())
    };
    Ok(Areas {
        predicted_km2: km2([outcome::TRUE_POSITIVE, outcome::FALSE_POSITIVE])?,
        reference_km2: km2([outcome::TRUE_POSITIVE, outcome::FALSE_NEGATIVE])?,
        on_ellipsoid: transformer.is_some(),
    })
}

/// Reads a scene for a picture's background: one file with six bands (SWIR1, NIR and red are shown), three, or one; or as many files of one
/// band each.
///
/// # Errors
/// A file cannot be read, has another grid, or there is another number of bands.
pub fn read_background(paths: &[PathBuf], evaluation: &Evaluation, assumed_crs: Option<&Crs>) -> Result<[Vec<f32>; 3]> {
    let mut bands = Vec::new();
    for path in paths {
        let file = RasterFile::open(path)?;
        let grid = with_crs(file.grid(), assumed_crs);
        check_same_grid((&evaluation.grid_of, &evaluation.grid), (path, &grid))?;
        bands.extend((0..file.bands().len()).map(|band| (path, band)));
    }
    let chosen = match (bands.len(), paths.len()) {
        (6, 1 | 6) => [4, 3, 2],
        (3, 1 | 3) => [0, 1, 2],
        (1, 1) => [0, 0, 0],
        (count, _) => {
            return Err(Error::bad_argument(
                format!("{count} bands in {} files for --background", paths.len()),
                "six (blue, green, red, NIR, SWIR1, SWIR2), three (red, green, blue) or one, in one file or one file each",
                "give the scene's optical raster",
            ));
        }
    };
    let mut read = [Vec::new(), Vec::new(), Vec::new()];
    for (values, index) in read.iter_mut().zip(chosen) {
        let (path, band) = bands[index];
        let file = RasterFile::open(path)?;
        *values = file.read_window(band, file.grid().window())?;
    }
    Ok(read)
}
