//! One scene, from its rasters to its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::atomic_file::{StagedFiles, check_replaceable};
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_writable;
use crate::cli::predict::engine::{Engine, Ready};
use crate::cli::predict::{PredictArgs, REPORT, documents, identity, stop_if_interrupted};
use crate::cli::print_line;
use crate::cli::scene_args::SceneArgs;
use crate::error::Error;
use crate::evaluate::Calibrator;
use crate::infer::extent::Extent;
use crate::infer::location::{LocationChoice, location_vector};
use crate::infer::predict::{Members, Network, PART_BYTES, WindowCounts, predict_members};
use crate::infer::products::{Labels, ProductSummary, optional_files, stage_products};
use crate::infer::scene::Scene;
use crate::infer::spool::{Earlier, Spool};
use crate::model::{Location, Weights};
use crate::raster::{Grid, Transformer};
use crate::report::REPORT_FILE;
use crate::report::predicted::{self, Predicted};

/// A scene to be mapped.
pub(super) struct Job {
    /// Its name, where it is one of many.
    pub(super) id: Option<String>,
    /// Its rasters.
    pub(super) scene: SceneArgs,
    pub(super) region: Option<String>,
    pub(super) date: Option<String>,
    /// The folder of its results.
    pub(super) output: PathBuf,
    /// What to do with an interrupted run there.
    pub(super) earlier: Earlier,
}

/// A scene that was mapped.
pub(super) struct Mapped {
    pub(super) report: Value,
    pub(super) summary: ProductSummary,
}

/// Maps the scene of the arguments.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let start = Instant::now();
    // Everything that can be refused is refused before the long part begins.
    args.check()?;
    args.warn();
    let job = Job {
        id: None,
        scene: args.scene.clone(),
        region: args.region.clone(),
        date: None,
        output: args.output.clone(),
        earlier: if args.resume { Earlier::Resume } else { Earlier::Refuse },
    };
    check_folder(args, &job.output)?;
    let mut engine = Engine::open(args)?;
    let Mapped { report, summary } = map(args, &mut engine, &job)?;
    if args.json {
        return print_line(format_args!("{report:#}"));
    }
    print_line(format_args!(
        "{} outlines, {:.2} km2 of glacier, in {:.1} s; see {}",
        summary.outlines,
        summary.glacier_area_km2,
        start.elapsed().as_secs_f64(),
        args.output.display()
    ))
}

/// Finds out before computing whether all files can be made.
pub(super) fn check_folder(args: &PredictArgs, folder: &Path) -> Result<(), Error> {
    check_writable(folder)?;
    let names = args.products(None).names();
    let documents = documents(args).map(str::to_owned);
    names.into_iter().chain(documents).try_for_each(|name| check_replaceable(&folder.join(name)))
}

/// Maps one scene. After an error the output folder is as it was, but for rows that an interrupted run can go on from.
pub(super) fn map(args: &PredictArgs, engine: &mut Engine<'_>, job: &Job) -> Result<Mapped> {
    let start = Instant::now();
    let config = engine.model().config();
    let scene = job.scene.open(&config.features)?;
    let assumed = job.scene.assume_crs.as_deref().map(parse_crs).transpose()?;
    let extent = Extent::new(scene.grid(), args.window.map(|w| w.0), args.aoi.as_deref(), assumed.as_ref())?;
    let locations = locations(args, engine, job, scene.grid())?;
    let grid = scene.grid().part(extent.window());
    let whole = scene.grid();
    if whole.width < config.tile || whole.height < config.tile {
        tracing::warn!(
            "the scene ({} x {} pixels) is smaller than the model's tile ({} pixels): it is padded with zeros, as published",
            whole.width,
            whole.height,
            config.tile
        );
    }
    check_position(&grid)?;
    let opened = start.elapsed();
    let mut ready = engine.take()?;
    let loaded = start.elapsed();
    stop_if_interrupted()?;
    let work = Work { args, engine, job, scene: &scene, extent: &extent, grid: &grid, locations: &locations };
    let mapped = work.run(&mut ready, [opened, loaded], start);
    // A device that failed may not come back to life.
    let is_alive = match &mapped {
        Ok(_) => true,
        Err(error) => error.downcast_ref::<Error>().is_some_and(|error| error.is_bad_input()),
    };
    if is_alive {
        engine.keep(ready);
    }
    mapped
}

