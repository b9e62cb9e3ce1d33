//! Rasters against GDAL's reading of the same files, round trips, terrain and coordinate systems.
//!
//! Real files lie outside the repository; where the folder is absent, the tests that need it say so and pass.

#![expect(clippy::cast_possible_truncation, reason = "test data are made up to fit")]

use std::fs;
use std::path::{Path, PathBuf};

use glavitu::raster::{
    Crs, Grid, Metadata, RasterFile, Transformer, Window, check_same_grid, slope_degrees, write_bands, write_bytes,
    write_floats,
};
use glavitu::{Error, Result};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    if folder.join("data").is_dir() {
        return Some(folder);
    }
    println!("skipped: no reference data in {}", folder.display());
    None
}

fn read_all(file: &RasterFile, band: usize) -> Result<Vec<f32>> {
    file.read_window(band, file.grid().window())
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}

#[test]
fn every_reference_file_reads_as_gdal_reads_it() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let text = fs::read_to_string(folder.join("data/expected_by_gdal.json")).expect("readable");
    // Python writes NaN, which JSON has not.
    let expected: serde_json::Value = serde_json::from_str(&text.replace(": NaN", ": \"nan\"")).expect("JSON");
    let expected = expected.as_object().expect("an object");
    assert!(!expected.is_empty());
    for (name, expected) in expected {
        let path = folder.join("data").join(name);
        if expected.get("error").is_some() {
            let result = RasterFile::open(&path)
                .and_then(|file| (0..file.bands().len()).try_for_each(|b| read_all(&file, b).map(drop)));
            let error = result.expect_err("corrupt");
            assert!(matches!(error, Error::BadFile { .. }), "{name}: {error}");
            println!("{error}");
            continue;
        }
        let file = RasterFile::open(&path)?;
        let number = |key: &str| expected[key].as_f64();
        assert_eq!(number("width"), Some(file.grid().width as f64), "{name}");
        assert_eq!(number("height"), Some(file.grid().height as f64), "{name}");
        assert_eq!(number("bands"), Some(file.bands().len() as f64), "{name}");
        let band = &file.bands()[0];
        assert_eq!(expected["dtype"], band.sample_type.to_string(), "{name}");
        if expected["nodata"] == "nan" {
            assert!(band.nodata.is_some_and(f64::is_nan), "{name}");
        } else {
            assert_eq!(number("nodata"), band.nodata, "{name}");
        }
        let epsg = file.grid().crs.as_ref().and_then(|crs| crs.epsg);
        assert_eq!(expected["epsg"].as_u64(), epsg.map(u64::from), "{name}");
        for (i, value) in file.grid().transform.iter().enumerate() {
            assert_eq!(expected["transform"][i].as_f64(), Some(*value), "{name}, transform {i}");
        }
        assert!(close(number("scale").unwrap_or(1.0), band.scale, 1e-12), "{name}");
        assert_eq!(number("offset"), Some(band.offset), "{name}");
        let (mut count, mut sum, mut low, mut high) = (0_u64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for index in 0..file.bands().len() {
            for value in read_all(&file, index)? {
                if !value.is_nan() {
                    // Statistics of the table are of raw values.
                    let raw = (f64::from(value) - band.offset) / band.scale;
                    count += 1;
                    sum += raw;
                    low = low.min(raw);
                    high = high.max(raw);
                }
            }
        }
        assert_eq!(expected["valid"].as_u64(), Some(count), "{name}");
        if count > 0 {
            assert!(close(number("min").expect("min"), low, 1e-6), "{name}: least {low}");
            assert!(close(number("max").expect("max"), high, 1e-6), "{name}: greatest {high}");
            let mean = sum / count as f64;
            // JPEG decoders may differ in how they enlarge the halved chroma: a fifth of the samples differ here, nearly all by 1 or 2, at most by 13.
            let tolerance = if expected["compression"] == "JPEG" { 1e-3 } else { 1e-6 };
            assert!(close(number("mean").expect("mean"), mean, tolerance), "{name}: mean {mean}");
        }
    }
    Ok(())
}

