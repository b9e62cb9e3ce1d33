//! `glavitu predict` as a user runs it, on generated scenes with a small network of random weights.

mod program;

use std::fs;
use std::path::Path;

use glavitu::raster::shapes::Features;
use glavitu::raster::{Crs, GeoKeys, Grid, Metadata, RasterFile, check_same_grid, write_floats};
use program::{
    FILES, Workplace, data, glavitu, json, names, optical, predict, raster, refused, refused_as, write_optical,
};

const SIDE: usize = 96;
/// The three rasters bit for bit, NaN being NaN.
fn same_rasters(place: &Workplace, a: &str, b: &str) {
    for name in ["outlines.tif", "probability.tif", "confidence.tif"] {
        let (first, second) = (raster(place.at(a) + "/" + name), raster(place.at(b) + "/" + name));
        check_same_grid((Path::new(a), &first.0), (Path::new(b), &second.0)).expect("one grid");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&first.1) == bits(&second.1), "{name} of {a} and {b}");
    }
}

#[test]
fn six_files_on_one_grid() {
    let place = Workplace::of_scene(SIDE);
    let run = predict(&place, "result", &[]);
    assert_eq!(names(&place.path("result")), FILES);
    // Piped, there is no bar and no colour. The scene is larger than a tile, so there is nothing to say.
    assert_eq!(run.err, "");
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    assert!(run.out.contains(" outlines, ") && run.out.contains(" km2 of glacier, in "), "{}", run.out);

    let input = RasterFile::open(place.at("scene/optical.tif")).expect("a raster").grid().clone();
    let open = |name: &str| RasterFile::open(place.path("result").join(name)).expect("a raster");
    assert_eq!(open("outlines.tif").bands()[0].nodata, Some(255.0));
    assert!(open("probability.tif").bands()[0].nodata.is_some_and(f64::is_nan));
    assert!(open("confidence.tif").bands()[0].nodata.is_some_and(f64::is_nan));
    let values = |name: &str| {
        let (grid, values) = raster(place.path("result").join(name));
        assert_eq!(grid, input, "{name}");
        values
    };
    let (classes, probability, confidence) =
        (values("outlines.tif"), values("probability.tif"), values("confidence.tif"));
    assert!(probability.iter().chain(&confidence).all(|v| (0.0..=1.0).contains(v)));
    assert!(classes.iter().zip(&probability).all(|(c, p)| *c == f32::from(u8::from(*p > 0.5))));

    let report = json(&fs::read_to_string(place.path("result/run.json")).expect("run.json"));
    let info = json(&glavitu(&["info".into(), "--json".into(), place.at("global.safetensors")]).out);
    assert_eq!(report["model"]["parameters_sha256"], info["parameters_sha256"]);
    assert_eq!(report["model"]["features"], serde_json::json!(["optical", "dem"]));
    assert!(report["device"].as_str().is_some_and(|d| !d.is_empty()));
    assert_eq!(report["precision"], "float32");
    assert_eq!(report["settings"]["smoothing"], 1);
    assert_eq!(report["grid"]["epsg"], 32632);
    assert_eq!(report["tiles"], 9);
    assert!(report["seconds"]["total"].as_f64().is_some_and(|s| s > 0.0));
    assert!(report["slope"].as_str().is_some_and(|s| s.contains("derived")));
    let result = &report["result"];
    let glacier = classes.iter().filter(|c| **c == 1.0).count();
    assert_eq!(
        (result["valid_pixels"].as_u64(), result["glacier_pixels"].as_u64()),
        (Some(9216), Some(glacier as u64))
    );
    // 900 m2 a pixel, and the scale of the projection.
    let area = result["glacier_area_km2"].as_f64().expect("a number");
    assert!((area / (glacier as f64 * 9e-4) - 1.0).abs() < 2e-3, "{area}");

    let outlines = rusqlite::Connection::open(place.path("result/outlines.gpkg")).expect("a GeoPackage");
    let (rows, sum): (i64, f64) = outlines
        .query_row("SELECT count(*), sum(area_km2) FROM outlines", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a table outlines");
    assert_eq!(result["outlines"].as_i64(), Some(rows));
    assert!(rows > 0 && (sum - area).abs() < 1e-9);
    let picture = image::open(place.path("result/quicklook.png")).expect("a PNG");
    assert!(picture.width() >= 512 && picture.height() >= 512);
}

#[test]
fn json_is_run_json() {
    let place = Workplace::of_scene(SIDE);
    let run = predict(&place, "result", &["--json"]);
    assert_eq!(run.out, fs::read_to_string(place.path("result/run.json")).expect("run.json"));
}

#[test]
fn band_files_and_batches_give_the_same() {
    let place = Workplace::of_scene(SIDE);
    predict(&place, "one", &[]);
    let (grid, bands) = optical(&place);
    let mut args = place.predict_arguments("six", &[]);
    let mut paths = Vec::new();
    for (number, band) in bands.iter().enumerate() {
        let path = place.at(&format!("B{number}.tif"));
        write_floats(&path, &grid, band, &Metadata::default()).expect("written");
        paths.push(path);
    }
    let at = args.iter().position(|a| a == "--optical").expect("an option") + 1;
    args.splice(at..=at, paths);
    let run = glavitu(&args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    same_rasters(&place, "one", "six");

    // Nine tiles: groups of four leave a short last one.
    predict(&place, "three", &["--batch", "3"]);
    predict(&place, "four", &["--batch", "4"]);
    for other in ["three", "four"] {
        let (a, b) = (raster(place.at("one/probability.tif")).1, raster(place.at(other) + "/probability.tif").1);
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Sums may be taken in another order, no more.
        assert!(worst <= 1e-5, "{other}: {worst}");
    }
    // A given slope that is the derived one changes nothing.
    let (grid, elevation) = raster(place.at("scene/elevation.tif"));
    let slope = glavitu::raster::slope_degrees(&elevation, &grid).expect("a slope");
    write_floats(place.at("slope.tif"), &grid, &slope, &Metadata::default()).expect("written");
    predict(&place, "slope", &["--slope", &place.at("slope.tif")]);
    same_rasters(&place, "one", "slope");
}

#[test]
fn gaps_are_nodata_in_every_output() {
    let place = Workplace::of_scene(SIDE);
    let (grid, mut bands) = optical(&place);
    let (_, mut elevation) = raster(place.at("scene/elevation.tif"));
    bands[2][5 * SIDE + 7] = f32::NAN;
    elevation[40 * SIDE + 50] = f32::NAN;
    write_optical(&place.at("scene/optical.tif"), &grid, &bands);
    write_floats(place.at("scene/elevation.tif"), &grid, &elevation, &Metadata::default()).expect("written");
    predict(&place, "result", &["--smoothing", "5"]);
    let gaps = |name: &str| -> Vec<usize> {
        raster(place.at("result/") + name).1.iter().enumerate().filter(|(_, v)| v.is_nan()).map(|(i, _)| i).collect()
    };
    // The slope around a gap of the elevation is unknown too.
    let expected = gaps("outlines.tif");
    assert!(expected.contains(&(5 * SIDE + 7)) && expected.contains(&(40 * SIDE + 50)));
    assert!(expected.len() <= 10, "{expected:?}");
    assert_eq!((&gaps("probability.tif"), &gaps("confidence.tif")), (&expected, &expected));
    let report = json(&fs::read_to_string(place.path("result/run.json")).expect("run.json"));
    assert_eq!(report["result"]["valid_pixels"].as_u64(), Some((SIDE * SIDE - expected.len()) as u64));
}

#[test]
fn integers_with_scale_offset_and_nodata() {
    let place = Workplace::of_scene(SIDE);
    let (grid, bands) = optical(&place);
    // Whole numbers of 1/8192 are exact in floats, so both files hold the same values.
    let raw = |v: f32| (v * 8192.0).round().clamp(-300.0, 32_000.0);
    let mut exact: Vec<Vec<f32>> =
        bands.iter().map(|band| band.iter().map(|&v| (raw(v) + 1024.0) / 8192.0).collect()).collect();
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 16 bits")]
    let mut integers: Vec<Vec<i16>> = bands.iter().map(|band| band.iter().map(|&v| raw(v) as i16).collect()).collect();
    (exact[0][17], integers[0][17]) = (f32::NAN, -9999);
    program::write_integers(&place.path("scene/integers.tif"), &grid, &integers, (1.0 / 8192.0, 0.125), -9999);
    write_optical(&place.at("scene/optical.tif"), &grid, &exact);
    predict(&place, "floats", &[]);
    fs::rename(place.path("scene/integers.tif"), place.path("scene/optical.tif")).expect("renamed");
    predict(&place, "integers", &[]);
    same_rasters(&place, "floats", "integers");
    assert!(raster(place.at("integers/probability.tif")).1[17].is_nan());
}

#[test]
fn smoothing_is_a_median() {
    let place = Workplace::of_scene(SIDE);
    predict(&place, "raw", &[]);
    predict(&place, "smooth", &["--smoothing", "3"]);
    let classes: Vec<u8> = raster(place.at("raw/outlines.tif")).1.iter().map(|&c| u8::from(c == 1.0)).collect();
    let filtered = glavitu::infer::postprocess::median(&classes, SIDE, SIDE, 3).expect("an odd size");
    let written: Vec<u8> = raster(place.at("smooth/outlines.tif")).1.iter().map(|&c| u8::from(c == 1.0)).collect();
    assert!(written == filtered && filtered != classes);
    // Neither the probability nor the confidence is filtered.
    assert_eq!(raster(place.at("raw/confidence.tif")).1, raster(place.at("smooth/confidence.tif")).1);
}

#[test]
fn iso_lines_are_not_smoothed() {
    let place = Workplace::of_scene(SIDE);
    let quiet = predict(&place, "plain", &["--iso-line"]);
    assert_eq!(quiet.err, "");
    let run = predict(&place, "smooth", &["--iso-line", "--smoothing", "9"]);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.contains("WARN") && run.err.contains("--smoothing 9 has no effect on outlines"), "{}", run.err);
    let outlines = |folder: &str| {
        let features = Features::open(&place.path(folder).join("outlines.gpkg")).expect("polygons").features;
        features.into_iter().map(|feature| feature.polygons).collect::<Vec<_>>()
    };
    assert!(!outlines("plain").is_empty());
    assert_eq!(outlines("plain"), outlines("smooth"));
    assert_eq!(predict(&place, "edges", &["--smoothing", "9"]).err, "");
}

#[test]
fn calibration_maps_the_confidence() {
    let place = Workplace::of_scene(SIDE);
    predict(&place, "raw", &[]);
    let calibrator = place.at("calibrator.json");
    let pickle = data("calibrator.pickle").display().to_string();
    let import = ["import", "calibration", &pickle, "-o", &calibrator];
    assert_eq!(glavitu(&import.map(str::to_owned)).code, Some(0));
    predict(&place, "mapped", &["--calibration", &calibrator]);
    assert_eq!(raster(place.at("raw/probability.tif")).1, raster(place.at("mapped/probability.tif")).1);
    let (raw, mapped) = (raster(place.at("raw/confidence.tif")).1, raster(place.at("mapped/confidence.tif")).1);
    assert_ne!(raw, mapped);
    let curve = glavitu::evaluate::Calibrator::load(&calibrator).expect("a calibrator");
    for (raw, mapped) in raw.iter().zip(&mapped) {
        assert!((curve.predict(f64::from(*raw)) - f64::from(*mapped)).abs() < 1e-3, "{raw} -> {mapped}");
    }
    let report = json(&fs::read_to_string(place.path("mapped/run.json")).expect("run.json"));
    assert_eq!(report["calibration"]["sha256"], curve.sha256());
}

#[test]
fn regions() {
    let place = Workplace::of_scene(SIDE);
    place.import("tiny_region.h5", "global.safetensors");
    predict(&place, "unset", &[]);
    predict(&place, "unknown", &["--region", "unknown"]);
    same_rasters(&place, "unset", "unknown");
    predict(&place, "hma", &["--region", "HMA"]);
    assert_ne!(raster(place.at("unset/probability.tif")).1, raster(place.at("hma/probability.tif")).1);
    let mut vector = [0.0; 12];
    vector[5] = 1.0;
    fs::write(place.path("vector.json"), serde_json::json!(vector).to_string()).expect("written");
    predict(&place, "vector", &["--region-vector", &place.at("vector.json")]);
    same_rasters(&place, "hma", "vector");

    fs::write(place.path("short.json"), "[1, 0]").expect("written");
    refused(&place, &["--region", "Mars"], &["Mars", "HMA"]);
    refused(&place, &["--region-vector", &place.at("short.json")], &["short.json", "12 weights"]);
    refused(&place, &["--region-vector", &place.at("none.json")], &["none.json"]);
}

#[test]
fn a_scene_smaller_than_a_tile_is_padded() {
    let place = Workplace::of_scene(SIDE);
    place.scene("scene", 40);
    let run = predict(&place, "result", &[]);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.contains("WARN") && run.err.contains("40 x 40") && run.err.contains("padded"), "{}", run.err);
    assert!(!run.err.contains('\u{1b}'));
    assert!(raster(place.at("result/probability.tif")).1.iter().all(|p| (0.0..=1.0).contains(p)));
}

