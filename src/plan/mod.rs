//! From a graph to a list of steps with a place in memory for every tensor, made once and replayed.
//!
//! The plan folds batch norms into convolutions, runs what depends on weights alone only once, and gives every other
//! tensor a slot: a piece of memory shared by tensors that are never alive together. It knows its peak before anything runs.

pub mod fusion;
pub mod slots;

use crate::error::{Error, Result};
pub use crate::graph::ALIGNMENT;
use crate::graph::{Caps, Graph, Node, Source, TensorId};
use slots::Lifetime;

/// Which executor a plan is for; they differ in their temporary memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The native executor.
    Cpu,
    /// The GPU executor on a device of these capabilities.
    Gpu(Caps),
}

/// What a plan is free to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Take every convolution in its direct form, which rounds less than Winograd's and takes longer.
    pub exact: bool,
}

impl PlanOptions {
    /// As exact as f32 is; the tests' default.
    #[must_use]
    pub fn exact() -> Self {
        Self { exact: true }
    }
}

/// Where a tensor lies. Offsets and slot sizes are in floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the weights, at this offset.
    Parameter(usize),
    /// In the tensors made once from the weights, at this offset.
    Prepared(usize),
    /// In a slot, at an offset that is zero but for pieces of a vector.
    Slot {
        /// The slot's index.
        slot: usize,
        /// Where in it.
        offset: usize,
    },
    /// Nowhere: no wanted result needs it.
    Nowhere,
}

/// One node to run, with slots for its temporary memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Index into the graph's nodes.
    pub node: usize,
    /// Slots of the temporary tensors.
    pub scratch: Vec<usize>,
}

/// A graph ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The graph after fusion.
    pub graph: Graph,
    /// Steps that depend on weights alone, to run once after they are loaded.
    pub prepare: Vec<Step>,
    /// Steps of every run.
    pub steps: Vec<Step>,
    /// The place of every tensor of the graph, by index.
    pub placements: Vec<Placement>,
    /// Slot sizes.
    pub slots: Vec<usize>,
    /// Size of the weights.
    pub parameter_floats: usize,
    /// Size of the tensors made once from the weights.
    pub prepared_floats: usize,
}

impl Plan {
    /// Plans a graph for an executor.
    ///
    /// # Errors
    /// Fused nodes whose shapes do not fit, which would be a defect of the fusion rules.
    pub fn new(graph: &Graph, target: &Target, options: &PlanOptions) -> Result<Self> {
        let mut graph = fusion::fuse(graph)?;
        if options.exact {
            graph.make_exact();
        }
        let (constant, needed) = (constants(&graph), needed(&graph));
        let is_live = |node: &Node| node.outputs.iter().any(|t| needed[t.index()]);
        let mut placements = vec![Placement::Nowhere; graph.tensors().len()];
        let (mut parameter_floats, mut prepared_floats) = (0, 0);
        for (id, tensor) in graph.ids().zip(graph.tensors()) {
            let floats = tensor.shape.elements().next_multiple_of(ALIGNMENT);
            match tensor.source {
                Source::Parameter if tensor.within.is_none() => {
                    placements[id.index()] = Placement::Parameter(parameter_floats);
                    parameter_floats += floats;
                }
                Source::Packed if holds_parameters(&graph, id) => {
                    placements[id.index()] = Placement::Parameter(parameter_floats);
                    parameter_floats += floats;
                }
                Source::Node(node) if constant[id.index()] && is_live(&graph.nodes()[node]) => {
                    placements[id.index()] = Placement::Prepared(prepared_floats);
                    prepared_floats += floats;
                }
                _ => {}
            }
        }
        let runs_once = |node: &Node| node.outputs.iter().all(|t| constant[t.index()]);
        let order = |once: bool| {
            let nodes = graph.nodes().iter().enumerate();
            nodes.filter(move |(_, n)| is_live(n) && runs_once(n) == once).map(|(i, _)| i)
        };
        let (once, every): (Vec<usize>, Vec<usize>) = (order(true).collect(), order(false).collect());

        // The preparation runs before every step, so its temporary memory may share slots with anything.
        let mut lifetimes = tensor_lifetimes(&graph, &every, &constant);
        let tensor_count = lifetimes.len();
        let mut scratch_of = Vec::new();
        for (time, &node) in every.iter().enumerate() {
            scratch_of.push((true, node, scratch_lifetimes(&graph, node, time + 1, target, &mut lifetimes)));
        }
        for &node in &once {
            scratch_of.push((false, node, scratch_lifetimes(&graph, node, 0, target, &mut lifetimes)));
        }
        let assignment = slots::assign(&lifetimes.iter().map(|(_, l)| *l).collect::<Vec<_>>());
        for ((tensor, _), &slot) in lifetimes[..tensor_count].iter().zip(&assignment.slot_of) {
            if let Some(tensor) = tensor {
                placements[tensor.index()] = Placement::Slot { slot, offset: 0 };
            }
        }
        for (id, tensor) in graph.ids().zip(graph.tensors()) {
            let Some((whole, offset)) = tensor.within else { continue };
            placements[id.index()] = match placements[whole.index()] {
                Placement::Parameter(start) => Placement::Parameter(start + offset),
                Placement::Slot { slot, offset: start } => Placement::Slot { slot, offset: start + offset },
                other => other,
            };
        }
        let (mut prepare, mut steps) = (Vec::new(), Vec::new());
        for (every_run, node, range) in scratch_of {
            let step = Step { node, scratch: assignment.slot_of[range].to_vec() };
            if every_run { steps.push(step) } else { prepare.push(step) }
        }
        Ok(Self { graph, prepare, steps, placements, slots: assignment.sizes, parameter_floats, prepared_floats })
    }

