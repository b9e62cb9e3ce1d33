//! `glavitu prepare` as a user runs it, and training on what it makes.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use glavitu::dataset::tile_file::{TileArray, TileFile, TileInfo, TileWindow};
use glavitu::infer::normalise::normalise;
use glavitu::model::{Feature, Normalisation};
use glavitu::raster::{Crs, Grid, RasterFile, write_bands, write_floats};
use program::{Run, Workplace, glavitu, shared};
use serde_json::{Value, json};

const WIDTH: usize = 100;
const HEIGHT: usize = 70;
const BANDS: [&str; 6] = ["blue", "green", "red", "NIR", "SWIR1", "SWIR2"];
/// Rows and columns on glaciers, to be ignored, and without elevation: first and end.
const GLACIER: [[usize; 2]; 2] = [[10, 50], [20, 80]];
const IGNORED: [[usize; 2]; 2] = [[0, 20], [60, 90]];
const GAP: [[usize; 2]; 2] = [[45, 60], [0, 30]];

fn inside([rows, cols]: [[usize; 2]; 2], row: usize, col: usize) -> bool {
    (rows[0]..rows[1]).contains(&row) && (cols[0]..cols[1]).contains(&col)
}

/// What must be at a pixel: (other, glacier).
fn expected(row: usize, col: usize, has_ignored: bool) -> [f32; 2] {
    if inside(GAP, row, col) || has_ignored && inside(IGNORED, row, col) {
        [0.0, 0.0]
    } else if inside(GLACIER, row, col) {
        [0.0, 1.0]
    } else {
        [1.0, 0.0]
    }
}

/// 30 m pixels at Aletsch.
fn grid() -> Grid {
    Grid {
        width: WIDTH,
        height: HEIGHT,
        transform: [30.0, 0.0, 425_000.0, 0.0, -30.0, 5_145_000.0],
        crs: Crs::from_epsg(32632).ok(),
    }
}

fn reflectance(band: usize, row: usize, col: usize) -> f32 {
    0.05 * (band + 1) as f32 + 0.004 * row as f32 + if inside(GLACIER, row, col) { 0.2 } else { 0.001 * col as f32 }
}

/// A scene, an inventory and what is to be ignored, with edges between the pixels.
fn workplace() -> Workplace {
    let place = Workplace::new();
    let pixels = || (0..HEIGHT).flat_map(|row| (0..WIDTH).map(move |col| (row, col)));
    let bands: Vec<Vec<f32>> =
        (0..6).map(|band| pixels().map(|(row, col)| reflectance(band, row, col)).collect()).collect();
    let named: Vec<(&str, &[f32])> = BANDS.into_iter().zip(bands.iter().map(Vec::as_slice)).collect();
    write_bands(place.path("optical.tif"), &grid(), &named, &[]).expect("written");
    let elevation: Vec<f32> = pixels()
        .map(|(row, col)| if inside(GAP, row, col) { f32::NAN } else { 2000.0 + 7.0 * row as f32 + 3.0 * col as f32 })
        .collect();
    write_floats(place.path("dem.tif"), &grid(), &elevation, &glavitu::raster::Metadata::default()).expect("written");
    write_rectangles(&place, "inventory.geojson", &[(GLACIER, "A", 2)]);
    write_rectangles(&place, "ignored.geojson", &[(IGNORED, "C", 0)]);
    place
}

fn write_rectangles(place: &Workplace, name: &str, rectangles: &[([[usize; 2]; 2], &str, i64)]) {
    let features: Vec<Value> = rectangles
        .iter()
        .map(|([rows, cols], area, code)| {
            let corner = |row: usize, col: usize| {
                let (x, y) = grid().position(col as f64, row as f64);
                json!([x, y])
            };
            let ring = json!([
                corner(rows[0], cols[0]),
                corner(rows[1], cols[0]),
                corner(rows[1], cols[1]),
                corner(rows[0], cols[1]),
                corner(rows[0], cols[0])
            ]);
            json!({"type": "Feature", "properties": {"area": area, "code": code},
                   "geometry": {"type": "Polygon", "coordinates": [ring]}})
        })
        .collect();
    let crs = json!({"type": "name", "properties": {"name": "EPSG:32632"}});
    let text = json!({"type": "FeatureCollection", "crs": crs, "features": features}).to_string();
    fs::write(place.path(name), text).expect("written");
}

