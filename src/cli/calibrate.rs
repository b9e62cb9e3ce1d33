//! `glavitu calibrate`: from labelled data to a calibrator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::device_args::DeviceArgs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::dataset::noise::Random;
use crate::dataset::sampling::{Selection, TileSet};
use crate::error::Error;
use crate::evaluate::calibration::{MODEL, MONOTONE_TOLERANCE};
use crate::evaluate::calibration_samples::{SampleSpool, Samples, SceneSamples, spool_tiles};
use crate::evaluate::isotonic::fit_isotonic;
use crate::evaluate::kernel_ridge::{Ridge, fit_kernel_ridge};
use crate::evaluate::reliability::Measures;
use crate::evaluate::reliability_diagram::{BINS, reliability_svg};
use crate::evaluate::temperature::Logits;
use crate::evaluate::tile_pass::TilePass;
use crate::evaluate::{Calibrator, Reliability};
use crate::model::Weights;
use crate::model::network::inference_graph;

/// Patches computed at a time, and threads that read them.
const BATCH: usize = 4;
const WORKERS: usize = 2;
/// Fewer pixels than this are worth a warning: accuracies of a tenth of them are off by some 0.05 by chance.
const FEW: u64 = 1000;

/// Fit a calibrator: from the confidence a model claims to how often it is right.
///
/// Confidence is 1 - H / log 2, H being the entropy of the output probabilities (clipped to 1e-6). A pixel is right if the likelier class is its label; pixels
/// without a label do not count. Samples come from tile files (--model, --validation; a model with regions is told each tile's), from a mapped scene
/// (--confidence, --predicted, --reference; map it without --calibration and --smoothing), or from any other program (--samples).
///
/// Methods: `isotonic` (never lowers the order of confidences, follows any shape; fitted to the accuracies of 65536 cells of confidence, with straight lines between them), `temperature` (one number, never lowers the order, for few data),
/// `kernel-ridge` (the published one: Laplacian kernel through the accuracies of 100 bins and (0, 0), (1, 1); it may fall where confidence grows).
///
/// Beside the calibrator C.json go C.svg, a reliability diagram before and after, and C.report.json, with the expected calibration error (ECE) in 10, 15
/// and 100 equally wide and in 15 and 100 equally full bins, Brier score and negative log-likelihood. On the data it was fitted to, a calibrator looks better than it
/// is: give it some thousand pixels at least. --hold-out keeps some tiles away from it, or --test scores it on others, and the report says which numbers are which.
///
/// Memory does not grow with the data; predictions wait in a temporary file, four bytes a pixel.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu calibrate --model model.safetensors --validation validation.hdf5 --test test.hdf5 -o model.json
  glavitu calibrate --model model.safetensors --validation tiles.hdf5 --hold-out 0.3 --method kernel-ridge -o model.json
  glavitu calibrate --model model.safetensors --validation tiles.hdf5 --regions ALP,CA --method temperature -o alps.json
  glavitu calibrate --confidence result/confidence.tif --predicted result/outlines.tif --reference rgi.gpkg --method temperature -o scene.json
  glavitu calibrate --samples pixels.csv --json -o other.json
  glavitu predict --model model.safetensors --calibration model.json --optical scene.tif --elevation dem.tif -o result")]
