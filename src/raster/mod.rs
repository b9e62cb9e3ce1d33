
pub mod crs;
mod gdal_metadata;
mod geo_keys;
pub mod grid;
pub mod read;
mod tags;
mod wkt;
pub mod write;

pub use crs::{Crs, GeoKeys, Transformer};
pub use grid::{Grid, Window, check_same_grid};
pub use read::{Band, RasterFile, SampleType};
pub use write::{Metadata, write_bytes, write_floats};
