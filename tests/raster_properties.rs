//! Rasters under random input: hostile files, windows, terrain and coordinate systems.

#![expect(clippy::cast_possible_truncation, reason = "test data are made up to fit")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use glavitu::Error;
use glavitu::raster::{Crs, GeoKeys, Grid, RasterFile, Transformer, Window, fill_gaps, slope_degrees};
use proptest::prelude::*;
use tiff_core::{Compression, PlanarConfiguration, Predictor, Tag, TagValue};
use tiff_writer::{ImageBuilder, TiffVariant, TiffWriteSample, TiffWriter, WriteOptions};

/// How a template file is stored.
#[derive(Debug, Clone, Copy)]
struct Form {
    compression: Compression,
    predictor: Predictor,
    tiled: bool,
    planar: bool,
    big: bool,
}

const WIDTH: usize = 37;
const HEIGHT: usize = 45;

/// A two-band file; sample `(band, row, col)` holds `value(band, row, col)`.
fn template<T: TiffWriteSample>(form: Form, value: impl Fn(usize, usize, usize) -> T) -> Vec<u8> {
    let metadata = "<GDALMetadata>\n<Item name=\"SCALE\" sample=\"1\" role=\"scale\">0.5</Item>\n\
        <Item name=\"OFFSET\" sample=\"1\" role=\"offset\">-3</Item></GDALMetadata>";
    let keys = GeoKeys::for_epsg(32633, false, "WGS 84 / UTM zone 33N");
    let mut image = ImageBuilder::new(WIDTH as u32, HEIGHT as u32)
        .sample_type::<T>()
        .samples_per_pixel(2)
        .compression(form.compression)
        .predictor(form.predictor)
        .tag(Tag::new(33550, TagValue::Double(vec![10.0, 10.0, 0.0])))
        .tag(Tag::new(33922, TagValue::Double(vec![0.0, 0.0, 0.0, 5e5, 5e6, 0.0])))
        .tag(Tag::new(34735, TagValue::Short(keys.directory)))
        .tag(Tag::new(34737, TagValue::Ascii(keys.ascii)))
        .tag(Tag::new(42112, TagValue::Ascii(metadata.into())))
        .tag(Tag::new(42113, TagValue::Ascii("7".into())));
    let (block_width, block_height) = if form.tiled { (16, 32) } else { (WIDTH, 8) };
    image = if form.tiled { image.tiles(16, 32) } else { image.strips(8) };
    if form.planar {
        image = image.planar_configuration(PlanarConfiguration::Planar);
    }
    let variant = if form.big { TiffVariant::BigTiff } else { TiffVariant::Classic };
    let options = WriteOptions { variant, ..WriteOptions::default() };
    let mut writer = TiffWriter::new(std::io::Cursor::new(Vec::new()), options).expect("a writer");
    let handle = writer.add_image(image).expect("an image");
    let mut index = 0;
    for plane in 0..if form.planar { 2 } else { 1 } {
        for top in (0..HEIGHT).step_by(block_height) {
            for left in (0..WIDTH).step_by(block_width) {
                let rows = if form.tiled { block_height } else { block_height.min(HEIGHT - top) };
                let mut samples = Vec::new();
                for row in top..top + rows {
                    for col in left..left + block_width {
                        for band in if form.planar { plane..plane + 1 } else { 0..2 } {
                            samples.push(value(band, row, col));
                        }
                    }
                }
                writer.write_block(&handle, index, &samples).expect("a block");
                index += 1;
            }
        }
    }
    writer.finish().expect("finished").into_inner()
}

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for (index, compression) in
        [Compression::None, Compression::Lzw, Compression::Deflate, Compression::Zstd].into_iter().enumerate()
    {
        for (tiled, planar) in [(false, false), (true, false), (false, true), (true, true)] {
            forms.push(Form {
                compression,
                predictor: Predictor::None,
                tiled,
                planar,
                big: (index + usize::from(tiled)) % 2 == 0,
            });
        }
    }
    forms
}