pub struct CalibrateArgs {
    /// The model (.safetensors)
    #[arg(long, value_name = "MODEL.safetensors", requires = "validation", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// Tile files or folders with labels that the model has not learnt from
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model", value_hint = ValueHint::AnyPath)]
    validation: Vec<PathBuf>,
    /// Take tiles of these regions only: a calibrator for a region or a cluster of them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "model")]
    regions: Vec<String>,
    /// CSV files with a line for each pixel: the columns confidence (0 to 1) and correct (1 or 0)
    #[arg(long, value_name = "FILE.csv", num_args = 1.., conflicts_with_all = ["model", "confidence"], value_hint = ValueHint::FilePath)]
    samples: Vec<PathBuf>,
    /// confidence.tif of `glavitu predict` without --calibration
    #[arg(long, value_name = "FILE.tif", conflicts_with = "model", requires_all = ["predicted", "reference"], value_hint = ValueHint::FilePath)]
    confidence: Option<PathBuf>,
    /// outlines.tif, probability.tif or polygons of the same map
    #[arg(long, value_name = "FILE", requires = "confidence", value_hint = ValueHint::FilePath)]
    predicted: Option<PathBuf>,
    /// The truth there: a raster (1 glacier, 0 other, 255 or nodata not labelled) on the same grid, or polygons
    #[arg(long, value_name = "FILE", requires = "confidence", value_hint = ValueHint::FilePath)]
    reference: Option<PathBuf>,
    /// The CRS of files that name none, or none that is known, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE", requires = "confidence")]
    assume_crs: Option<String>,
    /// How the calibrator is fitted
    #[arg(long, value_enum, default_value = "isotonic")]
    method: Method,
    /// Ridge of the kernel method: none, as in the published calibrators, or by bin, (1 - w) * 0.01 with w = (count / largest count)^0.1
    #[arg(long, value_enum, default_value = "none")]
    ridge: RidgeOption,
    /// Keep this share of the tiles away from the fit, chosen by lot, and score on them
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, conflicts_with_all = ["samples", "confidence"])]
    hold_out: f64,
    /// Seed of that lot
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Score on these, too: files of the kind of --validation or --samples
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "confidence", value_hint = ValueHint::AnyPath)]
    test: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// The calibrator file to write
    #[arg(short, long, value_name = "C.json", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// The value of `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Isotonic regression: the closest steps that never fall, over 65536 cells of confidence, with straight lines between cells in the place of jumps
    Isotonic,
    /// Temperature scaling: logits divided by one number
    Temperature,
    /// Laplacian kernel ridge regression, as published
    KernelRidge,
}

/// The value of `--ridge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RidgeOption {
    /// None: the curve goes through every bin
    None,
    /// By bin: those with few pixels count less
    PerBin,
}

/// What a calibrator is fitted to and scored on.
struct Sources {
    fitted: Samples,
    held_out: Option<Samples>,
    test: Option<Samples>,
    /// For people: where the samples come from.
    origin: String,
    about: Json,
}

/// Reliability before and after calibration.
struct Score {
    name: &'static str,
    before: Reliability,
    after: Reliability,
}

/// Runs `glavitu calibrate`.
///
/// # Errors
/// Input that is not what it must be, a device that fails, or an output that cannot be written; nothing is written then.
pub fn run(args: &CalibrateArgs) -> Result<()> {
    let (diagram, report_file) = (args.output.with_extension("svg"), args.output.with_extension("report.json"));
    check(args, [&diagram, &report_file])?;
    let mut sources = args.sources()?;
    let mut before = Reliability::new();
    let mut logits = Logits::new();
    let is_temperature = args.method == Method::Temperature;
    sources.fitted.each(&mut |sample| {
        before.add(sample.confidence(), sample.correct);
        if is_temperature {
            logits.add(sample.logit(), sample.correct);
        }
    })?;
    if let Samples::Scene(scene) = &sources.fitted
        && scene.without_confidence() > 0
    {
        tracing::warn!(
            "{} pixels with a class and a label have no confidence and are left out",
            scene.without_confidence()
        );
    }
    let calibrator = args.fit(&before, &logits, &sources.origin)?;
    let mut scores = vec![score("fitted", &mut sources.fitted, &calibrator)?];
    for (name, samples) in [("held_out", &mut sources.held_out), ("test", &mut sources.test)] {
        if let Some(samples) = samples {
            scores.push(score(name, samples, &calibrator)?);
        }
    }
    let report = report(args, &calibrator, &scores, sources.about);
    let shown = scores.last().unwrap_or(&scores[0]);
    let words = words_of(shown.name);
    let picture =
        reliability_svg(&[(&format!("before, {words}"), &shown.before), (&format!("after, {words}"), &shown.after)]);
    let mut staged = StagedFiles::new();
    staged.stage_bytes(&args.output, calibrator.to_json()?.as_bytes())?;
    staged.stage_bytes(&report_file, format!("{report:#}\n").as_bytes())?;
    staged.stage_bytes(&diagram, picture.as_bytes())?;
    staged.publish()?;
    let fall = calibrator.largest_fall();
    if fall > MONOTONE_TOLERANCE {
        tracing::warn!(
            "calibrated confidence falls by up to {fall:.4} as raw confidence grows; --method isotonic or temperature never does"
        );
    }
    if args.json {
        return print_line(format_args!("{report:#}"));
    }
    print_line(table(&scores))?;
    if scores.len() == 1 {
        let how = if args.confidence.is_some() { "" } else { ": --hold-out or --test tells how good" };
        print_line(format_args!("These are the pixels it was fitted to. On others it is not as good{how}."))?;
    }
    print_line(format_args!("See {}, {} and {}", args.output.display(), report_file.display(), diagram.display()))
}