fn args(place: &Workplace, out: &str, more: &str) -> Vec<String> {
    let mut args: Vec<String> = vec!["prepare".into()];
    if !more.contains("--manifest") {
        args.extend(["--optical".into(), place.at("optical.tif"), "--elevation".into(), place.at("dem.tif")]);
    }
    if !more.contains("--inventory") {
        args.extend(["--inventory".into(), place.at("inventory.geojson")]);
    }
    args.extend(more.split_whitespace().map(|part| part.replace("HERE/", &place.at(""))));
    args.extend(["-o".into(), place.at(out)]);
    args
}

fn run(place: &Workplace, out: &str, more: &str) -> Run {
    glavitu(&args(place, out, more))
}

/// A run that must work; gives its report.
fn prepared(place: &Workplace, out: &str, more: &str) -> Value {
    let run = run(place, out, &format!("{more} --json"));
    assert_eq!(run.code, Some(0), "{more}: {}", run.err);
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    let written: Value =
        serde_json::from_slice(&fs::read(place.path(out).join("prepare.json")).expect("a report")).expect("JSON");
    assert_eq!(report, written);
    report
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("small")
}

/// Tiles by name: their part, window in the scene and block.
fn tiles(report: &Value) -> BTreeMap<String, (String, [usize; 4], Value)> {
    let tiles = report["tiles"].as_array().expect("tiles").iter();
    tiles
        .map(|tile| {
            let text = |key: &str| tile[key].as_str().expect("a text").to_owned();
            let window = [0, 1, 2, 3].map(|i| number(&tile["window"][i]));
            (text("name"), (text("part"), window, tile["block"].clone()))
        })
        .collect()
}

/// Every tile of the files of a run that exist.
fn open(place: &Workplace, out: &str, extension: &str) -> BTreeMap<String, (TileFile, Vec<TileInfo>)> {
    ["train", "validation", "test"]
        .into_iter()
        .filter(|part| place.path(out).join(format!("{part}{extension}")).exists())
        .map(|part| {
            let file = TileFile::open(place.path(out).join(format!("{part}{extension}"))).expect("a tile file");
            let infos = file.tiles().to_vec();
            (part.to_owned(), (file, infos))
        })
        .collect()
}

/// Holds every pixel of every tile against the scene; gives how often each pixel of the scene was met.
fn check(place: &Workplace, out: &str, report: &Value, side: usize, has_ignored: bool) -> Vec<u32> {
    let listed = tiles(report);
    let mut met = vec![0; WIDTH * HEIGHT];
    let mut names = BTreeSet::new();
    for (part, (file, infos)) in open(place, out, ".hdf5") {
        for (number, info) in infos.iter().enumerate() {
            assert!(names.insert(info.name.clone()), "{} twice", info.name);
            let (listed_part, [top, left, height, width], _) = &listed[&info.name];
            assert_eq!((listed_part, info.original), (&part, (*height, *width)));
            assert_eq!((info.height, info.width), (side, side));
            assert_eq!(info.padding, ((side - height) / 2, (side - width) / 2));
            let whole = TileWindow { row: 0, col: 0, height: side, width: side };
            let read = |array| file.read_window(number, array, whole).expect("values");
            let labels = read(TileArray::Outlines);
            let optical = read(TileArray::Feature(Feature::Optical));
            let dem = read(TileArray::Feature(Feature::Dem));
            for (i, label) in labels.chunks_exact(2).enumerate() {
                let (row, col) = (i / side, i % side);
                let own = (info.padding.0..info.padding.0 + height).contains(&row)
                    && (info.padding.1..info.padding.1 + width).contains(&col);
                if !own {
                    assert!(
                        label == [0.0; 2] && optical[i * 6..i * 6 + 6] == [0.0; 6] && dem[i * 2..i * 2 + 2] == [0.0; 2]
                    );
                    continue;
                }
                let (row, col) = (row - info.padding.0 + top, col - info.padding.1 + left);
                met[row * WIDTH + col] += 1;
                assert_eq!(label, expected(row, col, has_ignored), "{} at {row}, {col}", info.name);
                let mut bands: Vec<f32> = (0..6).map(|band| reflectance(band, row, col)).collect();
                normalise(Feature::Optical, &Normalisation::default(), &mut bands).expect("finite");
                assert_eq!(optical[i * 6..i * 6 + 6], bands);
                assert!(dem[i * 2..i * 2 + 2].iter().all(|value| value.is_finite() && (0.0..1.0).contains(value)));
            }
        }
    }
    assert_eq!(names.len(), listed.len());
    met
}

