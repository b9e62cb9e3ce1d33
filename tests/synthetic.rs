//! `glavitu dataset synthetic` as a user runs it; what it writes is read back by other means.

mod program;

use std::fs;

use glavitu::model::{Feature, Normalisation};
use glavitu::raster::RasterFile;
use hdf5_reader::Hdf5File;
use program::{Workplace, glavitu};
use serde_json::Value;

fn run(place: &Workplace, args: &[&str]) -> program::Run {
    let mut all = vec!["dataset".to_owned(), "synthetic".into()];
    all.extend(
        args.iter()
            .map(|arg| if arg.contains("OUT/") { place.at(&arg.replace("OUT/", "")) } else { (*arg).to_owned() }),
    );
    glavitu(&all)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn tiles_of_every_region_read_back() {
    let place = Workplace::new();
    let args = [
        "-o",
        "OUT/tiles.hdf5",
        "--tiles",
        "12",
        "--size",
        "48",
        "--seed",
        "3",
        "--preview",
        "OUT/sheet.png",
        "--json",
    ];
    let done = run(&place, &args);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(done.err, "");
    let summary = json(&done.out);
    let regions = summary["regions"].as_object().expect("regions");
    assert_eq!(regions.len(), 11);
    assert_eq!((&regions["ALP"]["tiles"], &regions["SVAL"]["tiles"]), (&Value::from(2), &Value::from(1)));

    let file = Hdf5File::open(place.path("tiles.hdf5")).expect("an HDF5 file");
    let tiles = file.root_group().and_then(|root| root.groups()).expect("groups");
    assert_eq!(tiles.len(), 12);
    let normalisation = Normalisation::default();
    let mut unlabelled = 0;
    for tile in &tiles {
        let text = |name: &str| tile.attribute(name).and_then(|a| a.read_string()).expect("text");
        assert_eq!(text("tile_name"), tile.name());
        assert!(tile.name().starts_with(&format!("{}-", text("subregion"))), "{}", tile.name());
        assert!(regions.contains_key(&text("region")));
        for feature in Feature::ALL {
            let array = tile.dataset(feature.name()).expect("a feature");
            assert_eq!(array.shape(), [48, 48, feature.channels() as u64]);
            let values = array.read_array::<f64>().expect("doubles");
            assert!(values.iter().all(|v| v.is_finite() && (-0.2..1.3).contains(v)), "{} {feature}", tile.name());
        }
        let elevation = normalisation.of(Feature::Dem)[0];
        let dem = tile.dataset("dem").and_then(|d| d.read_array::<f64>()).expect("doubles");
        let metres = dem.iter().step_by(2).map(|v| v * (elevation.1 - elevation.0) + elevation.0);
        assert!(metres.clone().all(|z| (-200.0..9000.0).contains(&z)), "{}", tile.name());
        let outlines = tile.dataset("outlines").and_then(|d| d.read_array::<f64>()).expect("doubles");
        let outlines: Vec<f64> = outlines.iter().copied().collect();
        for label in outlines.chunks(2) {
            assert!([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]].contains(&[label[0], label[1]]), "{label:?}");
            unlabelled += usize::from(label == [0.0, 0.0]);
        }
    }
    assert!(unlabelled < 12 * 48 * 48 / 4);
    let sheet = image::open(place.path("sheet.png")).expect("a PNG");
    // Six pictures of 48 pixels in a row, four rows.
    assert_eq!((sheet.width(), sheet.height()), (6 * 52 + 4, 4 * 52 + 4));
}

