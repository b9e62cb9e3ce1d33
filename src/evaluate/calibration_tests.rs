//! Tests of calibrators and their files.

use proptest::prelude::*;

use super::*;

fn wavy() -> Calibrator {
    let points: Vec<f64> = (0..60).map(|i| f64::from(i * 37 % 60) / 59.0).collect();
    let coefficients = points.iter().map(|x| (x * 40.0).sin() * 0.1 + 0.01).collect();
    Calibrator::from_kernel(1.7, points, coefficients, "a test").expect("valid")
}

#[test]
fn the_curve_agrees_with_the_sum() {
    for gamma in [0.01, 1.0, 30.0, 1e5] {
        let points: Vec<f64> = (0..101).map(|i| f64::from(i) / 100.0).collect();
        let coefficients: Vec<f64> = points.iter().map(|x| (x * 91.0).cos() * 0.4).collect();
        let calibrator = Calibrator::from_kernel(gamma, points, coefficients, "a test").expect("valid");
        let curve = calibrator.curve();
        for i in -50..=1050 {
            let c = f64::from(i) / 1000.0;
            assert!((curve.value(c) - calibrator.predict(c)).abs() < 1e-12, "gamma {gamma}, c {c}");
        }
    }
    let mut raster = [0.25, f32::NAN];
    wavy().curve().apply(&mut raster);
    assert!(f64::from(raster[0] - narrow(wavy().predict(0.25))).abs() < 1e-7 && raster[1].is_nan());
    assert!(wavy().predict(f64::NAN).is_nan());
}

#[test]
fn monotone_is_monotone() {
    let calibrator = wavy();
    assert!(!calibrator.is_monotone());
    let monotone = calibrator.monotone();
    assert!(monotone.is_monotone() && monotone.largest_fall() < 1e-12, "{}", monotone.largest_fall());
    let identity = Calibrator::from_table(vec![0.0, 1.0], "a line").expect("valid");
    assert!((identity.predict(0.3) - 0.3).abs() < 1e-15 && identity.is_monotone());
}

#[test]
fn files_round_trip_and_changes_are_found() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("c.json");
    let points = Calibrator::from_points(vec![0.125, 0.5, 0.75], vec![0.5, 0.25, 0.875], "points").expect("valid");
    let warm = Calibrator::from_temperature(0.625, "a temperature").expect("valid");
    for calibrator in [wavy(), wavy().monotone(), points, warm] {
        calibrator.save(&path).expect("saves");
        assert_eq!(Calibrator::load(&path).expect("loads"), calibrator);
        let text = std::fs::read_to_string(&path).expect("reads");
        let at = text.rfind("0.").expect("a number");
        let changed = format!("{}9.{}", &text[..at], &text[at + 2..]);
        let message = Calibrator::from_bytes("c", changed.as_bytes()).expect_err("changed").to_string();
        assert!(message.contains("SHA-256"), "{message}");
    }
    assert!(Calibrator::from_bytes("c", b"{}").is_err());
    assert!(wavy().save(folder.path().join("none/c.json")).is_err());
}

#[test]
fn impossible_calibrators_are_refused() {
    assert!(Calibrator::from_kernel(1.0, vec![], vec![], "").is_err());
    assert!(Calibrator::from_kernel(0.0, vec![0.0], vec![1.0], "").is_err());
    assert!(Calibrator::from_kernel(1.0, vec![0.0], vec![1.0, 2.0], "").is_err());
    assert!(Calibrator::from_kernel(1.0, vec![f64::NAN], vec![1.0], "").is_err());
    assert!(Calibrator::from_table(vec![1.0], "").is_err());
    for points in [vec![], vec![0.5, 0.5], vec![0.5, 0.25], vec![-0.5, 0.5], vec![0.5, 1.5], vec![f64::NAN, 0.5]] {
        assert!(Calibrator::from_points(points.clone(), vec![0.5; points.len()], "").is_err(), "{points:?}");
    }
    assert!(Calibrator::from_points(vec![0.5], vec![0.5, 0.5], "").is_err());
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Calibrator::from_temperature(temperature, "").is_err());
    }
}

