//! `glavitu inventory` as a user runs it, against areas by hand.

mod program;

use std::fs;
use std::path::Path;

use glavitu::atomic_file::StagedFiles;
use glavitu::raster::polygons::Polygon;
use glavitu::raster::shapes::{Column, ColumnType, Features, Layer, ShapeWriter, Value};
use glavitu::raster::{Crs, Grid, Metadata, write_bytes, write_floats};
use program::{Run, Workplace, glavitu, shared};
use serde_json::Value as Json;

const WIDTH: usize = 20;
const HEIGHT: usize = 10;

fn grid() -> Grid {
    let crs = Crs::from_epsg(32611).expect("a registered code");
    Grid { width: WIDTH, height: HEIGHT, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs: Some(crs) }
}

/// A rectangle of pixels, from the first column and row to those after the last.
fn rectangle([left, top, right, bottom]: [f64; 4]) -> Polygon<f64> {
    let corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)];
    Polygon { exterior: corners.map(|(col, row)| grid().position(col, row)).to_vec(), holes: vec![] }
}

fn write_reference(path: &Path, id: &str) {
    let crs = grid().crs;
    let columns = [Column::new(id, ColumnType::Text), Column::new("glac_name", ColumnType::Text)];
    let layer = Layer { name: "rgi", description: "", crs: crs.as_ref(), columns: &columns };
    let mut writer = ShapeWriter::create(path, &layer).expect("a writer");
    for (id, name, place) in [
        ("G-1", Value::Text("West".into()), [0.0, 2.0, 6.0, 8.0]),
        ("G-2", Value::Text("East, \"the big one\"".into()), [12.0, 2.0, 18.0, 8.0]),
        ("G-3", Value::Null, [0.0, 9.0, 2.0, 10.0]),
        ("G-4", Value::Null, [500.0, 0.0, 600.0, 50.0]),
    ] {
        writer.add(&[rectangle(place)], &[Value::Text(id.into()), name]).expect("a glacier");
    }
    let mut staged = StagedFiles::new();
    writer.finish(&mut staged).and_then(|()| staged.publish()).expect("written");
}

/// Two glaciers that have lost a column and grown together, one that is gone, one far away, a pixel of new ice, and a gap.
fn workplace() -> Workplace {
    let place = Workplace::new();
    write_reference(&place.path("rgi.gpkg"), "rgi_id");
    let mut classes: Vec<u8> = (0..WIDTH * HEIGHT)
        .map(|i| u8::from((1..18).contains(&(i % WIDTH)) && (2..8).contains(&(i / WIDTH))))
        .collect();
    classes[19] = 1;
    classes[9 * WIDTH] = 255;
    write_bytes(place.path("outlines.tif"), &grid(), &classes, 255, &Metadata::default()).expect("written");
    let mut confidence = vec![0.875_f32; WIDTH * HEIGHT];
    confidence[3 * WIDTH + 3] = 0.5;
    write_floats(place.path("confidence.tif"), &grid(), &confidence, &Metadata::default()).expect("written");
    // The crest between the glaciers is next to the western one.
    let height = |col: usize| if col < 6 { 100.0 } else { 560.0 - 10.0 * col as f32 };
    let dem: Vec<f32> = (0..WIDTH * HEIGHT).map(|i| height(i % WIDTH)).collect();
    write_floats(place.path("dem.tif"), &grid(), &dem, &Metadata::default()).expect("written");
    place
}

fn inventory(place: &Workplace, files: &[(&str, &str)], more: &[&str]) -> Run {
    let mut args = vec!["inventory".to_owned()];
    for (option, name) in files {
        args.extend([(*option).to_owned(), place.at(name)]);
    }
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    glavitu(&args)
}

const USUAL: [(&str, &str); 2] = [("--outlines", "outlines.tif"), ("--reference", "rgi.gpkg")];

