//! What is drawn for one tile: mountains, climate, season, sun, air and sensor.

use super::ice::Climate;
use super::land::meets_sea;
use super::region::{Region, Style, draw, pick};
use super::relief::Form;
use super::spectra::{self, Spectrum};
use crate::dataset::noise::Random;

/// Where the sun stands, in radians.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sun {
    pub(super) elevation: f64,
    /// Clockwise from the north.
    pub(super) azimuth: f64,
}

/// The air between ground and sensor, and the clouds in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Air {
    /// 1 leaves the air in (top of the atmosphere); 0 is surface reflectance; below 0 too much was taken out.
    pub(super) left_in: f64,
    /// Largest optical depth of thin cloud; 0 for none.
    pub(super) thin: f64,
    /// Part of the tile under thick cloud; 0 for none.
    pub(super) thick: f64,
    /// How much of the thick clouds is ice, 0 to 1.
    pub(super) icy: f64,
}

/// What the sensor does to the light.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sensor {
    /// Calibration error per band.
    pub(super) gain: Spectrum,
    /// Shift per band in pixels, to the east and to the south.
    pub(super) shift: [[f64; 2]; 6],
    /// Deviation of the blur in pixels.
    pub(super) blur: f64,
    pub(super) noise: f64,
    /// The brightest value that is told apart in the visible and in the other bands.
    pub(super) saturation: (f64, f64),
    /// Whether stripes are missing.
    pub(super) has_gaps: bool,
}

/// Everything drawn for one tile.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    pub(super) pixel: f64,
    pub(super) form: Form,
    pub(super) climate: Climate,
    /// Part of the land below the sea's level.
    pub(super) sea: Option<f64>,
    /// The altitude that the equilibrium line shall have; by the sea it follows from the ground.
    pub(super) equilibrium_line: Option<f64>,
    pub(super) debris_share: f64,
    /// How much more of a tongue is covered further down.
    pub(super) debris_widening: f64,
    pub(super) sun: Sun,
    /// Of the snow on glaciers, above the equilibrium line.
    pub(super) snow_line: f64,
    /// Part of the ice-free ground.
    pub(super) seasonal_snow: f64,
    /// Size of the snow's grains, 0 fine to 1 coarse.
    pub(super) snow_age: f64,
    /// How dark bare ice is, 0 to 1.
    pub(super) dirt: f64,
    pub(super) rocks: Vec<Spectrum>,
    /// How far below the equilibrium line plants end.
    pub(super) plants_below: f64,
    pub(super) plants: Vec<Spectrum>,
    pub(super) air: Air,
    pub(super) sensor: Sensor,
    /// Latitude and longitude of the centre, in degrees.
    pub(super) centre: (f64, f64),
    pub(super) subregion: String,
}

