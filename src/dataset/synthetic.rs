//! Generated alpine scenes: what a satellite would see of a made-up landscape, with the true glaciers.
//!
//! A scene is the same on every machine for one seed and size. It is for trying the program out and for tests. It knows no clouds, no
//! instrument and no real place, and says nothing about how well a model maps real glaciers.

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::atomic_file::StagedFiles;
use crate::dataset::landscape::{Landscape, PIXEL};
use crate::dataset::noise::{Random, fractal};
use crate::error::{Error, Result};
use crate::raster::{Crs, Grid, Metadata, write_bands, write_bytes, write_floats};

/// Sides that can be generated, in pixels.
pub const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;

/// The optical bands, in the order of the network's input.
pub const BANDS: [&str; 6] = ["blue", "green", "red", "NIR", "SWIR1", "SWIR2"];

/// Reflectance in the six bands.
type Spectrum = [f64; 6];

// Reflectances of level ground, rounded to what these describe for the bands of Landsat 8:
// - snow and firn: Warren (1982), Optical properties of snow: near 1 in the visible, less in the near infrared as grains grow, almost black
//   beyond 1.5 micrometres;
// - glacier ice: Hall et al. (1990), Comparison of in situ and Landsat derived reflectance of Alaskan glaciers;
// - rock, meadow, conifers, water: the ranges of the USGS Spectral Library Version 7 (Kokaly et al. 2017), for granite and limestone,
//   lawn grass, lodgepole pine, and water with glacial silt.
const SNOW: Spectrum = [0.94, 0.93, 0.92, 0.84, 0.11, 0.09];
const FIRN: Spectrum = [0.74, 0.74, 0.72, 0.58, 0.06, 0.05];
const ICE: Spectrum = [0.44, 0.45, 0.42, 0.29, 0.03, 0.03];
const ROCK: Spectrum = [0.13, 0.16, 0.19, 0.24, 0.29, 0.25];
const MEADOW: Spectrum = [0.04, 0.09, 0.07, 0.33, 0.21, 0.11];
const CONIFERS: Spectrum = [0.02, 0.04, 0.03, 0.22, 0.10, 0.05];
const WATER: Spectrum = [0.09, 0.12, 0.08, 0.03, 0.01, 0.01];

/// What clear air itself scatters to the sensor, by band: Rayleigh scattering falls with the fourth power of the wavelength.
const AIR: Spectrum = [0.065, 0.035, 0.02, 0.008, 0.001, 0.0];
/// Part of the light that comes from the sky and not straight from the sun, by band; shadows are lit by it alone.
const SKYLIGHT: Spectrum = [0.24, 0.17, 0.12, 0.08, 0.05, 0.04];
/// Standard deviation of the sensor's noise.
const NOISE: f64 = 0.003;

/// A generated scene.
#[derive(Debug, Clone)]
pub struct SyntheticScene {
    seed: u64,
    grid: Grid,
    optical: Vec<Vec<f32>>,
    elevation: Vec<f32>,
    truth: Vec<u8>,
    sun: Sun,
    equilibrium_line: f64,
}

/// Where the sun stands, in radians.
#[derive(Debug, Clone, Copy)]
struct Sun {
    elevation: f64,
    /// Clockwise from the north.
    azimuth: f64,
}

