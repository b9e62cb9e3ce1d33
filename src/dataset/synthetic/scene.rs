//! One generated scene as GeoTIFFs with its true outlines.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{BANDS, SENTINEL_2, Tile, preview, region};
use crate::atomic_file::StagedFiles;
use crate::error::Result;
use crate::model::Feature;
use crate::raster::area::{Area, area};
use crate::raster::geopackage::{Column, ColumnType, Layer, Value, Writer};
use crate::raster::polygons::{Polygon, Regions};
use crate::raster::quicklook::write_png;
use crate::raster::{Crs, Grid, Metadata, Transformer, write_bands, write_bytes, write_digital_numbers, write_floats};

/// Side of a scene's pixel in metres.
const PIXEL: f64 = 30.0;
/// The class of glaciers in `truth.tif`, and of pixels where nobody can say what is there.
const GLACIER: u8 = 1;
const UNLABELLED: u8 = 255;

/// A generated scene.
#[derive(Debug, Clone)]
pub struct SyntheticScene {
    seed: u64,
    region: String,
    grid: Grid,
    tile: Tile,
    truth: Vec<u8>,
    outlines: Vec<Outline>,
}

/// One glacier.
#[derive(Debug, Clone)]
struct Outline {
    polygon: Polygon<f64>,
    area: Area,
    debris_share: f64,
    pixels: u64,
}

impl SyntheticScene {
    /// A scene of `side` x `side` pixels of 30 m in a region, such as `ALP`.
    ///
    /// # Errors
    /// The side is outside [`super::SIDES`], or there is no such region.
    pub fn generate(side: usize, seed: u64, region: &str) -> Result<Self> {
        let chosen = region::chosen(&[region.to_owned()])?;
        let tile = Tile::generate(&chosen[0], side, Some(PIXEL), &Feature::ALL, super::tile_seed(seed, 0))?;
        let grid = grid(tile.conditions.centre, side)?;
        let classes: Vec<u8> = tile.glacier.iter().map(|g| u8::from(*g)).collect();
        let truth = classes.iter().zip(&tile.hidden).map(|(c, hidden)| if *hidden { UNLABELLED } else { *c }).collect();
        let outlines = outlines(&tile, &classes, &grid)?;
        Ok(Self { seed, region: region.to_owned(), grid, tile, truth, outlines })
    }

    /// Size, position (UTM) and CRS.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Reflectance of each of the [`BANDS`], row by row; NaN where a sensor has gaps.
    #[must_use]
    pub fn optical(&self) -> &[Vec<f32>] {
        &self.tile.optical
    }

    /// Altitude in metres, row by row.
    #[must_use]
    pub fn elevation(&self) -> &[f32] {
        &self.tile.elevation.metres
    }

    /// 1 where more than half a pixel is glacier, 255 under thick clouds, else 0. Snow beside glaciers is 0, rubble on their tongues 1.
    #[must_use]
    pub fn truth(&self) -> &[u8] {
        &self.truth
    }

