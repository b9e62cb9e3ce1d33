//! Runs the program `glavitu` in a folder of its own.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use glavitu::atomic_file::StagedFiles;
use glavitu::dataset::synthetic::SyntheticScene;
use glavitu::raster::{Grid, RasterFile, write_bands};
use serde_json::Value;
use tempfile::TempDir;
use tiff_core::{ExtraSample, Tag, TagValue};
use tiff_writer::{ImageBuilder, TiffWriter, WriteOptions};

/// What a run of the program left.
pub(crate) struct Run {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Files of a mapped scene.
pub(crate) const FILES: [&str; 7] =
    ["confidence.tif", "outlines.gpkg", "outlines.qml", "outlines.tif", "probability.tif", "quicklook.png", "run.json"];

/// Runs the program.
pub(crate) fn glavitu(args: &[String]) -> Run {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("glavitu")).args(args).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Waits until a process handles SIGINT itself, then sends it.
#[cfg(target_os = "linux")]
pub(crate) fn interrupt(process: u32) {
    let status = PathBuf::from(format!("/proc/{process}/status"));
    let handles = || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&caught, 16).unwrap_or(0) & 0b10 != 0
    };
    for _ in 0..2000 {
        if handles() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let sent = std::process::Command::new("kill").args(["-INT", &process.to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// A file of the test data.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The folder with reference data that are not part of the project; says so if it is absent.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GLAVITU_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    if folder.join("data").is_dir() {
        return Some(folder);
    }
    println!("skipped: no reference data in {}", folder.display());
    None
}

/// A temporary folder for models, scenes and results.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// One with a tiny model of random weights, `global.safetensors`, and a generated scene of `side` x `side` pixels in the folder `scene`.
    pub(crate) fn of_scene(side: usize) -> Self {
        let place = Self::new();
        place.import("tiny_global.h5", "global.safetensors");
        place.scene("scene", side);
        place
    }

    /// The arguments of a prediction of that scene into the folder `output`, and what comes on top.
    pub(crate) fn predict_arguments(&self, output: &str, more: &[&str]) -> Vec<String> {
        let mut args = vec!["predict".to_owned()];
        for (option, file) in [
            ("--model", "global.safetensors"),
            ("--optical", "scene/optical.tif"),
            ("--elevation", "scene/elevation.tif"),
            ("-o", output),
        ] {
            args.extend([option.to_owned(), self.at(file)]);
        }
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in it, as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Imports Keras weights for optical bands and DEM.
    pub(crate) fn import(&self, keras: &str, model: &str) {
        self.import_from(&data(keras), model);
    }

    /// Imports Keras weights from anywhere.
    pub(crate) fn import_from(&self, keras: &Path, model: &str) {
        let args =
            ["import", "keras", &keras.display().to_string(), "--features", "optical,dem", "-o", &self.at(model)];
        let run = glavitu(&args.map(str::to_owned));
        assert_eq!(run.code, Some(0), "{}", run.err);
    }

    /// Generates a scene in a folder.
    pub(crate) fn scene(&self, folder: &str, side: usize) {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).expect("made");
        let mut staged = StagedFiles::new();
        let scene = SyntheticScene::generate(side, 1, "ALP").expect("a size in range");
        scene.stage(&folder, &mut staged).and_then(|()| staged.publish()).expect("written");
    }
}

/// Writes 16-bit integers as other programs do: pixels interleaved, with GDAL's scale, offset and nodata tags; UTM zone 32 N only.
pub(crate) fn write_integers(path: &Path, grid: &Grid, bands: &[Vec<i16>], scaling: (f64, f64), nodata: i16) {
    write_samples(path, grid, bands, scaling, Some(nodata));
}

/// As [`write_integers`], without a nodata value, a scale and an offset, as ESA writes Sentinel-2.
pub(crate) fn write_plain_integers(path: &Path, grid: &Grid, bands: &[Vec<i16>]) {
    write_samples(path, grid, bands, (1.0, 0.0), None);
}

