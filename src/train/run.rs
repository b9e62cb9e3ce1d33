//! The training loop: epochs of steps, validation, the best models, checkpoints and logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::atomic_file::{TEMPORARY, write_atomically};
use crate::dataset::batches::{Prefetch, random_batch};
use crate::dataset::sampling::TileSet;
use crate::error::{Error, Result};
use crate::model::parameters::count;
use crate::model::{Location, Normalisation, Weights, parameters};
use crate::plan::PlanOptions;
use crate::train::checkpoint::{Best, CHECKPOINT, Checkpoint, Position};
use crate::train::curves::{CURVES, write_curves};
use crate::train::initialisation::initial_weights;
use crate::train::log_file::{EpochRow, LOG, Losses, TIMING, Validation, write_logs};
use crate::train::settings::{Strategy, TrainSettings};
use crate::train::step::{StepLosses, TrainingStep};
use crate::train::tensorboard::EventFile;
use crate::train::validation::Validator;

/// File name of the settings.
pub const CONFIG: &str = "config.toml";
/// File name of the weights with the highest validation IoU.
pub const BEST_IOU: &str = "best_iou.safetensors";
/// File name of the weights with the lowest validation loss.
pub const BEST_LOSS: &str = "best_loss.safetensors";
/// File name of the weights after the last epoch.
pub const LAST: &str = "last.safetensors";
/// Everything that a run writes, but for the event files.
const FILES: [&str; 8] = [CONFIG, CHECKPOINT, LOG, TIMING, CURVES, BEST_IOU, BEST_LOSS, LAST];

/// Time between checkpoints where no number of steps is set.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);
/// Steps between points of the event file; an epoch's points come with every epoch.
const EVENT_STEPS: u64 = 10;

/// What to do about an earlier run in the same folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Earlier {
    /// Refuse to begin.
    #[default]
    Refuse,
    /// Continue it.
    Resume,
    /// Remove its files.
    Overwrite,
}

/// What happens in the loop, for progress displays.
pub trait Watch {
    /// A training step is done.
    fn step(&mut self, progress: &Progress);
    /// A validation batch is done, out of so many.
    fn validation(&mut self, done: usize, all: usize);
    /// An epoch is done and its files are written.
    fn epoch(&mut self, row: &EpochRow);
    /// Whether the run shall stop now; it can be continued.
    fn stop(&self) -> bool;
}

/// Where the loop stands after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// All epochs.
    pub epochs: u64,
    /// Patches per step.
    pub batch: usize,
    /// Steps done in the epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// IoU of the epoch's patches so far.
    pub iou: Option<f64>,
    /// The rate of the step.
    pub learning_rate: f64,
    /// Patches per second in this epoch.
    pub samples_per_second: f64,
}

/// What there is to train with, before anything is written or computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// Parameters of the network.
    pub parameters: usize,
    /// Those changed by gradient.
    pub trainable: usize,
    /// Tiles to learn from.
    pub train_tiles: usize,
    /// Consecutive patches in them.
    pub train_patches: usize,
    /// Tiles to validate with.
    pub validation_tiles: usize,
    /// Consecutive patches in them.
    pub validation_patches: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Bytes that training needs on the device.
    pub training_bytes: u64,
    /// Bytes that validation needs there besides.
    pub validation_bytes: u64,
    /// The device in words.
    pub device: String,
}

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Epochs done.
    pub epochs: u64,
    /// Steps done.
    pub steps: u64,
    /// The highest validation IoU.
    pub best_iou: Option<Best>,
    /// The lowest validation loss.
    pub best_loss: Option<Best>,
    /// The weights that the strategy's recipe takes: those of the highest IoU, or of the lowest loss for fine-tuning.
    pub model: PathBuf,
    /// SHA-256 of the last weights' parameters.
    pub last_sha256: String,
    /// What was known at the end of each epoch.
    #[serde(skip)]
    pub rows: Vec<EpochRow>,
    /// What there was to train with.
    #[serde(flatten)]
    pub outlook: Outlook,
}

