//! Polygons of any CRS on the pixels of a grid.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::raster::crs::{Crs, Transformer};
use crate::raster::grid::Grid;
use crate::raster::polygons::Ring;

/// Brings the polygons of a file to the pixels of a grid.
///
/// Vertices are reprojected one by one, so edges are straight on the grid's map. Polygons far from the grid are left out before that:
/// coordinates on the other side of the Earth have no place on most maps.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    path: PathBuf,
    grid: &'a Grid,
    /// None where both have one CRS.
    way: Option<Way>,
}

#[derive(Debug)]
struct Way {
    to_earth: Transformer,
    to_map: Transformer,
    reach: Reach,
}

impl<'a> Placement<'a> {
    /// For polygons of the file `path` in the CRS `own`. `assumed` stands in for a CRS that is not known, the file's or the grid's.
    ///
    /// # Errors
    /// A CRS is not known or not supported.
    pub(crate) fn new(path: &Path, own: Option<&Crs>, grid: &'a Grid, assumed: Option<&Crs>) -> Result<Self> {
        let known = |crs: Option<&Crs>| crs.or(assumed).filter(|crs| !crs.proj.is_empty()).or(assumed).cloned();
        let (Some(own), Some(target)) = (known(own), known(grid.crs.as_ref())) else {
            let (found, remedy) = if known(own).is_none() {
                (
                    "polygons without a known CRS",
                    "give --assume-crs EPSG:CODE, or write one with ogr2ogr -a_srs EPSG:CODE",
                )
            } else {
                (
                    "polygons for a grid without a known CRS",
                    "give --assume-crs EPSG:CODE, or gdal_edit.py -a_srs EPSG:CODE",
                )
            };
            return Err(Error::bad_file(path, found, "CRSs that are known", remedy));
        };
        let path = path.to_path_buf();
        if own.is_same(&target) {
            return Ok(Self { path, grid, way: None });
        }
        let to_earth = Transformer::to_longitude_latitude(&own)?;
        let to_map = Transformer::from_longitude_latitude(&target)?;
        let reach = Reach::of(grid, &Transformer::to_longitude_latitude(&target)?);
        Ok(Self { path, grid, way: Some(Way { to_earth, to_map, reach }) })
    }

    /// The rings of a polygon in pixel positions (column, row); `None` for one that is far from the grid.
    ///
    /// # Errors
    /// A vertex has no place on the map.
    pub(crate) fn pixels(&self, rings: &[Ring<f64>]) -> Result<Option<Vec<Ring<f64>>>> {
        let grid = self.grid;
        let Some(way) = &self.way else {
            return transformed(rings, |x, y| Ok(grid.pixel_at(x, y))).map(Some);
        };
        let on_earth = transformed(rings, |x, y| way.to_earth.apply(x, y)).map_err(|e| self.blame(e))?;
        if !way.reach.touches(&on_earth) {
            return Ok(None);
        }
        let to_pixels = |x, y| way.to_map.apply(x, y).map(|(x, y)| grid.pixel_at(x, y));
        transformed(&on_earth, to_pixels).map(Some).map_err(|e| self.blame(e))
    }

    /// Says which file a point comes from.
    fn blame(&self, error: Error) -> Error {
        match error {
            Error::BadArgument { found, expected, remedy } => Error::bad_file(&self.path, found, expected, remedy),
            other => other,
        }
    }
}

fn transformed(rings: &[Ring<f64>], point: impl Fn(f64, f64) -> Result<(f64, f64)>) -> Result<Vec<Ring<f64>>> {
    rings.iter().map(|ring| ring.iter().map(|&(x, y)| point(x, y)).collect()).collect()
}

/// Samples along each side of a grid, for its place on the Earth.
const SAMPLES: u32 = 33;

/// Where on the Earth a grid lies, in degrees, generously.
#[derive(Debug)]
struct Reach {
    longitude: f64,
    half_width: f64,
    south: f64,
    north: f64,
}

impl Reach {
    fn of(grid: &Grid, to_earth: &Transformer) -> Self {
        let at = |col: f64, row: f64| {
            let (x, y) = grid.position(grid.width as f64 * col, grid.height as f64 * row);
            to_earth.apply(x, y).ok()
        };
        let steps = || (0..SAMPLES).map(|step| f64::from(step) / f64::from(SAMPLES - 1));
        // Corners of a map of a hemisphere lie beside the Earth.
        let places: Vec<(f64, f64)> = steps().flat_map(|row| steps().filter_map(move |col| at(col, row))).collect();
        let longitude = at(0.5, 0.5).map_or(0.0, |place| place.0);
        let half_width = places.iter().map(|place| apart(place.0, longitude).abs()).fold(0.0, f64::max);
        let south = places.iter().map(|place| place.1).fold(90.0, f64::min);
        let north = places.iter().map(|place| place.1).fold(-90.0, f64::max);
        // Between samples there may be a little more, around a pole all longitudes.
        let margin = 0.1 + 0.1 * (north - south).max(half_width);
        let (south, north) = (south - margin, north + margin);
        let polar = south < -80.0 || north > 80.0;
        Self {
            longitude,
            half_width: if polar || half_width > 60.0 || places.is_empty() { 180.0 } else { half_width + margin },
            south: if polar && south < 0.0 || places.is_empty() { -90.0 } else { south },
            north: if polar && north > 0.0 || places.is_empty() { 90.0 } else { north },
        }
    }

    /// Whether a polygon's bounding box in degrees meets the grid's.
    fn touches(&self, rings: &[Ring<f64>]) -> bool {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (south, north) = range(&mut rings.iter().flatten().map(|place| place.1));
        let (west, east) = range(&mut rings.iter().flatten().map(|place| apart(place.0, self.longitude)));
        south <= self.north && north >= self.south && west <= self.half_width && east >= -self.half_width
    }
}

/// The difference of two longitudes, -180 to 180 degrees.
pub(super) fn apart(a: f64, b: f64) -> f64 {
    (a - b + 180.0).rem_euclid(360.0) - 180.0
}
