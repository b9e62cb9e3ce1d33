//! What `glavitu predict` refuses, and how it fails: one clear sentence, the right exit code, nothing left behind.

mod program;

use std::fs;

use glavitu::raster::{Crs, Grid, Metadata, write_floats};
use program::{
    FILES, Workplace, data, glavitu, json, names, optical, predict, raster, refused, refused_as, shared, write_optical,
};

const SIDE: usize = 96;

#[test]
fn rasters_that_do_not_fit() {
    let place = Workplace::of_scene(SIDE);
    let (optical_path, elevation_path) = (place.at("scene/optical.tif"), place.at("scene/elevation.tif"));
    let (grid, bands) = optical(&place);
    let (_, elevation) = raster(&elevation_path);
    let write = |grid: &Grid| write_floats(&elevation_path, grid, &elevation, &Metadata::default()).expect("written");
    // Another zone: another place.
    write(&Grid { crs: Crs::from_epsg(32633).ok(), ..grid.clone() });
    refused(&place, &[], &["elevation.tif", "optical.tif", "another place"]);
    refused(&place, &["--grid", "EPSG:32632"], &["EPSG:32632", "pixel size"]);
    refused(&place, &["--reflectance-scale", "0"], &["scale 0"]);
    // No CRS, and how to mend it.
    write(&Grid { crs: None, ..grid.clone() });
    refused(&place, &[], &["elevation.tif", "--assume-crs"]);
    refused(&place, &["--assume-crs", "32632"], &["32632", "EPSG:CODE"]);
    refused(&place, &["--assume-crs", "EPSG:999999"], &["999999"]);
    predict(&place, "mended", &["--assume-crs", "EPSG:32632"]);
    write(&grid);
    // Bands.
    write_optical(&optical_path, &grid, &bands[..5]);
    refused(&place, &[], &["optical.tif", "5 band", "6 bands"]);
    let two = [elevation_path.as_str(), elevation_path.as_str()];
    let mut args = place.predict_arguments("refused", &[]);
    args.splice(4..5, two.map(str::to_owned));
    refused_as(args, &place.path("refused"), &["elevation.tif", "6 files"]);
    // No pixel with data in one band, or in all rasters at once.
    let mut gone = bands.clone();
    gone[3].fill(f32::NAN);
    write_optical(&optical_path, &grid, &gone);
    refused(&place, &[], &["optical.tif", "band 4", "nodata"]);
    gone[3].clone_from(&bands[3]);
    gone[3][100] = f32::INFINITY;
    write_optical(&optical_path, &grid, &gone);
    refused(&place, &[], &["optical.tif", "inf", "band 4"]);
}

#[test]
fn files_that_are_not_rasters() {
    let place = Workplace::of_scene(SIDE);
    let optical_path = place.path("scene/optical.tif");
    let whole = fs::read(&optical_path).expect("the scene");
    for length in [3, 100, whole.len() / 2, whole.len() - 1000] {
        fs::write(&optical_path, &whole[..length]).expect("written");
        refused(&place, &[], &["optical.tif"]);
    }
    fs::write(&optical_path, "blue, green, red\n1, 2, 3\n").expect("written");
    refused(&place, &[], &["optical.tif", "not a TIFF"]);
    fs::write(&optical_path, "").expect("written");
    refused(&place, &[], &["optical.tif", "empty"]);
    fs::remove_file(&optical_path).expect("removed");
    refused(&place, &[], &["optical.tif"]);
    fs::create_dir(&optical_path).expect("made");
    refused(&place, &[], &["optical.tif", "folder"]);
    if let Some(shared) = shared() {
        for name in ["corrupt.tif", "all-nodata.tif"] {
            let mut args = place.predict_arguments("refused", &[]);
            args[4] = shared.join("data/rasters").join(name).display().to_string();
            refused_as(args, &place.path("refused"), &[name]);
        }
    }
}

#[test]
fn options_that_do_not_fit() {
    let place = Workplace::of_scene(SIDE);
    let scene = ["--model", &place.at("global.safetensors"), "--optical", &place.at("scene/optical.tif")];
    let with = |more: &[&str]| -> Vec<String> {
        let fixed = ["predict", "-o", &place.at("refused")].map(str::to_owned).to_vec();
        fixed.into_iter().chain(scene.iter().chain(more).map(|&a| a.to_owned())).collect()
    };
    let output = place.path("refused");
    refused_as(with(&[]), &output, &["--elevation"]);
    let thermal = place.at("scene/elevation.tif");
    refused(&place, &["--thermal", &thermal], &["--thermal", "optical, dem"]);
    refused(&place, &["--region", "HMA"], &["--region"]);
    refused(&place, &["--smoothing", "2"], &["--smoothing 2", "odd"]);
    refused(&place, &["--smoothing", "0"], &["--smoothing 0"]);
    refused(&place, &["--calibration", &place.at("global.safetensors")], &["global.safetensors"]);
}

