//! Which region a tile belongs to.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::raster::polygons::Ring;
use crate::raster::shapes::{Features, Value};
use crate::raster::{Crs, Transformer};

/// The regions of the Randolph Glacier Inventory, with boxes.
const TABLE: &str = include_str!("../../../datasets/rgi_regions.json");

/// The region of a tile that nothing tells; models with regions know it by this name.
pub(crate) const UNKNOWN: &str = "unknown";

/// A tile's region and subregion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionName {
    /// Such as `ALP`.
    pub region: String,
    /// Such as `RGI11`.
    pub subregion: String,
}

/// Where the regions of tiles come from.
#[derive(Debug)]
pub enum Regions {
    /// One for all.
    Named(RegionName),
    /// The table of RGI 7 regions, by the tile's centre.
    Table(RegionTable),
    /// The nearest polygon's attribute.
    Polygons(RegionPolygons),
}

impl Regions {
    /// The region of a tile with its centre at a longitude and latitude in degrees.
    pub(super) fn of(&self, longitude: f64, latitude: f64) -> RegionName {
        match self {
            Self::Named(name) => name.clone(),
            Self::Table(table) => table.of(longitude, latitude),
            Self::Polygons(polygons) => polygons.nearest(longitude, latitude),
        }
    }
}

/// The first-order regions of RGI 7.0 as boxes of longitude and latitude; approximate, as the file says.
#[derive(Debug, Clone, Deserialize)]
pub struct RegionTable {
    regions: Vec<RgiRegion>,
}

#[derive(Debug, Clone, Deserialize)]
struct RgiRegion {
    /// Two digits.
    code: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the file"))]
    name: String,
    region: String,
    /// West, south, east, north.
    boxes: Vec<[f64; 4]>,
}

impl Default for RegionTable {
    fn default() -> Self {
        // The text is compiled in and tested, so no input reaches this.
        serde_json::from_str(TABLE).expect("the built-in table is valid JSON")
    }
}

impl RegionTable {
    /// The region of the first box that holds a place; `unknown` where none does.
    #[must_use]
    pub fn of(&self, longitude: f64, latitude: f64) -> RegionName {
        let around = (longitude + 180.0).rem_euclid(360.0) - 180.0;
        let holds = |[west, south, east, north]: &[f64; 4]| {
            (*west..=*east).contains(&around) && (*south..=*north).contains(&latitude)
        };
        match self.regions.iter().find(|region| region.boxes.iter().any(holds)) {
            Some(region) => RegionName { region: region.region.clone(), subregion: format!("RGI{}", region.code) },
            None => RegionName { region: UNKNOWN.into(), subregion: UNKNOWN.into() },
        }
    }

    /// The name of a region by its RGI code, such as `02`, `2` or `02-05`.
    fn by_code(&self, code: &str) -> Option<&str> {
        let first = code.split('-').next()?;
        let number: u32 = if first.len() <= 2 { first.parse().ok()? } else { return None };
        let region = self.regions.iter().find(|region| region.code.parse() == Ok(number))?;
        Some(&region.region)
    }
}

/// Polygons that say which region they lie in.
#[derive(Debug)]
pub struct RegionPolygons {
    areas: Vec<Area>,
}

#[derive(Debug)]
struct Area {
    name: RegionName,
    /// In degrees.
    rings: Vec<Ring<f64>>,
    /// Longitude and latitude of the middle, and half of the extent.
    middle: (f64, f64),
    half: (f64, f64),
}

impl RegionPolygons {
    /// Takes regions from a column of the features, subregions from another or the same. RGI codes (`02`, `02-05`) become the names of their regions.
    /// Features without a value are left out. `assumed` stands in for a CRS that is not known.
    ///
    /// # Errors
    /// There is no such column, no feature has a value, or the coordinates cannot be brought to longitude and latitude.
    pub fn new(
        files: &[Features],
        column: &str,
        subregion_column: Option<&str>,
        assumed: Option<&Crs>,
    ) -> Result<Self> {
        let table = RegionTable::default();
        let mut areas = Vec::new();
        for features in files {
            let path = features.path();
            let find = |name: &str| {
                features.column(name).ok_or_else(|| {
                    let names: Vec<&str> = features.columns.iter().map(|column| column.name.as_str()).collect();
                    let expected = format!("one of {}", names.join(", "));
                    Error::bad_file(path, format!("no column {name}"), expected, "name the column with the regions")
                })
            };
            let region = find(column)?;
            let subregion = subregion_column.map(find).transpose()?;
            let to_degrees = to_degrees(path, features.crs.as_ref(), assumed)?;
            for feature in &features.features {
                let value = |column: usize| feature.values.get(column).and_then(text);
                let Some(found) = value(region) else { continue };
                let of_region = table.by_code(&found).map_or_else(|| found.clone(), str::to_owned);
                let of_subregion = subregion.and_then(value).unwrap_or(found);
                let name = RegionName { region: of_region, subregion: of_subregion };
                for polygon in &feature.polygons {
                    let rings: Result<Vec<Ring<f64>>> = polygon
                        .rings()
                        .map(|ring| ring.iter().map(|&(x, y)| to_degrees.apply(x, y)).collect())
                        .collect();
                    areas.extend(Area::new(name.clone(), rings.map_err(|error| blame(path, error))?));
                }
            }
        }
        match (areas.is_empty(), files.first()) {
            (true, Some(file)) => Err(Error::bad_file(
                file.path(),
                format!("no value in the column {column}"),
                "the region of at least one polygon",
                "name another column",
            )),
            _ => Ok(Self { areas }),
        }
    }

