//! The files that a prediction becomes.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::CalibrationCurve;
use crate::infer::postprocess::{GLACIER, NODATA, classify, confidences, median};
use crate::infer::scene::SceneWindow;
use crate::model::Feature;
use crate::raster::area::{Area, area};
use crate::raster::geopackage::{Column, ColumnType, Layer, Value, Writer};
use crate::raster::polygons::{Polygon, Regions};
use crate::raster::quicklook::{Caption, Quicklook, write_png};
use crate::raster::{Grid, Metadata, Transformer, write_bytes, write_floats};

/// Pixels of lower calibrated confidence are hatched in the quicklook.
pub const CONFIDENCE_THRESHOLD: f32 = 0.95;

/// Names of the files that [`Products::stage`] makes.
pub const FILES: [&str; 5] = ["outlines.tif", "probability.tif", "confidence.tif", "outlines.gpkg", "quicklook.png"];

/// The glaciers of a scene.
#[derive(Debug)]
pub struct Products<'a> {
    grid: &'a Grid,
    scene: &'a SceneWindow,
    probability: Vec<f32>,
    classes: Vec<u8>,
    confidence: Vec<f32>,
    glaciers: Vec<Glacier>,
    is_calibrated: bool,
}

/// One outline.
#[derive(Debug, Clone)]
struct Glacier {
    pixels: Polygon<u32>,
    map: Polygon<f64>,
    area: Area,
    mean_confidence: f64,
    pixel_count: u64,
}

impl<'a> Products<'a> {
    /// Classifies, filters, calibrates and outlines the glacier `probability` of a scene.
    ///
    /// The filter sees what the network says of filled gaps, as the published tool does; then gaps become nodata everywhere.
    /// `smoothing` is the side of the median filter, 1 for none; `calibration` maps the confidence.
    ///
    /// # Errors
    /// An even filter, or outlines outside their projection's domain.
    pub fn new(
        grid: &'a Grid,
        scene: &'a SceneWindow,
        mut probability: Vec<f32>,
        smoothing: usize,
        calibration: Option<&CalibrationCurve>,
    ) -> Result<Self> {
        if !scene.valid().contains(&true) {
            return Err(Error::bad_argument(
                "no pixel that has data in every raster",
                "rasters that overlap",
                "check nodata values and extents",
            ));
        }
        let mut classes = classify(&probability);
        if smoothing > 1 {
            classes = median(&classes, grid.height, grid.width, smoothing)?;
        }
        for ((class, p), _) in classes.iter_mut().zip(&mut probability).zip(scene.valid()).filter(|(_, valid)| !**valid)
        {
            *class = NODATA;
            *p = f32::NAN;
        }
        let mut confidence = confidences(&probability);
        if let Some(curve) = calibration {
            curve.apply(&mut confidence);
        }
        let regions = Regions::find(&classes, grid.width, grid.height, GLACIER)?;
        let statistics = regions.statistics(&confidence)?;
        let crs = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        let transformer = crs.map(Transformer::to_longitude_latitude).transpose()?;
        let mut glaciers = Vec::with_capacity(regions.polygons.len());
        for ((pixels, statistics), pixel_count) in regions.polygons.into_iter().zip(statistics).zip(regions.pixels) {
            let map = pixels.to_map(grid);
            let area = area(&map, transformer.as_ref())?;
            glaciers.push(Glacier { pixels, map, area, mean_confidence: statistics.mean, pixel_count });
        }
        Ok(Self { grid, scene, probability, classes, confidence, glaciers, is_calibrated: calibration.is_some() })
    }

