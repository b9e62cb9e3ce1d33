//! `glavitu train`: tile files to a model.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use toml::{Table, Value};

use crate::cli::device_args::PrecisionOption;
use crate::cli::print_line;
use crate::dataset::augmentation::Augmentation;
use crate::error::Error;
use crate::model::Feature;
use crate::plan::MemorySize;
use crate::report::{REPORT_FILE, trained};
use crate::train::log_file::EpochRow;
use crate::train::run::{CONFIG, Earlier, Outlook, Progress, Summary, Training, Watch, check_unused};
use crate::train::settings::{Given, ModelSize, TrainSettings};

/// Train a model on tile files.
///
/// Settings that are not given are those of the published recipe of the strategy. The folder gets config.toml (every setting), log.csv (one
/// row per epoch), timing.csv, curves.svg, event files for TensorBoard, checkpoint.safetensors, and the models best_iou.safetensors,
/// best_loss.safetensors and last.safetensors.
///
/// Ctrl-C ends the run after the step under way; --resume continues it. On the CPU a run that was stopped, even by force, comes to the same
/// weights as one that was not.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Strategies:
  global               one model for all regions
  regional             one model for the regions of --regions
  finetuning           the model of --from, continued for 80 epochs at a tenth of the learning rate
  region-encoding      one model that is told the region (see --region of `glavitu predict`)
  coordinate-encoding  one model that is told latitude and longitude

Examples:
  glavitu train --train train.hdf5 --validation validation.hdf5 -o run
  glavitu train --train t.hdf5 --validation v.hdf5 --strategy regional --regions ALP,SC --features optical,dem,thermal -o alps
  glavitu train --train t.hdf5 --validation v.hdf5 --strategy finetuning --from run/best_iou.safetensors --regions NZ -o nz
  glavitu train --config recipe.toml --lr 1e-4 -o run2
  glavitu train --resume -o run
  glavitu train --train t.hdf5 --validation v.hdf5 --report -o run
  glavitu train --train t.hdf5 --validation v.hdf5 --dry-run > recipe.toml")]
