//! Import of scikit-learn calibrators, on one of made-up numbers and, where it is present, a published one.

use std::path::{Path, PathBuf};

use glavitu::evaluate::Calibrator;
use glavitu::evaluate::calibration_pickle::{import_calibrator, import_calibrator_bytes};
use proptest::prelude::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    println!("skipped: no folder {}", folder.display());
    None
}

/// The largest difference from checked values, of the exact sum and of the fast curve.
fn differences(calibrator: &Calibrator, json: &Path) -> (f64, f64) {
    let text = std::fs::read_to_string(json).expect("reads");
    let checked: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = |key: &str| -> Vec<f64> { serde_json::from_value(checked[key].clone()).expect("numbers") };
    let curve = calibrator.curve();
    let (mut exact, mut fast) = (0.0_f64, 0.0_f64);
    for (c, f) in list("check_c").into_iter().zip(list("check_f")) {
        exact = exact.max((calibrator.predict(c) - f).abs());
        fast = fast.max((curve.value(c) - f).abs());
    }
    println!("{}: exact {exact:.1e}, fast {fast:.1e}", json.display());
    (exact, fast)
}

#[test]
fn made_up_calibrator_agrees_with_scikit_learn() {
    for name in ["calibrator.pickle", "calibrator_protocol2.pickle", "calibrator_protocol5.pickle"] {
        let calibrator = import_calibrator(data(name)).expect(name);
        assert_eq!((calibrator.kind(), calibrator.points(), calibrator.gamma()), ("kernel", 31, Some(1.0)));
        let (exact, fast) = differences(&calibrator, &data("calibrator.json"));
        assert!(exact <= 1e-9 && fast <= 1e-9, "{name}: {exact:e}, {fast:e}");
    }
}

#[test]
fn published_calibrator_agrees() {
    let Some(path) = shared("data/calibrators/glavitu_global_softmax.pickle") else { return };
    let calibrator = import_calibrator(&path).expect("imports");
    let (exact, fast) = differences(&calibrator, &path.with_extension("json"));
    assert!(exact <= 1e-9 && fast <= 1e-9, "{exact:e}, {fast:e}");
    println!("largest fall {:.1e}", calibrator.largest_fall());
}

#[test]
fn other_pickles_are_no_calibrators() {
    let message = import_calibrator(data("calibrator_rbf.pickle")).expect_err("another kernel").to_string();
    assert!(message.contains("the kernel 'rbf'"), "{message}");
    let message = import_calibrator(data("tiny_global.json")).expect_err("no pickle").to_string();
    assert!(message.contains("a JSON text"), "{message}");
    let Some(path) = shared("data/calibrators/dataset_stats.pickle") else { return };
    let message = import_calibrator(path).expect_err("statistics").to_string();
    assert!(message.contains("dictionary (optical, ") && message.contains("not a calibrator"), "{message}");
}

#[test]
fn malicious_pickles_run_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let witness = folder.path().join("it_ran");
    let command = format!("touch {}", witness.display());
    let length = u8::try_from(command.len()).expect("short");

    // Protocol 4: os.system through STACK_GLOBAL and REDUCE.
    let mut modern = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c".to_vec();
    modern.push(length);
    modern.extend(command.as_bytes());
    modern.extend(b"\x85R.");
    // Protocol 2: the same through GLOBAL; protocol 0: through INST.
    let mut old = b"\x80\x02cposix\nsystem\n(X".to_vec();
    old.extend([length, 0, 0, 0]);
    old.extend(command.as_bytes());
    old.extend(b"tR.");
    let mut oldest = b"(X".to_vec();
    oldest.extend([length, 0, 0, 0]);
    oldest.extend(command.as_bytes());
    oldest.extend(b"ios\nsystem\n.");

    for (bytes, name) in [(modern, "os.system"), (old, "posix.system"), (oldest, "os.system")] {
        let error = import_calibrator_bytes("evil.pickle", &bytes).expect_err("refused");
        assert!(error.is_bad_input());
        let message = error.to_string();
        assert!(message.contains(&format!("calls for {name}")) && message.contains("nothing"), "{message}");
    }
    assert!(!witness.exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_pickles_never_panic(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>()) {
        let mut bytes = std::fs::read(data("calibrator.pickle")).expect("reads");
        for (position, value) in changes {
            let position = position % bytes.len();
            bytes[position] = value;
        }
        if cut % 4 == 0 {
            bytes.truncate(cut % bytes.len());
        }
        if let Ok(calibrator) = import_calibrator_bytes("m.pickle", &bytes) {
            let value = calibrator.curve().value(0.5);
            prop_assert!((0.0..=1.0).contains(&value));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = import_calibrator_bytes("m.pickle", &bytes);
        let _ = Calibrator::from_bytes("m.json", &bytes);
    }
}
