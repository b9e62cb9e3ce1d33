use proptest::prelude::*;
use tiff_reader::TiffFile;

use super::*;
use crate::raster::{Crs, RasterFile, Window};

fn grid(width: usize, height: usize) -> Grid {
    let crs = Crs::from_epsg(32611).ok();
    Grid { width, height, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs }
}

fn settings<T>(nodata: T, overview: Overview, metadata: &Metadata) -> CogSettings<'_, T> {
    CogSettings { nodata, overview, scale: None, metadata }
}

/// Writes `values` in bands of `rows` rows.
fn write<T: CogSample>(path: &Path, grid: &Grid, values: &[T], rows: usize, settings: &CogSettings<'_, T>, limit: u64) {
    let folder = path.parent().expect("a folder");
    let mut writer = CogWriter::create(folder, grid, settings).expect("a grid");
    for band in values.chunks(rows * grid.width) {
        writer.add_rows(band).expect("whole rows");
    }
    writer.finish_within(path, limit).expect("written");
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), 1, "scratch remains");
}

/// Sizes of all images and the offset of each one's first tile; the layout is checked.
fn layout(path: &Path) -> Vec<(u32, u32, u64)> {
    let tiff = TiffFile::open(path).expect("a TIFF file");
    let images: Vec<_> = tiff
        .ifds()
        .iter()
        .map(|ifd| (ifd.width(), ifd.height(), ifd.tile_offsets().expect("tiles").iter().copied().min().expect("one")))
        .collect();
    for pair in images.windows(2) {
        assert_eq!((pair[0].0.div_ceil(2), pair[0].1.div_ceil(2)), (pair[1].0, pair[1].1));
        assert!(pair[0].2 > pair[1].2, "the smaller image comes first");
    }
    images
}

#[test]
fn floats_come_back_and_overviews_are_means() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.tif");
    let grid = grid(1301, 1025);
    let mut values: Vec<f32> = (0..grid.len()).map(|i| (i % 977) as f32 / 977.0).collect();
    for (i, value) in values.iter_mut().enumerate() {
        if i % grid.width < 700 && i / grid.width < 600 || i % 31 == 0 {
            *value = f32::NAN;
        }
    }
    let metadata = Metadata { description: Some("probability".into()), items: vec![("A".into(), "b & <c>".into())] };
    write(&path, &grid, &values, 100, &settings(f32::NAN, Overview::Average, &metadata), u64::from(u32::MAX));
    let file = RasterFile::open(&path).expect("a raster");
    assert_eq!(file.grid(), &grid);
    assert!(file.bands()[0].nodata.is_some_and(f64::is_nan));
    assert_eq!(file.bands()[0].description.as_deref(), Some("probability"));
    let read = file.read_window(0, grid.window()).expect("its pixels");
    assert!(read.iter().zip(&values).all(|(a, b)| a.same(*b)));
    assert_eq!(layout(&path).iter().map(|i| (i.0, i.1)).collect::<Vec<_>>(), [(1301, 1025), (651, 513), (326, 257)]);
    // The second image, pixel by pixel.
    let tiff = TiffFile::open(&path).expect("a TIFF file");
    let bytes = tiff.read_band_window_bytes(1, 0, 0, 0, 513, 651).expect("its pixels");
    let half: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect();
    for (i, found) in half.iter().enumerate() {
        let (row, col) = (i / 651 * 2, i % 651 * 2);
        let mut known = Vec::new();
        for (r, c) in [(row, col), (row, col + 1), (row + 1, col), (row + 1, col + 1)] {
            if r < grid.height && c < grid.width && !values[r * grid.width + c].is_nan() {
                known.push(f64::from(values[r * grid.width + c]));
            }
        }
        let expected = known.iter().sum::<f64>() / known.len() as f64;
        assert!(known.is_empty() && found.is_nan() || (f64::from(*found) - expected).abs() < 1e-6, "{row} {col}");
    }
}

