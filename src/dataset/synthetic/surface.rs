//! What lies on each pixel, and the reflectance of it on level ground.

use rayon::prelude::*;

use super::cells::{Cells, quantile};
use super::conditions::Conditions;
use super::land::{Land, Water, position};
use super::rise;
use super::spectra::{self, Spectrum, blend};
use crate::dataset::noise::{Random, fractal};

/// The parts of a pixel that radar and thermal sensors tell apart; they sum to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    pub(super) rock: f64,
    pub(super) plants: f64,
    pub(super) snow: f64,
    pub(super) ice: f64,
    pub(super) debris: f64,
    pub(super) water: f64,
}

impl Parts {
    fn cover(self, part: f64, with: Self) -> Self {
        let mix = |under: f64, over: f64| under + (over - under) * part;
        Self {
            rock: mix(self.rock, with.rock),
            plants: mix(self.plants, with.plants),
            snow: mix(self.snow, with.snow),
            ice: mix(self.ice, with.ice),
            debris: mix(self.debris, with.debris),
            water: mix(self.water, with.water),
        }
    }

    const ROCK: Self = Self { rock: 1.0, plants: 0.0, snow: 0.0, ice: 0.0, debris: 0.0, water: 0.0 };
    const PLANTS: Self = Self { rock: 0.0, plants: 1.0, snow: 0.0, ice: 0.0, debris: 0.0, water: 0.0 };
    const SNOW: Self = Self { rock: 0.0, plants: 0.0, snow: 1.0, ice: 0.0, debris: 0.0, water: 0.0 };
    const ICE: Self = Self { rock: 0.0, plants: 0.0, snow: 0.0, ice: 1.0, debris: 0.0, water: 0.0 };
    const DEBRIS: Self = Self { rock: 0.0, plants: 0.0, snow: 0.0, ice: 0.0, debris: 1.0, water: 0.0 };
    const WATER: Self = Self { rock: 0.0, plants: 0.0, snow: 0.0, ice: 0.0, debris: 0.0, water: 1.0 };
}

/// One pixel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surface {
    pub(super) reflectance: Spectrum,
    pub(super) parts: Parts,
}

/// The surfaces of all pixels of the working square. `facing_sun` is the light on each pixel without cast shadows.
pub(super) fn surfaces(land: &Land, conditions: &Conditions, facing_sun: &[f64], seed: u64) -> Vec<Surface> {
    let mut random = Random::new(seed, 20);
    let snow = seasonal_snow(land, conditions, facing_sun, random.bits());
    let square = Cells { side: land.side, size: land.pixel };
    let near_ice = square.blur(&land.ice, 10);
    let ground = Ground {
        land,
        conditions,
        seed: random.bits(),
        // Layers of sediment show as bands along the mountains.
        layers: if random.uniform(0.0, 1.0) < 0.45 { random.uniform(0.1, 0.4) } else { 0.0 },
        layer: random.uniform(60.0, 240.0),
        dip: [random.uniform(-0.25, 0.25), random.uniform(-0.25, 0.25)],
        is_blue: random.uniform(0.0, 1.0) < 0.15,
        ogives: if random.uniform(0.0, 1.0) < 0.3 { random.uniform(90.0, 220.0) } else { 0.0 },
        dust: random.uniform(0.0, 0.25) * conditions.snow_age,
        bergs: random.uniform(0.0, 1.0),
        snow,
        near_ice,
    };
    (0..land.altitude.len()).into_par_iter().map(|pixel| ground.surface(pixel)).collect()
}

