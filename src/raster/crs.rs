//! Coordinate reference systems as GeoTIFF files name them.

use proj4rs::Proj;
use proj4rs::transform::transform;

use crate::error::{Error, Result};
pub use crate::raster::geo_keys::GeoKeys;
use crate::raster::geo_keys::key;
use crate::raster::wkt;

/// A coordinate reference system.
#[derive(Debug, Clone, PartialEq)]
pub struct Crs {
    /// The EPSG code, where the file gives one or it can be told for certain.
    pub epsg: Option<u32>,
    /// A name for messages, such as `WGS 84 / UTM zone 11N`.
    pub name: String,
    /// The definition as a PROJ string; empty where it is not known (a local CRS).
    pub proj: String,
    /// Whether coordinates are degrees of longitude and latitude.
    pub geographic: bool,
    /// The GeoTIFF keys of the file this came from, so that outputs carry exactly the same.
    pub keys: GeoKeys,
}

impl Crs {
    /// The CRS that GeoTIFF keys describe. `None` where they describe none (no keys, or only the raster type).
    ///
    /// A registered code is looked up. User-defined CRSs are made out from ESRI's well-known text in a citation, the projection keys
    /// or a UTM zone in the citation; their `epsg` stays `None`, and `proj` is empty where the keys do not tell enough.
    #[must_use]
    pub fn from_geo_keys(keys: GeoKeys) -> Option<Self> {
        let projected = keys.code(key::PROJECTED_TYPE).filter(|code| *code != 0);
        let geographic = keys.code(key::GEOGRAPHIC_TYPE).filter(|code| *code != 0);
        let model = keys.code(key::MODEL_TYPE);
        // The model type decides; files that lack it or say "user-defined" are judged by the codes they have.
        let is_geographic = match model {
            Some(1) => false,
            Some(2) => true,
            _ => {
                projected.is_none()
                    && geographic.is_some()
                    && keys.code(key::TRANSFORMATION).is_none()
                    && keys.esri_wkt().is_none()
            }
        };
        let described = projected.is_some()
            || geographic.is_some()
            || matches!(model, Some(1..=3 | key::USER_DEFINED))
            || keys.name().is_some();
        if !described {
            return None;
        }
        let code = if is_geographic { geographic } else { projected };
        let registered = code.filter(|code| *code != key::USER_DEFINED);
        if let Some(code) = registered
            && let Some(definition) = crs_definitions::from_code(code)
        {
            return Some(Self {
                epsg: Some(u32::from(code)),
                name: wkt::name_of(definition.wkt).map_or_else(|| format!("EPSG:{code}"), str::to_string),
                proj: definition.proj4.to_string(),
                geographic: definition.proj4.contains("+proj=longlat"),
                keys,
            });
        }
        let proj = match model {
            // Geocentric coordinates are not a map.
            Some(3) => None,
            _ if is_geographic => keys.geographic_definition(),
            _ => keys.projected_definition(),
        };
        Some(Self {
            epsg: registered.map(u32::from),
            name: keys.name().unwrap_or_else(|| registered.map_or("unnamed".into(), |code| format!("EPSG:{code}"))),
            proj: proj.unwrap_or_default(),
            geographic: is_geographic,
            keys,
        })
    }

    /// The CRS of an EPSG code, with GeoTIFF keys that name it.
    ///
    /// # Errors
    /// The code is not in the table of `crs-definitions`.
    pub fn from_epsg(code: u32) -> Result<Self> {
        let found = u16::try_from(code).ok().and_then(|short| Some((short, crs_definitions::from_code(short)?)));
        let Some((short, definition)) = found else {
            return Err(Error::bad_argument(
                format!("the unknown code EPSG:{code}"),
                "the EPSG code of a projected or geographic CRS, such as 32611",
                "look the code up at epsg.org",
            ));
        };
        let geographic = definition.proj4.contains("+proj=longlat");
        let name = wkt::name_of(definition.wkt).map_or_else(|| format!("EPSG:{code}"), str::to_string);
        Ok(Self {
            epsg: Some(code),
            proj: definition.proj4.to_string(),
            geographic,
            keys: GeoKeys::for_epsg(short, geographic, &name),
            name,
        })
    }

    /// The CRS of a well-known text (OGC 01-009 or ESRI's spelling), as in `.prj` files and GeoPackages.
    ///
    /// The EPSG code the text carries wins. `proj` is empty where the text has no code and a method that is not known.
    #[must_use]
    pub fn from_wkt(text: &str) -> Self {
        if let Some(crs) = wkt::epsg_of(text).and_then(|code| Self::from_epsg(code).ok()) {
            return crs;
        }
        let proj = wkt::proj_from_wkt(text).or_else(|| wkt::proj_extension(text)).unwrap_or_default();
        Self {
            epsg: None,
            name: wkt::name_of(text).unwrap_or("unnamed").to_string(),
            geographic: proj.contains("+proj=longlat"),
            proj,
            keys: GeoKeys::default(),
        }
    }