#[test]
fn band_names_and_local_crs_of_the_landsat_scene() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let blue = RasterFile::open(folder.join("data/athabasca/athabasca_2020229_B02_L30.tif"))?;
    assert_eq!(blue.bands()[0].description.as_deref(), Some("Blue"));
    let crs = blue.grid().crs.clone().expect("a CRS");
    assert_eq!(crs.epsg, None);
    assert_eq!(crs.proj, Crs::from_epsg(32611)?.proj);
    assert_eq!(crs.name, "UTM Zone 11, Northern Hemisphere");
    // The published inputs of the same scene carry the code.
    let optical = RasterFile::open(folder.join("fixtures/scene_athabasca/optical.tif"))?;
    check_same_grid((blue.path(), blue.grid()), (optical.path(), optical.grid()))?;
    let (longitude, latitude) = crs.longitude_latitude(477_870.0, 5_784_480.0)?;
    assert!((longitude + 117.3).abs() < 0.1 && (latitude - 52.2).abs() < 0.1, "{longitude} {latitude}");
    Ok(())
}

#[test]
fn slope_matches_the_published_one_inside() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let elevation = RasterFile::open(folder.join("data/terrain/corbassiere_elevation.tif"))?;
    let published = RasterFile::open(folder.join("data/terrain/corbassiere_slope.tif"))?;
    let grid = elevation.grid();
    let slope = slope_degrees(&read_all(&elevation, 0)?, grid)?;
    let expected = read_all(&published, 0)?;
    let mut worst = 0.0_f32;
    for row in 1..grid.height - 1 {
        for col in 1..grid.width - 1 {
            let i = row * grid.width + col;
            let difference = (slope[i] - expected[i]).abs();
            assert!(!difference.is_nan());
            worst = worst.max(difference);
        }
    }
    println!("slope: worst difference {worst} degrees");
    assert!(worst < 1e-3, "{worst}");
    Ok(())
}

#[test]
fn outputs_carry_the_georeference_of_their_input() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let target = tempfile::tempdir().expect("a folder");
    for name in [
        "athabasca/athabasca_dem.tif",
        "rasters/rotated.tif",
        "rasters/test_esri_wkt.tif",
        "rasters/RGB.byte.tif",
        "rasters/float32.tif",
    ] {
        let input = RasterFile::open(folder.join("data").join(name))?;
        let path = target.path().join("out.tif");
        let values: Vec<f32> = read_all(&input, 0)?;
        write_floats(&path, input.grid(), &values, &Metadata::default())?;
        let output = RasterFile::open(&path)?;
        assert_eq!(output.grid(), input.grid(), "{name}");
        let back = read_all(&output, 0)?;
        assert!(
            back.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())),
            "{name}"
        );
    }
    Ok(())
}

fn grid(width: usize, height: usize) -> Grid {
    Grid { width, height, transform: [10.0, 0.0, 5e5, 0.0, -10.0, 6e6], crs: Crs::from_epsg(32633).ok() }
}

#[test]
fn what_is_written_reads_back_bit_for_bit() -> Result<()> {
    let target = tempfile::tempdir().expect("a folder");
    for (width, height) in [(1, 1), (3, 2), (256, 256), (257, 1), (1, 300), (700, 515)] {
        let mut grid = grid(width, height);
        if width == 257 {
            grid.transform = [8.0, 3.0, 1.5, -3.0, 8.0, 2.5];
        }
        let metadata = Metadata {
            description: Some("confidence <&> \"Ötztal\"".into()),
            items: vec![("MODEL".into(), "GlaViTU & co".into()), ("WEIGHTS_SHA256".into(), "0123".into())],
        };
        let floats: Vec<f32> = (0..grid.len())
            .map(|i| if i % 17 == 3 { f32::NAN } else { f32::from_bits(0x3f00_0000 ^ (i as u32).wrapping_mul(40_503)) })
            .collect();
        let path = target.path().join("floats.tif");
        write_floats(&path, &grid, &floats, &metadata)?;
        let file = RasterFile::open(&path)?;
        assert_eq!(file.grid(), &grid);
        assert_eq!(file.bands()[0].description, metadata.description);
        assert!(file.bands()[0].nodata.is_some_and(f64::is_nan));
        let back = read_all(&file, 0)?;
        assert!(back.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())));
        for classes in [3, 251] {
            let bytes: Vec<u8> = (0..grid.len()).map(|i| (i * i / 7 % classes) as u8).collect();
            let path = target.path().join("bytes.tif");
            write_bytes(&path, &grid, &bytes, 2, &metadata)?;
            let file = RasterFile::open(&path)?;
            assert_eq!(file.grid(), &grid);
            assert_eq!(file.bands()[0].nodata, Some(2.0));
            let back = read_all(&file, 0)?;
            assert!(back.iter().zip(&bytes).all(|(a, b)| if *b == 2 { a.is_nan() } else { *a == f32::from(*b) }));
        }
    }
    let error = write_bytes(target.path().join("no.tif"), &grid(2, 2), &[0; 3], 0, &Metadata::default());
    assert!(error.is_err());
    Ok(())
}

