//! `glavitu evaluate --distances`: outlines against those of experts, with areas and distances by hand.

mod program;

use std::fs;

use glavitu::raster::{Crs, Grid, Metadata, write_bytes};
use program::{Run, Workplace, glavitu, shared};
use serde_json::{Value, json};

/// A square of EPSG:32611; `x` and `y` are metres from a corner near the central meridian.
fn square(x: f64, y: f64, side: f64) -> Value {
    let (x, y) = (500_000.0 + x, 5_780_000.0 + y);
    json!([[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]])
}

/// Polygons with any attributes, as GeoJSON.
fn write_with(place: &Workplace, name: &str, glaciers: &[(Value, Value)]) {
    let features: Vec<Value> = glaciers
        .iter()
        .map(|(properties, coordinates)| {
            let geometry = json!({ "type": "Polygon", "coordinates": coordinates });
            json!({ "type": "Feature", "properties": properties, "geometry": geometry })
        })
        .collect();
    let crs = json!({ "type": "name", "properties": { "name": "EPSG:32611" } });
    let text = json!({ "type": "FeatureCollection", "crs": crs, "features": features });
    fs::write(place.path(name), text.to_string()).expect("written");
}

/// Polygons with identifiers, if there are any.
fn write(place: &Workplace, name: &str, glaciers: &[(Option<&str>, Value)]) {
    let properties = |id: &Option<&str>| match id {
        None => json!({}),
        Some(id) => json!({ "rgi_id": id, "glac_name": format!("Glacier {id}") }),
    };
    let with: Vec<(Value, Value)> = glaciers.iter().map(|(id, at)| (properties(id), at.clone())).collect();
    write_with(place, name, &with);
}

fn evaluate(place: &Workplace, predicted: &str, references: &[&str], more: &[&str]) -> Run {
    let mut args = vec!["evaluate".into(), "--predicted".into(), place.at(predicted), "--reference".into()];
    args.extend(references.iter().map(|name| place.at(name)));
    args.push("--distances".into());
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    glavitu(&args)
}