fn numbers(place: &Workplace, files: &[(&str, &str)]) -> Json {
    let run = inventory(place, &[&USUAL[..], files].concat(), &["--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    serde_json::from_str(&run.out).expect("JSON")
}

/// Pixels of a row's area; a pixel of the map is 9e-4 km2 at a scale of 0.9996.
fn pixels(row: &Json, name: &str) -> f64 {
    let pixels = row[name].as_f64().expect(name) / (9e-4 / 0.9996_f64.powi(2));
    assert!((pixels - pixels.round()).abs() < 1e-4 * pixels.max(1.0), "{name}: {pixels}");
    pixels.round()
}

fn all(row: &Json) -> [f64; 4] {
    ["area_km2", "seen_km2", "lost_km2", "gained_km2"].map(|name| pixels(row, name))
}

#[test]
fn areas_by_hand() {
    let place = workplace();
    let found = numbers(&place, &[("-o", "glaciers.gpkg"), ("--confidence", "confidence.tif")]);
    let rows = found["rows"].as_array().expect("rows");
    let ids: Vec<&str> = rows.iter().map(|row| row["glacier_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["G-1", "G-2", "G-3", "new-1"]);
    // Six columns of ice between them, three for each.
    assert_eq!(all(&rows[0]), [48.0, 36.0, 6.0, 18.0]);
    assert_eq!(all(&rows[1]), [54.0, 36.0, 0.0, 18.0]);
    // One of its two pixels has no data.
    assert_eq!((all(&rows[2]), pixels(&rows[2], "reference_area_km2")), ([0.0, 1.0, 1.0, 0.0], 2.0));
    assert_eq!((all(&rows[3]), &rows[3]["reference_area_km2"]), ([1.0, 0.0, 0.0, 1.0], &Json::Null));
    assert_eq!(rows[1]["name"], "East, \"the big one\"");
    assert_eq!((&rows[0]["pixels"], &rows[0]["min_confidence"]), (&48.into(), &0.5.into()));
    assert!((rows[0]["mean_confidence"].as_f64().expect("a mean") - (47.0 * 0.875 + 0.5) / 48.0).abs() < 1e-12);
    assert_eq!(rows[2]["mean_confidence"], Json::Null);
    let counts =
        ["glaciers", "new_glaciers", "vanished_glaciers", "not_seen_glaciers"].map(|name| found[name].as_u64());
    assert_eq!(counts, [Some(3), Some(1), Some(1), Some(1)]);

    let table = fs::read_to_string(place.path("glaciers.csv")).expect("a table");
    assert_eq!(table.lines().count(), 6);
    let total: Vec<&str> = table.lines().last().expect("a total").split(',').collect();
    assert_eq!((total[0], total[1], total[9]), ("total", "", "103"));
    for (column, name) in [(2, "area_km2"), (4, "seen_km2"), (5, "lost_km2"), (6, "gained_km2")] {
        let [line, sum] =
            [total[column].parse().ok(), found[name].as_f64()].map(|value: Option<f64>| value.expect(name));
        assert!((line - sum).abs() < 1e-12, "{name}: {line}, not {sum}");
    }
    let mean = (101.0 * 0.875 + 0.5 + 0.875) / 103.0;
    assert!((total[7].parse::<f64>().expect("a mean") - mean).abs() < 1e-12 && total[8] == "0.5", "{total:?}");
    assert!(table.contains("\nG-2,\"East, \"\"the big one\"\"\",0.0"), "{table}");
    assert!(fs::read_to_string(place.path("glaciers.qml")).expect("a style").starts_with("<!DOCTYPE qgis"));
    let written = Features::open(&place.path("glaciers.gpkg")).expect("polygons");
    assert_eq!(written.features.iter().map(|f| f.polygons.len()).collect::<Vec<_>>(), [1, 1, 0, 1]);
    let range = |feature: usize| {
        let x = written.features[feature].polygons[0].exterior.iter().map(|v| v.0);
        (x.clone().fold(f64::INFINITY, f64::min), x.fold(f64::NEG_INFINITY, f64::max))
    };
    assert_eq!((range(0), range(1)), ((480_030.0, 480_270.0), (480_270.0, 480_540.0)));
}

#[test]
fn elevations_move_the_divide() {
    let place = workplace();
    let found = numbers(&place, &[("-o", "glaciers.fgb"), ("--dem", "dem.tif")]);
    assert_eq!(all(&found["rows"][0]), [36.0, 36.0, 6.0, 6.0]);
    assert_eq!(all(&found["rows"][1]), [66.0, 36.0, 0.0, 30.0]);
    assert!(place.path("glaciers.fgb").exists());
}

#[test]
fn elevations_on_another_grid() {
    let place = workplace();
    // The same slopes at twice the pixel size, further to all sides.
    let coarse = Grid { width: 14, height: 9, transform: [60.0, 0.0, 479_880.0, 0.0, -60.0, 5_781_020.0], ..grid() };
    let height = |col: usize| {
        let fine = 2.0 * col as f32 - 4.0 + 0.5;
        if fine < 6.0 { 100.0 } else { 560.0 - 10.0 * fine }
    };
    let dem: Vec<f32> = (0..14 * 9).map(|i| height(i % 14)).collect();
    write_floats(place.path("coarse.tif"), &coarse, &dem, &Metadata::default()).expect("written");
    let found = numbers(&place, &[("-o", "glaciers.gpkg"), ("--dem", "coarse.tif")]);
    // Between the coarse pixels the crest is the second column behind the outline, and both waters reach it at once.
    assert_eq!(all(&found["rows"][0]), [42.0, 36.0, 6.0, 12.0]);
    assert_eq!(all(&found["rows"][1]), [60.0, 36.0, 0.0, 24.0]);
}

#[test]
fn an_inventory_is_a_reference() {
    let place = workplace();
    let run = inventory(&place, &[&USUAL[..], &[("-o", "first.shp")]].concat(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(
        run.out.contains("3 glaciers of the reference (1 without ice, 1 more not in the map), 1 new ones"),
        "{}",
        run.out
    );
    // The polygons of the first, as map and as reference, on the grid of the raster.
    let files = [
        ("--outlines", "first.shp"),
        ("--reference", "first.shp"),
        ("--grid", "outlines.tif"),
        ("-o", "second.geojson"),
    ];
    let run = inventory(&place, &files, &["--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Json = serde_json::from_str(&run.out).expect("JSON");
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["glacier_id"], "G-1");
    assert_eq!(all(&rows[0]), [48.0, 48.0, 0.0, 0.0]);
    assert_eq!(all(&rows[2]), [1.0, 1.0, 0.0, 0.0]);
}

/// Ice beside an inventory with new glaciers of its own does not get their identifiers.
#[test]
fn new_glaciers_beside_earlier_ones() {
    let place = workplace();
    let run = inventory(&place, &[&USUAL[..], &[("-o", "first.gpkg")]].concat(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    // The same ice, and a new pixel of it at the eastern edge.
    let mut classes: Vec<u8> = (0..WIDTH * HEIGHT)
        .map(|i| u8::from((1..18).contains(&(i % WIDTH)) && (2..8).contains(&(i / WIDTH))))
        .collect();
    classes[19] = 1;
    classes[5 * WIDTH + 19] = 1;
    write_bytes(place.path("later.tif"), &grid(), &classes, 255, &Metadata::default()).expect("written");
    let files = [("--outlines", "later.tif"), ("--reference", "first.gpkg"), ("-o", "second.gpkg")];
    let run = inventory(&place, &files, &["--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Json = serde_json::from_str(&run.out).expect("JSON");
    let rows = found["rows"].as_array().expect("rows");
    let ids: Vec<&str> = rows.iter().map(|row| row["glacier_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["G-1", "G-2", "new-1", "new-2"]);
    assert_eq!((all(&rows[2]), all(&rows[3])), ([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]));
}

/// The western glacier is in doubt along its edge: a column of ice that is none with 0.3, and a column inside its outline that is ice with 0.3. Beside the
/// eastern one and its outline lies a column that is ice with 0.3.
fn doubtful(place: &Workplace) {
    let side = |i: usize| (i % WIDTH < 2 || i % WIDTH == 18) && (2..8).contains(&(i / WIDTH));
    let confidence: Vec<f32> = (0..WIDTH * HEIGHT).map(|i| if side(i) { 0.7 } else { 0.995 }).collect();
    write_floats(place.path("doubt.tif"), &grid(), &confidence, &Metadata::default()).expect("written");
    let is_ice = |i: usize| ((1..18).contains(&(i % WIDTH)) && (2..8).contains(&(i / WIDTH))) || i == 19;
    let p = |i: usize| if is_ice(i) { confidence[i] } else { 1.0 - confidence[i] };
    let probability: Vec<f32> = (0..WIDTH * HEIGHT).map(p).collect();
    write_floats(place.path("probability.tif"), &grid(), &probability, &Metadata::default()).expect("written");
}

#[test]
fn intervals_by_hand() {
    let place = workplace();
    doubtful(&place);
    let pixel = 9e-4 / 0.9996_f64.powi(2);
    let numbers_of = |row: &Json| {
        ["area_expected_km2", "area_std_km2", "area_low_km2", "area_high_km2", "area_inner_km2", "area_outer_km2"]
            .map(|name| row[name].as_f64().expect(name) / pixel)
    };
    let close = |found: [f64; 6], expected: [f64; 6], far: f64| {
        let ok =
            found.iter().zip(expected).enumerate().all(|(i, (a, b))| (a - b).abs() < if i == 1 { far } else { 0.05 });
        assert!(ok, "{found:?}, not {expected:?}");
    };
    let usual =
        [&USUAL[..], &[("-o", "glaciers.gpkg"), ("--confidence", "doubt.tif"), ("--bounds", "bounds.gpkg")]].concat();
    let found = numbers(&place, &usual[2..]);
    let rows = found["rows"].as_array().expect("rows");
    // All is one block: 42, 48 or 54 pixels with the chances 0.3, 0.4, 0.3.
    let west = [48.0, 21.6_f64.sqrt(), 42.0, 54.0, 42.0, 54.0];
    close(numbers_of(&rows[0]), west, 0.1);
    close(numbers_of(&rows[1]), [55.8, 6.0 * 0.21_f64.sqrt(), 54.0, 60.0, 54.0, 60.0], 0.1);
    close(numbers_of(&rows[2]), [0.0; 6], 0.01);
    let total = &found["intervals"]["total"];
    close(numbers_of(total), [104.8, 50.76_f64.sqrt(), 97.0, 115.0, 97.0, 115.0], 0.15);
    assert!((total["area_km2"].as_f64().expect("a number") / pixel - 103.0).abs() < 0.01);
    // The other pixels that may be ice: 200 - 103 - 12 - 1 of them, with 0.005 each.
    assert!((total["left_out_km2"].as_f64().expect("a number") / pixel - 0.42).abs() < 0.01, "{total}");
    assert_eq!(
        (&found["intervals"]["resamples"], &found["intervals"]["block_size_m"]),
        (&10_000.into(), &3200.0.into())
    );

    let table = fs::read_to_string(place.path("glaciers.csv")).expect("a table");
    assert!(table.lines().next().expect("names").ends_with("area_low_km2,area_high_km2,area_inner_km2,area_outer_km2"));
    let last: Vec<&str> = table.lines().last().expect("a total").split(',').collect();
    let at = |from_end: usize| last[last.len() - from_end].parse::<f64>().ok();
    for (from_end, name) in [(4, "area_low_km2"), (3, "area_high_km2")] {
        let [line, number] = [at(from_end), total[name].as_f64()].map(|value| value.expect(name));
        assert!(last[0] == "total" && (line - number).abs() < 1e-12, "{name}: {line}, not {number}");
    }
    assert_eq!(Features::open(&place.path("glaciers.gpkg")).expect("polygons").features.len(), 4);
    let bounds = Features::open(&place.path("bounds.gpkg")).expect("polygons");
    let of = |feature: usize, name: &str| bounds.features[feature].values[bounds.column(name).expect(name)].clone();
    assert_eq!(bounds.features.len(), 8);
    assert_eq!((of(0, "glacier_id"), of(0, "bound")), (Value::Text("G-1".into()), Value::Text("inner".into())));
    assert_eq!(of(1, "bound"), Value::Text("outer".into()));
    let Value::Real(km2) = of(1, "area_km2") else { panic!("no area") };
    assert!((km2 / pixel - 54.0).abs() < 0.01);
    let west_of = |feature: usize| {
        bounds.features[feature].polygons[0].exterior.iter().map(|v| v.0).fold(f64::INFINITY, f64::min)
    };
    assert_eq!((west_of(0), west_of(1)), (480_060.0, 480_000.0));

    // The same from probabilities, as they are and through a calibrator that leaves them.
    glavitu::evaluate::Calibrator::from_temperature(1.0, "a test")
        .and_then(|c| c.save(place.path("same.json")))
        .expect("saved");
    for more in [&[][..], &[("--calibration", "same.json")]] {
        let files = [&[("-o", "glaciers.gpkg"), ("--probability", "probability.tif")], more].concat();
        let again = numbers(&place, &files);
        close(numbers_of(&again["rows"][0]), west, 0.1);
    }
    // Blocks of a pixel: independent pixels.
    let run = inventory(&place, &usual, &["--json", "--block-size", "30", "--seed", "2"]);
    let again: Json = serde_json::from_str(&run.out).expect("JSON");
    let [expected, deviation, low, high, ..] = numbers_of(&again["rows"][0]);
    assert!((expected - 48.0).abs() < 0.01 && (deviation - (12.0 * 0.21_f64).sqrt()).abs() < 0.05, "{deviation}");
    assert!((44.0..=46.0).contains(&low) && (50.0..=52.0).contains(&high), "{low} {high}");
    let told = inventory(&place, &usual, &[]);
    assert!(told.out.contains("Expected area 0.09 km2, 95 % between 0.09 and 0.10"), "{}", told.out);
}

/// Where a probability is missing, nothing is sure.
#[test]
fn missing_probabilities() {
    let place = workplace();
    doubtful(&place);
    let pixel = 9e-4 / 0.9996_f64.powi(2);
    let read = |name: &str| {
        let file = glavitu::raster::RasterFile::open(place.path(name)).expect("a raster");
        file.read_window(0, file.grid().window()).expect("values")
    };
    let [probability, confidence] = ["probability.tif", "doubt.tif"].map(read);
    let write = |name: &str, values: &[f32], items: &[(&str, &str)]| {
        let items = items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        write_floats(place.path(name), &grid(), values, &Metadata { items, ..Metadata::default() }).expect("written");
    };
    write("nothing.tif", &[f32::NAN; WIDTH * HEIGHT], &[]);
    let run = |option: &'static str, file: &'static str, more: &[(&str, &str)], args: &[&str]| {
        inventory(&place, &[&USUAL[..], &[("-o", "g.gpkg"), (option, file)], more].concat(), args)
    };
    for option in ["--probability", "--confidence"] {
        let refused = run(option, "nothing.tif", &[], &[]);
        assert!(refused.code == Some(2) && refused.err.contains("no value where the map has data"), "{}", refused.err);
        assert!(refused.err.lines().count() == 1 && !place.path("g.gpkg").exists());
    }
    // From column 14 on there is nothing: in the eastern glacier and the new one.
    for (option, name, values) in
        [("--probability", "west.tif", &probability), ("--confidence", "sure.tif", &confidence)]
    {
        let half: Vec<f32> =
            values.iter().enumerate().map(|(i, v)| if i % WIDTH < 14 { *v } else { f32::NAN }).collect();
        write(name, &half, &[]);
        let told = run(option, name, &[("--bounds", "bounds.gpkg")], &["--json"]);
        assert!(told.code == Some(0) && told.err.lines().count() == 1, "{}", told.err);
        assert!(
            told.err.contains("the intervals of the 2 glaciers") && told.err.contains("(24.3 % of it)"),
            "{}",
            told.err
        );
        let found: Json = serde_json::from_str(&told.out).expect("JSON");
        let low: Vec<Option<f64>> =
            found["rows"].as_array().expect("rows").iter().map(|row| row["area_low_km2"].as_f64()).collect();
        assert!((low[0].expect("an interval") / pixel - 42.0).abs() < 0.05 && low[2].is_some(), "{low:?}");
        assert_eq!((low[1], low[3], low.len()), (None, None, 4));
        let intervals = &found["intervals"];
        for name in ["area_expected_km2", "area_std_km2", "area_low_km2", "area_high_km2", "area_outer_km2"] {
            assert!(intervals["total"][name].is_null(), "{intervals}");
        }
        let blank =
            ["without_value_km2", "glacier_without_value_km2"].map(|name| intervals[name].as_f64().expect(name));
        assert!((blank[0] / pixel - 60.0).abs() < 0.01 && (blank[1] / pixel - 25.0).abs() < 0.01, "{blank:?}");
        let table = fs::read_to_string(place.path("g.csv")).expect("a table");
        let is_empty: Vec<bool> = table.lines().skip(1).map(|line| line.ends_with(",,,,,,")).collect();
        assert_eq!(is_empty, [false, true, false, true, true], "{table}");
        let bounds = Features::open(&place.path("bounds.gpkg")).expect("polygons");
        assert_eq!(bounds.features.len(), 4);
        let told = run(option, name, &[], &[]);
        assert!(told.out.contains("The total has no interval"), "{}", told.out);
    }
    // Away from all glaciers: a pixel without a value, and one that may be ice.
    let mut values = probability.clone();
    (values[5], values[10]) = (f32::NAN, 0.5);
    write("away.tif", &values, &[]);
    let told = run("--probability", "away.tif", &[], &["--json"]);
    assert!(told.code == Some(0) && told.err.contains("touch no glacier"), "{}", told.err);
    let found: Json = serde_json::from_str(&told.out).expect("JSON");
    let total = &found["intervals"]["total"];
    let sum = |name: &str| -> f64 {
        found["rows"].as_array().expect("rows").iter().filter_map(|row| row[name].as_f64()).sum()
    };
    for (name, unowned, expected) in
        [("area_expected_km2", "no_glacier_expected_km2", 0.5), ("area_outer_km2", "no_glacier_outer_km2", 1.0)]
    {
        let [all, unowned] = [&total[name], &total[unowned]].map(|value| value.as_f64().expect("a number"));
        assert!((unowned / pixel - expected).abs() < 0.01 && (all - unowned - sum(name)).abs() < 1e-9, "{total}");
    }
    let told = run("--probability", "away.tif", &[], &[]);
    assert!(told.out.contains("belong to no glacier"), "{}", told.out);
}

/// `glavitu predict` does not calibrate probabilities, and tells whose they are.
#[test]
fn probabilities_of_a_model() {
    let place = workplace();
    doubtful(&place);
    let [own, other] = ["ab".repeat(32), "cd".repeat(32)];
    let file = glavitu::raster::RasterFile::open(place.path("probability.tif")).expect("a raster");
    let values = file.read_window(0, file.grid().window()).expect("values");
    let items = vec![("GLAVITU_PARAMETERS_SHA256".into(), own.clone())];
    write_floats(place.path("p.tif"), &grid(), &values, &Metadata { items, ..Metadata::default() }).expect("written");
    for (name, origin) in
        [("own.json", format!("a test, model {own}")), ("other.json", format!("a test, model {other}"))]
    {
        glavitu::evaluate::Calibrator::from_temperature(1.0, origin)
            .and_then(|c| c.save(place.path(name)))
            .expect("saved");
    }
    let warning = |more: &[(&str, &str)]| {
        let run = inventory(&place, &[&USUAL[..], &[("-o", "g.gpkg"), ("--probability", "p.tif")], more].concat(), &[]);
        assert!(run.code == Some(0) && run.out.contains("Expected area"), "{}", run.err);
        run.err
    };
    assert!(warning(&[]).contains("are not calibrated"));
    assert_eq!(warning(&[("--calibration", "own.json")]), "");
    assert!(
        warning(&[("--calibration", "other.json")]).contains("fitted to the model with the parameters cdcdcdcdcdcd")
    );
}

#[test]
fn confidence_that_says_nothing_of_areas() {
    let place = workplace();
    let raw = Metadata { items: vec![("GLAVITU_CALIBRATION_SHA256".into(), "none".into())], ..Metadata::default() };
    write_floats(place.path("raw.tif"), &grid(), &[0.5; WIDTH * HEIGHT], &raw).expect("written");
    let files = [&USUAL[..], &[("-o", "glaciers.gpkg"), ("--confidence", "raw.tif")]].concat();
    let run = inventory(&place, &files, &["--json"]);
    assert!(run.code == Some(0) && run.err.contains("not calibrated"), "{}", run.err);
    let found: Json = serde_json::from_str(&run.out).expect("JSON");
    assert!(found["intervals"].is_null() && found["rows"][0]["area_low_km2"].is_null());
    let bounds = [&files[..], &[("--bounds", "bounds.gpkg")]].concat();
    let run = inventory(&place, &bounds, &[]);
    assert!(
        run.code == Some(2) && run.err.contains("not calibrated") && !place.path("bounds.gpkg").exists(),
        "{}",
        run.err
    );
    // Far from what is mapped.
    let ice = |i: usize| (1..18).contains(&(i % WIDTH)) && (2..8).contains(&(i / WIDTH));
    let low: Vec<f32> = (0..WIDTH * HEIGHT).map(|i| if ice(i) { 0.3 } else { 0.995 }).collect();
    write_floats(place.path("low.tif"), &grid(), &low, &Metadata::default()).expect("written");
    let files = [&USUAL[..], &[("-o", "glaciers.gpkg"), ("--confidence", "low.tif")]].concat();
    let run = inventory(&place, &files, &[]);
    assert!(run.code == Some(0) && run.err.lines().count() == 1 && run.err.contains("foresee"), "{}", run.err);
}

#[test]
fn bad_inputs() {
    let place = workplace();
    write_reference(&place.path("odd.gpkg"), "identity");
    let far = Grid { transform: [30.0, 0.0, 620_000.0, 0.0, -30.0, 5_780_900.0], ..grid() };
    write_bytes(place.path("far.tif"), &far, &[1; WIDTH * HEIGHT], 255, &Metadata::default()).expect("written");
    let refused = |files: &[(&str, &str)], more: &[&str], expected: &str| {
        let run = inventory(&place, files, more);
        assert_eq!(run.code, Some(2), "{expected}: {}", run.err);
        assert!(run.out.is_empty() && run.err.lines().count() == 1 && run.err.contains(expected), "{}", run.err);
        assert!(!place.path("o.gpkg").exists() && !place.path("o.csv").exists());
    };
    let out = ("-o", "o.gpkg");
    let outlines = ("--outlines", "outlines.tif");
    refused(&[outlines, ("--reference", "odd.gpkg"), out], &[], "the attributes identity, glac_name");
    refused(&[outlines, ("--reference", "odd.gpkg"), out], &["--id-column", "rgi"], "one called rgi");
    refused(
        &[("--outlines", "far.tif"), ("--reference", "rgi.gpkg"), out],
        &[],
        "no glacier in which the map has data",
    );
    refused(&[USUAL[0], USUAL[1], ("--dem", "far.tif"), out], &[], "a raster of another place");
    refused(&[("--outlines", "rgi.gpkg"), ("--reference", "rgi.gpkg"), out], &[], "--grid");
    refused(&[USUAL[0], USUAL[1], ("-o", "o.kml")], &[], ".gpkg, .geojson, .json, .fgb or .shp");
    refused(&[USUAL[0], USUAL[1], ("-o", "rgi.gpkg")], &[], "a file that is read");
    refused(&[USUAL[0], ("--reference", "outlines.tif"), out], &[], "expected a GeoPackage");
    let usual = [USUAL[0], USUAL[1], out];
    let with = |more: &[(&'static str, &'static str)]| [&usual[..], more].concat();
    write_floats(place.path("two.tif"), &grid(), &[2.0; WIDTH * HEIGHT], &Metadata::default()).expect("written");
    refused(&with(&[("--confidence", "two.tif")]), &[], "the value 2");
    refused(&with(&[("--probability", "two.tif")]), &[], "the value 2");
    refused(&with(&[("--bounds", "b.gpkg")]), &[], "--confidence or --probability");
    refused(&with(&[("--confidence", "confidence.tif"), ("--bounds", "b.kml")]), &[], ".gpkg, .geojson");
    refused(&with(&[("--confidence", "confidence.tif"), ("--bounds", "o.shp")]), &[], "one name for");
    refused(&with(&[("--confidence", "confidence.tif")]), &["--block-size", "0"], "--block-size 0");
    refused(&with(&[("--probability", "confidence.tif"), ("--calibration", "rgi.gpkg")]), &[], "rgi.gpkg");
    let run = inventory(&place, &[outlines, ("--reference", "odd.gpkg"), out], &["--id-column", "identity"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn real_glaciers() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/athabasca");
    let at = |name: &str| folder.join(name).display().to_string();
    let place = Workplace::new();
    let rgi = at("athabasca_aoi_rgi7_4glaciers.geojson");
    // The reference itself on the scene's grid: every glacier has its own area again, to a pixel's edge.
    let args = [
        "inventory",
        "--outlines",
        &rgi,
        "--reference",
        &rgi,
        "--grid",
        &at("athabasca_dem.tif"),
        "--dem",
        &at("athabasca_dem.tif"),
        "--assume-crs",
        "EPSG:32611",
        "-o",
        &place.at("glaciers.gpkg"),
        "--json",
    ];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Json = serde_json::from_str(&run.out).expect("JSON");
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    for row in rows {
        let number = |name: &str| row[name].as_f64().expect("a number");
        assert_eq!((number("lost_km2"), number("gained_km2")), (0.0, 0.0));
        let (area, reference) = (number("area_km2"), number("reference_area_km2"));
        assert!(area <= 1.02 * reference && area > 0.0, "{row}");
    }
}
