//! Weight files: any bytes give weights or an error.
#![no_main]

use glavitu::model::Weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = Weights::from_bytes("fuzz.safetensors", data) {
        assert!(error.is_bad_input());
    }
});