#[test]
fn a_tile_depends_on_nothing_but_its_number() {
    let place = Workplace::new();
    let write = |name: &str, tiles: &str, more: &[&str]| {
        let mut args =
            vec!["-o", name, "--tiles", tiles, "--size", "32", "--regions", "HMA,NZ", "--features", "optical,dem"];
        args.extend(more);
        let done = run(&place, &args);
        assert_eq!(done.code, Some(0), "{}", done.err);
    };
    write("OUT/two.hdf5", "2", &[]);
    write("OUT/again.hdf5", "2", &[]);
    write("OUT/five.hdf5", "5", &["--compress"]);
    write("OUT/other.hdf5", "2", &["--seed", "2"]);
    let bytes = |name: &str| fs::read(place.path(name)).expect("a file");
    assert!(bytes("two.hdf5") == bytes("again.hdf5"));
    assert!(bytes("two.hdf5") != bytes("other.hdf5"));
    let optical = |name: &str, tile: usize| -> Vec<f64> {
        let file = Hdf5File::open(place.path(name)).expect("an HDF5 file");
        let groups = file.root_group().and_then(|root| root.groups()).expect("groups");
        let group = groups.iter().find(|g| g.name().ends_with(&format!("-{tile}-0"))).expect("the tile");
        assert!(group.dataset("thermal").is_err());
        group.dataset("optical").and_then(|d| d.read_array::<f64>()).expect("doubles").iter().copied().collect()
    };
    assert_eq!(optical("two.hdf5", 1), optical("five.hdf5", 1));
}

#[test]
fn a_scene_in_raw_units() {
    let place = Workplace::new();
    let args = [
        "--scene",
        "-o",
        "OUT/scene",
        "--size",
        "96",
        "--region",
        "SVAL",
        "--seed",
        "4",
        "--preview",
        "OUT/look.png",
        "--json",
    ];
    let done = run(&place, &args);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let summary = json(&done.out);
    let open = |name: &str| RasterFile::open(place.path("scene").join(name)).expect("a raster");
    let grid = open("optical.tif").grid().clone();
    assert_eq!((grid.width, grid.height), (96, 96));
    for (name, bands, range) in [
        ("optical.tif", 6, -0.2..2.0),
        ("elevation.tif", 1, -100.0..3000.0),
        ("co_pol_sar.tif", 2, 0.0..30.0),
        ("cross_pol_sar.tif", 2, 0.0..30.0),
        ("in_sar.tif", 2, 0.0..1.0),
        ("thermal.tif", 1, 215.0..325.0),
        ("truth.tif", 1, 0.0..256.0),
    ] {
        let file = open(name);
        assert_eq!((file.bands().len(), file.grid()), (bands, &grid), "{name}");
        for band in 0..bands {
            let values = file.read_window(band, grid.window()).expect("pixels");
            assert!(values.iter().all(|v| v.is_nan() || range.contains(v)), "{name}");
        }
    }
    let outlines = rusqlite::Connection::open(place.path("scene/outlines.gpkg")).expect("a GeoPackage");
    let (rows, area): (i64, f64) = outlines
        .query_row("SELECT count(*), total(area_km2) FROM outlines", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a table outlines");
    assert_eq!(summary["outlines"].as_i64(), Some(rows));
    let pixels = summary["glacier_pixels"].as_f64().expect("a number");
    assert!((area - pixels * 9e-4).abs() <= 2e-3 * area, "{area} {pixels}");
    assert!(image::open(place.path("look.png")).is_ok());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Workplace::new();
    fs::write(place.path("file"), "x").expect("written");
    for (args, says) in [
        (&["-o", "OUT/t.hdf5"][..], "--tiles"),
        (&["-o", "OUT/t.hdf5", "--tiles", "0"], "0 tiles"),
        (&["-o", "OUT/t.hdf5", "--tiles", "3000000"], "100000"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--size", "8"], "16"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--regions", "ALPS"], "ALP, AN"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--regions", "ALP,ALP"], "twice"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--features", "radar"], "co_pol_sar"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--features", "dem,dem"], "twice"),
        (&["-o", "OUT/none/t.hdf5", "--tiles", "1"], "make it first"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--preview", "OUT/t.hdf5"], "--preview"),
        (&["-o", "OUT/t.hdf5", "--tiles", "1", "--region", "ALP"], "--scene"),
        (&["--scene", "-o", "OUT/s", "--tiles", "1"], "--tiles"),
        (&["--scene", "-o", "OUT/s", "--region", "Alps"], "ALP, AN"),
        (&["--scene", "-o", "OUT/file"], "file"),
    ] {
        let done = run(&place, args);
        assert_eq!(done.code, Some(2), "{args:?}: {}", done.err);
        assert!(done.err.contains(says), "{args:?}: {}", done.err);
    }
    let left: Vec<_> =
        fs::read_dir(place.path("")).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left, ["file"]);
}