pub struct TrainArgs {
    /// Tile files (HDF5) or folders of GeoTIFF tiles to learn from (see `glavitu prepare`)
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    train: Vec<PathBuf>,
    /// Tile files or folders to choose the best model by
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    validation: Vec<PathBuf>,
    /// How to train; global if not given
    #[arg(long, value_enum)]
    strategy: Option<StrategyOption>,
    /// Take tiles of these regions only
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// Take tiles of these subregions only
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    subregions: Option<Vec<String>>,
    /// Leave tiles of these regions out
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    exclude_regions: Option<Vec<String>>,
    /// Take tiles of these sensors only (their attribute 'sensor')
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    sensors: Option<Vec<String>>,
    /// Leave tiles of these sensors out
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    exclude_sensors: Option<Vec<String>>,
    /// The features of the model: optical, dem, co_pol_sar, cross_pol_sar, in_sar, thermal; optical,dem if not given
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    features: Option<Vec<Feature>>,
    /// A model to continue from; its sizes and features are taken
    #[arg(long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// A TOML file with any of the settings (see --dry-run); options here are stronger
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Epochs; 150, or 80 for fine-tuning
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Patches per step; 8
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// The highest learning rate; 5e-4, or 5e-5 for fine-tuning
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// The learning rate over time: cosines restarted at epochs 10, 30, 70 and 150; one cosine (for fine-tuning); constant
    #[arg(long, value_enum)]
    schedule: Option<ScheduleOption>,
    /// Steps per epoch; four times the batches in the training files
    #[arg(long, value_name = "N")]
    steps_per_epoch: Option<u32>,
    /// What is minimised; weights of several are set in the file of --config
    #[arg(long, value_enum)]
    loss: Option<LossOption>,
    /// Labels become t (1 - s) + s / 2; 0.1
    #[arg(long, value_name = "S")]
    label_smoothing: Option<f64>,
    /// Pixels without a label carry no loss, or count as other ground, as in the published evaluation
    #[arg(long, value_enum)]
    unlabelled: Option<UnlabelledOption>,
    /// Random changes of the patches
    #[arg(long, value_enum)]
    augmentation: Option<AugmentationOption>,
    /// Shorten gradients to this norm; 0 for never
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Sharpness-aware minimisation with this radius, which takes twice the time; 0 for none
    #[arg(long, value_name = "RHO")]
    sharpness: Option<f64>,
    /// Sizes of the network; each can be set in the file of --config
    #[arg(long, value_enum)]
    model_size: Option<SizeOption>,
    /// Side of a patch in pixels, a multiple of 16; 384
    #[arg(long, value_name = "PIXELS")]
    tile: Option<u32>,
    /// Decides first weights, patches and augmentation; 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    seed: Option<i64>,
    /// auto, cpu, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`)
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Take convolutions in their direct form, which rounds less and takes longer
    #[arg(long)]
    exact: bool,
    /// Hold no more than this on the device, as in 4GiB or 500MB: what does not fit is computed again, which changes no weight
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<MemorySize>,
    /// Training is in f32 alone
    #[arg(long, value_enum, hide = true, default_value = "f32")]
    precision: PrecisionOption,
    /// Threads that prepare patches; 4
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// Write a checkpoint every so many steps instead of every five minutes; one comes after every epoch in any case
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u32>,
    /// Continue the run in the folder; needs no other option
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Remove an earlier run's files from the folder first
    #[arg(long)]
    overwrite: bool,
    /// At the end, write report.html: curves, regions, epochs, settings; one file that any browser opens
    #[arg(long)]
    report: bool,
    /// Print the settings and what the run would need, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON instead of a line per epoch
    #[arg(long)]
    json: bool,
    /// The run's folder; it is made if it does not exist
    #[arg(short, long, value_name = "RUN", required_unless_present = "dry_run", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyOption {
    Global,
    Regional,
    Finetuning,
    RegionEncoding,
    CoordinateEncoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScheduleOption {
    Restarts,
    Cosine,
    Constant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LossOption {
    Focal,
    Dice,
    Tversky,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnlabelledOption {
    Ignore,
    Background,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AugmentationOption {
    Published,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SizeOption {
    /// 10 million parameters, tiles of 384 pixels
    Published,
    /// Half a million parameters, tiles of 128 pixels
    Small,
    /// To see whether everything works; tiles of 32 pixels
    Tiny,
}

/// Set by Ctrl-C; looked at between steps.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu train`.
///
/// # Errors
/// Settings or files that do not fit, a device that fails, a loss that is not a number, or Ctrl-C.
pub fn run(args: &TrainArgs) -> Result<()> {
    let start = Instant::now();
    let earlier = match (args.resume, args.overwrite) {
        (true, _) => Earlier::Resume,
        (_, true) => Earlier::Overwrite,
        _ => Earlier::Refuse,
    };
    if let (Earlier::Refuse, Some(folder), false) = (earlier, &args.output, args.dry_run) {
        check_unused(folder)?;
    }
    args.precision.refuse_for_gradients()?;
    let settings = settings(args)?;
    let training = Training::prepare(&settings)?;
    let Some(folder) = args.output.as_ref().filter(|_| !args.dry_run) else {
        return print_plan(args.json, &settings, training.outlook());
    };
    // A second Ctrl-C ends the program at once; the last checkpoint stays.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    let mut display = Display::new(args.json, training.outlook());
    let result = training.run(folder, earlier, &mut display);
    display.bar.finish_and_clear();
    let summary = result?;
    if args.report {
        let path = folder.join(REPORT_FILE);
        trained::report(&folder.display().to_string(), &settings.to_toml()?, &summary).write(&path)?;
    }
    announce(args.json, &summary, start.elapsed())
}

/// The settings of a new run, or of the one that continues.
fn settings(args: &TrainArgs) -> Result<TrainSettings> {
    let size = args.model_size.map(|size| match size {
        SizeOption::Published => ModelSize::Published,
        SizeOption::Small => ModelSize::Small,
        SizeOption::Tiny => ModelSize::Tiny,
    });
    let given = Given { size, file: args.config.clone(), flags: flags(args)? };
    let config = args.output.as_ref().filter(|_| args.resume).map(|folder| folder.join(CONFIG));
    match config {
        Some(config) if config.exists() => Ok(TrainSettings::resume(&config, &given)?),
        Some(config) if args.train.is_empty() && args.config.is_none() => Err(Error::bad_file(
            &config,
            "no such file",
            "a run that was begun",
            "check the folder, or give --train and --validation to begin one",
        )
        .into()),
        _ => Ok(TrainSettings::resolve(&given)?),
    }
}

/// The options as the configuration file would have them.
fn flags(args: &TrainArgs) -> Result<Table> {
    let mut table = Table::new();
    let mut set = |path: &str, value: Option<Value>| {
        let (group, key) = path.split_once('.').unwrap_or(("", path));
        let Some(value) = value else { return };
        if group.is_empty() {
            table.insert(key.to_owned(), value);
        } else if let Value::Table(group) = table.entry(group).or_insert_with(|| Value::Table(Table::new())) {
            group.insert(key.to_owned(), value);
        }
    };
    set("train", files(&args.train)?);
    set("validation", files(&args.validation)?);
    set("from", files(args.from.as_slice())?.and_then(|list| list.as_array()?.first().cloned()));
    set("strategy", args.strategy.map(name));
    let list =
        |names: &Option<Vec<String>>| names.clone().map(|n| Value::Array(n.into_iter().map(Value::from).collect()));
    set("regions", list(&args.regions));
    set("subregions", list(&args.subregions));
    set("exclude_regions", list(&args.exclude_regions));
    set("sensors", list(&args.sensors));
    set("exclude_sensors", list(&args.exclude_sensors));
    set("model.features", list(&args.features.as_ref().map(|f| f.iter().map(|f| f.name().to_owned()).collect())));
    set("epochs", args.epochs.map(Value::from));
    set("batch", args.batch.map(Value::from));
    set("learning_rate", args.lr.map(Value::from));
    set("schedule.kind", args.schedule.map(name));
    set("steps_per_epoch", args.steps_per_epoch.map(Value::from));
    if let Some(loss) = args.loss {
        for (key, chosen) in
            [("focal", LossOption::Focal), ("dice", LossOption::Dice), ("tversky", LossOption::Tversky)]
        {
            set(&format!("objective.{key}"), Some(Value::Float(f64::from(u8::from(loss == chosen)))));
        }
    }
    set("label_smoothing", args.label_smoothing.map(Value::from));
    set("unlabelled", args.unlabelled.map(name));
    let augmentation = args.augmentation.map(|choice| match choice {
        AugmentationOption::Published => Augmentation::default(),
        AugmentationOption::None => Augmentation::none(),
    });
    set("augmentation", augmentation.map(Value::try_from).transpose()?);
    set("adam.clip_norm", args.clip_norm.map(Value::from));
    set("adam.sharpness", args.sharpness.map(Value::from));
    set("model.tile", args.tile.map(Value::from));
    set("seed", args.seed.map(Value::from));
    set("device", args.device.clone().map(Value::from));
    set("exact", args.exact.then_some(Value::from(true)));
    set("max_memory", args.max_memory.map(|size| Value::from(size.to_string())));
    set("workers", args.workers.map(Value::from));
    set("checkpoint_every", args.checkpoint_every.map(Value::from));
    Ok(table)
}

/// The name of an option's value, as it is in files too.
fn name<T: ValueEnum>(value: T) -> Value {
    Value::from(value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned()))
}

fn files(paths: &[PathBuf]) -> Result<Option<Value>> {
    let text = |path: &PathBuf| {
        path.to_str().map(Value::from).ok_or_else(|| {
            Error::bad_file(path, "a path that is not Unicode", "one that config.toml can hold", "rename the file")
        })
    };
    let list: Vec<Value> = paths.iter().map(text).collect::<Result<_, _>>()?;
    Ok((!list.is_empty()).then_some(Value::Array(list)))
}

/// What `--dry-run` shows: a text that `--config` takes.
fn print_plan(as_json: bool, settings: &TrainSettings, outlook: &Outlook) -> Result<()> {
    if as_json {
        return print_line(format_args!("{:#}", json!({ "settings": settings, "outlook": outlook })));
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let samples = outlook.steps_per_epoch as u64 * settings.batch as u64;
    print_line(format_args!(
        "# {} parameters, {} of them trainable\n\
         # {} training tiles with {} patches: {} steps of {} patches per epoch ({samples} patches)\n\
         # {} validation tiles with {} patches\n\
         # memory on {}: {} MiB for training, {} MiB for validation\n{}",
        outlook.parameters,
        outlook.trainable,
        outlook.train_tiles,
        outlook.train_patches,
        outlook.steps_per_epoch,
        settings.batch,
        outlook.validation_tiles,
        outlook.validation_patches,
        outlook.device,
        mib(outlook.training_bytes),
        mib(outlook.validation_bytes),
        settings.to_toml()?.trim_end(),
    ))
}

fn announce(as_json: bool, summary: &Summary, elapsed: Duration) -> Result<()> {
    if as_json {
        let mut value = json!(summary);
        value["seconds"] = json!((elapsed.as_secs_f64() * 1e3).round() / 1e3);
        return print_line(format_args!("{value:#}"));
    }
    let best = |best: Option<crate::train::checkpoint::Best>, digits: usize| {
        best.map_or_else(|| "none".to_owned(), |b| format!("{:.digits$} (epoch {})", b.value, b.epoch))
    };
    print_line(format_args!(
        "{} epochs in {}: best validation IoU {}, lowest validation loss {}; the model is {}",
        summary.epochs,
        duration(elapsed.as_secs_f64()),
        best(summary.best_iou, 4),
        best(summary.best_loss, 6),
        summary.model.display()
    ))
}

/// The live line, and one line per epoch.
struct Display {
    bar: ProgressBar,
    quiet: bool,
    /// Time that the validation of an epoch takes, for the estimate.
    validation_seconds: f64,
    last: Option<Progress>,
    batch: f64,
}

impl Display {
    fn new(quiet: bool, outlook: &Outlook) -> Self {
        let bar = ProgressBar::with_draw_target(Some(outlook.steps_per_epoch as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self { bar, quiet, validation_seconds: 0.0, last: None, batch: 0.0 }
    }

    /// Seconds to the end of the run.
    #[expect(clippy::cast_precision_loss, reason = "numbers of steps are far below 2^52")]
    fn seconds_left(&self, p: &Progress) -> f64 {
        let epochs = p.epochs.saturating_sub(p.epoch) as f64;
        let steps = (p.steps - p.step) as f64 + epochs * p.steps as f64;
        steps * self.batch / p.samples_per_second.max(1e-9) + (epochs + 1.0) * self.validation_seconds
    }
}

impl Watch for Display {
    fn step(&mut self, progress: &Progress) {
        self.batch = progress.batch as f64;
        self.last = Some(*progress);
        self.bar.set_length(progress.steps as u64);
        self.bar.set_position(progress.step as u64);
        self.bar.set_prefix(format!("epoch {}/{}", progress.epoch, progress.epochs));
        self.bar.set_message(format!(
            "loss {:.5} IoU {} lr {:.2e} {:.1} samples/s, {} left",
            progress.loss,
            iou(progress.iou),
            progress.learning_rate,
            progress.samples_per_second,
            duration(self.seconds_left(progress)),
        ));
    }

    fn validation(&mut self, done: usize, all: usize) {
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message("validation");
    }

    fn epoch(&mut self, row: &EpochRow) {
        self.validation_seconds = row.validation_seconds;
        if self.quiet {
            return;
        }
        let line = format!(
            "epoch {}: loss {:.5}, IoU {}; validation loss {:.5}, IoU {}; {}",
            row.epoch,
            row.train.total,
            iou(row.train_iou),
            row.validation.losses.total,
            iou(row.validation.iou),
            duration(row.training_seconds + row.validation_seconds)
        );
        // A reader that has gone does not end the training.
        self.bar.suspend(|| drop(print_line(line)));
    }

    fn stop(&self) -> bool {
        STOP.load(Ordering::SeqCst)
    }
}

fn iou(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"))
}

/// Hours, minutes and seconds; tenths where it is short.
fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; no run takes that long")]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
