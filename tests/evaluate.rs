//! `glavitu evaluate` as a user runs it, against counts by hand.

mod program;

use std::fs;
use std::path::Path;

use glavitu::raster::geopackage::{Layer, Writer};
use glavitu::raster::polygons::Polygon;
use glavitu::raster::{Crs, Grid, Metadata, RasterFile, write_bands, write_bytes, write_floats};
use program::{Run, Workplace, glavitu, shared};
use serde_json::Value;

const SIDE: usize = 10;

fn grid() -> Grid {
    let crs = Crs::from_epsg(32611).expect("a registered code");
    Grid { width: SIDE, height: SIDE, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs: Some(crs) }
}

/// Columns from `first` on are glacier.
fn columns_from(first: usize) -> Vec<u8> {
    (0..SIDE * SIDE).map(|i| u8::from(i % SIDE >= first)).collect()
}

fn bytes(path: impl AsRef<Path>, grid: &Grid, classes: &[u8]) {
    write_bytes(path, grid, classes, 255, &Metadata::default()).expect("written");
}

/// A folder with a prediction (columns 4 to 9, one pixel without data) and a truth (columns 5 to 9, one pixel not labelled).
fn workplace() -> Workplace {
    let place = Workplace::new();
    let mut predicted = columns_from(4);
    predicted[9] = 255;
    bytes(place.path("predicted.tif"), &grid(), &predicted);
    let mut truth = columns_from(5);
    truth[19] = 255;
    bytes(place.path("truth.tif"), &grid(), &truth);
    place
}

fn evaluate(place: &Workplace, predicted: &str, reference: &str, more: &[&str]) -> Run {
    let mut args =
        vec!["evaluate".into(), "--predicted".into(), place.at(predicted), "--reference".into(), place.at(reference)];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    glavitu(&args)
}