/// What a scene is mapped with.
struct Work<'a> {
    args: &'a PredictArgs,
    engine: &'a Engine<'a>,
    job: &'a Job,
    scene: &'a Scene,
    extent: &'a Extent,
    grid: &'a Grid,
    /// Of each model.
    locations: &'a [Vec<f32>],
}

impl Work<'_> {
    fn run(&self, ready: &mut Ready, [opened, loaded]: [Duration; 2], start: Instant) -> Result<Mapped> {
        let Self { args, engine, job, grid, .. } = self;
        let output = &job.output;
        let is_new = !output.exists();
        let place = (self.scene.grid(), self.extent, self.locations);
        let identity = identity::of_probabilities(args, engine, job, ready, place);
        let networks = self.networks(ready.batch);
        let channels = self.members(&networks).channels();
        let opening = Spool::of_channels(output, (grid.height, grid.width), channels, &identity, job.earlier);
        let mut spool = opening.inspect_err(|_| remove_if_new(output, is_new))?;
        let before = spool.rows();
        if before > 0 {
            tracing::info!("going on after {before} of {} rows", grid.height);
        }
        let mut all = || {
            let counts = self.predict(ready, &mut spool)?;
            let computed = start.elapsed();
            let mut staged = StagedFiles::new();
            let summary = self.stage(ready, &mut spool, &mut staged)?;
            let times = [opened, loaded, computed, start.elapsed()];
            let report = self.report(ready, counts, before, &summary, times)?;
            staged.stage_bytes(output.join(REPORT), format!("{report:#}\n").as_bytes())?;
            // Files of an earlier run would be taken for parts of this one.
            let made = args.products(None).names();
            let left = optional_files().chain([REPORT_FILE]).filter(|name| !made.iter().any(|made| made == name));
            left.for_each(|name| staged.remove(output.join(name)));
            stop_if_interrupted()?;
            staged.publish()?;
            if args.report {
                let made = Predicted { folder: output, run: &report, imagery: &summary.imagery };
                predicted::report(&made)?.write(&output.join(REPORT_FILE))?;
            }
            Ok(Mapped { report, summary })
        };
        let result: Result<Mapped, Error> = all();
        match result {
            Ok(mapped) => {
                spool.remove()?;
                Ok(mapped)
            }
            Err(error) if spool.rows() == 0 => {
                // What failed is to be told, not that nothing could be tidied up.
                let _ = spool.remove();
                remove_if_new(output, is_new);
                Err(error.into())
            }
            Err(Error::Interrupted) if job.id.is_none() => {
                Err(Error::Paused { command: "predict", folder: output.clone() }.into())
            }
            Err(Error::Interrupted) => Err(Error::Interrupted.into()),
            Err(error) => {
                tracing::warn!(
                    "{} of {} rows are kept in {}: --resume goes on from there",
                    spool.rows(),
                    grid.height,
                    output.display()
                );
                Err(error.into())
            }
        }
    }

    /// What the executors run.
    fn networks(&self, batch: usize) -> Vec<Network<'_>> {
        let models = self.engine.models().iter().zip(self.locations);
        models
            .map(|(model, location)| Network {
                config: model.config(),
                normalisation: model.normalisation(),
                batch,
                location,
                part_bytes: PART_BYTES,
            })
            .collect()
    }

    fn members<'b>(&'b self, models: &'b [Network<'b>]) -> Members<'b> {
        let (members, dropout) = (&self.args.members, self.engine.dropout.as_slice());
        Members { models, symmetries: members.symmetries(), dropout, runs: members.runs() }
    }

    fn predict(&self, ready: &mut Ready, spool: &mut Spool) -> Result<WindowCounts, Error> {
        let networks = self.networks(ready.batch);
        let members = self.members(&networks);
        let tile = self.engine.model().config().tile;
        let bar = progress_bar(self.extent.tiling(self.scene.grid(), tile)?.len(), "tiles");
        let is_first = spool.rows() == 0;
        let mut executors = ready.executors();
        let counts = predict_members(&mut executors, &members, self.scene, self.extent, spool, &mut |done| {
            bar.set_position(done as u64);
            stop_if_interrupted()
        });
        bar.finish_and_clear();
        match counts? {
            // Nothing to go on from.
            WindowCounts { computed: 0, .. } if is_first => {
                spool.clear()?;
                Err(Error::bad_argument(
                    "no pixel that has data in every raster",
                    "rasters that overlap",
                    "check nodata values and extents",
                ))
            }
            counts => Ok(counts),
        }
    }

    fn stage(&self, ready: &Ready, spool: &mut Spool, staged: &mut StagedFiles) -> Result<ProductSummary, Error> {
        let bar = progress_bar(self.grid.height, "rows");
        let origin = origin(self.args, self.engine, self.job, ready.device());
        let title = title(&self.args.model);
        let summary = stage_products(
            spool,
            self.scene,
            self.extent,
            &self.args.products(self.engine.curve.as_ref()),
            &Labels { origin: &origin, title: &title },
            &self.job.output,
            staged,
            &mut |done| {
                bar.set_position(done as u64);
                stop_if_interrupted()
            },
        );
        bar.finish_and_clear();
        summary
    }

    fn report(
        &self,
        ready: &Ready,
        counts: WindowCounts,
        before: usize,
        summary: &ProductSummary,
        [opened, loaded, predicted, written]: [Duration; 4],
    ) -> Result<Value, Error> {
        let Self { args, engine, job, grid, locations, .. } = self;
        let (weights, files) = (engine.model(), job.scene.files());
        let config = weights.config();
        let window = self.extent.window();
        let is_whole = window == self.scene.grid().window();
        let seconds = |d: Duration| (d.as_secs_f64() * 1e3).round() / 1e3;
        Ok(json!({
            "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
            "id": job.id,
            "date": job.date,
            "model": {
                "file": args.model,
                "origin": weights.origin(),
                "parameters_sha256": weights.parameters_sha256(),
                "features": config.features,
                "tile": config.tile,
            },
            "members": self.members_json(),
            "calibration": engine.calibrator.as_ref().map(|c| json!({
                "file": args.calibration, "origin": c.origin(), "sha256": c.sha256(), "monotone": c.is_monotone(),
            })),
            "device": ready.device(),
            "precision": "float32",
            "settings": {
                "smoothing": args.smoothing,
                "batch": ready.batch,
                "exact": args.device.exact,
                "precision": args.device.options().precision.to_string(),
                "location": locations.first(),
                "region": job.region,
                "region_vector": args.region_vector,
                "rasters": job.scene.settings(),
                "aoi": args.aoi,
                "probability_type": args.products(None).probability_type.name(),
                "min_area_km2": args.min_area,
                "simplify_m": args.simplify,
                "iso_line": args.iso_line,
            },
            "settings_sha256": identity::of_results(args, engine, job),
            "inputs": files.all().collect::<Vec<_>>(),
            "slope": if files.slope.is_some() { "given" } else { "derived from the elevation (Horn 1981)" },
            "grid": {
                "width": grid.width,
                "height": grid.height,
                "transform": grid.transform,
                "crs": grid.crs.as_ref().map(|crs| crs.name.clone()),
                "epsg": grid.crs.as_ref().and_then(|crs| crs.epsg),
            },
            "window": (!is_whole).then_some([window.row, window.col, window.height, window.width]),
            "files": args.products(None).names(),
            "tiles": self.extent.tiling(self.scene.grid(), config.tile)?.len(),
            "tiles_without_data": counts.skipped,
            "resumed_after_rows": before,
            "memory_bytes_planned": ready.peak_bytes(),
            "result": summary.json(),
            "seconds": {
                "reading": seconds(opened),
                "loading": seconds(loaded.saturating_sub(opened)),
                "predicting": seconds(predicted.saturating_sub(loaded)),
                "writing": seconds(written.saturating_sub(predicted)),
                "total": seconds(written),
            },
        }))
    }

    /// Who the members were; null for a model alone.
    fn members_json(&self) -> Value {
        let (args, engine) = (self.args, self.engine);
        let mut members = args.members.json(&engine.dropout);
        if members.is_null() {
            return members;
        }
        let others = args.members.ensemble.iter().zip(engine.models().iter().zip(self.locations).skip(1));
        let ensemble = others.map(|(path, (model, location))| {
            json!({
                "file": path,
                "origin": model.origin(),
                "parameters_sha256": model.parameters_sha256(),
                "location": location,
            })
        });
        members["ensemble"] = ensemble.collect();
        members
    }
}

