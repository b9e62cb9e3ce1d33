//! Where a raster comes from, told from its path, its bands' names and its metadata.

use std::path::Path;

use crate::raster::inspect::checks::Role;
use crate::raster::read::RasterFile;

/// A guess at what made a raster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensor {
    /// Such as `Landsat 8, level 1`.
    pub name: String,
    /// What the raster shows.
    pub role: Role,
    /// Its kind, where reflectance has conventions of its own.
    pub family: Family,
}

/// Sensors whose integers mean something by convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Landsat Collection 2, level 1: 0.00002 DN - 0.1, over the sine of the sun's elevation.
    LandsatLevel1,
    /// Landsat Collection 2, level 2: 0.0000275 DN - 0.2.
    LandsatLevel2,
    /// Harmonised Landsat and Sentinel-2: 0.0001 DN.
    Harmonised,
    /// Sentinel-2 with its processing baseline (400 is 04.00), where it is known: (DN - 1000) / 10,000 from 400 on, DN / 10,000 before.
    Sentinel2(Option<u32>),
    /// Anything else.
    Other,
}

/// Guesses a raster's sensor.
#[must_use]
pub fn guess(file: &RasterFile) -> Option<Sensor> {
    let names: Vec<String> = file.bands().iter().filter_map(|band| band.description.clone()).collect();
    guess_from(file.path(), &names, &file.items())
}

/// As [`guess`], from the path, the bands' names and the file's metadata.
#[must_use]
pub fn guess_from(path: &Path, bands: &[String], items: &[(String, String)]) -> Option<Sensor> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
    // Bands of Sentinel-2 carry their product's name in a folder above.
    let folders: Vec<String> = path
        .parent()
        .iter()
        .flat_map(|folder| folder.iter())
        .map(|part| part.to_string_lossy().to_uppercase())
        .collect();
    let product = folders.iter().rev().take(6).find(|part| part.contains("_MSIL")).cloned().unwrap_or_default();
    let item =
        |wanted: &str| items.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str());
    by_metadata(item)
        .or_else(|| landsat(&name))
        .or_else(|| harmonised(&name))
        .or_else(|| sentinel_2(&name, &product))
        .or_else(|| elevation_model(&name))
        .or_else(|| radar(&name))
        .or_else(|| by_words(&name, bands))
}

fn sensor(name: impl Into<String>, role: Role, family: Family) -> Option<Sensor> {
    Some(Sensor { name: name.into(), role, family })
}

/// Products that say what they are.
fn by_metadata<'a>(item: impl Fn(&str) -> Option<&'a str>) -> Option<Sensor> {
    if let Some(id) = item("LANDSAT_PRODUCT_ID").filter(|_| item("HLS_PROCESSING_TIME").is_none()) {
        return landsat(&id.to_uppercase());
    }
    if item("HLS_PROCESSING_TIME").is_some()
        || item("SENSOR").is_some_and(|name| name.contains("OLI") && item("ACCODE").is_some())
    {
        return sensor("HLS (harmonised Landsat and Sentinel-2)", Role::Optical, Family::Harmonised);
    }
    let product = item("PRODUCT_URI").or_else(|| item("SPACECRAFT_NAME"));
    let by_name = || product.and_then(|name| baseline_in(&name.to_uppercase()));
    let baseline = item("PROCESSING_BASELINE").and_then(baseline_of).or_else(by_name);
    match product.map(str::to_uppercase) {
        Some(name) if name.starts_with("S2") || name.contains("SENTINEL-2") => {
            sensor("Sentinel-2", Role::Optical, Family::Sentinel2(baseline))
        }
        _ => None,
    }
}

/// `04.00` as 400.
fn baseline_of(text: &str) -> Option<u32> {
    let (major, minor) = text.trim().split_once('.')?;
    major.parse::<u32>().ok()?.checked_mul(100)?.checked_add(minor.parse().ok()?)
}

/// The day (year, month, day as one number) from which on ESA made all products of Sentinel-2 with baseline 04.00 or later.
const FIRST_DAY_OF_0400: u32 = 20_220_125;

