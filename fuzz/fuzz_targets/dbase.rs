//! Any bytes as the attributes (.dbf) of a Shapefile: reading may fail, but not panic, hang or take much memory.
#![no_main]

use glavitu::raster::shapes::{Features, Format};
use libfuzzer_sys::fuzz_target;

/// A Shapefile of three features without a place and one triangle.
fn shapefile() -> Vec<u8> {
    let mut records = Vec::new();
    for number in 1..=3_u32 {
        records.extend(number.to_be_bytes());
        records.extend(2_u32.to_be_bytes());
        records.extend(0_u32.to_le_bytes());
    }
    let mut content = 5_u32.to_le_bytes().to_vec();
    content.extend([0; 32]);
    for n in [1_u32, 4, 0] {
        content.extend(n.to_le_bytes());
    }
    for value in [0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 0.0, 0.0_f64] {
        content.extend(value.to_le_bytes());
    }
    records.extend(4_u32.to_be_bytes());
    records.extend((content.len() as u32 / 2).to_be_bytes());
    records.extend(content);
    let mut file = 9994_u32.to_be_bytes().to_vec();
    file.resize(24, 0);
    file.extend(((100 + records.len()) as u32 / 2).to_be_bytes());
    file.resize(100, 0);
    file.extend(records);
    file
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(folder) = tempfile::tempdir() else { return };
    let path = folder.path().join("a.shp");
    if std::fs::write(&path, shapefile()).is_err() || std::fs::write(path.with_extension("dbf"), bytes).is_err() {
        return;
    }
    if let Ok(found) = Features::read(&path, Format::Shapefile) {
        assert!(found.features.iter().all(|feature| feature.values.len() == found.columns.len()));
    }
});