#[test]
fn files_that_are_no_rasters_get_one_clear_sentence() {
    let target = tempfile::tempdir().expect("a folder");
    let path = target.path().join("file.tif");
    let bad = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let error = RasterFile::open(&path).expect_err("refused");
        assert!(matches!(error, Error::BadFile { .. }), "{error}");
        error.to_string()
    };
    assert!(bad(b"").contains("an empty file"));
    assert!(bad(b"col,row\n1,2\n").contains("not a TIFF file"));
    assert!(bad(b"II*\0").contains("TIFF file"));
    write_floats(&path, &grid(300, 300), &vec![1.5; 90_000], &Metadata::default()).expect("written");
    let whole = fs::read(&path).expect("read");
    for length in [1, 8, 100, whole.len() / 2, whole.len() - 1] {
        bad(&whole[..length]);
    }
    assert!(matches!(RasterFile::open(target.path()), Err(Error::BadFile { .. })));
    assert!(matches!(RasterFile::open(target.path().join("none.tif")), Err(Error::Io { .. })));
    // No path of this machine may be opened that blocks.
    if Path::new("/dev/zero").exists() {
        assert!(matches!(RasterFile::open("/dev/zero"), Err(Error::BadFile { .. })));
    }
}

#[test]
fn windows_outside_are_refused() -> Result<()> {
    let target = tempfile::tempdir().expect("a folder");
    let path = target.path().join("small.tif");
    write_bytes(&path, &grid(5, 4), &[1; 20], 0, &Metadata::default())?;
    let file = RasterFile::open(&path)?;
    for window in [
        Window { row: 0, col: 0, height: 5, width: 5 },
        Window { row: 4, col: 0, height: 1, width: 1 },
        Window { row: usize::MAX, col: 0, height: 2, width: 1 },
    ] {
        assert!(matches!(file.read_window(0, window), Err(Error::BadArgument { .. })));
    }
    assert!(file.read_window(1, file.grid().window()).is_err());
    assert!(file.read_window(0, Window { row: 4, col: 5, height: 0, width: 0 })?.is_empty());
    Ok(())
}

#[test]
fn published_coordinates() -> Result<()> {
    // Computed with PROJ 9, which takes the datums of these systems as WGS 84, too.
    for (code, x, y, longitude, latitude) in [
        (32611, 477870.0, 5784480.0, -117.323877657352, 52.21031594716541),
        (32733, 300000.0, 4000000.0, 11.94040631664446, -54.10920644763894),
        (32632, 364400.0, 5100200.0, 7.247459112110606, 46.04193630694424),
        (3413, -200000.0, -2200000.0, -50.19442890773481, 69.81052152420365),
        (3413, 1234567.0, 765432.1, 76.79893159732194, 76.64895466718313),
        (3031, -2000000.0, 800000.0, -68.19859051364818, -70.36149217150461),
        (5070, -1700000.0, 2800000.0, -118.24658944127464, 46.38985411781965),
        (3005, 900000.0, 700000.0, -127.43595905756942, 51.30437071712778),
        (3035, 4300000.0, 2600000.0, 9.726648692094773, 46.51295007892519),
        (3857, 14321853.115736904, 4533021.525424092, 128.6553955078125, 37.670777372883144),
        (3338, 400000.0, 1200000.0, -146.65929060417514, 60.586359510562794),
        (2193, 1370000.0, 5170000.0, 170.15096942958522, -43.5874702406748),
        (4326, -117.25, 52.5, -117.25, 52.5),
    ] {
        let crs = Crs::from_epsg(code)?;
        let (lon, lat) = Transformer::to_longitude_latitude(&crs)?.apply(x, y)?;
        assert!((lon - longitude).abs() < 1e-7 && (lat - latitude).abs() < 1e-7, "EPSG:{code}: {lon} {lat}");
    }
    Ok(())
}

