//! `glavitu predict`: a scene's rasters, or those of many scenes, to glacier outlines.

mod engine;
mod identity;
mod many;
mod members;
mod one;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};

use crate::cli::device_args::DeviceArgs;
use crate::cli::predict::members::MemberArgs;
use crate::cli::scene_args::SceneArgs;
use crate::error::Error;
use crate::evaluate::Calibrator;
use crate::infer::extent::PixelWindow;
use crate::infer::manifest::Shard;
use crate::infer::outlines::OutlineSettings;
use crate::infer::products::{CONFIDENCE_THRESHOLD, OUTLINES_FILE, ProbabilityType, ProductSettings};
use crate::raster::shapes::check_extension;
use crate::report::REPORT_FILE;

/// Map the glaciers of a scene, or of many.
///
/// Writes to the output folder: outlines.tif (1 glacier, 0 other, 255 no data), probability.tif and confidence.tif (0 to 1, NaN no data),
/// outlines.gpkg (polygons with area_km2 and mean_confidence), quicklook.png and run.json. The rasters are cloud-optimised GeoTIFFs.
///
/// All rasters share one grid. A feature's bands come as one file or as one file per band, in order; physical values are computed from the
/// scale, offset and nodata value in each file's metadata.
///
/// With --tta, --mc-dropout or --ensemble several members map the scene: the model under every symmetry, in every run of dropout, and every other
/// model in the same way. probability.tif is their mean then, from which all else is made, and three more rasters tell how far they agree: entropy.tif (of the
/// mean, in bits, 0 to 1), mutual_information.tif (the part of it that comes from the members' disagreement, in bits) and standard_deviation.tif (of
/// their probabilities of glacier). Disagreement is taken within each window and averaged over overlapping windows.
///
/// Scenes of any size are mapped in bounded memory. What is finished waits in FOLDER/.glavitu-work until the end, so that an interrupted scene
/// goes on with --resume.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif -o result
  glavitu predict --model global.safetensors --optical B02.tif B03.tif B04.tif B05.tif B06.tif B07.tif \\
      --elevation dem.tif --calibration global.json --smoothing 3 -o result
  glavitu predict --model regions.safetensors --optical scene.tif --elevation dem.tif --region HMA -o result
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif --aoi basin.gpkg --resume -o result
  glavitu predict --model global.safetensors --manifest scenes.csv --shard 2/5 -o results
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif --report -o result
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif --tta --batch 8 -o result
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif --mc-dropout 10 --seed 1 -o result
  glavitu predict --model a.safetensors --ensemble b.safetensors c.safetensors --optical scene.tif --elevation dem.tif -o result

A manifest is a CSV with a header and commas between columns, or a JSON array of objects; only `id` is always needed:
  id                               the scene's name: letters, digits, '.', '_', '-'; its results go to FOLDER/ID
  optical                          one file with six bands or six files, separated by ';' (in JSON an array)
  elevation, slope, thermal        one file each
  co_pol_sar, cross_pol_sar, in_sar  one or two files
  region                           a region of the model
  date                             when it was taken, as 2020-08-16
  output                           another folder for the results, relative to FOLDER
Files are relative to the manifest. Scenes that are done (their run.json says so, with the same model, files and settings, and no file is missing)
are skipped, interrupted ones go on, and a scene that fails does not stop the others. FOLDER/summary.json and .csv say what became of each.")]
pub struct PredictArgs {
    /// The model (see `glavitu import`)
    #[arg(long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    #[command(flatten)]
    scene: SceneArgs,
    /// Many scenes instead of one: a CSV or JSON (see below)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["optical", "elevation", "slope", "co_pol_sar", "cross_pol_sar", "in_sar", "thermal"])]
    manifest: Option<PathBuf>,
    /// Of the manifest's scenes only one part: 2/5 takes every fifth from the second on
    #[arg(long, value_name = "PART/PARTS", requires = "manifest")]
    shard: Option<Shard>,
    /// The region, for a model with regions; `unknown` if not given
    #[arg(long, value_name = "NAME", conflicts_with = "region_vector")]
    region: Option<String>,
    /// A JSON file with one weight per region of the model
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    region_vector: Option<PathBuf>,
    /// Map this part of the scene only, in pixels; the network sees what lies around it, so that it is as in a map of the whole
    #[arg(long, value_name = "ROW,COL,HEIGHT,WIDTH")]
    window: Option<PixelWindow>,
    /// Map what lies in these polygons only (GeoJSON, GeoPackage or Shapefile)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    aoi: Option<PathBuf>,
    /// A confidence calibrator (see `glavitu calibrate`, `glavitu import calibration`)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    calibration: Option<PathBuf>,
    /// Side of the median filter over the classes, in pixels; odd, 1 for none
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    smoothing: usize,
    /// How probability.tif stores probabilities
    #[arg(long, value_enum, default_value = "float32")]
    probability_type: ProbabilityTypeOption,
    /// Names of the files of outlines in the output folder; the extension tells the format
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = [OUTLINES_FILE])]
    outlines: Vec<String>,
    /// Leave out outlines smaller than this
    #[arg(long, value_name = "KM2", default_value_t = 0.0)]
    min_area: f64,
    /// Move outlines by up to this to make them simpler
    #[arg(long, value_name = "METRES", default_value_t = 0.0)]
    simplify: f64,
    /// Draw outlines along the probability of 0.5 instead of pixel edges; --smoothing has no effect on them then
    #[arg(long)]
    iso_line: bool,
    /// Write confidence_bands.gpkg too: polygons of low confidence
    #[arg(long)]
    confidence_bands: bool,
    /// Confidence below this is low
    #[arg(long, value_name = "0 TO 1", default_value_t = CONFIDENCE_THRESHOLD)]
    confidence_threshold: f32,
    /// Tiles computed at a time; more needs more memory
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    batch: usize,
    #[command(flatten)]
    members: MemberArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Go on with an interrupted scene: repeat the command that was interrupted and add this
    #[arg(long)]
    resume: bool,
    /// Write report.html too: map with layers, table of outlines, how it was made; one file that any browser opens
    #[arg(long)]
    report: bool,
    /// Print run.json, or summary.json of many scenes, to standard output
    #[arg(long)]
    json: bool,
    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

