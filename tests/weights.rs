//! Keras import and weight files, on files made by the published implementation.

use std::path::{Path, PathBuf};

use glavitu::model::keras::{LocationKind, import_keras, import_keras_bytes};
use glavitu::model::parameters::count;
use glavitu::model::{Feature, Location, ModelConfig, Weights, arrays, parameters};
use hdf5_reader::Hdf5File;
use proptest::prelude::*;

const OPTICAL_DEM: [Feature; 2] = [Feature::Optical, Feature::Dem];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A file that is too large or not free to commit; `None` (with a line) where the folder is absent.
fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    println!("skipped: no folder {}", folder.display());
    None
}

fn tiny(name: &str) -> Weights {
    import_keras(data(name), &OPTICAL_DEM, &LocationKind::Guess).expect("imports")
}

fn error_of<T>(result: glavitu::Result<T>) -> String {
    let error = result.err().expect("an error");
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

#[test]
fn tiny_files_give_their_sizes() {
    let global = tiny("tiny_global.h5");
    let expected =
        ModelConfig { filters: 8, embedding: 8, mlp: 32, blocks: 2, heads: 2, tile: 64, ..ModelConfig::default() };
    assert_eq!(*global.config(), expected);
    assert_eq!(count(&parameters(global.config())).0, 151_276);
    assert!(global.origin().starts_with("Keras weights tiny_global.h5, SHA-256 "));

    let region = tiny("tiny_region.h5");
    assert_eq!(region.config().location, Location::published_regions());
    assert_eq!(count(&parameters(region.config())).0, 151_516);

    let fixed = tiny("tiny_global_fixed_strings.h5");
    assert_eq!(fixed.parameters_sha256(), global.parameters_sha256());
}

/// In this one file the session counters were looked up, so that names can check what order gave.
#[test]
fn tensors_land_under_the_right_names() {
    let pairs = [
        ("fusion.optical.conv1.kernel", "fusion_block/fusion_block/conv_batch_norm_act_x2/conv2d/kernel:0"),
        ("fusion.dem.conv2.bias", "fusion_block/fusion_block/conv_batch_norm_act_x2_1/conv2d_3/bias:0"),
        ("fusion.dem.bn2.gamma", "fusion_block/fusion_block/conv_batch_norm_act_x2_1/batch_normalization_3/gamma:0"),
        (
            "fusion.dem.bn1.variance",
            "fusion_block/fusion_block/conv_batch_norm_act_x2_1/batch_normalization_2/moving_variance:0",
        ),
        ("fusion.dem.squeeze.kernel", "fusion_block/fusion_block/dense_2/kernel:0"),
        ("fusion.optical.excite.bias", "fusion_block/fusion_block/dense_1/bias:0"),
        ("location.bn2.mean", "location_encoding_block/location_encoding_block/batch_normalization_1/moving_mean:0"),
        ("location.dense2.kernel", "location_encoding_block/location_encoding_block/dense_1/kernel:0"),
        ("transformer.position", "SETR/SETR/add_positional_embedding/positional_embedding:0"),
        ("transformer.decoder.bn2.mean", "SETR/SETR/batch_normalization_3/moving_mean:0"),
        ("transformer.decoder.conv4.kernel", "SETR/SETR/conv2d_3/kernel:0"),
        ("transformer.decoder.project.bias", "SETR/SETR/conv2d_4/bias:0"),
        (
            "transformer.block02.attention.value.kernel",
            "SETR/SETR/transformer_block_1/multi_head_attention_1/value/kernel:0",
        ),
        (
            "transformer.block01.attention.output.kernel",
            "SETR/SETR/transformer_block/multi_head_attention/attention_output/kernel:0",
        ),
        ("transformer.block02.norm2.beta", "SETR/SETR/transformer_block_1/layer_normalization_3/beta:0"),
        ("unet.bottleneck.project.kernel", "ResUNet/ResUNet/residual_with_projection_3/dense_10/kernel:0"),
        ("unet.up2.kernel", "ResUNet/ResUNet/up_conv_1/conv2d_16/kernel:0"),
        ("unet.up3.bn.variance", "ResUNet/ResUNet/up_conv_2/batch_normalization_20/moving_variance:0"),
        (
            "unet.decoder2.bn1.mean",
            "ResUNet/ResUNet/residual_with_projection_5/conv_batch_norm_act_x2_5/batch_normalization_18/moving_mean:0",
        ),
        ("unet.output.bias", "ResUNet/ResUNet/dense_14/bias:0"),
        ("output.kernel", "output/output/kernel:0"),
    ];
    let weights = tiny("tiny_region.h5");
    let file = Hdf5File::open(data("tiny_region.h5")).expect("opens");
    for (ours, theirs) in pairs {
        // Some groups repeat their name inside, some do not.
        let short = theirs.split_once('/').map_or(theirs, |(_, rest)| rest);
        let set = file.dataset(theirs).or_else(|_| file.dataset(short)).expect(theirs);
        let mut values = vec![0.0_f32; usize::try_from(set.num_elements().expect("length")).expect("fits")];
        set.read_into(&mut values).expect("reads");
        assert_eq!(weights.get(ours).expect(ours).data, values, "{ours}");
    }
}

#[test]
fn published_size() {
    let Some(path) = shared("fixtures/full/random_global.h5") else { return };
    let weights = import_keras(path, &OPTICAL_DEM, &LocationKind::Guess).expect("imports");
    assert_eq!(*weights.config(), ModelConfig::default());
    assert_eq!(count(&parameters(weights.config())), (10_032_068, 10_024_516));
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.safetensors");
    weights.save(&path).expect("saves");
    assert!(Weights::load(path).expect("loads") == weights);
}

#[test]
fn wrong_keras_files_are_explained() {
    let import =
        |name: &str, features: &[Feature], kind: LocationKind| error_of(import_keras(data(name), features, &kind));
    let message = import("tiny_global.h5", &[Feature::Optical, Feature::Thermal], LocationKind::Guess);
    assert!(message.contains("2 features with 6, 2 channels") && message.contains("6, 1 channels"), "{message}");
    let message = import("tiny_global.h5", &[Feature::Optical], LocationKind::Guess);
    assert!(message.contains("--features"), "{message}");
    let message = import("tiny_global.h5", &OPTICAL_DEM, LocationKind::Coordinates);
    assert!(message.contains("without a location encoding"), "{message}");
    let message = import("tiny_region.h5", &OPTICAL_DEM, LocationKind::Coordinates);
    assert!(message.contains("12 entries"), "{message}");
    let message = import("tiny_region.h5", &OPTICAL_DEM, LocationKind::Regions(Some(vec!["A".into()])));
    assert!(message.contains("region names"), "{message}");
    let message = import("tiny_global.json", &OPTICAL_DEM, LocationKind::Guess);
    assert!(message.contains("found a JSON text"), "{message}");
    let message = import("no such file.h5", &OPTICAL_DEM, LocationKind::Guess);
    assert!(message.contains("cannot read"), "{message}");

    let names: Vec<String> = ('A'..='K').map(String::from).collect();
    let own = import_keras(data("tiny_region.h5"), &OPTICAL_DEM, &LocationKind::Regions(Some(names)));
    assert_eq!(own.expect("imports").config().location_size(), 12);
}

#[test]
fn truncated_keras_files_are_explained() {
    let bytes = std::fs::read(data("tiny_global.h5")).expect("reads");
    for length in [0, 1, 8, 96, 1000, 50_000, bytes.len() / 2, bytes.len() - 1] {
        error_of(import_keras_bytes("t.h5", bytes[..length].to_vec(), &OPTICAL_DEM, &LocationKind::Guess));
    }
}

#[test]
fn weight_files_round_trip_with_equal_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let (first, second) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    let weights = tiny("tiny_region.h5");
    weights.save(&first).expect("saves");
    let loaded = Weights::load(&first).expect("loads");
    assert!(loaded == weights);
    loaded.save(&second).expect("saves");
    assert!(std::fs::read(&first).expect("reads") == std::fs::read(&second).expect("reads"));
    let names: Vec<_> = arrays::read_arrays(&first).expect("reads").into_iter().map(|a| a.name).collect();
    let expected: Vec<_> = parameters(weights.config()).into_iter().map(|p| p.name).collect();
    assert_eq!(names, expected);

    assert!(error_of(weights.save(folder.path().join("none/a.safetensors"))).contains("no folder"));
}

