//! `glavitu predict` row by row: the same as a scene in one piece, interrupted or not, of which only a part is wanted, and in how much memory.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use glavitu::device;
use glavitu::executor::Arrays;
use glavitu::infer::blend::Blend;
use glavitu::infer::extent::Extent;
use glavitu::infer::postprocess::{NODATA, classify, median};
use glavitu::infer::predict::{Network, PART_BYTES, predict};
use glavitu::infer::scene::{Scene, SceneFiles};
use glavitu::infer::spool::{Earlier, Spool};
use glavitu::infer::tiles::Tiling;
use glavitu::model::network::{OUTPUT, inference_graph, input_name};
use glavitu::model::{Feature, ModelConfig, Normalisation, Weights};
use glavitu::plan::PlanOptions;
use glavitu::raster::cog::{CogSettings, CogWriter, Overview};
use glavitu::raster::{Crs, Grid, Metadata, RasterFile, Window, write_bands, write_floats};
use glavitu::train::initialisation::initial_weights;
use program::{Run, Workplace, glavitu};
use proptest::prelude::*;
use serde_json::Value;

const WORK: &str = ".glavitu-work";

fn grid(height: usize, width: usize) -> Grid {
    let transform = [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_180_000.0];
    Grid { width, height, transform, crs: Crs::from_epsg(32632).ok() }
}

/// A folder with a model of tiles of 64 pixels and waves as a scene, of which a corner larger than a tile has no data.
fn workplace(height: usize, width: usize) -> Workplace {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let grid = grid(height, width);
    let wave = |step: usize| -> Vec<f32> {
        (0..grid.len()).map(|i| ((i % width * step + i / width * 3) as f32 / 23.0).sin().abs()).collect()
    };
    let mut bands: Vec<Vec<f32>> = (1..7).map(wave).collect();
    for (i, value) in bands[1].iter_mut().enumerate() {
        if i / width < height / 2 && i % width < width / 2 {
            *value = f32::NAN;
        }
    }
    let named: Vec<(&str, &[f32])> = bands.iter().map(|band| ("band", band.as_slice())).collect();
    write_bands(place.path("optical.tif"), &grid, &named, &[]).expect("written");
    let heights: Vec<f32> = wave(2).iter().map(|v| 1000.0 + 900.0 * v).collect();
    write_floats(place.path("elevation.tif"), &grid, &heights, &Metadata::default()).expect("written");
    place
}

fn arguments(place: &Workplace, output: &str, more: &[&str]) -> Vec<String> {
    let mut args = vec!["predict".to_owned(), "--device".into(), "cpu".into(), "--model".into()];
    args.push(place.at("model.safetensors"));
    args.extend(["--optical".into(), place.at("optical.tif"), "--elevation".into(), place.at("elevation.tif")]);
    args.extend(["-o".into(), place.at(output)]);
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    args
}

fn mapped(place: &Workplace, output: &str, more: &[&str]) -> Run {
    let run = glavitu(&arguments(place, output, more));
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(!place.path(output).join(WORK).exists());
    run
}

fn refused(place: &Workplace, more: &[&str], parts: &[&str]) {
    let run = glavitu(&arguments(place, "refused", more));
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{more:?}: {}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    for part in parts {
        assert!(run.err.contains(part), "no '{part}' in: {}", run.err);
    }
    assert!(!place.path("refused").exists());
}

fn raster(path: PathBuf) -> (Grid, Vec<f32>) {
    let file = RasterFile::open(path).expect("a raster");
    (file.grid().clone(), file.read_window(0, file.grid().window()).expect("its pixels"))
}

fn report(place: &Workplace, output: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(output).join("run.json")).expect("run.json")).expect("JSON")
}

fn same(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance)
}