    /// Bytes of activations and temporary memory: the sum of the slots.
    #[must_use]
    pub fn slot_bytes(&self) -> u64 {
        4 * self.slots.iter().sum::<usize>() as u64
    }

    /// Bytes of everything the executor holds: weights, prepared tensors and slots.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.slot_bytes() + 4 * (self.parameter_floats + self.prepared_floats) as u64
    }

    /// Names and bytes of the largest tensors that lie in slots, largest first.
    #[must_use]
    pub fn largest_tensors(&self, count: usize) -> Vec<(String, u64)> {
        let mut sizes: Vec<(String, u64)> = self
            .graph
            .tensors()
            .iter()
            .zip(&self.placements)
            .filter(|(t, place)| t.within.is_none() && matches!(place, Placement::Slot { .. }))
            .map(|(t, _)| (format!("{} ({})", t.name, t.shape), 4 * t.shape.elements() as u64))
            .collect();
        sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sizes.truncate(count);
        sizes
    }

    /// The error for a device that has only `available` bytes for this plan.
    pub(crate) fn out_of_memory(&self, device: &str, available: u64) -> Error {
        let largest: Vec<String> =
            self.largest_tensors(3).into_iter().map(|(name, bytes)| format!("{name}: {bytes} bytes")).collect();
        Error::OutOfMemory {
            device: device.to_owned(),
            needed_bytes: self.peak_bytes(),
            available_bytes: available,
            largest: largest.join(", "),
        }
    }
}

/// Which tensors depend on weights alone that no run changes.
fn constants(graph: &Graph) -> Vec<bool> {
    let is_assigned = |id: TensorId| graph.assignments().iter().any(|(parameter, _)| *parameter == id);
    let mut constant: Vec<bool> = (graph.ids().zip(graph.tensors()))
        .map(|(id, t)| {
            t.source == Source::Parameter && !is_assigned(id) && !t.within.is_some_and(|(whole, _)| is_assigned(whole))
        })
        .collect();
    for node in graph.nodes() {
        // Parts of a vector are made with the others, at every run.
        let is_part = node.outputs.iter().any(|t| graph.tensors()[t.index()].within.is_some());
        if !is_part && node.inputs.iter().all(|t| constant[t.index()]) {
            for output in &node.outputs {
                constant[output.index()] = true;
            }
        }
    }
    constant
}

