//! What lies beside GeoTIFF tiles: any bytes are a tile's description, statistics or an error, and windows stay inside.

#![no_main]

use glavitu::dataset::tile_file::{TileArray, TileFile, TileWindow};
use glavitu::raster::{Grid, Metadata, write_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], u16, u16)| {
    let (sidecar, statistics, row, col) = input;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tile = folder.path().join("A-0-0");
    std::fs::create_dir(&tile).expect("made");
    let grid = Grid { width: 4, height: 3, transform: [1.0, 0.0, 0.0, 0.0, -1.0, 0.0], crs: None };
    write_bytes(tile.join("outlines.tif"), &grid, &[1; 12], 255, &Metadata::default()).expect("written");
    std::fs::write(tile.join("tile.json"), sidecar).expect("written");
    if !statistics.is_empty() {
        std::fs::write(folder.path().join("normalisation.json"), statistics).expect("written");
    }
    if let Ok(file) = TileFile::open(folder.path()) {
        let window = TileWindow { row: row.into(), col: col.into(), height: 5, width: 5 };
        let _ = file.read_window(0, TileArray::Outlines, window);
    }
});
