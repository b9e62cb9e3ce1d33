use proptest::prelude::*;

use super::*;
use crate::raster::{Crs, Metadata, write_bands, write_bytes};

fn grid(width: usize, height: usize) -> Grid {
    Grid { width, height, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs: Crs::from_epsg(32611).ok() }
}

/// A tile of 4 x 3 pixels with elevation, slope and labels.
fn tile(folder: &Path) -> PathBuf {
    let path = folder.join("A-0-0");
    fs::create_dir_all(&path).expect("made");
    let elevation: Vec<f32> = (0..12_u8).map(|i| 100.0 * f32::from(i)).collect();
    let slope: Vec<f32> = (0..12_u8).map(f32::from).collect();
    let bands = [("elevation", elevation.as_slice()), ("slope", slope.as_slice())];
    write_bands(path.join("dem.tif"), &grid(4, 3), &bands, &[]).expect("written");
    let classes = [1, 0, 255, 0, 1, 1, 0, 0, 0, 0, 0, 1];
    write_bytes(path.join("outlines.tif"), &grid(4, 3), &classes, 255, &Metadata::default()).expect("written");
    path
}

#[test]
fn bare_rasters_are_a_tile() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tile(folder.path());
    let (infos, opened) = TileFolder::open(folder.path()).expect("a tile");
    let info = &infos[0];
    assert_eq!((info.height, info.width, info.padding, info.original), (3, 4, (0, 0), (3, 4)));
    assert_eq!(
        (info.region.as_str(), info.labelled, info.features.as_slice()),
        ("unknown", true, [Feature::Dem].as_slice())
    );
    let [west, east, south, north] = info.place.expect("a place").edges;
    assert!(west < east && (-117.4..-117.2).contains(&west) && south < north && (52.1..52.3).contains(&north));
    let window = TileWindow { row: 1, col: 1, height: 2, width: 3 };
    let labels = opened.read_window(0, info, TileArray::Outlines, window).expect("labels");
    assert_eq!(labels, [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let mut expected = vec![500.0, 5.0, 600.0, 6.0, 700.0, 7.0, 900.0, 9.0, 1000.0, 10.0, 1100.0, 11.0];
    normalise(Feature::Dem, &Normalisation::default(), &mut expected).expect("finite");
    assert_eq!(opened.read_window(0, info, TileArray::Feature(Feature::Dem), window).expect("values"), expected);
}

#[test]
fn padding_and_statistics() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = tile(folder.path());
    let sidecar = r#"{"region": "ALP", "height": 8, "width": 6, "padding_height": 2, "padding_width": 1}"#;
    fs::write(path.join(SIDECAR), sidecar).expect("written");
    let mut statistics = Normalisation::default();
    (statistics.slope.min[0], statistics.slope.max[0]) = (-1.0, 1.0);
    fs::write(folder.path().join(STATISTICS), serde_json::to_string(&statistics).expect("JSON")).expect("written");
    let (infos, opened) = TileFolder::open(folder.path()).expect("a tile");
    let info = &infos[0];
    assert_eq!((info.region.as_str(), info.subregion.as_str(), info.height, info.width), ("ALP", "ALP", 8, 6));
    let read = |row, col, height, width| {
        let window = TileWindow { row, col, height, width };
        opened.read_window(0, info, TileArray::Feature(Feature::Dem), window).expect("values")
    };
    let whole = read(0, 0, 8, 6);
    for (row, col) in (0..8).flat_map(|row| (0..6).map(move |col| (row, col))) {
        let slope = whole[(row * 6 + col) * 2 + 1];
        let inside = (2..5).contains(&row) && (1..5).contains(&col);
        let expected = if inside { (((row - 2) * 4 + col - 1) as f32 + 1.0) / 2.0 } else { 0.0 };
        assert!((slope - expected).abs() < 1e-6, "{row} {col}");
        assert_eq!(read(row, col, 1, 1), whole[(row * 6 + col) * 2..][..2]);
    }
}