#[test]
fn results_are_replaced_and_other_files_left() {
    let place = Workplace::of_scene(SIDE);
    predict(&place, "result", &[]);
    fs::write(place.path("result/notes.txt"), "mine").expect("written");
    predict(&place, "result", &["--smoothing", "3"]);
    let report = json(&fs::read_to_string(place.path("result/run.json")).expect("run.json"));
    assert_eq!(report["settings"]["smoothing"], 3);
    assert_eq!(names(&place.path("result")).len(), 8);
}

#[test]
fn an_assumed_crs_gives_its_code_to_rasters_of_the_same_place() {
    let place = Workplace::of_scene(SIDE);
    let (optical_path, elevation_path) = (place.at("scene/optical.tif"), place.at("scene/elevation.tif"));
    let (grid, bands) = optical(&place);
    let (_, elevation) = raster(&elevation_path);
    // User-defined, on WGS 84; the name tells the zone, or does not.
    for name in ["UTM Zone 32, Northern Hemisphere", "UTM Zone 32, Unknown datum"] {
        let length = u16::try_from(name.len() + 1).expect("short");
        let directory = [
            [1, 1, 0, 5],
            [1024, 0, 1, 1],
            [1025, 0, 1, 1],
            [1026, 34737, length, 0],
            [2048, 0, 1, 4326],
            [3072, 0, 1, 32767],
        ];
        let keys = GeoKeys { directory: directory.concat(), ascii: format!("{name}|"), ..GeoKeys::default() };
        let crs = Crs::from_geo_keys(keys).expect("a CRS");
        assert_eq!((crs.epsg, crs.proj.is_empty()), (None, name.contains("Unknown")));
        let own = Grid { crs: Some(crs), ..grid.clone() };
        write_optical(&optical_path, &own, &bands);
        write_floats(&elevation_path, &own, &elevation, &Metadata::default()).expect("written");
        let code = |more: &[&str]| {
            let run = predict(&place, "result", more);
            (raster(place.at("result/outlines.tif")).0.crs.and_then(|crs| crs.epsg), run.err)
        };
        let (epsg, said) = code(&["--assume-crs", "EPSG:32632"]);
        assert_eq!(epsg, Some(32632), "{name}: {said}");
        assert!(!said.contains("--assume-crs"), "{said}");
        if !name.contains("Unknown") {
            let (epsg, said) = code(&["--assume-crs", "EPSG:32633"]);
            assert_eq!(epsg, None);
            assert_eq!(said.matches("--assume-crs was not used").count(), 2, "{said}");
            assert!(said.contains("elevation.tif") && said.contains(name), "{said}");
        }
    }
}