/// A raw sample: steps by row and column, every 7 is nodata.
fn raw(band: usize, row: usize, col: usize) -> u8 {
    ((band * 100 + row * 3 + col * 5) % 251) as u8
}

/// Template files of all types and forms, with a name for messages.
fn templates() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for form in forms() {
        let name = |kind: &str, form: Form| format!("{kind} {form:?}");
        let byte = |b, r, c| raw(b, r, c);
        let horizontal = Form {
            predictor: if form.compression == Compression::None { Predictor::None } else { Predictor::Horizontal },
            ..form
        };
        let floating = Form {
            predictor: if form.compression == Compression::None { Predictor::None } else { Predictor::FloatingPoint },
            ..form
        };
        files.push((name("u8", form), template::<u8>(form, byte)));
        files.push((name("u8", horizontal), template::<u8>(horizontal, byte)));
        files.push((name("i16", horizontal), template::<i16>(horizontal, |b, r, c| i16::from(byte(b, r, c)))));
        files.push((name("u16", horizontal), template::<u16>(horizontal, |b, r, c| u16::from(byte(b, r, c)))));
        files.push((name("i32", horizontal), template::<i32>(horizontal, |b, r, c| i32::from(byte(b, r, c)))));
        files.push((name("u32", form), template::<u32>(form, |b, r, c| u32::from(byte(b, r, c)))));
        files.push((name("f32", floating), template::<f32>(floating, |b, r, c| f32::from(byte(b, r, c)))));
        files.push((name("f64", floating), template::<f64>(floating, |b, r, c| f64::from(byte(b, r, c)))));
        files.push((name("i8", form), template::<i8>(form, |b, r, c| (byte(b, r, c) % 128) as i8)));
    }
    files
}

/// Opens a file and reads some of it, as any caller might. Gives whether it could be read.
fn read_somehow(path: &std::path::Path) -> Result<(), Error> {
    let file = RasterFile::open(path)?;
    let grid = file.grid();
    let windows = [
        Window { row: 0, col: 0, height: grid.height.min(50), width: grid.width.min(50) },
        Window { row: grid.height - 1, col: grid.width - 1, height: 1, width: 1 },
        Window { row: grid.height / 2, col: grid.width / 3, height: 1, width: (grid.width / 2).min(1000) },
    ];
    for band in 0..file.bands().len().min(3) {
        for window in windows {
            assert_eq!(file.read_window(band, window)?.len(), window.width * window.height);
        }
    }
    if let Some(crs) = &grid.crs {
        let (x, y) = grid.position(0.5, 0.5);
        let _ = crs.longitude_latitude(x, y);
        assert!(!crs.wkt().is_empty());
    }
    Ok(())
}

/// The process's largest size so far in KiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn expect_no_panic(bytes: &[u8], path: &std::path::Path) {
    fs::write(path, bytes).expect("written");
    let before = peak_memory();
    let outcome = catch_unwind(AssertUnwindSafe(|| read_somehow(path)));
    assert!(outcome.is_ok(), "panic on {} bytes, kept in {}", bytes.len(), path.display());
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        assert!(after - before < 1 << 20, "{} KiB allocated for {} bytes", after - before, bytes.len());
    }
    if let Ok(Err(error)) = outcome {
        assert!(error.is_bad_input(), "{error}");
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn windows_are_crops_of_the_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("template.tif");
    for (name, bytes) in templates() {
        fs::write(&path, bytes).expect("written");
        let file = RasterFile::open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(file.grid().crs.as_ref().and_then(|crs| crs.epsg), Some(32633));
        for band in 0..2 {
            let whole = file.read_window(band, file.grid().window()).unwrap_or_else(|e| panic!("{name}: {e}"));
            for (i, value) in whole.iter().enumerate() {
                let raw = raw(band, i / WIDTH, i % WIDTH);
                let raw = if name.starts_with("i8") { raw % 128 } else { raw };
                let expected = if band == 1 { f32::from(raw) * 0.5 - 3.0 } else { f32::from(raw) };
                assert!(if raw == 7 { value.is_nan() } else { *value == expected }, "{name}: {value} for {expected}");
            }
            for window in [
                Window { row: 0, col: 0, height: 1, width: 1 },
                Window { row: 7, col: 15, height: 2, width: 2 },
                Window { row: 31, col: 3, height: 14, width: 34 },
                Window { row: 44, col: 36, height: 1, width: 1 },
            ] {
                let part = file.read_window(band, window).unwrap_or_else(|e| panic!("{name}: {e}"));
                for (i, value) in part.iter().enumerate() {
                    let expected = whole[(window.row + i / window.width) * WIDTH + window.col + i % window.width];
                    assert!(value.to_bits() == expected.to_bits(), "{name}: {window:?}");
                }
            }
        }
    }
}

