//! Tile files: the published layout, windows, selections, batches and hostile input.

#![expect(clippy::cast_possible_truncation, reason = "test data are made up to fit")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use glavitu::Error;
use glavitu::dataset::augmentation::Augmentation;
use glavitu::dataset::batches::{Batch, Prefetch, consecutive_batch, consecutive_batches, random_batch};
use glavitu::dataset::sampling::{Patch, Selection, TileSet, Unlabelled};
use glavitu::dataset::tile_file::{TileArray, TileFile, TileWindow};
use glavitu::model::{Feature, Location};
use proptest::prelude::*;

const PUBLISHED: [&str; 2] = ["contiguous.hdf5", "chunked_gzip_shuffle.hdf5"];
const SMALL: [&str; 2] = ["small.hdf5", "small_latest.hdf5"];
const ARRAYS: [TileArray; 7] = [
    TileArray::Feature(Feature::Optical),
    TileArray::Feature(Feature::Dem),
    TileArray::Feature(Feature::CoPolSar),
    TileArray::Feature(Feature::CrossPolSar),
    TileArray::Feature(Feature::InSar),
    TileArray::Feature(Feature::Thermal),
    TileArray::Outlines,
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiles").join(name)
}

fn open(name: &str) -> TileFile {
    TileFile::open(path(name)).expect("a tile file")
}

fn selection(tile: usize) -> Selection {
    Selection { tile, ..Selection::new(vec![Feature::Optical, Feature::Dem]) }
}

fn set(name: &str, selection: &Selection) -> TileSet {
    TileSet::open(&[path(name)], selection).expect("a selection that the file meets")
}

fn whole(file: &TileFile, tile: usize, array: TileArray) -> Vec<f32> {
    let info = &file.tiles()[tile];
    let window = TileWindow { row: 0, col: 0, height: info.height, width: info.width };
    file.read_window(tile, array, window).expect("the whole tile")
}

/// The window of an array read whole.
fn cut(values: &[f32], width: usize, channels: usize, window: TileWindow) -> Vec<f32> {
    (window.row..window.row + window.height)
        .flat_map(|row| {
            let first = (row * width + window.col) * channels;
            values[first..first + window.width * channels].iter().copied()
        })
        .collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("an error");
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

#[test]
fn the_published_layout_reads_as_expected() {
    let text = std::fs::read_to_string(path("expected.json")).expect("expected values");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let expected = expected.as_object().expect("tiles");
    for name in PUBLISHED {
        let file = open(name);
        assert_eq!(file.tiles().len(), expected.len(), "{name}");
        for (tile, info) in file.tiles().iter().enumerate() {
            let (attributes, datasets) = (&expected[&info.name]["attrs"], &expected[&info.name]["datasets"]);
            let number = |key: &str| attributes[key].as_f64().expect("a number");
            assert_eq!(attributes["region"], info.region.as_str());
            assert_eq!(attributes["subregion"], info.subregion.as_str());
            let sizes = [
                (info.height, "height"),
                (info.width, "width"),
                (info.padding.0, "padding_height"),
                (info.padding.1, "padding_width"),
                (info.original.0, "original_height"),
                (info.original.1, "original_width"),
            ];
            sizes.iter().for_each(|(found, key)| assert_eq!(*found as f64, number(key), "{name} {key}"));
            let place = info.place.expect("a place");
            assert_eq!(place.epsg, number("epsg"));
            assert_eq!(place.edges, ["xmin", "xmax", "ymin", "ymax"].map(number));
            assert!(info.labelled);
            for array in ARRAYS {
                let Some(dataset) = datasets.get(array.name()) else {
                    assert!(
                        message(file.read_window(tile, array, TileWindow { row: 0, col: 0, height: 1, width: 1 }))
                            .contains(array.name())
                    );
                    continue;
                };
                let values = whole(&file, tile, array);
                let shape = [info.height, info.width, array.channels()];
                assert_eq!(dataset["shape"], serde_json::json!(shape));
                let (sum, expected) =
                    (values.iter().map(|&v| f64::from(v)).sum::<f64>(), dataset["sum"].as_f64().expect("a sum"));
                // Each value is rounded to float32, by at most 2^-24 of itself; all are positive or small.
                let most: f64 = values.iter().map(|&v| f64::from(v.abs())).sum::<f64>() * 2.0_f64.powi(-24) + 1e-9;
                assert!((sum - expected).abs() <= most, "{name} {} {}: {sum} {expected}", info.name, array.name());
            }
        }
    }
    // Both files hold the same tiles.
    let [a, b] = PUBLISHED.map(open);
    assert_eq!(a.tiles(), b.tiles());
    for tile in 0..a.tiles().len() {
        assert_eq!(whole(&a, tile, ARRAYS[0]), whole(&b, tile, ARRAYS[0]));
    }
}

#[test]
fn unusual_kinds_of_storage() {
    for name in SMALL {
        let file = open(name);
        let names: Vec<_> = file.tiles().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["AAA1-0-0", "AAA2-1-0", "BBB-2-3", "CCC-4-4"]);
        for (tile, info) in file.tiles().iter().enumerate() {
            for &feature in &info.features {
                let values = whole(&file, tile, TileArray::Feature(feature));
                let channels = feature.channels();
                for (i, &value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                    let (row, col, channel) = (i / channels / info.width, i / channels % info.width, i % channels);
                    assert_eq!(value, (7 * row + 3 * col + channel) as f32 / 256.0, "{name} {} {i}", info.name);
                }
                let odd = values.iter().filter(|v| !v.is_finite()).count();
                assert_eq!(odd, if tile == 0 && feature == Feature::Optical { 2 } else { 0 });
            }
        }
        let [first, second, third, _] = file.tiles() else { panic!("four tiles") };
        assert_eq!((second.subregion.as_str(), second.place, second.padding), ("AAA", None, (0, 0)));
        assert!(first.labelled && !third.labelled);
        // 10 x 20 pixels of 0.01 degrees, 5 rows and 2 columns of padding before them.
        let (latitude, longitude) = first.latitude_longitude(5.0, 2.0).expect("a place");
        assert!((latitude - 60.1).abs() < 1e-9 && (longitude - 10.0).abs() < 1e-9);
        let (latitude, longitude) = first.latitude_longitude(15.0, 22.0).expect("a place");
        assert!((latitude - 60.0).abs() < 1e-9 && (longitude - 10.2).abs() < 1e-9);
    }
}

