#![expect(clippy::cast_possible_truncation, reason = "test data are made up to fit")]

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use super::*;
use crate::dataset::synthetic::SyntheticScene;
use crate::model::Normalisation;
use crate::raster::lettering;

/// One step alone, always.
fn alone(change: impl Fn(&mut Augmentation)) -> Augmentation {
    let mut augmentation = Augmentation::none();
    change(&mut augmentation);
    augmentation
}

/// Every pixel different; the labels repeat the first band.
fn numbered(side: usize) -> Sample {
    let pixels = 0..side * side;
    let value = |i: usize| (i + 1) as f32 / 1024.0;
    Sample {
        side,
        inputs: vec![
            (Feature::Dem, pixels.clone().flat_map(|i| [value(i), 1.0 + value(i)]).collect()),
            (Feature::Thermal, pixels.clone().map(value).collect()),
        ],
        target: pixels.flat_map(|i| [value(i), 1.0 - value(i)]).collect(),
        location: vec![1.0, 0.0, 0.0],
        has_region: true,
        location_known: true,
    }
}

fn applied(augmentation: &Augmentation, sample: &Sample, seed: u64) -> Sample {
    let mut sample = sample.clone();
    augmentation.apply(&mut sample, &mut Random::new(seed, 0));
    sample
}

/// A square of pixels moved as `from` says.
fn moved(values: &[f32], side: usize, channels: usize, from: impl Fn(usize, usize) -> (usize, usize)) -> Vec<f32> {
    let mut out = Vec::new();
    for row in 0..side {
        for col in 0..side {
            let (r, c) = from(row, col);
            out.extend_from_slice(&values[(r * side + c) * channels..][..channels]);
        }
    }
    out
}

fn turned(values: &[f32], side: usize, channels: usize, quarters: usize) -> Vec<f32> {
    (0..quarters).fold(values.to_vec(), |v, _| moved(&v, side, channels, |row, col| (col, side - 1 - row)))
}

#[test]
fn nothing_changes_without_augmentation() {
    let sample = numbered(8);
    assert_eq!(applied(&Augmentation::none(), &sample, 1), sample);
}

#[test]
fn flips_are_their_own_inverses() {
    let sample = numbered(9);
    for (flip, from) in [
        (alone(|a| a.vertical_flip = 1.0), (|row, col| (8 - row, col)) as fn(usize, usize) -> (usize, usize)),
        (alone(|a| a.horizontal_flip = 1.0), |row, col| (row, 8 - col)),
    ] {
        let once = applied(&flip, &sample, 3);
        assert_eq!(once.inputs[0].1, moved(&sample.inputs[0].1, 9, 2, from));
        assert_eq!(once.target, moved(&sample.target, 9, 2, from));
        assert_ne!(once, sample);
        assert_eq!(applied(&flip, &once, 3), sample);
    }
}

#[test]
fn rotations_are_the_three_turns() {
    let (sample, rotate) = (numbered(6), alone(|a| a.rotation = 1.0));
    let mut seen = [0_u32; 4];
    for seed in 0..3_000 {
        let result = applied(&rotate, &sample, seed);
        let quarters = (0..4).find(|&q| result.target == turned(&sample.target, 6, 2, q)).expect("a turn");
        assert_eq!(result.inputs[1].1, turned(&sample.inputs[1].1, 6, 1, quarters));
        seen[quarters] += 1;
    }
    // Within 4 deviations of a third of 3,000.
    assert!(seen[0] == 0 && seen[1..].iter().all(|&n| (f64::from(n) - 1000.0).abs() < 4.0 * 25.9), "{seen:?}");
}

#[test]
fn crops_enlarge_a_square_to_the_whole() {
    let (side, sample, crop) = (40, numbered(40), alone(|a| a.crop = 1.0));
    let mut sizes = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let result = applied(&crop, &sample, seed);
        let places: Vec<usize> = result.inputs[1].1.iter().map(|v| (v * 1024.0).round() as usize - 1).collect();
        // The first and last pixel show the square's corners: enlarging by less than 2 loses no pixel.
        let (first, last) = (places[0], places[side * side - 1]);
        let (top, left) = (first / side, first % side);
        let size = last / side - top + 1;
        assert_eq!(size, last % side - left + 1);
        assert!((32..=40).contains(&size), "{size}");
        sizes.insert(size);
        for (i, place) in places.iter().enumerate() {
            let nearest = |i: usize| ((i as f64 + 0.5) * size as f64 / side as f64).floor() as usize;
            assert_eq!(*place, (top + nearest(i / side)) * side + left + nearest(i % side));
        }
    }
    assert_eq!(sizes.len(), 9, "{sizes:?}");
}

