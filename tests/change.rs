//! `glavitu change` as a user runs it, against areas by hand.

mod program;

use std::fs;
use std::path::Path;

use glavitu::atomic_file::StagedFiles;
use glavitu::raster::polygons::Polygon;
use glavitu::raster::shapes::{Column, ColumnType, Features, Layer, ShapeWriter, Value};
use glavitu::raster::{Crs, Grid, Metadata, write_bytes, write_floats};
use program::{Run, Workplace, glavitu};
use serde_json::Value as Json;

const WIDTH: usize = 24;
const HEIGHT: usize = 10;

fn grid() -> Grid {
    let crs = Crs::from_epsg(32611).expect("a registered code");
    Grid { width: WIDTH, height: HEIGHT, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs: Some(crs) }
}

fn polygon([left, top, right, bottom]: [u32; 4]) -> Polygon<f64> {
    let corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)];
    Polygon {
        exterior: corners.map(|(col, row)| grid().position(f64::from(col), f64::from(row))).to_vec(),
        holes: vec![],
    }
}

fn write_polygons(path: &Path, date: &str, glaciers: &[(&str, [u32; 4])]) {
    let crs = grid().crs;
    let columns = [Column::new("rgi_id", ColumnType::Text), Column::new("src_date", ColumnType::Text)];
    let layer = Layer { name: "rgi", description: "", crs: crs.as_ref(), columns: &columns };
    let mut writer = ShapeWriter::create(path, &layer).expect("a writer");
    for (id, place) in glaciers {
        writer.add(&[polygon(*place)], &[Value::Text((*id).into()), Value::Text(date.into())]).expect("a glacier");
    }
    let mut staged = StagedFiles::new();
    writer.finish(&mut staged).and_then(|()| staged.publish()).expect("written");
}

fn classes(rectangles: &[[usize; 4]]) -> Vec<u8> {
    let inside = |i: usize, [left, top, right, bottom]: &[usize; 4]| {
        (*left..*right).contains(&(i % WIDTH)) && (*top..*bottom).contains(&(i / WIDTH))
    };
    (0..WIDTH * HEIGHT).map(|i| u8::from(rectangles.iter().any(|r| inside(i, r)))).collect()
}

fn write(path: impl AsRef<Path>, classes: &[u8]) {
    write_bytes(path, &grid(), classes, 255, &Metadata::default()).expect("written");
}

/// A glacier that loses its eastern third, one that gains a row, one pixel without data in each.
fn workplace() -> Workplace {
    let place = Workplace::new();
    let mut before = classes(&[[1, 2, 10, 8], [14, 2, 20, 6]]);
    before[0] = 255;
    let mut after = classes(&[[1, 2, 7, 8], [14, 2, 20, 7]]);
    after[2 * WIDTH + 1] = 255;
    write(place.path("before.tif"), &before);
    write(place.path("after.tif"), &after);
    write_polygons(
        &place.path("rgi.gpkg"),
        "2000-08-01",
        &[("G-1", [1, 2, 10, 8]), ("G-2", [14, 2, 20, 6]), ("G-3", [22, 9, 23, 10])],
    );
    let confidence = |value: f32| vec![value; WIDTH * HEIGHT];
    for (name, value) in [("sure.tif", 1.0), ("unsure.tif", 0.75), ("odd.tif", 2.0)] {
        write_floats(place.path(name), &grid(), &confidence(value), &Metadata::default()).expect("written");
    }
    place
}

fn change(place: &Workplace, before: &str, after: &str, more: &[&str]) -> Run {
    let mut args = vec!["change".to_owned(), place.at(before), place.at(after)];
    args.extend(
        more.iter().map(|arg| if arg.contains('.') && !arg.contains(',') { place.at(arg) } else { (*arg).to_owned() }),
    );
    glavitu(&args)
}

fn numbers(place: &Workplace, before: &str, after: &str, more: &[&str]) -> Json {
    let run = change(place, before, after, &[more, &["--json", "-o", &place.at("result")]].concat());
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let found: Json = serde_json::from_str(&run.out).expect("JSON");
    let file = fs::read(place.path("result/change.json")).expect("a report");
    assert_eq!(found, serde_json::from_slice::<Json>(&file).expect("JSON"));
    found
}

/// Pixels of an area; one is 9e-4 km2 at a scale of 0.9996.
fn pixels(row: &Json) -> [f64; 6] {
    ["before_km2", "after_km2", "lost_km2", "gained_km2", "stable_km2", "change_km2"].map(|name| {
        let pixels = row[name].as_f64().expect(name) / (9e-4 / 0.9996_f64.powi(2));
        assert!((pixels - pixels.round()).abs() < 1e-4 * pixels.abs().max(1.0), "{name}: {pixels}");
        pixels.round()
    })
}