    /// Stages `optical.tif`, `elevation.tif`, `co_pol_sar.tif`, `cross_pol_sar.tif`, `in_sar.tif`, `thermal.tif`, `truth.tif` and
    /// `outlines.gpkg` for `folder`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage(&self, folder: &Path, staged: &mut StagedFiles) -> Result<()> {
        let items = self.origin();
        let orbits = ["ascending", "descending"];
        for (feature, names) in [
            (Feature::Optical, BANDS.as_slice()),
            (Feature::CoPolSar, &orbits),
            (Feature::CrossPolSar, &orbits),
            (Feature::InSar, &orbits),
            (Feature::Thermal, &["brightness temperature (K)"]),
        ] {
            let bands: Vec<(&str, &[f32])> = names.iter().copied().zip(self.tile.channels(feature)).collect();
            let name = format!("{}.tif", feature.name());
            staged.stage(folder.join(name), |path| write_bands(path, &self.grid, &bands, &items))?;
        }
        let metadata = |name: &str| Metadata { description: Some(name.into()), items: items.clone() };
        staged.stage(folder.join("elevation.tif"), |path| {
            write_floats(path, &self.grid, self.elevation(), &metadata("elevation (m)"))
        })?;
        staged.stage(folder.join("truth.tif"), |path| {
            write_bytes(path, &self.grid, &self.truth, UNLABELLED, &metadata("glacier (1), other (0)"))
        })?;
        staged.stage(folder.join("outlines.gpkg"), |path| self.write_outlines(path))
    }

    /// Stages the optical bands as Sentinel-2 products have them since 2022: [`SENTINEL_2`], a file each under a name of theirs (of a square TXX that does not
    /// exist), digital numbers of `10000 reflectance + 1000`, 0 without data, and nothing in the files that says so.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage_sentinel_2(&self, folder: &Path, staged: &mut StagedFiles) -> Result<()> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=65535")]
        let number = |reflectance: f32| {
            if reflectance.is_nan() { 0 } else { (reflectance * 10_000.0 + 1000.0).round().clamp(1.0, 65_535.0) as u16 }
        };
        // Northern zones are EPSG 32601 to 32660, southern ones 32701 to 32760.
        let zone = self.grid.crs.as_ref().and_then(|crs| crs.epsg).unwrap_or_default() % 100;
        for (name, band) in SENTINEL_2.into_iter().zip(self.optical()) {
            let values: Vec<u16> = band.iter().map(|reflectance| number(*reflectance)).collect();
            let metadata = Metadata { description: None, items: self.origin() };
            staged.stage(folder.join(format!("T{zone:02}TXX_20220816T100000_{name}.tif")), |path| {
                write_digital_numbers(path, &self.grid, &values, &metadata)
            })?;
        }
        Ok(())
    }

    /// Stages a picture of the scene, in false and in true colours, as `target`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn stage_preview(&self, target: &Path, staged: &mut StagedFiles) -> Result<()> {
        let pictures = [(preview::Colours::False, true), (preview::Colours::True, false)]
            .map(|(colours, has_outlines)| preview::picture(&self.tile, colours, has_outlines));
        staged.stage(target, |path| write_png(&preview::sheet(&pictures, 2), path))
    }

    /// What was generated, in names and numbers.
    #[must_use]
    pub fn summary(&self) -> Json {
        let (low, high) =
            self.elevation().iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &z| (a.min(z), b.max(z)));
        let sun = self.tile.conditions.sun;
        json!({
            "seed": self.seed,
            "region": self.region,
            "subregion": self.tile.conditions.subregion,
            "width": self.grid.width,
            "height": self.grid.height,
            "pixel_m": PIXEL,
            "crs": self.grid.crs.as_ref().map(|crs| crs.name.clone()),
            "lowest_m": low.round(),
            "highest_m": high.round(),
            "equilibrium_line_m": self.tile.equilibrium_line.round(),
            "sun_elevation_degrees": tenths(sun.elevation.to_degrees()),
            "sun_azimuth_degrees": tenths(sun.azimuth.to_degrees()),
            "outlines": self.outlines.len(),
            "glacier_pixels": self.tile.glacier.iter().filter(|g| **g).count(),
            "glacier_area_km2": self.outlines.iter().fold(0.0, |sum, o| sum + o.area.km2()),
        })
    }

    fn origin(&self) -> Vec<(String, String)> {
        let sun = self.tile.conditions.sun;
        [
            ("GLAVITU_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
            ("GLAVITU_SYNTHETIC_SEED", self.seed.to_string()),
            ("GLAVITU_SYNTHETIC_REGION", self.region.clone()),
            ("SUN_ELEVATION", tenths(sun.elevation.to_degrees()).to_string()),
            ("SUN_AZIMUTH", tenths(sun.azimuth.to_degrees()).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn write_outlines(&self, path: &Path) -> Result<()> {
        let columns = [
            Column::new("glacier_id", ColumnType::Text),
            Column::new("area_km2", ColumnType::Real),
            Column::new("debris_share", ColumnType::Real),
            Column::new("pixels", ColumnType::Integer),
        ];
        let origin = self.origin();
        let description = origin.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let crs = self.grid.crs.as_ref();
        let wkt = crs.map(Crs::wkt);
        let layer = Layer { table: "outlines", description: &description, crs, wkt: wkt.as_deref(), columns: &columns };
        let mut writer = Writer::create(path, &layer)?;
        for (number, outline) in self.outlines.iter().enumerate() {
            let id = Value::Text(format!("{}-{}-{:03}", self.region, self.seed, number + 1));
            let pixels = i64::try_from(outline.pixels).unwrap_or(i64::MAX);
            let values =
                [id, Value::Real(outline.area.km2()), Value::Real(outline.debris_share), Value::Integer(pixels)];
            writer.add(&outline.polygon, &values)?;
        }
        writer.finish()
    }
}

/// The true glaciers as polygons, under clouds too.
fn outlines(tile: &Tile, classes: &[u8], grid: &Grid) -> Result<Vec<Outline>> {
    let regions = Regions::find(classes, grid.width, grid.height, GLACIER)?;
    let debris = regions.statistics(&tile.debris)?;
    let transformer = grid.crs.as_ref().map(Transformer::to_longitude_latitude).transpose()?;
    let found = regions.polygons.iter().zip(&debris).zip(&regions.pixels);
    found
        .map(|((polygon, debris), &pixels)| {
            let polygon = polygon.to_map(grid);
            let area = area(&polygon, transformer.as_ref())?;
            Ok(Outline { polygon, area, debris_share: debris.mean, pixels })
        })
        .collect()
}

/// A UTM grid of 30 m pixels around a place.
fn grid((latitude, longitude): (f64, f64), side: usize) -> Result<Grid> {
    let zone = ((longitude + 180.0) / 6.0).floor().clamp(0.0, 59.0);
    let north = latitude >= 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 60")]
    let epsg = if north { 32601 } else { 32701 } + zone as u32;
    // Metres from the equator and the zone's meridian on a sphere: a place for made-up mountains needs no more.
    let metres_per_degree = 111_195.0;
    let from_meridian = longitude - (zone * 6.0 - 177.0);
    let east = 500_000.0 + from_meridian * metres_per_degree * libm::cos(latitude.to_radians());
    let up = latitude * metres_per_degree + if north { 0.0 } else { 10_000_000.0 };
    let corner = |value: f64| (value / PIXEL).floor() * PIXEL;
    let half = side as f64 * PIXEL / 2.0;
    Ok(Grid {
        width: side,
        height: side,
        transform: [PIXEL, 0.0, corner(east - half), 0.0, -PIXEL, corner(up + half)],
        crs: Some(Crs::from_epsg(epsg)?),
    })
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