/// Classes and probabilities of the scene in one piece: everything read, all windows blended, one median filter.
fn whole(place: &Workplace, smoothing: usize) -> (Vec<f32>, Vec<f32>) {
    let weights = Weights::load(place.path("model.safetensors")).expect("the model");
    let config = weights.config();
    let graph = inference_graph(config, 1).expect("a graph");
    let options = PlanOptions { exact: false, max_memory: None, ..PlanOptions::default() };
    let mut executor = device::executor("cpu", &graph, &options).expect("the CPU");
    executor.load(&weights).expect("its weights");
    let files = SceneFiles {
        optical: vec![place.path("optical.tif")],
        elevation: Some(place.path("elevation.tif")),
        ..SceneFiles::default()
    };
    let scene = Scene::open(&files, &config.features, None).expect("the scene");
    let grid = scene.grid();
    let read = scene.read(grid.window()).expect("its pixels");
    let tiling = Tiling::new(grid.height, grid.width, config.tile).expect("a scene");
    let mut blend = Blend::new(tiling, 2, 1).expect("two classes");
    let mut skipped = 0;
    for window in tiling.windows() {
        if read.valid_pixels(&tiling, window) == 0 {
            blend.skip(window).expect("a new window");
            skipped += 1;
            continue;
        }
        let mut inputs = Arrays::new();
        for &feature in &config.features {
            let mut tile = vec![0.0; config.tile * config.tile * feature.channels()];
            read.fill_tile(feature, weights.normalisation(), &tiling, window, &mut tile).expect("finite");
            inputs.insert(input_name(feature), tile);
        }
        let outputs = executor.run(&inputs).expect("runs");
        blend.add(window, &outputs[OUTPUT]).expect("a new window");
    }
    assert!(skipped > 0);
    let mut probability = blend.finish().expect("all windows");
    let mut classes = median(&classify(&probability), grid.height, grid.width, smoothing).expect("an odd size");
    for (i, _) in read.valid().iter().enumerate().filter(|(_, valid)| !**valid) {
        (probability[i], classes[i]) = (f32::NAN, NODATA);
    }
    let classes = classes.into_iter().map(|c| if c == NODATA { f32::NAN } else { f32::from(c) }).collect();
    (classes, probability)
}

