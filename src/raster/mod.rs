//! Rasters: GeoTIFF in and out, grids and coordinate systems, terrain, polygons.

pub mod crs;
mod geo_keys;
pub mod grid;
mod wkt;

pub use crs::{Crs, GeoKeys, Transformer};
pub use grid::{Grid, Window, check_same_grid};
