//! The graph of one training step: forward, losses, backward, optimiser, moving statistics.

use std::collections::HashMap;
use std::sync::Arc;

use super::objective::{AdamSettings, Objective, narrow};
use crate::autograd::differentiate;
use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, TensorId};
use crate::model::network::{OUTPUT, Statistics, inputs, training_network};
use crate::model::{ModelConfig, ParameterSpec, parameters};
use crate::ops::{Adam, Add, MovingAverage, SharpnessStep, Softmax, SquaredNorm};

/// Name of the graph input with the class probabilities to learn, (N, tile, tile, 2); (0, 0) marks unlabelled pixels.
pub const TARGET: &str = "target";
/// Name of the graph input with Adam's rate, one number.
pub const RATE: &str = "rate";
/// Name of the output with the deep-supervision head's loss, weighted.
pub const DEEP_SUPERVISION_LOSS: &str = "loss.deepsupervision";
/// Name of the output with the output head's loss.
pub const OUTPUT_LOSS: &str = "loss.output";
/// Name of the vector of all trainable parameters, in the order of [`parameters`](crate::model::parameters()).
pub const PARAMETERS: &str = "parameters";
/// Name of the vector of all moving statistics.
pub const STATISTICS: &str = "statistics";
/// Name of the vector of all gradients, laid out as [`PARAMETERS`]; an output where it is asked for.
pub const GRADIENTS: &str = "gradients";
/// Names of Adam's moments, laid out as [`PARAMETERS`].
pub const MOMENTS: [&str; 2] = ["adam.moment1", "adam.moment2"];

/// Momentum of the moving statistics.
const MOMENTUM: f32 = 0.99;

/// What a training graph is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To train. The moving variance of maps is unbiased, as Keras has it in float32, where one fused kernel normalises.
    Training,
    /// To compare with a reference in float64: the gradients are an output, and the moving variance is the biased one, which is what
    /// Keras keeps where its fused kernel does not apply, as in float64. The two differ by a factor n / (n - 1) of n values.
    Comparison,
}

/// Builds the graph of a training step for a batch of `batch` tiles.
///
/// `purpose` says what is kept beside the losses.
///
/// # Errors
/// A configuration, objective or optimiser that cannot be.
pub fn training_graph(
    config: &ModelConfig,
    batch: usize,
    objective: &Objective,
    adam: &AdamSettings,
    purpose: Purpose,
) -> Result<Graph> {
    config.validate()?;
    objective.validate()?;
    adam.validate()?;
    let mut graph = Graph::new();
    let given = inputs(&mut graph, config, batch);
    let target = graph.input(TARGET, [batch, config.tile, config.tile, 2]);
    let rate = graph.input(RATE, [1]);
    let specs = parameters(config);
    let weights: HashMap<String, TensorId> =
        specs.iter().map(|p| (p.name.clone(), graph.parameter(&p.name, p.shape.clone()))).collect();
    let of = |trainable: bool| specs.iter().filter(move |p| p.trainable == trainable);
    let ids = |specs: &mut dyn Iterator<Item = &ParameterSpec>| specs.map(|p| weights[&p.name]).collect::<Vec<_>>();
    let whole = graph.pack(PARAMETERS, &ids(&mut of(true)))?;
    let held = graph.pack(STATISTICS, &ids(&mut of(false)))?;
    let length = graph.shape(whole).clone();
    let moments = MOMENTS.map(|name| graph.parameter(name, length.clone()));

    let pass = Pass { config, objective, given: &given, target, specs: &specs };
    let first = pass.append(&mut graph, &weights, GRADIENTS)?;
    graph.set_scope("optimiser");
    let mut norm = graph.apply(SquaredNorm, &[first.gradients])?;
    let mut last = first.clone();
    if adam.sharpness > 0.0 {
        // The gradient is taken again where the loss is higher, and applied to the weights as they are.
        let uphill = graph.apply(SharpnessStep { rho: narrow(adam.sharpness) }, &[whole, last.gradients, norm])?;
        let shapes: Vec<Shape> = of(true).map(|p| Shape::from(p.shape.clone())).collect();
        let moved = graph.unpack(uphill, &shapes)?;
        let moved = of(true).map(|p| p.name.clone()).zip(moved).collect();
        last = pass.append(&mut graph, &moved, "gradients.uphill")?;
        graph.set_scope("optimiser");
        norm = graph.apply(SquaredNorm, &[last.gradients])?;
    }
    let step = Adam {
        beta1: narrow(adam.beta1),
        beta2: narrow(adam.beta2),
        epsilon: narrow(adam.epsilon),
        clip: narrow(adam.clip_norm),
    };
    let stepped = graph.apply_shared(Arc::new(step), &[whole, last.gradients, moments[0], moments[1], rate, norm])?;
    for (target, value) in [whole, moments[0], moments[1]].into_iter().zip(stepped) {
        graph.assign(target, value)?;
    }
    let averages = moving_statistics(&mut graph, of(false), &weights, &last.statistics, purpose)?;
    graph.assign(held, averages)?;

    // What is reported is the first pass: the weights as they were.
    graph.output(DEEP_SUPERVISION_LOSS, first.losses[0]);
    graph.output(OUTPUT_LOSS, first.losses[1]);
    graph.set_scope(OUTPUT);
    let probabilities = graph.apply(Softmax, &[first.logits])?;
    graph.output(OUTPUT, probabilities);
    if purpose == Purpose::Comparison {
        graph.output(GRADIENTS, first.gradients);
    }
    Ok(graph)
}