#[test]
fn areas_by_hand() {
    let place = workplace();
    let more = ["--dates", "2000-08-01,2020-08-01", "--reference", "rgi.gpkg", "--confidence", "sure.tif", "sure.tif"];
    let found = numbers(&place, "before.tif", "after.tif", &more);
    let rows = found["glaciers"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    // 54 pixels less the one without data; three columns of six are lost.
    assert_eq!(pixels(&rows[0]), [53.0, 35.0, 18.0, 0.0, 35.0, -18.0]);
    assert_eq!(pixels(&rows[1]), [24.0, 30.0, 0.0, 6.0, 24.0, 6.0]);
    assert_eq!(pixels(&found["total"]), [77.0, 65.0, 18.0, 6.0, 59.0, -12.0]);
    assert_eq!((&rows[0]["glacier_id"], &found["dates"][1]), (&"G-1".into(), &"2020-08-01".into()));
    let years = 7305.0 / 365.25;
    let percent = found["total"]["change_percent"].as_f64().expect("a share");
    assert!((percent + 1200.0 / 77.0).abs() < 1e-3);
    assert!((found["total"]["change_percent_per_year"].as_f64().expect("a rate") - percent / years).abs() < 1e-12);
    assert_eq!(found["pixels_without_data_at_either_date"], 2);
    // Full confidence leaves no doubt.
    assert_eq!((&rows[0]["change_std_km2"], &found["total"]["change_shift_km2"]), (&0.0.into(), &0.0.into()));

    let table = fs::read_to_string(place.path("result/change.csv")).expect("a table");
    assert_eq!(
        table.lines().map(|line| line.split(',').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["glacier_id", "G-1", "G-2", "total"]
    );
    let polygons = Features::open(&place.path("result/change.gpkg")).expect("polygons");
    let kinds: Vec<String> = polygons.features.iter().map(|f| format!("{:?} {:?}", f.values[1], f.values[0])).collect();
    let expected = [("G-1", "stable"), ("G-1", "lost"), ("G-2", "stable"), ("G-2", "gained")];
    assert_eq!(kinds, expected.map(|(id, kind)| format!("Text({id:?}) Text({kind:?})")));
    assert!(fs::read(place.path("result/change.png")).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn without_a_reference_there_is_a_total() {
    let place = workplace();
    let found = numbers(&place, "before.tif", "after.tif", &[]);
    assert_eq!(pixels(&found["total"]), [77.0, 65.0, 18.0, 6.0, 59.0, -12.0]);
    assert_eq!(found["glaciers"].as_array().map(Vec::len), Some(0));
    assert_eq!(
        (&found["years"], &found["total"]["change_km2_per_year"], &found["total"]["change_std_km2"]),
        (&Json::Null, &Json::Null, &Json::Null)
    );
    let polygons = Features::open(&place.path("result/change.gpkg")).expect("polygons");
    assert_eq!(polygons.features.len(), 4);
}

#[test]
fn doubts_have_a_size() {
    let place = workplace();
    let more = ["--reference", "rgi.gpkg", "--confidence", "unsure.tif", "sure.tif"];
    let found = numbers(&place, "before.tif", "after.tif", &more);
    let of = |row: &Json, name: &str| row[name].as_f64().expect("a number") / (9e-4 / 0.9996_f64.powi(2));
    // All in one block: 53 pixels of the first glacier, each wrong with a probability of a quarter.
    let row = &found["glaciers"][0];
    let expected = (53.0 * 0.25 * 0.75_f64).sqrt();
    assert!((of(row, "before_std_km2") / expected - 1.0).abs() < 0.1, "{row}");
    assert_eq!(of(row, "after_std_km2"), 0.0);
    assert!((of(row, "change_std_km2") - of(row, "before_std_km2")).abs() < 1e-9);
    assert!((of(row, "change_shift_km2") - 53.0 * 0.25).abs() < 1e-2, "{row}");
    let half = (of(row, "change_high_km2") - of(row, "change_low_km2")) / 2.0;
    assert!((half / (1.96 * expected) - 1.0).abs() < 0.1, "{row}");
    // The total knows of all pixels.
    assert!((of(&found["total"], "before_std_km2") / (238.0 * 0.25 * 0.75_f64).sqrt() - 1.0).abs() < 0.1);
    assert_eq!(found, numbers(&place, "before.tif", "after.tif", &more));
    let other = numbers(&place, "before.tif", "after.tif", &[&more[..], &["--seed", "2"]].concat());
    assert_ne!(found["total"]["change_std_km2"], other["total"]["change_std_km2"]);
}

/// Nothing is said where confidences are missing or not calibrated.
#[test]
fn doubts_that_are_not_known() {
    let place = workplace();
    let write = |name: &str, is_known: &dyn Fn(usize) -> bool, items: &[(&str, &str)]| {
        let values: Vec<f32> = (0..WIDTH * HEIGHT).map(|i| if is_known(i) { 0.75 } else { f32::NAN }).collect();
        let items = items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        write_floats(place.path(name), &grid(), &values, &Metadata { items, ..Metadata::default() }).expect("written");
    };
    write("raw.tif", &|_| true, &[("GLAVITU_CALIBRATION_SHA256", "none")]);
    write("nothing.tif", &|_| false, &[]);
    write("west.tif", &|i| i % WIDTH < 12, &[]);
    write("gap.tif", &|i| i != 9 * WIDTH + 12, &[]);
    let run = |confidence: [&str; 2]| {
        let more = ["--reference", "rgi.gpkg", "--confidence", confidence[0], confidence[1], "--json"];
        change(&place, "before.tif", "after.tif", &[&more[..], &["-o", &place.at("result")]].concat())
    };
    let deviations = |run: &Run| {
        assert!(run.code == Some(0) && run.err.lines().count() == 1, "{}", run.err);
        let found: Json = serde_json::from_str(&run.out).expect("JSON");
        [&found["glaciers"][0], &found["glaciers"][1], &found["total"]].map(|row| row["change_std_km2"].as_f64())
    };
    for pair in [["nothing.tif", "nothing.tif"], ["sure.tif", "nothing.tif"]] {
        let refused = run(pair);
        assert!(refused.code == Some(2) && refused.err.contains("no value where the map has data"), "{}", refused.err);
        assert!(refused.out.is_empty() && !place.path("result").exists());
    }
    let told = run(["unsure.tif", "raw.tif"]);
    assert!(
        deviations(&told) == [None; 3] && told.err.contains("raw.tif: the confidence is not calibrated"),
        "{}",
        told.err
    );
    let told = run(["unsure.tif", "west.tif"]);
    let [west, east, total] = deviations(&told);
    assert!(west.is_some_and(|km2| km2 > 0.0) && east.is_none() && total.is_none(), "{west:?} {east:?} {total:?}");
    assert!(told.err.contains("west.tif: it has no value") && told.err.contains("are left empty"), "{}", told.err);
    let told = run(["gap.tif", "unsure.tif"]);
    assert!(deviations(&told).iter().all(Option::is_some) && told.err.contains("no glacier's"), "{}", told.err);
}

/// Errors on the bare ground inside an outline exceed the little ice there; no more than that can be lost.
#[test]
fn doubts_end_where_the_ice_does() {
    let place = workplace();
    write(place.path("little.tif"), &classes(&[[1, 2, 5, 3]]));
    let more = ["--reference", "rgi.gpkg", "--confidence", "unsure.tif", "unsure.tif"];
    let found = numbers(&place, "little.tif", "little.tif", &more);
    let row = &found["glaciers"][0];
    assert_eq!(pixels(row), [4.0, 4.0, 0.0, 0.0, 4.0, 0.0]);
    let of = |name: &str| row[name].as_f64().expect("a number") / (9e-4 / 0.9996_f64.powi(2));
    // 54 pixels at two dates.
    assert!((of("change_std_km2") / (108.0 * 0.25 * 0.75_f64).sqrt() - 1.0).abs() < 0.1, "{row}");
    assert!((of("change_low_km2") + of("before_km2")).abs() < 1e-9, "{row}");
    assert!(of("change_high_km2") > 1.8 * of("change_std_km2"), "{row}");
}

#[test]
fn two_inventories() {
    let place = workplace();
    write_polygons(&place.path("a.shp"), "2000-08-01T00:00:00", &[("G-1", [1, 2, 10, 8]), ("G-2", [14, 2, 20, 6])]);
    write_polygons(&place.path("b.geojson"), "2010-08-01", &[("x", [1, 2, 7, 8]), ("y", [22, 1, 23, 3])]);
    let found = numbers(&place, "a.shp", "b.geojson", &["--grid", "before.tif"]);
    let rows = found["glaciers"].as_array().expect("rows");
    let ids: Vec<&str> = rows.iter().map(|row| row["glacier_id"].as_str().expect("an id")).collect();
    assert_eq!((ids, &found["dates"][0]), (vec!["G-1", "G-2", "new-1"], &"2000-08-01".into()));
    assert_eq!(pixels(&rows[0]), [54.0, 36.0, 18.0, 0.0, 36.0, -18.0]);
    assert_eq!(pixels(&rows[1]), [24.0, 0.0, 24.0, 0.0, 0.0, -24.0]);
    assert_eq!((pixels(&rows[2]), &rows[2]["change_percent"]), ([0.0, 2.0, 0.0, 2.0, 0.0, 2.0], &Json::Null));
    let run = change(&place, "a.shp", "after.tif", &["-o", &place.at("mixed")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("G-1: ") && run.out.contains("total: "), "{}", run.out);
}

/// The first map's own new glaciers keep their identifiers, and those found now get others.
#[test]
fn new_glaciers_beside_earlier_ones() {
    let place = workplace();
    let before = [("new-1", [1, 2, 10, 8]), ("new-3", [14, 2, 20, 6])];
    write_polygons(&place.path("a.gpkg"), "2000-08-01", &before);
    write(place.path("later.tif"), &classes(&[[1, 2, 10, 8], [22, 0, 23, 1], [22, 3, 23, 5], [22, 7, 23, 8]]));
    let found = numbers(&place, "a.gpkg", "later.tif", &[]);
    let rows = found["glaciers"].as_array().expect("rows");
    let ids: Vec<&str> = rows.iter().map(|row| row["glacier_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["new-1", "new-3", "new-2", "new-4", "new-5"]);
    assert_eq!(pixels(&rows[3]), [0.0, 2.0, 0.0, 2.0, 0.0, 2.0]);
}

#[test]
fn maps_on_other_grids() {
    let place = workplace();
    // The second map at a third of the pixel size, two coarse columns further east and a row further south, where it ends.
    let fine = Grid { width: 66, height: 24, transform: [10.0, 0.0, 480_060.0, 0.0, -10.0, 5_780_870.0], ..grid() };
    let inside = |i: usize| (i % 66) / 3 + 2 < 7 && (2..8).contains(&((i / 66) / 3 + 1));
    let classes: Vec<u8> = (0..66 * 24).map(|i| u8::from(inside(i))).collect();
    write_bytes(place.path("fine.tif"), &fine, &classes, 255, &Metadata::default()).expect("written");
    let found = numbers(&place, "before.tif", "fine.tif", &[]);
    // Of the first glacier column 1 is not seen any more, the second is gone.
    assert_eq!(pixels(&found["total"]), [72.0, 30.0, 42.0, 0.0, 30.0, -42.0]);
    assert_eq!(found["pixels_without_data_at_either_date"], 20 + 22 + 22);
}

#[test]
fn bad_inputs() {
    let place = workplace();
    let shifted = Grid { transform: [30.0, 0.0, 620_000.0, 0.0, -30.0, 5_780_900.0], ..grid() };
    write_bytes(place.path("shifted.tif"), &shifted, &[1; WIDTH * HEIGHT], 255, &Metadata::default()).expect("written");
    write(place.path("nothing.tif"), &[255; WIDTH * HEIGHT]);
    let refused = |before: &str, after: &str, more: &[&str], expected: &str| {
        let run = change(&place, before, after, &[more, &["-o", &place.at("o")]].concat());
        assert_eq!(run.code, Some(2), "{expected}: {}", run.err);
        assert!(run.out.is_empty() && run.err.contains(expected), "{}", run.err);
        assert!(!place.path("o").exists());
    };
    refused("before.tif", "shifted.tif", &[], "a raster of another place");
    refused("before.tif", "nothing.tif", &[], "no pixel with data at both dates");
    refused("before.tif", "missing.tif", &[], "missing.tif");
    refused("before.tif", "after.tif", &["--dates", "2000-08-01"], "1 dates");
    refused("before.tif", "after.tif", &["--dates", "2000-08-01,2000-13-01"], "the date '2000-13-01'");
    refused("before.tif", "after.tif", &["--dates", "2020-08-01,2000-08-01"], "the second after the first");
    refused("before.tif", "after.tif", &["--confidence", "odd.tif", "sure.tif"], "confidences from 0 to 1");
    refused("before.tif", "after.tif", &["--confidence", "sure.tif"], "2 values required");
    refused("rgi.gpkg", "rgi.gpkg", &[], "--grid");
}