#[test]
fn one_file_for_two_bands() {
    let place = Workplace::of_scene(SIDE);
    let (grid, bands) = optical(&place);
    let path = |band: usize| place.at(&format!("B{band}.tif"));
    for (number, band) in bands.iter().enumerate() {
        write_floats(path(number), &grid, band, &Metadata::default()).expect("written");
    }
    let mut args = place.predict_arguments("refused", &[]);
    args.splice(4..5, [0, 1, 2, 3, 4, 4].map(path));
    refused_as(args, &place.path("refused"), &["B4.tif", "twice"]);
}

#[test]
fn integers_without_a_scale_are_noticed() {
    let place = Workplace::of_scene(SIDE);
    let (grid, mut bands) = optical(&place);
    bands[4].iter_mut().for_each(|v| *v = (*v * 1e4).round() + 100.0);
    write_optical(&place.at("scene/optical.tif"), &grid, &bands);
    let run = predict(&place, "result", &[]);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.contains("WARN") && run.err.contains("band 5") && run.err.contains("-scale"), "{}", run.err);
}

#[test]
fn masked_pixels_have_no_data() {
    use tiff_writer::{ImageBuilder, TiffWriter, WriteOptions};

    let place = Workplace::new();
    let path = place.path("masked.tif");
    let mut writer =
        TiffWriter::new(fs::File::create(&path).expect("created"), WriteOptions::default()).expect("a header");
    let main = writer.add_image(ImageBuilder::new(3, 2).sample_type::<f32>().strips(2)).expect("an image");
    writer.write_block(&main, 0, &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("written");
    let mask = ImageBuilder::new(3, 2).sample_type::<u8>().strips(2).overview();
    let mask = writer.add_image(mask).expect("a mask");
    writer.write_block(&mask, 0, &[255_u8, 0, 255, 255, 255, 0]).expect("written");
    writer.finish().expect("finished");
    // The writer makes overviews but no masks: tag 254, of one 32-bit number, says 1 for an overview and 4 for a mask.
    let mut bytes = fs::read(&path).expect("the file");
    let overview = [254, 0, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    let at = bytes.windows(overview.len()).position(|w| w == overview).expect("an overview");
    bytes[at + 8] = 4;
    fs::write(&path, bytes).expect("written");
    let (_, values) = raster(&path);
    assert_eq!(values.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, false, false, false, true]);
    assert_eq!(values[4], 5.0);
}