#[test]
fn selections_choose_and_explain() {
    let tiles = |selection: &Selection| -> Vec<String> {
        set("contiguous.hdf5", selection).tiles().iter().map(|t| t.name.clone()).collect()
    };
    assert_eq!(tiles(&selection(64)), ["ALP-28-23", "HMA-110-76", "SC2-59-84"]);
    let chosen = Selection { regions: vec!["SC".into(), "ALP".into()], ..selection(64) };
    assert_eq!(tiles(&chosen), ["ALP-28-23", "SC2-59-84"]);
    assert_eq!(tiles(&Selection { subregions: vec!["SC2".into()], ..selection(64) }), ["SC2-59-84"]);
    let radar = Selection { features: vec![Feature::InSar, Feature::Optical], ..selection(64) };
    assert_eq!(tiles(&radar), ["ALP-28-23", "SC2-59-84"]);
    let all = set("contiguous.hdf5", &selection(64));
    assert_eq!(all.regions(), ["ALP", "HMA", "SC"]);
    // 2 x 2, 3 x 2 and 2 x 2 patches.
    assert_eq!((all.patches(), all.steps_per_epoch(4), all.steps_per_epoch(100)), (14, 12, 1));
    let both = TileSet::open(&PUBLISHED.map(path), &selection(64)).expect("two files");
    assert_eq!((both.patches(), both.tiles().len()), (28, 6));

    let refuse = |name: &str, selection: Selection| message(TileSet::open(&[path(name)], &selection));
    let text = refuse("contiguous.hdf5", Selection { regions: vec!["NZ".into()], ..selection(64) });
    assert!(text.contains("no tile in NZ") && text.contains("ALP (1), HMA (1), SC (1)"), "{text}");
    let text = refuse(
        "contiguous.hdf5",
        Selection { regions: vec!["HMA".into()], features: vec![Feature::InSar], ..selection(64) },
    );
    assert!(text.contains("in_sar") && text.contains("thermal (1)") && !text.contains("in_sar (1)"), "{text}");
    let text = refuse("contiguous.hdf5", selection(384));
    assert!(text.contains("128 x 128") && text.contains("384 x 384"), "{text}");
    let text = refuse("small.hdf5", Selection { regions: vec!["BBB".into()], ..selection(16) });
    assert!(text.contains("outlines") && text.contains("optical (1)"), "{text}");
    let place = |region: &str, features| Selection {
        regions: vec![region.into()],
        location: Location::Coordinates,
        features,
        ..selection(16)
    };
    let text = refuse("small.hdf5", place("CCC", vec![Feature::Dem]));
    assert!(text.contains("EPSG 32633"), "{text}");
    let text = refuse("small.hdf5", place("AAA", vec![Feature::Thermal]));
    assert!(text.contains("no place"), "{text}");
    refuse("contiguous.hdf5", selection(0));
    refuse("contiguous.hdf5", Selection { features: vec![], ..selection(64) });
    message(TileSet::open(&[], &selection(64)));
    message(TileFile::open(path("missing.hdf5")));
    assert!(message(TileFile::open(path(""))).contains("folder"));
    assert!(message(TileFile::open(path("expected.json"))).contains("expected.json"));
}