impl SyntheticScene {
    /// A scene of `side` x `side` pixels of 30 m.
    ///
    /// # Errors
    /// The side is outside [`SIDES`].
    pub fn generate(side: usize, seed: u64) -> Result<Self> {
        if !SIDES.contains(&side) {
            return Err(Error::bad_argument(
                format!("a scene of {side} x {side} pixels"),
                format!("{} to {} pixels each way", SIDES.start(), SIDES.end()),
                "choose another size",
            ));
        }
        let land = Landscape::generate(side, seed);
        let mut random = Random::new(seed, 2);
        // A morning in late summer.
        let sun = Sun {
            elevation: random.uniform(40.0, 55.0).to_radians(),
            azimuth: random.uniform(130.0, 165.0).to_radians(),
        };
        let ground = Ground { land: &land, texture: random.bits() };
        let light = light(&land, sun);
        let pixels: Vec<Spectrum> = (0..side * side)
            .into_par_iter()
            .map(|pixel| {
                let (material, direct) = (ground.spectrum(pixel), light[pixel]);
                std::array::from_fn(|band| {
                    AIR[band] + material[band] * (direct * (1.0 - SKYLIGHT[band]) + SKYLIGHT[band])
                })
            })
            .collect();
        let optical = (0..BANDS.len())
            .map(|band| pixels.iter().map(|p| narrow(p[band] + NOISE * random.normal())).collect())
            .collect();
        let grid = Grid {
            width: side,
            height: side,
            transform: [PIXEL, 0.0, 399_960.0, 0.0, -PIXEL, 5_149_980.0],
            crs: Some(Crs::from_epsg(32632)?),
        };
        Ok(Self {
            seed,
            grid,
            optical,
            elevation: land.altitude.iter().map(|&z| narrow(z)).collect(),
            truth: land.ice.iter().map(|&ice| u8::from(ice > 0.5)).collect(),
            sun,
            equilibrium_line: land.equilibrium_line,
        })
    }

    /// Size, position (in the Alps, UTM zone 32 N) and CRS.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Reflectance of each of the [`BANDS`], row by row.
    #[must_use]
    pub fn optical(&self) -> &[Vec<f32>] {
        &self.optical
    }

    /// Altitude in metres, row by row.
    #[must_use]
    pub fn elevation(&self) -> &[f32] {
        &self.elevation
    }

    /// 1 where more than half a pixel is glacier, else 0. Snow beside glaciers is 0, rubble on their tongues 1.
    #[must_use]
    pub fn truth(&self) -> &[u8] {
        &self.truth
    }

