//! Rasters: GeoTIFF in and out, grids and coordinate systems, terrain, polygons.

pub mod crs;
pub mod grid;

pub use crs::{Crs, GeoKeys};
pub use grid::{Grid, Window};

pub mod area;
pub mod geopackage;
mod lettering;
pub mod polygons;
pub mod quicklook;
