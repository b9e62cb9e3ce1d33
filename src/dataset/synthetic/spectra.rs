//! Reflectances of what lies around glaciers in the six bands, and how it looks to a radar and a thermal sensor.
//!
//! Numbers are rounded to what the sources describe for the bands of Landsat 8 and Sentinel-2. Between tiles they vary by more than the
//! rounding.

use super::region::Plants;

/// Reflectance of level ground: blue, green, red, NIR, SWIR1, SWIR2.
pub(super) type Spectrum = [f64; 6];

// Snow and firn: Wiscombe and Warren (1980, J. Atmos. Sci. 37, 2712) and Warren (1982, Rev. Geophys. 20, 67): near 1 in the visible, less in
// the near infrared as grains grow, almost black beyond 1.5 micrometres. Grains of 0.1 and 1 mm; firn with dust.
pub(super) const FINE_SNOW: Spectrum = [0.96, 0.96, 0.95, 0.88, 0.19, 0.15];
pub(super) const COARSE_SNOW: Spectrum = [0.90, 0.90, 0.89, 0.73, 0.05, 0.04];
pub(super) const FIRN: Spectrum = [0.70, 0.71, 0.69, 0.54, 0.045, 0.035];
// Glacier ice: Zeng, Cao, Feng, Liang and Chen (1984, Annals of Glaciology 5); Hall, Bindschadler, Foster, Chang and Siddalingaiah (1990,
// Int. J. Remote Sensing 11, 493); Naegeli et al. (2017, Remote Sensing 9, 110) for dirty ice.
pub(super) const ICE: Spectrum = [0.50, 0.51, 0.47, 0.31, 0.03, 0.02];
pub(super) const BLUE_ICE: Spectrum = [0.66, 0.63, 0.54, 0.27, 0.01, 0.01];
pub(super) const WET_ICE: Spectrum = [0.36, 0.37, 0.33, 0.17, 0.012, 0.01];
pub(super) const DIRTY_ICE: Spectrum = [0.20, 0.215, 0.215, 0.165, 0.05, 0.04];
// Water: Giardino et al. (2010, Mountain Research and Development 30, 157) for Himalayan lakes with glacial flour; Kirk (2011, Light and
// Photosynthesis in Aquatic Ecosystems) for clear water.
pub(super) const CLEAR_WATER: Spectrum = [0.045, 0.035, 0.02, 0.008, 0.004, 0.003];
pub(super) const TURQUOISE_WATER: Spectrum = [0.13, 0.165, 0.10, 0.025, 0.006, 0.005];
pub(super) const GREY_WATER: Spectrum = [0.19, 0.235, 0.245, 0.15, 0.015, 0.010];
/// Ice on a lake or the sea, rotten in summer.
pub(super) const LAKE_ICE: Spectrum = [0.48, 0.49, 0.46, 0.32, 0.035, 0.025];
// Clouds: Dozier (1989, Remote Sensing of Environment 28, 9): bright in SWIR where snow is dark; less so if of ice.
pub(super) const WATER_CLOUD: Spectrum = [0.78, 0.77, 0.78, 0.80, 0.60, 0.46];
pub(super) const ICE_CLOUD: Spectrum = [0.74, 0.73, 0.74, 0.75, 0.36, 0.30];

// Rocks and plants: the ranges of the USGS Spectral Library Version 7 (Kokaly et al. 2017, USGS Data Series 1035) for weathered surfaces;
// debris on glaciers has the spectrum of the rock it comes from (Casey et al. 2012, The Cryosphere 6, 85).
const ROCKS: [(&str, Spectrum); 17] = [
    ("granite", [0.20, 0.24, 0.27, 0.31, 0.35, 0.32]),
    ("gneiss", [0.14, 0.16, 0.185, 0.215, 0.26, 0.23]),
    ("schist", [0.13, 0.155, 0.175, 0.205, 0.25, 0.215]),
    ("limestone", [0.28, 0.33, 0.37, 0.41, 0.45, 0.39]),
    ("dolomite", [0.38, 0.43, 0.47, 0.50, 0.53, 0.45]),
    ("quartzite", [0.30, 0.35, 0.40, 0.44, 0.48, 0.44]),
    ("shale", [0.07, 0.08, 0.09, 0.105, 0.14, 0.125]),
    ("slate", [0.09, 0.10, 0.11, 0.125, 0.155, 0.14]),
    ("greywacke", [0.12, 0.14, 0.155, 0.175, 0.205, 0.185]),
    ("sandstone", [0.11, 0.15, 0.23, 0.30, 0.37, 0.33]),
    ("rusty", [0.07, 0.10, 0.17, 0.24, 0.34, 0.30]),
    ("basalt", [0.06, 0.068, 0.075, 0.085, 0.105, 0.10]),
    ("andesite", [0.10, 0.115, 0.13, 0.15, 0.18, 0.17]),
    ("gabbro", [0.08, 0.09, 0.10, 0.115, 0.15, 0.14]),
    ("tuff", [0.26, 0.31, 0.35, 0.39, 0.43, 0.40]),
    ("serpentinite", [0.075, 0.095, 0.10, 0.105, 0.13, 0.105]),
    ("till", [0.15, 0.18, 0.21, 0.245, 0.29, 0.26]),
];

/// A rock's spectrum by name.
pub(super) fn rock(name: &str) -> Option<Spectrum> {
    ROCKS.iter().find(|(known, _)| *known == name).map(|(_, spectrum)| *spectrum)
}

/// What grows where it can; `None` for bare ground.
pub(super) fn plants(plants: Plants) -> Option<Spectrum> {
    match plants {
        Plants::Meadow => Some([0.04, 0.085, 0.065, 0.33, 0.21, 0.11]),
        Plants::Conifers => Some([0.02, 0.04, 0.028, 0.22, 0.10, 0.045]),
        Plants::DryGrass => Some([0.065, 0.10, 0.13, 0.25, 0.31, 0.20]),
        Plants::Tundra => Some([0.045, 0.07, 0.075, 0.22, 0.21, 0.13]),
        Plants::Bare => None,
    }
}

/// What clear air itself scatters to the sensor at sea level, by band: Rayleigh scattering falls with the fourth power of the wavelength
/// (Vermote et al. 1997, IEEE TGRS 35, 675, for typical values over snow-free ground).
pub(super) const AIR: Spectrum = [0.072, 0.040, 0.022, 0.009, 0.002, 0.001];
/// What clear air takes away on the way down and up.
pub(super) const AIR_LOSS: Spectrum = [0.15, 0.11, 0.075, 0.05, 0.045, 0.06];
/// Part of the light that comes from the sky and not straight from the sun, by band; shadows are lit by it alone.
pub(super) const SKYLIGHT: Spectrum = [0.22, 0.155, 0.11, 0.065, 0.03, 0.02];

/// 1 part of `over`, the rest `under`.
pub(super) fn blend(under: &Spectrum, over: &Spectrum, part: f64) -> Spectrum {
    std::array::from_fn(|band| under[band] + (over[band] - under[band]) * part)
}