#[test]
fn weights_that_are_none() {
    let place = Workplace::of_scene(SIDE);
    let model = place.path("global.safetensors");
    let whole = fs::read(&model).expect("the model");
    let mut damaged = whole.clone();
    let end = damaged.len() - 50;
    damaged[end] ^= 0x40;
    let keras = fs::read(data("tiny_global.h5")).expect("the Keras file");
    for (content, part) in [
        (&b"nonsense"[..], ""),
        (&whole[..whole.len() / 2], ""),
        (&damaged, "SHA-256"),
        (&keras, "glavitu import keras"),
    ] {
        fs::write(&model, content).expect("written");
        refused(&place, &[], &["global.safetensors", part]);
    }
    fs::remove_file(&model).expect("removed");
    refused(&place, &[], &["global.safetensors"]);
}

#[test]
fn folders_that_cannot_be() {
    let place = Workplace::of_scene(SIDE);
    fs::write(place.path("file"), "mine").expect("written");
    for output in ["file", "file/result"] {
        let run = glavitu(&place.predict_arguments(output, &[]));
        assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (Some(2), "", 1), "{output}: {}", run.err);
        assert!(run.err.starts_with("error: ") && run.err.contains("/file"), "{}", run.err);
    }
    assert_eq!(fs::read_to_string(place.path("file")).expect("still a file"), "mine");
}

#[cfg(target_os = "linux")]
#[test]
fn interrupted_runs_write_no_results() {
    use std::process::{Command, Stdio};

    let place = Workplace::of_scene(SIDE);
    // Some 1500 tiles: waves, as a landscape takes longer to generate than to write.
    let side = 1200;
    let (grid, _) = optical(&place);
    let grid = Grid { width: side, height: side, ..grid };
    let wave: Vec<f32> = (0..side * side).map(|i| ((i % 97) as f32 / 9.0).sin().abs()).collect();
    write_optical(&place.at("scene/optical.tif"), &grid, &vec![wave.clone(); 6]);
    let heights: Vec<f32> = wave.iter().map(|v| 1000.0 * v).collect();
    write_floats(place.at("scene/elevation.tif"), &grid, &heights, &Metadata::default()).expect("written");
    let output = place.at("result");
    let args = place.predict_arguments("result", &["--resume"]);
    for wait in [0, 400, 800] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        program::interrupt(child.id());
        let code = child.wait().expect("ends").code();
        let ended = child.wait_with_output().expect("its output");
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!((code, out.as_ref()), (Some(130), ""), "{err}");
        if place.path("result").exists() {
            // Rows that a second run goes on from, and nothing else.
            let expected = format!("error: interrupted; continue with `glavitu predict --resume -o {output}`\n");
            assert_eq!(err.as_ref(), expected);
            assert_eq!(names(&place.path("result")), [".glavitu-work"]);
        } else {
            assert_eq!(err.as_ref(), "error: interrupted; nothing was written\n");
        }
    }
}

#[test]
fn devices_that_are_none() {
    refused(&Workplace::of_scene(SIDE), &["--device", "nonsense"], &["nonsense", "available", "glavitu devices"]);
}

/// Runs the program with closed pipes for its output.
#[cfg(unix)]
fn unread(args: &[String], out: bool) -> std::process::Output {
    use std::process::{Command, Stdio};

    let gone = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("glavitu"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    if out {
        command.stdout(gone())
    } else {
        command.stderr(gone())
    };
    command.output().expect("runs")
}

#[cfg(unix)]
#[test]
fn readers_that_have_gone() {
    let place = Workplace::of_scene(SIDE);
    let info = ["info".to_owned(), place.at("global.safetensors")];
    for args in [place.predict_arguments("result", &[]), place.predict_arguments("result", &["--json"]), info.to_vec()]
    {
        let ended = unread(&args, true);
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
    assert_eq!(names(&place.path("result")), FILES);
    let ended = unread(&place.predict_arguments("refused", &["--smoothing", "2"]), false);
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(2), &b""[..]));
}

#[test]
fn folders_in_the_way_of_files() {
    let place = Workplace::of_scene(SIDE);
    for name in FILES {
        fs::create_dir_all(place.path("result").join(name)).expect("made");
        let run = glavitu(&place.predict_arguments("result", &[]));
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(name) && run.err.contains("found a folder"), "{}", run.err);
        assert_eq!(names(&place.path("result")), [name]);
        fs::remove_dir(place.path("result").join(name)).expect("removed");
    }
}

#[test]
fn positions_beyond_the_earth() {
    let place = Workplace::of_scene(SIDE);
    let (grid, bands) = optical(&place);
    let (_, elevation) = raster(place.at("scene/elevation.tif"));
    let put = |epsg: u32, transform: [f64; 6]| {
        let grid = Grid { transform, crs: Crs::from_epsg(epsg).ok(), ..grid.clone() };
        write_optical(&place.at("scene/optical.tif"), &grid, &bands);
        write_floats(place.at("scene/elevation.tif"), &grid, &elevation, &Metadata::default()).expect("written");
    };
    put(4326, [0.01, 0.0, 10.0, 0.0, -0.01, 90.3]);
    refused(&place, &[], &["90.3", "latitude"]);
    put(32632, [30.0, 0.0, 5e7, 0.0, -30.0, 5e7]);
    refused(&place, &[], &["cannot transform"]);
    // Pixels centred on the pole.
    put(4326, [0.001, 0.0, 10.0, 0.0, -0.001, 90.0005]);
    predict(&place, "pole", &[]);
    let report = json(&fs::read_to_string(place.path("pole/run.json")).expect("run.json"));
    assert!(report["result"]["glacier_area_km2"].as_f64().is_some_and(f64::is_finite));
}
