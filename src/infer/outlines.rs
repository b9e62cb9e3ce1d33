//! The outlines of a class, from rows of a prediction to a file of polygons.

use std::path::PathBuf;

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::raster::area::{Area, area};
use crate::raster::geopackage::{Column, ColumnType, Layer, Value, Writer};
use crate::raster::outliner::Outliner;
use crate::raster::polygons::Polygon;
use crate::raster::{Crs, Grid, Transformer};

/// How outlines are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OutlineSettings {
    /// Outlines smaller than this are left out.
    pub min_area_km2: f64,
    /// How far, in metres, simplification may move a boundary; 0 for none.
    pub simplify_m: f64,
    /// Along the probability of 0.5 instead of pixel edges.
    pub iso_line: bool,
}

/// What was outlined.
#[derive(Debug, Clone)]
pub struct OutlineSummary {
    /// Outlines.
    pub count: usize,
    /// The sum of their areas in km2.
    pub area_km2: f64,
    /// The surface that areas were measured on.
    pub surface: &'static str,
    /// The outlines along pixel edges, in pixel corners, for pictures.
    pub pixel_polygons: Vec<Polygon<u32>>,
}

/// The outlines of one class, under way.
#[derive(Debug)]
pub struct OutlineLayer {
    grid: Grid,
    settings: OutlineSettings,
    transformer: Option<Transformer>,
    outliner: Outliner,
}

impl OutlineLayer {
    /// For the pixels of `class` on a grid.
    ///
    /// # Errors
    /// Settings that cannot be, or a CRS that cannot be transformed to the ellipsoid.
    pub fn new(grid: &Grid, settings: &OutlineSettings, class: u8) -> Result<Self> {
        let number = |value: f64| value >= 0.0 && value.is_finite();
        if !number(settings.min_area_km2) || settings.simplify_m != 0.0 || settings.iso_line {
            return Err(Error::bad_argument(
                "--min-area, --simplify or --iso-line out of range",
                "a least area of 0 km2 or more, and pixel edges",
                "leave them out",
            ));
        }
        let crs = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        let transformer = crs.map(Transformer::to_longitude_latitude).transpose()?;
        let outliner = Outliner::new(grid.width, class);
        Ok(Self { grid: grid.clone(), settings: *settings, transformer, outliner })
    }

    /// Adds whole rows from the north: classes, their confidence and the probability of glacier.
    ///
    /// # Errors
    /// The lengths are not whole rows.
    pub fn add_rows(&mut self, classes: &[u8], confidence: &[f32], _probability: &[f32]) -> Result<()> {
        self.outliner.add_rows(classes, confidence)
    }

    /// Stages the files.
    ///
    /// # Errors
    /// An outline lies outside its projection's domain, or a file cannot be written.
    pub fn finish(self, targets: &[PathBuf], description: &str, staged: &mut StagedFiles) -> Result<OutlineSummary> {
        let mut kept = Vec::new();
        for outline in self.outliner.finish()? {
            let map = outline.polygon.to_map(&self.grid);
            let area = area(&map, self.transformer.as_ref())?;
            if area.km2() >= self.settings.min_area_km2 {
                kept.push((outline, map, area));
            }
        }
        let columns = [
            Column::new("area_km2", ColumnType::Real),
            Column::new("mean_confidence", ColumnType::Real),
            Column::new("pixels", ColumnType::Integer),
        ];
        let crs = self.grid.crs.as_ref();
        let wkt = crs.map(Crs::wkt);
        for target in targets {
            staged.stage(target, |path| {
                let layer = Layer { table: "outlines", description, crs, wkt: wkt.as_deref(), columns: &columns };
                let mut writer = Writer::create(path, &layer)?;
                for (outline, map, area) in &kept {
                    let pixels = Value::Integer(i64::try_from(outline.pixels).unwrap_or(i64::MAX));
                    writer.add(map, &[Value::Real(area.km2()), Value::Real(outline.values.mean), pixels])?;
                }
                writer.finish()
            })?;
        }
        Ok(OutlineSummary {
            count: kept.len(),
            area_km2: kept.iter().map(|(_, _, area)| area.km2()).sum(),
            surface: match kept.first() {
                Some((_, _, Area::Planar(_))) => "plane",
                _ => "WGS 84 ellipsoid",
            },
            pixel_polygons: kept.into_iter().map(|(outline, _, _)| outline.polygon).collect(),
        })
    }
}
