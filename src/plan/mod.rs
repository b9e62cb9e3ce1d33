//! From a graph to a list of steps with a place in memory for every tensor, made once and replayed.
//!
//! The plan folds batch norms into convolutions, runs what depends on weights alone only once, and gives every other
//! tensor a slot: a piece of memory shared by tensors that are never alive together. It knows its peak before anything runs.

pub mod fusion;
mod lifetimes;
pub mod slots;

use crate::error::{Error, Result};
pub use crate::graph::ALIGNMENT;
use crate::graph::{Caps, Graph, Node, Source, TensorId};
use lifetimes::{Tenants, Times, home};
use slots::Place;

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
    /// In a slot. So does a weight that only the preparation reads: the first run overwrites it.
    Slot(Place),
    /// Nowhere: no wanted result needs it.
    Nowhere,
}

/// One node to run, with places for its temporary memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Index into the graph's nodes.
    pub node: usize,
    /// Places of the temporary tensors.
    pub scratch: Vec<Place>,
    /// The input in whose memory the first output lies, if any; see [`crate::graph::Operator::in_place`].
    pub in_place: Option<usize>,
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
    /// Size of what the executor holds of the results outside of the slots: on a GPU the buffers they are read from.
    pub result_floats: usize,
    /// Most floats alive in the slots at one time: no assignment of slots needs less.
    pub lower_bound_floats: usize,
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
        let runs_once = |node: &Node| node.outputs.iter().all(|t| constant[t.index()]);
        let order = |once: bool| {
            let nodes = graph.nodes().iter().enumerate();
            nodes.filter(move |(_, n)| is_live(n) && runs_once(n) == once).map(|(i, _)| i)
        };
        let (once, every): (Vec<usize>, Vec<usize>) = (order(true).collect(), order(false).collect());
        let times = Times { once: &once, every: &every };
        let roles = roles(&graph, times, &constant);
        let tenants = Tenants::of(&graph, times, &roles, target);
        let assignment = slots::assign(&tenants.lifetimes, largest_slot(target));

        let mut placements = vec![Placement::Nowhere; graph.tensors().len()];
        let (mut parameter_floats, mut prepared_floats) = (0, 0);
        for (id, tensor) in graph.ids().zip(graph.tensors()).filter(|(_, tensor)| tensor.within.is_none()) {
            let floats = tensor.shape.elements().next_multiple_of(ALIGNMENT);
            placements[id.index()] = match (tenants.of_tensor[id.index()], roles[id.index()], tensor.source) {
                (Some(tenant), _, _) => Placement::Slot(assignment.places[tenant]),
                (None, Role::Kept, Source::Parameter | Source::Packed) => {
                    parameter_floats += floats;
                    Placement::Parameter(parameter_floats - floats)
                }
                (None, Role::Kept, Source::Node(node)) if is_live(&graph.nodes()[node]) => {
                    prepared_floats += floats;
                    Placement::Prepared(prepared_floats - floats)
                }
                _ => Placement::Nowhere,
            };
        }
        for (id, tensor) in graph.ids().zip(graph.tensors()) {
            let Some((whole, offset)) = tensor.within else { continue };
            placements[id.index()] = match placements[whole.index()] {
                Placement::Parameter(start) => Placement::Parameter(start + offset),
                Placement::Slot(Place { slot, offset: start }) => Placement::Slot(Place { slot, offset: start + offset }),
                other => other,
            };
        }
        let step = |(i, &node): (usize, &usize)| Step {
            node,
            scratch: assignment.places[tenants.scratch[i].clone()].to_vec(),
            in_place: tenants.in_place[i],
        };
        let mut prepare: Vec<Step> = once.iter().chain(&every).enumerate().map(step).collect();
        let steps = prepare.split_off(once.len());
        let result_floats = match target {
            Target::Cpu => 0,
            Target::Gpu(_) => graph.outputs().iter().map(|(_, id)| graph.shape(*id).elements()).sum(),
        };
        let lower_bound_floats = slots::lower_bound(&tenants.lifetimes);
        Ok(Self {
            graph,
            prepare,
            steps,
            placements,
            slots: assignment.sizes,
            parameter_floats,
            prepared_floats,
            result_floats,
            lower_bound_floats,
        })
    }

    /// Bytes of activations and temporary memory: the sum of the slots.
    #[must_use]
    pub fn slot_bytes(&self) -> u64 {
        4 * self.slots.iter().sum::<usize>() as u64
    }

    /// Bytes of everything the executor holds, from loading on: weights, prepared tensors, slots and results.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.slot_bytes() + 4 * (self.parameter_floats + self.prepared_floats + self.result_floats) as u64
    }

    /// Names and bytes of the largest tensors that lie in slots, largest first.
    #[must_use]
    pub fn largest_tensors(&self, count: usize) -> Vec<(String, u64)> {
        let mut sizes: Vec<(String, u64)> = self
            .graph
            .tensors()
            .iter()
            .zip(&self.placements)
            .filter(|(t, place)| t.within.is_none() && matches!(place, Placement::Slot(_)))
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

/// Where a tensor belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Among the weights or what is made of them once: it outlives every run.
    Kept,
    /// A weight that only the preparation reads. It lies in a slot until the first run.
    Loading,
    /// Alive for a part of a run, or of the preparation.
    Passing,
}

/// The role of every tensor.
fn roles(graph: &Graph, times: Times<'_>, constant: &[bool]) -> Vec<Role> {
    let mut read = [vec![false; graph.tensors().len()], vec![false; graph.tensors().len()]];
    for (read, steps) in read.iter_mut().zip([times.once, times.every]) {
        for &input in steps.iter().flat_map(|&node| &graph.nodes()[node].inputs) {
            read[home(graph, input).index()] = true;
        }
    }
    for (_, id) in graph.outputs() {
        read[1][home(graph, *id).index()] = true;
    }
    let [in_preparation, in_runs] = read;
    let role = |(id, tensor): (TensorId, &crate::graph::Tensor)| {
        let i = id.index();
        let only_prepares = in_preparation[i] && !in_runs[i] && constant[i];
        match tensor.source {
            Source::Parameter if only_prepares && tensor.within.is_none() => Role::Loading,
            Source::Parameter => Role::Kept,
            Source::Packed if holds_parameters(graph, id) => Role::Kept,
            Source::Node(_) if constant[i] && !only_prepares => Role::Kept,
            _ => Role::Passing,
        }
    };
    graph.ids().zip(graph.tensors()).map(role).collect()
}

/// How far slots may grow, in floats: on a GPU as far as one binding reaches, which is less than a buffer may have.
fn largest_slot(target: &Target) -> usize {
    match target {
        Target::Cpu => usize::MAX,
        Target::Gpu(caps) => usize::try_from(caps.max_binding_bytes / 4).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests;