fn numbers(place: &Workplace, predicted: &str, reference: &str, more: &[&str]) -> Value {
    let run = evaluate(place, predicted, reference, &[more, &["--json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn refused(place: &Workplace, predicted: &str, reference: &str, more: &[&str], expected: &str) {
    let run = evaluate(place, predicted, reference, more);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.is_empty() && run.err.lines().count() == 1 && run.err.contains(expected), "{}", run.err);
}

fn counts(numbers: &Value) -> [u64; 4] {
    ["tp", "fp", "fn", "tn"].map(|name| numbers["confusion"][name].as_u64().expect("a count"))
}

/// A rectangle in columns and rows of the grid, as GeoJSON of EPSG:32611.
fn geojson(place: &Workplace, name: &str, [left, top, right, bottom]: [f64; 4]) {
    let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    let ring = corners.map(|(col, row)| {
        let (x, y) = grid().position(col, row);
        format!("[{x},{y}]")
    });
    let text = format!(
        r#"{{"type":"Polygon","coordinates":[[{}]],"crs":{{"type":"name","properties":{{"name":"EPSG:32611"}}}}}}"#,
        ring.join(",")
    );
    fs::write(place.path(name), text).expect("written");
}

#[test]
fn scores_by_hand() {
    let place = workplace();
    let found = numbers(&place, "predicted.tif", "truth.tif", &[]);
    // 50 pixels of truth less the two unknown ones; one column too many.
    assert_eq!(counts(&found), [48, 10, 0, 40]);
    let is = |name: &str, expected: f64| {
        let value = found[name].as_f64().expect("a number");
        assert!((value - expected).abs() < 1e-15, "{name}: {value}");
    };
    is("iou", 48.0 / 58.0);
    is("f1", 96.0 / 106.0);
    is("precision", 48.0 / 58.0);
    is("recall", 1.0);
    is("accuracy", 88.0 / 98.0);
    assert_eq!(found["counted_pixels"], 98);
    assert_eq!(found["not_counted"]["no_prediction"], 1);
    assert_eq!(found["not_counted"]["not_labelled"], 1);
    let area = |name: &str| found["area_km2"][name].as_f64().expect("a number");
    // 9e-4 km2 a pixel on the map, where the scale is 0.9996 close to the central meridian.
    assert!((area("reference") / (48.0 * 9e-4 / 0.9996_f64.powi(2)) - 1.0).abs() < 1e-4);
    assert!((area("difference_percent") - 1000.0 / 48.0).abs() < 1e-3);
    assert_eq!(found["area_km2"]["surface"], "WGS 84 ellipsoid");

    let run = evaluate(&place, "predicted.tif", "truth.tif", &[]);
    assert_eq!(run.err, "");
    for text in ["IoU", "0.828", "1.000", "+20.8 %", "1 without a prediction, 1 not labelled"] {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
}

#[test]
fn probabilities_are_cut_at_a_half() {
    let place = workplace();
    let mut probability: Vec<f32> = columns_from(4).iter().map(|c| 0.1 + 0.8 * f32::from(*c)).collect();
    (probability[9], probability[0]) = (f32::NAN, 0.5);
    write_floats(place.path("probability.tif"), &grid(), &probability, &Metadata::default()).expect("written");
    let found = numbers(&place, "probability.tif", "truth.tif", &[]);
    assert_eq!((counts(&found), &found["predicted"]["kind"]), ([48, 10, 0, 40], &Value::from("probability")));
    refused(
        &place,
        "truth.tif",
        "probability.tif",
        &[],
        "found the value 0.5 in row 1, column 1, expected 1 for glacier",
    );
    let confidence = Metadata { description: Some("confidence".into()), items: vec![] };
    write_floats(place.path("confidence.tif"), &grid(), &probability, &confidence).expect("written");
    refused(&place, "confidence.tif", "truth.tif", &[], "a raster of confidences");
}

#[test]
fn polygons_of_every_format() {
    let place = workplace();
    geojson(&place, "truth.geojson", [5.0, 0.0, 10.0, 10.0]);
    let expected = [49, 10, 0, 40];
    let found = numbers(&place, "predicted.tif", "truth.geojson", &[]);
    assert_eq!((counts(&found), &found["reference"]["kind"]), (expected, &Value::from("polygons")));

    // Through another CRS.
    let utm = Crs::from_epsg(32611).expect("a registered code");
    let on_earth = |col: f64, row: f64| {
        let (x, y) = grid().position(col, row);
        utm.longitude_latitude(x, y).expect("on the map")
    };
    let ring =
        vec![on_earth(5.0, 0.0), on_earth(10.0, 0.0), on_earth(10.0, 10.0), on_earth(5.0, 10.0), on_earth(5.0, 0.0)];
    let wgs84 = Crs::from_epsg(4326).expect("a registered code");
    let layer = Layer { table: "glaciers", description: "", crs: Some(&wgs84), wkt: None, columns: &[] };
    let mut writer = Writer::create(place.path("truth.gpkg"), &layer).expect("a new file");
    writer.add(&Polygon { exterior: ring, holes: vec![] }, &[]).expect("written");
    writer.finish().expect("finished");
    assert_eq!(counts(&numbers(&place, "predicted.tif", "truth.gpkg", &[])), expected);

    // Polygons against polygons have pixels only from a third file.
    geojson(&place, "predicted.geojson", [4.0, 0.0, 10.0, 10.0]);
    refused(&place, "predicted.geojson", "truth.gpkg", &[], "give --grid");
    let with_grid = numbers(&place, "predicted.geojson", "truth.gpkg", &["--grid", &place.at("predicted.tif")]);
    assert_eq!(counts(&with_grid), [50, 10, 0, 40]);
}

#[test]
fn only_the_valid_area_counts() {
    let place = workplace();
    geojson(&place, "valid.geojson", [0.0, 2.0, 10.0, 7.0]);
    let found = numbers(&place, "predicted.tif", "truth.tif", &["--valid", &place.at("valid.geojson")]);
    assert_eq!((counts(&found), &found["not_counted"]["outside_valid_area"]), ([25, 5, 0, 20], &Value::from(50)));
    let rows: Vec<u8> = (0..SIDE * SIDE).map(|i| u8::from((2..7).contains(&(i / SIDE)))).collect();
    bytes(place.path("valid.tif"), &grid(), &rows);
    let same = numbers(&place, "predicted.tif", "truth.tif", &["--valid", &place.at("valid.tif")]);
    assert_eq!(counts(&same), [25, 5, 0, 20]);
    bytes(place.path("nowhere.tif"), &grid(), &[0; SIDE * SIDE]);
    refused(&place, "predicted.tif", "truth.tif", &["--valid", &place.at("nowhere.tif")], "100 outside the valid area");
}

#[test]
fn a_scene_without_glaciers() {
    let place = workplace();
    bytes(place.path("none.tif"), &grid(), &[0; SIDE * SIDE]);
    let found = numbers(&place, "none.tif", "none.tif", &[]);
    assert_eq!(counts(&found), [0, 0, 0, 100]);
    assert!(found["iou"].is_null() && found["area_km2"]["difference_percent"].is_null());
    assert_eq!(found["accuracy"], 1.0);
    let run = evaluate(&place, "none.tif", "none.tif", &[]);
    assert!(run.out.contains("undefined") && !run.out.contains("NaN"), "{}", run.out);
}

#[test]
fn a_folder_of_results() {
    let place = workplace();
    let bands: Vec<Vec<f32>> = (0..6).map(|b| (0..100_u8).map(|i| f32::from(i + b) / 100.0).collect()).collect();
    let named: Vec<(&str, &[f32])> = bands.iter().map(|band| ("band", band.as_slice())).collect();
    write_bands(place.path("scene.tif"), &grid(), &named, &[]).expect("written");
    let (folder, scene) = (place.at("result"), place.at("scene.tif"));
    let run = evaluate(&place, "predicted.tif", "truth.tif", &["-o", &folder, "--background", &scene]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.contains("errors.png"));
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["errors.png", "errors.tif", "evaluation.json"]);
    let errors = RasterFile::open(place.path("result/errors.tif")).expect("a raster");
    assert_eq!((errors.grid(), errors.bands()[0].nodata), (&grid(), Some(255.0)));
    let values = errors.read_window(0, errors.grid().window()).expect("its pixels");
    assert_eq!((values[3], values[4], values[5]), (0.0, 2.0, 1.0));
    assert!(values[9].is_nan() && values[19].is_nan());
    assert!(image::open(place.path("result/errors.png")).expect("a PNG").width() >= 512);
    let written = fs::read_to_string(place.path("result/evaluation.json")).expect("written");
    let again = evaluate(&place, "predicted.tif", "truth.tif", &["-o", &folder, "--json"]);
    assert_eq!(written, again.out);
    // An output never replaces an input.
    fs::copy(place.path("truth.tif"), place.path("result/errors.tif")).expect("copied");
    refused(&place, "predicted.tif", "result/errors.tif", &["-o", &folder], "a file that is read");
    // Nothing is left of a run that fails.
    let other = place.at("other");
    refused(
        &place,
        "predicted.tif",
        "truth.tif",
        &["-o", &other, "--background", &scene, &scene],
        "12 bands in 2 files",
    );
    assert!(!place.path("other").exists());
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = workplace();
    let shifted = Grid { transform: [30.0, 0.0, 480_030.0, 0.0, -30.0, 5_780_900.0], ..grid() };
    bytes(place.path("shifted.tif"), &shifted, &columns_from(5));
    refused(&place, "predicted.tif", "shifted.tif", &[], "an origin 1.00 pixels right");
    bytes(place.path("classes.tif"), &grid(), &[7; SIDE * SIDE]);
    refused(&place, "predicted.tif", "classes.tif", &[], "the value 7");
    refused(&place, "classes.tif", "truth.tif", &[], "the value 7");
    refused(&place, "predicted.tif", "missing.tif", &[], "missing.tif");
    fs::write(place.path("notes.txt"), "no raster").expect("written");
    refused(
        &place,
        "predicted.tif",
        "notes.txt",
        &[],
        "expected a GeoTIFF, GeoJSON, GeoPackage, FlatGeobuf or Shapefile",
    );
    fs::write(place.path("point.json"), r#"{"type":"Point","coordinates":[1,2]}"#).expect("written");
    refused(&place, "predicted.tif", "point.json", &[], "a geometry of type Point");
    let two: [&[f32]; 2] = [&[0.0; 100], &[0.0; 100]];
    write_bands(place.path("two.tif"), &grid(), &two.map(|band| ("band", band)), &[]).expect("written");
    refused(&place, "two.tif", "truth.tif", &[], "2 bands");
    refused(&place, "predicted.tif", "truth.tif", &["--assume-crs", "UTM"], "EPSG:CODE");
}

#[test]
fn a_missing_crs_can_be_given() {
    let place = workplace();
    bytes(place.path("bare.tif"), &Grid { crs: None, ..grid() }, &columns_from(4));
    geojson(&place, "truth.geojson", [5.0, 0.0, 10.0, 10.0]);
    refused(&place, "bare.tif", "truth.geojson", &[], "give --assume-crs EPSG:CODE");
    refused(&place, "bare.tif", "truth.tif", &[], "CRS");
    let assumed = ["--assume-crs", "EPSG:32611"];
    assert_eq!(counts(&numbers(&place, "bare.tif", "truth.geojson", &assumed)), [50, 10, 0, 40]);
    assert_eq!(counts(&numbers(&place, "bare.tif", "truth.tif", &assumed)), [49, 10, 0, 40]);
    // Without any CRS, areas are those of the plane.
    let plane = numbers(&place, "bare.tif", "bare.tif", &[]);
    assert_eq!(plane["area_km2"]["surface"], "plane");
    assert!((plane["area_km2"]["predicted"].as_f64().expect("a number") - 60.0 * 9e-4).abs() < 1e-12);
}

/// NDSI > 0.4 (Hall et al. 1995) against the Randolph Glacier Inventory: a number that was computed with GDAL.
#[test]
fn the_simple_baseline_of_a_real_scene() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/athabasca");
    let band = |number: &str| {
        let file = RasterFile::open(folder.join(format!("athabasca_2020229_B{number}_L30.tif"))).expect("a raster");
        (file.grid().clone(), file.read_window(0, file.grid().window()).expect("its pixels"))
    };
    let ((grid, green), (_, swir1)) = (band("03"), band("06"));
    let ndsi = green.iter().zip(&swir1).map(|(g, s)| (g - s) / (g + s));
    let classes: Vec<u8> = ndsi.map(|ndsi| if ndsi.is_nan() { 255 } else { u8::from(ndsi > 0.4) }).collect();
    let place = Workplace::new();
    bytes(place.path("ndsi.tif"), &grid, &classes);
    let truth = folder.join("athabasca_aoi_rgi7_4glaciers.geojson").display().to_string();
    let mut args =
        ["evaluate", "--predicted", &place.at("ndsi.tif"), "--reference", &truth, "--json"].map(str::to_owned).to_vec();
    args.extend(["--assume-crs".to_owned(), "EPSG:32611".to_owned()]);
    let run = glavitu(&args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).expect("JSON");
    let iou = found["iou"].as_f64().expect("a number");
    assert_eq!(format!("{iou:.3}"), "0.775");
}

#[test]
fn pixels_without_a_label_as_other_ground() {
    let place = workplace();
    let found = numbers(&place, "predicted.tif", "truth.tif", &["--unlabelled", "background"]);
    // The pixel without a label was predicted as glacier; the one without a prediction still does not count.
    assert_eq!((counts(&found), &found["unlabelled"]), ([48, 11, 0, 40], &Value::from("background")));
    assert_eq!((&found["not_counted"]["not_labelled"], &found["not_counted"]["no_prediction"]), (&0.into(), &1.into()));
    let run = evaluate(&place, "predicted.tif", "truth.tif", &["--unlabelled", "background"]);
    assert!(run.out.contains("without a label count as other ground"), "{}", run.out);
}

#[test]
fn a_reference_of_another_place() {
    let place = workplace();
    geojson(&place, "beside.geojson", [20.0, 0.0, 30.0, 10.0]);
    refused(&place, "predicted.tif", "beside.geojson", &[], "polygons that all lie beside the raster");
    geojson(&place, "far.geojson", [20_000.0, 0.0, 20_010.0, 10.0]);
    refused(&place, "predicted.tif", "far.geojson", &[], "polygons that all lie beside the raster");
    refused(&place, "predicted.tif", "truth.tif", &["--valid", &place.at("far.geojson")], "far.geojson");
    // Between pixel centres is the right place, and no pixel.
    geojson(&place, "small.geojson", [3.6, 3.6, 3.8, 3.8]);
    assert_eq!(counts(&numbers(&place, "predicted.tif", "small.geojson", &[])), [0, 59, 0, 40]);
}

#[test]
fn kinds_of_glaciers() {
    let place = workplace();
    let feature = |kind: &str, [left, top, right, bottom]: [f64; 4]| {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        let ring = corners.map(|(col, row)| {
            let (x, y) = grid().position(col, row);
            format!("[{x},{y}]")
        });
        format!(
            r#"{{"type":"Feature","properties":{{"term_type":{kind}}},"geometry":{{"type":"Polygon","coordinates":[[{}]]}}}}"#,
            ring.join(",")
        )
    };
    // Columns from 4 on are predicted: all of the tidewater glacier, half of the other, and ice that nobody drew.
    let features = [
        feature("\"tidewater\"", [6.0, 2.0, 10.0, 5.0]),
        feature("\"land\"", [3.0, 6.0, 5.0, 10.0]),
        feature("null", [0.0, 0.0, 1.0, 1.0]),
    ];
    let text = format!(
        r#"{{"type":"FeatureCollection","crs":{{"type":"name","properties":{{"name":"EPSG:32611"}}}},"features":[{}]}}"#,
        features.join(",")
    );
    fs::write(place.path("kinds.geojson"), text).expect("written");
    let found = numbers(&place, "predicted.tif", "kinds.geojson", &["--group-by", "TERM_TYPE"]);
    let groups = found["reference_groups"].as_array().expect("groups");
    let of = |name: Option<&str>| {
        let group = groups.iter().find(|group| group["group"].as_str() == name).expect("a group");
        (group["found"].as_u64(), group["missed"].as_u64(), group["recall"].as_f64())
    };
    assert_eq!(of(Some("tidewater")), (Some(12), Some(0), Some(1.0)));
    assert_eq!(of(Some("land")), (Some(4), Some(4), Some(0.5)));
    assert_eq!(of(None), (Some(0), Some(1), Some(0.0)));
    assert_eq!(counts(&found), [16, 43, 5, 35]);
    let run = evaluate(&place, "predicted.tif", "kinds.geojson", &["--group-by", "term_type"]);
    assert!(run.out.contains("tidewater") && run.out.contains("not told"), "{}", run.out);
    refused(&place, "predicted.tif", "kinds.geojson", &["--group-by", "surge_type"], "expected term_type");
    refused(&place, "predicted.tif", "truth.tif", &["--group-by", "term_type"], "polygons with attributes");
}

/// Outcomes of a raster that is read in several parts are those of one that is not.
#[test]
fn many_rows() {
    let place = Workplace::new();
    let (width, height) = (70_000, 300);
    let transform = [1.0, 0.0, 480_000.0, 0.0, -1.0, 5_780_900.0];
    let wide = Grid { width, height, transform, ..grid() };
    let class = |i: usize, shift: usize| u8::from((i % width / 50 + i / width / 7 + shift).is_multiple_of(3));
    let predicted: Vec<u8> = (0..width * height).map(|i| class(i, 0)).collect();
    let truth: Vec<u8> = (0..width * height).map(|i| class(i, i / width / 40)).collect();
    bytes(place.path("predicted.tif"), &wide, &predicted);
    bytes(place.path("truth.tif"), &wide, &truth);
    let folder = place.at("result");
    let run = evaluate(&place, "predicted.tif", "truth.tif", &["-o", &folder, "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).expect("JSON");
    let outcome = |(p, t): (&u8, &u8)| match (p, t) {
        (0, 0) => 0_u8,
        (1, 1) => 1,
        (1, 0) => 2,
        _ => 3,
    };
    let outcomes: Vec<u8> = predicted.iter().zip(&truth).map(outcome).collect();
    let count = |value: u8| outcomes.iter().filter(|outcome| **outcome == value).count() as u64;
    assert_eq!(counts(&found), [count(1), count(2), count(3), count(0)]);
    let errors = RasterFile::open(place.path("result/errors.tif")).expect("a raster");
    let values = errors.read_window(0, errors.grid().window()).expect("its pixels");
    assert!(values.iter().zip(&outcomes).all(|(found, expected)| *found == f32::from(*expected)));
    // The sum of the pixels' areas; the scale of the map is 0.9996 to 1.0003 here.
    let expected = predicted.iter().map(|class| f64::from(*class)).sum::<f64>() * 1e-6;
    let area = found["area_km2"]["predicted"].as_f64().expect("a number");
    assert!((area / expected - 1.0).abs() < 1e-3, "{area} instead of about {expected}");
}

#[test]
fn gaps_are_kept() {
    let place = Workplace::new();
    let counts = r#""confusion": {"tp": 1, "fp": 0, "fn": 0, "tn": 0}"#;
    for (folder, iou) in [("all", 0.75), ("without_alp", 0.5), ("the_same", 0.750_000_1)] {
        fs::create_dir(place.path(folder)).expect("made");
        let text = format!(r#"{{"kind": "scene", "iou": {iou}, {counts}}}"#);
        fs::write(place.path(folder).join("evaluation.json"), text).expect("written");
    }
    let files = ["all", "without_alp", "the_same"].map(|folder| place.at(&format!("{folder}/evaluation.json")));
    let compare = |more: &[&str]| {
        let mut args = vec!["evaluate".to_owned(), "--compare".to_owned()];
        args.extend(files.iter().cloned());
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        glavitu(&args)
    };
    let run = compare(&["--report", "-o", &place.at("gaps")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("gaps.csv") && !run.out.contains("-0.000"), "{}", run.out);
    let table = fs::read_to_string(place.path("gaps/gaps.csv")).expect("a table");
    assert!(table.starts_with("evaluation,region_input,group_by,kind,group,iou_first,iou_here,gap\n"), "{table}");
    assert!(table.contains("without_alp/evaluation.json,none,all,other,,0.75,0.5,0.25\n"), "{table}");
    let found: Value =
        serde_json::from_slice(&fs::read(place.path("gaps/evaluation.json")).expect("a file")).expect("JSON");
    assert_eq!((&found["kind"], &found["rows"][0]["gap"]), (&"gaps".into(), &0.25.into()));
    let page = fs::read_to_string(place.path("gaps/report.html")).expect("a page");
    for text in ["Generalisation gaps", "<svg", "+0.250", "without_alp", "IoU 0.750 first, 0.500 here"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains(">-0.000"));
    // A page needs a folder, and no input is replaced.
    assert_eq!(compare(&["--report"]).code, Some(2));
    let run = compare(&["-o", &place.at("all")]);
    assert!(run.code == Some(2) && run.err.contains("a file that is read"), "{}", run.err);
}

#[test]
fn what_belongs_to_other_inputs() {
    let run = glavitu(&["evaluate", "--model", "m.safetensors"].map(str::to_owned));
    assert!(run.code == Some(2) && run.err.contains("--dataset") && !run.err.contains("--predicted <"), "{}", run.err);
    let scene = ["evaluate", "--predicted", "a.tif", "--reference", "b.tif", "--calibration", "c.json"];
    let run = glavitu(&scene.map(str::to_owned));
    assert!(run.code == Some(2) && run.err.contains("--calibration without --dataset"), "{}", run.err);
    assert!(run.err.contains("--confidence FILE.tif"), "{}", run.err);
}