/// A run that is ready to begin.
pub struct Training {
    settings: TrainSettings,
    train: Arc<TileSet>,
    validation: Arc<TileSet>,
    steps: usize,
    step: TrainingStep,
    validator: Validator,
    outlook: Outlook,
}

impl Training {
    /// Opens the tile files and plans the graphs. Nothing is written.
    ///
    /// # Errors
    /// Files or settings that do not fit, or a device that cannot hold the graphs.
    pub fn prepare(settings: &TrainSettings) -> Result<Self> {
        let selection = settings.selection();
        let train = Arc::new(TileSet::open(&settings.train, &selection)?);
        let validation = Arc::new(TileSet::open(&settings.validation, &selection)?);
        check_regions(settings, &train, &validation)?;
        let computed = train.steps_per_epoch(settings.batch);
        let steps = if settings.steps_per_epoch > 0 { settings.steps_per_epoch } else { computed };
        let (config, batch) = (&settings.model, settings.batch);
        let (chosen, options) = (settings.device.as_str(), settings.plan_options());
        // Step and validation are held at one time. Under a bound validation takes patches one at a time, which is as fast.
        let validated = if options.max_memory.is_some() { 1 } else { batch };
        let free = PlanOptions { max_memory: None, ..options };
        let validator = Validator::new(
            config,
            Arc::clone(&validation),
            &settings.objective,
            validated,
            settings.workers,
            chosen,
            &free,
        )?;
        let left = options.max_memory.map(|bytes| bytes.saturating_sub(validator.planned_bytes()));
        let options = PlanOptions { max_memory: left, ..options };
        let step = TrainingStep::new(config, batch, &settings.objective, &settings.adam, chosen, &options);
        let step = step.map_err(|error| match (error, settings.max_memory) {
            (Error::MemoryBound { smallest, .. }, Some(bound)) => {
                Error::MemoryBound { bound: bound.0, smallest: smallest + validator.planned_bytes() }
            }
            (error, _) => error,
        })?;
        let (parameters, trainable) = count(&parameters(config));
        let outlook = Outlook {
            parameters,
            trainable,
            train_tiles: train.tiles().len(),
            train_patches: train.patches(),
            validation_tiles: validation.tiles().len(),
            validation_patches: validation.patches(),
            steps_per_epoch: steps,
            training_bytes: step.planned_bytes(),
            validation_bytes: validator.planned_bytes(),
            device: step.device(),
        };
        Ok(Self { settings: settings.clone(), train, validation, steps, step, validator, outlook })
    }

    /// What there is to train with.
    #[must_use]
    pub fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// Trains to the end, or until `watch` says stop.
    ///
    /// # Errors
    /// [`Error::Paused`] where `watch` stopped it, [`Error::Diverged`] where a loss is not a number; the folder holds another run; a device
    /// or the disk fails. In all cases the last checkpoint stays.
    pub fn run(mut self, folder: &Path, earlier: Earlier, watch: &mut dyn Watch) -> Result<Summary> {
        let mut position = self.begin(folder, earlier)?;
        let resumed = position.epochs > 0 || position.current.steps > 0;
        let mut events = EventFile::create(folder, resumed.then(|| self.steps_done(&position) + 1))?;
        while position.epochs < self.settings.epochs {
            self.train_epoch(folder, &mut position, &mut events, watch)?;
            let weights = self.step.weights()?;
            let begin = Instant::now();
            let mut progress = |done, all| {
                watch.validation(done, all);
                if watch.stop() { Err(paused(folder)) } else { Ok(()) }
            };
            let validation = match self.validator.run(&weights, &mut progress) {
                Err(error @ Error::Paused { .. }) => {
                    self.checkpoint(folder, &position)?;
                    return Err(error);
                }
                other => other?,
            };
            self.finish_epoch(folder, &mut position, validation, &weights, begin.elapsed())?;
            if let Some(row) = position.rows.last() {
                put_epoch(&mut events, row)?;
                watch.epoch(row);
            }
            if watch.stop() && position.epochs < self.settings.epochs {
                return Err(paused(folder));
            }
        }
        let last = self.step.weights()?;
        let chosen = if self.settings.strategy == Strategy::Finetuning { BEST_LOSS } else { BEST_IOU };
        // Without any glacier in the validation tiles no IoU exists.
        let model = [chosen, BEST_LOSS].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
        Ok(Summary {
            epochs: position.epochs,
            steps: self.steps_done(&position),
            best_iou: position.best_iou,
            best_loss: position.best_loss,
            model: model.unwrap_or_else(|| folder.join(LAST)),
            last_sha256: last.parameters_sha256().to_owned(),
            rows: position.rows,
            outlook: self.outlook,
        })
    }