#[test]
fn points_by_hand() {
    let calibrator = Calibrator::from_points(vec![0.25, 0.5, 1.0], vec![0.5, 0.25, 0.75], "a test").expect("valid");
    for (c, expected) in [(-1.0, 0.5), (0.0, 0.5), (0.25, 0.5), (0.375, 0.375), (0.5, 0.25), (0.75, 0.5), (2.0, 0.75)] {
        assert!((calibrator.predict(c) - expected).abs() < 1e-15, "{c}");
        assert_eq!(calibrator.predict(c), calibrator.curve().value(c));
    }
    assert!(calibrator.predict(f64::NAN).is_nan() && calibrator.curve().value(f64::NAN).is_nan());
    assert!((calibrator.largest_fall() - 0.25).abs() < 1e-12);
}

#[test]
fn temperatures_by_hand() {
    let calibrator = Calibrator::from_temperature(2.0, "a test").expect("valid");
    // p = 0.9 has the logit ln 9, of which half is ln 3: 3 to 1.
    let c = crate::infer::postprocess::confidence(0.9);
    assert!((calibrator.predict(c) - 0.75).abs() < 1e-12);
    assert!((calibrator.predict(0.0) - 0.5).abs() < 1e-12 && calibrator.predict(f64::NAN).is_nan());
    for temperature in [1e-3, 0.1, 0.5, 1.0, 3.0, 100.0] {
        let calibrator = Calibrator::from_temperature(temperature, "a test").expect("valid");
        let curve = calibrator.curve();
        let mut largest = 0.0_f64;
        for i in 0..=20_000 {
            let c = f64::from(i) / 20_000.0;
            largest = largest.max((calibrator.predict(c) - curve.value(c)).abs());
        }
        println!("temperature {temperature}: the curve differs by up to {largest:.1e}");
        assert!(largest < if temperature < 0.1 { 2e-5 } else { 1e-7 }, "{temperature}: {largest:e}");
        assert!(calibrator.is_monotone() && calibrator.largest_fall() == 0.0);
    }
}

/// Samples from which calibrators are fitted.
fn fits(samples: &[(f64, bool)]) -> Vec<Calibrator> {
    let mut reliability = crate::evaluate::reliability::Reliability::new();
    let mut logits = crate::evaluate::temperature::Logits::new();
    for &(c, correct) in samples {
        reliability.add(c, correct);
        logits.add(logit_of_confidence(c), correct);
    }
    vec![
        crate::evaluate::isotonic::fit_isotonic(&reliability, "isotonic").expect("samples"),
        logits.fit("temperature").expect("samples"),
    ]
}

proptest! {
    /// A monotone calibrator never lowers the order of confidences, not even by a rounding.
    #[test]
    fn fitted_calibrators_keep_the_order(
        samples in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 1..200),
        places in prop::collection::vec((0.0f64..=1.0, 0.0f64..1e-9), 1..50),
    ) {
        for calibrator in fits(&samples) {
            let curve = calibrator.curve();
            let mut at: Vec<f64> = places.iter().flat_map(|(c, step)| [*c, c + step, c.next_up()]).collect();
            at.extend(samples.iter().map(|sample| sample.0));
            at.sort_by(f64::total_cmp);
            for pair in at.windows(2) {
                let (low, high) = (calibrator.predict(pair[0]), calibrator.predict(pair[1]));
                prop_assert!(low <= high, "{} at {:?}: {low} {high}", calibrator.kind(), pair);
                let (low, high) = (curve.value(pair[0]), curve.value(pair[1]));
                prop_assert!(low <= high, "{} at {:?}: {low} {high}", calibrator.kind(), pair);
            }
            // And what is written is what is read.
            let text = calibrator.to_json().expect("finite");
            prop_assert_eq!(Calibrator::from_bytes("c", text.as_bytes()).expect("reads"), calibrator);
        }
    }
}

#[test]
fn the_origin_names_the_model() {
    let hash = "0123456789abcdef".repeat(4);
    let of =
        |origin: String| Calibrator::from_temperature(1.0, origin).expect("valid").model_sha256().map(str::to_owned);
    assert_eq!(of(format!("9 pixels of a.hdf5 (ALP), model {hash}")), Some(hash.clone()));
    assert_eq!(of(format!("9 pixels of a.hdf5, model {hash}; made monotone")), Some(hash.clone()));
    for other in ["a test".to_owned(), format!("model {hash}"), format!("a, model {hash}0"), "a, model é".to_owned()] {
        assert_eq!(of(other.clone()), None, "{other}");
    }
    assert_eq!(of(format!("a, model {}", "é".repeat(40))), None);
}