/// What a forward and backward pass needs beside the weights.
struct Pass<'a> {
    config: &'a ModelConfig,
    objective: &'a Objective,
    given: &'a HashMap<String, TensorId>,
    target: TensorId,
    specs: &'a [ParameterSpec],
}

/// What a pass gives.
#[derive(Clone)]
struct Passed {
    losses: [TensorId; 2],
    logits: TensorId,
    gradients: TensorId,
    statistics: Vec<Statistics>,
}

impl Pass<'_> {
    fn append(&self, graph: &mut Graph, weights: &HashMap<String, TensorId>, name: &str) -> Result<Passed> {
        let ([deep, output], statistics) = training_network(graph, self.config, self.given, weights)?;
        graph.set_scope("loss");
        let deep_loss = self.objective.append(graph, deep, self.target, self.objective.deep_supervision)?;
        let output_loss = self.objective.append(graph, output, self.target, 1.0)?;
        let total = graph.apply(Add, &[deep_loss, output_loss])?;
        let trainable: Vec<&ParameterSpec> = self.specs.iter().filter(|p| p.trainable).collect();
        let wrt: Vec<TensorId> = trainable.iter().map(|p| weights[&p.name]).collect();
        let gradients = differentiate(graph, total, &wrt)?;
        let gradients = gradients.into_iter().zip(trainable).map(|(gradient, spec)| {
            gradient.ok_or_else(|| {
                Error::bad_argument(
                    format!("a loss that does not depend on {}", spec.name),
                    "one that depends on every weight",
                    "give every head a weight",
                )
            })
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let gradients = graph.pack(name, &gradients)?;
        Ok(Passed { losses: [deep_loss, output_loss], logits: output, gradients, statistics })
    }
}

/// The vector of moving statistics after the step, as Keras has it; see [`Purpose`]. The variance of vectors is always biased.
fn moving_statistics<'a>(
    graph: &mut Graph,
    specs: impl Iterator<Item = &'a ParameterSpec>,
    weights: &HashMap<String, TensorId>,
    statistics: &[Statistics],
    purpose: Purpose,
) -> Result<TensorId> {
    graph.set_scope("statistics");
    let mut averages = Vec::new();
    for spec in specs {
        let (name, part) = spec.name.rsplit_once('.').unwrap_or((&spec.name, ""));
        let found = statistics.iter().find(|s| s.name == name).ok_or_else(|| {
            Error::bad_argument(format!("no statistics for {name}"), "every normalisation's", "build the graph again")
        })?;
        let (new, factor) = match part {
            "variance" if purpose == Purpose::Training && found.of_maps && found.count > 1 => {
                (found.variance, narrow(found.count as f64 / (found.count as f64 - 1.0)))
            }
            "variance" => (found.variance, 1.0),
            _ => (found.mean, 1.0),
        };
        averages.push(graph.apply(MovingAverage { momentum: MOMENTUM, factor }, &[weights[&spec.name], new])?);
    }
    graph.pack("statistics.after", &averages)
}
