//! Classes, median filter and confidence against what the published tool wrote for one scene.
//!
//! The reference rasters are not part of the project. The tests look for `fixtures/scene_athabasca` in the folder that `GLAVITU_SHARED` names,
//! or else in `../shared`; without it they pass and say so.

use std::path::{Path, PathBuf};

use glavitu::infer::postprocess::{classify, confidences, median};
use glavitu::raster::RasterFile;

/// The values of a reference raster, its height and its width.
fn read(name: &str) -> Option<(Vec<f32>, usize, usize)> {
    let shared = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("fixtures/scene_athabasca").join(name);
    if !path.is_file() {
        println!("not checked: there is no file {}", path.display());
        return None;
    }
    let file = RasterFile::open(path).expect("the reference raster");
    let grid = file.grid();
    Some((file.read_window(0, grid.window()).expect("its pixels"), grid.height, grid.width))
}

#[test]
fn outlines_are_the_median_of_classes() {
    let Some((probability, height, width)) = read("probability_f64.tif") else { return };
    let Some((expected, ..)) = read("outlines_f64.tif") else { return };
    let found = median(&classify(&probability), height, width, 3).expect("an odd size");
    assert_eq!(found.into_iter().map(f32::from).collect::<Vec<_>>(), expected);
}

#[test]
fn confidence_before_calibration() {
    let Some((probability, ..)) = read("probability_f64.tif") else { return };
    let Some((expected, ..)) = read("raw_confidence_f64.tif") else { return };
    let worst = confidences(&probability).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-7, "{worst:e}");
}