#[test]
fn labels_move_with_the_pixels() {
    let sample = numbered(16);
    for seed in 0..200 {
        let moves = Augmentation { gamma: 0.0, occlusion: 0.0, shift: 0.0, noise: 0.0, ..Augmentation::default() };
        let result = applied(&moves, &sample, seed);
        for (pixel, label) in result.target.as_chunks::<2>().0.iter().enumerate() {
            let [a, b] = [result.inputs[0].1[2 * pixel], result.inputs[0].1[2 * pixel + 1]];
            assert_eq!((label[0], label[1], result.inputs[1].1[pixel]), (a, 1.0 - a, a));
            assert_eq!(b, 1.0 + a);
        }
    }
}

#[test]
fn changes_of_values_leave_labels_and_location_alone() {
    let sample = numbered(12);
    let values = alone(|a| (a.gamma, a.occlusion, a.shift, a.noise) = (1.0, 1.0, 1.0, 1.0));
    for seed in 0..50 {
        let result = applied(&values, &sample, seed);
        assert_eq!((&result.target, &result.location), (&sample.target, &sample.location));
        assert_ne!(result.inputs, sample.inputs);
    }
}

#[test]
fn occlusions_are_rectangles_of_zeros() {
    let (side, sample, occlude) = (16, numbered(16), alone(|a| a.occlusion = 1.0));
    let mut largest = (0, 0);
    let mut reached = vec![false; side * side];
    for seed in 0..3_000 {
        let result = applied(&occlude, &sample, seed);
        let (before, after) = (&sample.inputs[0].1, &result.inputs[0].1);
        let gone: Vec<usize> = (0..side * side).filter(|p| after[2 * p..2 * p + 2] == [0.0, 0.0]).collect();
        let (rows, cols) = (gone.iter().map(|p| p / side), gone.iter().map(|p| p % side));
        let span = |at: &mut dyn Iterator<Item = usize>| {
            let at: Vec<_> = at.collect();
            at.iter().max().zip(at.iter().min()).map(|(high, low)| high - low + 1).expect("a rectangle")
        };
        let (height, width) = (span(&mut rows.into_iter()), span(&mut cols.into_iter()));
        assert_eq!(gone.len(), height * width);
        assert!((1..=8).contains(&height) && (1..=8).contains(&width));
        largest = (largest.0.max(height), largest.1.max(width));
        gone.iter().for_each(|&p| reached[p] = true);
        for p in (0..side * side).filter(|p| !gone.contains(p)) {
            assert_eq!(after[2 * p..2 * p + 2], before[2 * p..2 * p + 2]);
        }
    }
    assert!(largest == (8, 8) && reached.iter().all(|r| *r));
}

#[test]
fn gamma_raises_channels_to_powers_of_their_own() {
    let gamma = alone(|a| a.gamma = 1.0);
    let (mut sample, mut powers) = (numbered(4), Vec::new());
    sample.inputs[0].1[4] = -0.25;
    sample.inputs[0].1[6] = f32::NAN;
    sample.inputs[0].1[8] = 0.0;
    for seed in 0..2_000 {
        let result = applied(&gamma, &sample, seed);
        let (before, after) = (&sample.inputs[0].1, &result.inputs[0].1);
        assert_eq!((after[4], after[6], after[8]), (0.0, 0.0, 0.0));
        let power = |i: usize| f64::from(after[i]).ln() / f64::from(before[i]).ln();
        assert!((power(0) - power(10)).abs() < 1e-4 && (power(1) - power(3)).abs() < 0.05);
        powers.push(power(0));
        assert!((0.7999..=1.2001).contains(&power(0)), "{}", power(0));
    }
    // Uniform over 0.4: deviation 0.4 / sqrt(12).
    let mean = powers.iter().sum::<f64>() / 2_000.0;
    assert!((mean - 1.0).abs() < 4.0 * 0.1155 / 2_000_f64.sqrt(), "{mean}");
}

