//! What the glacier regions of the Earth are like: `datasets/synthetic_regions.json`, compiled in.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dataset::noise::Random;
use crate::error::{Error, Result};

/// The settings and where they come from.
const SETTINGS: &str = include_str!("../../../datasets/synthetic_regions.json");

/// From and to.
type Range = [f64; 2];

/// What kind of glaciers and mountains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Style {
    /// Tongues in valleys.
    Valley,
    /// Small glaciers under headwalls.
    Cirque,
    /// A plateau of ice with nunataks and outlets.
    Icefield,
    /// A dome of ice.
    IceCap,
    /// Tongues that calve into the sea.
    Tidewater,
    /// A single cone.
    Volcano,
}

/// Plants, or ground without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plants {
    Meadow,
    Conifers,
    DryGrass,
    Tundra,
    Bare,
}

/// Chances that a tile has clouds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloudChances {
    pub(super) thin: f64,
    pub(super) thick: f64,
}

/// A part of a region, with a box in degrees.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subregion {
    pub(super) name: String,
    pub(super) latitude: Range,
    pub(super) longitude: Range,
}

/// One region. Ranges are drawn from evenly; weights need not sum to 1.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) subregions: Vec<Subregion>,
    /// Altitude of the equilibrium line.
    pub(super) equilibrium_line_m: Range,
    /// From valley floor to summit.
    pub(super) relief_m: Range,
    /// Part of the land under ice.
    pub(super) ice_share: Range,
    pub(super) styles: BTreeMap<Style, f64>,
    /// Part of the ablation area under debris.
    pub(super) debris_share: Range,
    /// How far below the equilibrium line plants end.
    pub(super) vegetation_below_equilibrium_m: Range,
    pub(super) vegetation: BTreeMap<Plants, f64>,
    pub(super) sun_elevation_degrees: Range,
    /// Clockwise from the north.
    pub(super) sun_azimuth_degrees: Range,
    /// Where the snow of the year ends on glaciers.
    pub(super) snow_line_above_equilibrium_m: Range,
    /// Part of the ice-free ground under snow patches.
    pub(super) seasonal_snow: Range,
    pub(super) cloud: CloudChances,
    /// Weights of rocks, by the names of `spectra`.
    pub(super) rocks: BTreeMap<String, f64>,
    /// Per metre of altitude, above and below the equilibrium line.
    pub(super) balance_gradients_per_year: Range,
    pub(super) largest_balance_m_per_year: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[expect(dead_code, reason = "for readers of the file")]
    sources: Vec<String>,
    regions: Vec<Region>,
}

/// All regions, in the order of their names.
pub(super) fn all() -> Vec<Region> {
    // The text is compiled in and tested, so no input reaches this.
    let settings: Settings = serde_json::from_str(SETTINGS).expect("the built-in regions are valid JSON");
    settings.regions
}

/// The regions of these names, all for none.
///
/// # Errors
/// A name is no region's or comes twice.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Region>> {
    let all = all();
    if names.is_empty() {
        return Ok(all);
    }
    let known = all.iter().map(|r| r.name.clone()).collect::<Vec<_>>().join(", ");
    let mut chosen: Vec<Region> = Vec::new();
    for name in names {
        let Some(region) = all.iter().find(|r| r.name == *name) else {
            return Err(Error::bad_argument(
                format!("region '{name}'"),
                format!("some of {known}"),
                "correct the name",
            ));
        };
        if chosen.iter().any(|r| r.name == *name) {
            return Err(Error::bad_argument(format!("region {name} twice"), "each region once", "name it once"));
        }
        chosen.push(region.clone());
    }
    Ok(chosen)
}

/// A number from a range.
pub(super) fn draw(random: &mut Random, range: Range) -> f64 {
    random.uniform(range[0], range[1])
}

/// A key, as often as its weight says; `None` only if no weight is positive.
pub(super) fn pick<T: Clone + Ord>(random: &mut Random, weights: &BTreeMap<T, f64>) -> Option<T> {
    let sum: f64 = weights.values().sum();
    let mut at = random.uniform(0.0, sum);
    for (key, weight) in weights.iter().filter(|(_, weight)| **weight > 0.0) {
        at -= weight;
        if at < 0.0 {
            return Some(key.clone());
        }
    }
    weights.iter().rev().find(|(_, weight)| **weight > 0.0).map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::synthetic::spectra;

    #[test]
    fn eleven_sound_regions() {
        let regions = all();
        let names: Vec<&str> = regions.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["ALP", "AN", "AWA", "CA", "GR", "HMA", "LL", "NZ", "SA", "SC", "SVAL"]);
        for r in &regions {
            for range in [
                r.equilibrium_line_m,
                r.relief_m,
                r.ice_share,
                r.debris_share,
                r.vegetation_below_equilibrium_m,
                r.sun_elevation_degrees,
                r.sun_azimuth_degrees,
                r.snow_line_above_equilibrium_m,
                r.seasonal_snow,
            ] {
                assert!(range[0] <= range[1] && range.iter().all(|v| v.is_finite()), "{} {range:?}", r.name);
            }
            for s in &r.subregions {
                assert!(s.latitude[0] < s.latitude[1] && s.latitude.iter().all(|v| v.abs() < 84.0), "{}", s.name);
                assert!(s.longitude[0] < s.longitude[1] && s.longitude.iter().all(|v| v.abs() < 180.0), "{}", s.name);
            }
            assert!(r.rocks.keys().all(|name| spectra::rock(name).is_some()), "{}", r.name);
            assert!(r.styles.values().sum::<f64>() > 0.0 && r.vegetation.values().sum::<f64>() > 0.0, "{}", r.name);
            // The sun stands towards the equator.
            let south = r.subregions[0].latitude[0] < -20.0;
            assert_eq!(r.sun_azimuth_degrees[1] < 90.0, south, "{}", r.name);
        }
    }

    #[test]
    fn regions_by_name() {
        let names = |text: &[&str]| text.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        let found = chosen(&names(&["HMA", "ALP"])).expect("regions");
        assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("HMA", "ALP"));
        assert_eq!(chosen(&[]).map(|all| all.len()).ok(), Some(11));
        for bad in [names(&["alps"]), names(&["ALP", "ALP"])] {
            let message = chosen(&bad).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains("region"), "{message}");
        }
    }
}