#[test]
fn unknown_systems_are_named_in_the_error() {
    assert!(Crs::from_epsg(1).is_err());
    assert!(Crs::from_epsg(70_000).is_err());
    let local = Crs {
        epsg: None,
        name: "mine survey".into(),
        proj: String::new(),
        geographic: false,
        keys: Default::default(),
    };
    let error = Transformer::to_longitude_latitude(&local).expect_err("unknown");
    assert!(error.to_string().contains("mine survey"), "{error}");
    assert!(local.wkt().starts_with("LOCAL_CS"));
    assert!(Crs::from_epsg(32611).is_ok_and(|crs| crs.wkt().contains("UTM zone 11N")));
}

#[test]
fn esri_well_known_text_is_understood() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let file = RasterFile::open(folder.join("data/rasters/test_esri_wkt.tif"))?;
    let crs = file.grid().crs.clone().expect("a CRS");
    assert_eq!(crs.epsg, None);
    assert!(crs.is_same(&Crs::from_epsg(5070)?), "{crs:?}");
    Ok(())
}

#[test]
fn every_registered_system_has_a_name_and_a_text() {
    let (mut known, mut transformed) = (0, 0);
    for code in 1024..=32_767 {
        let Ok(crs) = Crs::from_epsg(code) else { continue };
        known += 1;
        assert!(!crs.name.is_empty() && !crs.wkt().is_empty(), "EPSG:{code}");
        assert_eq!(Crs::from_geo_keys(crs.keys.clone()).map(|crs| crs.proj), Some(crs.proj.clone()), "EPSG:{code}");
        transformed += usize::from(Transformer::to_longitude_latitude(&crs).is_ok());
    }
    println!("{transformed} of {known} systems can be transformed");
    assert!(known > 5000 && transformed * 100 > known * 95, "{transformed} of {known}");
}

#[test]
fn several_bands_keep_their_order_and_names() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // One strip, and tiles that reach over the edge.
    for (width, height) in [(7, 5), (300, 270)] {
        let transform = [30.0, 0.0, 4e5, 0.0, -30.0, 5e6];
        let grid = Grid { width, height, transform, crs: Some(Crs::from_epsg(32632)?) };
        let values = |band: usize| -> Vec<f32> { (0..grid.len()).map(|i| (i * 7 + band) as f32 / 3.0).collect() };
        let bands = [values(0), values(1), values(2)];
        let named: Vec<(&str, &[f32])> =
            ["blue", "NIR <1>", ""].into_iter().zip(bands.iter().map(Vec::as_slice)).collect();
        let path = folder.path().join("bands.tif");
        write_bands(&path, &grid, &named, &[("SEED".into(), "1".into())])?;
        let file = RasterFile::open(&path)?;
        assert!(file.grid().transform == transform && file.bands().len() == 3);
        for (index, (name, values)) in named.iter().enumerate() {
            assert_eq!(read_all(&file, index)?, *values);
            assert_eq!(file.bands()[index].description.as_deref().unwrap_or_default(), *name);
        }
        assert!(write_bands(&path, &grid, &[], &[]).is_err());
        assert!(write_bands(&path, &grid, &[("short", &bands[0][1..])], &[]).is_err());
    }
    Ok(())
}
