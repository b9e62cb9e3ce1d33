//! What is wrong with rasters, each with what to do about it.

use std::path::Path;

use crate::raster::grid::Grid;
use crate::raster::inspect::fill;
use crate::raster::inspect::sample::{Sample, Statistics};
use crate::raster::inspect::sensor::{Family, Sensor, band_number, band_number_of_file, guess};
use crate::raster::read::{RasterFile, SampleType};

/// What a raster shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reflectance.
    Optical,
    /// Elevation in metres.
    Elevation,
    /// Slope in degrees.
    Slope,
    /// Radar backscatter, linear.
    Backscatter,
    /// Radar backscatter in decibels.
    Decibels,
    /// Interferometric coherence.
    Coherence,
    /// Brightness temperature.
    Thermal,
}

impl Role {
    /// A name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optical => "optical",
            Self::Elevation => "elevation",
            Self::Slope => "slope",
            Self::Backscatter | Self::Decibels => "backscatter",
            Self::Coherence => "coherence",
            Self::Thermal => "thermal",
        }
    }

    /// What the network expects.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Optical => "reflectance from 0 to 1",
            Self::Elevation => "elevation in metres",
            Self::Slope => "slope in degrees",
            Self::Backscatter => "linear backscatter",
            Self::Decibels => "backscatter in decibels",
            Self::Coherence => "coherence from 0 to 1",
            Self::Thermal => "kelvin",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Probably wrong.
    Warning,
    /// The result would be nonsense.
    Error,
}

impl Severity {
    /// A name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something about a raster that should be known before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A fixed name for programs, such as `digital_numbers`.
    pub kind: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do, in one line.
    pub fix: String,
}

impl Finding {
    fn new(kind: &'static str, severity: Severity, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind, severity, message: message.into(), fix: fix.into() }
    }
}

/// A file and a sample of its pixels.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// The file.
    pub file: &'a RasterFile,
    /// Its pixels.
    pub sample: &'a Sample,
}

/// No reflectance of the published training data is higher.
const BRIGHTEST: f32 = 3.0;

/// Higher than any mountain, in metres.
const HIGHEST: f32 = 9000.0;

/// Lower than any land, in metres.
const LOWEST: f32 = -500.0;

/// What is wrong with one raster, where it is known what it should show.
#[must_use]
pub fn findings(examined: Examined<'_>, role: Option<Role>) -> Vec<Finding> {
    let Examined { file, sample } = examined;
    let sensor = guess(file);
    let statistics: Vec<Statistics> = sample.bands.iter().map(|values| Statistics::of(values)).collect();
    let mut all = place(file.grid());
    all.extend(contents(file, &statistics));
    match role {
        Some(Role::Optical) => {
            all.extend(reflectance(file, sensor.as_ref(), &fill::without_fill(file, sample)));
            all.extend(zero_fill(examined));
            all.extend(order_by_name(&[examined]));
            all.extend(order_by_spectrum(&[examined]));
        }
        Some(Role::Elevation) => all.extend(elevation(file, &statistics)),
        Some(Role::Slope) => {
            let fix = "give the slope in degrees, or leave --slope out";
            all.extend(range(&statistics, "slope", (0.0, 90.0), "degrees", fix));
        }
        Some(Role::Coherence) => {
            let fix = "scale it with gdal_edit.py -scale";
            all.extend(range(&statistics, "coherence", (0.0, 1.0), "0 to 1", fix));
        }
        Some(Role::Thermal) => all.extend(thermal(&statistics)),
        Some(role @ (Role::Backscatter | Role::Decibels)) => {
            all.extend(backscatter(&statistics, role == Role::Decibels));
        }
        None => {}
    }
    all
}