    /// Makes the folder ready and loads the weights; gives the position to continue from.
    fn begin(&mut self, folder: &Path, earlier: Earlier) -> Result<Position> {
        let checkpoint = match earlier {
            Earlier::Refuse => {
                check_unused(folder)?;
                None
            }
            Earlier::Overwrite => {
                remove_run(folder)?;
                None
            }
            Earlier::Resume => {
                remove_leftovers(folder)?;
                Checkpoint::load(folder)?
            }
        };
        let tiles = self.tiles_sha256();
        if let (None, Earlier::Resume, config) = (&checkpoint, earlier, folder.join(CONFIG))
            && config.exists()
        {
            // Stopped before its first checkpoint: it begins again, with the same recipe.
            self.settings.check_continues(&TrainSettings::read(&config)?)?;
        }
        if let Some(checkpoint) = &checkpoint {
            self.settings.check_continues(&checkpoint.settings)?;
            if checkpoint.position.tiles != tiles {
                return Err(Error::bad_argument(
                    "training or validation files with other tiles",
                    "the tiles with which the run was begun",
                    "give the same files, or begin a new run in another folder",
                ));
            }
        }
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        let text = self.settings.to_toml()?;
        write_atomically(folder.join(CONFIG), |path| fs::write(path, &text).map_err(|e| Error::io("write", path, e)))?;
        let position = match checkpoint {
            Some(checkpoint) => {
                self.step.restore(&checkpoint.state)?;
                checkpoint.position
            }
            None => {
                self.step.load(&self.first_weights()?)?;
                Position { tiles, ..Position::default() }
            }
        };
        // Rows of epochs that will be computed again.
        write_logs(folder, &position.rows, self.has_regions())?;
        Ok(position)
    }

    fn first_weights(&self) -> Result<Weights> {
        match &self.settings.from {
            Some(path) => {
                let weights = Weights::load(path)?;
                // Only the rate of a dropout that is off may differ.
                let tensors = weights.tensors().to_vec();
                Weights::new(self.settings.model.clone(), weights.normalisation().clone(), weights.origin(), tensors)
            }
            None => initial_weights(&self.settings.model, Normalisation::default(), self.settings.seed),
        }
    }

    /// The rest of an epoch's steps.
    fn train_epoch(
        &mut self,
        folder: &Path,
        position: &mut Position,
        events: &mut EventFile,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let settings = self.settings.clone();
        let (epoch, seed, batch) = (position.epochs, settings.seed, settings.batch);
        let (set, augmentation, smoothing) =
            (Arc::clone(&self.train), settings.augmentation.clone(), settings.label_smoothing);
        let batches =
            Prefetch::new(position.current.steps..self.steps, settings.workers, 2 * settings.workers, move |step| {
                random_batch(&set, batch, &augmentation, smoothing, seed, epoch, step as u64)
            })?;
        let mut last_checkpoint = Instant::now();
        let mut begin = Instant::now();
        let mut session = (Duration::ZERO, 0);
        for batch in batches {
            let batch = batch?;
            let done = self.steps_done(position);
            let learning_rate = settings.schedule.rate(settings.learning_rate, done, self.steps);
            let losses = self.step.run(&batch.arrays, learning_rate)?;
            if ![losses.total, losses.deep_supervision, losses.output].iter().all(|l| l.is_finite()) {
                let node = self.step.first_non_finite(&batch.arrays)?;
                return Err(Error::Diverged {
                    epoch: epoch + 1,
                    step: done + 1,
                    node: node.unwrap_or_else(|| "the loss".into()),
                });
            }
            add(position, &losses, batch.arrays.get("target").map(Vec::as_slice).unwrap_or_default())?;
            let elapsed = begin.elapsed();
            begin = Instant::now();
            position.current.seconds += elapsed.as_secs_f64();
            session = (session.0 + elapsed, session.1 + settings.batch);
            let progress = self.progress(position, learning_rate, session);
            watch.step(&progress);
            if (done + 1).is_multiple_of(EVENT_STEPS) {
                events.scalars(done + 1, &[("step/loss", losses.total), ("step/learning_rate", learning_rate)])?;
            }
            let due = match settings.checkpoint_every {
                0 => last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL,
                steps => (done + 1).is_multiple_of(steps),
            };
            let stop = watch.stop();
            if due || stop {
                self.checkpoint(folder, position)?;
                last_checkpoint = Instant::now();
            }
            if stop {
                return Err(paused(folder));
            }
        }
        Ok(())
    }

