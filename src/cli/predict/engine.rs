//! The models on their device, loaded once for all scenes.

use std::path::Path;

use crate::cli::predict::PredictArgs;
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::{CalibrationCurve, Calibrator};
use crate::executor::Executor;
use crate::graph::Graph;
use crate::infer::dropout::Dropout;
use crate::model::network::{dropout_graph, inference_graph};
use crate::model::{Feature, ModelConfig, Weights};
use crate::plan::PlanOptions;

/// Models, calibrator and, from the first scene on, the executors.
pub(super) struct Engine<'a> {
    args: &'a PredictArgs,
    /// The model, then the others of the ensemble.
    models: Vec<Weights>,
    /// Of each model; nothing without.
    pub(super) dropout: Vec<Dropout>,
    pub(super) calibrator: Option<Calibrator>,
    pub(super) curve: Option<CalibrationCurve>,
    ready: Option<Ready>,
}

/// An executor for each model, with its weights.
pub(super) struct Ready {
    executors: Vec<Box<dyn Executor>>,
    /// Tiles that each computes at a time.
    pub(super) batch: usize,
}

impl Ready {
    /// The device in words.
    pub(super) fn device(&self) -> String {
        self.executors.first().map(|executor| executor.device()).unwrap_or_default()
    }

    /// Bytes of all of them together.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.executors.iter().map(|executor| executor.plan().peak_bytes()).sum()
    }

    /// All of them.
    pub(super) fn executors(&mut self) -> Vec<&mut dyn Executor> {
        self.executors.iter_mut().map(|executor| &mut **executor as &mut dyn Executor).collect()
    }
}

impl<'a> Engine<'a> {
    /// Reads the models and the calibrator.
    pub(super) fn open(args: &'a PredictArgs) -> Result<Self> {
        let mut models = vec![Weights::load(&args.model)?];
        for path in &args.members.ensemble {
            let model = Weights::load(path)?;
            check_alike(&args.model, models[0].config(), path, model.config())?;
            models.push(model);
        }
        let dropout = match args.members.mc_dropout {
            Some(_) => models.iter().enumerate().map(|(n, model)| dropout(args, n, model)).collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let calibrator = args.calibrator()?;
        if let Some(calibrator) = &calibrator {
            calibrator.warn_of_other_model(&models.iter().map(Weights::parameters_sha256).collect::<Vec<_>>());
        }
        let curve = calibrator.as_ref().map(Calibrator::curve);
        Ok(Self { args, models, dropout, calibrator, curve, ready: None })
    }

    /// The model of `--model`.
    pub(super) fn model(&self) -> &Weights {
        &self.models[0]
    }

    /// All models, that of `--model` first.
    pub(super) fn models(&self) -> &[Weights] {
        &self.models
    }

    /// Takes the executors out, making them if there are none. To be put back with [`Engine::keep`], unless their device failed.
    pub(super) fn take(&mut self) -> Result<Ready> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        let choice = &self.args.device.device;
        // All are on the device at once.
        let options = self.args.device.options();
        let share = options.max_memory.map(|bytes| bytes / self.models.len() as u64);
        let options = PlanOptions { max_memory: share, ..options };
        let mut batch = self.args.batch;
        for model in &self.models {
            batch = device::largest_batch(choice, batch, &options, |batch| self.graph(model, batch))?;
        }
        let mut executors = Vec::new();
        for model in &self.models {
            let mut executor = device::executor(choice, &self.graph(model, batch)?, &options)?;
            executor.load(model)?;
            executors.push(executor);
        }
        Ok(Ready { executors, batch })
    }

    /// Keeps executors for the next scene.
    pub(super) fn keep(&mut self, ready: Ready) {
        self.ready = Some(ready);
    }

    fn graph(&self, model: &Weights, batch: usize) -> Result<Graph> {
        if self.dropout.is_empty() {
            return inference_graph(model.config(), batch);
        }
        Ok(dropout_graph(model.config(), batch)?.0)
    }
}

fn dropout(args: &PredictArgs, number: usize, model: &Weights) -> Result<Dropout> {
    let (_, masks) = dropout_graph(model.config(), 1)?;
    let rate = args.members.dropout_rate.unwrap_or(model.config().dropout);
    if rate == 0.0 && args.members.dropout_rate.is_none() {
        tracing::warn!("the model's own dropout rate is 0, so all runs are the same: give --dropout-rate");
    }
    Dropout::new(masks, rate, args.members.seed, number)
}

/// Refuses a model that cannot see the same windows as another.
fn check_alike(first: &Path, a: &ModelConfig, path: &Path, b: &ModelConfig) -> Result<()> {
    let is_same = a.features.len() == b.features.len() && a.features.iter().all(|feature| b.features.contains(feature));
    if is_same && a.tile == b.tile {
        return Ok(());
    }
    let words = |config: &ModelConfig| {
        let features: Vec<String> = config.features.iter().map(Feature::to_string).collect();
        format!("{} in tiles of {} pixels", features.join(", "), config.tile)
    };
    Err(Error::bad_file(
        path,
        format!("a model of {}", words(b)),
        format!("one of {}, as {}", words(a), first.display()),
        "give --ensemble models of the same features and tile",
    ))
}
