//! Rasters: GeoTIFF in and out, grids and coordinate systems, terrain, polygons and what is made of them.

pub mod area;
pub mod crs;
pub mod gaps;
mod gdal_metadata;
mod geo_keys;
pub mod geopackage;
pub mod grid;
pub mod inspect;
pub(crate) mod lettering;
pub mod outliner;
pub mod pixel_map;
pub mod polygons;
pub mod quicklook;
pub mod rasterise;
pub mod read;
pub mod shapes;
pub mod source;
mod tags;
pub mod target_grid;
pub mod terrain;
pub mod warp;
mod wkt;
pub mod write;

pub use crs::{Crs, GeoKeys, Transformer};
pub use gaps::fill_gaps;
pub use grid::{Grid, Window, check_same_grid};
pub use read::{Band, RasterFile, SampleType};
pub use shapes::Shapes;
pub use source::{Quantity, Source};
pub use target_grid::TargetGrid;
pub use terrain::slope_degrees;
pub use warp::{Resampling, Warp};
pub use write::{Metadata, write_bands, write_bytes, write_floats};
