//! Rasters: GeoTIFF in and out, grids and coordinate systems, terrain, polygons and what is made of them.

pub mod area;
mod boundary;
pub mod cog;
pub mod crs;
pub mod gaps;
mod gdal_metadata;
mod geo_keys;
pub mod geopackage;
pub mod grid;
pub mod iso_line;
pub(crate) mod lettering;
pub mod outliner;
pub mod polygons;
pub mod quicklook;
pub mod rasterise;
pub mod read;
pub mod shapes;
pub mod simplify;
mod tags;
pub mod terrain;
mod wkt;
pub mod write;

pub use crs::{Crs, GeoKeys, Transformer};
pub use gaps::fill_gaps;
pub use grid::{Grid, Window, check_same_grid};
pub use read::{Band, RasterFile, SampleType};
pub use shapes::{PixelShapes, Shapes};
pub use terrain::slope_degrees;
pub use write::{Metadata, write_bands, write_bytes, write_floats};