#[test]
fn streamed_is_whole() {
    let place = workplace(330, 270);
    let (classes, probability) = whole(&place, 5);
    assert!(classes.contains(&0.0) && classes.contains(&1.0));
    for batch in ["1", "4"] {
        mapped(&place, batch, &["--smoothing", "5", "--batch", batch]);
        let at = |name: &str| raster(place.path(batch).join(name)).1;
        assert!(same(&at("outlines.tif"), &classes, 0.0), "classes with batch {batch}");
        assert!(same(&at("probability.tif"), &probability, 1e-6), "probabilities with batch {batch}");
    }
    let report = report(&place, "1");
    assert!(report["tiles_without_data"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(report["resumed_after_rows"], 0);
}

#[test]
fn parts_of_any_width_and_stops_anywhere() {
    let place = workplace(330, 400);
    let weights = Weights::load(place.path("model.safetensors")).expect("the model");
    let config = weights.config();
    let mut executor = device::executor("cpu", &inference_graph(config, 2).expect("a graph"), &PlanOptions::default())
        .expect("the CPU");
    executor.load(&weights).expect("its weights");
    let files = SceneFiles {
        optical: vec![place.path("optical.tif")],
        elevation: Some(place.path("elevation.tif")),
        ..SceneFiles::default()
    };
    let scene = Scene::open(&files, &config.features, None).expect("the scene");
    let extent = Extent::new(scene.grid(), None, None, None).expect("all of it");
    // All rows as bits. A run ends with an error after each number of windows in `stops`, and goes on.
    let mut run = |name: &str, part_bytes: usize, stops: &[usize]| -> Vec<u32> {
        let normalisation = weights.normalisation();
        let network = Network { config, normalisation, batch: 2, location: &[], part_bytes };
        let output = place.path(name);
        for stop in stops {
            let mut spool = Spool::open(&output, (330, 400), "the same", Earlier::Resume).expect("a folder");
            let ended = predict(executor.as_mut(), &network, &scene, &extent, &mut spool, &mut |done| {
                if done >= *stop { Err(glavitu::Error::Interrupted) } else { Ok(()) }
            });
            assert!(matches!(ended, Err(glavitu::Error::Interrupted)) && spool.rows() < 330);
        }
        let mut spool = Spool::open(&output, (330, 400), "the same", Earlier::Resume).expect("a folder");
        assert_eq!(spool.rows() > 0, !stops.is_empty());
        let all = predict(executor.as_mut(), &network, &scene, &extent, &mut spool, &mut |_| Ok(())).expect("runs");
        assert!(all.computed > 0);
        let (probability, valid) = spool.read(0, 330).expect("all rows");
        probability.iter().zip(valid).map(|(p, valid)| p.to_bits() | u32::from(valid) << 31).collect()
    };
    let whole = run("whole", PART_BYTES, &[]);
    // As narrow as one batch, and three batches.
    assert!(run("narrow", 1, &[]) == whole);
    assert!(run("middle", 64 * 8 * 4 * (64 + 5 * 32), &[]) == whole);
    let windows = Tiling::new(330, 400, config.tile).expect("a scene").len();
    assert!(run("stopped", PART_BYTES, &[windows / 3, windows / 2, windows - 1]) == whole);
}

#[test]
fn a_part_is_the_map_cut_out() {
    let place = workplace(200, 210);
    mapped(&place, "whole", &[]);
    // Smaller than a tile too, and at the scene's edges.
    for (row, col, height, width) in [(90, 80, 100, 120), (70, 131, 9, 11), (0, 0, 65, 210), (150, 150, 50, 60)] {
        let folder = format!("window {row} {col}");
        mapped(&place, &folder, &["--window", &format!("{row}, {col},{height},{width}")]);
        let window = Window { row, col, height, width };
        for name in ["outlines.tif", "probability.tif", "confidence.tif"] {
            let file = RasterFile::open(place.path("whole").join(name)).expect("a raster");
            let expected = file.read_window(0, window).expect("its pixels");
            let found = raster(place.path(&folder).join(name));
            assert_eq!(found.0, file.grid().part(window), "{name}");
            assert!(same(&found.1, &expected, 0.0), "{name} of {window:?}");
        }
        assert_eq!(report(&place, &folder)["window"], serde_json::json!([row, col, height, width]));
    }
    assert!(report(&place, "whole")["window"].is_null());
}

/// A polygon in the CRS of the scenes, as a GeoJSON file.
fn polygon(place: &Workplace, corners: &[(f64, f64)]) -> String {
    let ring: Vec<[f64; 2]> = corners.iter().chain(&corners[..1]).map(|&(x, y)| [x, y]).collect();
    let text = serde_json::json!({
        "type": "Polygon",
        "crs": {"type": "name", "properties": {"name": "EPSG:32632"}},
        "coordinates": [ring],
    });
    fs::write(place.path("aoi.geojson"), text.to_string()).expect("written");
    place.at("aoi.geojson")
}

#[test]
fn outside_the_area_of_interest_are_no_data() {
    let place = workplace(200, 210);
    // A triangle from (30, 100) to (150, 100) and (30, 190) in columns and rows.
    let corner = |col: f64, row: f64| (480_000.0 + 30.0 * col, 5_180_000.0 - 30.0 * row);
    let aoi = polygon(&place, &[corner(30.0, 100.0), corner(150.0, 100.0), corner(30.0, 190.0)]);
    mapped(&place, "aoi", &["--aoi", &aoi, "--confidence-bands", "--confidence-threshold", "0.9999"]);
    let (found, classes) = raster(place.path("aoi/outlines.tif"));
    assert_eq!(found, grid(200, 210).part(Window { row: 100, col: 30, height: 90, width: 120 }));
    for (i, class) in classes.iter().enumerate() {
        let (col, row) = ((i % 120) as f64 + 0.5, (i / 120) as f64 + 0.5);
        let inside = row / 90.0 + col / 120.0 < 1.0;
        assert_eq!(class.is_nan(), !inside, "{col} {row}");
    }
    mapped(&place, "whole", &[]);
    let file = RasterFile::open(place.path("whole/outlines.tif")).expect("a raster");
    let whole = file.read_window(0, Window { row: 100, col: 30, height: 90, width: 120 }).expect("its pixels");
    assert!(classes.iter().zip(&whole).all(|(own, of_whole)| own.is_nan() || own == of_whole));
    let report = report(&place, "aoi");
    assert_eq!(report["result"]["valid_pixels"], classes.iter().filter(|c| !c.is_nan()).count());
    let bands = rusqlite::Connection::open(place.path("aoi/confidence_bands.gpkg")).expect("a GeoPackage");
    let count: i64 = bands.query_row("SELECT count(*) FROM outlines", [], |row| row.get(0)).expect("a table");
    assert_eq!(report["result"]["confidence_bands"], count);
    assert!(count > 0);
}

#[test]
fn parts_that_cannot_be() {
    let place = workplace(130, 140);
    refused(&place, &["--window", "0,0,131,140"], &["--window 0,0,131,140", "130 rows and 140 columns"]);
    let far = polygon(&place, &[(0.0, 0.0), (100.0, 0.0), (0.0, 100.0)]);
    refused(&place, &["--aoi", &far], &["aoi.geojson", "no polygon on the scene"]);
    refused(&place, &["--aoi", &place.at("optical.tif")], &["optical.tif", "polygons"]);
    refused(&place, &["--aoi", &place.at("none.geojson")], &["none.geojson"]);
    refused(&place, &["--outlines", "a/b.gpkg"], &["--outlines a/b.gpkg"]);
    refused(&place, &["--outlines", "a.dxf"], &["a.dxf", ".gpkg"]);
    refused(&place, &["--outlines", "a.gpkg", "a.gpkg"], &["a.gpkg for two outputs"]);
    refused(&place, &["--confidence-threshold", "95"], &["--confidence-threshold 95"]);
    refused(&place, &["--min-area=-1"], &["-1"]);
    // The half without data.
    refused(&place, &["--window", "0,0,65,70"], &["no pixel that has data"]);
    let run = glavitu(&arguments(&place, "refused", &["--window", "1,2,3"]));
    assert!(run.code == Some(2) && run.err.contains("ROW,COL,HEIGHT,WIDTH"), "{}", run.err);
}

#[test]
fn probabilities_in_fewer_bits() {
    let place = workplace(130, 140);
    mapped(&place, "float32", &[]);
    let exact = raster(place.path("float32/probability.tif")).1;
    for (kind, step, nodata) in [("uint16", 2e-5, 65_535.0), ("uint8", 4e-3, 255.0)] {
        mapped(&place, kind, &["--probability-type", kind]);
        let file = RasterFile::open(place.path(kind).join("probability.tif")).expect("a raster");
        assert_eq!((file.bands()[0].scale, file.bands()[0].nodata), (step, Some(nodata)));
        let found = raster(place.path(kind).join("probability.tif")).1;
        // Half a step, and the rounding of floats.
        #[expect(clippy::cast_possible_truncation, reason = "a bound")]
        let bound = step as f32 / 2.0 + 1e-7;
        assert!(same(&found, &exact, bound), "{kind}");
        assert!(same(
            &raster(place.path(kind).join("outlines.tif")).1,
            &raster(place.path("float32/outlines.tif")).1,
            0.0
        ));
    }
}

/// Starts a prediction and kills it as soon as rows are saved.
fn kill_in_the_middle(args: &[String], state: &Path) {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let begin = Instant::now();
    while !state.exists() {
        assert!(child.try_wait().expect("a process").is_none(), "it ended before it could be killed");
        assert!(begin.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ends");
}

#[test]
fn killed_and_resumed() {
    let place = workplace(900, 700);
    mapped(&place, "whole", &["--smoothing", "3"]);
    let state = place.path("killed").join(WORK).join("state.json");
    // Two times: a resumed run is killed, too.
    kill_in_the_middle(&arguments(&place, "killed", &["--smoothing", "3"]), &state);
    let names: Vec<_> =
        fs::read_dir(place.path("killed")).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, [WORK]);
    // What it leaves if it is killed while it writes the results.
    let left = place.path("killed/.glavitu-a1b2c3.tif");
    fs::write(&left, "half a raster").expect("written");
    let refused = glavitu(&arguments(&place, "killed", &["--smoothing", "3"]));
    assert_eq!((refused.code, refused.err.lines().count()), (Some(2), 1), "{}", refused.err);
    assert!(refused.err.contains("an interrupted run") && refused.err.contains("--resume"), "{}", refused.err);
    let other = glavitu(&arguments(&place, "killed", &["--exact", "--resume"]));
    assert_eq!((other.code, other.err.lines().count()), (Some(2), 1), "{}", other.err);
    assert!(other.err.contains("other settings"), "{}", other.err);
    assert!(left.exists());
    mapped(&place, "killed", &["--smoothing", "3", "--resume"]);
    assert!(!left.exists());
    let rows = report(&place, "killed")["resumed_after_rows"].as_u64();
    assert!(rows.is_some_and(|rows| rows > 0 && rows < 900), "{rows:?}");
    for name in ["outlines.tif", "probability.tif", "confidence.tif", "quicklook.png"] {
        let read = |folder: &str| fs::read(place.path(folder).join(name)).expect("a file");
        assert!(read("whole") == read("killed"), "{name}");
    }
    // Nothing to go on from is no mistake.
    mapped(&place, "new", &["--smoothing", "3", "--resume"]);
}

/// A limit on the size of files stands in for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let place = workplace(600, 300);
    mapped(&place, "whole", &[]);
    let quoted = |arg: &String| format!("'{arg}'");
    let args: Vec<String> = arguments(&place, "full", &[]).iter().map(quoted).collect();
    let program = assert_cmd::cargo::cargo_bin!("glavitu").display().to_string();
    // 300 KiB in dash and 600 in bash, of 703 KiB; the signal would end the program.
    let script = format!("trap '' XFSZ; ulimit -f 600; exec '{program}' {}", args.join(" "));
    let output = Command::new("sh").args(["-c", &script]).output().expect("runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{err}");
    assert!(err.contains("cannot write") && err.contains("--resume"), "{err}");
    assert!(!place.path("full/outlines.tif").exists());
    mapped(&place, "full", &["--resume"]);
    assert!(report(&place, "full")["resumed_after_rows"].as_u64().is_some_and(|rows| rows > 0));
    let read = |folder: &str| fs::read(place.path(folder).join("outlines.tif")).expect("a file");
    assert!(read("whole") == read("full"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever the size, the stride and the gaps: where every tile says 1, every valid pixel gets 1, so its weights are above 0.
    #[test]
    fn every_valid_pixel_has_a_weight(
        height in 1usize..120,
        width in 1usize..120,
        half in 1usize..24,
        (top, left, high, wide) in (0usize..120, 0usize..120, 1usize..120, 1usize..120),
    ) {
        let is_valid = |row: usize, col: usize| (top..top + high).contains(&row) && (left..left + wide).contains(&col);
        let tiling = Tiling::new(height, width, 2 * half).expect("a scene");
        let mut blend = Blend::new(tiling, 2, 1).expect("two classes");
        let tile = vec![1.0; 8 * half * half];
        for window in tiling.windows() {
            let shared = tiling.overlap(window).expect("on the scene");
            let has_valid = (0..shared.height)
                .any(|r| (0..shared.width).any(|c| is_valid(shared.scene_row + r, shared.scene_col + c)));
            if has_valid { blend.add(window, &tile) } else { blend.skip(window) }.expect("a new window");
        }
        let found = blend.finish().expect("all windows");
        for (i, p) in found.iter().enumerate() {
            prop_assert!((*p - 1.0).abs() < 1e-6 || *p == 0.0 && !is_valid(i / width, i % width), "{} at {}", p, i);
        }
    }
}

/// Files of one band each with data in some patches only, written without ever being whole in memory.
fn sparse_scene(place: &Workplace, side: usize) -> Vec<String> {
    let grid = grid(side, side);
    let metadata = Metadata::default();
    let settings = CogSettings { nodata: f32::NAN, overview: Overview::Average, scale: None, metadata: &metadata };
    let mut paths = Vec::new();
    for name in ["B2", "B3", "B4", "B5", "B6", "B7", "elevation"] {
        let path = place.path(&format!("{name}.tif"));
        let mut writer = CogWriter::create(path.parent().expect("a folder"), &grid, &settings).expect("a grid");
        let mut row = vec![f32::NAN; side];
        for at in 0..side {
            row.fill(f32::NAN);
            for part in [side / 20, side / 2, side - side / 10] {
                if (part..part + 100).contains(&at) {
                    row[part..part + 100].iter_mut().enumerate().for_each(|(i, v)| *v = ((at * i) as f32).sin().abs());
                }
            }
            writer.add_rows(&row).expect("a row");
        }
        writer.finish(&path).expect("written");
        paths.push(path.display().to_string());
    }
    paths
}

/// The highest resident memory of a run in MiB.
#[cfg(target_os = "linux")]
fn peak_mib(args: &[String]) -> u64 {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0);
        peak = peak.max(kib / 1024);
        if let Some(ended) = child.try_wait().expect("a process") {
            assert!(ended.success());
            return peak;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_scene() {
    if std::env::var_os("GLAVITU_FULL").is_none() {
        println!("only in `make full`: 400 million pixels take some minutes");
        return;
    }
    let place = Workplace::new();
    // The published size, with weights as before training.
    let config = ModelConfig::default();
    assert_eq!(config.features, [Feature::Optical, Feature::Dem]);
    let weights = initial_weights(&config, Normalisation::default(), 1).expect("weights");
    weights.save(place.path("model.safetensors")).expect("written");
    // Memory grows with the width. For several members a part of it is enough.
    let members = ["--mc-dropout", "2", "--window", "0,0,2000,20000"];
    for (side, more) in [(2_000, &[][..]), (20_000, &[]), (20_000, &members)] {
        let paths = sparse_scene(&place, side);
        let mut args = ["predict", "--device", "cpu", "--smoothing", "5", "--model"].map(str::to_owned).to_vec();
        args.extend([
            place.at("model.safetensors"),
            "-o".into(),
            place.at(&format!("result{side}")),
            "--optical".into(),
        ]);
        args.extend_from_slice(&paths[..6]);
        args.extend(["--elevation".to_owned(), paths[6].clone()]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        let start = Instant::now();
        let peak = peak_mib(&args);
        println!(
            "{side} x {side} pixels {more:?}: at most {peak} MiB resident, {:.0} s",
            start.elapsed().as_secs_f64()
        );
        assert!(peak <= 1536, "{peak} MiB");
    }
}
