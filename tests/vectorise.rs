//! `glavitu vectorise` as a user runs it, against areas and counts by hand.

mod program;

use std::path::Path;

use glavitu::raster::polygons::Regions;
use glavitu::raster::{Crs, Grid, Metadata, write_bytes, write_floats};
use program::{Run, Workplace, glavitu};
use serde_json::Value;

const NODATA: u8 = 255;

fn grid(width: usize, height: usize) -> Grid {
    let crs = Crs::from_epsg(32611).expect("a registered code");
    Grid { width, height, transform: [100.0, 0.0, 500_000.0, 0.0, -100.0, 5_780_900.0], crs: Some(crs) }
}

/// Class 1 in two outlines (3 pixels and 1), class 3 in one, the rest 0; one pixel without data.
#[rustfmt::skip]
const CLASSES: [u8; 20] = [
    1, 1, 0, 3, 3,
    1, 0, 0, 3, 3,
    0, 0, 0, 0, 0,
    0, 0, 1, 0, NODATA,
];

fn classes(place: &Workplace, name: &str) {
    write_bytes(place.path(name), &grid(5, 4), &CLASSES, NODATA, &Metadata::default()).expect("written");
}

fn floats(place: &Workplace, name: &str, values: &[f32]) {
    write_floats(place.path(name), &grid(5, 4), values, &Metadata::default()).expect("written");
}

fn vectorise(place: &Workplace, input: &str, output: &str, more: &[&str]) -> Run {
    let mut args = vec!["vectorise".into(), place.at(input), "-o".into(), place.at(output)];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    glavitu(&args)
}

fn report(place: &Workplace, input: &str, output: &str, more: &[&str]) -> Value {
    let run = vectorise(place, input, output, &[more, &["--json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn refused(place: &Workplace, input: &str, output: &str, more: &[&str], expected: &str) {
    let run = vectorise(place, input, output, more);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.is_empty() && run.err.contains(expected), "{}", run.err);
    assert!(!place.path(output).is_file() || input == output, "{output} was written");
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found / expected - 1.0).abs() < 1e-4, "{found} instead of {expected}");
}

/// The table's columns beside geometry, and its rows as text.
fn table(path: &Path, columns: &str) -> Vec<Vec<String>> {
    let file = rusqlite::Connection::open(path).expect("a GeoPackage");
    let mut query = file.prepare(&format!("SELECT {columns} FROM outlines ORDER BY fid")).expect("the columns");
    let count = query.column_count();
    let rows = query.query_map([], |row| {
        (0..count)
            .map(|index| {
                Ok(match row.get_ref(index)? {
                    rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                    rusqlite::types::ValueRef::Real(value) => format!("{value:.4}"),
                    other => format!("{other:?}"),
                })
            })
            .collect()
    });
    rows.and_then(Iterator::collect).expect("rows")
}

/// A pixel's area in km2 near the central meridian, where the scale is 0.9996.
const PIXEL_KM2: f64 = 0.01 / (0.9996 * 0.9996);

#[test]
fn every_class() {
    let place = Workplace::new();
    classes(&place, "classes.tif");
    let report = report(&place, "classes.tif", "all.gpkg", &[]);
    assert_eq!((&report["outlines"], &report["area_surface"]), (&4.into(), &"WGS 84 ellipsoid".into()));
    close(&report["area_km2"], 19.0 * PIXEL_KM2);
    let by_class: Vec<(u64, u64)> = report["classes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| (c["class"].as_u64().expect("a class"), c["outlines"].as_u64().expect("a count")))
        .collect();
    assert_eq!(by_class, [(0, 1), (1, 2), (3, 1)]);
    let rows = table(&place.path("all.gpkg"), "glacier_id, class, pixels, area_km2, perimeter_km");
    let row = |id: &str, class: &str, pixels: &str, area: &str, perimeter: &str| {
        [id, class, pixels, area, perimeter].map(str::to_owned).to_vec()
    };
    assert_eq!(rows[0], row("1", "1", "3", "0.0300", "0.8003"));
    assert_eq!(rows[2], row("3", "3", "4", "0.0400", "0.8003"));
    assert_eq!(rows[3], row("4", "1", "1", "0.0100", "0.4002"));
}

#[test]
fn one_class_with_confidence() {
    let place = Workplace::new();
    classes(&place, "classes.tif");
    let mut confidence = [0.5f32; 20];
    confidence[..2].copy_from_slice(&[0.75, 1.0]);
    confidence[17] = f32::NAN;
    floats(&place, "confidence.tif", &confidence);
    let options = ["--class", "1", "--confidence", &place.at("confidence.tif")];
    let run = vectorise(&place, "classes.tif", "ice.gpkg", &options);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.starts_with("2 outlines, 0.04 km2; see "), "{}", run.out);
    let rows = table(&place.path("ice.gpkg"), "mean_confidence, min_confidence");
    assert_eq!(rows, [["0.7500", "0.5000"], ["Null", "Null"]]);
}

