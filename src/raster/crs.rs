//! Coordinate reference systems as GeoTIFF files name them.

use proj4rs::Proj;
use proj4rs::transform::transform;

use crate::error::{Error, Result};

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

/// The three GeoTIFF key tags, verbatim (OGC 19-008r4, section 7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeoKeys {
    /// GeoKeyDirectoryTag (34735).
    pub directory: Vec<u16>,
    /// GeoDoubleParamsTag (34736).
    pub doubles: Vec<f64>,
    /// GeoAsciiParamsTag (34737).
    pub ascii: String,
}

impl Crs {
    /// Longitude and latitude in degrees (WGS 84) of a coordinate in this CRS.
    ///
    /// # Errors
    /// The CRS has no known definition, or the point lies outside the projection's domain.
    pub fn longitude_latitude(&self, x: f64, y: f64) -> Result<(f64, f64)> {
        let fail = |e: proj4rs::errors::Error| {
            Error::bad_argument(
                format!("a point ({x}, {y}) that {} cannot transform ({e})", self.name),
                "coordinates inside the projection's domain",
                "check the file's georeference",
            )
        };
        let from = Proj::from_proj_string(&self.proj).map_err(fail)?;
        let to = Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs").map_err(fail)?;
        let mut point = if self.geographic { (x.to_radians(), y.to_radians(), 0.0) } else { (x, y, 0.0) };
        transform(&from, &to, &mut point).map_err(fail)?;
        Ok((point.0.to_degrees(), point.1.to_degrees()))
    }
}