/// The part of each pixel under snow outside glaciers: in gullies, at the foot of walls and in the shade, in the share asked for.
fn seasonal_snow(land: &Land, conditions: &Conditions, facing_sun: &[f64], seed: u64) -> Vec<f64> {
    let lowest = land.equilibrium_line + conditions.snow_line - 450.0;
    let score: Vec<f64> = (0..land.altitude.len())
        .into_par_iter()
        .map(|i| {
            let (x, y) = position(i, land.side, land.pixel);
            let steep = land.steepness(i);
            0.9 * (1.0 - facing_sun[i].min(1.6))
                + 0.07 * land.hollow[i].clamp(-25.0, 25.0)
                + (land.altitude[i] - lowest) / 420.0
                + 0.4 * fractal(seed, x / 25.0, y / 25.0, 4)
                - 2.0 * (steep - 1.1).max(0.0)
        })
        .collect();
    let free: Vec<f64> =
        (0..score.len()).filter(|&i| land.ice[i] < 0.5 && land.water[i] < 0.5).map(|i| score[i]).collect();
    let threshold = quantile(free, 1.0 - conditions.seasonal_snow).max(0.6);
    (0..score.len())
        .into_par_iter()
        .map(|i| {
            if land.water[i] > 0.5 || land.altitude[i] < lowest - 250.0 {
                return 0.0;
            }
            let (x, y) = position(i, land.side, land.pixel);
            // Rock shows through.
            let speckle = (0.8 + 0.8 * fractal(seed ^ 2, x / 1.7, y / 1.7, 2)).clamp(0.1, 1.0);
            rise(threshold - 0.08, threshold + 0.3, score[i]) * speckle
        })
        .collect()
}

struct Ground<'a> {
    land: &'a Land,
    conditions: &'a Conditions,
    seed: u64,
    layers: f64,
    layer: f64,
    dip: [f64; 2],
    is_blue: bool,
    ogives: f64,
    dust: f64,
    bergs: f64,
    snow: Vec<f64>,
    near_ice: Vec<f64>,
}

