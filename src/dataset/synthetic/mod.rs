//! Generated glaciers: what satellites would see of made-up mountains, with the true glaciers.
//!
//! A tile is made as nature makes it. Mountains are uplifted and cut by rivers and ice ages (`relief`); glaciers grow where more snow falls
//! than melts and flow down the valleys (`ice`); rock falls on them and comes out as moraines (`debris`); lakes, gravel plains, plants and
//! the snow of the season lie around them (`land`, `surface`); the sun shines on it from the season's height (`light`); air, clouds, optics
//! and noise stand before the sensor (`optical`), and elevation model, radar and thermal band see the same land (`elevation`, `radar`).
//! Eleven regions differ in climate, rocks, latitude and kinds of glaciers (`region`).
//!
//! Everything is the same on every machine for one seed. The land is made up: it says nothing about how well a model maps real glaciers.

mod cells;
mod conditions;
mod debris;
mod elevation;
mod ice;
mod land;
mod light;
mod optical;
mod parts;
pub mod preview;
mod radar;
mod region;
mod relief;
pub mod scene;
mod spectra;
mod surface;
#[cfg(test)]
mod tests;
pub mod tiles;

use crate::dataset::noise::Random;
use crate::error::{Error, Result};
use crate::model::Feature;
use conditions::Conditions;
use elevation::Elevation;
use land::{Land, crop};
use light::Light;
use radar::{Backscatter, Orbits};
use region::Region;

pub use scene::SyntheticScene;

/// Sides that can be generated, in pixels.
pub const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;

/// The optical bands, in the order of the network's input.
pub const BANDS: [&str; 6] = ["blue", "green", "red", "NIR", "SWIR1", "SWIR2"];

/// Names of the same bands of Sentinel-2.
pub const SENTINEL_2: [&str; 6] = ["B02", "B03", "B04", "B8A", "B11", "B12"];

/// Names of the regions that can be generated.
#[must_use]
pub fn region_names() -> Vec<String> {
    region::all().into_iter().map(|r| r.name).collect()
}

/// One generated tile: what each sensor sees, in the raw units of [`Feature`], row by row, and the truth.
#[derive(Debug, Clone)]
struct Tile {
    side: usize,
    conditions: Conditions,
    /// Six bands; NaN where there is no data.
    optical: Vec<Vec<f32>>,
    elevation: Elevation,
    backscatter: Option<Backscatter>,
    coherence: Option<Orbits>,
    thermal: Option<Vec<f32>>,
    /// Whether each pixel is glacier.
    glacier: Vec<bool>,
    /// Pixels under thick cloud or without data.
    hidden: Vec<bool>,
    /// Part of the glaciers' pixels under debris.
    debris: Vec<f32>,
    /// Open or frozen water.
    water: Vec<bool>,
    /// Direct sunlight, relative to level ground.
    sunlight: Vec<f32>,
    equilibrium_line: f64,
}

impl Tile {
    /// Generates a tile of `side` x `side` pixels. `pixel` is their size in metres, one of those in use for `None`. Only sensors of the
    /// `features` are simulated; optical and elevation always are.
    fn generate(region: &Region, side: usize, pixel: Option<f64>, features: &[Feature], seed: u64) -> Result<Self> {
        if !SIDES.contains(&side) {
            return Err(Error::bad_argument(
                format!("{side} x {side} pixels"),
                format!("{} to {} pixels each way", SIDES.start(), SIDES.end()),
                "choose another size",
            ));
        }
        let conditions = Conditions::draw(region, side, pixel, seed);
        let land = Land::generate(side, &conditions, seed);
        let light = Light::cast(&land, conditions.sun);
        let surfaces = surface::surfaces(&land, &conditions, &light.facing, seed);
        let optical = optical::picture(&land, &conditions, &surfaces, &light, seed);
        let elevation = elevation::measure(&land, &conditions, side, seed)?;
        let has = |feature| features.contains(&feature);
        let cropped = |field: &[f32]| crop(field, land.side, side);
        let backscatter = (has(Feature::CoPolSar) || has(Feature::CrossPolSar)).then(|| {
            let seen = radar::backscatter(&land, &surfaces, seed);
            Backscatter {
                co_polarised: seen.co_polarised.map(|b| cropped(&b)),
                cross_polarised: seen.cross_polarised.map(|b| cropped(&b)),
            }
        });
        let coherence =
            has(Feature::InSar).then(|| radar::coherence(&land, &surfaces, seed).map(|band| cropped(&band)));
        let thermal = has(Feature::Thermal).then(|| {
            cropped(&radar::brightness_temperature(&land, &conditions, &surfaces, &light, &optical.cloud, seed))
        });
        let glacier: Vec<bool> = (0..land.altitude.len()).map(|i| land.is_glacier(i)).collect();
        let debris: Vec<f32> = land.debris.iter().zip(&land.ice).map(|(d, i)| narrow(d * i)).collect();
        let water: Vec<bool> = land.water.iter().map(|w| *w > 0.5).collect();
        let sunlight: Vec<f32> = light.direct.iter().map(|l| narrow(*l)).collect();
        Ok(Self {
            side,
            optical: optical.bands.iter().map(|band| cropped(band)).collect(),
            elevation,
            backscatter,
            coherence,
            thermal,
            glacier: crop(&glacier, land.side, side),
            hidden: crop(&optical.is_hidden, land.side, side),
            debris: cropped(&debris),
            water: crop(&water, land.side, side),
            sunlight: cropped(&sunlight),
            equilibrium_line: land.equilibrium_line,
            conditions,
        })
    }

    /// The channels of a feature; none if it was not simulated.
    fn channels<'a>(&'a self, feature: Feature) -> Vec<&'a [f32]> {
        let orbits = |both: &'a Orbits| both.iter().map(Vec::as_slice).collect();
        match feature {
            Feature::Optical => self.optical.iter().map(Vec::as_slice).collect(),
            Feature::Dem => vec![&self.elevation.metres, &self.elevation.slope],
            Feature::CoPolSar => self.backscatter.as_ref().map(|b| orbits(&b.co_polarised)).unwrap_or_default(),
            Feature::CrossPolSar => self.backscatter.as_ref().map(|b| orbits(&b.cross_polarised)).unwrap_or_default(),
            Feature::InSar => self.coherence.as_ref().map(orbits).unwrap_or_default(),
            Feature::Thermal => self.thermal.as_deref().map_or_else(Vec::new, |t| vec![t]),
        }
    }

    /// Part of the pixels that is glacier.
    fn glacier_share(&self) -> f64 {
        self.glacier.iter().filter(|g| **g).count() as f64 / self.glacier.len() as f64
    }
}

/// The seed of one tile of a file: independent of all others.
fn tile_seed(seed: u64, index: u64) -> u64 {
    Random::new(seed, index.wrapping_add(0x5EED)).bits()
}

#[expect(clippy::cast_possible_truncation, reason = "rasters are f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// 0 below `low`, 1 above `high` (or the other way round if `low` is above `high`), smooth between.
fn rise(low: f64, high: f64, value: f64) -> f64 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
