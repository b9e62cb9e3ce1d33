//! `glavitu evaluate --dataset` and `--compare`: scores of a model on tile files, by group, held against counts of its own predictions.

mod program;
mod tile_files;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use glavitu::dataset::sampling::{Selection, TileSet};
use glavitu::dataset::tile_file::TileFile;
use glavitu::dataset::tile_writer::{TileHeader, TileWriter};
use glavitu::evaluate::Confusion;
use glavitu::evaluate::tile_pass::TilePass;
use glavitu::model::Weights;
use glavitu::plan::PlanOptions;
use program::{Run, Workplace, glavitu};
use serde_json::Value;

/// Sides of tiles; patches of the tiny models are 64.
const SIDE: usize = 72;

/// A tile file of the regions ALP, NZ and SC, with sensors and dates as attributes.
fn tiles(path: &Path) {
    let plain = path.with_extension("plain");
    tile_files::write_tiles(&plain, &["ALP", "ALP", "NZ", "SC"], SIDE, 0);
    // The same again, with attributes: the arrays are those of the file just written.
    let file = TileFile::open(&plain).expect("a tile file");
    let mut writer = TileWriter::create(path).expect("created");
    let told = [("Landsat 8", "2016-08-01"), ("Landsat 8", "2017-08-01"), ("Sentinel-2", "20160203"), ("", "")];
    for (number, (tile, (sensor, date))) in file.tiles().iter().zip(told).enumerate() {
        let header = TileHeader {
            name: tile.name.clone(),
            region: tile.region.clone(),
            subregion: tile.subregion.clone(),
            height: SIDE,
            width: SIDE,
            original_height: SIDE,
            original_width: SIDE,
            padding_height: 0,
            padding_width: 0,
            xmin: 0.0,
            xmax: 0.1,
            ymin: 46.0,
            ymax: 46.1,
        };
        let attributes: BTreeMap<String, String> = [("sensor", sensor), ("date", date), ("Season", "summer")]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let read = |array| {
            let window = glavitu::dataset::tile_file::TileWindow { row: 0, col: 0, height: SIDE, width: SIDE };
            let values = file.read_window(number, array, window).expect("its values");
            values.into_iter().map(f64::from).collect::<Vec<f64>>()
        };
        use glavitu::dataset::tile_file::TileArray;
        use glavitu::model::Feature;
        let optical = read(TileArray::Feature(Feature::Optical));
        let dem = read(TileArray::Feature(Feature::Dem));
        let outlines = read(TileArray::Outlines);
        let arrays: [(&str, usize, &[f64]); 3] =
            [("optical", 6, &optical), ("dem", 2, &dem), ("outlines", 2, &outlines)];
        writer.add_with(&header, &attributes, &arrays).expect("added");
    }
    writer.finish().expect("finished");
}

fn workplace(model: &str) -> Workplace {
    let place = Workplace::new();
    place.import(model, "model.safetensors");
    tiles(&place.path("test.hdf5"));
    place
}

fn evaluate(place: &Workplace, more: &[&str]) -> Run {
    let (model, dataset) = (place.at("model.safetensors"), place.at("test.hdf5"));
    let args = ["evaluate", "--model", &model, "--dataset", &dataset, "--device", "cpu"];
    glavitu(&args.into_iter().chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>())
}