#[test]
fn every_pixel_in_one_tile() {
    let place = workplace();
    let more = "--tile-size 32 --ignore HERE/ignored.geojson --split 0.5,0.3,0.2";
    let report = prepared(&place, "tiles", more);
    // 3 rows of tiles and 4 columns, all with some labels.
    assert_eq!(report["tiles"].as_array().map(Vec::len), Some(12));
    let met = check(&place, "tiles", &report, 32, true);
    assert!(met.iter().all(|times| *times == 1));
    // The balance is that of the scene, whatever goes where.
    let mut sums = [0; 3];
    for part in ["train", "validation", "test"] {
        let file = &report["files"][part];
        for (sum, label) in sums.iter_mut().zip(["glacier", "other", "unlabelled"]) {
            *sum += number(&file["pixels"][label]);
            assert_eq!(file["pixels"][label], file["regions"]["ALP"]["pixels"][label]);
        }
    }
    let count = |label: [f32; 2]| (0..WIDTH * HEIGHT).filter(|i| expected(i / WIDTH, i % WIDTH, true) == label).count();
    assert_eq!(sums, [count([0.0, 1.0]), count([1.0, 0.0]), count([0.0, 0.0])]);
    assert!((5..=6).contains(&number(&report["files"]["train"]["tiles"])), "{}", report["files"]["train"]);

    let files = open(&place, "tiles", ".hdf5");
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), ["test", "train", "validation"]);
    let crs = grid().crs.expect("UTM");
    for info in files.values().flat_map(|(_, infos)| infos) {
        assert_eq!((info.region.as_str(), info.subregion.as_str()), ("ALP", "RGI11"));
        assert!(info.name.starts_with("RGI11-"), "{}", info.name);
        // The middle of the box is the middle of the tile's own pixels.
        let (_, [row, col, height, width], _) = tiles(&report)[&info.name].clone();
        let (x, y) = grid().position(col as f64 + width as f64 / 2.0, row as f64 + height as f64 / 2.0);
        let (longitude, latitude) = crs.longitude_latitude(x, y).expect("on the map");
        let middle = |padding: usize, own: usize| padding as f64 + own as f64 / 2.0;
        let found = info
            .latitude_longitude(middle(info.padding.0, info.original.0), middle(info.padding.1, info.original.1))
            .expect("a place");
        assert!((found.0 - latitude).abs() < 2e-5 && (found.1 - longitude).abs() < 2e-5, "{found:?}");
    }
    let picture = image::open(place.path("tiles/contact_sheet.png")).expect("a picture");
    assert!(picture.width() > 1000 && picture.height() > 100);

    // The same command, the same bytes.
    prepared(&place, "again", more);
    for part in ["train", "validation", "test"] {
        let bytes = |out: &str| fs::read(place.path(out).join(format!("{part}.hdf5"))).expect("a file");
        assert!(bytes("tiles") == bytes("again"), "{part}");
    }
    // A table for people; fewer files leave none of an earlier run.
    let table = run(&place, "tiles", "--tile-size 32 --split 1,0,0 --compress");
    assert_eq!(table.code, Some(0), "{}", table.err);
    assert!(
        table.out.contains("train") && table.out.contains("glacier") && table.out.contains("12 tiles of 1 scene;"),
        "{}",
        table.out
    );
    assert_eq!(open(&place, "tiles", ".hdf5").into_keys().collect::<Vec<_>>(), ["train"]);
    let left: BTreeSet<String> = fs::read_dir(place.path("tiles"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    assert_eq!(left, ["contact_sheet.png", "prepare.json", "train.hdf5"].map(str::to_owned).into());
}

#[test]
fn overlap_and_padding() {
    let place = workplace();
    let report = prepared(&place, "tiles", "--tile-size 48 --padding 5 --overlap 8 --split-blocks 100 --split 1,0,0");
    let met = check(&place, "tiles", &report, 48, false);
    assert!(met.iter().all(|times| (1..=4).contains(times)) && met.contains(&2) && met.contains(&4));
    for (_, [row, col, height, width], _) in tiles(&report).values() {
        assert!(*height <= 38 && *width <= 38);
        // Neighbours begin where 8 pixels are left.
        let next = |start: usize, length: usize, end: usize, axis: usize| {
            start + length == end || tiles(&report).values().any(|(_, window, _)| window[axis] == start + length - 8)
        };
        assert!(next(*row, *height, HEIGHT, 0) && next(*col, *width, WIDTH, 1));
    }
    // A scene smaller than a tile.
    let report = prepared(&place, "one", "--tile-size 128 --split 1,0,0");
    assert_eq!(report["tiles"][0]["window"], json!([0, 0, HEIGHT, WIDTH]));
    assert!(check(&place, "one", &report, 128, false).iter().all(|times| *times == 1));
}

#[test]
fn blocks_go_to_one_file() {
    let place = workplace();
    // Blocks of 0.8 km: about 27 pixels, some three tiles each way.
    let report = prepared(&place, "tiles", "--tile-size 10 --split-blocks 0.8 --split 0.5,0.25,0.25");
    let listed = tiles(&report);
    // 7 x 10 tiles, three of them without elevation.
    assert_eq!((listed.len(), &report["scenes"][0]["without_labels"]), (67, &json!(3)));
    let mut parts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (part, _, block) in listed.values() {
        parts.entry(block.to_string()).or_default().insert(part);
    }
    assert!(parts.len() >= 9 && parts.values().all(|parts| parts.len() == 1), "{parts:?}");
    let counted = ["train", "validation", "test"].map(|part| number(&report["files"][part]["tiles"]));
    assert_eq!(counted.iter().sum::<usize>(), 67);
    assert!(counted[0] > counted[1] && counted[1] > 0 && counted[2] > 0, "{counted:?}");
    let other = prepared(&place, "other", "--tile-size 10 --split-blocks 0.8 --split 0.5,0.25,0.25 --seed 2");
    assert_ne!(tiles(&other), listed);
}

#[test]
fn regions() {
    let place = workplace();
    let of = |report: &Value| -> BTreeSet<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let tiles = report["tiles"].as_array().expect("tiles").iter();
        tiles.map(|tile| (text(&tile["region"]), text(&tile["subregion"]))).collect()
    };
    let named = |pairs: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let report = prepared(&place, "a", "--tile-size 50 --region HMA --subregion Karakoram/3");
    assert_eq!(of(&report), named(&[("HMA", "Karakoram/3")]));
    assert!(tiles(&report).contains_key("Karakoram_3-0-1"), "{report}");
    assert_eq!(of(&prepared(&place, "b", "--tile-size 50 --region NZ")), named(&[("NZ", "NZ")]));
    // Codes of the RGI are names of the published models.
    assert_eq!(of(&prepared(&place, "c", "--tile-size 50 --region-attribute code")), named(&[("AWA", "2")]));
    write_rectangles(&place, "layer.geojson", &[([[0, 70], [0, 50]], "West", 8), ([[0, 70], [50, 100]], "East", 18)]);
    let more = "--tile-size 50 --region-layer HERE/layer.geojson --region-attribute code --subregion-attribute AREA";
    assert_eq!(of(&prepared(&place, "d", more)), named(&[("SC", "West"), ("NZ", "East")]));
    let run = run(&place, "e", "--tile-size 50 --region-attribute colour");
    assert_eq!((run.code, run.err.lines().count()), (Some(2), 1));
    assert!(run.err.contains("no column colour") && run.err.contains("area, code"), "{}", run.err);
}