    /// Keeps the best weights, then adds the epoch to the logs, then writes the checkpoint.
    ///
    /// In this order, because a run that is killed in between computes the epoch again from the checkpoint before, and writes the same files.
    fn finish_epoch(
        &mut self,
        folder: &Path,
        position: &mut Position,
        validation: Validation,
        weights: &Weights,
        elapsed: Duration,
    ) -> Result<()> {
        let epoch = position.epochs + 1;
        let steps = self.steps_done(position);
        let sums = position.current;
        let n = as_f64(sums.steps.max(1));
        let mean = |sum: f64| sum / n;
        let train = Losses {
            total: mean(sums.losses.total),
            deep_supervision: mean(sums.losses.deep_supervision),
            output: mean(sums.losses.output),
        };
        let samples = as_f64(sums.steps * self.settings.batch);
        let origin =
            format!("glavitu train, strategy {}, seed {}, epoch {epoch}", self.settings.strategy, self.settings.seed);
        let weights = weights.clone().with_origin(origin);
        let loss = validation.losses.total;
        if let Some(iou) = validation.iou
            && position.best_iou.is_none_or(|best| iou > best.value)
        {
            weights.save(folder.join(BEST_IOU))?;
            position.best_iou = Some(Best { epoch, value: iou });
        }
        if position.best_loss.is_none_or(|best| loss < best.value) {
            weights.save(folder.join(BEST_LOSS))?;
            position.best_loss = Some(Best { epoch, value: loss });
        }
        weights.save(folder.join(LAST))?;
        position.rows.push(EpochRow {
            epoch,
            steps,
            learning_rate: self.settings.schedule.rate(
                self.settings.learning_rate,
                position.epochs * self.steps as u64,
                self.steps,
            ),
            train,
            train_iou: sums.confusion.iou(),
            validation,
            training_seconds: sums.seconds,
            validation_seconds: elapsed.as_secs_f64(),
            samples_per_second: samples / sums.seconds.max(1e-9),
        });
        position.epochs = epoch;
        position.current = Default::default();
        write_logs(folder, &position.rows, self.has_regions())?;
        write_curves(&folder.join(CURVES), &position.rows)?;
        self.checkpoint(folder, position)
    }

    fn checkpoint(&mut self, folder: &Path, position: &Position) -> Result<()> {
        Checkpoint::save(folder, &self.settings, position, &self.step.state()?)
    }

    fn steps_done(&self, position: &Position) -> u64 {
        position.epochs * self.steps as u64 + position.current.steps as u64
    }

    fn has_regions(&self) -> bool {
        matches!(self.settings.model.location, Location::Regions(_))
    }

    fn progress(&self, position: &Position, learning_rate: f64, (time, samples): (Duration, usize)) -> Progress {
        let current = &position.current;
        Progress {
            epoch: position.epochs + 1,
            epochs: self.settings.epochs,
            batch: self.settings.batch,
            step: current.steps,
            steps: self.steps,
            loss: current.losses.total / as_f64(current.steps.max(1)),
            iou: current.confusion.iou(),
            learning_rate,
            samples_per_second: as_f64(samples) / time.as_secs_f64().max(1e-9),
        }
    }

