//! Classes, median filter and confidence against what the published tool wrote for one scene.
//!
//! The reference rasters are not part of the project. The tests look for `fixtures/scene_athabasca` in the folder that `GLAVITU_SHARED` names,
//! or else in `../shared`; without it they pass and say so.

use std::path::{Path, PathBuf};

use glavitu::infer::postprocess::{classify, confidence, confidences, median};
use tiff_reader::TiffFile;

const HEIGHT: usize = 205;
const WIDTH: usize = 215;

fn open(name: &str) -> Option<TiffFile> {
    let shared = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("fixtures/scene_athabasca").join(name);
    if !path.is_file() {
        println!("skipped: no file {}", path.display());
        return None;
    }
    Some(TiffFile::open(path).expect("the reference raster"))
}

fn floats(name: &str) -> Option<Vec<f64>> {
    let values: Vec<f64> = open(name)?.read_image(0).expect("its pixels").iter().copied().collect();
    assert_eq!(values.len(), HEIGHT * WIDTH, "{name}");
    Some(values)
}

fn bytes(name: &str) -> Option<Vec<u8>> {
    Some(open(name)?.read_image(0).expect("its pixels").iter().copied().collect())
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is tried")]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

#[test]
fn outlines_are_the_median_of_classes() {
    let Some(probability) = floats("probability_f64.tif") else { return };
    let Some(expected) = bytes("outlines_f64.tif") else { return };
    assert_eq!(median(&classify(&narrow(&probability)), HEIGHT, WIDTH, 3).expect("an odd size"), expected);
}

#[test]
fn confidence_before_calibration() {
    let Some(probability) = floats("probability_f64.tif") else { return };
    let Some(expected) = floats("raw_confidence_f64.tif") else { return };
    let (mut wide, mut rounded) = (0.0_f64, 0.0_f64);
    for ((p, found), expected) in probability.iter().zip(confidences(&narrow(&probability))).zip(&expected) {
        wide = wide.max((confidence(*p) - expected).abs());
        rounded = rounded.max((f64::from(found) - expected).abs());
    }
    println!("largest difference: {wide:.1e} from f64 probabilities, {rounded:.1e} from f32");
    assert!(wide < 1e-15);
    assert!(rounded < 5e-8);
}