#[test]
fn changed_weight_files_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.safetensors");
    tiny("tiny_global.h5").save(&path).expect("saves");
    let bytes = std::fs::read(&path).expect("reads");

    let mut changed = bytes.clone();
    let last = changed.len() - 4;
    changed[last] ^= 1;
    assert!(error_of(Weights::from_bytes("m", &changed)).contains("SHA-256"));

    let mut infinite = bytes.clone();
    infinite[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(error_of(Weights::from_bytes("m", &infinite)).contains("output.bias: inf at position 1"));

    let weights = tiny("tiny_global.h5");
    let negative = weights.tensors().iter().cloned().map(|(name, mut tensor)| {
        if name == "unet.up1.bn.variance" {
            tensor.data[3] = -0.5;
        }
        (name, tensor)
    });
    let rebuilt = Weights::new(weights.config().clone(), weights.normalisation().clone(), "a test", negative);
    assert!(error_of(rebuilt).contains("unet.up1.bn.variance: -0.5 at position 3"));

    let text = String::from_utf8_lossy(&bytes[..40_000]).into_owned();
    let at = text.find("\"unet.output.bias\"").expect("in the header");
    let mut renamed = bytes.clone();
    renamed[at + 1] = b'U';
    assert!(error_of(Weights::from_bytes("m", &renamed)).contains("unet.output.bias: none"));

    assert!(error_of(Weights::from_bytes("m", &bytes[..bytes.len() - 1])).contains("safetensors"));
    let arrays_only = error_of(Weights::load(data("tiny_global_inference.safetensors")));
    assert!(arrays_only.contains("'format'"), "{arrays_only}");
    assert!(error_of(Weights::load(data("tiny_global.h5"))).contains("an HDF5 file"));
}

