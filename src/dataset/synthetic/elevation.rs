//! The elevation model of the land, with its errors.

use rayon::prelude::*;

use super::cells::Cells;
use super::conditions::Conditions;
use super::land::{Land, crop, position};
use super::rise;
use crate::dataset::noise::{Random, fractal};
use crate::error::Result;
use crate::raster::{Grid, slope_degrees};

/// Elevation in metres and slope in degrees of the tile.
#[derive(Debug, Clone)]
pub(super) struct Elevation {
    pub(super) metres: Vec<f32>,
    pub(super) slope: Vec<f32>,
}

/// Measures the land: from another year, less sharp, with errors of some metres that have a size of some pixels, and with voids that
/// somebody has filled smoothly. The slope is derived from the result, as the program does with real elevation models.
pub(super) fn measure(land: &Land, conditions: &Conditions, tile: usize, seed: u64) -> Result<Elevation> {
    let mut random = Random::new(seed, 40);
    let square = Cells { side: land.side, size: land.pixel };
    let years = random.uniform(0.0, 1.2);
    let error = random.uniform(0.3, 2.2);
    let wide_error = random.uniform(0.5, 5.0);
    let sharp = random.uniform(0.2, 1.0);
    let has_voids = random.uniform(0.0, 1.0) < 0.2;
    let (noise, voids) = (random.bits(), random.bits());
    let then: Vec<f64> = land.altitude.iter().zip(&land.thinning).map(|(z, t)| z + years * t.max(0.0)).collect();
    let even = square.blur(&then, 1);
    let filled = if has_voids { square.blur(&then, 8) } else { Vec::new() };
    let measured: Vec<f64> = (0..then.len())
        .into_par_iter()
        .map(|i| {
            let (x, y) = position(i, land.side, land.pixel);
            let steep = land.steepness(i).min(1.5);
            let rough = error * (0.6 + 1.6 * steep) * (1.0 - 0.7 * land.water[i]);
            let z = even[i] + sharp * (then[i] - even[i]);
            let mut z = z
                + rough * fractal(noise, x / 3.0, y / 3.0, 2) / 0.35 * 0.5
                + wide_error * fractal(noise ^ 1, x / 40.0, y / 40.0, 2);
            if has_voids {
                z += (filled[i] - z) * rise(0.55, 0.65, fractal(voids, x / 15.0, y / 15.0, 2));
            }
            z
        })
        .collect();
    let metres: Vec<f32> = crop(&measured, land.side, tile).into_iter().map(super::narrow).collect();
    let grid = Grid {
        width: tile,
        height: tile,
        transform: [conditions.pixel, 0.0, 0.0, 0.0, -conditions.pixel, 0.0],
        crs: None,
    };
    let slope = slope_degrees(&metres, &grid)?;
    Ok(Elevation { metres, slope })
}