impl Ground<'_> {
    fn noise(&self, kind: u64, x: f64, y: f64, octaves: u32) -> f64 {
        fractal(self.seed.wrapping_add(64 * kind), x, y, octaves)
    }

    /// Each material covers a part of what lies below it.
    fn surface(&self, pixel: usize) -> Surface {
        let land = self.land;
        let (x, y) = position(pixel, land.side, land.pixel);
        let ice = land.ice[pixel];
        let rock = self.rock(pixel, x, y);
        let (mut reflectance, mut parts) = (rock, Parts::ROCK);
        let mut lay = |over: &Spectrum, part: f64, kind: Parts| {
            reflectance = blend(&reflectance, over, part);
            parts = parts.cover(part, kind);
        };
        if ice < 1.0 {
            let till = self.till(x, y);
            lay(&till, (0.9 * land.forefield[pixel]).max(0.9 * land.outwash[pixel]), Parts::ROCK);
            for (kind, plants) in (0_u8..).zip(&self.conditions.plants) {
                let part = self.plants(pixel, x, y, kind);
                lay(plants, part, Parts::PLANTS);
            }
            let stream = land.outwash[pixel] * rise(0.085, 0.03, self.noise(2, x / 11.0, y / 11.0, 3).abs());
            lay(&water(0.75), 0.75 * stream, Parts::WATER);
            let old_snow = blend(&spectra::COARSE_SNOW, &spectra::FIRN, 0.35 + 0.4 * self.conditions.snow_age);
            lay(&old_snow, 0.93 * self.snow[pixel], Parts::SNOW);
        }
        if ice > 0.0 {
            let (glacier, kind) = self.glacier(pixel, x, y);
            lay(&glacier, ice, kind);
        }
        if let Some(kind) = land.water_kind[pixel] {
            let (water, kind) = self.water(kind, pixel, x, y);
            lay(&water, land.water[pixel], kind);
        }
        Surface { reflectance, parts }
    }

    fn rock(&self, pixel: usize, x: f64, y: f64) -> Spectrum {
        let rocks = &self.conditions.rocks;
        let (bend_x, bend_y) = (self.noise(0, x / 60.0, y / 60.0, 2), self.noise(1, x / 60.0, y / 60.0, 2));
        let province = self.noise(3, x / 150.0 + 0.5 * bend_x, y / 150.0 + 0.5 * bend_y, 2);
        let mut rock = blend(&rocks[0], &rocks[1], rise(-0.06, 0.06, province));
        let altitude = self.land.altitude[pixel];
        let layered = (altitude + 30.0 * (self.dip[0] * x + self.dip[1] * y) + 60.0 * bend_x) / self.layer;
        let band = self.noise(4, layered, 0.3 * bend_y, 2) / 0.6;
        rock = blend(&rock, &rocks[2], rise(0.25, 0.6, band) * (0.2 + 1.6 * self.layers).min(0.8));
        let texture = 1.0
            + self.layers * band
            + 0.3 * self.noise(5, x / 30.0, y / 30.0, 3)
            + 0.22 * self.noise(6, x / 2.5, y / 2.5, 2);
        rock.map(|r| r * texture.clamp(0.35, 1.8))
    }

    /// Fresh rubble of all the rocks around.
    fn till(&self, x: f64, y: f64) -> Spectrum {
        let rocks = &self.conditions.rocks;
        let mixed = blend(&rocks[0], &rocks[1], 0.5 + 0.4 * self.noise(7, x / 40.0, y / 40.0, 2));
        let texture = 1.12 + 0.2 * self.noise(8, x / 9.0, y / 9.0, 3);
        mixed.map(|r| r * texture)
    }

    /// The part under plants of one kind: the second kind grows lower.
    fn plants(&self, pixel: usize, x: f64, y: f64, kind: u8) -> f64 {
        let land = self.land;
        let limit = land.equilibrium_line - self.conditions.plants_below - 260.0 * f64::from(kind);
        let patchy = 130.0 * self.noise(9 + u64::from(kind), x / 22.0, y / 22.0, 4);
        let steep = land.steepness(pixel);
        let below = limit - land.altitude[pixel] + patchy - 140.0 * steep;
        rise(0.0, 170.0, below)
            * rise(1.05, 0.65, steep)
            * (1.0 - land.forefield[pixel])
            * (1.0 - 0.9 * land.outwash[pixel])
            * 0.92
    }

    fn glacier(&self, pixel: usize, x: f64, y: f64) -> (Spectrum, Parts) {
        let (land, conditions) = (self.land, self.conditions);
        let above = land.altitude[pixel] - land.equilibrium_line;
        let stripe = land.flow_line[pixel];
        let steep = land.steepness(pixel);
        // Bare ice: darker further down, striped along the flow, banded across it below icefalls, broken where it is steep.
        let low = (-above / 500.0).clamp(0.0, 1.0);
        let wet = (0.35 + 0.5 * low + 0.5 * self.noise(12, x / 25.0, y / 25.0, 3)).clamp(0.0, 1.0);
        let mut ice = blend(&spectra::ICE, &spectra::WET_ICE, wet);
        if self.is_blue {
            ice = blend(&ice, &spectra::BLUE_ICE, 0.8 * rise(0.0, 0.4, self.noise(13, x / 30.0, y / 30.0, 3)));
        }
        let dirt = conditions.dirt * (0.15 + 0.6 * low) + 0.55 * stripe.max(0.0) * conditions.dirt + 0.12 * stripe;
        ice = blend(&ice, &spectra::DIRTY_ICE, dirt.clamp(0.0, 0.9));
        let mut shade = 1.0 + 0.14 * stripe + 0.1 * self.noise(14, x / 6.0, y / 6.0, 3);
        if self.ogives > 0.0 && above < 0.0 {
            let phase = land.travelled[pixel] / self.ogives;
            shade += 0.09 * (2.0 * (2.0 * (phase - phase.floor()) - 1.0).abs() - 1.0);
        }
        let crevasses = rise(0.18, 0.45, steep) * self.noise(15, x / 1.8, y / 1.8, 2).abs();
        ice = ice.map(|r| r * (shade - 0.5 * crevasses).clamp(0.55, 1.4));
        // Firn above the equilibrium line, snow above the line of the season, in patches near it.
        let patchy = 70.0 * self.noise(16, x / 16.0, y / 16.0, 3) + 1.2 * land.hollow[pixel].clamp(-20.0, 20.0);
        let firn_shade = 1.0 + 0.08 * self.noise(17, x / 10.0, y / 10.0, 3);
        let firn = spectra::FIRN.map(|r| r * firn_shade);
        let mut glacier = blend(&ice, &firn, rise(-40.0, 70.0, above + patchy));
        let snow_cover = rise(-60.0, 60.0, above - conditions.snow_line + 1.3 * patchy) * (1.0 - 0.35 * crevasses);
        let age = (conditions.snow_age - above / 1200.0 + 0.2 * self.noise(18, x / 40.0, y / 40.0, 2)).clamp(0.0, 1.0);
        let mut snow = blend(&spectra::FINE_SNOW, &spectra::COARSE_SNOW, age);
        for (band, loss) in [(0, 0.30), (1, 0.22), (2, 0.14), (3, 0.06)] {
            snow[band] *= 1.0 - loss * self.dust;
        }
        glacier = blend(&glacier, &snow, snow_cover);
        let mut parts = Parts::ICE.cover(snow_cover, Parts::SNOW);
        let covered = land.debris[pixel];
        if covered > 0.0 {
            let rocks = &conditions.rocks;
            let source = blend(&rocks[0], &rocks[1], rise(-0.15, 0.15, stripe));
            let texture = 1.0
                + 0.15 * stripe
                + 0.2 * self.noise(19, x / 3.0, y / 3.0, 2)
                + 0.15 * self.noise(20, x / 12.0, y / 12.0, 2);
            let mut debris = source.map(|r| r * texture.clamp(0.5, 1.5));
            let mut kind = Parts::DEBRIS;
            // Cliffs and ponds.
            let spot = self.noise(21, x / 4.0, y / 4.0, 2);
            if spot > 0.42 {
                debris = blend(&debris, &spectra::DIRTY_ICE, 0.8 * rise(0.42, 0.55, spot));
                kind = kind.cover(0.7 * rise(0.42, 0.55, spot), Parts::ICE);
            } else if spot < -0.5 && steep < 0.2 {
                debris = blend(&debris, &water(0.8), 0.85 * rise(-0.5, -0.6, spot));
                kind = kind.cover(0.8 * rise(-0.5, -0.6, spot), Parts::WATER);
            }
            glacier = blend(&glacier, &debris, 0.97 * covered);
            parts = parts.cover(covered, kind);
        }
        (glacier, parts)
    }

    fn water(&self, kind: Water, pixel: usize, x: f64, y: f64) -> (Spectrum, Parts) {
        match kind {
            Water::Frozen => {
                let snow = rise(-0.1, 0.3, self.noise(22, x / 8.0, y / 8.0, 3));
                let open = rise(0.25, 0.4, self.noise(23, x / 10.0, y / 10.0, 3));
                let frozen = blend(&spectra::LAKE_ICE, &spectra::COARSE_SNOW, 0.6 * snow);
                let parts = Parts::WATER.cover(0.7 * (1.0 - open), Parts::ICE);
                (blend(&frozen, &spectra::CLEAR_WATER, open), parts)
            }
            Water::Open { turbidity } => {
                let plume = (turbidity + 0.25 * turbidity * self.noise(24, x / 20.0, y / 20.0, 2)).clamp(0.0, 1.0);
                let mut spectrum = water(plume);
                let mut parts = Parts::WATER;
                // Bergs and brash ice off calving fronts.
                let near = self.near_ice[pixel];
                if near > 0.01 {
                    let floating = self.noise(25, x / 2.2, y / 2.2, 2) + 0.7 * self.noise(26, x / 18.0, y / 18.0, 2);
                    let part = 0.8 * self.bergs * rise(0.75 - 0.5 * near, 1.0 - 0.3 * near, floating);
                    spectrum = blend(&spectrum, &spectra::ICE, part);
                    parts = parts.cover(part, Parts::ICE);
                }
                (spectrum, parts)
            }
        }
    }
}

/// Water with glacial flour, 0 none to 1 much.
fn water(turbidity: f64) -> Spectrum {
    if turbidity < 0.5 {
        blend(&spectra::CLEAR_WATER, &spectra::TURQUOISE_WATER, 2.0 * turbidity)
    } else {
        blend(&spectra::TURQUOISE_WATER, &spectra::GREY_WATER, 2.0 * turbidity - 1.0)
    }
}