#[test]
fn many_scenes_and_little_ice() {
    let place = workplace();
    fs::write(
        place.path("scenes.csv"),
        "id,optical,elevation,region\nfirst,optical.tif,dem.tif,\nsecond,optical.tif,,CA\n",
    )
    .expect("written");
    let more = "--manifest HERE/scenes.csv --tile-size 32 --min-glacier 0.2 --split 0.6,0.2,0.2";
    let report = prepared(&place, "tiles", more);
    let scenes = report["scenes"].as_array().expect("scenes");
    assert_eq!(scenes.len(), 2);
    assert_eq!((&scenes[0]["features"], &scenes[1]["features"]), (&json!(["optical", "dem"]), &json!(["optical"])));
    let left_out = number(&scenes[0]["with_little_glacier"]);
    assert!(left_out > 0 && number(&scenes[0]["tiles"]) + left_out == 12, "{}", scenes[0]);
    let names: BTreeSet<String> = tiles(&report).into_keys().collect();
    assert_eq!(names.len(), report["tiles"].as_array().map_or(0, Vec::len));
    // Rows count on: the second scene begins with row 3.
    let rows = |region: &str| {
        let own = names.iter().filter(|name| name.starts_with(region));
        own.map(|name| name.split('-').nth(1).and_then(|row| row.parse::<usize>().ok()).expect("a row"))
            .collect::<BTreeSet<_>>()
    };
    assert!(rows("RGI11").iter().all(|row| *row < 3) && rows("CA").iter().all(|row| (3..6).contains(row)), "{names:?}");
    let regions: BTreeSet<&String> = report["files"]
        .as_object()
        .expect("files")
        .values()
        .flat_map(|file| file["regions"].as_object().expect("regions").keys())
        .collect();
    assert_eq!(regions.into_iter().collect::<Vec<_>>(), ["ALP", "CA"]);

    // One that cannot be read stops all, and leaves nothing.
    let bytes = fs::read(place.path("dem.tif")).expect("the DEM");
    fs::write(place.path("broken.tif"), &bytes[..bytes.len() / 2]).expect("written");
    fs::write(
        place.path("scenes.csv"),
        "id,optical,elevation\nfirst,optical.tif,dem.tif\nsecond,optical.tif,broken.tif\n",
    )
    .expect("written");
    let run = run(&place, "none", more);
    assert!(run.code == Some(2) && run.err.contains("broken.tif") && !place.path("none").exists(), "{}", run.err);
}