    /// Well-known text (OGC 01-009, "WKT 1") for the table of spatial reference systems of a GeoPackage.
    #[must_use]
    pub fn wkt(&self) -> String {
        let registered = self.epsg.and_then(|code| u16::try_from(code).ok()).and_then(crs_definitions::from_code);
        // The table has codes without a text.
        match registered {
            Some(definition) if !definition.wkt.is_empty() => definition.wkt.to_string(),
            _ => wkt::wkt_from_proj(&self.name, &self.proj),
        }
    }

    /// Well-known text in ESRI's spelling, for the `.prj` file of a Shapefile; OGC's where the method has no name of ESRI's here. `None` where the
    /// definition is not known.
    #[must_use]
    pub fn esri_wkt(&self) -> Option<String> {
        if self.proj.is_empty() && self.epsg.is_none() {
            return None;
        }
        let text = self.wkt();
        Some(wkt::esri_wkt(&text).unwrap_or(text))
    }

    /// Metres in one unit of the coordinates; `None` for degrees. A CRS that tells no unit is taken to be in metres.
    #[must_use]
    pub fn metres_per_unit(&self) -> Option<f64> {
        if self.geographic {
            return None;
        }
        let parameter = |name: &str| self.proj.split_whitespace().find_map(|p| p.strip_prefix(name));
        if let Some(size) = parameter("+to_meter=").and_then(|text| text.parse::<f64>().ok()) {
            return Some(size);
        }
        let unit = if self.proj.is_empty() { None } else { parameter("+units=") };
        Some(match (unit, self.keys.code(key::LINEAR_UNITS)) {
            (Some("ft"), _) | (None, Some(9002)) => 0.3048,
            (Some("us-ft"), _) | (None, Some(9003)) => 1200.0 / 3937.0,
            (Some("km"), _) | (None, Some(9036)) => 1000.0,
            (None, Some(key::USER_DEFINED)) => {
                self.keys.number(key::LINEAR_UNIT_SIZE).filter(|size| *size > 0.0).unwrap_or(1.0)
            }
            _ => 1.0,
        })
    }

    /// Whether two CRSs are the same: equal codes, else equal definitions, else (both unknown) equal keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        if self.epsg.is_some() && self.epsg == other.epsg {
            return true;
        }
        if self.proj.is_empty() || other.proj.is_empty() {
            // Bits, since a damaged key may be NaN and is still the same key.
            let bits = |keys: &GeoKeys| keys.doubles.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let (a, b) = (&self.keys, &other.keys);
            let same_keys = a.directory == b.directory && a.ascii == b.ascii && bits(a) == bits(b);
            return self.epsg == other.epsg && self.proj == other.proj && same_keys;
        }
        significant_parameters(&self.proj) == significant_parameters(&other.proj)
    }

    /// Longitude and latitude in degrees (WGS 84) of a coordinate in this CRS. For many points, make one [`Transformer`].
    ///
    /// # Errors
    /// As [`Transformer::to_longitude_latitude`] and [`Transformer::apply`].
    pub fn longitude_latitude(&self, x: f64, y: f64) -> Result<(f64, f64)> {
        Transformer::to_longitude_latitude(self)?.apply(x, y)
    }
}

/// PROJ parameters in a fixed order and spelling, without those that say nothing.
fn significant_parameters(definition: &str) -> Vec<(String, Option<f64>, String)> {
    let mut parameters: Vec<_> = definition
        .split_whitespace()
        .map(|parameter| {
            let (name, value) = parameter.trim_start_matches('+').split_once('=').unwrap_or((parameter, ""));
            let name = if name == "k_0" { "k" } else { name };
            (name.to_string(), value.parse().ok(), value.to_string())
        })
        .filter(|(name, number, value)| {
            let idle = match name.as_str() {
                "+no_defs" | "no_defs" | "type" | "wktext" => true,
                "k" => *number == Some(1.0),
                "x_0" | "y_0" | "lon_0" | "lat_0" => *number == Some(0.0),
                "units" => value == "m",
                "towgs84" => value.split(',').all(|part| part.parse() == Ok(0.0)),
                _ => false,
            };
            !idle
        })
        .map(|(name, number, value)| if number.is_some() { (name, number, String::new()) } else { (name, None, value) })
        .collect();
    parameters.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    parameters
}

/// How many degrees beyond a pole a pixel may reach.
const POLE_TOLERANCE: f64 = 0.01;

/// A prepared transformation from one CRS to longitude and latitude on WGS 84, or back.
pub struct Transformer {
    from: Proj,
    to: Proj,
    from_degrees: bool,
    to_degrees: bool,
    name: String,
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Transformer").field("crs", &self.name).finish_non_exhaustive()
    }
}

