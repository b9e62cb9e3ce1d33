//! What a satellite's six optical bands see of the land, through the air and its clouds.

use rayon::prelude::*;

use super::cells::{Cells, quantile};
use super::conditions::{Air, Conditions, Sun};
use super::land::{Land, position};
use super::light::Light;
use super::rise;
use super::spectra::{self, Spectrum, blend};
use super::surface::Surface;
use crate::dataset::noise::{Random, fractal};

/// The bands and what cannot be seen in them.
#[derive(Debug, Clone)]
pub(super) struct Optical {
    /// Six bands of the working square; NaN where there is no data.
    pub(super) bands: Vec<Vec<f32>>,
    /// Pixels under thick cloud or without data: nobody can say what is there.
    pub(super) is_hidden: Vec<bool>,
    /// Opacity of clouds, 0 to 1.
    pub(super) cloud: Vec<f64>,
}

/// Takes the picture.
pub(super) fn picture(land: &Land, conditions: &Conditions, surfaces: &[Surface], light: &Light, seed: u64) -> Optical {
    let mut random = Random::new(seed, 30);
    let clouds = Clouds::new(land, conditions, random.bits());
    let haze = random.uniform(0.75, 1.4);
    let adjacency = random.uniform(0.0, 0.06);
    let lit: Vec<(Spectrum, [f64; 2])> = (0..surfaces.len())
        .into_par_iter()
        .map(|i| {
            let (x, y) = position(i, land.side, land.pixel);
            let shadow = clouds.shadow(x, y);
            // Higher up there is less air to scatter.
            let thin_air = libm::exp(-land.altitude[i].max(0.0) / 7000.0);
            let reflectance = surfaces[i].reflectance;
            let from_walls = 0.12 * (1.0 - land.sky[i]);
            let spectrum = std::array::from_fn(|band| {
                let sky = (spectra::SKYLIGHT[band] * haze * (0.35 + 0.65 * thin_air)).min(0.5);
                let direct = light.direct[i] * (1.0 - shadow) * (1.0 - sky);
                reflectance[band] * (direct + sky * land.sky[i] * (1.0 + 0.5 * shadow) + from_walls * (1.0 - shadow))
            });
            (spectrum, clouds.over(x, y))
        })
        .collect();
    let square = Cells { side: land.side, size: land.pixel };
    let gaps = conditions.sensor.has_gaps.then(|| Gaps::draw(&mut random));
    let noise = random.bits();
    let bands = (0..6_usize)
        .into_par_iter()
        .map(|band| {
            let plain: Vec<f64> = lit.iter().map(|(spectrum, _)| spectrum[band]).collect();
            let around = square.blur(&plain, 6);
            let mut seen: Vec<f64> = (0..plain.len())
                .map(|i| {
                    let ground = plain[i] + adjacency * (around[i] - plain[i]);
                    let through = through_air(ground, land.altitude[i], conditions.air, conditions.sun, band);
                    let [thin, thick] = lit[i].1;
                    let cirrus = if band > 3 { 0.75 * thin } else { thin };
                    let veiled = through + (spectra::ICE_CLOUD[band] - through) * cirrus;
                    veiled + (clouds.bright[band] - veiled) * thick
                })
                .collect();
            blur(&mut seen, land.side, conditions.sensor.blur, conditions.sensor.shift[band]);
            let saturation = if band < 3 { conditions.sensor.saturation.0 } else { conditions.sensor.saturation.1 };
            let mut random = Random::new(noise, band as u64);
            seen.iter()
                .enumerate()
                .map(|(i, value)| {
                    let value = value * conditions.sensor.gain[band];
                    let noisy = value + (conditions.sensor.noise + 0.004 * value.abs()) * random.normal();
                    if gaps.as_ref().is_some_and(|g| g.contain(i, land.side)) {
                        f32::NAN
                    } else {
                        super::narrow(noisy.min(saturation))
                    }
                })
                .collect()
        })
        .collect();
    let is_hidden = (0..surfaces.len())
        .map(|i| lit[i].1[1] > 0.5 || gaps.as_ref().is_some_and(|g| g.contain(i, land.side)))
        .collect();
    let cloud = lit.iter().map(|(_, [thin, thick])| 1.0 - (1.0 - thin) * (1.0 - thick)).collect();
    Optical { bands, is_hidden, cloud }
}

/// Reflectance as the sensor, or a correction that took out more or less than the air, gives it.
fn through_air(ground: f64, altitude: f64, air: Air, sun: Sun, band: usize) -> f64 {
    let amount = air.left_in * libm::exp(-altitude.max(0.0) / 8000.0) / libm::sin(sun.elevation).max(0.25).sqrt();
    ground * (1.0 - amount * spectra::AIR_LOSS[band]) + amount * spectra::AIR[band]
}