    /// The region of the polygon that holds a place, else of the nearest.
    fn nearest(&self, longitude: f64, latitude: f64) -> RegionName {
        let mut best: Option<(f64, &RegionName)> = None;
        for area in &self.areas {
            let least = area.least_distance(longitude, latitude);
            if best.is_some_and(|(distance, _)| least >= distance) {
                continue;
            }
            let distance = area.distance(longitude, latitude);
            if best.is_none_or(|(so_far, _)| distance < so_far) {
                best = Some((distance, &area.name));
            }
        }
        best.map_or_else(|| RegionName { region: UNKNOWN.into(), subregion: UNKNOWN.into() }, |(_, name)| name.clone())
    }
}

impl Area {
    /// `None` for a polygon without vertices.
    fn new(name: RegionName, rings: Vec<Ring<f64>>) -> Option<Self> {
        let &(first, _) = rings.iter().flatten().next()?;
        let mut extent = [0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY];
        for &(longitude, latitude) in rings.iter().flatten() {
            let east = apart(longitude, first);
            extent = [extent[0].min(east), f64::max(extent[1], east), extent[2].min(latitude), extent[3].max(latitude)];
        }
        let middle = (first + f64::midpoint(extent[0], extent[1]), f64::midpoint(extent[2], extent[3]));
        let half = ((extent[1] - extent[0]) / 2.0, (extent[3] - extent[2]) / 2.0);
        Some(Self { name, rings, middle, half })
    }

    /// No point is nearer; in degrees of latitude.
    fn least_distance(&self, longitude: f64, latitude: f64) -> f64 {
        let east = (apart(longitude, self.middle.0).abs() - self.half.0).max(0.0) * latitude.to_radians().cos();
        let north = ((latitude - self.middle.1).abs() - self.half.1).max(0.0);
        east.hypot(north)
    }