fn numbers(place: &Workplace, more: &[&str]) -> Value {
    let run = evaluate(place, &[more, &["--json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn refused(place: &Workplace, more: &[&str], expected: &str) {
    let run = evaluate(place, more);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.is_empty() && run.err.contains(expected), "{}", run.err);
}

/// Counts by tile, of patches of which `location_known` is as given.
fn counted(place: &Workplace, known: bool) -> Vec<Confusion> {
    let weights = Weights::load(place.path("model.safetensors")).expect("the model");
    let config = weights.config();
    let selection =
        Selection { tile: config.tile, location: config.location.clone(), ..Selection::new(config.features.clone()) };
    let tiles = Arc::new(TileSet::open(&[place.path("test.hdf5")], &selection).expect("tiles"));
    let mut pass = TilePass::new(config, Arc::clone(&tiles), 3, 1, "cpu", &PlanOptions::default()).expect("planned");
    let mut counts = vec![Confusion::default(); tiles.tiles().len()];
    pass.run(
        &weights,
        &mut |batch| {
            for patch in batch.patches().filter(|patch| patch.location_known == known) {
                counts[patch.patch.tile].add_labelled(patch.probabilities, patch.target)?;
            }
            Ok(())
        },
        &mut |_, _| Ok(()),
    )
    .expect("run");
    counts
}

fn confusion(scores: &Value) -> Confusion {
    serde_json::from_value(scores["confusion"].clone()).expect("counts")
}

fn group<'a>(pass: &'a Value, by: &str, name: Option<&str>) -> &'a Value {
    let groups = pass["groups"].as_array().expect("groups");
    groups.iter().find(|group| group["by"] == by && group["group"].as_str() == name).expect("the group")
}

#[test]
fn attributes_of_a_tile_file() {
    let place = Workplace::new();
    tiles(&place.path("test.hdf5"));
    let file = TileFile::open(place.path("test.hdf5")).expect("a tile file");
    let tile = &file.tiles()[0];
    let found: Vec<(&str, &str)> =
        tile.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, [("Season", "summer"), ("date", "2016-08-01"), ("sensor", "Landsat 8")]);
    assert_eq!((tile.attribute("SENSOR"), tile.attribute("region")), (Some("Landsat 8"), None));
    let choose = |selection: Selection| -> Vec<String> {
        let set = TileSet::open(&[place.path("test.hdf5")], &selection).expect("tiles");
        set.tiles().iter().map(|tile| tile.region.clone()).collect()
    };
    let all = Selection { tile: 32, ..Selection::new(vec![glavitu::model::Feature::Optical]) };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    assert_eq!(choose(Selection { exclude_regions: names(&["ALP"]), ..all.clone() }), ["NZ", "SC"]);
    assert_eq!(choose(Selection { sensors: names(&["Sentinel-2"]), ..all.clone() }), ["NZ"]);
    // Tiles that do not tell their sensor stay.
    assert_eq!(choose(Selection { exclude_sensors: names(&["Landsat 8"]), ..all.clone() }), ["NZ", "SC"]);
    let none = TileSet::open(&[place.path("test.hdf5")], &Selection { sensors: names(&["ASTER"]), ..all });
    let error = none.expect_err("no such sensor").to_string();
    assert!(error.contains("ASTER") && error.contains("Sentinel-2 (1)") && error.contains("not told (1)"), "{error}");
}

