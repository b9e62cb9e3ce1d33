//! The model on its device, loaded once for all scenes.

use crate::cli::predict::PredictArgs;
use crate::error::Result;
use crate::evaluate::{CalibrationCurve, Calibrator};
use crate::executor::Executor;
use crate::model::Weights;
use crate::model::network::inference_graph;

/// Model, calibrator and, from the first scene on, the executor.
pub(super) struct Engine<'a> {
    args: &'a PredictArgs,
    pub(super) weights: Weights,
    pub(super) calibrator: Option<Calibrator>,
    pub(super) curve: Option<CalibrationCurve>,
    ready: Option<Ready>,
}

/// An executor with its weights.
pub(super) struct Ready {
    pub(super) executor: Box<dyn Executor>,
    /// Tiles it computes at a time.
    pub(super) batch: usize,
}

impl<'a> Engine<'a> {
    /// Reads the model and the calibrator.
    pub(super) fn open(args: &'a PredictArgs) -> Result<Self> {
        let weights = Weights::load(&args.model)?;
        let calibrator = args.calibrator()?;
        let curve = calibrator.as_ref().map(Calibrator::curve);
        Ok(Self { args, weights, calibrator, curve, ready: None })
    }

    /// Takes the executor out, making it if there is none. To be put back with [`Engine::keep`], unless its device failed.
    pub(super) fn take(&mut self) -> Result<Ready> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        let (config, device) = (self.weights.config(), &self.args.device);
        let batch = device.batch(self.args.batch, |batch| inference_graph(config, batch))?;
        let mut executor = device.executor(&inference_graph(config, batch)?)?;
        executor.load(&self.weights)?;
        Ok(Ready { executor, batch })
    }

    /// Keeps an executor for the next scene.
    pub(super) fn keep(&mut self, ready: Ready) {
        self.ready = Some(ready);
    }
}