    /// The distance in degrees of latitude on a map that is true around the place; 0 inside.
    fn distance(&self, longitude: f64, latitude: f64) -> f64 {
        let narrower = latitude.to_radians().cos();
        let place = |&(x, y): &(f64, f64)| (apart(x, longitude) * narrower, y - latitude);
        let (mut inside, mut nearest) = (false, f64::INFINITY);
        for ring in &self.rings {
            let Some(last) = ring.last() else { continue };
            let mut from = place(last);
            for vertex in ring {
                let to = place(vertex);
                let (dx, dy) = (to.0 - from.0, to.1 - from.1);
                let length = dx * dx + dy * dy;
                let along = if length > 0.0 { (-(from.0 * dx + from.1 * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
                nearest = nearest.min((from.0 + along * dx).hypot(from.1 + along * dy));
                if (from.1 > 0.0) != (to.1 > 0.0) && from.0 - from.1 * dx / dy > 0.0 {
                    inside = !inside;
                }
                from = to;
            }
        }
        if inside { 0.0 } else { nearest }
    }
}

/// The difference of two longitudes, -180 to 180 degrees.
pub(crate) fn apart(a: f64, b: f64) -> f64 {
    (a - b + 180.0).rem_euclid(360.0) - 180.0
}

/// A value as a name; `None` for nothing.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.trim().to_owned(),
        Value::Null => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn to_degrees(path: &Path, crs: Option<&Crs>, assumed: Option<&Crs>) -> Result<Transformer> {
    let Some(crs) = crs.filter(|crs| !crs.proj.is_empty()).or(assumed) else {
        let remedy = "give --assume-crs EPSG:CODE, or write one with ogr2ogr -a_srs EPSG:CODE";
        return Err(Error::bad_file(path, "polygons without a known CRS", "a CRS that is known", remedy));
    };
    Transformer::to_longitude_latitude(crs)
}

fn blame(path: &Path, error: Error) -> Error {
    match error {
        Error::BadArgument { found, expected, remedy } => Error::bad_file(path, found, expected, remedy),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Location;

    #[test]
    fn known_glaciers_lie_in_their_regions() {
        let table = RegionTable::default();
        for (longitude, latitude, region, subregion, glacier) in [
            (-117.25, 52.2, "AWA", "RGI02", "Athabasca"),
            (-140.5, 60.2, "AWA", "RGI01", "Hubbard"),
            (-121.76, 46.85, "AWA", "RGI02", "Rainier"),
            (-134.4, 58.5, "AWA", "RGI01", "Mendenhall"),
            (-72.0, 81.6, "RGI03", "RGI03", "Grant Land"),
            (-65.0, 66.6, "RGI04", "RGI04", "Penny Ice Cap"),
            (-50.0, 69.2, "GR", "RGI05", "Jakobshavn"),
            (-69.0, 77.5, "GR", "RGI05", "Qaanaaq"),
            (-16.8, 64.4, "RGI06", "RGI06", "Vatnajokull"),
            (16.0, 78.9, "SVAL", "RGI07", "Spitsbergen"),
            (-8.2, 71.1, "SVAL", "RGI07", "Beerenberg"),
            (7.1, 61.7, "SC", "RGI08", "Jostedalsbreen"),
            (18.57, 67.9, "SC", "RGI08", "Storglaciaeren"),
            (58.0, 80.6, "RGI09", "RGI09", "Franz Josef Land"),
            (62.0, 75.5, "RGI09", "RGI09", "Novaya Zemlya"),
            (95.0, 80.0, "RGI09", "RGI09", "Severnaya Zemlya"),
            (86.6, 49.8, "RGI10", "RGI10", "Altai"),
            (160.6, 56.0, "RGI10", "RGI10", "Kamchatka"),
            (-176.0, 66.0, "RGI10", "RGI10", "Chukotka"),
            (8.03, 46.45, "ALP", "RGI11", "Aletsch"),
            (0.65, 42.63, "ALP", "RGI11", "Aneto"),
            (42.45, 43.35, "CA", "RGI12", "Elbrus"),
            (72.2, 38.8, "HMA", "RGI13", "Fedchenko"),
            (80.1, 42.2, "HMA", "RGI13", "Tomur"),
            (76.4, 35.8, "HMA", "RGI14", "Baltoro"),
            (77.5, 32.2, "HMA", "RGI14", "Chhota Shigri"),
            (86.85, 27.95, "HMA", "RGI15", "Khumbu"),
            (101.9, 29.6, "HMA", "RGI15", "Hailuogou"),
            (-77.6, -9.1, "LL", "RGI16", "Huascaran"),
            (37.35, -3.07, "LL", "RGI16", "Kilimanjaro"),
            (137.2, -4.1, "LL", "RGI16", "Puncak Jaya"),
            (-73.5, -49.0, "SA", "RGI17", "Southern Patagonian Icefield"),
            (-70.0, -33.0, "SA", "RGI17", "Juncal Norte"),
            (170.2, -43.6, "NZ", "RGI18", "Tasman"),
            (-37.0, -54.4, "AN", "RGI19", "South Georgia"),
            (-58.5, -62.1, "AN", "RGI19", "King George Island"),
            (69.5, -49.3, "AN", "RGI19", "Kerguelen"),
            (-65.0, -67.0, "AN", "RGI20", "Graham Land"),
            (161.0, -77.7, "AN", "RGI20", "Taylor"),
        ] {
            let expected = RegionName { region: region.into(), subregion: subregion.into() };
            assert_eq!(table.of(longitude, latitude), expected, "{glacier}");
            assert_eq!(table.of(longitude + 360.0, latitude), expected, "{glacier}");
        }
        assert_eq!(table.of(-30.0, 0.0).region, UNKNOWN);
        assert_eq!(table.of(f64::NAN, 0.0).region, UNKNOWN);
    }

    #[test]
    fn the_table_is_whole() {
        let table = RegionTable::default();
        let mut codes: Vec<&str> = table.regions.iter().map(|region| region.code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(codes, (1..=20).map(|code| format!("{code:02}")).collect::<Vec<_>>());
        let Location::Regions(published) = Location::published_regions() else { panic!("names") };
        for name in published.iter().filter(|name| *name != UNKNOWN) {
            assert!(table.regions.iter().any(|region| region.region == *name), "{name}");
        }
        for region in &table.regions {
            let is_known = published.contains(&region.region);
            assert!(is_known || region.region == format!("RGI{}", region.code), "{}", region.name);
            for [west, south, east, north] in &region.boxes {
                assert!(west < east && south < north && *west >= -180.0 && *east <= 180.0, "{}", region.name);
            }
        }
        assert_eq!([table.by_code("02"), table.by_code("2"), table.by_code("02-05")], [Some("AWA"); 3]);
        assert_eq!([table.by_code("HMA"), table.by_code(""), table.by_code("21"), table.by_code("0002")], [None; 4]);
    }

    #[test]
    fn the_nearest_polygon_tells() {
        let square = |name: &str, west: f64, south: f64| {
            let ring =
                vec![(west, south), (west + 1.0, south), (west + 1.0, south + 1.0), (west, south + 1.0), (west, south)];
            Area::new(RegionName { region: name.into(), subregion: name.into() }, vec![ring]).expect("vertices")
        };
        let polygons =
            RegionPolygons { areas: vec![square("A", 10.0, 60.0), square("B", 179.5, 60.0), square("C", 12.5, 60.0)] };
        let at = |longitude, latitude| polygons.nearest(longitude, latitude).region;
        assert_eq!(
            (at(10.5, 60.5), at(11.2, 60.5), at(12.2, 60.5), at(13.0, 60.5)),
            ("A".into(), "A".into(), "C".into(), "C".into())
        );
        assert_eq!((at(-179.8, 60.1), at(-170.0, 55.0)), ("B".into(), "B".into()));
    }
}
