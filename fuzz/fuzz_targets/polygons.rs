//! Any bytes as a file of polygons, by its first bytes GeoJSON, GeoPackage, FlatGeobuf or Shapefile: reading, with attributes and without, may fail, but
//! not panic, hang or take much memory.
#![no_main]

use std::io::Write;

use glavitu::raster::shapes::{Features, Format};
use glavitu::raster::{Crs, Grid, Shapes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    let Ok(Some(format)) = Format::detect(file.path()) else { return };
    if let Ok(found) = Features::read(file.path(), format) {
        assert!(found.features.iter().all(|feature| feature.values.len() == found.columns.len()));
    }
    let Ok(shapes) = Shapes::read(file.path(), format) else { return };
    let grid =
        Grid { width: 64, height: 64, transform: [30.0, 0.0, 5e5, 0.0, -30.0, 6e6], crs: Crs::from_epsg(32611).ok() };
    if let Ok(placed) = shapes.on_grid(&grid, grid.crs.as_ref()) {
        placed.burn_rows(0, &mut vec![false; grid.len()]);
    }
});
