//! Rasters and polygons as classes on a grid.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::raster::shapes::Format;
use crate::raster::{Crs, Grid, PixelShapes, RasterFile, Shapes};

/// The class of a pixel that is a glacier.
pub const GLACIER: u8 = 1;
/// The class of a pixel that is not one.
pub const OTHER: u8 = 0;
/// No class: nodata, or not labelled.
pub const UNKNOWN: u8 = 255;

/// What the classes of a layer were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A raster of 1, 0 and 255 or nodata.
    Classes,
    /// A raster of probabilities, cut at 0.5.
    Probability,
    /// Polygons, inside glacier, outside other.
    Polygons,
}

/// A file that says what is a glacier where, opened.
#[derive(Debug)]
pub enum Source {
    /// A GeoTIFF with one band.
    Raster(Box<RasterFile>),
    /// A file of polygons.
    Polygons(PathBuf, Shapes),
}

impl Source {
    /// Opens a raster or a file of polygons, told by its first bytes.
    ///
    /// # Errors
    /// The file cannot be read or is neither.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(format) = Format::detect(path)? {
            return Ok(Self::Polygons(path.to_path_buf(), Shapes::read(path, format)?));
        }
        let file = RasterFile::open(path).map_err(|error| match error {
            Error::BadFile { file, found, remedy, .. } if found.contains("not a TIFF") => {
                let expected = "a GeoTIFF, GeoJSON, GeoPackage, FlatGeobuf or Shapefile (.shp)";
                Error::BadFile {
                    file,
                    found: "none of the formats it may have".into(),
                    expected: expected.into(),
                    remedy,
                }
            }
            other => other,
        })?;
        if file.bands().len() != 1 {
            let found = format!("{} bands", file.bands().len());
            return Err(Error::bad_file(path, found, "one band of classes", "select it with gdal_translate -b"));
        }
        Ok(Self::Raster(Box::new(file)))
    }

    /// A raster's grid; polygons have none. `assumed` stands in for a CRS that the file does not name or that is not known.
    #[must_use]
    pub fn grid(&self, assumed: Option<&Crs>) -> Option<Grid> {
        match self {
            Self::Raster(file) => Some(with_crs(file.grid(), assumed)),
            Self::Polygons(..) => None,
        }
    }
}

/// A raster's grid with `assumed` where the CRS is missing or unknown.
pub(super) fn with_crs(grid: &Grid, assumed: Option<&Crs>) -> Grid {
    let known = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty() || assumed.is_none());
    Grid { crs: known.or(assumed).cloned(), ..grid.clone() }
}

/// The class that a value stands for.
pub(super) fn class(value: f32) -> Option<u8> {
    if value == 1.0 {
        Some(GLACIER)
    } else if value == 0.0 {
        Some(OTHER)
    } else if value.is_nan() || value == 255.0 {
        Some(UNKNOWN)
    } else {
        None
    }
}

pub(super) fn is_probability(value: f32) -> bool {
    value.is_nan() || (0.0..=1.0).contains(&value)
}

/// The class of a probability, as `glavitu predict` decides.
pub(super) fn cut(probability: f32) -> u8 {
    if probability.is_nan() { UNKNOWN } else { u8::from(probability > 0.5) }
}

pub(super) fn warn_of_no_other(path: &Path) {
    tracing::warn!(
        "{}: no pixel is 0 (other), so nothing can be predicted wrongly there; is 0 marked as nodata?",
        path.display()
    );
}

/// The classes of whole rows, of which the first is `row`.
pub(super) fn classes(file: &RasterFile, row: usize, values: &[f32]) -> Result<Vec<u8>> {
    let width = file.grid().width.max(1);
    let classes = values.iter().enumerate().map(|(i, value)| {
        class(*value).ok_or_else(|| {
            Error::bad_file(
                file.path(),
                format!("the value {value} in row {}, column {}", row + i / width + 1, i % width + 1),
                "1 for glacier, 0 for other, and 255 or nodata for unknown",
                "reclassify the raster, for example with gdal_calc.py",
            )
        })
    });
    classes.collect()
}

/// Polygons on the pixels of a grid.
///
/// # Errors
/// They cannot be put on it, or all lie beside it: then they are of another place.
pub(super) fn placed(path: &Path, shapes: &Shapes, grid: &Grid, assumed: Option<&Crs>) -> Result<PixelShapes> {
    let placed = shapes.on_grid(grid, assumed)?;
    let (width, height) = (grid.width as f64, grid.height as f64);
    let meets = |[left, top, right, bottom]: [f64; 4]| left < width && right > 0.0 && top < height && bottom > 0.0;
    if !placed.bounds().is_some_and(meets) {
        return Err(Error::bad_file(
            path,
            "polygons that all lie beside the raster",
            "polygons of the same place",
            "check that the files belong together, and their CRSs; for a place without glaciers, give a raster of zeros",
        ));
    }
    Ok(placed)
}

pub(super) fn warn_of_no_pixel(path: &Path) {
    tracing::warn!("{}: no polygon covers the centre of a pixel; is it the right file?", path.display());
}

/// Refuses rasters that are not of classes or probabilities.
pub(super) fn refuse_confidences(file: &RasterFile) -> Result<()> {
    if file.bands().first().and_then(|band| band.description.as_deref()) == Some("confidence") {
        let remedy = "give the outlines.tif or probability.tif beside it";
        return Err(Error::bad_file(file.path(), "a raster of confidences", "classes or probabilities", remedy));
    }
    Ok(())
}