#[test]
fn consecutive_patches_cover_each_tile_once() {
    let set = set("small.hdf5", &Selection { tile: 7, ..selection(7) });
    // 20 x 24 and 32 x 16 pixels in patches of 7: 2 x 3 and 4 x 2.
    assert_eq!(set.patches(), 14);
    let mut seen = HashSet::new();
    for index in 0..set.patches() {
        let Patch { tile, row, col } = set.patch(index).expect("a patch");
        assert!(
            row % 7 == 0 && col % 7 == 0 && row + 7 <= set.tiles()[tile].height && col + 7 <= set.tiles()[tile].width
        );
        assert!(seen.insert((tile, row, col)));
        let window = TileWindow { row, col, height: 7, width: 7 };
        let values = set.read(Patch { tile, row, col }, TileArray::Outlines).expect("labels");
        let file = open("small.hdf5");
        assert_eq!(values, cut(&whole(&file, tile, TileArray::Outlines), set.tiles()[tile].width, 2, window));
    }
    assert_eq!(set.patch(14), None);
}

#[test]
fn unlabelled_pixels_stay_or_become_background() {
    let batch = |unlabelled, smoothing| {
        let set = set("small.hdf5", &Selection { unlabelled, ..selection(16) });
        let batch = random_batch(&set, 3, &Augmentation::none(), smoothing, 1, 0, 0).expect("a batch");
        let target = &batch.arrays["target"];
        let mut kinds: Vec<_> =
            target.as_chunks::<2>().0.iter().map(|p| p.map(|v| (v * 100.0).round() as i32)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    assert_eq!(batch(Unlabelled::Ignore, 0.0), [[0, 0], [0, 100], [100, 0]]);
    assert_eq!(batch(Unlabelled::Ignore, 0.1), [[0, 0], [5, 95], [95, 5]]);
    assert_eq!(batch(Unlabelled::Background, 0.0), [[0, 100], [100, 0]]);
    assert_eq!(batch(Unlabelled::Background, 0.1), [[5, 95], [95, 5]]);
}

#[test]
fn random_batches_depend_on_their_arguments_only() {
    let location = Location::Regions(vec!["AAA".into(), "ALP".into(), "SC".into(), "unknown".into()]);
    let set = set("chunked_gzip_shuffle.hdf5", &Selection { location, ..selection(32) });
    let published = Augmentation::default();
    let make = |seed, epoch, step| random_batch(&set, 4, &published, 0.1, seed, epoch, step).expect("a batch");
    let first = make(1, 2, 3);
    assert_eq!(first, make(1, 2, 3));
    for other in [make(2, 2, 3), make(1, 3, 2), make(1, 2, 4), make(1, 3, 3)] {
        assert_ne!(first.arrays["target"], other.arrays["target"]);
    }
    assert_eq!((first.samples, first.patches.len(), first.location_known.len()), (4, 4, 4));
    assert_eq!(first.arrays["input.optical"].len(), 4 * 32 * 32 * 6);
    assert_eq!(first.arrays["input.dem"].len(), 4 * 32 * 32 * 2);
    assert_eq!(first.arrays["target"].len(), 4 * 32 * 32 * 2);
    for step in 0..20 {
        let Batch { arrays, patches, location_known, .. } = make(5, 0, step);
        let regions = patches.iter().map(|patch| set.tiles()[patch.tile].region.as_str());
        for ((vector, region), known) in
            arrays["input.location"].as_chunks::<4>().0.iter().zip(regions).zip(location_known)
        {
            let expected = match (region, known) {
                ("ALP", true) => [0.0, 1.0, 0.0, 0.0],
                ("SC", true) => [0.0, 0.0, 1.0, 0.0],
                ("HMA", true) => panic!("a region that the model does not have"),
                _ => [0.0, 0.0, 0.0, 1.0],
            };
            assert_eq!(*vector, expected);
        }
    }
    for (batch, smoothing) in [(0, 0.1), (usize::MAX, 0.1), (2, 1.5), (2, f64::NAN)] {
        message(random_batch(&set, batch, &published, smoothing, 1, 0, 0));
    }
    message(random_batch(&set, 2, &Augmentation { crop: 2.0, ..published.clone() }, 0.1, 1, 0, 0));
}

#[test]
fn random_patches_are_spread_evenly() {
    let set = set("small.hdf5", &Selection { tile: 15, ..selection(15) });
    // The labels of a patch tell nothing of its place; the first DEM value does: 7 row + 3 col, in 256ths.
    let mut counts = [[0_u32; 100]; 2];
    let rounds = 1_000;
    for step in 0..rounds {
        let batch = random_batch(&set, 4, &Augmentation::none(), 0.0, 11, 0, step).expect("a batch");
        for sample in batch.arrays["input.dem"].chunks_exact(15 * 15 * 2) {
            let place = (sample[0] * 256.0) as usize;
            // The first tile leaves 6 x 10 places, the second 18 x 2.
            counts[usize::from(place > 5 * 7 + 9 * 3)][place.min(99)] += 1;
        }
    }
    // Every place of the first tile is reached.
    let reached = |place: usize| counts[0][place] + counts[1][place] > 0;
    for row in 0..6 {
        for col in 0..10 {
            assert!(reached(7 * row + 3 * col), "{row} {col}");
        }
    }
    // 7 row + 3 col is above the first tile's 62 in 9 of 18 rows of the second, which gives half of the patches.
    let expected = f64::from(4 * u32::try_from(rounds).expect("small")) * 0.5 * 9.0 / 18.0;
    let found: u32 = counts[1].iter().sum();
    assert!((f64::from(found) - expected).abs() < 4.0 * (expected * 0.75).sqrt(), "{found} {expected}");
}

#[test]
fn numbers_that_are_none_become_zero() {
    let set = set("small.hdf5", &selection(16));
    for index in 0..consecutive_batches(&set, 1) {
        let batch = consecutive_batch(&set, 1, index).expect("a batch");
        assert!(batch.arrays.values().flatten().all(|v| v.is_finite()));
    }
}

#[test]
fn validation_takes_every_patch_with_and_without_its_region() {
    let plain = set("contiguous.hdf5", &selection(64));
    assert_eq!(consecutive_batches(&plain, 4), 4);
    let mut regions = Vec::new();
    for index in 0..4 {
        let batch = consecutive_batch(&plain, 4, index).expect("a batch");
        assert_eq!(batch.arrays["target"].len(), 4 * 64 * 64 * 2);
        assert!(!batch.arrays.contains_key("input.location") && batch.location_known.iter().all(|k| *k));
        assert_eq!(batch.samples, if index == 3 { 2 } else { 4 });
        let extra = &batch.arrays["target"][batch.samples * 64 * 64 * 2..];
        assert!(extra.iter().all(|t| *t == 0.0));
        regions.extend(batch.patches.iter().map(|patch| plain.tiles()[patch.tile].region.clone()));
    }
    assert_eq!(regions.join(" "), "ALP ALP ALP ALP HMA HMA HMA HMA HMA HMA SC SC SC SC");
    message(consecutive_batch(&plain, 4, 4));
    message(consecutive_batch(&plain, 0, 0));

    let encoded = set("contiguous.hdf5", &Selection { location: Location::published_regions(), ..selection(64) });
    assert_eq!(consecutive_batches(&encoded, 3), 10);
    let size = 64 * 64 * 2;
    let (mut vectors, mut targets, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..10 {
        let batch = consecutive_batch(&encoded, 3, index).expect("a batch");
        vectors.extend(batch.arrays["input.location"].chunks_exact(12).take(batch.samples).map(<[f32]>::to_vec));
        targets.extend(batch.arrays["target"].chunks_exact(size).take(batch.samples).map(<[f32]>::to_vec));
        known.extend(batch.location_known);
    }
    assert_eq!((vectors.len(), targets.len()), (28, 28));
    for patch in 0..14 {
        let (with, without) = (2 * patch, 2 * patch + 1);
        assert_eq!(targets[with], targets[without]);
        assert_eq!(targets[with], plain.read_target(plain.patch(patch).expect("a patch")).expect("labels"));
        assert!(known[with] && !known[without]);
        assert_eq!((vectors[with][11], vectors[without][11]), (0.0, 1.0));
        assert_eq!((vectors[with].iter().sum::<f32>(), vectors[without].iter().sum::<f32>()), (1.0, 1.0));
    }
    // ALP, HMA and SC in the published order.
    assert_eq!((vectors[0][0], vectors[8][5], vectors[20][9]), (1.0, 1.0, 1.0));
}

#[test]
fn coordinates_of_a_patch_are_its_centres() {
    let set = set("contiguous.hdf5", &Selection { location: Location::Coordinates, ..selection(64) });
    let batch = consecutive_batch(&set, 14, 0).expect("a batch");
    let vectors = batch.arrays["input.location"].as_chunks::<4>().0;
    // ALP: pixels of 0.0001 degrees from 46.41 N, 7.9 E; 14 rows and 19 columns of padding before.
    let (latitude, longitude) = (46.41_f64 - 0.0001 * (32.0 - 14.0), 7.9_f64 + 0.0001 * (64.0 + 32.0 - 19.0));
    let expected = [latitude.to_radians().sin_cos(), longitude.to_radians().sin_cos()];
    let expected = [expected[0].0, expected[0].1, expected[1].0, expected[1].1];
    for (found, expected) in vectors[1].iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-7, "{:?} {expected}", vectors[1]);
    }
}

#[test]
fn prefetching_keeps_the_order_and_the_bound() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let make = move |i: usize| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(i * i)
    };
    let mut items = Prefetch::new(5..40, 4, 3, make).expect("threads");
    assert_eq!(items.next().and_then(Result::ok), Some(25));
    // One taken, at most three waiting or in the making.
    assert!(made.load(Ordering::SeqCst) <= 4);
    let rest: Vec<_> = items.by_ref().map(|i| i.expect("a number")).collect();
    assert_eq!(rest, (6..40).map(|i| i * i).collect::<Vec<_>>());
    assert!(items.next().is_none());
    assert_eq!(Prefetch::new(3..3, 0, 0, Ok).expect("threads").count(), 0);
    assert_eq!(Prefetch::new(0..9, 0, 0, Ok).expect("threads").count(), 9);
}