/// The parts of a name.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', '.', '-'])
}

/// `N0400` in a name as 400.
fn stated_baseline(name: &str) -> Option<u32> {
    let digits = |part: &str| part.len() == 4 && part.chars().all(|c| c.is_ascii_digit());
    parts(name).find_map(|part| part.strip_prefix('N').filter(|number| digits(number))?.parse().ok())
}

/// The processing baseline that a name of Sentinel-2 states, or the least one that the day it was taken allows.
fn baseline_in(name: &str) -> Option<u32> {
    let day = || {
        parts(name).find_map(|part| {
            let (day, rest) = part.split_at_checked(8)?;
            let is_day = day.chars().all(|c| c.is_ascii_digit()) && (rest.is_empty() || rest.starts_with('T'));
            is_day.then(|| day.parse::<u32>().ok()).flatten()
        })
    };
    stated_baseline(name).or_else(|| day().filter(|day| *day >= FIRST_DAY_OF_0400).map(|_| 400))
}

/// Names such as `LC08_L1TP_044024_20200816_20200822_02_T1_B5.TIF`.
fn landsat(name: &str) -> Option<Sensor> {
    let mut parts = name.split(['_', '.']);
    let (start, level) = (parts.next()?, parts.next()?);
    if !start.is_ascii() || start.len() != 4 || !start.starts_with('L') {
        return None;
    }
    let number: u32 = start.get(2..)?.parse().ok()?;
    let (level, family) = match level.get(..2)? {
        "L1" => (1, Family::LandsatLevel1),
        "L2" => (2, Family::LandsatLevel2),
        _ => return None,
    };
    // Thermal bands: 6 of sensors 4 to 7, 10 and 11 later.
    let band = parts.rfind(|part| part.len() > 1 && part.starts_with('B')).unwrap_or_default();
    let is_thermal = matches!(band, "B10" | "B11") || (number < 8 && matches!(band, "B6" | "B06"));
    let role = if is_thermal { Role::Thermal } else { Role::Optical };
    sensor(format!("Landsat {number}, level {level}"), role, family)
}

/// Names such as `HLS.L30.T11UNT.2020229T183826.v2.0.B02.tif`, or `..._B02_L30.tif` of exports.
fn harmonised(name: &str) -> Option<Sensor> {
    let has = |part: &str| name.split(['.', '_']).any(|p| p == part);
    let origin = match (has("L30"), has("S30")) {
        (true, _) => "Landsat",
        (_, true) => "Sentinel-2",
        _ => return None,
    };
    sensor(format!("HLS (harmonised {origin})"), Role::Optical, Family::Harmonised)
}

/// Names such as `S2A_MSIL1C_20220125T103321_N0400_R108_T32TLS_20220125T113902` or `T32TLS_20220125T103321_B02_10m.tif`.
fn sentinel_2(name: &str, product: &str) -> Option<Sensor> {
    let is_product = |text: &str| text.starts_with("S2") && (text.contains("_MSIL") || stated_baseline(text).is_some());
    let source = if is_product(name) { name } else { product };
    let tile = name.split('_').next().unwrap_or_default();
    let is_tile = tile.len() == 6
        && tile.starts_with('T')
        && tile.chars().skip(1).take(2).all(|c| c.is_ascii_digit())
        && tile.chars().skip(3).all(|c| c.is_ascii_uppercase())
        && name.split('_').nth(1).is_some_and(|date| date.len() == 15 && date.contains('T'));
    if source.is_empty() && !is_tile {
        return None;
    }
    let baseline = baseline_in(if source.is_empty() { name } else { source });
    let level = match (source.contains("MSIL1C"), source.contains("MSIL2A")) {
        (true, _) => ", level 1C",
        (_, true) => ", level 2A",
        _ => "",
    };
    sensor(format!("Sentinel-2{level}"), Role::Optical, Family::Sentinel2(baseline))
}