/// Refuses options that make no sense and outputs that cannot be written.
fn check(args: &CalibrateArgs, more: [&Path; 2]) -> Result<(), Error> {
    if args.model.is_none() && args.samples.is_empty() && args.confidence.is_none() {
        return Err(Error::bad_argument(
            "nothing to fit to",
            "--model with --validation, --samples, or --confidence with --predicted and --reference",
            "give one of them",
        ));
    }
    if !(0.0..1.0).contains(&args.hold_out) {
        let found = format!("--hold-out {}", args.hold_out);
        return Err(Error::bad_argument(found, "a share of the tiles from 0 to less than 1", "give 0.3, say"));
    }
    if args.ridge == RidgeOption::PerBin && args.method != Method::KernelRidge {
        return Err(Error::bad_argument(
            "--ridge for another method",
            "--method kernel-ridge",
            "leave out --ridge, or change the method",
        ));
    }
    check_apart(args)?;
    let read = [&args.model, &args.confidence, &args.predicted, &args.reference];
    let read: Vec<&Path> = read
        .into_iter()
        .flatten()
        .chain(&args.validation)
        .chain(&args.samples)
        .chain(&args.test)
        .map(PathBuf::as_path)
        .collect();
    if more.contains(&args.output.as_path()) {
        let found = format!("the name {}", args.output.display());
        return Err(Error::bad_argument(found, "one that a report and a diagram can lie beside", "give C.json, say"));
    }
    [args.output.as_path()].into_iter().chain(more).try_for_each(|output| check_output(output, &read))
}

/// Refuses test data that the calibrator is fitted to: a file of both, or one in a folder of the other.
fn check_apart(args: &CalibrateArgs) -> Result<(), Error> {
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let fitted: Vec<PathBuf> = args.validation.iter().chain(&args.samples).map(real).collect();
    for path in &args.test {
        let test = real(path);
        if fitted.iter().any(|fitted| test.starts_with(fitted) || fitted.starts_with(&test)) {
            let expected = "data that the calibrator is not fitted to";
            let remedy = "give others, leave out --test, or take --hold-out";
            return Err(Error::bad_argument(
                format!("--test {}, which it is fitted to", path.display()),
                expected,
                remedy,
            ));
        }
    }
    Ok(())
}

impl CalibrateArgs {
    fn fit(&self, samples: &Reliability, logits: &Logits, from: &str) -> Result<Calibrator, Error> {
        if samples.samples() == 0 {
            let remedy = "check the labels, and the nodata values of rasters";
            return Err(Error::bad_argument("no labelled pixel", "labelled pixels to fit to", remedy));
        }
        let (method, count) = (self.method_name(), samples.samples());
        if count < FEW {
            tracing::warn!(
                "the calibrator is fitted to {count} pixels only, fewer than {FEW}: chance shapes it; give more labelled pixels, or take --method temperature"
            );
        }
        let origin = format!("glavitu {} calibrate, {method}, {count} pixels of {from}", env!("CARGO_PKG_VERSION"));
        match self.method {
            Method::Isotonic => fit_isotonic(samples, &origin),
            Method::Temperature => {
                if !logits.temperature()?.1 {
                    tracing::warn!(
                        "the best temperature is at the end of the range: nearly all pixels are right, or wrong"
                    );
                }
                logits.fit(&origin)
            }
            Method::KernelRidge => {
                let ridge = if self.ridge == RidgeOption::PerBin { Ridge::PerBin } else { Ridge::None };
                fit_kernel_ridge(samples, ridge, &origin)
            }
        }
    }

