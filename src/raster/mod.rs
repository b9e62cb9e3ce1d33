//! Rasters: GeoTIFF in and out, grids and coordinate systems, terrain, polygons.

pub mod crs;
pub mod gaps;
mod gdal_metadata;
mod geo_keys;
pub mod grid;
pub mod read;
mod tags;
pub mod terrain;
mod wkt;
pub mod write;

pub use crs::{Crs, GeoKeys, Transformer};
pub use gaps::fill_gaps;
pub use grid::{Grid, Window, check_same_grid};
pub use read::{Band, RasterFile, SampleType};
pub use terrain::slope_degrees;
pub use write::{Metadata, write_bytes, write_floats};
