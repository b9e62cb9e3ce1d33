//! `glavitu inspect` and the same checks in `predict`.

mod program;

use glavitu::raster::{Crs, Grid, Metadata, RasterFile, write_bands, write_floats};
use program::{Run, Workplace, glavitu, shared, write_plain_integers};
use serde_json::Value;

const NAMES: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

fn inspect(files: &[String], more: &[&str]) -> Run {
    let mut args = vec!["inspect".to_owned()];
    args.extend(files.iter().cloned());
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    glavitu(&args)
}

fn json(files: &[String]) -> Value {
    let run = inspect(files, &["--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

/// Kinds of what was found, notes aside.
fn kinds(findings: &Value) -> Vec<String> {
    let list = findings.as_array().expect("a list").iter();
    let serious = list.filter(|finding| finding["severity"] != "note");
    serious
        .map(|finding| {
            assert!(finding["fix"].as_str().is_some_and(|fix| !fix.is_empty() && !fix.contains('\n')));
            finding["kind"].as_str().expect("a text").to_owned()
        })
        .collect()
}

fn found(file: &str) -> Vec<String> {
    kinds(&json(&[file.to_owned()])["files"][0]["findings"])
}

struct Generated {
    place: Workplace,
    grid: Grid,
    bands: Vec<Vec<f32>>,
}

fn generated() -> Generated {
    let place = Workplace::new();
    place.scene("scene", 128);
    let file = RasterFile::open(place.path("scene/optical.tif")).expect("a raster");
    let bands = (0..6).map(|band| file.read_window(band, file.grid().window()).expect("its pixels")).collect();
    Generated { grid: file.grid().clone(), place, bands }
}

impl Generated {
    /// Writes changed bands, without names, and gives the path.
    fn write(&self, change: impl Fn(usize, f32) -> f32, order: [usize; 6]) -> String {
        let changed: Vec<Vec<f32>> =
            order.iter().map(|&band| self.bands[band].iter().map(|v| change(band, *v)).collect()).collect();
        let named: Vec<(&str, &[f32])> = NAMES.into_iter().zip(changed.iter().map(Vec::as_slice)).collect();
        let path = self.place.at("changed.tif");
        write_bands(&path, &self.grid, &named, &[]).expect("written");
        path
    }
}

impl Generated {
    /// The scene as Sentinel-2 has it since processing baseline 04.00: integers raised by 1000, without a nodata value.
    fn write_raised(&self, name: &str, change: impl Fn(usize, i16) -> i16) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "reflectance of a generated scene is below 3")]
        let raise = |v: &f32| (v.clamp(0.0, 3.0) * 1e4).round() as i16 + 1000;
        let bands: Vec<Vec<i16>> = self
            .bands
            .iter()
            .map(|band| band.iter().map(raise).enumerate().map(|(pixel, v)| change(pixel, v)).collect())
            .collect();
        write_plain_integers(&self.place.path(name), &self.grid, &bands);
        self.place.at(name)
    }
}

const IN_ORDER: [usize; 6] = [0, 1, 2, 3, 4, 5];

