//! Any bytes as a GeoTIFF file: opening and reading may fail, but not panic, hang or take much memory.
#![no_main]

use std::io::Write;

use glavitu::raster::{RasterFile, Window};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    let Ok(raster) = RasterFile::open(file.path()) else { return };
    let grid = raster.grid();
    let window = Window { row: 0, col: 0, height: grid.height.min(256), width: grid.width.min(256) };
    for band in 0..raster.bands().len().min(4) {
        let _ = raster.read_window(band, window);
    }
    if let Some(crs) = &grid.crs {
        let (x, y) = grid.position(0.5, 0.5);
        let _ = crs.longitude_latitude(x, y);
        let _ = crs.wkt();
    }
});
