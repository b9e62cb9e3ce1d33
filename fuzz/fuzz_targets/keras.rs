//! Keras weight files: any bytes give weights or an error.
#![no_main]

use glavitu::model::Feature;
use glavitu::model::keras::{LocationKind, import_keras_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let features = [Feature::Optical, Feature::Dem];
    if let Err(error) = import_keras_bytes("fuzz.h5", data.to_vec(), &features, &LocationKind::Guess) {
        assert!(error.is_bad_input());
    }
});