#[test]
fn scores_by_group() {
    let place = workplace("tiny_global.h5");
    let found = numbers(&place, &["--group-by", "region,sensor,year,season"]);
    let tiles = counted(&place, true);
    let sum = |numbers: &[usize]| numbers.iter().map(|number| tiles[*number]).sum::<Confusion>();
    let pass = &found["passes"][0];
    assert_eq!((&pass["region_input"], found["passes"].as_array().map(Vec::len)), (&Value::from("none"), Some(1)));
    for (by, name, own) in [
        ("region", Some("ALP"), vec![0, 1]),
        ("region", Some("NZ"), vec![2]),
        ("sensor", Some("Landsat 8"), vec![0, 1]),
        ("sensor", None, vec![3]),
        ("year", Some("2016"), vec![0, 2]),
        ("year", Some("2017"), vec![1]),
        ("season", Some("summer"), vec![0, 1, 2, 3]),
    ] {
        let (found, expected) = (group(pass, by, name), sum(&own));
        assert_eq!(
            (confusion(&found["scores"]), found["tiles"].as_u64()),
            (expected, Some(own.len() as u64)),
            "{by} {name:?}"
        );
        assert_eq!(found["scores"]["iou"].as_f64(), expected.iou());
        assert_eq!(found["scores"]["f1"].as_f64(), expected.f1());
    }
    assert_eq!(confusion(&pass["overall"]), sum(&[0, 1, 2, 3]));
    assert_eq!(found["iou"], pass["overall"]["iou"]);
    assert_eq!(found["regions"]["SC"].as_f64(), tiles[3].iou());
    // The published tables give the mean over regions.
    let ious: Vec<f64> = [vec![0, 1], vec![2], vec![3]].iter().filter_map(|own| sum(own).iou()).collect();
    let mean = ious.iter().sum::<f64>() / 3.0;
    let deviation = (ious.iter().map(|iou| (iou - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let by_region = &pass["means"][0];
    assert!((by_region["mean_iou"].as_f64().expect("a mean") - mean).abs() < 1e-15);
    assert!((by_region["standard_deviation"].as_f64().expect("a deviation") - deviation).abs() < 1e-15);
    assert_eq!((found["patches"].as_u64(), found["patch_side"].as_u64()), (Some(4), Some(64)));
    // One patch of 64 x 64 in 72 x 72 pixels; every 97th pixel of a tile has no label.
    let unlabelled = (0..SIDE * SIDE).filter(|i| i % 97 == 0 && i % SIDE < 64 && i / SIDE < 64).count() * 4;
    assert_eq!(
        (&found["unlabelled"], found["unlabelled_pixels"].as_u64()),
        (&Value::from("ignore"), Some(unlabelled as u64))
    );

    let background = numbers(&place, &["--unlabelled", "background"]);
    let all = confusion(&background["passes"][0]["overall"]);
    assert_eq!((all.total(), &background["unlabelled"]), (4 * 64 * 64, &Value::from("background")));
    let ignored = sum(&[0, 1, 2, 3]);
    assert_eq!((all.tp, all.fn_, all.total() - ignored.total()), (ignored.tp, ignored.fn_, unlabelled as u64));
    let run = evaluate(&place, &["--unlabelled", "background"]);
    assert!(run.out.contains("count as other ground") && run.out.contains("sample standard deviation"), "{}", run.out);
    refused(
        &place,
        &["--group-by", "satellite"],
        "no tile that tells its satellite, expected one of region, subregion, Season, date, sensor",
    );
    refused(&place, &["--group-by", ""], "an empty name");
}

#[test]
fn told_the_region_and_not() {
    let place = workplace("tiny_region.h5");
    let found = numbers(&place, &["--trained-on", "region=ALP,SC"]);
    let passes = found["passes"].as_array().expect("passes");
    assert_eq!(
        passes.iter().map(|pass| pass["region_input"].as_str()).collect::<Vec<_>>(),
        [Some("known"), Some("unknown")]
    );
    for (pass, known) in passes.iter().zip([true, false]) {
        let tiles = counted(&place, known);
        assert_eq!(confusion(&pass["overall"]), tiles.iter().copied().sum::<Confusion>());
        let gap = &pass["gaps"][0];
        let iou = |region| group(pass, "region", Some(region))["scores"]["iou"].as_f64();
        let [alps, scandinavia, new_zealand] = ["ALP", "SC", "NZ"].map(|region| iou(region).expect("glaciers"));
        let expected = f64::midpoint(alps, scandinavia) - new_zealand;
        assert!((gap["gap"].as_f64().expect("a gap") - expected).abs() < 1e-15);
        assert_eq!((&gap["kind"], &gap["unseen"]["groups"][0]), (&Value::from("spatial"), &Value::from("NZ")));
    }
    let run = evaluate(&place, &["--trained-on", "region=ALP,SC"]);
    assert!(run.out.contains("With the region unknown:") && run.out.contains("spatial gap by region"), "{}", run.out);
    refused(&place, &["--trained-on", "region=HMA"], "no seen region among ALP, NZ, SC");
    refused(&place, &["--trained-on", "ALP"], "what was seen in training");
    // Tiles of a region that the model does not know count once, as unknown.
    tile_files::write_tiles(&place.path("test.hdf5"), &["ALP", "XX"], SIDE, 0);
    let found = numbers(&place, &[]);
    let totals = [0, 1].map(|number| confusion(&found["passes"][number]["overall"]).total());
    let labelled = counted(&place, true)[0].total();
    assert_eq!(totals, [labelled, 2 * labelled]);
    assert!(group(&found["passes"][0], "region", Some("XX"))["scores"]["iou"].is_null());
}

#[test]
fn files_and_comparison() {
    let place = workplace("tiny_global.h5");
    let folder = place.at("first");
    let run = evaluate(&place, &["--group-by", "region,sensor", "-o", &folder]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let written: Value =
        serde_json::from_str(&fs::read_to_string(place.path("first/evaluation.json")).expect("written")).expect("JSON");
    assert_eq!(written, numbers(&place, &["--group-by", "region,sensor"]));
    let groups = fs::read_to_string(place.path("first/groups.csv")).expect("written");
    let lines: Vec<&str> = groups.lines().collect();
    assert_eq!(lines[0], "region_input,group_by,group,tiles,tp,fp,fn,tn,accuracy,precision,recall,f1,iou");
    assert!(
        lines.len() == 8 && lines[1].starts_with("none,region,ALP,2,") && lines[7].starts_with("none,all,,4,"),
        "{groups}"
    );
    let tiles = fs::read_to_string(place.path("first/tiles.csv")).expect("written");
    assert!(tiles.starts_with("region_input,tile,region,subregion,tp,") && tiles.lines().count() == 5, "{tiles}");
    assert!(tiles.lines().next().is_some_and(|line| line.ends_with(",iou,Season,date,sensor")), "{tiles}");

    // The same against itself: no gap anywhere.
    let compare = |files: &[&str], json: bool| {
        let mut args = vec!["evaluate".to_owned(), "--compare".to_owned()];
        args.extend(files.iter().map(|name| place.at(name)));
        args.extend(json.then(|| "--json".to_owned()));
        glavitu(&args)
    };
    let run = compare(&["first/evaluation.json", "first/evaluation.json"], true);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let rows: Value = serde_json::from_str(&run.out).expect("JSON");
    let rows = rows["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 1 + 3 + 2);
    assert!(rows.iter().all(|row| row["gap"].as_f64().is_none_or(|gap| gap == 0.0)));
    assert_eq!(rows.iter().filter(|row| row["kind"] == "cross-sensor").count(), 2);
    let table = compare(&["first/evaluation.json", "first/evaluation.json"], false).out;
    assert!(table.contains("Sentinel-2") && table.contains("spatial"), "{table}");
    fs::write(place.path("other.json"), "{}").expect("written");
    let bad = compare(&["first/evaluation.json", "other.json"], false);
    assert!(bad.code == Some(2) && bad.err.contains("JSON without scores"), "{}", bad.err);
    assert_eq!(compare(&["first/evaluation.json"], false).code, Some(2));
    assert_eq!(compare(&["first/evaluation.json", "missing.json"], false).code, Some(2));
    // Outputs never replace inputs.
    fs::create_dir(place.path("second")).expect("made");
    fs::rename(place.path("test.hdf5"), place.path("second/tiles.csv")).expect("moved");
    let (model, dataset) = (place.at("model.safetensors"), place.at("second/tiles.csv"));
    let args = ["evaluate", "--model", &model, "--dataset", &dataset, "--device", "cpu", "-o", &place.at("second")];
    let run = glavitu(&args.map(str::to_owned));
    assert!(run.code == Some(2) && run.err.contains("a file that is read"), "{}", run.err);
}