#[test]
fn geotiff_tiles_are_the_same_and_both_are_trained_on() {
    let place = workplace();
    let more = "--tile-size 40 --padding 2 --ignore HERE/ignored.geojson --split 0.7,0.3,0";
    let report = prepared(&place, "hdf5", more);
    prepared(&place, "geotiff", &format!("{more} --format geotiff"));
    let (files, folders) = (open(&place, "hdf5", ".hdf5"), open(&place, "geotiff", ""));
    assert_eq!(folders.keys().collect::<Vec<_>>(), ["train", "validation"]);
    for (part, (file, infos)) in &files {
        let (folder, of_folder) = &folders[part];
        assert_eq!(infos, of_folder);
        for (number, info) in infos.iter().enumerate() {
            // All, a part with padding, a part in the padding alone, a single pixel.
            for (row, col, height, width) in [(0, 0, 40, 40), (1, 20, 17, 20), (0, 0, 2, 2), (20, 21, 1, 1)] {
                let window = TileWindow { row, col, height, width };
                for array in
                    [TileArray::Outlines, TileArray::Feature(Feature::Optical), TileArray::Feature(Feature::Dem)]
                {
                    let read = |file: &TileFile| file.read_window(number, array, window).expect("values");
                    assert!(read(file) == read(folder), "{} {} {window:?}", info.name, array.name());
                }
            }
        }
    }
    // Physical values on the scene's pixels.
    let (name, (part, [row, col, height, width], _)) = tiles(&report).into_iter().next().expect("a tile");
    let raster = RasterFile::open(place.path(&format!("geotiff/{part}/{name}/optical.tif"))).expect("a raster");
    assert_eq!(
        (raster.grid().width, raster.grid().height, raster.grid().crs.as_ref().and_then(|crs| crs.epsg)),
        (width, height, Some(32632))
    );
    let (x, y) = grid().position(col as f64, row as f64);
    assert_eq!((raster.grid().transform[2], raster.grid().transform[5]), (x, y));
    assert_eq!(raster.bands()[4].description.as_deref(), Some("SWIR1"));
    assert_eq!(raster.read_window(4, raster.grid().window()).expect("values")[0], reflectance(4, row, col));

    let train = |train: &str, validation: &str, out: &str| {
        let fixed = "--model-size tiny --batch 2 --epochs 1 --steps-per-epoch 3 --device cpu";
        let mut args: Vec<String> =
            ["train", "--train", &place.at(train), "--validation", &place.at(validation)].map(str::to_owned).to_vec();
        args.extend(fixed.split_whitespace().map(str::to_owned));
        args.extend(["-o".to_owned(), place.at(out)]);
        let run = glavitu(&args);
        assert_eq!(run.code, Some(0), "{}", run.err);
        fs::read(place.path(out).join("last.safetensors")).expect("a model")
    };
    let of_files = train("hdf5/train.hdf5", "hdf5/validation.hdf5", "run");
    assert!(of_files == train("geotiff/train", "geotiff/validation", "run2"));
    let evaluate = |dataset: &str| {
        let model = place.at("run/last.safetensors");
        let args = ["evaluate", "--model", &model, "--dataset", &place.at(dataset), "--device", "cpu", "--json"];
        let run = glavitu(&args.map(str::to_owned));
        assert_eq!(run.code, Some(0), "{}", run.err);
        let mut found: Value = serde_json::from_str(&run.out).expect("JSON");
        found["dataset"].take();
        found
    };
    assert_eq!(evaluate("hdf5/validation.hdf5"), evaluate("geotiff/validation"));

    // Tiles there already are not touched.
    let run = run(&place, "geotiff", &format!("{more} --format geotiff"));
    assert!(run.code == Some(2) && run.err.contains("no tiles yet"), "{}", run.err);
}