    fn method_name(&self) -> &'static str {
        match (self.method, self.ridge) {
            (Method::Isotonic, _) => "isotonic",
            (Method::Temperature, _) => "temperature",
            (Method::KernelRidge, RidgeOption::None) => "kernel ridge",
            (Method::KernelRidge, RidgeOption::PerBin) => "kernel ridge with a ridge by bin",
        }
    }

    fn sources(&self) -> Result<Sources> {
        if let Some(model) = &self.model {
            return self.tiles(model);
        }
        if let (Some(confidence), Some(predicted), Some(reference)) =
            (&self.confidence, &self.predicted, &self.reference)
        {
            let assumed = self.assume_crs.as_deref().map(parse_crs).transpose()?;
            let scene = SceneSamples::open_raw(confidence, predicted, reference, assumed.as_ref())?;
            return Ok(Sources {
                fitted: Samples::Scene(Box::new(scene)),
                held_out: None,
                test: None,
                origin: names(&[confidence.clone(), reference.clone()]),
                about: json!({ "confidence": confidence, "predicted": predicted, "reference": reference }),
            });
        }
        Ok(Sources {
            fitted: Samples::Tables(self.samples.clone()),
            held_out: None,
            test: (!self.test.is_empty()).then(|| Samples::Tables(self.test.clone())),
            origin: names(&self.samples),
            about: json!({ "samples": self.samples, "test": self.test }),
        })
    }

    /// Runs the model over the tiles, once.
    fn tiles(&self, model: &Path) -> Result<Sources> {
        let weights = Weights::load(model)?;
        let validation = self.open(&weights, &self.validation)?;
        // All files are opened before the long part begins.
        let test = if self.test.is_empty() { None } else { Some(self.open(&weights, &self.test)?) };
        let count = validation.tiles().len();
        let held_out = lot(count, self.hold_out, self.seed)?;
        let is_held_out = |tile: usize| held_out.get(tile).copied().unwrap_or(false);
        let [fitted, apart] = self.spool(&weights, validation, &is_held_out)?;
        let test_count = test.as_ref().map(|tiles| tiles.tiles().len());
        let test = test.map(|tiles| self.spool(&weights, tiles, &|_| false)).transpose()?;
        let of = if self.regions.is_empty() { String::new() } else { format!(" ({})", self.regions.join(", ")) };
        let kept = held_out.iter().filter(|held_out| **held_out).count();
        Ok(Sources {
            fitted: Samples::Spool(fitted),
            held_out: (kept > 0).then_some(Samples::Spool(apart)),
            test: test.map(|[all, _]| Samples::Spool(all)),
            origin: format!("{}{of}{MODEL}{}", names(&self.validation), weights.parameters_sha256()),
            about: json!({
                "model": model,
                "parameters_sha256": weights.parameters_sha256(),
                "validation": self.validation,
                "regions": self.regions,
                "tiles_fitted": count - kept,
                "tiles_held_out": kept,
                "hold_out_seed": self.seed,
                "test": self.test,
                "tiles_test": test_count,
            }),
        })
    }

    fn open(&self, weights: &Weights, files: &[PathBuf]) -> Result<Arc<TileSet>, Error> {
        let config = weights.config();
        let selection = Selection {
            tile: config.tile,
            location: config.location.clone(),
            regions: self.regions.clone(),
            ..Selection::new(config.features.clone())
        };
        TileSet::open(files, &selection).map(Arc::new)
    }

    fn spool(
        &self,
        weights: &Weights,
        tiles: Arc<TileSet>,
        is_held_out: &dyn Fn(usize) -> bool,
    ) -> Result<[SampleSpool; 2]> {
        let (config, device) = (weights.config(), &self.device);
        let batch = device.batch(BATCH, |batch| inference_graph(config, batch))?;
        let mut pass = TilePass::new(config, tiles, batch, WORKERS, &device.device, &device.options())?;
        let bar = ProgressBar::new(0).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} batches, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let spools = spool_tiles(&mut pass, weights, is_held_out, &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            Ok(())
        });
        bar.finish_and_clear();
        Ok(spools?)
    }
}