#[test]
fn classes_and_small_rasters() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.tif");
    let metadata = Metadata::default();
    let grid = grid(3, 2);
    write(&path, &grid, &[0_u8, 1, 255, 1, 1, 0], 1, &settings(255, Overview::Mode, &metadata), 1 << 32);
    let file = RasterFile::open(&path).expect("a raster");
    let read = file.read_window(0, Window { row: 0, col: 0, height: 2, width: 3 }).expect("its pixels");
    assert!(read[2].is_nan() && read[..2] == [0.0, 1.0] && read[3..] == [1.0, 1.0, 0.0]);
    assert_eq!(layout(&path).len(), 1);
    // Gaps do not vote; of equals the first one counts.
    let mut out = Vec::new();
    merge(&[1, 255, 255, 255, 0], Some(&[255, 0, 255, 255, 1]), 255, Overview::Mode, &mut out);
    merge(&[0, 1, 7, 7, 3], None, 255, Overview::Mode, &mut out);
    assert_eq!(out, [1_u8, 255, 0, 0, 7, 3]);
}

#[test]
fn scaled_integers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.tif");
    let grid = grid(600, 20);
    let values: Vec<u16> = (0..grid.len()).map(|i| u16::try_from(i % 50_001).expect("small")).collect();
    let metadata = Metadata::default();
    let settings = CogSettings { scale: Some(2e-5), ..settings(65_535_u16, Overview::Average, &metadata) };
    write(&path, &grid, &values, 7, &settings, 1 << 32);
    let file = RasterFile::open(&path).expect("a raster");
    assert_eq!((file.bands()[0].scale, file.bands()[0].nodata), (2e-5, Some(65_535.0)));
    let read = file.read_window(0, grid.window()).expect("its pixels");
    assert!(read.iter().zip(&values).all(|(a, b)| (f64::from(*a) - f64::from(*b) * 2e-5).abs() < 1e-6));
}

#[test]
fn big_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out.tif");
    let grid = grid(1200, 700);
    let values: Vec<f32> = (0..grid.len()).map(|i| (i as f32).sin()).collect();
    let metadata = Metadata::default();
    for (limit, magic) in [(1 << 20, 43), (1 << 32, 42)] {
        write(&path, &grid, &values, 64, &settings(f32::NAN, Overview::Average, &metadata), limit);
        assert_eq!(std::fs::read(&path).expect("the file")[2], magic);
        let file = RasterFile::open(&path).expect("a raster");
        assert_eq!(file.read_window(0, grid.window()).expect("its pixels"), values);
        assert_eq!(layout(&path).len(), 3);
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let metadata = Metadata::default();
    let settings = settings(255_u8, Overview::Mode, &metadata);
    assert!(CogWriter::create(folder.path(), &grid(0, 5), &settings).is_err());
    assert!(CogWriter::create(&folder.path().join("none"), &grid(5, 5), &settings).is_err());
    let mut writer = CogWriter::create(folder.path(), &grid(4, 2), &settings).expect("a grid");
    assert!(writer.add_rows(&[0; 5]).is_err());
    writer.add_rows(&[0; 4]).expect("a row");
    assert!(writer.add_rows(&[0; 8]).is_err());
    assert!(writer.finish(&folder.path().join("out.tif")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_size_and_any_bands(width in 1usize..1500, height in 1usize..40, rows in 1usize..50, tall: bool) {
        let (width, height) = if tall { (height, width) } else { (width, height) };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.tif");
        let grid = grid(width, height);
        let values: Vec<u8> = (0..grid.len()).map(|i| u8::try_from(i * i % 7).expect("small")).collect();
        let metadata = Metadata::default();
        write(&path, &grid, &values, rows, &settings(255, Overview::Mode, &metadata), 1 << 32);
        let read = RasterFile::open(&path).expect("a raster").read_window(0, grid.window()).expect("its pixels");
        prop_assert!(read.iter().zip(&values).all(|(a, b)| *a == f32::from(*b)));
        layout(&path);
    }
}