#[test]
fn prefetching_ends_after_an_error_and_when_dropped() {
    let fail = |i: usize| if i == 4 { Err(Error::Interrupted) } else { Ok(i) };
    let items: Vec<_> = Prefetch::new(0..100, 3, 8, fail).expect("threads").collect();
    assert_eq!(items.len(), 5);
    assert!(items[..4].iter().all(Result::is_ok) && matches!(items[4], Err(Error::Interrupted)));

    let running = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&running);
    let mut items = Prefetch::new(0..usize::MAX, 2, 4, move |i| Ok((i, Arc::clone(&flag)))).expect("threads");
    assert_eq!(items.next().and_then(Result::ok).map(|(i, _)| i), Some(0));
    drop(items);
    // No thread is left that holds what `make` holds.
    assert_eq!(Arc::strong_count(&running), 1);
}

#[test]
fn a_panic_reaches_the_thread_that_waits() {
    let result = std::panic::catch_unwind(|| {
        let items = Prefetch::new(0..10, 2, 2, |i| if i == 3 { panic!("a defect") } else { Ok(i) }).expect("threads");
        items.count()
    });
    assert!(result.is_err());
}

#[test]
fn batches_prefetched_are_those_made_one_by_one() {
    let set = Arc::new(set("chunked_gzip_shuffle.hdf5", &selection(32)));
    let augmentation = Augmentation::default();
    let one = |step: u64| random_batch(&set, 2, &augmentation, 0.1, 3, 1, step).expect("a batch");
    let expected: Vec<_> = (0..6).map(one).collect();
    let (shared, varied) = (Arc::clone(&set), augmentation.clone());
    let make = move |step: usize| random_batch(&shared, 2, &varied, 0.1, 3, 1, step as u64);
    let found: Vec<_> = Prefetch::new(0..6, 3, 4, make).expect("threads").map(|b| b.expect("a batch")).collect();
    assert_eq!(found, expected);
}