    /// What the tiles are; not where their files lie.
    fn tiles_sha256(&self) -> String {
        let mut text = String::new();
        for set in [&self.train, &self.validation] {
            for tile in set.tiles() {
                text += &format!("{:?}\n", (&tile.name, &tile.region, &tile.subregion, tile.height, tile.width));
            }
            text.push('\n');
        }
        crate::model::weights::sha256(text.as_bytes())
    }
}

impl std::fmt::Debug for Training {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Training").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Adds a step to the sums of its epoch.
fn add(position: &mut Position, losses: &StepLosses, target: &[f32]) -> Result<()> {
    let current = &mut position.current;
    current.steps += 1;
    current.losses.total += losses.total;
    current.losses.deep_supervision += losses.deep_supervision;
    current.losses.output += losses.output;
    current.confusion.add_labelled(&losses.probabilities, target)
}

fn put_epoch(events: &mut EventFile, row: &EpochRow) -> Result<()> {
    let mut values = vec![
        ("train/loss".to_owned(), Some(row.train.total)),
        ("train/iou".to_owned(), row.train_iou),
        ("validation/loss".to_owned(), Some(row.validation.losses.total)),
        ("validation/iou".to_owned(), row.validation.iou),
        ("validation/iou_known".to_owned(), row.validation.iou_known),
        ("validation/iou_unknown".to_owned(), row.validation.iou_unknown),
        ("learning_rate".to_owned(), Some(row.learning_rate)),
    ];
    values.extend(row.validation.regions.iter().map(|(region, iou)| (format!("validation_iou/{region}"), *iou)));
    let present: Vec<(&str, f64)> = values.iter().filter_map(|(tag, value)| Some((tag.as_str(), (*value)?))).collect();
    events.scalars(row.steps, &present)
}

/// A model that is told the region must learn from some.
fn check_regions(settings: &TrainSettings, train: &TileSet, validation: &TileSet) -> Result<()> {
    let Location::Regions(names) = &settings.model.location else { return Ok(()) };
    let unknown = |set: &TileSet| set.regions().into_iter().filter(|r| !names.contains(r)).collect::<Vec<_>>();
    let foreign = unknown(train);
    if foreign.len() == train.regions().len() {
        return Err(Error::bad_argument(
            format!("training tiles of the regions {}", foreign.join(", ")),
            format!("tiles of {}", names.join(", ")),
            "give the regions of the model with --regions",
        ));
    }
    for (what, foreign) in [("training", foreign), ("validation", unknown(validation))] {
        if !foreign.is_empty() {
            tracing::warn!(
                "{what} tiles of {} are taken as 'unknown': the model has no such region",
                foreign.join(", ")
            );
        }
    }
    Ok(())
}

/// Checks that a run can begin in a folder.
///
/// # Errors
/// The folder holds anything, or is a file.
pub fn check_unused(folder: &Path) -> Result<()> {
    let wrong = |found: &str, remedy: &str| Err(Error::bad_file(folder, found, "a new or an empty folder", remedy));
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) if folder.join(CONFIG).exists() => {
                wrong("an earlier run", "give --resume to continue it, --overwrite to begin anew, or another folder")
            }
            Some(_) => wrong("a folder with other files", "choose another folder"),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) if folder.is_file() => wrong("a file", "choose another folder"),
        Err(error) => Err(Error::io("read", folder, error)),
    }
}

/// Removes what a run that was killed had begun to write.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok) {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY)) {
            fs::remove_file(entry.path()).map_err(|e| Error::io("remove", entry.path(), e))?;
        }
    }
    Ok(())
}

/// Removes an earlier run's files and nothing else.
fn remove_run(folder: &Path) -> Result<()> {
    if !folder.join(CONFIG).exists() {
        return check_unused(folder);
    }
    remove_leftovers(folder)?;
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
    let events = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("events.out.tfevents.") && name.contains(".glavitu."));
    // The settings last: they mark the folder as a run.
    for name in events.chain(FILES.iter().rev().map(|name| (*name).to_owned())) {
        match fs::remove_file(folder.join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", folder.join(&name), error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn paused(folder: &Path) -> Error {
    Error::Paused { command: "train", folder: folder.to_path_buf() }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of steps and patches are far below 2^52")]
fn as_f64(n: usize) -> f64 {
    n as f64
}