    /// What was found, in numbers.
    #[must_use]
    pub fn summary(&self) -> Json {
        let valid = self.scene.valid().iter().filter(|v| **v).count();
        let low = self.confidence.iter().filter(|c| **c < CONFIDENCE_THRESHOLD).count();
        let sum: f64 = self.confidence.iter().filter(|c| !c.is_nan()).map(|c| f64::from(*c)).sum();
        #[expect(clippy::cast_precision_loss, reason = "pixel counts are far below 2^52")]
        let share = |part: f64| part / valid as f64;
        #[expect(clippy::cast_precision_loss, reason = "pixel counts are far below 2^52")]
        let low_share = share(low as f64);
        json!({
            "valid_pixels": valid,
            "glacier_pixels": self.classes.iter().filter(|c| **c == GLACIER).count(),
            "glacier_area_km2": self.glacier_area_km2(),
            "area_surface": match self.glaciers.first().map(|g| g.area) {
                Some(Area::Planar(_)) => "plane",
                _ => "WGS 84 ellipsoid",
            },
            "outlines": self.glaciers.len(),
            "mean_confidence": share(sum),
            "share_below_confidence_threshold": low_share,
            // Through text, as 0.95 is not 0.949999988 to a reader.
            "confidence_threshold": CONFIDENCE_THRESHOLD.to_string().parse::<f64>().unwrap_or(f64::from(CONFIDENCE_THRESHOLD)),
        })
    }

    /// Area of all outlines in km2.
    #[must_use]
    pub fn glacier_area_km2(&self) -> f64 {
        self.glaciers.iter().map(|g| g.area.km2()).sum()
    }

    /// Number of outlines.
    #[must_use]
    pub fn outline_count(&self) -> usize {
        self.glaciers.len()
    }

    /// Stages `outlines.tif`, `probability.tif`, `confidence.tif`, `outlines.gpkg` and `quicklook.png` for `folder`.
    ///
    /// `origin` says in names and values which model, device and settings made them; `title` goes above the picture.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage(
        &self,
        folder: &Path,
        origin: &[(String, String)],
        title: &str,
        staged: &mut StagedFiles,
    ) -> Result<()> {
        let grid = self.grid;
        let metadata = |name: &str| Metadata { description: Some(name.to_owned()), items: origin.to_vec() };
        staged.stage(folder.join("outlines.tif"), |path| {
            write_bytes(path, grid, &self.classes, NODATA, &metadata("glacier (1), other (0)"))
        })?;
        staged.stage(folder.join("probability.tif"), |path| {
            write_floats(path, grid, &self.probability, &metadata("probability of glacier"))
        })?;
        staged.stage(folder.join("confidence.tif"), |path| {
            write_floats(path, grid, &self.confidence, &metadata("confidence"))
        })?;
        staged.stage(folder.join("outlines.gpkg"), |path| self.write_outlines(path, origin))?;
        staged.stage(folder.join("quicklook.png"), |path| self.write_quicklook(path, title))
    }

    fn write_outlines(&self, path: &Path, origin: &[(String, String)]) -> Result<()> {
        let columns = [
            Column::new("area_km2", ColumnType::Real),
            Column::new("mean_confidence", ColumnType::Real),
            Column::new("pixels", ColumnType::Integer),
        ];
        let description = origin.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let crs = self.grid.crs.as_ref();
        let wkt = crs.map(crate::raster::Crs::wkt);
        let layer = Layer { table: "outlines", description: &description, crs, wkt: wkt.as_deref(), columns: &columns };
        let mut writer = Writer::create(path, &layer)?;
        for glacier in &self.glaciers {
            writer.add(
                &glacier.map,
                &[
                    Value::Real(glacier.area.km2()),
                    Value::Real(glacier.mean_confidence),
                    Value::Integer(i64::try_from(glacier.pixel_count).unwrap_or(i64::MAX)),
                ],
            )?;
        }
        writer.finish()
    }

    fn write_quicklook(&self, path: &Path, title: &str) -> Result<()> {
        let grid = self.grid;
        // What is not calibrated is a measure, but no chance of being right: after focal loss it is low nearly everywhere.
        let threshold = if self.is_calibrated { CONFIDENCE_THRESHOLD } else { 0.0 };
        let mut picture = Quicklook::new(grid.height, grid.width, threshold)?;
        // SWIR1, NIR, red; a model without optical bands gets its probability in grey.
        let bands = [4, 3, 2].map(|band| self.scene.channel(Feature::Optical, band).unwrap_or(&self.probability));
        picture.add_rows(bands, Some(&self.confidence))?;
        let outlines: Vec<Polygon<u32>> = self.glaciers.iter().map(|g| g.pixels.clone()).collect();
        write_png(&picture.draw(&outlines, &Caption { title, pixel_m: grid.pixel_m() }), path)
    }
}