#[test]
fn other_statistics() {
    let place = workplace();
    let mut statistics = Normalisation::default();
    (statistics.elevation.min[0], statistics.elevation.max[0]) = (0.0, 10_000.0);
    fs::write(place.path("own.json"), serde_json::to_string(&statistics).expect("JSON")).expect("written");
    prepared(&place, "own", "--tile-size 128 --split 1,0,0 --statistics HERE/own.json");
    let file = TileFile::open(place.path("own/train.hdf5")).expect("a file");
    let window = TileWindow { row: 29, col: 14, height: 1, width: 1 };
    let found = file.read_window(0, TileArray::Feature(Feature::Dem), window).expect("values");
    assert!((found[0] - 0.2).abs() < 1e-6, "{found:?}");
    fs::write(place.path("own.json"), "{}").expect("written");
    let run = run(&place, "none", "--statistics HERE/own.json");
    assert!(run.code == Some(2) && run.err.contains("own.json") && !place.path("none").exists(), "{}", run.err);
}

#[test]
fn bad_input() {
    let place = workplace();
    write_rectangles(&place, "far.geojson", &[([[500, 600], [500, 600]], "far", 1)]);
    let bare = Grid { crs: None, ..grid() };
    write_floats(place.path("bare.tif"), &bare, &vec![1.0; WIDTH * HEIGHT], &glavitu::raster::Metadata::default())
        .expect("written");
    fs::write(place.path("text.txt"), "no polygons").expect("written");
    for (more, part) in [
        ("--inventory HERE/far.geojson", "no polygon that covers the centre of a pixel of the scene"),
        ("--inventory HERE/missing.shp", "missing.shp"),
        ("--inventory HERE/text.txt", "none of the formats"),
        ("--inventory HERE/optical.tif", "none of the formats"),
        ("--ignore HERE/text.txt", "none of the formats"),
        ("--tile-size 0", "--tile-size 0"),
        ("--tile-size 100000", "--tile-size 100000"),
        ("--tile-size 32 --padding 16", "--padding 16"),
        ("--tile-size 32 --overlap 32", "--overlap 32"),
        ("--split-blocks -5", "--split-blocks -5"),
        ("--split-blocks 0", "--split-blocks 0"),
        ("--min-glacier 1.5", "--min-glacier 1.5"),
        ("--min-glacier 0.99", "no tile to write"),
        ("--thermal HERE/bare.tif", "no coordinate reference system"),
        ("--compress --format geotiff", "--compress"),
        ("--statistics HERE/inventory.geojson", "inventory.geojson"),
        ("--manifest HERE/text.txt", "no polygons"),
        ("--region ", "--region"),
    ] {
        let run = run(&place, "none", more);
        assert_eq!(run.code, Some(2), "{more}: {}", run.err);
        assert!(run.err.contains(part), "{more}: {}", run.err);
        let errors = run.err.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "{more}: {}", run.err);
        assert!(!place.path("none").exists(), "{more}");
    }
    for (split, part) in [("0.7,0.2,0.2", "a sum of 1.1"), ("0.5,0.5", "three shares"), ("1.2,-0.2,0", "not 0 to 1")] {
        let run = run(&place, "none", &format!("--split {split}"));
        assert!(run.code == Some(2) && run.err.contains(part), "{split}: {}", run.err);
    }
    // An output never replaces an input.
    fs::create_dir(place.path("here")).expect("made");
    fs::copy(place.path("inventory.geojson"), place.path("here/prepare.json")).expect("copied");
    let run = run(&place, "here", "--inventory HERE/here/prepare.json");
    assert!(run.code == Some(2) && run.err.contains("a file that is read"), "{}", run.err);
}