fn remove_if_new(folder: &Path, is_new: bool) {
    if is_new {
        // Only an empty folder can be removed so.
        let _ = fs::remove_dir(folder);
    }
}

/// The location input of every model. A choice of regions is for those that have regions; where none has, it is refused.
fn locations(args: &PredictArgs, engine: &Engine<'_>, job: &Job, grid: &Grid) -> Result<Vec<Vec<f32>>, Error> {
    let has_regions = |model: &Weights| matches!(model.config().location, Location::Regions(_));
    let any = engine.models().iter().any(has_regions);
    let choice = |model: &Weights| match location_choice(args, job) {
        _ if any && !has_regions(model) => LocationChoice::Unset,
        choice => choice,
    };
    engine.models().iter().map(|model| location_vector(&model.config().location, choice(model), grid)).collect()
}

fn location_choice<'a>(args: &'a PredictArgs, job: &'a Job) -> LocationChoice<'a> {
    match (&job.region, &args.region_vector) {
        (Some(region), _) => LocationChoice::Region(region),
        (None, Some(path)) => LocationChoice::VectorFile(path),
        (None, None) => LocationChoice::Unset,
    }
}

/// Names and values that every output file carries.
fn origin(args: &PredictArgs, engine: &Engine<'_>, job: &Job, device: String) -> Vec<(String, String)> {
    let model = args.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let calibration = engine.calibrator.as_ref().map_or_else(|| "none".to_owned(), Calibrator::sha256);
    let fixed = [
        ("GLAVITU_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("GLAVITU_MODEL", model),
        ("GLAVITU_PARAMETERS_SHA256", engine.model().parameters_sha256().to_owned()),
        ("GLAVITU_CALIBRATION_SHA256", calibration),
        ("GLAVITU_DEVICE", device),
        ("GLAVITU_PRECISION", "float32".to_owned()),
        ("GLAVITU_SMOOTHING", args.smoothing.to_string()),
    ];
    let members = args.members.json(&engine.dropout);
    let members = (!members.is_null()).then(|| members.to_string());
    let others = engine.models().iter().skip(1).map(|model| model.parameters_sha256().to_owned());
    let others = Some(others.collect::<Vec<_>>().join(" ")).filter(|others| !others.is_empty());
    let known = [
        ("GLAVITU_SCENE", job.id.clone()),
        ("GLAVITU_DATE", job.date.clone()),
        ("GLAVITU_MEMBERS", members),
        ("GLAVITU_ENSEMBLE_PARAMETERS_SHA256", others),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
    fixed.into_iter().chain(known).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn title(model: &Path) -> String {
    format!("GLAVITU {}", model.file_stem().unwrap_or_default().to_string_lossy())
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
fn progress_bar(length: usize, of: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}  {elapsed_precise}, {eta_precise} left")
    {
        bar.set_style(style);
    }
    bar.set_message(of);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