/// Clouds as functions of the place, so that their shadows can be found elsewhere.
struct Clouds {
    seed: u64,
    thin: f64,
    /// Level of the noise above which there is thick cloud; none for `None`.
    thick: Option<f64>,
    bright: Spectrum,
    /// From a pixel to what shades it, in units of 30 m.
    towards_sun: (f64, f64),
}

impl Clouds {
    fn new(land: &Land, conditions: &Conditions, seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let air = conditions.air;
        let height = random.uniform(700.0, 2200.0);
        let away = height / libm::tan(conditions.sun.elevation) / 30.0;
        let azimuth = conditions.sun.azimuth;
        let brightness = random.uniform(0.85, 1.1);
        let mut clouds = Self {
            seed,
            thin: air.thin,
            thick: None,
            bright: blend(&spectra::WATER_CLOUD, &spectra::ICE_CLOUD, air.icy).map(|r| r * brightness),
            towards_sun: (away * libm::sin(azimuth), -away * libm::cos(azimuth)),
        };
        if air.thick > 0.0 {
            let sample = (0..land.altitude.len()).step_by(37).map(|i| {
                let (x, y) = position(i, land.side, land.pixel);
                clouds.heaps(x, y)
            });
            clouds.thick = Some(quantile(sample.collect(), 1.0 - air.thick));
        }
        clouds
    }

    fn heaps(&self, x: f64, y: f64) -> f64 {
        fractal(self.seed ^ 1, x / 55.0, y / 55.0, 5) + 0.4 * fractal(self.seed ^ 2, x / 160.0, y / 160.0, 1)
    }

    fn thick(&self, x: f64, y: f64) -> f64 {
        self.thick.map_or(0.0, |level| rise(level - 0.03, level + 0.12, self.heaps(x, y)))
    }

    fn thin(&self, x: f64, y: f64) -> f64 {
        if self.thin <= 0.0 {
            return 0.0;
        }
        let veil = fractal(self.seed ^ 3, x / 110.0, y / 60.0, 4) + 0.25;
        1.0 - libm::exp(-self.thin * veil.max(0.0))
    }

    /// Opacity of thin and of thick cloud over a place.
    fn over(&self, x: f64, y: f64) -> [f64; 2] {
        [self.thin(x, y), self.thick(x, y)]
    }

    /// Part of the direct light that clouds keep from a place.
    fn shadow(&self, x: f64, y: f64) -> f64 {
        let (x, y) = (x + self.towards_sun.0, y + self.towards_sun.1);
        1.0 - (1.0 - 0.85 * self.thick(x, y)) * (1.0 - 0.5 * self.thin(x, y))
    }
}

/// Stripes without data, as Landsat 7 has since its scan line corrector failed in 2003.
struct Gaps {
    period: f64,
    width: f64,
    lean: f64,
    offset: f64,
}

impl Gaps {
    fn draw(random: &mut Random) -> Self {
        Self {
            period: random.uniform(22.0, 34.0),
            width: random.uniform(1.0, 6.0),
            lean: random.uniform(0.1, 0.25),
            offset: random.uniform(0.0, 30.0),
        }
    }

    fn contain(&self, pixel: usize, side: usize) -> bool {
        let at = ((pixel / side) as f64 + self.lean * (pixel % side) as f64 + self.offset) / self.period;
        (at - at.floor()) * self.period < self.width
    }
}

/// A bell of a deviation in pixels, off its place by a shift: the optics and a band's misregistration.
fn blur(field: &mut [f64], side: usize, deviation: f64, shift: [f64; 2]) {
    let kernel = |shift: f64| {
        let bell: [f64; 5] = std::array::from_fn(|k| {
            let off = (k as f64 - 2.0 - shift) / deviation;
            libm::exp(-0.5 * off * off)
        });
        let sum: f64 = bell.iter().sum();
        bell.map(|w| w / sum)
    };
    let (along, down) = (kernel(shift[0]), kernel(shift[1]));
    let last = side - 1;
    let mut rows = vec![0.0; field.len()];
    for row in 0..side {
        let line = &field[row * side..][..side];
        for (col, value) in rows[row * side..][..side].iter_mut().enumerate() {
            *value = (0..5).map(|k| along[k] * line[(col + k).saturating_sub(2).min(last)]).sum();
        }
    }
    for row in 0..side {
        for col in 0..side {
            field[row * side + col] =
                (0..5).map(|k| down[k] * rows[(row + k).saturating_sub(2).min(last) * side + col]).sum();
        }
    }
}