fn elevation_model(name: &str) -> Option<Sensor> {
    let known = [
        ("COPERNICUS_DSM", "Copernicus DEM"),
        ("ARCTICDEM", "ArcticDEM"),
        ("REMA_", "REMA"),
        ("SETSM", "ArcticDEM or REMA strip"),
        ("SRTM", "SRTM"),
        ("NASADEM", "NASADEM"),
        ("ASTGTM", "ASTER GDEM"),
        ("ALPSMLC30", "ALOS World 3D"),
        ("AW3D30", "ALOS World 3D"),
        ("FABDEM", "FABDEM"),
        ("ALOS", "ALOS World 3D"),
    ];
    known
        .iter()
        .find(|(start, _)| name.contains(start))
        .and_then(|(_, full)| sensor(*full, Role::Elevation, Family::Other))
}

fn radar(name: &str) -> Option<Sensor> {
    let is_sentinel = ["S1A_", "S1B_", "S1C_", "S1D_"].iter().any(|start| name.starts_with(start));
    let words = ["GAMMA0", "SIGMA0", "BACKSCATTER"];
    let role = if name.contains("COH") { Role::Coherence } else { Role::Backscatter };
    if is_sentinel {
        return sensor("Sentinel-1", role, Family::Other);
    }
    words.iter().any(|word| name.contains(word)).then_some(())?;
    sensor("radar", role, Family::Other)
}

/// What ordinary words in the names tell.
fn by_words(name: &str, bands: &[String]) -> Option<Sensor> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words: Vec<&str> = stem.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    if bands.iter().any(|band| band_number(band).is_some()) || has(&["OPTICAL", "REFLECTANCE"]) {
        return sensor("optical", Role::Optical, Family::Other);
    }
    if has(&["SLOPE"]) {
        return sensor("slope", Role::Slope, Family::Other);
    }
    if has(&["DEM", "DSM", "DTM", "ELEVATION", "ELEV"]) {
        return sensor("elevation model", Role::Elevation, Family::Other);
    }
    if has(&["COHERENCE", "COH"]) {
        return sensor("coherence", Role::Coherence, Family::Other);
    }
    None
}

/// The place (0 blue, 1 green, 2 red, 3 NIR, 4 SWIR1, 5 SWIR2) that a band's plain name means.
#[must_use]
pub fn band_number(name: &str) -> Option<usize> {
    let letters: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    match letters.as_str() {
        "blue" => Some(0),
        "green" => Some(1),
        "red" => Some(2),
        "nir" | "nir08" | "nearinfrared" | "nirnarrow" => Some(3),
        "swir1" | "swir16" => Some(4),
        "swir2" | "swir22" => Some(5),
        _ => None,
    }
}

