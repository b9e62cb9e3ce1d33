//! Pickled calibrators and calibrator files: any bytes give a calibrator with values in 0..=1 or an error.
#![no_main]

use glavitu::evaluate::Calibrator;
use glavitu::evaluate::calibration_pickle::import_calibrator_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for result in [import_calibrator_bytes("fuzz.pickle", data), Calibrator::from_bytes("fuzz.json", data)] {
        match result {
            Ok(calibrator) => assert!((0.0..=1.0).contains(&calibrator.curve().value(0.5))),
            Err(error) => assert!(error.is_bad_input()),
        }
    }
});
