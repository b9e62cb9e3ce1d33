use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_reader::RangeRequestStorage;

use super::*;

/// A fixture that counts the bytes read from it.
fn counted(name: &str) -> (TileFile, Arc<AtomicU64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiles").join(name);
    let bytes = std::fs::read(&path).expect("a fixture");
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let storage = RangeRequestStorage::new(bytes.len() as u64, move |offset, length| {
        counter.fetch_add(length as u64, Ordering::Relaxed);
        let first = usize::try_from(offset).expect("a small file");
        Ok(bytes[first..first + length].to_vec())
    });
    (TileFile::from_storage(&path, Arc::new(storage)).expect("a tile file"), read)
}

#[test]
fn a_window_costs_its_own_bytes() {
    let optical = TileArray::Feature(Feature::Optical);
    let window = TileWindow { row: 31, col: 40, height: 32, width: 48 };
    let own = 32 * 48 * 6 * 8;

    let (file, read) = counted("contiguous.hdf5");
    // Descriptions of 3 tiles with up to 7 arrays, in a file of 6.8 MB.
    let opening = read.swap(0, Ordering::Relaxed);
    assert!(opening < 200_000, "{opening}");
    file.read_window(0, optical, window).expect("a window");
    assert_eq!(read.swap(0, Ordering::Relaxed), own);
    file.read_window(0, optical, TileWindow { row: 0, col: 0, height: 1, width: 1 }).expect("a pixel");
    assert_eq!(read.swap(0, Ordering::Relaxed), 48);

    let (file, read) = counted("chunked_gzip_shuffle.hdf5");
    let opening = read.swap(0, Ordering::Relaxed);
    assert!(opening < 200_000, "{opening}");
    file.read_window(0, optical, window).expect("a window");
    let first = read.swap(0, Ordering::Relaxed);
    file.read_window(0, optical, window).expect("a window");
    // Chunks once unpacked stay at hand.
    assert_eq!(read.swap(0, Ordering::Relaxed), 0);
    let info = &file.tiles()[0];
    let whole = TileWindow { row: 0, col: 0, height: info.height, width: info.width };
    file.read_window(0, optical, whole).expect("the tile");
    let rest = read.load(Ordering::Relaxed);
    assert!(first > 0 && first < rest, "{first} of {}", first + rest);
}

#[test]
fn positions_beyond_the_earth_are_refused() {
    let (file, _) = counted("contiguous.hdf5");
    let info = |edges: [f64; 4]| TileInfo { place: Some(TileBox { epsg: 4326.0, edges }), ..file.tiles()[0].clone() };
    assert!(info([7.0, 8.0, 46.0, 47.0]).latitude_longitude(0.0, 0.0).is_ok());
    assert!(info([7.0, 8.0, 4_600_000.0, 4_700_000.0]).latitude_longitude(0.0, 0.0).is_err());
    assert!(info([f64::NAN, 8.0, 46.0, 47.0]).latitude_longitude(0.0, 0.0).is_err());
}