#[test]
fn inference_arrays_are_read() {
    let arrays = arrays::read_arrays(data("tiny_global_inference.safetensors")).expect("reads");
    let optical = arrays.iter().find(|a| a.name == "input.optical").expect("there");
    assert_eq!(optical.shape, [2, 64, 64, 6]);
    let output = arrays.iter().find(|a| a.name == "inference.output").expect("there");
    let sum: f32 = output.data[..2].iter().sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

/// Changes a few bytes. Most of a weight file is numbers, so half of the changes go to its first part.
fn mutate(bytes: &mut [u8], changes: &[(bool, usize, u8)]) {
    for &(early, position, value) in changes {
        let range = if early { bytes.len().min(12_000) } else { bytes.len() };
        bytes[position % range] = value;
    }
}

fn changes() -> impl Strategy<Value = Vec<(bool, usize, u8)>> {
    let value = prop_oneof![Just(0_u8), Just(0xff), Just(0x7f), any::<u8>()];
    prop::collection::vec((any::<bool>(), any::<usize>(), value), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_keras_files_never_panic(changes in changes(), fixed in any::<bool>()) {
        let name = if fixed { "tiny_global_fixed_strings.h5" } else { "tiny_global.h5" };
        let mut bytes = std::fs::read(data(name)).expect("reads");
        mutate(&mut bytes, &changes);
        if let Err(error) = import_keras_bytes("m.h5", bytes, &OPTICAL_DEM, &LocationKind::Guess) {
            prop_assert!(error.is_bad_input());
        }
    }

    #[test]
    fn mutated_weight_files_never_load_quietly(changes in changes()) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("m.safetensors");
        let weights = tiny("tiny_global.h5");
        weights.save(&path).expect("saves");
        let mut bytes = std::fs::read(&path).expect("reads");
        mutate(&mut bytes, &changes);
        match Weights::from_bytes("m", &bytes) {
            Ok(loaded) => prop_assert_eq!(loaded.parameters_sha256(), weights.parameters_sha256()),
            Err(error) => prop_assert!(error.is_bad_input()),
        }
    }
}
