//! What a C-band radar and a thermal sensor see of the land.
//!
//! Backscatter: Ulaby and Dobson (1989, Handbook of Radar Scattering Statistics for Terrain) for rock, plants and water; Nagler et al.
//! (2016, Remote Sensing 8, 348) for wet snow; Rott and Davis (1993, Annals of Glaciology 17) for ice. Coherence over twelve days: Atwood
//! et al. (2010, Canadian J. Remote Sensing 36, S67): high on rock, lost on ice, water and plants. Brightness temperature: ice melts at
//! 273.15 K, debris warms in the sun (Foster et al. 2012, J. Glaciol. 58, 677).

use rayon::prelude::*;

use super::cells::Cells;
use super::conditions::Conditions;
use super::land::{Land, position};
use super::light::Light;
use super::rise;
use super::surface::{Parts, Surface};
use crate::dataset::noise::{Random, fractal};

/// Two orbits, ascending and descending.
pub(super) type Orbits = [Vec<f32>; 2];

/// Backscatter of a tile: sigma0, linear.
#[derive(Debug, Clone)]
pub(super) struct Backscatter {
    pub(super) co_polarised: Orbits,
    pub(super) cross_polarised: Orbits,
}

/// Incidence on level ground (38 degrees) and its sine and cosine.
const INCIDENCE: (f64, f64) = (0.615_661, 0.788_011);

/// Where the radar stands, east and south of the land.
const LOOKS: [(f64, f64); 2] = [(-0.98, 0.17), (0.98, 0.17)];

/// Cosine of the incidence on a pixel, seen from one orbit; below 0 in radar shadow.
fn cosine(land: &Land, pixel: usize, look: (f64, f64)) -> f64 {
    let [dx, dy] = land.slope[pixel];
    (INCIDENCE.1 - INCIDENCE.0 * (dx * look.0 + dy * look.1)) / (1.0 + dx * dx + dy * dy).sqrt()
}

/// Slopes that face the radar more steeply than it looks down are folded over.
fn layover(land: &Land, pixel: usize, look: (f64, f64)) -> f64 {
    let [dx, dy] = land.slope[pixel];
    rise(0.7, 1.1, -(dx * look.0 + dy * look.1))
}

/// Backscatter with speckle.
pub(super) fn backscatter(land: &Land, surfaces: &[Surface], seed: u64) -> Backscatter {
    let mut random = Random::new(seed, 50);
    // In decibels: rock, plants, snow (wet or refrozen), ice, debris, calm to windy water.
    let wet_snow = random.uniform(-23.0, -16.0);
    let snow = if random.uniform(0.0, 1.0) < 0.75 { wet_snow } else { random.uniform(-10.0, -4.0) };
    let co = [
        random.uniform(-11.0, -7.0),
        random.uniform(-13.0, -9.5),
        snow,
        random.uniform(-15.0, -10.0),
        random.uniform(-11.0, -7.5),
        random.uniform(-24.0, -15.0),
    ];
    let cross = [co[0] - 7.5, co[1] - 5.5, co[2] - 6.5, co[3] - 7.0, co[4] - 7.0, co[5] - 8.5];
    let looks = random.uniform(4.0, 16.0);
    let exponent = random.uniform(0.8, 2.0);
    let texture = random.bits();
    let mut orbit = |powers: [f64; 6], look: usize| -> Vec<f32> {
        let linear = powers.map(|db| libm::pow(10.0, db / 10.0));
        let noise = random.bits();
        let towards = LOOKS[look];
        (0..land.side)
            .into_par_iter()
            .flat_map_iter(|row| {
                let mut random = Random::new(noise, row as u64);
                (row * land.side..(row + 1) * land.side).map(move |i| {
                    let (x, y) = position(i, land.side, land.pixel);
                    let uneven = libm::exp(0.5 * fractal(texture, x / 14.0, y / 14.0, 3));
                    let cosine = cosine(land, i, towards);
                    let geometry = if cosine > 0.02 {
                        libm::pow(cosine / INCIDENCE.1, exponent) / (1.0 - cosine * cosine).max(0.03).sqrt()
                            * INCIDENCE.0
                    } else {
                        0.0
                    };
                    let power = mix(&surfaces[i].parts, &linear)
                        * uneven
                        * geometry.clamp(0.0, 5.0)
                        * (1.0 + 2.5 * layover(land, i, towards));
                    super::narrow(power * speckle(looks, &mut random) + 0.0015)
                })
            })
            .collect()
    };
    Backscatter { co_polarised: [orbit(co, 0), orbit(co, 1)], cross_polarised: [orbit(cross, 0), orbit(cross, 1)] }
}

