//! Tables of confidences: any bytes are samples from 0 to 1 or an error; what is fitted to them never lowers the order of confidences.
#![no_main]

use glavitu::evaluate::calibration_samples::read_samples;
use glavitu::evaluate::isotonic::fit_isotonic;
use glavitu::evaluate::kernel_ridge::{Ridge, fit_kernel_ridge};
use glavitu::evaluate::{Calibrator, Reliability};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut samples = Reliability::new();
    let read = read_samples("fuzz.csv".as_ref(), data, &mut |sample| {
        assert!((0.0..=1.0).contains(&sample.confidence()));
        samples.add(sample.confidence(), sample.correct);
    });
    if let Err(error) = read {
        assert!(error.is_bad_input());
        return;
    }
    if let Ok(fitted) = fit_isotonic(&samples, "fuzz") {
        assert_eq!(fitted.largest_fall(), 0.0);
        let text = fitted.to_json().expect("finite numbers");
        assert_eq!(Calibrator::from_bytes("fuzz.json", text.as_bytes()).expect("reads"), fitted);
    }
    let _ = fit_kernel_ridge(&samples, Ridge::None, "fuzz");
});