#[test]
fn absent_blocks_are_nodata() {
    let form =
        Form { compression: Compression::Deflate, predictor: Predictor::None, tiled: true, planar: true, big: false };
    let options = WriteOptions { variant: TiffVariant::Classic, ..WriteOptions::default() };
    let image = ImageBuilder::new(40, 40)
        .sample_type::<u8>()
        .compression(form.compression)
        .tiles(16, 16)
        .tag(Tag::new(42113, TagValue::Ascii("9".into())));
    let mut writer = TiffWriter::new(std::io::Cursor::new(Vec::new()), options).expect("a writer");
    let handle = writer.add_image(image).expect("an image");
    for index in 0..9 {
        if index % 2 == 0 {
            writer.write_block(&handle, index, &[3_u8; 256]).expect("a block");
        } else {
            writer.write_block_sparse(&handle, index).expect("a block");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sparse.tif");
    fs::write(&path, writer.finish().expect("finished").into_inner()).expect("written");
    let file = RasterFile::open(&path).expect("opens");
    let window = Window { row: 5, col: 7, height: 33, width: 30 };
    for (i, value) in file.read_window(0, window).expect("reads").iter().enumerate() {
        let block = (5 + i / 30) / 16 * 3 + (7 + i % 30) / 16;
        assert!(if block % 2 == 0 { *value == 3.0 } else { value.is_nan() });
    }
}

#[test]
fn enormous_claims_are_refused_before_anything_is_allocated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("claims.tif");
    let form =
        Form { compression: Compression::None, predictor: Predictor::None, tiled: false, planar: false, big: false };
    let whole = template::<u8>(form, raw);
    // Width, height and rows per strip, as the template's directory holds them.
    let entry = |tag: u16, bytes: &[u8]| {
        (0..bytes.len() - 12).rfind(|&i| bytes[i..i + 2] == tag.to_le_bytes() && bytes[i + 4..i + 8] == [1, 0, 0, 0])
    };
    for tags in [vec![256], vec![257], vec![278], vec![256, 257], vec![256, 257, 278]] {
        let mut bytes = whole.clone();
        for tag in tags {
            let at = entry(tag, &bytes).expect("the tag");
            bytes[at + 2..at + 4].copy_from_slice(&4_u16.to_le_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&0x8000_0000_u32.to_le_bytes());
        }
        expect_no_panic(&bytes, &path);
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0..4_usize) {
        let magic: [&[u8]; 4] = [b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"];
        let length = magic[start].len().min(bytes.len());
        bytes[..length].copy_from_slice(&magic[start][..length]);
        let folder = tempfile::tempdir().expect("a folder");
        expect_no_panic(&bytes, &folder.path().join("random.tif"));
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn mutated_and_truncated_files_never_panic(
        choice in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        static TEMPLATES: std::sync::LazyLock<Vec<(String, Vec<u8>)>> = std::sync::LazyLock::new(templates);
        let mut bytes = choice.get(&TEMPLATES).1.clone();
        let length = bytes.len();
        for (place, value, in_tags) in changes {
            // The directory lies at the end and decides most; the rest is pixels.
            let place = if in_tags { length - 1 - place.index(length.min(700)) } else { place.index(length) };
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(length));
        }
        let folder = tempfile::tempdir().expect("a folder");
        expect_no_panic(&bytes, &folder.path().join("mutated.tif"));
    }

    #[test]
    fn any_keys_make_a_crs_or_none(
        entries in prop::collection::vec((0..40_usize, 0..3_usize, 0..5_u16, any::<u16>(), any::<bool>()), 0..20),
        doubles in prop::collection::vec(prop_oneof![any::<f64>(), -180.0..180.0, Just(6_378_137.0), Just(298.257_223_563)], 0..12),
        ascii in ".{0,60}",
    ) {
        let mut directory = vec![1, 1, 0, entries.len() as u16];
        for (key, place, count, value, small) in entries {
            let keys = [1024, 1025, 1026, 2048, 2049, 2050, 2054, 2056, 2057, 2058, 2059, 2061, 3072, 3073, 3074, 3075, 3076, 3077];
            let key = keys.get(key).copied().unwrap_or(3060 + key as u16);
            let place = [0, 34736, 34737][place];
            let value = if place != 0 { value % 16 } else if small { value % 20 } else { value };
            directory.extend([key, place, count, value]);
        }
        if let Some(crs) = Crs::from_geo_keys(GeoKeys { directory, doubles, ascii }) {
            prop_assert!(!crs.wkt().is_empty());
            prop_assert!(crs.metres_per_unit().is_none_or(|size| size > 0.0));
            prop_assert!(crs.is_same(&crs.clone()));
            if let Ok(transformer) = Transformer::to_longitude_latitude(&crs) {
                for (x, y) in [(0.0, 0.0), (5e5, 5e6), (-1e7, 1e9), (f64::NAN, f64::INFINITY), (1e300, -1e300)] {
                    if let Ok((longitude, latitude)) = transformer.apply(x, y) {
                        prop_assert!(longitude.is_finite() && latitude.is_finite());
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn the_slope_of_a_plane_is_exact(
        width in 1..12_usize, height in 1..12_usize, angle in 0.0..6.3_f64, size in 1.0..100.0_f64, ratio in 0.5..2.0_f64,
        dx in -1.5..1.5_f64, dy in -1.5..1.5_f64, missing in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (sin, cos) = angle.sin_cos();
        let transform = [size * cos, size * ratio * sin, 3.0, size * sin, -size * ratio * cos, 4.0];
        let grid = Grid { width, height, transform, crs: None };
        let mut elevation: Vec<f32> = (0..grid.len())
            .map(|i| {
                let (x, y) = grid.position((i % width) as f64, (i / width) as f64);
                (x * dx + y * dy) as f32
            })
            .collect();
        let missing = missing.filter(|_| grid.len() > 1).map(|index| index.index(grid.len()));
        if let Some(missing) = missing {
            elevation[missing] = f32::NAN;
        }
        let slope = slope_degrees(&elevation, &grid).expect("a slope");
        // A raster one pixel wide, or with a hole at its corner, does not tell the plane.
        let expected = dx.hypot(dy).atan().to_degrees();
        for (i, value) in slope.iter().enumerate() {
            if Some(i) == missing {
                prop_assert!(value.is_nan());
            } else if width > 2 && height > 2 && missing.is_none() {
                prop_assert!((f64::from(*value) - expected).abs() < 2e-3, "{} for {} at {}", value, expected, i);
            } else {
                prop_assert!((0.0..=90.0).contains(value));
            }
        }
    }

    #[test]
    fn gaps_vanish_within_the_range(width in 1..40_usize, height in 1..40_usize, seed in any::<u32>(), share in 1..10_u32) {
        let random = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 12;
        let mut values: Vec<f32> = (0..width * height)
            .map(|i| if random(i) % 10 < share { random(i + 77) as f32 * 1e-3 - 300.0 } else { f32::NAN })
            .collect();
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        fill_gaps(&mut values, width, height);
        prop_assert!(values.iter().all(|v| (low..=high).contains(v) || (low > high && *v == 0.0)));
    }
}