#[test]
fn shifts_and_noise_have_the_published_deviations() {
    let mut sample = numbered(64);
    sample.inputs[0].1.fill(0.0);
    let deviation = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
    let channel = |sample: &Sample, c: usize| -> Vec<f64> {
        sample.inputs[0].1.iter().skip(c).step_by(2).map(|&v| f64::from(v)).collect()
    };
    let noisy = applied(&alone(|a| a.noise = 1.0), &sample, 1);
    for c in 0..2 {
        // The relative error of a deviation from n numbers is 1 / sqrt(2 n).
        let found = deviation(&channel(&noisy, c));
        assert!((found / 0.005 - 1.0).abs() < 4.0 / 8192_f64.sqrt(), "{found}");
    }
    let mut shifts = Vec::new();
    sample = numbered(4);
    sample.inputs[0].1.fill(0.0);
    for seed in 0..2_000 {
        let shifted = applied(&alone(|a| a.shift = 1.0), &sample, seed);
        for c in 0..2 {
            let values = channel(&shifted, c);
            assert!(values.iter().all(|v| *v == values[0]));
            shifts.push(values[0]);
        }
        assert_ne!(shifts[shifts.len() - 1], shifts[shifts.len() - 2]);
    }
    let found = deviation(&shifts);
    assert!((found / 0.025 - 1.0).abs() < 4.0 / 8_000_f64.sqrt(), "{found}");
}

#[test]
fn steps_run_in_the_published_order() {
    let always = Augmentation {
        vertical_flip: 1.0,
        horizontal_flip: 1.0,
        rotation: 1.0,
        crop: 1.0,
        unknown_region: 1.0,
        gamma: 1.0,
        occlusion: 1.0,
        shift: 1.0,
        noise: 1.0,
        ..Augmentation::default()
    };
    let (side, sample) = (24, numbered(24));
    for seed in 0..50 {
        let found = applied(&always, &sample, seed);
        // The same, step after step on whole arrays, from the same random numbers.
        let mut random = Random::new(seed, 0);
        let random = &mut random;
        let mut expected = sample.clone();
        let all = |sample: &mut Sample, from: &dyn Fn(usize, usize) -> (usize, usize)| {
            for (feature, values) in &mut sample.inputs {
                *values = moved(values, side, feature.channels(), from);
            }
            sample.target = moved(&sample.target, side, 2, from);
        };
        random.bits();
        all(&mut expected, &|row, col| (side - 1 - row, col));
        random.bits();
        all(&mut expected, &|row, col| (row, side - 1 - col));
        random.bits();
        for _ in 0..=random.below(3) {
            all(&mut expected, &|row, col| (col, side - 1 - row));
        }
        random.bits();
        let size = (24.0 * random.uniform(0.8, 1.0)).round() as usize;
        let (top, left) = (random.below(side - size + 1), random.below(side - size + 1));
        let nearest = |i: usize| ((i as f64 + 0.5) * size as f64 / 24.0).floor() as usize;
        all(&mut expected, &|row, col| (top + nearest(row), left + nearest(col)));
        random.bits();
        expected.location = vec![0.0, 0.0, 1.0];
        expected.location_known = false;
        for (feature, values) in &mut expected.inputs {
            let channels = feature.channels();
            random.bits();
            let powers: Vec<f64> = (0..channels).map(|_| random.uniform(0.8, 1.2)).collect();
            for (i, value) in values.iter_mut().enumerate() {
                *value = libm::powf(*value, powers[i % channels] as f32);
            }
            random.bits();
            let (height, width) = (1 + random.below(12), 1 + random.below(12));
            let (top, left) = (random.below(side - height + 1), random.below(side - width + 1));
            for (i, value) in values.iter_mut().enumerate() {
                let (row, col) = (i / channels / side, i / channels % side);
                if (top..top + height).contains(&row) && (left..left + width).contains(&col) {
                    *value = 0.0;
                }
            }
            random.bits();
            let shifts: Vec<f32> = (0..channels).map(|_| (0.025 * random.gaussian_pair()[0]) as f32).collect();
            values.iter_mut().enumerate().for_each(|(i, value)| *value += shifts[i % channels]);
            random.bits();
            let noise: Vec<f64> = (0..values.len() / 2).flat_map(|_| random.gaussian_pair()).collect();
            values.iter_mut().zip(noise).for_each(|(value, by)| *value += (0.005 * by) as f32);
        }
        assert_eq!(found, expected, "{seed}");
    }
}