/// What is wrong where several files are used together; `rasters` are in the order they were given.
#[must_use]
pub fn between(rasters: &[(Examined<'_>, Option<Role>)]) -> Vec<Finding> {
    let mut all = Vec::new();
    let optical: Vec<_> =
        rasters.iter().filter(|(_, role)| *role == Some(Role::Optical)).map(|(examined, _)| *examined).collect();
    if optical.len() > 1 {
        all.extend(order_by_name(&optical));
        all.extend(order_by_spectrum(&optical));
    }
    let Some(((first, _), rest)) = rasters.split_first() else { return all };
    for (other, _) in rest {
        all.extend(placement(first.file, other.file));
    }
    all
}

fn place(grid: &Grid) -> Vec<Finding> {
    let mut all = Vec::new();
    match &grid.crs {
        None => all.push(Finding::new(
            "no_crs",
            Severity::Error,
            "no coordinate reference system",
            "--assume-crs EPSG:CODE, or gdal_edit.py -a_srs EPSG:CODE",
        )),
        Some(crs) if crs.proj.is_empty() => all.push(Finding::new(
            "unknown_crs",
            Severity::Warning,
            format!("the CRS {}, whose definition is not known", crs.name),
            "--assume-crs EPSG:CODE, or gdal_edit.py -a_srs EPSG:CODE",
        )),
        Some(_) => {}
    }
    let t = &grid.transform;
    if t[1] != 0.0 || t[3] != 0.0 {
        all.push(Finding::new(
            "rotated",
            Severity::Note,
            "a rotated grid",
            "none needed; --grid EPSG:CODE@RES gives a north-up result",
        ));
    } else if t[0] < 0.0 || (t[4] > 0.0 && grid.crs.is_some()) {
        all.push(Finding::new(
            "flipped",
            Severity::Note,
            "a grid that is not north-up",
            "none needed; --grid EPSG:CODE@RES gives a north-up result",
        ));
    }
    all
}

/// Nodata, zeros and constants, for any raster.
fn contents(file: &RasterFile, statistics: &[Statistics]) -> Vec<Finding> {
    let bands = |test: &dyn Fn(&Statistics) -> bool| -> Vec<usize> {
        statistics.iter().enumerate().filter(|(_, s)| test(s)).map(|(band, _)| band).collect()
    };
    let mut all = Vec::new();
    let empty = bands(&|s| s.known == 0 && s.infinite == 0);
    if !empty.is_empty() {
        all.push(Finding::new(
            "all_nodata",
            Severity::Warning,
            format!("no data in {} (of the pixels looked at)", listed(&empty)),
            "check the file and its nodata value",
        ));
    }
    let zero = bands(&|s| s.known > 1 && s.zeros == s.known);
    if !zero.is_empty() {
        all.push(Finding::new(
            "all_zero",
            Severity::Warning,
            format!("every value of {} is 0", listed(&zero)),
            "export the file again, with that band",
        ));
    }
    let constant = bands(&|s| s.is_constant() && s.zeros == 0);
    if !constant.is_empty() {
        all.push(Finding::new(
            "constant",
            Severity::Warning,
            format!("every value of {} is the same", listed(&constant)),
            "export the file again, with that band",
        ));
    }
    let infinite = bands(&|s| s.infinite > 0);
    if !infinite.is_empty() {
        all.push(Finding::new(
            "infinite",
            Severity::Error,
            format!("infinite values in {}", listed(&infinite)),
            "mark such pixels with the file's nodata value",
        ));
    }
    // Values that stand for no data in files that do not say so.
    for (band, (s, properties)) in statistics.iter().zip(file.bands()).enumerate() {
        let raw = |value: f32| (f64::from(value) - properties.offset) / properties.scale;
        let marks = [-9999.0, -32_768.0, -32_767.0, -3.4e38];
        if s.known > 0
            && marks.iter().any(|mark| (raw(s.least) - mark).abs() <= mark.abs() * 0.01 + 0.5)
            && !s.is_constant()
        {
            all.push(Finding::new(
                "unmarked_nodata",
                Severity::Warning,
                format!(
                    "values of {} in band {} that look like no data, and are not marked so",
                    raw(s.least).round(),
                    band + 1
                ),
                format!("gdal_edit.py -a_nodata {}", raw(s.least).round()),
            ));
            break;
        }
    }
    all
}

/// Fill of 0 in a file that does not say so.
fn zero_fill(Examined { file, sample }: Examined<'_>) -> Option<Finding> {
    let share = fill::unmarked(file, sample)?;
    Some(Finding::new(
        "zero_fill",
        Severity::Warning,
        format!("zeros that may be fill ({:.1} % of the pixels looked at), and no nodata value", share * 100.0),
        "--optical-nodata 0",
    ))
}

/// Whether values are reflectance from 0 to about 1. `statistics` are without fill.
fn reflectance(file: &RasterFile, sensor: Option<&Sensor>, statistics: &[Statistics]) -> Vec<Finding> {
    let known: Vec<_> = statistics.iter().enumerate().filter(|(_, s)| s.known > 0).collect();
    let high: Vec<usize> = known.iter().filter(|(_, s)| s.high > BRIGHTEST).map(|(band, _)| *band).collect();
    let family = sensor.map_or(Family::Other, |sensor| sensor.family);
    let floor = known.iter().map(|(_, s)| s.low).fold(f32::INFINITY, f32::min);
    let least = known.iter().map(|(_, s)| s.least).fold(f32::INFINITY, f32::min);
    let top = known.iter().map(|(_, s)| s.high).fold(0.0, f32::max);
    let can_be_sentinel = matches!(family, Family::Sentinel2(_) | Family::Other);
    let new_baseline = matches!(family, Family::Sentinel2(Some(400..)));
    let is_byte = file.bands().iter().all(|band| band.sample_type == SampleType::UInt8);
    let expected = format!("values above {BRIGHTEST} in {}, where reflectance from 0 to 1 is expected", listed(&high));
    let warn = |kind, message: String, fix: &str| vec![Finding::new(kind, Severity::Warning, message, fix)];
    if !high.is_empty() {
        if is_byte && family == Family::LandsatLevel1 {
            return warn(
                "digital_numbers",
                format!("{expected}: digital numbers of Landsat, level 1"),
                "write REFLECTANCE_MULT_BAND_n and REFLECTANCE_ADD_BAND_n of the MTL file, both divided by the sine of \
                 SUN_ELEVATION, into each band's file with gdal_edit.py -scale and -offset",
            );
        }
        if is_byte {
            return warn(
                "picture",
                format!("{expected}: a picture of 8 bits, not measurements"),
                "use the product's original bands; --reflectance-scale mends only a linear stretch that is known",
            );
        }
        let sentinel_offset = new_baseline || (can_be_sentinel && least >= 500.0 && floor >= 950.0);
        let (message, fix) = match family {
            _ if top <= 200.0 => (format!("{expected}: per cent"), "--reflectance-scale 0.01"),
            Family::LandsatLevel1 => (
                format!("{expected}: digital numbers of Landsat, level 1"),
                "--reflectance-scale 0.00002 --reflectance-offset -0.1, both divided by the sine of the sun's elevation \
                 (SUN_ELEVATION in the MTL file)",
            ),
            Family::LandsatLevel2 => (
                format!("{expected}: digital numbers of Landsat, level 2"),
                "--reflectance-scale 0.0000275 --reflectance-offset -0.2",
            ),
            _ if sentinel_offset => (
                format!(
                    "{expected}: 0 to 10,000 with the offset of 1000 of Sentinel-2 since processing baseline 04.00"
                ),
                "--reflectance-scale 0.0001 --reflectance-offset -0.1",
            ),
            _ => (format!("{expected}: digital numbers, or 0 to 10,000"), "--reflectance-scale 0.0001"),
        };
        return warn(if top <= 200.0 { "percent" } else { "digital_numbers" }, message, fix);
    }
    if known.len() > 1 && top > 0.0 && top < 0.01 {
        return warn(
            "too_dark",
            "no value above 0.01, where reflectance from 0 to 1 is expected: scaled twice".into(),
            "--reflectance-scale 1, say",
        );
    }
    // Shadow and water are nearly black in the short-wave infrared, so no scene has a floor of 0.1 in all bands.
    let lifted = can_be_sentinel && known.len() == statistics.len() && floor >= 0.095 && least >= 0.05;
    // Integers of a new baseline have the offset, whatever their least value; floats may have been made without it.
    let is_raw = !is_byte && file.bands().iter().all(|band| band.sample_type.is_integer() && band.offset == 0.0);
    let stated = new_baseline && !known.is_empty() && (is_raw || least >= 0.05);
    if (lifted && known.len() >= 4) || stated {
        let why = if stated { "a product" } else { "no value near 0 in any band" };
        return warn(
            "sentinel_offset",
            format!("{why}: the offset of 1000 of Sentinel-2 since processing baseline 04.00 is not taken off"),
            "--reflectance-offset -0.1",
        );
    }
    Vec::new()
}

/// Whether the names of six bands are in the network's order.
fn order_by_name(rasters: &[Examined<'_>]) -> Vec<Finding> {
    let mut places = Vec::new();
    for Examined { file, .. } in rasters {
        let by_file = guess(file).and_then(|sensor| band_number_of_file(file.path(), &sensor));
        for band in file.bands() {
            let by_name = band.description.as_deref().and_then(band_number);
            places.push(by_name.or(if file.bands().len() == 1 { by_file } else { None }));
        }
    }
    let known: Option<Vec<usize>> = places.into_iter().collect();
    match known {
        Some(places) if places.len() == 6 && places != [0, 1, 2, 3, 4, 5] => {
            let names = ["blue", "green", "red", "NIR", "SWIR1", "SWIR2"];
            let found: Vec<_> = places.iter().filter_map(|&place| names.get(place).copied()).collect();
            vec![Finding::new(
                "band_order",
                Severity::Warning,
                format!("bands named {}, expected {}", found.join(", "), names.join(", ")),
                "give the bands' files in that order, or reorder them with gdal_translate -b",
            )]
        }
        _ => Vec::new(),
    }
}

/// Whether snow is dark where it should be: in SWIR1 and SWIR2 (Dozier 1989), the fifth and sixth of six bands.
fn order_by_spectrum(rasters: &[Examined<'_>]) -> Vec<Finding> {
    let bands: Vec<&[f32]> = rasters.iter().flat_map(|r| r.sample.bands.iter().map(Vec::as_slice)).collect();
    let Ok(bands) = <[&[f32]; 6]>::try_from(bands) else { return Vec::new() };
    let pixels = bands[0].len();
    // Files in other blocks were sampled elsewhere.
    if bands.iter().any(|band| band.len() != pixels) {
        return Vec::new();
    }
    let mut counts = std::collections::BTreeMap::<(usize, usize), usize>::new();
    let mut known = 0_usize;
    for pixel in 0..pixels {
        let values = bands.map(|band| band.get(pixel).copied().unwrap_or(f32::NAN));
        if values.iter().any(|value| !value.is_finite()) {
            continue;
        }
        known += 1;
        let brightest = values.iter().copied().fold(0.0, f32::max);
        if !(0.4..=BRIGHTEST).contains(&brightest) {
            continue;
        }
        // Snow: four bright bands and two dark ones.
        let dark: Vec<usize> = (0..6).filter(|&band| values[band] < 0.3 * brightest).collect();
        let bright = values.iter().filter(|value| **value > 0.5 * brightest).count();
        if let ([a, b], 4) = (dark.as_slice(), bright) {
            *counts.entry((*a, *b)).or_default() += 1;
        }
    }
    let right = counts.get(&(4, 5)).copied().unwrap_or(0);
    let Some((&(a, b), &most)) = counts.iter().max_by_key(|(_, count)| **count) else { return Vec::new() };
    if (a, b) == (4, 5) || most < 4 * right || most * 100 < known || most < 20 {
        return Vec::new();
    }
    let reversed = if (a, b) == (0, 1) { "; the order may be reversed" } else { "" };
    vec![Finding::new(
        "band_order",
        Severity::Warning,
        format!(
            "snow is dark in bands {} and {}, and brighter in SWIR1 and SWIR2 (bands 5 and 6) than there{reversed}",
            a + 1,
            b + 1
        ),
        "give the bands in the order blue, green, red, NIR, SWIR1, SWIR2",
    )]
}

fn elevation(file: &RasterFile, statistics: &[Statistics]) -> Vec<Finding> {
    let Some(s) = statistics.first().filter(|s| s.known > 0) else { return Vec::new() };
    // GeoTIFF's VerticalUnitsGeoKey: foot, US survey foot. A scale in the file may have made metres of them.
    let unit = file.grid().crs.as_ref().and_then(|crs| crs.keys.code(4099));
    if matches!(unit, Some(9002 | 9003)) && file.bands().first().is_some_and(|band| band.scale == 1.0) {
        return vec![Finding::new(
            "feet",
            Severity::Warning,
            "elevations in feet, as the file says",
            "gdal_edit.py -scale 0.3048 on the elevation file",
        )];
    }
    if s.high > HIGHEST {
        return vec![Finding::new(
            "feet",
            Severity::Warning,
            format!("elevations up to {:.0}, above every mountain in metres: feet, or another unit", s.greatest),
            "gdal_edit.py -scale 0.3048 on the elevation file",
        )];
    }
    if s.low < LOWEST {
        return vec![Finding::new(
            "too_low",
            Severity::Warning,
            format!("elevations down to {:.0}, below all land", s.least),
            format!("mark what is no data with gdal_edit.py -a_nodata {:.0}", s.least),
        )];
    }
    if s.known > 1 && s.greatest <= 1.5 && s.least >= 0.0 && !s.is_constant() {
        return vec![Finding::new(
            "normalised",
            Severity::Warning,
            "elevations from 0 to 1: normalised, not metres",
            "give elevations in metres",
        )];
    }
    Vec::new()
}

fn range(statistics: &[Statistics], what: &str, (low, high): (f32, f32), unit: &str, fix: &str) -> Vec<Finding> {
    let wrong = statistics.iter().find(|s| s.known > 0 && (s.low < low - 1e-3 || s.high > high + 1e-3));
    let finding = |s: &Statistics| {
        let message = format!("{what} from {} to {}, expected {low} to {high} ({unit})", s.least, s.greatest);
        Finding::new("range", Severity::Warning, message, fix)
    };
    wrong.map(finding).into_iter().collect()
}

fn thermal(statistics: &[Statistics]) -> Vec<Finding> {
    let Some(s) = statistics.first().filter(|s| s.known > 0) else { return Vec::new() };
    let (message, fix) = if (-90.0..70.0).contains(&s.median) {
        (
            format!("a median of {} where kelvin are expected: degrees Celsius?", s.median),
            "add 273.15 with gdal_edit.py -offset 273.15",
        )
    } else if !(150.0..400.0).contains(&s.median) {
        (
            format!("a median of {} where kelvin are expected: digital numbers?", s.median),
            "gdal_edit.py -scale and -offset; 0.00341802 and 149 for Landsat Collection 2, level 2",
        )
    } else {
        return Vec::new();
    };
    vec![Finding::new("kelvin", Severity::Warning, message, fix)]
}

fn backscatter(statistics: &[Statistics], decibels: bool) -> Vec<Finding> {
    let known: Vec<_> = statistics.iter().filter(|s| s.known > 0).collect();
    if !decibels && let Some(s) = known.iter().find(|s| s.median < 0.0) {
        return vec![Finding::new(
            "decibels",
            Severity::Error,
            format!("backscatter with a median of {}, where linear power is above 0: decibels", s.median),
            "--sar-unit db",
        )];
    }
    if decibels && !known.is_empty() && known.iter().all(|s| s.low >= 0.0) {
        return vec![Finding::new(
            "not_decibels",
            Severity::Warning,
            "no backscatter below 0 dB: linear power?",
            "leave --sar-unit db out",
        )];
    }
    Vec::new()
}

/// Half-pixel shifts and what pixels stand for, between two files with pixels of one size.
fn placement(first: &RasterFile, other: &RasterFile) -> Vec<Finding> {
    let (a, b) = (first.grid(), other.grid());
    let same_crs = match (&a.crs, &b.crs) {
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    };
    let alike = [0, 1, 3, 4]
        .iter()
        .all(|&i| (a.transform[i] - b.transform[i]).abs() <= 1e-6 * (a.transform[0].abs() + a.transform[1].abs()));
    if !same_crs || !alike {
        return Vec::new();
    }
    let mut all = Vec::new();
    let (col, row) = a.pixel_at(b.transform[2], b.transform[5]);
    let part = |at: f64| at - at.round();
    let names = format!("{} and {}", shown(first.path()), shown(other.path()));
    let is_half = |part: f64| (0.4..=0.5).contains(&part.abs());
    if is_half(part(col)) || is_half(part(row)) {
        all.push(Finding::new(
            "half_pixel",
            Severity::Warning,
            format!("{names} are half a pixel apart ({:+.2} right, {:+.2} down)", part(col), part(row)),
            "none needed if that is true, they are warped; else gdal_edit.py -mo AREA_OR_POINT=Area and the right -a_ullr",
        ));
    } else if part(col).abs() > 0.01 || part(row).abs() > 0.01 {
        all.push(Finding::new(
            "shifted",
            Severity::Note,
            format!("{names} are a part of a pixel apart ({:+.2} right, {:+.2} down)", part(col), part(row)),
            "none needed, they are warped",
        ));
    }
    let point = |grid: &Grid| grid.crs.as_ref().is_some_and(|crs| crs.keys.pixel_is_point());
    if point(a) != point(b) {
        let kind = |grid: &Grid| if point(grid) { "points" } else { "areas" };
        all.push(Finding::new(
            "area_or_point",
            Severity::Note,
            format!("{names} disagree: pixels are {} and {} (AREA_OR_POINT)", kind(a), kind(b)),
            "none needed where both are true; a wrong one shifts the raster by half a pixel: gdal_edit.py -mo AREA_OR_POINT=Area",
        ));
    }
    all
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// `band 5`, or `bands 1, 2, 3`.
fn listed(bands: &[usize]) -> String {
    let numbers: Vec<_> = bands.iter().map(|band| (band + 1).to_string()).collect();
    format!("band{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}