#[test]
fn refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let message = || TileFolder::open(folder.path()).expect_err("refused").to_string();
    assert!(message().contains("a folder without tiles"));
    let path = tile(folder.path());
    for (text, part) in [
        ("{", "EOF"),
        (r#"{"region": "ALP", "colour": 1}"#, "colour"),
        (r#"{"region": ""}"#, "an empty region"),
        (r#"{"region": "ALP", "height": 2}"#, "(2, 4) pixels"),
        (r#"{"region": "ALP", "padding_width": 18446744073709551615}"#, "padding"),
        (r#"{"region": "ALP", "height": 99999999}"#, "at most"),
        (r#"{"region": "ALP", "original_height": 5}"#, "an original size of (5, 4)"),
    ] {
        fs::write(path.join(SIDECAR), text).expect("written");
        let found = message();
        assert!(found.contains(part) && found.contains(SIDECAR), "{text}: {found}");
    }
    fs::remove_file(path.join(SIDECAR)).expect("removed");
    fs::write(folder.path().join(STATISTICS), "{}").expect("written");
    assert!(message().contains(STATISTICS));
    fs::remove_file(folder.path().join(STATISTICS)).expect("removed");
    write_bytes(path.join("optical.tif"), &grid(4, 3), &[0; 12], 255, &Metadata::default()).expect("written");
    assert!(message().contains("1 bands, expected 6 for optical"), "{}", message());
    fs::remove_file(path.join("optical.tif")).expect("removed");
    write_bytes(path.join("thermal.tif"), &grid(3, 3), &[0; 9], 255, &Metadata::default()).expect("written");
    assert!(message().contains("3 x 3 pixels"), "{}", message());
    fs::remove_file(path.join("thermal.tif")).expect("removed");
    write_bytes(path.join("outlines.tif"), &grid(4, 3), &[7; 12], 255, &Metadata::default()).expect("written");
    let (infos, opened) = TileFolder::open(folder.path()).expect("a tile");
    let window = TileWindow { row: 0, col: 0, height: 1, width: 1 };
    let error = opened.read_window(0, &infos[0], TileArray::Outlines, window).expect_err("no class").to_string();
    assert!(error.contains("the value 7"), "{error}");
    fs::create_dir(folder.path().join("B")).expect("made");
    assert!(message().contains("without rasters"), "{}", message());
}

#[test]
fn attributes_are_few_and_short() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = tile(folder.path());
    let told = |text: &str| {
        fs::write(path.join(SIDECAR), format!(r#"{{"region": "A", "attributes": {text}}}"#)).expect("written");
        TileFolder::open(folder.path()).map(|(infos, _)| infos[0].attributes.clone())
    };
    let found = told(
        r#"{"sensor": " Landsat 8 ", "year": 2016, "cloud": 0.25, "clean": true, "none": null, "empty": "", "region": "B"}"#,
    );
    let expected = [("cloud", "0.25"), ("sensor", "Landsat 8"), ("year", "2016")];
    assert_eq!(found.expect("a tile"), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let many: Vec<String> = (0..100).map(|number| format!(r#""a{number}": {number}"#)).collect();
    assert_eq!(told(&format!("{{{}}}", many.join(","))).expect("a tile").len(), MOST_ATTRIBUTES);
    let long = "x".repeat(201);
    assert!(told(&format!(r#"{{"a": "{long}", "{long}": "a"}}"#)).expect("a tile").is_empty());
    assert!(told("3").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_text_is_a_sidecar_or_refused(name in "[a-z_]{0,20}", value in ".{0,60}", number: u64, plain: bool) {
        let text = if plain { value } else { format!("{{\"region\": \"A\", \"{name}\": {number}}}") };
        let mut info = TileInfo {
            name: "A".into(), region: "A".into(), subregion: "A".into(), height: 3, width: 4, padding: (0, 0), original: (3, 4),
            place: None, features: Vec::new(), labelled: true, attributes: Default::default(),
        };
        if let Ok(sidecar) = parse(text.as_bytes())
            && sidecar.apply(&mut info).is_ok()
        {
            prop_assert!(info.padding.0 + info.original.0 <= info.height && info.padding.1 + info.original.1 <= info.width);
        }
    }
}
