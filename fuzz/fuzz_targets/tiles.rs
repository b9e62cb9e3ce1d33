//! Tile files: any bytes give a file or an error, and so does every window of it.
#![no_main]

use glavitu::dataset::tile_file::{TileArray, TileFile, TileWindow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = match TileFile::from_bytes("fuzz.hdf5", data.to_vec()) {
        Ok(file) => file,
        Err(error) => return assert!(error.is_bad_input()),
    };
    for (tile, info) in file.tiles().iter().enumerate() {
        // The last corner: the end of arrays that are shorter than they say.
        let (height, width) = (info.height.min(16), info.width.min(16));
        let window = TileWindow { row: info.height - height, col: info.width - width, height, width };
        let features = info.features.iter().map(|&f| TileArray::Feature(f));
        for array in features.chain([TileArray::Outlines]) {
            if let Err(error) = file.read_window(tile, array, window) {
                assert!(error.is_bad_input());
            }
        }
        let _ = info.latitude_longitude(0.0, 0.0);
    }
});