#[test]
fn each_step_happens_as_often_as_published() {
    const DRAWS: u64 = 10_000;
    let published = Augmentation { crop_range: [0.5, 0.8], ..Augmentation::default() };
    let sample = numbered(8);
    // What tells that a step happened, each in a configuration that has only this step.
    let location: fn(&Sample, &Sample) -> bool = |a, b| a.location != b.location;
    let pixels: fn(&Sample, &Sample) -> bool = |a, b| a.target != b.target;
    let first: fn(&Sample, &Sample) -> bool = |a, b| a.inputs[0] != b.inputs[0];
    let second: fn(&Sample, &Sample) -> bool = |a, b| a.inputs[1] != b.inputs[1];
    let both: fn(&Sample, &Sample) -> bool = |a, b| a.inputs[0] != b.inputs[0] && a.inputs[1] != b.inputs[1];
    let only = |keep: fn(&mut Augmentation, &Augmentation)| {
        let mut augmentation = Augmentation { crop_range: [0.5, 0.8], ..Augmentation::none() };
        keep(&mut augmentation, &published);
        augmentation
    };
    let gamma = only(|a, p| a.gamma = p.gamma);
    let occlusion = only(|a, p| a.occlusion = p.occlusion);
    let shift = only(|a, p| a.shift = p.shift);
    let noise = only(|a, p| a.noise = p.noise);
    let cases = [
        ("vertical flip", only(|a, p| a.vertical_flip = p.vertical_flip), pixels, 0.5),
        ("horizontal flip", only(|a, p| a.horizontal_flip = p.horizontal_flip), pixels, 0.5),
        ("rotation", only(|a, p| a.rotation = p.rotation), pixels, 0.75),
        ("crop", only(|a, p| a.crop = p.crop), pixels, 0.5),
        ("unknown region", only(|a, p| a.unknown_region = p.unknown_region), location, 0.1),
        ("gamma", gamma.clone(), first, 0.5),
        ("gamma, other feature", gamma.clone(), second, 0.5),
        ("gamma, both", gamma, both, 0.25),
        ("occlusion", occlusion.clone(), first, 0.5),
        ("occlusion, both", occlusion, both, 0.25),
        ("shift", shift.clone(), first, 0.5),
        ("shift, both", shift, both, 0.25),
        ("noise", noise.clone(), first, 0.5),
        ("noise, both", noise, both, 0.25),
    ];
    for (name, augmentation, happened, probability) in cases {
        let count = (0..DRAWS).filter(|&seed| happened(&applied(&augmentation, &sample, seed), &sample)).count();
        let (expected, deviation) =
            (DRAWS as f64 * probability, (DRAWS as f64 * probability * (1.0 - probability)).sqrt());
        assert!((count as f64 - expected).abs() < 4.0 * deviation, "{name}: {count}, expected {expected}");
    }
}

