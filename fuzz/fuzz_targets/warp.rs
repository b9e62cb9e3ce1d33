//! Any bytes as a GeoTIFF file, looked at and read on another grid: both may fail, but not panic, hang or take much memory.
#![no_main]

use std::io::Write;
use std::path::Path;

use glavitu::raster::inspect::{Examined, Role, Sample, findings};
use glavitu::raster::{Crs, Grid, RasterFile, Resampling, TargetGrid, Warp, Window};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    let text: String = bytes.iter().take(60).map(|byte| char::from(*byte)).collect();
    let _ = TargetGrid::parse(&text);
    let Ok(raster) = RasterFile::open(file.path()) else { return };
    // The corner of a large one: a sample and a coarse grid would take long, as they should.
    if raster.grid().len() > 1 << 20 || raster.bands().len() > 8 {
        return;
    }
    if let Ok(sample) = Sample::read(&raster) {
        let _ = findings(Examined { file: &raster, sample: &sample }, Some(Role::Optical));
    }
    let place = raster.grid().position(0.0, 0.0);
    let target = Grid {
        width: 70,
        height: 70,
        transform: [30.0, 0.0, place.0, 0.0, -30.0, place.1],
        crs: raster.grid().crs.clone().or_else(|| Crs::from_epsg(32611).ok()),
    };
    let other = TargetGrid::parse("EPSG:3413@1000").and_then(|t| t.resolve((Path::new("fuzz"), raster.grid()), None));
    for target in [Some(target), other.ok()].into_iter().flatten() {
        if let Ok(warp) = Warp::new(raster.grid(), &target, Resampling::Bilinear) {
            let window = Window { row: 0, col: 0, height: target.height.min(70), width: target.width.min(70) };
            let _ = warp.read(window, |part| raster.read_window(0, part));
        }
    }
});