/// Opens bytes as a tile file and reads everything in it: an error or finite work, never a panic.
fn exercise(bytes: Vec<u8>) {
    let file = match TileFile::from_bytes("hostile.hdf5", bytes) {
        Ok(file) => file,
        Err(error) => return assert!(error.is_bad_input(), "{error}"),
    };
    for (tile, info) in file.tiles().iter().enumerate() {
        let (height, width) = (info.height.min(40), info.width.min(40));
        for array in ARRAYS {
            let window = TileWindow { row: info.height - height, col: info.width - width, height, width };
            match file.read_window(tile, array, window) {
                Ok(values) => assert_eq!(values.len(), height * width * array.channels()),
                Err(error) => assert!(error.is_bad_input(), "{error}"),
            }
        }
    }
}

#[test]
fn files_cut_short_are_refused() {
    for name in SMALL.into_iter().chain(PUBLISHED) {
        let bytes = std::fs::read(path(name)).expect("a file");
        for part in 0..40 {
            let length = bytes.len() * part / 40;
            assert!(TileFile::from_bytes("cut.hdf5", bytes[..length].to_vec()).is_err(), "{name} {length}");
        }
        let text = message(TileFile::from_bytes("cut.hdf5", bytes[..bytes.len() - 1].to_vec()));
        assert!(text.contains(&format!("of {}", bytes.len())), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_equal_slices_of_the_whole(
        file in 0..4_usize, tile in 0..3_usize, array in 0..7_usize,
        top in 0.0..1.0_f64, left in 0.0..1.0_f64, down in 0.0..1.0_f64, across in 0.0..1.0_f64,
    ) {
        let file = open([PUBLISHED[0], PUBLISHED[1], SMALL[0], SMALL[1]][file]);
        let info = &file.tiles()[tile];
        let array = ARRAYS[array];
        let present = match array {
            TileArray::Feature(feature) => info.features.contains(&feature),
            TileArray::Outlines => info.labelled,
        };
        prop_assume!(present);
        let (row, col) = ((info.height as f64 * top) as usize, (info.width as f64 * left) as usize);
        let height = 1 + ((info.height - row - 1) as f64 * down) as usize;
        let width = 1 + ((info.width - col - 1) as f64 * across) as usize;
        let window = TileWindow { row, col, height, width };
        let found = file.read_window(tile, array, window).expect("a window");
        let expected = cut(&whole(&file, tile, array), info.width, array.channels(), window);
        prop_assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()) && found.len() == expected.len());
        let outside = TileWindow { row: row + 1, height: info.height - row, ..window };
        prop_assert!(file.read_window(tile, array, outside).is_err());
        let endless = TileWindow { width: usize::MAX, ..window };
        prop_assert!(file.read_window(tile, array, endless).is_err());
    }

    #[test]
    fn changed_bytes_give_errors_and_no_panics(
        name in 0..2_usize, changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8), cut in 0.5..1.2_f64,
    ) {
        let mut bytes = std::fs::read(path(SMALL[name])).expect("a file");
        let length = bytes.len();
        for (at, value) in changes {
            bytes[(length as f64 * at) as usize] = value;
        }
        bytes.truncate((length as f64 * cut) as usize);
        exercise(bytes);
    }
}