impl Transformer {
    /// Prepares the transformation of coordinates in `crs` to longitude and latitude in degrees (WGS 84).
    ///
    /// # Errors
    /// The CRS has no known definition, or one that `proj4rs` does not implement.
    pub fn to_longitude_latitude(crs: &Crs) -> Result<Self> {
        let (from, to) = prepare(crs)?;
        Ok(Self { from, to, from_degrees: crs.geographic, to_degrees: true, name: crs.name.clone() })
    }

    /// Prepares the transformation of longitude and latitude in degrees (WGS 84) to coordinates in `crs`.
    ///
    /// # Errors
    /// As [`Transformer::to_longitude_latitude`].
    pub fn from_longitude_latitude(crs: &Crs) -> Result<Self> {
        let (to, from) = prepare(crs)?;
        Ok(Self { from, to, from_degrees: true, to_degrees: crs.geographic, name: crs.name.clone() })
    }

    /// A transformed point: longitude and latitude in degrees of one in units of the CRS, or the other way round.
    ///
    /// # Errors
    /// The point lies outside the projection's domain.
    pub fn apply(&self, x: f64, y: f64) -> Result<(f64, f64)> {
        let fail = |reason: &str| {
            Error::bad_argument(
                format!("a point ({x}, {y}) that {} cannot transform ({reason})", self.name),
                "coordinates inside the projection's domain",
                "check the file's georeference",
            )
        };
        let y = if self.from_degrees && y.abs() > 90.0 {
            // The rim of pixels centred on a pole.
            if y.abs() > 90.0 + POLE_TOLERANCE {
                return Err(fail("there is no such latitude"));
            }
            90.0_f64.copysign(y)
        } else {
            y
        };
        // proj4rs takes and gives radians wherever a CRS is geographic.
        let mut point = if self.from_degrees { (x.to_radians(), y.to_radians(), 0.0) } else { (x, y, 0.0) };
        transform(&self.from, &self.to, &mut point).map_err(|e| fail(&e.to_string()))?;
        let (x, y) = if self.to_degrees { (point.0.to_degrees(), point.1.to_degrees()) } else { (point.0, point.1) };
        if !x.is_finite() || !y.is_finite() {
            return Err(fail("the result is not a number"));
        }
        Ok((x, y))
    }
}

/// A CRS and WGS 84 as `proj4rs` has them.
fn prepare(crs: &Crs) -> Result<(Proj, Proj)> {
    if crs.proj.is_empty() {
        return Err(Error::bad_argument(
            format!("the CRS {}, whose definition is not known", crs.name),
            "a CRS with an EPSG code or a common projection",
            "assign it with gdal_edit.py -a_srs EPSG:code file.tif",
        ));
    }
    let fail = |e: proj4rs::errors::Error| {
        Error::bad_argument(
            format!("the CRS {} ({}), which cannot be transformed ({e})", crs.name, crs.proj),
            "a CRS with a common projection, such as UTM or polar stereographic",
            "reproject the file with gdalwarp -t_srs",
        )
    };
    let own = Proj::from_proj_string(&crs.proj).map_err(fail)?;
    Ok((own, Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs").map_err(fail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (code, x, y) in
            [(32611, 480_000.0, 5_780_000.0), (4326, -117.2, 52.2), (3413, 3e5, -1.2e6), (3031, -1e5, 2e5)]
        {
            let crs = Crs::from_epsg(code).expect("a registered code");
            let (longitude, latitude) = crs.longitude_latitude(x, y).expect("on the map");
            let back = Transformer::from_longitude_latitude(&crs).expect("a common projection");
            let (u, v) = back.apply(longitude, latitude).expect("on the Earth");
            let unit = if crs.geographic { 1e-9 } else { 1e-3 };
            assert!((u - x).abs() < unit && (v - y).abs() < unit, "{code}: {u} {v}");
        }
    }

    #[test]
    fn well_known_text() {
        let utm = Crs::from_epsg(32611).expect("a registered code");
        assert_eq!(Crs::from_wkt(&utm.wkt()).epsg, Some(32611));
        // Without a code, the parameters tell.
        let bare = Crs::from_wkt(&wkt::wkt_from_proj("mine", "+proj=utm +zone=11 +datum=WGS84 +units=m +no_defs"));
        assert_eq!((bare.epsg, bare.geographic, bare.name.as_str()), (None, false, "mine"));
        let (x, y) = bare.longitude_latitude(480_000.0, 5_780_000.0).expect("on the map");
        let (u, v) = utm.longitude_latitude(480_000.0, 5_780_000.0).expect("on the map");
        assert!((x - u).abs() < 1e-12 && (y - v).abs() < 1e-12);
        assert!(Crs::from_wkt("nonsense").proj.is_empty());
    }
}