/// Which tensors the graph's results and assignments depend on.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.tensors().len()];
    let results = graph.outputs().iter().map(|(_, id)| *id);
    for id in results.chain(graph.assignments().iter().map(|(_, value)| *value)) {
        need(graph, id, &mut needed);
    }
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|t| needed[t.index()]) {
            for &input in &node.inputs {
                need(graph, input, &mut needed);
            }
        }
    }
    needed
}

/// Marks a tensor, and those it is made of or a piece of.
fn need(graph: &Graph, id: TensorId, needed: &mut [bool]) {
    needed[id.index()] = true;
    let tensor = &graph.tensors()[id.index()];
    match (tensor.source, tensor.within) {
        (Source::Packed, _) => {
            for (part, _) in graph.parts(id) {
                needed[part.index()] = true;
            }
        }
        (Source::View, Some((whole, _))) => needed[whole.index()] = true,
        _ => {}
    }
}

/// Whether a vector is made of parameters.
fn holds_parameters(graph: &Graph, whole: TensorId) -> bool {
    graph.parts(whole).all(|(part, _)| graph.tensors()[part.index()].source == Source::Parameter)
}

/// When each tensor that changes between runs is alive. Time 0 is before the first step; step i runs at time i + 1.
fn tensor_lifetimes(graph: &Graph, steps: &[usize], constant: &[bool]) -> Vec<(Option<TensorId>, Lifetime)> {
    let end = steps.len() + 1;
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.tensors().len()];
    // A piece lives as long as the whole it lies in.
    let home = |id: TensorId| graph.tensors()[id.index()].within.map_or(id, |(whole, _)| whole);
    for (id, tensor) in graph.ids().zip(graph.tensors()) {
        match tensor.source {
            Source::Input => spans[id.index()] = Some((0, 0)),
            // Alone in its slot, so that what lies between its parts stays zero.
            Source::Packed if !holds_parameters(graph, id) => spans[id.index()] = Some((0, end)),
            _ => {}
        }
    }
    for (i, &node) in steps.iter().enumerate() {
        let node = &graph.nodes()[node];
        for &output in &node.outputs {
            let span = spans[home(output).index()].get_or_insert((i + 1, i + 1));
            span.1 = span.1.max(i + 1);
        }
        for &input in &node.inputs {
            if let Some(span) = &mut spans[home(input).index()] {
                span.1 = span.1.max(i + 1);
            }
        }
    }
    let kept = graph.outputs().iter().map(|(_, id)| *id).chain(graph.assignments().iter().map(|(_, value)| *value));
    for id in kept {
        if let Some(span) = &mut spans[home(id).index()] {
            span.1 = end;
        }
    }
    let mut lifetimes = Vec::new();
    for ((id, tensor), span) in graph.ids().zip(graph.tensors()).zip(spans) {
        if let (Some((first, last)), false) = (span, constant[id.index()]) {
            let floats = tensor.shape.elements().next_multiple_of(ALIGNMENT);
            lifetimes.push((Some(id), Lifetime { floats, first, last }));
        }
    }
    lifetimes
}

/// Appends the temporary tensors of a node, alive at its own time only; gives their range.
fn scratch_lifetimes(
    graph: &Graph,
    node: usize,
    time: usize,
    target: &Target,
    lifetimes: &mut Vec<(Option<TensorId>, Lifetime)>,
) -> std::ops::Range<usize> {
    let node = &graph.nodes()[node];
    let shapes = graph.shapes(node);
    let sizes = match target {
        Target::Cpu => vec![node.operator.cpu_scratch(&shapes)],
        Target::Gpu(caps) => node.operator.gpu_scratch(&shapes, caps),
    };
    let first = lifetimes.len();
    for floats in sizes.into_iter().filter(|&floats| floats > 0) {
        let floats = floats.next_multiple_of(ALIGNMENT);
        lifetimes.push((None, Lifetime { floats, first: time, last: time }));
    }
    first..lifetimes.len()
}

#[cfg(test)]
mod tests;