fn numbers(place: &Workplace, predicted: &str, references: &[&str], more: &[&str]) -> Value {
    let run = evaluate(place, predicted, references, &[more, &["--json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn refused(place: &Workplace, predicted: &str, references: &[&str], more: &[&str], expected: &str) {
    let run = evaluate(place, predicted, references, more);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.is_empty() && run.err.contains(expected), "{}", run.err);
}

fn close(value: &Value, expected: f64, tolerance: f64) {
    let found = value.as_f64().expect("a number");
    assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
}

/// The true area of a square of 1 km on the map, where the scale is 0.9996.
const KM2: f64 = 1.0 / (0.9996 * 0.9996);

#[test]
fn squares_by_hand() {
    let place = Workplace::new();
    // 20 m wider all around, and a second glacier that was not predicted. What lies far off belongs to none.
    write(&place, "mine.geojson", &[(None, square(-20.0, -20.0, 1040.0)), (None, square(9000.0, 0.0, 100.0))]);
    write(&place, "expert.geojson", &[(Some("A"), square(0.0, 0.0, 1000.0)), (Some("B"), square(3000.0, 0.0, 500.0))]);
    let found = numbers(&place, "mine.geojson", &["expert.geojson"], &["--spacing", "0.5"]);
    assert_eq!((&found["matching"], found["unmatched_outlines"].as_u64()), (&Value::from("overlap"), Some(1)));
    assert_eq!(
        (&found["plane"], &found["area_surface"]),
        (&"WGS 84 / UTM zone 11N".into(), &"WGS 84 ellipsoid".into())
    );
    let rows = found["glaciers"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    let distances = &rows[0]["distances"];
    close(&distances["hausdorff_m"], 20.0 * 2.0_f64.sqrt(), 1e-7);
    let corner = 10.0 * (2.0_f64.sqrt() + 1.0_f64.asinh());
    close(&distances["mean_m"], (8000.0 * 20.0 + 160.0 * corner) / 8160.0, 1e-5);
    close(&distances["median_m"], 20.0, 1e-9);
    close(&distances["polis_m"], (20.0 + 20.0 * 2.0_f64.sqrt()) / 2.0, 1e-9);
    close(&rows[0]["area_deviation_km2"], (1.04 * 1.04 - 1.0) * KM2, 1e-5);
    close(&rows[0]["area_deviation_percent"], 8.16, 1e-3);
    assert_eq!((&rows[0]["name"], &rows[1]["glacier_id"]), (&"Glacier A".into(), &"B".into()));
    assert!(rows[1]["distances"].is_null());
    close(&rows[1]["area_deviation_percent"], -100.0, 1e-12);
    let total = &found["totals"][0];
    assert_eq!((total["glaciers"].as_u64(), total["predicted_glaciers"].as_u64()), (Some(2), Some(1)));
    close(&total["area_deviation_km2"], (0.0816 - 0.25) * KM2, 1e-5);
    close(&total["absolute_deviation_km2"], (0.0816 + 0.25) * KM2, 1e-5);
    close(&total["absolute_deviation_percent"], 100.0 * 0.3316 / 1.25, 1e-3);
    assert_eq!(total["distances"], *distances);
    assert!(found["spread"].as_array().is_some_and(Vec::is_empty));
    let run = evaluate(&place, "mine.geojson", &["expert.geojson"], &[]);
    for text in ["A Glacier A", "+8.2 %", "28.3", "1 of 2 together", "belong to no glacier", "by the ground they share"]
    {
        assert!(run.out.contains(text), "{text}: {}", run.out);
    }
}

#[test]
fn the_spread_of_experts() {
    let place = Workplace::new();
    // Experts 10 m and 30 m wider than the first; glacier B was drawn by one alone.
    write(&place, "one.geojson", &[(Some("A"), square(0.0, 0.0, 1000.0)), (Some("B"), square(3000.0, 0.0, 500.0))]);
    write(&place, "two.geojson", &[(Some("A"), square(-10.0, -10.0, 1020.0))]);
    write(&place, "three.geojson", &[(Some("A"), square(-30.0, -30.0, 1060.0))]);
    write(&place, "within.geojson", &[(Some("A"), square(-12.0, -12.0, 1024.0))]);
    write(&place, "outside.geojson", &[(Some("A"), square(-100.0, -100.0, 1200.0))]);
    let experts = ["one.geojson", "two.geojson", "three.geojson"];
    let found = numbers(&place, "within.geojson", &experts, &[]);
    let spread = &found["spread"][0];
    assert_eq!((found["spread"].as_array().map(Vec::len), spread["experts"].as_u64()), (Some(1), Some(3)));
    assert_eq!(
        (&spread["distance_within"], &spread["area_within"], &found["matching"]),
        (&true.into(), &true.into(), &"identifier".into())
    );
    close(&spread["largest_expert_distance_m"], 30.0, 0.5);
    close(&spread["expert_distance_m"], 20.0, 0.5);
    close(&spread["predicted_distance_m"], (12.0 + 2.0 + 18.0) / 3.0, 0.5);
    close(&spread["least_area_km2"], KM2, 1e-4);
    close(&spread["largest_area_km2"], 1.06 * 1.06 * KM2, 1e-4);
    let areas = [1.0, 1.02 * 1.02, 1.06 * 1.06];
    let mean = areas.iter().sum::<f64>() / 3.0;
    let deviation = (areas.iter().map(|area| (area - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    close(&spread["area_deviation_km2"], deviation * KM2, 1e-4);
    assert_eq!(found["glaciers"].as_array().map(Vec::len), Some(4));
    let far = numbers(&place, "outside.geojson", &experts, &[]);
    assert_eq!(
        (&far["spread"][0]["distance_within"], &far["spread"][0]["area_within"]),
        (&false.into(), &false.into())
    );

    let folder = place.at("result");
    let run = evaluate(&place, "outside.geojson", &experts, &["-o", &folder]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.contains("(outside)") && run.out.contains("distance 0, area 0 of 1 glaciers"), "{}", run.out);
    let glaciers = fs::read_to_string(place.path("result/glaciers.csv")).expect("written");
    assert!(glaciers.starts_with("reference,glacier_id,name,predicted_km2,reference_km2,area_deviation_km2,absolute_area_deviation_km2,area_deviation_percent,mean_m,"));
    assert_eq!(glaciers.lines().count(), 5);
    let spread = fs::read_to_string(place.path("result/spread.csv")).expect("written");
    assert!(
        spread.lines().nth(1).is_some_and(|line| line.starts_with("A,Glacier A,3,") && line.ends_with(",false,false")),
        "{spread}"
    );
    // The table of an earlier run does not stay.
    let run = evaluate(&place, "outside.geojson", &experts[..1], &["-o", &folder]);
    assert!(run.code == Some(0) && !place.path("result/spread.csv").exists());
}

#[test]
fn ice_of_several_glaciers() {
    let place = Workplace::new();
    write(&place, "whole.geojson", &[(None, square(0.0, 0.0, 1000.0))]);
    let parts = [(0.0, 0.0), (500.0, 0.0), (0.0, 500.0), (500.0, 500.0)];
    let glaciers: Vec<(Option<&str>, Value)> =
        ["A", "B", "C", "D"].into_iter().zip(parts).map(|(id, (x, y))| (Some(id), square(x, y, 500.0))).collect();
    write(&place, "parts.geojson", &glaciers);
    let run = evaluate(&place, "whole.geojson", &["parts.geojson"], &[]);
    assert_eq!(run.code, Some(0));
    assert!(
        run.err.contains("1 outlines cover several glaciers") && run.err.contains("glavitu inventory"),
        "{}",
        run.err
    );
    assert_eq!(evaluate(&place, "parts.geojson", &["parts.geojson"], &[]).err, "");
}

#[test]
fn a_map_in_pixels() {
    let place = Workplace::new();
    // B is cut by the edge of the map, C beside it.
    let far = square(5000.0, 0.0, 100.0);
    let glaciers = [(Some("A"), square(0.0, 0.0, 1000.0)), (Some("B"), square(1300.0, 0.0, 300.0)), (Some("C"), far)];
    write(&place, "expert.geojson", &glaciers);
    // 10 m a pixel: the square, 2 pixels wider to the east.
    let crs = Crs::from_epsg(32611).expect("a registered code");
    let grid =
        Grid { width: 150, height: 120, transform: [10.0, 0.0, 499_900.0, 0.0, -10.0, 5_781_100.0], crs: Some(crs) };
    let classes: Vec<u8> =
        (0..grid.len()).map(|i| u8::from((10..112).contains(&(i % 150)) && (10..110).contains(&(i / 150)))).collect();
    write_bytes(place.path("map.tif"), &grid, &classes, 255, &Metadata::default()).expect("written");
    let found = numbers(&place, "map.tif", &["expert.geojson"], &[]);
    let row = &found["glaciers"][0];
    close(&row["area_deviation_percent"], 2.0, 1e-2);
    close(&row["distances"]["hausdorff_m"], 20.0, 1e-6);
    assert_eq!(row["distances"]["median_m"], 0.0);
    assert_eq!((&found["matching"], &found["not_whole"]), (&"identifier".into(), &json!(["B", "C"])));
    assert_eq!(
        (found["glaciers"].as_array().map(Vec::len), found["totals"][0]["glaciers"].as_u64()),
        (Some(1), Some(1))
    );
    let run = evaluate(&place, "map.tif", &["expert.geojson"], &[]);
    assert!(run.out.contains("2 glaciers are left out"), "{}", run.out);
    // Where the map has no data in a part of the glacier, it does not show it whole either.
    let holed: Vec<u8> = classes.iter().enumerate().map(|(i, c)| if i / 150 < 30 { 255 } else { *c }).collect();
    write_bytes(place.path("map.tif"), &grid, &holed, 255, &Metadata::default()).expect("written");
    refused(&place, "map.tif", &["expert.geojson"], &[], "shows no glacier of the reference whole");
}

#[test]
fn running_numbers_are_no_identifiers() {
    let place = Workplace::new();
    let (one, other) = (square(0.0, 0.0, 1000.0), square(7000.0, 0.0, 1000.0));
    let numbered = |id: i64| json!({ "glacier_id": id });
    // The same two glaciers, numbered in another order.
    write_with(&place, "first.geojson", &[(numbered(1), one.clone()), (numbered(2), other.clone())]);
    write_with(&place, "second.geojson", &[(numbered(1), other.clone()), (numbered(2), one.clone())]);
    let found = numbers(&place, "second.geojson", &["first.geojson"], &[]);
    assert_eq!((&found["matching"], &found["apart"]), (&"overlap".into(), &0.into()));
    close(&found["totals"][0]["distances"]["hausdorff_m"], 0.0, 1e-9);
    // As written by the program, with some deleted by hand.
    let outline = |id: i64| json!({ "glacier_id": id, "area_km2": 1.0, "perimeter_km": 4.0, "pixels": 100 });
    write_with(&place, "few.geojson", &[(outline(2), one.clone()), (outline(9), other.clone())]);
    let found = numbers(&place, "few.geojson", &["second.geojson"], &[]);
    close(&found["totals"][0]["distances"]["hausdorff_m"], 0.0, 1e-9);
    // They count where they are named, or are no running numbers; then what is apart is told.
    let named = evaluate(&place, "second.geojson", &["first.geojson"], &["--id-column", "glacier_id"]);
    assert_eq!(named.code, Some(0), "{}", named.err);
    assert!(named.out.contains("by identifier") && named.out.contains("2 predicted outlines have"), "{}", named.out);
    assert!(named.err.contains("2 of 2 glaciers have the identifier of one that lies elsewhere"), "{}", named.err);
    write_with(&place, "a.geojson", &[(numbered(4), one.clone()), (numbered(8), other.clone())]);
    write_with(&place, "b.geojson", &[(numbered(8), one.clone()), (numbered(4), one)]);
    let found = numbers(&place, "b.geojson", &["a.geojson"], &[]);
    assert_eq!((&found["matching"], &found["apart"]), (&"identifier".into(), &1.into()));
    // A map is split by the reference, whatever its identifiers are.
    let crs = Crs::from_epsg(32611).expect("a registered code");
    let grid =
        Grid { width: 150, height: 150, transform: [10.0, 0.0, 499_800.0, 0.0, -10.0, 5_781_200.0], crs: Some(crs) };
    let classes: Vec<u8> =
        (0..150 * 150).map(|i| u8::from((20..120).contains(&(i % 150)) && (20..120).contains(&(i / 150)))).collect();
    write_bytes(place.path("map.tif"), &grid, &classes, 255, &Metadata::default()).expect("written");
    let found = numbers(&place, "map.tif", &["first.geojson"], &[]);
    assert_eq!((&found["matching"], &found["not_whole"]), (&"identifier".into(), &json!(["2"])));
    close(&found["glaciers"][0]["distances"]["hausdorff_m"], 0.0, 1e-6);
    // An attribute that no file has is a mistake.
    refused(&place, "b.geojson", &["a.geojson"], &["--id-column", "nope"], "--id-column nope, which no file has");
    refused(&place, "map.tif", &["first.geojson"], &["--id-column", "nope"], "nope");
}

#[test]
fn polygons_that_cross_themselves() {
    let place = Workplace::new();
    let at = |x: f64, y: f64| json!([500_000.0 + x, 5_780_000.0 + y]);
    let tie = json!([[at(0.0, 0.0), at(1000.0, 1000.0), at(1000.0, 0.0), at(0.0, 1000.0), at(0.0, 0.0)]]);
    write(&place, "mine.geojson", &[(Some("A"), square(0.0, 0.0, 1000.0)), (Some("B"), square(3000.0, 0.0, 500.0))]);
    write(&place, "tie.geojson", &[(Some("A"), tie), (Some("B"), square(3000.0, 0.0, 500.0))]);
    let run = evaluate(&place, "mine.geojson", &["tie.geojson"], &["--report", "-o", &place.at("result")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let sentence = "tie.geojson: 1 polygon crosses itself (glacier A)";
    assert!(run.err.contains(sentence) && run.err.contains("Fix geometries"), "{}", run.err);
    assert!(fs::read_to_string(place.path("result/report.html")).expect("a page").contains("1 polygon crosses itself"));
    let found = numbers(&place, "tie.geojson", &["mine.geojson"], &[]);
    assert_eq!(found["crossing"][0]["glaciers"], json!(["A"]));
    let sound = evaluate(&place, "mine.geojson", &["mine.geojson"], &[]);
    assert!(!sound.err.contains("cross"), "{}", sound.err);
    // A map is split by the reference; that is told once, by `inventory` too.
    let crs = Crs::from_epsg(32611).expect("a registered code");
    let grid =
        Grid { width: 150, height: 150, transform: [10.0, 0.0, 499_800.0, 0.0, -10.0, 5_781_200.0], crs: Some(crs) };
    write_bytes(place.path("map.tif"), &grid, &[1; 150 * 150], 255, &Metadata::default()).expect("written");
    let map = evaluate(&place, "map.tif", &["tie.geojson"], &[]);
    assert_eq!(map.err.matches("crosses itself").count(), 1, "{}", map.err);
    let inventory = [
        "inventory",
        "--outlines",
        &place.at("map.tif"),
        "--reference",
        &place.at("tie.geojson"),
        "-o",
        &place.at("glaciers.gpkg"),
    ];
    let inventory = glavitu(&inventory.map(str::to_owned));
    assert_eq!(inventory.err.matches(sentence).count(), 1, "{}", inventory.err);
}

#[test]
fn what_is_not_shown_is_told() {
    let place = Workplace::new();
    let names: Vec<String> = (0..1050).map(|number| format!("G{number}")).collect();
    let glaciers = |wider: f64| -> Vec<(Option<&str>, Value)> {
        let at = |number: usize| f64::from(u32::try_from(number).expect("few"));
        let square = |number| square(100.0 * at(number % 40), 100.0 * at(number / 40), 50.0 + wider);
        names.iter().enumerate().map(|(number, name)| (Some(name.as_str()), square(number))).collect()
    };
    for folder in ["anna", "ben"] {
        fs::create_dir(place.path(folder)).expect("made");
    }
    write(&place, "mine.geojson", &glaciers(2.0));
    write(&place, "anna/outlines.geojson", &glaciers(0.0));
    write(&place, "ben/outlines.geojson", &glaciers(4.0));
    let experts = ["anna/outlines.geojson", "ben/outlines.geojson"];
    let run = evaluate(&place, "mine.geojson", &experts, &["--report", "-o", &place.at("result")]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let spread = place.path("result/spread.csv").display().to_string();
    assert!(run.out.contains(&format!("1020 more are in {spread}.")), "{}", run.out);
    assert!(run.out.contains("The 2100 rows of the single glaciers are in "), "{}", run.out);
    let page = fs::read_to_string(place.path("result/report.html")).expect("a page");
    for text in ["the 1000 largest deviations of 2100", "the first 1000 of 1050 glaciers", "the 25 largest of 2100"] {
        assert!(page.contains(text), "{text}");
    }
    // Files of one name are told by their folders.
    for name in experts {
        assert!(page.contains(&format!("Area against {}<", place.at(name))), "{name}");
    }
    let short = evaluate(&place, "mine.geojson", &experts, &[]);
    assert!(short.out.contains("1020 more are left out here; -o FOLDER writes all to spread.csv"), "{}", short.out);
}

#[test]
fn coordinates_in_degrees() {
    let place = Workplace::new();
    let utm = Crs::from_epsg(32611).expect("a registered code");
    let on_earth = |square: Value| -> Value {
        let ring = square[0].as_array().expect("a ring").iter().map(|p| {
            let at = |i: usize| p[i].as_f64().expect("a number");
            let (longitude, latitude) = utm.longitude_latitude(at(0), at(1)).expect("on the map");
            json!([longitude, latitude])
        });
        json!([ring.collect::<Vec<_>>()])
    };
    let collection = |shape: Value| {
        let geometry = json!({ "type": "Polygon", "coordinates": on_earth(shape) });
        json!({ "type": "FeatureCollection", "features": [{ "type": "Feature", "properties": {}, "geometry": geometry }] })
    };
    fs::write(place.path("a.geojson"), collection(square(0.0, 0.0, 1000.0)).to_string()).expect("written");
    fs::write(place.path("b.geojson"), collection(square(-20.0, -20.0, 1040.0)).to_string()).expect("written");
    let found = numbers(&place, "b.geojson", &["a.geojson"], &[]);
    assert_eq!(found["plane"], "transverse Mercator through each glacier");
    // 20 m on the map of the zone are 20 / 0.9996 on the ground.
    close(&found["glaciers"][0]["distances"]["median_m"], 20.0 / 0.9996, 1e-3);
    close(&found["glaciers"][0]["distances"]["hausdorff_m"], 20.0 * 2.0_f64.sqrt() / 0.9996, 1e-3);
    // The prediction's CRS does not matter.
    write(&place, "b_utm.geojson", &[(None, square(-20.0, -20.0, 1040.0))]);
    let same = numbers(&place, "b_utm.geojson", &["a.geojson"], &[]);
    close(&same["glaciers"][0]["distances"]["median_m"], 20.0 / 0.9996, 1e-3);
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Workplace::new();
    write(&place, "mine.geojson", &[(None, square(0.0, 0.0, 1000.0))]);
    write(&place, "far.geojson", &[(None, square(50_000.0, 0.0, 1000.0))]);
    refused(&place, "mine.geojson", &["far.geojson"], &[], "no outline that belongs to a glacier");
    refused(&place, "mine.geojson", &["missing.geojson"], &[], "missing.geojson");
    refused(&place, "mine.geojson", &["mine.geojson"], &["--spacing", "0"], "a spacing of 0");
    refused(&place, "mine.geojson", &["mine.geojson"], &["--spacing", "nan"], "a spacing of NaN");
    refused(&place, "mine.geojson", &["mine.geojson"], &["--spacing", "1e-6"], "give a larger --spacing");
    fs::write(place.path("notes.txt"), "no polygons").expect("written");
    refused(&place, "mine.geojson", &["notes.txt"], &[], "notes.txt");
    refused(&place, "notes.txt", &["mine.geojson"], &[], "notes.txt");
    // Several references are for outlines.
    let (mine, far) = (place.at("mine.geojson"), place.at("far.geojson"));
    let run = glavitu(&["evaluate", "--predicted", &mine, "--reference", &mine, &far].map(str::to_owned));
    assert!(run.code == Some(2) && run.err.contains("--distances"), "{}", run.err);
    // Outputs never replace inputs.
    fs::create_dir(place.path("result")).expect("made");
    fs::copy(place.path("mine.geojson"), place.path("result/evaluation.json")).expect("copied");
    refused(&place, "result/evaluation.json", &["mine.geojson"], &["-o", &place.at("result")], "a file that is read");
}

/// A real glacier drawn by two: the Athabasca outline of a study against the Randolph Glacier Inventory.
#[test]
fn a_real_outline() {
    let Some(shared) = shared() else { return };
    let place = Workplace::new();
    let folder = shared.join("data/athabasca");
    let file = |name: &str| folder.join(name).display().to_string();
    let args = [
        "evaluate",
        "--predicted",
        &file("athabasca_outline.shp"),
        "--reference",
        &file("athabasca_aoi_rgi7_4glaciers.geojson"),
        "--distances",
        "--json",
        "-o",
        &place.at("result"),
    ];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).expect("JSON");
    let total = &found["totals"][0];
    assert_eq!((total["glaciers"].as_u64(), total["predicted_glaciers"].as_u64()), (Some(4), Some(1)));
    let row = found["glaciers"].as_array().expect("rows").iter().find(|row| !row["distances"].is_null()).expect("one");
    let d = &row["distances"];
    println!("{row:#}");
    let order = ["median_m", "mean_m", "rms_m", "hausdorff_m"].map(|name| d[name].as_f64().expect("a number"));
    assert!(order[1] <= order[2] && order[2] <= order[3] && order[0] <= order[3], "{order:?}");
}
