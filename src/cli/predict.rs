//! `glavitu predict`: a scene's rasters to glacier outlines.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::atomic_file::check_replaceable;
use crate::cli::device_args::DeviceArgs;
use crate::cli::output_file::{check_writable, write_folder};
use crate::cli::print_line;
use crate::cli::scene_args::SceneArgs;
use crate::error::Error;
use crate::evaluate::Calibrator;
use crate::executor::Executor;
use crate::infer::location::{LocationChoice, location_vector};
use crate::infer::predict::predict;
use crate::infer::products::{FILES, Products};
use crate::infer::tiles::Tiling;
use crate::model::Weights;
use crate::model::network::inference_graph;
use crate::raster::{Grid, Transformer};

/// Map the glaciers of a scene.
///
/// Writes to the output folder: outlines.tif (1 glacier, 0 other, 255 no data), probability.tif and confidence.tif (0 to 1, NaN no data),
/// outlines.gpkg (polygons with area_km2 and mean_confidence), quicklook.png and run.json.
///
/// Rasters on other grids than the optical one are warped to it. A feature's bands come as one file or as one file per band, in order; physical values are computed from the
/// scale, offset and nodata value in each file's metadata.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu predict --model global.safetensors --optical scene.tif --elevation dem.tif -o result
  glavitu predict --model global.safetensors --optical B02.tif B03.tif B04.tif B05.tif B06.tif B07.tif \\
      --elevation dem.tif --calibration global.json --smoothing 3 -o result
  glavitu predict --model regions.safetensors --optical scene.tif --elevation dem.tif --region HMA -o result")]
pub struct PredictArgs {
    /// The model (see `glavitu import`)
    #[arg(long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    #[command(flatten)]
    scene: SceneArgs,
    /// The region, for a model with regions; `unknown` if not given
    #[arg(long, value_name = "NAME", conflicts_with = "region_vector")]
    region: Option<String>,
    /// A JSON file with one weight per region of the model
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    region_vector: Option<PathBuf>,
    /// A confidence calibrator (see `glavitu import calibration`)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    calibration: Option<PathBuf>,
    /// Side of the median filter over the classes, in pixels; odd, 1 for none
    #[arg(long, value_name = "PIXELS", default_value_t = 1)]
    smoothing: usize,
    /// Tiles computed at a time; more needs more memory
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    batch: usize,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print run.json to standard output
    #[arg(long)]
    json: bool,
    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

/// The file that says how the others were made.
const REPORT: &str = "run.json";

/// Set by Ctrl-C; looked at between batches.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu predict`.
///
/// # Errors
/// Input that does not fit, a device that fails, a folder that cannot be written, or Ctrl-C; nothing is written then.
pub fn run(args: &PredictArgs) -> Result<()> {
    let start = Instant::now();
    // From the beginning, so that Ctrl-C always ends with the same message and code; a second one ends the program at once.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    // Everything that can be refused is refused before the long part begins.
    check_smoothing(args.smoothing)?;
    check_writable(&args.output)?;
    for name in FILES.into_iter().chain([REPORT]) {
        check_replaceable(&args.output.join(name))?;
    }
    let weights = Weights::load(&args.model)?;
    let config = weights.config();
    let calibrator = args.calibration.as_deref().map(Calibrator::load).transpose()?;
    let files = args.scene.files();
    let scene = args.scene.open(&config.features)?;
    let location = location_vector(&config.location, location_choice(args), scene.grid())?;
    let grid = scene.grid();
    if grid.width < config.tile || grid.height < config.tile {
        tracing::warn!(
            "the scene ({} x {} pixels) is smaller than the model's tile ({} pixels): it is padded with zeros, as published",
            grid.width,
            grid.height,
            config.tile
        );
    }
    check_position(grid)?;
    let read = start.elapsed();

    let batch = args.device.batch(args.batch, |batch| inference_graph(config, batch))?;
    let mut executor = args.device.executor(&inference_graph(config, batch)?)?;
    executor.load(&weights)?;
    let loaded = start.elapsed();
    stop_if_interrupted()?;
    let tiles = Tiling::new(grid.height, grid.width, config.tile)?.len();
    let bar = progress_bar(tiles);
    let mut progress = |done: usize| {
        bar.set_position(done as u64);
        stop_if_interrupted()
    };
    let probability =
        predict(executor.as_mut(), config, weights.normalisation(), batch, &location, &scene, &mut progress)?;
    bar.finish_and_clear();
    let predicted = start.elapsed();

    let curve = calibrator.as_ref().map(Calibrator::curve);
    let whole = scene.read(grid.window())?;
    let products = Products::new(grid, &whole, probability, args.smoothing, curve.as_ref())?;
    let seconds = |d: Duration| (d.as_secs_f64() * 1e3).round() / 1e3;
    let report = |writing: Duration| {
        json!({
            "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
            "model": {
                "file": args.model,
                "origin": weights.origin(),
                "parameters_sha256": weights.parameters_sha256(),
                "features": config.features,
                "tile": config.tile,
            },
            "calibration": calibrator.as_ref().map(|c| json!({
                "file": args.calibration, "origin": c.origin(), "sha256": c.sha256(), "monotone": c.is_monotone(),
            })),
            "device": executor.device(),
            "precision": "float32",
            "settings": {
                "smoothing": args.smoothing,
                "batch": batch,
                "exact": args.device.exact,
                "precision": args.device.options().precision.to_string(),
                "location": location,
                "region": args.region,
                "region_vector": args.region_vector,
                "rasters": args.scene.settings(),
            },
            "inputs": files.all().collect::<Vec<_>>(),
            "slope": if files.slope.is_some() { "given" } else { "derived from the elevation (Horn 1981)" },
            "grid": {
                "width": grid.width,
                "height": grid.height,
                "transform": grid.transform,
                "crs": grid.crs.as_ref().map(|crs| crs.name.clone()),
                "epsg": grid.crs.as_ref().and_then(|crs| crs.epsg),
            },
            "tiles": tiles,
            "memory_bytes_planned": executor.plan().peak_bytes(),
            "result": products.summary(),
            "seconds": {
                "reading": seconds(read),
                "loading": seconds(loaded - read),
                "predicting": seconds(predicted - loaded),
                "writing": seconds(writing),
                "total": seconds(start.elapsed()),
            },
        })
    };
    let origin = origin(args, &weights, calibrator.as_ref(), executor.as_ref());
    let report = write(args, &products, &origin, || report(start.elapsed() - predicted))?;
    announce(args, &products, &report, start.elapsed())
}

/// Writes all files, or none and leaves no folder behind; gives the report, which is made when all else is written.
fn write(
    args: &PredictArgs,
    products: &Products<'_>,
    origin: &[(String, String)],
    report: impl FnOnce() -> Value,
) -> Result<Value> {
    Ok(write_folder(&args.output, |staged| {
        products.stage(&args.output, origin, &title(&args.model), staged)?;
        let report = report();
        staged.stage_bytes(args.output.join(REPORT), format!("{report:#}\n").as_bytes())?;
        stop_if_interrupted()?;
        Ok(report)
    })?)
}

fn stop_if_interrupted() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Says on standard output what was found: to people in a line, to programs as JSON.
fn announce(args: &PredictArgs, products: &Products<'_>, report: &Value, elapsed: Duration) -> Result<()> {
    if args.json {
        print_line(format_args!("{report:#}"))
    } else {
        print_line(format_args!(
            "{} outlines, {:.2} km2 of glacier, in {:.1} s; see {}",
            products.outline_count(),
            products.glacier_area_km2(),
            elapsed.as_secs_f64(),
            args.output.display()
        ))
    }
}

fn location_choice(args: &PredictArgs) -> LocationChoice<'_> {
    match (&args.region, &args.region_vector) {
        (Some(region), _) => LocationChoice::Region(region),
        (None, Some(path)) => LocationChoice::VectorFile(path),
        (None, None) => LocationChoice::Unset,
    }
}

