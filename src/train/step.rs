//! One training step on a device, planned once and run as often as wanted.

use super::graph::{
    DEEP_SUPERVISION_LOSS, GRADIENTS, MOMENTS, OUTPUT_LOSS, PARAMETERS, Purpose, RATE, STATISTICS, training_graph,
};
use super::objective::{AdamSettings, Objective, narrow};
use crate::cpu::CpuExecutor;
use crate::device;
use crate::error::{Error, Result};
use crate::executor::{ArraySource, Arrays, Executor, Profile};
use crate::graph::{Graph, TensorId};
use crate::model::network::OUTPUT;
use crate::model::weights::Tensor;
use crate::model::{ModelConfig, Normalisation, ParameterSpec, Weights, parameters};
use crate::plan::{Plan, PlanOptions};

/// A planned training step that holds weights and moments on its device.
pub struct TrainingStep {
    config: ModelConfig,
    normalisation: Normalisation,
    origin: String,
    adam: AdamSettings,
    graph: Graph,
    options: PlanOptions,
    executor: Box<dyn Executor>,
    step: u64,
}

/// The losses of a step, of the weights as they were before it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLosses {
    /// The deep-supervision head's loss, weighted.
    pub deep_supervision: f64,
    /// The output head's loss.
    pub output: f64,
    /// Their sum.
    pub total: f64,
    /// Class probabilities of the output head, (N, tile, tile, 2).
    pub probabilities: Vec<f32>,
}

/// The gradient of every trainable parameter, in the order of [`parameters`](crate::model::parameters()).
pub type Gradients = Vec<(ParameterSpec, Vec<f32>)>;

/// Everything a training continues from.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState {
    /// Steps done.
    pub step: u64,
    /// The weights.
    pub weights: Weights,
    /// Adam's mean gradients, laid out as the vector of parameters.
    pub moment1: Vec<f32>,
    /// Adam's mean squares.
    pub moment2: Vec<f32>,
}

/// Weights and moments as an executor asks for them.
struct StateSource<'a> {
    weights: &'a Weights,
    moments: [&'a [f32]; 2],
}

impl ArraySource for StateSource<'_> {
    fn array(&self, name: &str) -> Option<&[f32]> {
        match MOMENTS.iter().position(|moment| *moment == name) {
            Some(i) => Some(self.moments[i]),
            None => self.weights.array(name),
        }
    }
}

impl TrainingStep {
    /// Plans the training of a model on batches of `batch` tiles. Weights are to be loaded before the first step.
    ///
    /// # Errors
    /// Settings that cannot be, or a device that cannot hold the plan.
    pub fn new(
        config: &ModelConfig,
        batch: usize,
        objective: &Objective,
        adam: &AdamSettings,
        device: &str,
        options: &PlanOptions,
    ) -> Result<Self> {
        Self::build(config, batch, objective, adam, device, options, Purpose::Training)
    }

    /// The same for [`Purpose::Comparison`], with the gradients kept for [`TrainingStep::run_with_gradients`].
    ///
    /// # Errors
    /// As [`TrainingStep::new`].
    pub fn with_gradients(
        config: &ModelConfig,
        batch: usize,
        objective: &Objective,
        adam: &AdamSettings,
        device: &str,
        options: &PlanOptions,
    ) -> Result<Self> {
        Self::build(config, batch, objective, adam, device, options, Purpose::Comparison)
    }

    fn build(
        config: &ModelConfig,
        batch: usize,
        objective: &Objective,
        adam: &AdamSettings,
        device: &str,
        options: &PlanOptions,
        purpose: Purpose,
    ) -> Result<Self> {
        let graph = training_graph(config, batch, objective, adam, purpose)?;
        let executor = device::executor(device, &graph, options)?;
        Ok(Self {
            config: config.clone(),
            normalisation: Normalisation::default(),
            origin: String::new(),
            adam: adam.clone(),
            graph,
            options: *options,
            executor,
            step: 0,
        })
    }

