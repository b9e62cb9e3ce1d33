//! The whole network: its forward pass, and a training step.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Watch;
use super::breakdown::Breakdown;
use super::limits::Limits;
use super::statistics::{Sampling, Timing, ratio, sample};
use crate::dataset::noise::Random;
use crate::device;
use crate::error::Result;
use crate::executor::{Arrays, Clock, Profile};
use crate::graph::{Graph, Source};
use crate::model::network::inference_graph;
use crate::model::{ModelConfig, Weights};
use crate::plan::{Plan, PlanOptions};
use crate::train::graph::{RATE, TARGET};
use crate::train::{AdamSettings, Objective, TrainingStep};

/// Runs that are taken apart.
const PROFILES: usize = 5;
/// Seconds after which no further run is taken apart.
const PROFILE_SECONDS: f64 = 10.0;
const SEED: u64 = 1;

/// How long one run of the whole takes, inputs and results copied, by this program's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTime {
    /// The measurements.
    #[serde(flatten)]
    pub timing: Timing,
    /// Seconds of all kernels of a run, without copies and launches.
    pub kernel_seconds: f64,
    /// Whose clock the times of kernels are from.
    pub kernel_clock: Clock,
    /// Floating-point operations in the direct form.
    pub flop: u64,
    /// 1e9 of them a second.
    pub gflops: f64,
    /// Dispatches on a GPU, steps on the CPU.
    pub launches: usize,
    /// Bytes of memory that the plan foresees.
    pub planned_bytes: u64,
}

/// A benchmark of the whole network.
#[derive(Debug, Clone)]
pub struct NetworkBench<'a> {
    /// Its weights.
    pub weights: &'a Weights,
    /// Tiles computed together.
    pub batch: usize,
    /// The device, as [`device::executor`] takes it.
    pub device: &'a str,
    /// How graphs are planned.
    pub options: PlanOptions,
    /// How often.
    pub sampling: Sampling,
}

impl NetworkBench<'_> {
    /// Times the forward pass.
    ///
    /// # Errors
    /// The device cannot hold or run it, or what `watch` returns.
    pub fn forward(&self, limits: &Limits, watch: Watch<'_>) -> Result<(RunTime, Breakdown)> {
        let graph = inference_graph(self.weights.config(), self.batch)?;
        let inputs = inputs(&graph);
        watch("forward pass: loading")?;
        let mut executor = device::executor(self.device, &graph, &self.options)?;
        executor.load(self.weights)?;
        let seconds = sample(self.sampling, "forward pass", watch, || {
            let begin = Instant::now();
            executor.run(&inputs)?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        let profiles =
            self.profiles("forward pass", watch, || executor.profile(&inputs).map(|(_, profile)| profile))?;
        Ok(summary(&seconds, graph.cost().flop, executor.plan(), &profiles, limits))
    }

    /// Times a step of training: forward, backward, optimiser.
    ///
    /// # Errors
    /// As [`NetworkBench::forward`].
    pub fn training_step(&self, limits: &Limits, watch: Watch<'_>) -> Result<(RunTime, Breakdown)> {
        let (objective, adam) = (Objective::default(), AdamSettings::default());
        watch("training step: loading")?;
        let mut step =
            TrainingStep::new(self.weights.config(), self.batch, &objective, &adam, self.device, &self.options)?;
        step.load(self.weights)?;
        let inputs = inputs(&step.plan().graph);
        let seconds = sample(self.sampling, "training step", watch, || {
            let begin = Instant::now();
            step.run(&inputs, LEARNING_RATE)?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        let profiles = self.profiles("training step", watch, || step.profile(&inputs, LEARNING_RATE))?;
        Ok(summary(&seconds, step.plan().graph.cost().flop, step.plan(), &profiles, limits))
    }

    fn profiles(
        &self,
        what: &str,
        watch: Watch<'_>,
        mut profile: impl FnMut() -> Result<Profile>,
    ) -> Result<Vec<Profile>> {
        let begin = Instant::now();
        let most = self.sampling.runs.map_or(PROFILES, |runs| runs.min(PROFILES));
        let mut profiles: Vec<Profile> = Vec::new();
        while profiles.len() < most && begin.elapsed().as_secs_f64() < PROFILE_SECONDS {
            watch(&format!("{what}: taken apart, run {}", profiles.len() + 1))?;
            profiles.push(profile()?);
        }
        Ok(profiles)
    }
}

/// So low that weights stay where they are for as many steps as a benchmark takes.
const LEARNING_RATE: f64 = 1e-9;

/// Seeded inputs between 0 and 1, as normalised scenes are; labels one-hot.
#[must_use]
pub fn inputs(graph: &Graph) -> Arrays {
    let values = |(stream, (_, tensor)): (u64, (_, &crate::graph::Tensor))| {
        let mut random = Random::new(SEED, stream);
        let count = tensor.shape.elements();
        let data = if tensor.name == TARGET {
            let row = |_| if random.chance(0.5) { [1.0, 0.0] } else { [0.0, 1.0] };
            (0..count / 2).flat_map(row).collect()
        } else {
            uniform(&mut random, count)
        };
        (tensor.name.clone(), data)
    };
    (0..).zip(graph.sources(Source::Input).filter(|(_, t)| t.name != RATE)).map(values).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "inputs are f32")]
fn uniform(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.uniform(0.0, 1.0) as f32).collect()
}

fn summary(seconds: &[f64], flop: u64, plan: &Plan, profiles: &[Profile], limits: &Limits) -> (RunTime, Breakdown) {
    let timing = Timing::of(seconds);
    let breakdown = Breakdown::new(&plan.graph, profiles, limits);
    #[expect(clippy::cast_precision_loss, reason = "rates need no more than 52 bits")]
    let gflops = ratio(flop as f64, timing.median_seconds * 1e9);
    let first = profiles.first();
    let time = RunTime {
        timing,
        kernel_seconds: breakdown.seconds,
        kernel_clock: first.map_or(Clock::Wall, |p| p.clock),
        flop,
        gflops,
        launches: first.map_or(0, |p| p.pieces.len()),
        planned_bytes: plan.peak_bytes(),
    };
    (time, breakdown)
}

/// Weights drawn for a configuration: times do not depend on them.
///
/// # Errors
/// The configuration cannot be.
pub fn drawn_weights(config: &ModelConfig) -> Result<Weights> {
    crate::train::initialisation::initial_weights(config, crate::model::Normalisation::default(), SEED)
}