/// Names and values that every output file carries.
fn origin(
    args: &PredictArgs,
    weights: &Weights,
    calibrator: Option<&Calibrator>,
    executor: &dyn Executor,
) -> Vec<(String, String)> {
    let model = args.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let calibration = calibrator.map_or_else(|| "none".to_owned(), Calibrator::sha256);
    [
        ("GLAVITU_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("GLAVITU_MODEL", model),
        ("GLAVITU_PARAMETERS_SHA256", weights.parameters_sha256().to_owned()),
        ("GLAVITU_CALIBRATION_SHA256", calibration),
        ("GLAVITU_DEVICE", executor.device()),
        ("GLAVITU_PRECISION", "float32".to_owned()),
        ("GLAVITU_SMOOTHING", args.smoothing.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn title(model: &Path) -> String {
    format!("GLAVITU {}", model.file_stem().unwrap_or_default().to_string_lossy())
}

fn check_smoothing(size: usize) -> Result<(), Error> {
    if size % 2 == 1 && size <= 101 {
        return Ok(());
    }
    Err(Error::bad_argument(
        format!("--smoothing {size}"),
        "an odd number of pixels up to 101",
        "give 3, say, or leave it out",
    ))
}

/// Finds out before computing whether the scene lies on the Earth, as its outlines' areas need.
fn check_position(grid: &Grid) -> Result<(), Error> {
    let Some(crs) = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty()) else { return Ok(()) };
    let transformer = Transformer::to_longitude_latitude(crs)?;
    #[expect(clippy::cast_precision_loss, reason = "rasters have fewer than 2^52 columns and rows")]
    let (width, height) = (grid.width as f64, grid.height as f64);
    let corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)];
    // The corners of a map of a hemisphere lie beside the Earth; its centre never does.
    let centre = [(width / 2.0, height / 2.0)];
    for &(col, row) in centre.iter().chain(corners.iter().filter(|_| crs.geographic)) {
        let (x, y) = grid.position(col, row);
        transformer.apply(x, y)?;
    }
    Ok(())
}

/// A bar on a terminal; nothing where standard error is piped.
fn progress_bar(tiles: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(tiles as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} tiles  {elapsed_precise}, {eta_precise} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
