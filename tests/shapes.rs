//! Polygons with attributes through every format, by the library and by `glavitu convert`.

mod program;

use std::fs;
use std::path::Path;

use glavitu::atomic_file::StagedFiles;
use glavitu::raster::Crs;
use glavitu::raster::area::planar_km2;
use glavitu::raster::polygons::Polygon;
use glavitu::raster::shapes::{Column, ColumnType, Feature, Features, Layer, ShapeWriter, Value};
use program::{Workplace, glavitu, shared};
use proptest::prelude::*;

const FORMATS: [&str; 4] = ["gpkg", "fgb", "shp", "geojson"];

fn rectangle(x: f64, y: f64, wide: f64, high: f64) -> Vec<(f64, f64)> {
    vec![(x, y), (x + wide, y), (x + wide, y + high), (x, y + high), (x, y)]
}

fn hole(x: f64, y: f64, side: f64) -> Vec<(f64, f64)> {
    rectangle(x, y, side, side).into_iter().rev().collect()
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("name", ColumnType::Text),
        Column::new("area_km2", ColumnType::Real),
        Column::new("pixels", ColumnType::Integer),
    ]
}

fn write(path: &Path, crs: Option<&Crs>, columns: &[Column], features: &[Feature]) {
    let layer = Layer { name: "glaciers", description: "made by a test", crs, columns };
    let mut writer = ShapeWriter::create(path, &layer).expect("a writer");
    for feature in features {
        writer.add(&feature.polygons, &feature.values).expect("a feature");
    }
    let mut staged = StagedFiles::new();
    writer.finish(&mut staged).and_then(|()| staged.publish()).expect("written");
}

/// Three features of one, two and no polygons.
fn some() -> Vec<Feature> {
    let at = |x: f64| rectangle(480_000.0 + x, 5_780_000.0, 900.0, 600.0);
    let pierced = Polygon { exterior: at(0.0), holes: vec![hole(480_100.0, 5_780_100.0, 300.0)] };
    let plain = |x: f64| Polygon { exterior: at(x), holes: vec![] };
    vec![
        Feature {
            polygons: vec![pierced],
            values: vec![Value::Text("Sermeq Kujalleq (Ø)".into()), Value::Real(0.45), Value::Integer(500)],
        },
        Feature { polygons: vec![plain(2000.0), plain(4000.0)], values: vec![Value::Null, Value::Null, Value::Null] },
        Feature { polygons: vec![], values: vec![Value::Text("gone".into()), Value::Real(0.0), Value::Integer(-7)] },
    ]
}

/// Features in the order of their first value: FlatGeobuf has its own.
fn sorted(mut features: Vec<Feature>) -> Vec<Feature> {
    features.sort_by_key(|feature| format!("{:?}", feature.values));
    features
}

/// The same place and shape, wherever rings begin.
fn same_polygons(a: &[Polygon<f64>], b: &[Polygon<f64>]) -> bool {
    let plain = |polygons: &[Polygon<f64>]| {
        let sorted = |ring: &Vec<(f64, f64)>| {
            let mut vertices: Vec<_> = ring[1..].iter().map(|v| (v.0.to_bits(), v.1.to_bits())).collect();
            vertices.sort_unstable();
            vertices
        };
        polygons.iter().map(|p| p.rings().map(sorted).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    plain(a) == plain(b) && a.iter().zip(b).all(|(a, b)| (planar_km2(a) - planar_km2(b)).abs() < 1e-12)
}

#[test]
fn a_chain_of_conversions() {
    let place = Workplace::new();
    let utm = Crs::from_epsg(32611).expect("a registered code");
    write(&place.path("a.gpkg"), Some(&utm), &columns(), &some());
    for (from, to) in
        [("a.gpkg", "b.fgb"), ("b.fgb", "c.shp"), ("c.shp", "d.gpkg"), ("d.gpkg", "e.geojson"), ("e.geojson", "f.fgb")]
    {
        let run = glavitu(&["convert".into(), place.at(from), place.at(to), "--json".into(), "--style".into()]);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{to}");
        let report: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
        assert_eq!((&report["features"], &report["polygons"]), (&3.into(), &3.into()), "{to}");
        assert_eq!(report["attributes"].as_array().map(Vec::len), Some(3));
        assert!(fs::read_to_string(place.path(to).with_extension("qml")).is_ok());
        let found = Features::open(&place.path(to)).expect(to);
        assert_eq!(found.columns, columns(), "{to}");
        let (found, expected) = (sorted(found.features), sorted(some()));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.values, expected.values, "{to}");
            if matches!(to, "b.fgb" | "c.shp" | "d.gpkg") {
                assert!(same_polygons(&found.polygons, &expected.polygons), "{to}");
            } else {
                assert_eq!(found.polygons.len(), expected.polygons.len(), "{to}");
                let first = |feature: &Feature| feature.polygons.first().map(|polygon| polygon.holes.len());
                assert_eq!(first(found), first(expected), "{to}");
            }
        }
    }
}