/// The value of `--probability-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProbabilityTypeOption {
    /// 0 to 1, NaN without data
    Float32,
    /// Steps of 0.00002, with GDAL's scale; 65535 without data
    Uint16,
    /// Steps of 0.004, with GDAL's scale; 255 without data
    Uint8,
}

/// The file that says how the others were made.
const REPORT: &str = "run.json";

/// The files that tell of the others.
fn documents(args: &PredictArgs) -> impl Iterator<Item = &'static str> + use<> {
    [REPORT].into_iter().chain(args.report.then_some(REPORT_FILE))
}

/// Set by Ctrl-C; looked at between batches.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu predict`.
///
/// # Errors
/// Input that does not fit, a device that fails, a folder that cannot be written, or Ctrl-C; no result is written then.
pub fn run(args: &PredictArgs) -> Result<()> {
    // From the beginning, so that Ctrl-C always ends with the same message and code; a second one ends the program at once.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    match &args.manifest {
        Some(manifest) => many::run(args, manifest),
        None => one::run(args),
    }
}

fn stop_if_interrupted() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
}

impl PredictArgs {
    /// Refuses options that no scene can have.
    fn check(&self) -> Result<(), Error> {
        if self.smoothing.is_multiple_of(2) || self.smoothing > 101 {
            return Err(Error::bad_argument(
                format!("--smoothing {}", self.smoothing),
                "an odd number of pixels up to 101",
                "give 3, say, or leave it out",
            ));
        }
        if !(0.0..=1.0).contains(&self.confidence_threshold) {
            let found = format!("--confidence-threshold {}", self.confidence_threshold);
            return Err(Error::bad_argument(found, "a confidence from 0 to 1", "give 0.95, say"));
        }
        self.members.check()?;
        let settings = self.products(None);
        settings.outlines.check()?;
        let mut names = settings.names();
        names.extend([REPORT, REPORT_FILE].map(str::to_owned));
        for name in &self.outlines {
            let is_plain = PathBuf::from(name).file_name().is_some_and(|file| file == name.as_str());
            if !is_plain || name.starts_with('.') {
                return Err(Error::bad_argument(
                    format!("--outlines {name}"),
                    "the name of a file in the output folder",
                    "give outlines.gpkg, say, and the folder with --output",
                ));
            }
            check_extension(Path::new(name))?;
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let found = format!("the name {} for two outputs", twice[0]);
            return Err(Error::bad_argument(found, "a name for each", "give --outlines other names"));
        }
        Ok(())
    }

    /// Tells of options that do not do together what one may expect.
    fn warn(&self) {
        if self.iso_line && self.smoothing > 1 {
            tracing::warn!(
                "--smoothing {} has no effect on outlines with --iso-line: they follow the probability, which is not smoothed; --min-area leaves out small ones",
                self.smoothing
            );
        }
    }

    /// What is made of the probabilities.
    fn products<'a>(&self, calibration: Option<&'a crate::evaluate::CalibrationCurve>) -> ProductSettings<'a> {
        ProductSettings {
            smoothing: self.smoothing,
            calibration,
            probability_type: match self.probability_type {
                ProbabilityTypeOption::Float32 => ProbabilityType::Float32,
                ProbabilityTypeOption::Uint16 => ProbabilityType::Uint16,
                ProbabilityTypeOption::Uint8 => ProbabilityType::Uint8,
            },
            outlines: OutlineSettings {
                min_area_km2: self.min_area,
                simplify_m: self.simplify,
                iso_line: self.iso_line,
            },
            outline_names: self.outlines.clone(),
            confidence_bands: self.confidence_bands,
            confidence_threshold: self.confidence_threshold,
            uncertainty: self.members.are_many(),
        }
    }

    fn calibrator(&self) -> Result<Option<Calibrator>, Error> {
        self.calibration.as_deref().map(Calibrator::load).transpose()
    }
}