    /// Stages `optical.tif`, `elevation.tif` and `truth.tif` for `folder`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage(&self, folder: &Path, staged: &mut StagedFiles) -> Result<()> {
        let items = self.origin();
        let bands: Vec<(&str, &[f32])> = BANDS.into_iter().zip(self.optical.iter().map(Vec::as_slice)).collect();
        staged.stage(folder.join("optical.tif"), |path| write_bands(path, &self.grid, &bands, &items))?;
        let metadata = |name: &str| Metadata { description: Some(name.into()), items: items.clone() };
        staged.stage(folder.join("elevation.tif"), |path| {
            write_floats(path, &self.grid, &self.elevation, &metadata("elevation (m)"))
        })?;
        staged.stage(folder.join("truth.tif"), |path| {
            write_bytes(path, &self.grid, &self.truth, 255, &metadata("glacier (1), other (0)"))
        })
    }

    /// What was generated, in names and numbers.
    #[must_use]
    pub fn summary(&self) -> Value {
        let (low, high) =
            self.elevation.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &z| (a.min(z), b.max(z)));
        let glacier = self.truth.iter().filter(|t| **t == 1).count();
        json!({
            "seed": self.seed,
            "width": self.grid.width,
            "height": self.grid.height,
            "pixel_m": PIXEL,
            "crs": self.grid.crs.as_ref().map(|crs| crs.name.clone()),
            "lowest_m": low.round(),
            "highest_m": high.round(),
            "equilibrium_line_m": self.equilibrium_line.round(),
            "sun_elevation_degrees": tenths(self.sun.elevation.to_degrees()),
            "sun_azimuth_degrees": tenths(self.sun.azimuth.to_degrees()),
            "glacier_pixels": glacier,
            "glacier_area_km2": glacier as f64 * PIXEL * PIXEL / 1e6,
        })
    }

    fn origin(&self) -> Vec<(String, String)> {
        [
            ("GLAVITU_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
            ("GLAVITU_SYNTHETIC_SEED", self.seed.to_string()),
            ("SUN_ELEVATION", tenths(self.sun.elevation.to_degrees()).to_string()),
            ("SUN_AZIMUTH", tenths(self.sun.azimuth.to_degrees()).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_possible_truncation, reason = "rasters are f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// 0 below `low`, 1 above `high`, smooth between.
fn rise(low: f64, high: f64, value: f64) -> f64 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn blend(under: Spectrum, over: Spectrum, part: f64) -> Spectrum {
    std::array::from_fn(|band| under[band] + (over[band] - under[band]) * part)
}

/// Slope (metres per metre) to the east and to the south.
fn gradient(land: &Landscape, pixel: usize) -> (f64, f64) {
    let side = land.side;
    let (row, col) = (pixel / side, pixel % side);
    let (up, down) = (row.saturating_sub(1), (row + 1).min(side - 1));
    let (left, right) = (col.saturating_sub(1), (col + 1).min(side - 1));
    let at = |r: usize, c: usize| land.altitude[r * side + c];
    (
        (at(row, right) - at(row, left)) / ((right - left) as f64 * PIXEL),
        (at(down, col) - at(up, col)) / ((down - up) as f64 * PIXEL),
    )
}

/// Direct sunlight on each pixel, relative to level ground; 0 in shadow.
fn light(land: &Landscape, sun: Sun) -> Vec<f64> {
    // Towards the sun: east, south, up.
    let horizontal = libm::cos(sun.elevation);
    let (east, south) = (horizontal * libm::sin(sun.azimuth), -horizontal * libm::cos(sun.azimuth));
    let up = libm::sin(sun.elevation);
    let highest = land.altitude.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Steps of one pixel along the ground.
    let (step_col, step_row, rise) = (east / horizontal, south / horizontal, PIXEL * up / horizontal);
    (0..land.altitude.len())
        .into_par_iter()
        .map(|pixel| {
            let (dx, dy) = gradient(land, pixel);
            let cosine = (up - dx * east - dy * south) / (1.0 + dx * dx + dy * dy).sqrt();
            if cosine <= 0.0 {
                return 0.0;
            }
            let (mut row, mut col) = ((pixel / land.side) as f64, (pixel % land.side) as f64);
            let mut ray = land.altitude[pixel] + 2.0;
            loop {
                (row, col, ray) = (row + step_row, col + step_col, ray + rise);
                let last = (land.side - 1) as f64;
                if ray > highest || !(0.0..=last).contains(&row) || !(0.0..=last).contains(&col) {
                    return cosine / up;
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the scene")]
                let at = row.round() as usize * land.side + col.round() as usize;
                if land.altitude[at] > ray {
                    return 0.0;
                }
            }
        })
        .collect()
}

/// What the ground is made of.
struct Ground<'a> {
    land: &'a Landscape,
    texture: u64,
}

impl Ground<'_> {
    /// Reflectance of a pixel on level ground. Each material covers a part of what lies below it.
    fn spectrum(&self, pixel: usize) -> Spectrum {
        let (land, side) = (self.land, self.land.side);
        let (row, col) = ((pixel / side) as f64, (pixel % side) as f64);
        let noise = |kind: u64, size: f64, octaves: u32| {
            fractal(self.texture.wrapping_add(64 * kind), col / size, row / size, octaves)
        };
        let altitude = land.altitude[pixel];
        let (dx, dy) = gradient(land, pixel);
        let slope = dx.hypot(dy);
        let above = altitude - land.equilibrium_line;

        let shade = 1.0 + 0.45 * noise(0, 40.0, 4) + 0.2 * noise(1, 3.0, 2);
        let rock = ROCK.map(|r| r * shade);
        // Meadows end some 250 m below the equilibrium line, forest some 550 m, both lower on steep ground.
        let patchy = 120.0 * noise(2, 25.0, 4);
        let meadow = rise(-180.0, -330.0, above + patchy + 150.0 * slope) * rise(1.0, 0.6, slope);
        let conifers = rise(-480.0, -600.0, above + patchy + 100.0 * slope) * rise(1.0, 0.75, slope);
        let mut spectrum = blend(blend(rock, MEADOW, 0.9 * meadow), CONIFERS, conifers);
        // Old snow lies on in hollows and on shaded slopes up high.
        let facing_north = (dy / 0.5).clamp(-1.0, 1.0);
        let keeps_snow = above / 350.0 + 0.35 * facing_north + 1.6 * noise(3, 22.0, 4) + 0.012 * self.hollow(pixel);
        spectrum = blend(spectrum, FIRN, rise(0.5, 0.75, keeps_snow) * rise(1.0, 0.7, slope));
        // On glaciers: snow high up, firn, then bare ice, rubble towards the ends of tongues.
        let snow_line = above + 70.0 * noise(4, 30.0, 4);
        let dirt = 1.0 + 0.25 * noise(5, 8.0, 3);
        let mut glacier = blend(ICE.map(|r| r * dirt), FIRN, rise(-90.0, 0.0, snow_line));
        glacier = blend(glacier, SNOW, rise(40.0, 170.0, snow_line));
        let rubble = rise(0.2, 0.6, -above / 900.0 + 0.9 * noise(6, 14.0, 4) - 0.3);
        glacier = blend(glacier, rock, 0.85 * rubble);
        spectrum = blend(spectrum, glacier, land.ice[pixel]);
        blend(spectrum, WATER, land.lake[pixel])
    }

    /// How many metres the neighbours five pixels away lie above a pixel, on average.
    fn hollow(&self, pixel: usize) -> f64 {
        let side = self.land.side;
        let (row, col) = (pixel / side, pixel % side);
        let (up, down) = (row.saturating_sub(5), (row + 5).min(side - 1));
        let (left, right) = (col.saturating_sub(5), (col + 5).min(side - 1));
        let at = |r: usize, c: usize| self.land.altitude[r * side + c];
        (at(up, col) + at(down, col) + at(row, left) + at(row, right)) / 4.0 - at(row, col)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_for_one_seed() {
        let scene = |seed| SyntheticScene::generate(48, seed).expect("a size in range");
        let (a, b) = (scene(1), scene(1));
        assert_eq!((&a.optical, &a.elevation, &a.truth), (&b.optical, &b.elevation, &b.truth));
        assert_ne!(a.elevation, scene(2).elevation);
        for side in [0, 15, 5000] {
            assert!(SyntheticScene::generate(side, 1).is_err(), "{side}");
        }
    }

    #[test]
    fn looks_like_mountains() {
        for (side, seed) in [(16, 1), (97, 1), (128, 2), (128, 3)] {
            let scene = SyntheticScene::generate(side, seed).expect("a size in range");
            let pixels = side * side;
            assert!(scene.optical.iter().flatten().all(|r| (-0.05..1.9).contains(r)), "{side} {seed}");
            assert!(scene.elevation.iter().all(|z| (800.0..5000.0).contains(z)), "{side} {seed}");
            if side < 97 {
                continue;
            }
            let of_glacier = |band: usize, class: u8| {
                let chosen = scene.truth.iter().zip(&scene.optical[band]).filter(|(t, _)| **t == class);
                chosen.map(|(_, r)| f64::from(*r)).sum::<f64>()
                    / scene.truth.iter().filter(|t| **t == class).count() as f64
            };
            let part = scene.truth.iter().filter(|t| **t == 1).count() as f64 / pixels as f64;
            assert!((0.05..0.7).contains(&part), "{side} {seed}: {part}");
            // Snow and ice: bright in the visible, dark in SWIR; other ground the other way round.
            assert!(of_glacier(1, 1) > of_glacier(1, 0) && of_glacier(4, 1) < of_glacier(4, 0), "{side} {seed}");
            let ndsi =
                |class| (of_glacier(1, class) - of_glacier(4, class)) / (of_glacier(1, class) + of_glacier(4, class));
            assert!(ndsi(1) > 0.5 && ndsi(0) < 0.4, "{side} {seed}: {} {}", ndsi(1), ndsi(0));
        }
    }
}