fn mix(parts: &Parts, of: &[f64; 6]) -> f64 {
    parts.rock * of[0]
        + parts.plants * of[1]
        + parts.snow * of[2]
        + parts.ice * of[3]
        + parts.debris * of[4]
        + parts.water * of[5]
}

/// A gamma variable of mean 1 with as many looks, by Wilson and Hilferty's cube (1931).
fn speckle(looks: f64, random: &mut Random) -> f64 {
    let third = 1.0 - 1.0 / (9.0 * looks) + random.normal() / (3.0 * looks.sqrt());
    (third * third * third).max(0.02)
}

/// Coherence of two passes twelve days apart, 0 to 1.
pub(super) fn coherence(land: &Land, surfaces: &[Surface], seed: u64) -> Orbits {
    let mut random = Random::new(seed, 51);
    let square = Cells { side: land.side, size: land.pixel };
    let of = [
        random.uniform(0.7, 0.92),
        random.uniform(0.2, 0.45),
        random.uniform(0.12, 0.28),
        random.uniform(0.12, 0.3),
        random.uniform(0.2, 0.42),
        random.uniform(0.06, 0.15),
    ];
    let base: Vec<f64> = surfaces.iter().map(|s| mix(&s.parts, &of)).collect();
    // It is estimated over windows of some pixels.
    let base = square.blur(&base, 1);
    let texture = random.bits();
    std::array::from_fn(|look| {
        let noise = random.bits();
        (0..land.side)
            .into_par_iter()
            .flat_map_iter(|row| {
                let mut random = Random::new(noise, row as u64);
                let base = &base;
                (row * land.side..(row + 1) * land.side).map(move |i| {
                    let (x, y) = position(i, land.side, land.pixel);
                    let uneven = 1.0 + 0.35 * fractal(texture.wrapping_add(look as u64), x / 18.0, y / 18.0, 3);
                    let seen = if cosine(land, i, LOOKS[look]) < 0.05 { 0.15 } else { 1.0 };
                    let value = base[i] * uneven * seen * (1.0 - 0.6 * layover(land, i, LOOKS[look]));
                    super::narrow((value + 0.09 * (1.0 - value) * random.normal()).clamp(0.0, 0.99))
                })
            })
            .collect()
    })
}

/// Brightness temperature in kelvin.
pub(super) fn brightness_temperature(
    land: &Land,
    conditions: &Conditions,
    surfaces: &[Surface],
    light: &Light,
    cloud: &[f64],
    seed: u64,
) -> Vec<f32> {
    let mut random = Random::new(seed, 52);
    // At the equilibrium line a summer day has a few degrees.
    let air_at_line = 273.15 + random.uniform(0.0, 7.0);
    let sun_strength = random.uniform(8.0, 18.0) * libm::sin(conditions.sun.elevation).max(0.2);
    let air_takes = random.uniform(0.0, 4.0);
    let temperature: Vec<f64> = (0..surfaces.len())
        .into_par_iter()
        .map(|i| {
            let air = air_at_line - 0.0062 * (land.altitude[i] - land.equilibrium_line);
            let sunlit = light.direct[i].min(2.0);
            let dry = air - 2.0 + sun_strength * sunlit;
            let cold = (air - 1.5 + 1.5 * sunlit).min(273.15);
            let p = surfaces[i].parts;
            // Debris a few centimetres thick is warm in the sun; below it is ice.
            let debris = 273.15 + ((dry - 273.15) * 0.7).max(-3.0);
            let water = (0.5 * air + 0.5 * 277.0).clamp(273.5, 287.0);
            let ground = p.rock * dry
                + p.plants * (air + 0.4 * sun_strength * sunlit)
                + (p.snow + p.ice) * cold
                + p.debris * debris
                + p.water * water;
            let emitted = ground - air_takes - 1.2 * (1.0 - p.water) * p.rock;
            emitted + (air.min(268.0) - 12.0 - emitted) * 0.8 * cloud[i]
        })
        .collect();
    // Thermal pixels measure some 100 m.
    let blurred = Cells { side: land.side, size: land.pixel }.blur(&temperature, 1);
    blurred.iter().map(|t| super::narrow(t + 0.35 * random.normal())).collect()
}