#[test]
fn small_ones_are_left_out() {
    let place = Workplace::new();
    classes(&place, "classes.tif");
    let found = report(&place, "classes.tif", "large.gpkg", &["--min-area", "0.02"]);
    assert_eq!(found["outlines"], 3);
    let none = report(&place, "classes.tif", "none.gpkg", &["--class", "7"]);
    assert_eq!((&none["outlines"], table(&place.path("none.gpkg"), "fid").len()), (&0.into(), 0));
}

#[test]
fn simplified_neighbours_keep_the_whole_area() {
    let place = Workplace::new();
    let side = 60;
    let classes: Vec<u8> = (0..side * side)
        .map(|i| match (i % side, i / side) {
            (col, row) if col > 5 && col < 55 && row > 5 && row < 55 => u8::from(col > row) + 1,
            _ => 0,
        })
        .collect();
    write_bytes(place.path("c.tif"), &grid(side, side), &classes, NODATA, &Metadata::default()).expect("written");
    let before = report(&place, "c.tif", "all.gpkg", &[]);
    let after = report(&place, "c.tif", "simple.gpkg", &["--simplify", "100"]);
    assert_eq!(before["outlines"], after["outlines"]);
    // What one loses its neighbours gain, but for the ellipsoid below the edges.
    close(&after["area_km2"], before["area_km2"].as_f64().expect("a number"));
    let bytes = |name: &str| -> i64 {
        let file = rusqlite::Connection::open(place.path(name)).expect("a GeoPackage");
        file.query_row("SELECT sum(length(geom)) FROM outlines", [], |row| row.get(0)).expect("a number")
    };
    assert!(bytes("simple.gpkg") * 3 < bytes("all.gpkg"));
}

#[test]
fn iso_lines() {
    let place = Workplace::new();
    classes(&place, "classes.tif");
    let probability = CLASSES.map(|class| if class == 1 { 0.9f32 } else { 0.3 });
    floats(&place, "probability.tif", &probability);
    let file = place.at("probability.tif");
    let options = ["--class", "1", "--iso-line", "--probability", &file];
    let found = report(&place, "classes.tif", "line.gpkg", &options);
    assert_eq!(found["outlines"], 2);
    // The single pixel at the southern rim: the level lies 2/3 of a pixel from its centre on three sides, and at half a pixel on the rim.
    let pixels = (2.0 / 3.0) * (2.0 / 3.0) + (2.0 / 3.0) * 0.5;
    let area = table(&place.path("line.gpkg"), "area_km2 * 1000")[1][0].parse::<f64>().expect("a number");
    assert!((area / 1000.0 / (pixels * PIXEL_KM2) - 1.0).abs() < 1e-3, "{area}");
    refused(
        &place,
        "classes.tif",
        "line2.gpkg",
        &["--class", "1,3", "--iso-line", "--probability", &file],
        "one class",
    );
    refused(&place, "classes.tif", "line2.gpkg", &["--class", "1", "--iso-line"], "--probability");
}

#[test]
fn large_rasters_come_in_bands() {
    let place = Workplace::new();
    // More rows than are read at once.
    let (width, height) = (3000, 2100);
    let classes: Vec<u8> =
        (0..width * height).map(|i| u8::from((i % width / 300 + i / width / 300) % 3 == 0)).collect();
    write_bytes(place.path("c.tif"), &grid(width, height), &classes, NODATA, &Metadata::default()).expect("written");
    let expected = Regions::find(&classes, width, height, 1).expect("the shape is right");
    let found = report(&place, "c.tif", "c.gpkg", &["--class", "1"]);
    assert_eq!(found["outlines"], expected.polygons.len());
    let pixels = table(&place.path("c.gpkg"), "sum(pixels)");
    assert_eq!(pixels[0][0], expected.pixels.iter().sum::<u64>().to_string());
}

#[test]
fn bad_inputs() {
    let place = Workplace::new();
    classes(&place, "classes.tif");
    floats(&place, "floats.tif", &[0.5; 20]);
    let other = write_floats(place.path("other.tif"), &grid(4, 5), &[0.5; 20], &Metadata::default());
    other.expect("written");
    std::fs::write(place.path("text.tif"), "text").expect("written");
    refused(&place, "missing.tif", "o.gpkg", &[], "missing.tif");
    refused(&place, "text.tif", "o.gpkg", &[], "not a TIFF");
    refused(&place, "floats.tif", "o.gpkg", &[], "the value 0.5 in row 0, column 0");
    refused(&place, "classes.tif", "o.gpkg", &["--confidence", &place.at("other.tif")], "4 x 5 pixels");
    refused(&place, "classes.tif", "o.docx", &[], "docx");
    refused(&place, "classes.tif", "classes.tif", &[], "tif");
    refused(&place, "classes.tif", "o.gpkg", &["--min-area=-1"], "least area");
    refused(&place, "classes.tif", "o.gpkg", &["--simplify", "nan"], "tolerance");
    refused(&place, "classes.tif", "o.gpkg", &["--class", "256"], "256");
    refused(&place, "classes.tif", "folder/o.gpkg", &[], "folder");
    let run = glavitu(&["vectorise".into(), place.at("classes.tif")]);
    assert_eq!(run.code, Some(2), "{}", run.err);
}