fn write_samples(path: &Path, grid: &Grid, bands: &[Vec<i16>], (scale, offset): (f64, f64), nodata: Option<i16>) {
    let (width, height) = (u32::try_from(grid.width).expect("small"), u32::try_from(grid.height).expect("small"));
    let item = |band: usize, role: &str, value: f64| {
        format!("<Item name=\"{}\" sample=\"{band}\" role=\"{role}\">{value}</Item>", role.to_uppercase())
    };
    let items: String =
        (0..bands.len()).map(|band| item(band, "scale", scale) + &item(band, "offset", offset)).collect();
    let t = grid.transform;
    let mut image = ImageBuilder::new(width, height)
        .sample_type::<i16>()
        .samples_per_pixel(u16::try_from(bands.len()).expect("few"))
        .extra_samples(vec![ExtraSample::Unspecified; bands.len() - 1])
        .strips(height)
        .tag(Tag::new(33550, TagValue::Double(vec![t[0], -t[4], 0.0])))
        .tag(Tag::new(33922, TagValue::Double(vec![0.0, 0.0, 0.0, t[2], t[5], 0.0])))
        .tag(Tag::new(34735, TagValue::Short(vec![1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632])))
        .tag(Tag::new(42112, TagValue::Ascii(format!("<GDALMetadata>{items}</GDALMetadata>"))));
    if let Some(nodata) = nodata {
        image = image.tag(Tag::new(42113, TagValue::Ascii(nodata.to_string())));
    }
    let file = fs::File::create(path).expect("created");
    let mut writer = TiffWriter::new(std::io::BufWriter::new(file), WriteOptions::default()).expect("a header");
    let handle = writer.add_image(image).expect("an image");
    let pixels: Vec<i16> = (0..grid.len()).flat_map(|i| bands.iter().map(move |band| band[i])).collect();
    writer.write_block(&handle, 0, &pixels).expect("written");
    writer.finish().expect("finished");
}

/// Maps the scene of [`Workplace::of_scene`]; it must work.
pub(crate) fn predict(place: &Workplace, output: &str, more: &[&str]) -> Run {
    let run = glavitu(&place.predict_arguments(output, more));
    assert_eq!(run.code, Some(0), "{}", run.err);
    run
}

/// Names of the files in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// One band of a raster and its grid.
pub(crate) fn raster(path: impl AsRef<Path>) -> (Grid, Vec<f32>) {
    let file = RasterFile::open(path).expect("a raster");
    assert_eq!(file.bands().len(), 1);
    (file.grid().clone(), file.read_window(0, file.grid().window()).expect("its pixels"))
}

/// All bands of the generated scene's optical raster.
pub(crate) fn optical(place: &Workplace) -> (Grid, Vec<Vec<f32>>) {
    let file = RasterFile::open(place.at("scene/optical.tif")).expect("a raster");
    let bands = (0..6).map(|b| file.read_window(b, file.grid().window()).expect("its pixels")).collect();
    (file.grid().clone(), bands)
}

/// Writes an optical raster.
pub(crate) fn write_optical(path: &str, grid: &Grid, bands: &[Vec<f32>]) {
    let bands: Vec<(&str, &[f32])> = bands.iter().map(|band| ("band", band.as_slice())).collect();
    write_bands(path, grid, &bands, &[]).expect("written");
}

/// Text as JSON.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Runs a prediction that must be refused: exit code 2, one line that holds `parts`, nothing on standard output, nothing written.
pub(crate) fn refused(place: &Workplace, more: &[&str], parts: &[&str]) {
    refused_as(place.predict_arguments("refused", more), &place.path("refused"), parts);
}

/// Runs what must be refused.
pub(crate) fn refused_as(args: Vec<String>, output: &Path, parts: &[&str]) {
    let run = glavitu(&args);
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args:?}: {}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.starts_with("error: "), "{}", run.err);
    for part in parts {
        assert!(run.err.contains(part), "no '{part}' in: {}", run.err);
    }
    assert!(!output.exists());
    println!("{}", run.err.trim_end());
}
