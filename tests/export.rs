//! Models in half precision.

mod program;

use glavitu::model::Weights;
use program::{Workplace, glavitu};

#[test]
fn half_precision_halves_the_file_and_keeps_the_values() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let export = |model: &str, output: &str| {
        glavitu(&["export", "--half", &place.at(model), "-o", &place.at(output)].map(str::to_owned))
    };
    let run = export("model.safetensors", "half.safetensors");
    assert_eq!(run.code, Some(0), "{}", run.err);
    let load = |name: &str| Weights::load(place.path(name)).expect("a model");
    let (whole, half) = (load("model.safetensors"), load("half.safetensors"));
    assert!(run.out.contains(half.parameters_sha256()), "{}", run.out);
    let size = |name: &str| std::fs::metadata(place.path(name)).expect("a file").len();
    let values: usize = whole.tensors().iter().map(|(_, t)| t.data.len()).sum();
    assert_eq!(size("model.safetensors") - size("half.safetensors"), header_change(&place) + 2 * values as u64);
    for ((name, a), (other, b)) in whole.tensors().iter().zip(half.tensors()) {
        assert_eq!((name, &a.shape), (other, &b.shape));
        for (&a, &b) in a.data.iter().zip(&b.data) {
            // 11 significant bits; below 2^-14 the steps are 2^-24.
            assert!((a - b).abs() <= (a.abs() / 2048.0).max(2.0_f32.powi(-25)), "{name}: {a} became {b}");
        }
    }
    // Once rounded, nothing changes any more.
    assert_eq!(export("half.safetensors", "again.safetensors").code, Some(0));
    let bytes = |name: &str| std::fs::read(place.path(name)).expect("a file");
    assert!(bytes("half.safetensors") == bytes("again.safetensors"));
    assert_eq!(export("half.safetensors", "half.safetensors").code, Some(2));
}

/// How much shorter the header is, whose offsets have fewer digits.
fn header_change(place: &Workplace) -> u64 {
    let length = |name: &str| {
        let bytes = std::fs::read(place.path(name)).expect("a file");
        u64::from_le_bytes(*bytes.first_chunk().expect("a length"))
    };
    length("model.safetensors") - length("half.safetensors")
}

#[test]
fn values_beyond_the_range_are_refused() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let weights = Weights::load(place.path("model.safetensors")).expect("a model");
    let mut tensors = weights.tensors().to_vec();
    tensors[3].1.data[1] = 7e4;
    let name = tensors[3].0.clone();
    Weights::new(weights.config().clone(), weights.normalisation().clone(), "test", tensors)
        .and_then(|w| w.save(place.path("large.safetensors")))
        .expect("written");
    let args = ["export", "--half", &place.at("large.safetensors"), "-o", &place.at("o.safetensors")];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(
        run.err.contains(&name) && run.err.contains("70000 at position 1") && !place.path("o.safetensors").exists()
    );
}