/// Which tiles are held out: the share of them, rounded, by lot.
fn lot(count: usize, share: f64, seed: u64) -> Result<Vec<bool>, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "a share of the count")]
    let wanted = (share * count as f64).round() as usize;
    if wanted == count || (share > 0.0 && wanted == 0) {
        let found = format!("--hold-out {share} of {count} tiles");
        return Err(Error::bad_argument(found, "at least one tile on either side", "choose another share"));
    }
    let mut random = Random::new(seed, 0);
    let mut left = wanted;
    // Every choice of so many is as likely (Knuth's algorithm S).
    Ok((0..count)
        .map(|tile| {
            let is_taken = random.below(count - tile) < left;
            left -= usize::from(is_taken);
            is_taken
        })
        .collect())
}

fn score(name: &'static str, samples: &mut Samples, calibrator: &Calibrator) -> Result<Score, Error> {
    let curve = calibrator.curve();
    let (mut before, mut after) = (Reliability::new(), Reliability::new());
    samples.each(&mut |sample| {
        let confidence = sample.confidence();
        before.add(confidence, sample.correct);
        after.add(curve.value(confidence), sample.correct);
    })?;
    Ok(Score { name, before, after })
}

fn words_of(name: &str) -> &'static str {
    match name {
        "fitted" => "pixels it was fitted to",
        "held_out" => "tiles held out",
        _ => "test data",
    }
}

fn report(args: &CalibrateArgs, calibrator: &Calibrator, scores: &[Score], about: Json) -> Json {
    let of = |name: &str| {
        scores.iter().find(|score| score.name == name).map(|score| {
            let part = |reliability: &Reliability| {
                let mut json = json!(reliability.measures());
                json["bins"] = json!(reliability.bins(BINS));
                json
            };
            json!({ "before": part(&score.before), "after": part(&score.after) })
        })
    };
    json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "calibrator": args.output,
        "method": args.method_name(),
        "form": calibrator.kind(),
        "points": calibrator.points(),
        "temperature": calibrator.temperature(),
        "monotone": calibrator.is_monotone(),
        "largest_fall": calibrator.largest_fall(),
        "sha256": calibrator.sha256(),
        "source": about,
        // Better than on data it has not seen.
        "fitted": of("fitted"),
        "held_out": of("held_out"),
        "test": of("test"),
    })
}

fn table(scores: &[Score]) -> Table {
    let mut table = Table::new();
    let header = scores.iter().flat_map(|score| {
        let words = words_of(score.name);
        [format!("{words}:\nbefore"), "\nafter".to_owned()]
    });
    table.load_style(UTF8_FULL_CONDENSED).set_header(std::iter::once(String::new()).chain(header));
    let all: Vec<Measures> =
        scores.iter().flat_map(|score| [score.before.measures(), score.after.measures()]).collect();
    type Row = (&'static str, fn(&Measures) -> Option<f64>);
    let rows: [Row; 9] = [
        ("accuracy", |m| m.accuracy),
        ("mean confidence", |m| m.mean_confidence),
        ("ECE, 10 bins", |m| m.ece_10),
        ("ECE, 15 bins", |m| m.ece_15),
        ("ECE, 100 bins", |m| m.ece_100),
        ("adaptive ECE, 15 bins", |m| m.adaptive_ece_15),
        ("adaptive ECE, 100 bins", |m| m.adaptive_ece_100),
        ("Brier score", |m| m.brier),
        ("negative log-likelihood", |m| m.nll),
    ];
    let text = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.5}"));
    for (name, value) in rows {
        table.add_row(std::iter::once(name.to_owned()).chain(all.iter().map(|measures| text(value(measures)))));
    }
    table.add_row(std::iter::once("pixels".to_owned()).chain(all.iter().map(|m| m.samples.to_string())));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The names of files, without their folders.
fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_have_their_share() {
        for (count, share, expected) in [(10, 0.3, 3), (7, 0.5, 4), (3, 0.0, 0)] {
            let held_out = lot(count, share, 5).expect("possible");
            assert_eq!(held_out.iter().filter(|held_out| **held_out).count(), expected);
            assert_eq!(held_out, lot(count, share, 5).expect("possible"));
        }
        assert_ne!(lot(50, 0.5, 1).expect("possible"), lot(50, 0.5, 2).expect("possible"));
        assert!(lot(10, 0.01, 1).is_err() && lot(1, 0.9, 1).is_err());
    }
}