#[test]
fn bad_inputs() {
    let place = Workplace::new();
    let utm = Crs::from_epsg(32611).expect("a registered code");
    write(&place.path("a.gpkg"), Some(&utm), &columns(), &some());
    write(&place.path("unknown.gpkg"), None, &columns(), &some());
    fs::write(place.path("notes.txt"), "no polygons").expect("written");
    write(&place.path("cut.shp"), Some(&utm), &columns(), &some());
    let table = fs::read(place.path("cut.dbf")).expect("there");
    fs::write(place.path("cut.dbf"), &table[..table.len() - 30]).expect("written");
    let long = [Column::new("id", ColumnType::Integer)];
    let large = Feature { values: vec![Value::Integer(i64::MIN)], ..some().remove(0) };
    write(&place.path("large.gpkg"), Some(&utm), &long, &[large]);
    for (from, to, expected) in [
        ("a.gpkg", "b.kml", ".gpkg, .geojson, .json, .fgb or .shp"),
        ("a.gpkg", "a.gpkg", "a file that is read"),
        ("a.gpkg", "none/b.gpkg", "no folder"),
        ("missing.gpkg", "b.gpkg", "missing.gpkg"),
        ("notes.txt", "b.gpkg", "expected a GeoPackage, GeoJSON, FlatGeobuf or Shapefile"),
        ("unknown.gpkg", "b.geojson", "without a known CRS"),
        ("cut.shp", "b.gpkg", "fewer than it says it has"),
        ("large.gpkg", "b.shp", "18 characters"),
    ] {
        let run = glavitu(&["convert".into(), place.at(from), place.at(to)]);
        assert_eq!(run.code, Some(2), "{from} {to}: {}", run.err);
        assert!(run.err.lines().count() == 1 && run.err.contains(expected), "{from} {to}: {}", run.err);
        assert!(to == "a.gpkg" || !place.path(to).exists());
    }
    let run = glavitu(
        &["convert", &place.at("unknown.gpkg"), &place.at("b.geojson"), "--assume-crs", "EPSG:32611"]
            .map(str::to_owned),
    );
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn attributes_of_other_programs() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/athabasca");
    let rgi = Features::open(&folder.join("athabasca_aoi_rgi7_4glaciers.geojson")).expect("RGI outlines");
    let id = rgi.column("rgi_id").expect("an id");
    assert_eq!(rgi.features.len(), 4);
    assert!(
        rgi.features.iter().all(|f| matches!(&f.values[id], Value::Text(id) if id.starts_with("RGI2000-v7.0-G-02-")))
    );
    let outline = Features::open(&folder.join("athabasca_outline.shp")).expect("a Shapefile");
    assert!(!outline.features.is_empty() && outline.features.iter().all(|f| f.values.len() == outline.columns.len()));
}

/// What every format keeps: dBASE has no empty texts and no blanks at the end.
fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        4 => "[a-zA-Zäß漢 0-9\"<>&\\\\]{0,20}[a-zäß漢\"]".prop_map(|text| Value::Text(text.trim_start().to_owned())),
    ]
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let real = prop_oneof![
        1 => Just(Value::Null),
        4 => (-1e12..1e12_f64).prop_map(Value::Real),
        1 => (-1e-300..1e300_f64).prop_map(Value::Real),
    ];
    let integer = prop_oneof![
        1 => Just(Value::Null),
        4 => (-10_i64.pow(16)..10_i64.pow(17)).prop_map(Value::Integer),
    ];
    (text(), real, integer).prop_map(|(text, real, integer)| vec![text, real, integer])
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    let polygon = (0..8_u32, 0..8_u32, prop::bool::ANY).prop_map(|(col, row, pierced)| {
        let (x, y) = (480_000.0 + 1000.0 * f64::from(col), 5_780_000.0 + 1000.0 * f64::from(row));
        let holes = if pierced { vec![hole(x + 100.25, y + 100.125, 200.0)] } else { vec![] };
        Polygon { exterior: rectangle(x, y, 900.0, 800.0), holes }
    });
    let feature = (prop::collection::vec(polygon, 0..4), values()).prop_map(|(mut polygons, values)| {
        // The parts of a feature lie beside each other.
        polygons.sort_by(|a, b| a.exterior.partial_cmp(&b.exterior).expect("numbers"));
        polygons.dedup_by(|a, b| a.exterior == b.exterior);
        Feature { polygons, values }
    });
    prop::collection::vec(feature, 1..20).prop_filter("a polygon", |all| all.iter().any(|f| !f.polygons.is_empty()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_reads_back(features in features()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let utm = Crs::from_epsg(32611).expect("a registered code");
        for format in FORMATS {
            let path = folder.path().join("a").with_extension(format);
            write(&path, Some(&utm), &columns(), &features);
            let found = Features::open(&path).expect(format);
            prop_assert_eq!(found.features.len(), features.len());
            let (found, expected) = (sorted(found.features), sorted(features.clone()));
            for (found, expected) in found.iter().zip(&expected) {
                // A column of whole numbers alone is one of integers in GeoJSON; none are drawn, but nulls may be all there is.
                if format != "geojson" {
                    prop_assert_eq!(&found.values, &expected.values, "{}", format);
                }
            }
            if format == "geojson" || expected.windows(2).any(|pair| pair[0].values == pair[1].values) {
                continue;
            }
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!(same_polygons(&found.polygons, &expected.polygons), "{}: {:?} {:?}", format, found, expected);
            }
        }
    }

    #[test]
    fn damage_is_no_panic(format in 0..4_usize, at in 0.0..1.0_f64, value: u8, cut: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let utm = Crs::from_epsg(32611).expect("a registered code");
        let path = folder.path().join("a").with_extension(FORMATS[format]);
        write(&path, Some(&utm), &columns(), &some());
        for file in [path.clone(), path.with_extension("dbf")] {
            let Ok(mut bytes) = fs::read(&file) else { continue };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
            let at = (at * bytes.len() as f64) as usize;
            if cut { bytes.truncate(at) } else { bytes[at] = value }
            fs::write(&file, bytes).expect("written");
            if let Ok(found) = Features::open(&path) {
                prop_assert!(found.features.iter().all(|f| f.values.len() == found.columns.len()));
            }
        }
    }
}