impl Conditions {
    /// Draws a tile of `side` pixels of `pixel` metres in a region; pixels of 15, 20 or 30 m for `None`.
    pub(super) fn draw(region: &Region, side: usize, pixel: Option<f64>, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let r = &mut random;
        let pixel_draw = r.uniform(0.0, 1.0);
        let pixel = pixel.unwrap_or(match pixel_draw {
            p if p < 0.6 => 30.0,
            p if p < 0.85 => 20.0,
            _ => 15.0,
        });
        let extent = (side as f64 * pixel).max(2000.0);
        let style = pick(r, &region.styles).unwrap_or(Style::Valley);
        let share = draw(r, region.ice_share)
            * match style {
                Style::Cirque => 0.55,
                Style::Volcano => 0.7,
                Style::Valley | Style::Tidewater => 1.0,
                Style::Icefield | Style::IceCap => 1.25,
            };
        // Small windows see a part of a mountain.
        let relief = draw(r, region.relief_m)
            * (extent / 9000.0).clamp(0.3, 1.1)
            * match style {
                Style::IceCap => 0.75,
                Style::Icefield => 0.9,
                Style::Valley | Style::Cirque | Style::Tidewater | Style::Volcano => 1.0,
            };
        let form = Form { style, mountain: r.uniform(3200.0, 7500.0), relief, glacial: r.uniform(0.35, 1.0) };
        let sun = Sun {
            elevation: draw(r, region.sun_elevation_degrees).to_radians(),
            azimuth: draw(r, region.sun_azimuth_degrees).to_radians(),
        };
        let subregion = &region.subregions[super::cells::index(r.uniform(0.0, region.subregions.len() as f64))];
        let centre = (draw(r, subregion.latitude), draw(r, subregion.longitude));
        let polewards = if centre.0 < 0.0 { 1.0 } else { -1.0 };
        let debris_share = draw(r, region.debris_share) * r.uniform(0.3, 1.2);
        let [gain_up, gain_down] = region.balance_gradients_per_year;
        let climate = Climate {
            // Fronts that stand in the sea need much ice behind them.
            share: share.clamp(if meets_sea(style) { 0.35 } else { 0.14 }, 0.57),
            // Under debris ice melts more slowly.
            gradients: (gain_up, gain_down * (1.0 - 0.9 * debris_share.min(0.5)) * r.uniform(0.7, 1.3)),
            cap: region.largest_balance_m_per_year * r.uniform(0.7, 1.2),
            // At the equator the sun shades no side.
            shade_effect: r.uniform(60.0, 200.0) * (centre.0.abs() / 35.0).min(1.0),
            shaded: (r.uniform(-0.5, 0.5), polewards),
            warming: r.uniform(20.0, 110.0) * if meets_sea(style) { 0.3 } else { 1.0 },
            has_sea: meets_sea(style),
        };
        let rocks = (0..3).map(|_| rock(region, r)).collect();
        let plants: Vec<Spectrum> = (0..2)
            .filter_map(|_| {
                let kind = pick(r, &region.vegetation)?;
                spectra::plants(kind).map(|s| vary(&s, 0.25, r))
            })
            .collect();
        let air = Air {
            left_in: match r.uniform(0.0, 1.0) {
                p if p < 0.3 => r.uniform(0.7, 1.15),
                p if p < 0.45 => r.uniform(0.1, 0.7),
                _ => r.uniform(-0.35, 0.15),
            },
            thin: if r.uniform(0.0, 1.0) < region.cloud.thin { r.uniform(0.1, 0.75) } else { 0.0 },
            thick: if r.uniform(0.0, 1.0) < region.cloud.thick { r.uniform(0.005, 0.07) } else { 0.0 },
            icy: r.uniform(0.0, 1.0),
        };
        let saturation = if r.uniform(0.0, 1.0) < 0.2 { (r.uniform(0.65, 1.0), 1.2) } else { (1.6, 1.6) };
        let sensor = Sensor {
            gain: std::array::from_fn(|_| 1.0 + r.uniform(-0.05, 0.05)),
            shift: std::array::from_fn(|_| [r.uniform(-0.25, 0.25), r.uniform(-0.25, 0.25)]),
            blur: r.uniform(0.3, 0.75),
            noise: r.uniform(0.001, 0.006),
            saturation,
            has_gaps: r.uniform(0.0, 1.0) < 0.03,
        };
        Self {
            pixel,
            form,
            climate,
            sea: meets_sea(style).then(|| r.uniform(0.1, 0.32)),
            equilibrium_line: (!meets_sea(style)).then(|| draw(r, region.equilibrium_line_m)),
            debris_share,
            debris_widening: r.uniform(0.1, 0.6),
            sun,
            snow_line: draw(r, region.snow_line_above_equilibrium_m),
            seasonal_snow: draw(r, region.seasonal_snow) * r.uniform(0.2, 1.0),
            snow_age: r.uniform(0.15, 1.0),
            dirt: r.uniform(0.0, 1.0),
            rocks,
            plants_below: draw(r, region.vegetation_below_equilibrium_m),
            plants: if r.uniform(0.0, 1.0) < 0.85 { plants } else { Vec::new() },
            air,
            sensor,
            centre,
            subregion: subregion.name.clone(),
        }
    }
}

/// A rock of the region: weathered or fresh, lighter or darker, redder or bluer than the library's.
fn rock(region: &Region, random: &mut Random) -> Spectrum {
    let name = pick(random, &region.rocks).unwrap_or_default();
    let library = spectra::rock(&name).unwrap_or([0.15, 0.18, 0.21, 0.245, 0.29, 0.26]);
    let tilt = random.uniform(-0.12, 0.12);
    let varied = vary(&library, 0.35, random);
    std::array::from_fn(|band| (varied[band] * (1.0 + tilt * (band as f64 - 2.5) / 2.5)).min(0.75))
}

/// A spectrum lighter or darker by up to `part`, with a little of its own in each band.
fn vary(spectrum: &Spectrum, part: f64, random: &mut Random) -> Spectrum {
    let scale = 1.0 + random.uniform(-part, part);
    spectrum.map(|r| r * scale * (1.0 + random.uniform(-0.05, 0.05)))
}