#[test]
fn a_real_scene() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/athabasca");
    let place = Workplace::new();
    let file = |name: &str| folder.join(name).display().to_string();
    let mut args: Vec<String> = vec!["prepare".into(), "--optical".into()];
    args.extend((2..8).map(|band| file(&format!("athabasca_2020229_B0{band}_L30.tif"))));
    args.extend(["--elevation".into(), file("athabasca_dem.tif")]);
    args.extend(["--assume-crs", "EPSG:32611", "--tile-size", "64", "--json", "--inventory"].map(str::to_owned));
    args.extend([file("athabasca_aoi_rgi7_4glaciers.geojson"), "-o".into(), place.at("tiles")]);
    let run = glavitu(&args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(report["tiles"].as_array().map(Vec::len), Some(16));
    let mut pixels = 0;
    let mut glacier = 0;
    for file in report["files"].as_object().expect("files").values() {
        assert_eq!(
            file["regions"].as_object().map(|regions| regions.keys().collect::<Vec<_>>()),
            Some(vec![&"AWA".to_owned()])
        );
        for label in ["glacier", "other", "unlabelled"] {
            pixels += number(&file["pixels"][label]);
        }
        glacier += number(&file["pixels"]["glacier"]);
    }
    assert_eq!(pixels, 215 * 205);
    // 25.6 square kilometres of 900 square metres each.
    assert!((27_500..=29_000).contains(&glacier), "{glacier}");
}

#[test]
fn tiles_tell_when_and_by_what_they_were_taken() {
    let place = workplace();
    for (folder, format) in [("hdf5", "hdf5"), ("geotiff", "geotiff")] {
        let more = "--tile-size 128 --split 1,0,0 --date 2016-08-03 --sensor Sentinel-2";
        prepared(&place, folder, &format!("{more} --format {format}"));
        let file = if format == "hdf5" { format!("{folder}/train.hdf5") } else { format!("{folder}/train") };
        let tiles = TileFile::open(place.path(&file)).expect("tiles");
        let tile = &tiles.tiles()[0];
        assert_eq!(
            (tile.attribute("date"), tile.attribute("sensor")),
            (Some("2016-08-03"), Some("Sentinel-2")),
            "{format}"
        );
        assert_eq!(tile.attributes.len(), 2);
    }
    let run = run(&place, "none", "--date 3.8.2016");
    assert!(run.code == Some(2) && run.err.contains("YYYY-MM-DD") && !place.path("none").exists(), "{}", run.err);
}