#[test]
fn settings_read_and_are_checked() {
    let text = serde_json::to_string(&Augmentation::default()).expect("JSON");
    assert_eq!(serde_json::from_str::<Augmentation>(&text).expect("read back"), Augmentation::default());
    let partial: Augmentation = serde_json::from_str(r#"{"crop": 0.25}"#).expect("the rest as published");
    assert_eq!(partial, Augmentation { crop: 0.25, ..Augmentation::default() });
    assert!(serde_json::from_str::<Augmentation>(r#"{"crops": 0.25}"#).is_err());
    assert!(Augmentation::default().validate().is_ok() && Augmentation::none().validate().is_ok());
    let spoil: [fn(&mut Augmentation); 8] = [
        |a| a.vertical_flip = -0.1,
        |a| a.noise = 1.1,
        |a| a.rotation = f64::NAN,
        |a| a.crop_range = [0.0, 1.0],
        |a| a.crop_range = [0.9, 0.8],
        |a| a.gamma_range = [1.0, f64::INFINITY],
        |a| a.occlusion_side = 2.0,
        |a| a.shift_deviation = f64::INFINITY,
    ];
    for change in spoil {
        assert!(alone(change).validate().is_err());
    }
}

/// A generated scene, normalised, with a strip of unlabelled pixels.
fn scene(side: usize) -> Sample {
    let scene = SyntheticScene::generate(side, 3, "ALP").expect("a scene");
    let statistics = Normalisation::default();
    let normalise = |value: f32, (min, max): (f64, f64)| ((f64::from(value) - min) / (max - min)) as f32;
    let (bands, heights) = (statistics.of(Feature::Optical), statistics.of(Feature::Dem));
    let pixels = 0..side * side;
    let optical = pixels.clone().flat_map(|i| (0..6).map(move |b| (i, b)));
    Sample {
        side,
        inputs: vec![
            (Feature::Optical, optical.map(|(i, b)| normalise(scene.optical()[b][i], bands[b])).collect()),
            (Feature::Dem, pixels.clone().flat_map(|i| [normalise(scene.elevation()[i], heights[0]), 0.1]).collect()),
        ],
        target: pixels
            .flat_map(|i| match (i / side < side / 8, scene.truth()[i]) {
                (true, _) => [0.0, 0.0],
                (false, 0) => [1.0, 0.0],
                (false, _) => [0.0, 1.0],
            })
            .collect(),
        location: Vec::new(),
        has_region: false,
        location_known: true,
    }
}

/// Where a person finds the picture, else nowhere for long.
fn picture_folder() -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(folder) = std::env::var_os("GLAVITU_PICTURES") {
        return (folder.into(), None);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    (folder.path().to_path_buf(), Some(folder))
}

/// How a pixel is shown.
type Colour = fn(&Sample, usize) -> Rgb<u8>;

/// One row per augmentation: true colours before and after, elevation before and after, labels before and after.
#[test]
fn a_picture_of_every_augmentation() {
    const SIDE: u32 = 128;
    let rows: [(&str, Augmentation); 10] = [
        ("vertical flip", alone(|a| a.vertical_flip = 1.0)),
        ("horizontal flip", alone(|a| a.horizontal_flip = 1.0)),
        ("rotation", alone(|a| a.rotation = 1.0)),
        ("crop to 0.8", alone(|a| (a.crop, a.crop_range) = (1.0, [0.8, 0.8]))),
        ("gamma", alone(|a| a.gamma = 1.0)),
        ("occlusion", alone(|a| a.occlusion = 1.0)),
        ("shift", alone(|a| a.shift = 1.0)),
        ("noise", alone(|a| a.noise = 1.0)),
        ("noise x 5", alone(|a| (a.noise, a.noise_deviation) = (1.0, 0.025))),
        ("published, all", Augmentation::default()),
    ];
    let before = scene(SIDE as usize);
    let (cell, margin, title) = (SIDE + 4, 150, 24);
    let mut sheet = RgbImage::from_pixel(
        margin + 6 * cell,
        title + u32::try_from(rows.len()).expect("ten") * cell,
        Rgb([250, 250, 250]),
    );
    let black = Rgb([0, 0, 0]);
    for (i, name) in (0_u32..).zip(["before", "after", "elevation", "after", "labels", "after"]) {
        lettering::draw(&mut sheet, name, margin + i * cell, 6, 1, black);
    }
    for (row, (name, augmentation)) in (0_u32..).zip(&rows) {
        let after = applied(augmentation, &before, 9 + u64::from(row));
        let top = title + row * cell;
        lettering::draw(&mut sheet, name, 4, top + SIDE / 2, 1, black);
        let pictures: [(&Sample, Colour); 6] = [
            (&before, true_colour),
            (&after, true_colour),
            (&before, height),
            (&after, height),
            (&before, label),
            (&after, label),
        ];
        for (i, (sample, colour)) in (0_u32..).zip(pictures) {
            for pixel in 0..SIDE * SIDE {
                let (x, y) = (margin + i * cell + pixel % SIDE, top + pixel / SIDE);
                sheet.put_pixel(x, y, colour(sample, pixel as usize));
            }
        }
        assert_ne!(after, before, "{name}");
    }
    let (folder, _kept) = picture_folder();
    let path = folder.join("augmentations.png");
    sheet.save(&path).expect("a picture");
    assert!(is_png(&path));
}

fn is_png(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000)
}

fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0) as u8
}

fn true_colour(sample: &Sample, pixel: usize) -> Rgb<u8> {
    Rgb([2, 1, 0].map(|band| byte((sample.inputs[0].1[6 * pixel + band] / 0.45).max(0.0).powf(0.7))))
}

fn height(sample: &Sample, pixel: usize) -> Rgb<u8> {
    Rgb([byte((sample.inputs[1].1[2 * pixel] - 0.05) * 2.5); 3])
}

fn label(sample: &Sample, pixel: usize) -> Rgb<u8> {
    match sample.target[2 * pixel..2 * pixel + 2] {
        [0.0, 0.0] => Rgb([200, 60, 160]),
        [_, 0.0] => Rgb([90, 75, 60]),
        _ => Rgb([150, 205, 240]),
    }
}