/// The place that a band's file name means, for a sensor that numbers its bands.
#[must_use]
pub fn band_number_of_file(path: &Path, sensor: &Sensor) -> Option<usize> {
    let name = path.file_stem()?.to_string_lossy().to_uppercase();
    let band = name.split(['_', '.', '-']).rfind(|part| {
        part.len() > 1 && part.starts_with('B') && part.chars().nth(1).is_some_and(|c| c.is_ascii_digit())
    })?;
    let code = band.get(1..)?.trim_start_matches('0');
    let is_sentinel = matches!(sensor.family, Family::Sentinel2(_)) || sensor.name.contains("Sentinel-2");
    let order: &[&[&str]] = if is_sentinel {
        &[&["2"], &["3"], &["4"], &["8", "8A"], &["11"], &["12"]]
    } else if ["Landsat 4", "Landsat 5", "Landsat 7"].iter().any(|old| sensor.name.starts_with(old)) {
        &[&["1"], &["2"], &["3"], &["4"], &["5"], &["7"]]
    } else if sensor.name.contains("Landsat") {
        &[&["2"], &["3"], &["4"], &["5"], &["6"], &["7"]]
    } else {
        return None;
    };
    order.iter().position(|codes| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str) -> Option<Sensor> {
        guess_from(Path::new(path), &[], &[])
    }

    #[test]
    fn names_of_products() {
        for (path, name, role, family) in [
            (
                "a/LC08_L1TP_044024_20200816_20200822_02_T1_B5.TIF",
                "Landsat 8, level 1",
                Role::Optical,
                Family::LandsatLevel1,
            ),
            (
                "LE07_L1TP_044024_20000816_20200822_02_T1_B6.TIF",
                "Landsat 7, level 1",
                Role::Thermal,
                Family::LandsatLevel1,
            ),
            (
                "LC09_L2SP_044024_20220816_20220822_02_T1_SR_B2.TIF",
                "Landsat 9, level 2",
                Role::Optical,
                Family::LandsatLevel2,
            ),
            (
                "HLS.L30.T11UNT.2020229T183826.v2.0.B02.tif",
                "HLS (harmonised Landsat)",
                Role::Optical,
                Family::Harmonised,
            ),
            (
                "S2A_MSIL1C_20220125T103321_N0400_R108_T32TLS_20220125T113902.SAFE/GRANULE/L1C/IMG_DATA/T32TLS_20220125T103321_B02.tif",
                "Sentinel-2, level 1C",
                Role::Optical,
                Family::Sentinel2(Some(400)),
            ),
            ("T32TLS_20180125T103321_B02_10m.tif", "Sentinel-2", Role::Optical, Family::Sentinel2(None)),
            ("T32TLS_20220124T103321_B02_10m.tif", "Sentinel-2", Role::Optical, Family::Sentinel2(None)),
            ("T32TLS_20220125T103321_B02_10m.tif", "Sentinel-2", Role::Optical, Family::Sentinel2(Some(400))),
            ("S2B_MSIL2A_20230801.tif", "Sentinel-2, level 2A", Role::Optical, Family::Sentinel2(Some(400))),
            // What the name states counts more than the day.
            (
                "S2A_MSIL1C_20220125T103321_N0301_R108_T32TLS_20220125T113902.tif",
                "Sentinel-2, level 1C",
                Role::Optical,
                Family::Sentinel2(Some(301)),
            ),
            ("S2A_N0510_stack.tif", "Sentinel-2", Role::Optical, Family::Sentinel2(Some(510))),
            ("Copernicus_DSM_COG_10_N46_00_E007_00_DEM.tif", "Copernicus DEM", Role::Elevation, Family::Other),
            ("S1A_IW_GRDH_1SDV_20200816.tif", "Sentinel-1", Role::Backscatter, Family::Other),
            ("my_dem.tif", "elevation model", Role::Elevation, Family::Other),
        ] {
            assert_eq!(of(path), Some(Sensor { name: name.into(), role, family }), "{path}");
        }
        assert_eq!(of("scene.tif"), None);
        let items =
            [("PRODUCT_URI".to_owned(), "S2B_X".to_owned()), ("PROCESSING_BASELINE".to_owned(), "05.09".to_owned())];
        let found = guess_from(Path::new("x.tif"), &[], &items).map(|sensor| sensor.family);
        assert_eq!(found, Some(Family::Sentinel2(Some(509))));
    }

    #[test]
    fn numbers_of_bands() {
        for (path, place) in [
            ("LC08_L1TP_044024_20200816_20200822_02_T1_B5.TIF", Some(3)),
            ("LE07_L1TP_044024_20000816_20200822_02_T1_B7.TIF", Some(5)),
            ("T32TLS_20180125T103321_B8A_20m.tif", Some(3)),
            ("T32TLS_20180125T103321_B09_60m.tif", None),
            ("HLS.S30.T11UNT.2020229T183826.v2.0.B12.tif", Some(5)),
        ] {
            let sensor = of(path).expect("a known name");
            assert_eq!(band_number_of_file(Path::new(path), &sensor), place, "{path}");
        }
        assert_eq!((band_number("SWIR 1"), band_number("Band 3")), (Some(4), None));
    }

    proptest! {
        #[test]
        fn any_name_is_taken(path in "\\PC{0,40}", band in "\\PC{0,12}", start in 0..4_usize) {
            let path = format!("{}{path}", ["", "LC08_L1", "S2A_MSIL", "T32TLS_"][start]);
            if let Some(sensor) = guess_from(Path::new(&path), &[band], &[]) {
                let _ = band_number_of_file(Path::new(&path), &sensor);
            }
        }
    }
}