    /// Takes a model's weights, with moments of zero and no steps done.
    ///
    /// # Errors
    /// Weights of another configuration, or a device that fails.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        let zeros = vec![0.0; self.length()];
        self.load_state(weights, [&zeros, &zeros], 0)
    }

    /// Goes back to a state.
    ///
    /// # Errors
    /// As [`TrainingStep::load`], or moments of another length.
    pub fn restore(&mut self, state: &TrainingState) -> Result<()> {
        self.load_state(&state.weights, [&state.moment1, &state.moment2], state.step)
    }

    fn load_state(&mut self, weights: &Weights, moments: [&[f32]; 2], step: u64) -> Result<()> {
        if weights.config() != &self.config {
            return Err(Error::bad_argument(
                "weights of another configuration",
                "those of the model being trained",
                "start from a model of the same sizes and features",
            ));
        }
        self.executor.load(&StateSource { weights, moments })?;
        self.normalisation = weights.normalisation().clone();
        self.origin = weights.origin().to_owned();
        self.step = step;
        Ok(())
    }

    /// Runs one step: forward, backward, optimiser. `batch` holds the network's inputs and the target.
    ///
    /// A step whose gradient is not finite leaves weights and moments as they are.
    ///
    /// # Errors
    /// Arrays that do not fit, or a device that fails.
    pub fn run(&mut self, batch: &Arrays, learning_rate: f64) -> Result<StepLosses> {
        Ok(self.run_with_gradients(batch, learning_rate)?.0)
    }

    /// Runs one step and gives the gradients of the trainable parameters by name, if they are kept.
    ///
    /// # Errors
    /// As [`TrainingStep::run`].
    pub fn run_with_gradients(&mut self, batch: &Arrays, learning_rate: f64) -> Result<(StepLosses, Gradients)> {
        let rate = narrow(self.adam.rate(learning_rate, self.step + 1));
        let mut outputs = self.executor.run(&WithRate { batch, rate: [rate] })?;
        self.step += 1;
        let mut loss = |name| outputs.remove(name).and_then(|v| v.first().copied()).map_or(f64::NAN, f64::from);
        let (deep_supervision, output) = (loss(DEEP_SUPERVISION_LOSS), loss(OUTPUT_LOSS));
        let probabilities = outputs.remove(OUTPUT).unwrap_or_default();
        let losses = StepLosses { deep_supervision, output, total: deep_supervision + output, probabilities };
        let gradients = outputs.remove(GRADIENTS).map_or_else(Vec::new, |whole| {
            let specs = parameters(&self.config).into_iter().filter(|p| p.trainable);
            specs.zip(self.slices(PARAMETERS, &whole)).map(|(spec, slice)| (spec, slice.to_vec())).collect()
        });
        Ok((losses, gradients))
    }

    /// Runs one step as [`TrainingStep::run`] does, and times every piece of it.
    ///
    /// # Errors
    /// As [`TrainingStep::run`].
    pub fn profile(&mut self, batch: &Arrays, learning_rate: f64) -> Result<Profile> {
        let rate = narrow(self.adam.rate(learning_rate, self.step + 1));
        let (_, profile) = self.executor.profile(&WithRate { batch, rate: [rate] })?;
        self.step += 1;
        Ok(profile)
    }

    /// What it runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// The present weights.
    ///
    /// # Errors
    /// The device fails, or a weight is no number.
    pub fn weights(&mut self) -> Result<Weights> {
        let trained = self.executor.read(PARAMETERS)?;
        let moving = self.executor.read(STATISTICS)?;
        let (mut trained, mut moving) = (self.slices(PARAMETERS, &trained), self.slices(STATISTICS, &moving));
        let tensors = parameters(&self.config).into_iter().map(|spec| {
            let slice = if spec.trainable { trained.next() } else { moving.next() };
            (spec.name, Tensor { shape: spec.shape, data: slice.unwrap_or_default().to_vec() })
        });
        Weights::new(self.config.clone(), self.normalisation.clone(), self.origin.clone(), tensors.collect::<Vec<_>>())
    }

    /// Everything to continue from.
    ///
    /// # Errors
    /// As [`TrainingStep::weights`].
    pub fn state(&mut self) -> Result<TrainingState> {
        let weights = self.weights()?;
        let [moment1, moment2] = [self.executor.read(MOMENTS[0])?, self.executor.read(MOMENTS[1])?];
        Ok(TrainingState { step: self.step, weights, moment1, moment2 })
    }

    /// The name of the first input or node that gives a value which is no number, with the present weights.
    ///
    /// # Errors
    /// Arrays that do not fit, or no memory for a second plan.
    pub fn first_non_finite(&mut self, batch: &Arrays) -> Result<Option<String>> {
        let state = self.state()?;
        // On the native executor whatever the device: it can look into every node.
        let mut executor = CpuExecutor::new(&self.graph, &self.options)?;
        executor.load(&StateSource { weights: &state.weights, moments: [&state.moment1, &state.moment2] })?;
        executor.first_non_finite(&WithRate { batch, rate: [0.0] })
    }

    /// Bytes that the plan foresees on the device.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.executor.plan().peak_bytes()
    }

    /// The device in words.
    #[must_use]
    pub fn device(&self) -> String {
        self.executor.device()
    }

    /// Length of the vector of parameters.
    fn length(&self) -> usize {
        self.vector(PARAMETERS).map_or(0, |id| self.graph.shape(id).elements())
    }

    fn vector(&self, name: &str) -> Option<TensorId> {
        self.graph.ids().find(|id| self.graph.tensors()[id.index()].name == name)
    }

    /// The parts of a vector, in order.
    fn slices<'a>(&'a self, name: &str, whole: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let parts = self.vector(name).into_iter().flat_map(|id| self.graph.parts(id));
        parts.map(|(part, start)| &whole[start..start + self.graph.shape(part).elements()])
    }
}

/// A batch with Adam's rate.
struct WithRate<'a> {
    batch: &'a Arrays,
    rate: [f32; 1],
}

impl ArraySource for WithRate<'_> {
    fn array(&self, name: &str) -> Option<&[f32]> {
        if name == RATE { Some(&self.rate) } else { self.batch.array(name) }
    }
}