#[test]
fn good_rasters_are_described() {
    let scene = generated();
    let files = [scene.place.at("scene/optical.tif"), scene.place.at("scene/elevation.tif")];
    let report = json(&files);
    for (file, role) in report["files"].as_array().expect("a list").iter().zip(["optical", "elevation"]) {
        assert_eq!(file["role"], role);
        assert_eq!(kinds(&file["findings"]), Vec::<String>::new(), "{role}");
        assert_eq!((file["epsg"].as_u64(), file["pixel_m"].as_f64()), (Some(32632), Some(30.0)));
        assert_eq!((file["width"].as_u64(), file["whole"].as_bool()), (Some(128), Some(true)));
    }
    let band = &report["files"][0]["bands"][0];
    let least = scene.bands[0].iter().copied().fold(f32::INFINITY, f32::min);
    assert_eq!(band["least"].as_f64().map(|v| (v - f64::from(least)).abs() < 1e-6), Some(true));
    assert_eq!(kinds(&report["together"]), Vec::<String>::new());
    let text = inspect(&files, &[]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    assert!(text.out.matches("nothing wrong was found").count() == 2, "{}", text.out);
    assert!(text.out.contains("EPSG:32632") && text.out.contains("median"), "{}", text.out);
}

#[test]
fn scales_that_are_not_reflectance() {
    let scene = generated();
    assert_eq!(found(&scene.write(|_, v| (v * 1e4).round(), IN_ORDER)), ["digital_numbers"]);
    assert_eq!(found(&scene.write(|_, v| v * 100.0, IN_ORDER)), ["percent"]);
    assert_eq!(found(&scene.write(|_, v| v * 1e-4, IN_ORDER)), ["too_dark"]);
    // The offset of Sentinel-2, in integers and scaled.
    let raised = |_: usize, v: f32| (v.max(0.0) * 1e4).round() + 1000.0;
    let run = inspect(&[scene.write(raised, IN_ORDER)], &[]);
    assert!(
        run.out.contains("04.00") && run.out.contains("--reflectance-scale 0.0001 --reflectance-offset -0.1"),
        "{}",
        run.out
    );
    assert_eq!(found(&scene.write(|_, v| v.max(0.0) + 0.1, IN_ORDER)), ["sentinel_offset"]);
}

#[test]
fn zeros_do_not_hide_the_offset_of_sentinel() {
    let scene = generated();
    let both = "--reflectance-scale 0.0001 --reflectance-offset -0.1";
    let plain = "optical.tif";
    let one_zero = scene.write_raised(plain, |pixel, v| if pixel == 77 { 0 } else { v });
    let run = inspect(&[one_zero], &[]);
    assert!(run.out.contains(both) && !run.out.contains("may be fill"), "{}", run.out);
    // Values that contradict the offset: the name decides.
    let dark = |pixel: usize, v: i16| if pixel.is_multiple_of(10) { 300 } else { v };
    let run = inspect(&[scene.write_raised(plain, dark)], &[]);
    assert!(!run.out.contains(both), "{}", run.out);
    for name in [
        "S2A_MSIL1C_20180801T103321_N0500_R108_T32TLS_20230801T113902.tif",
        "T32TLS_20220125T103321_stack.tif",
        "S2B_N0510.tif",
    ] {
        let run = inspect(&[scene.write_raised(name, dark)], &[]);
        assert!(run.out.contains(both), "{name}: {}", run.out);
    }
}

#[test]
fn fill_of_zeros_is_found_and_left_out() {
    let scene = generated();
    let place = &scene.place;
    // The upper quarter of 128 x 128 pixels.
    let upper = |pixel: usize| pixel < 32 * 128;
    let optical = scene.write_raised("optical.tif", |pixel, v| if upper(pixel) { 0 } else { v });
    assert_eq!(found(&optical), ["digital_numbers", "zero_fill"]);
    let run = inspect(std::slice::from_ref(&optical), &[]);
    assert!(run.out.contains("25.0 %") && run.out.contains("fix: --optical-nodata 0"), "{}", run.out);
    place.import("tiny_global.h5", "model.safetensors");
    let predict = |more: &[&str]| {
        let model = place.at("model.safetensors");
        let (elevation, result) = (place.at("scene/elevation.tif"), place.at("result"));
        let args = ["predict", "--model", &model, "--optical", &optical, "--elevation", &elevation, "-o", &result];
        let scale = ["--reflectance-scale", "0.0001", "--reflectance-offset", "-0.1"];
        glavitu(&args.into_iter().chain(scale).chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>())
    };
    let blank = || {
        let outlines = RasterFile::open(place.path("result/outlines.tif")).expect("a raster");
        let values = outlines.read_window(0, outlines.grid().window()).expect("its pixels");
        (0..values.len()).filter(|pixel| values[*pixel].is_nan() && upper(*pixel)).count()
    };
    let run = predict(&[]);
    assert!(run.code == Some(0) && run.err.contains("--optical-nodata 0"), "{}", run.err);
    assert_eq!(blank(), 0);
    let run = predict(&["--optical-nodata", "0"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_eq!(blank(), 32 * 128);
    let report = std::fs::read_to_string(place.path("result/run.json")).expect("written");
    assert!(report.replace(' ', "").contains("\"optical_nodata\":0.0"), "{report}");
    // Stored values are whole numbers.
    let run = predict(&["--optical-nodata", "0.5"]);
    assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
    assert!(run.err.contains("0.5") && run.err.contains("optical.tif"), "{}", run.err);
}

#[test]
fn orders_that_the_spectra_contradict() {
    let scene = generated();
    assert_eq!(found(&scene.write(|_, v| v, [5, 4, 3, 2, 1, 0])), ["band_order"]);
    assert_eq!(found(&scene.write(|_, v| v, [4, 5, 0, 1, 2, 3])), ["band_order"]);
    assert_eq!(found(&scene.write(|_, v| v, IN_ORDER)), Vec::<String>::new());
    // The names tell red from blue, where spectra may not.
    let names = ["Red", "Green", "Blue", "NIR", "SWIR1", "SWIR2"];
    let bands: Vec<(&str, &[f32])> = names.into_iter().zip(scene.bands.iter().map(Vec::as_slice)).collect();
    write_bands(scene.place.at("rgb.tif"), &scene.grid, &bands, &[]).expect("written");
    assert_eq!(found(&scene.place.at("rgb.tif")), ["band_order"]);
}

#[test]
fn bands_without_content() {
    let scene = generated();
    assert_eq!(found(&scene.write(|band, v| if band == 3 { 0.0 } else { v }, IN_ORDER)), ["all_zero"]);
    assert_eq!(found(&scene.write(|band, v| if band == 1 { 0.25 } else { v }, IN_ORDER)), ["constant"]);
    assert_eq!(found(&scene.write(|band, v| if band == 1 { f32::NAN } else { v }, IN_ORDER)), ["all_nodata"]);
    let with_infinity = scene.write(|band, v| if band == 1 && v > 0.3 { f32::INFINITY } else { v }, IN_ORDER);
    assert_eq!(found(&with_infinity), ["infinite"]);
}

#[test]
fn elevations_in_other_units() {
    let scene = generated();
    let path = scene.place.at("dem.tif");
    let heights: Vec<f32> = scene.bands[0].iter().map(|v| 1500.0 + 2500.0 * v).collect();
    let write = |values: &[f32]| write_floats(&path, &scene.grid, values, &Metadata::default()).expect("written");
    write(&heights);
    assert_eq!(found(&path), Vec::<String>::new());
    write(&heights.iter().map(|v| v * 5.0 / 0.3048).collect::<Vec<_>>());
    assert_eq!(found(&path), ["feet"]);
    let marked: Vec<f32> = heights.iter().enumerate().map(|(i, v)| if i % 10 == 0 { -9999.0 } else { *v }).collect();
    write(&marked);
    assert_eq!(found(&path), ["unmarked_nodata", "too_low"]);
}

#[test]
fn places_that_do_not_agree() {
    let scene = generated();
    let path = |name: &str| scene.place.at(name);
    let mut moved = scene.grid.clone();
    moved.transform[2] += 15.0;
    write_floats(path("moved.tif"), &moved, &scene.bands[0], &Metadata::default()).expect("written");
    write_floats(path("still.tif"), &scene.grid, &scene.bands[0], &Metadata::default()).expect("written");
    assert_eq!(kinds(&json(&[path("still.tif"), path("moved.tif")])["together"]), ["half_pixel"]);
    moved.transform[2] += 15.0;
    write_floats(path("moved.tif"), &moved, &scene.bands[0], &Metadata::default()).expect("written");
    assert_eq!(kinds(&json(&[path("still.tif"), path("moved.tif")])["together"]), Vec::<String>::new());
    // No CRS, and a rotated grid.
    write_floats(path("bare.tif"), &Grid { crs: None, ..scene.grid.clone() }, &scene.bands[0], &Metadata::default())
        .expect("written");
    assert_eq!(found(&path("bare.tif")), ["no_crs"]);
    let mended = inspect(&[path("bare.tif")], &["--assume-crs", "EPSG:32632"]);
    assert!(mended.out.contains("nothing wrong"), "{}", mended.out);
    let rotated =
        Grid { transform: [20.0, 5.0, 4e5, 5.0, -20.0, 5e6], crs: Crs::from_epsg(32632).ok(), ..scene.grid.clone() };
    write_floats(path("rotated.tif"), &rotated, &scene.bands[0], &Metadata::default()).expect("written");
    let report = json(&[path("rotated.tif")]);
    assert_eq!(report["files"][0]["findings"][0]["kind"], "rotated");
}

#[test]
fn files_that_cannot_be_read_do_not_hide_the_others() {
    let scene = generated();
    let files = [scene.place.at("missing.tif"), scene.place.at("scene/elevation.tif")];
    let run = inspect(&files, &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.out.contains("elevation.tif") && run.err.contains("missing.tif"), "{}{}", run.out, run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    let run = inspect(&files, &["--json"]);
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert!(report["files"][0]["error"].is_string() && report["files"][1]["epsg"].is_u64());
    let run = inspect(&[scene.place.at("scene/elevation.tif")], &["--assume-crs", "32632"]);
    assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
}

#[test]
fn predict_refuses_nonsense_and_takes_the_fix() {
    let scene = generated();
    let place = &scene.place;
    place.import("tiny_global.h5", "model.safetensors");
    let predict = |optical: &str, more: &[&str]| {
        let mut args: Vec<String> = ["predict", "--model", &place.at("model.safetensors"), "--optical", optical]
            .into_iter()
            .chain(["--elevation", &place.at("scene/elevation.tif"), "-o", &place.at("result")])
            .map(str::to_owned)
            .collect();
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        glavitu(&args)
    };
    let run = predict(&scene.write(|band, v| if band == 3 { 0.0 } else { v }, IN_ORDER), &[]);
    assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
    assert!(run.err.contains("band 4 is 0"), "{}", run.err);
    let raised = scene.write(|_, v| v * 8192.0 + 1024.0, IN_ORDER);
    let run = predict(&raised, &[]);
    assert!(run.code == Some(0) && run.err.contains("--reflectance-scale"), "{}", run.err);
    let run = predict(&raised, &["--reflectance-scale", "0.0001220703125", "--reflectance-offset", "-0.125"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let mended = std::fs::read(place.path("result/outlines.tif")).expect("written");
    let run = predict(&place.at("scene/optical.tif"), &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(mended == std::fs::read(place.path("result/outlines.tif")).expect("written"));
}

#[test]
fn real_scenes() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/athabasca");
    let files: Vec<String> = (2..8)
        .map(|band| folder.join(format!("athabasca_2020229_B0{band}_L30.tif")).display().to_string())
        .chain([folder.join("athabasca_dem.tif").display().to_string()])
        .collect();
    let report = json(&files);
    for file in report["files"].as_array().expect("a list") {
        assert_eq!(kinds(&file["findings"]), Vec::<String>::new(), "{}", file["file"]);
    }
    assert_eq!(report["files"][0]["sensor"], "HLS (harmonised Landsat)");
    assert_eq!(report["files"][6]["role"], "elevation");
    assert_eq!(kinds(&report["together"]), Vec::<String>::new());
    let mut reversed = files[..6].to_vec();
    reversed.reverse();
    assert_eq!(kinds(&json(&reversed)["together"]), ["band_order", "band_order"]);
    let picture = shared.join("data/rasters/landsat7_6band_no_glacier.tif").display().to_string();
    assert_eq!(found(&picture), ["picture"]);
}
