//! From a graph to a list of steps with a place in memory for every tensor, made once and replayed.
//!
//! The plan folds batch norms into convolutions, runs what depends on weights alone only once, and gives every other
//! tensor a slot: a piece of memory shared by tensors that are never alive together. It knows its peak before anything runs.

pub mod fusion;
mod lifetimes;
mod memory_size;
pub mod precision;
mod recompute;
mod roles;
pub mod slots;

use std::cmp::Reverse;

use crate::error::{Error, Result};
pub use crate::graph::ALIGNMENT;
use crate::graph::{Caps, Graph, Launch, Node, Shapes, Source, TensorId};
use lifetimes::{Tenants, home};
pub use memory_size::MemorySize;
pub use precision::Precision;
use roles::{Role, Roles};
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
    /// Most bytes that [`Plan::peak_bytes`] may come to. What does not fit is made again instead of kept.
    pub max_memory: Option<u64>,
    /// How weights and activations are stored; halves are for inference on a GPU.
    pub precision: Precision,
}

impl PlanOptions {
    /// As exact as f32 is; the tests' default.
    #[must_use]
    pub fn exact() -> Self {
        Self { exact: true, ..Self::default() }
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
    /// Whether it makes again what was dropped to need less memory.
    pub again: bool,
}

impl Step {
    /// The operator's launches for these shapes, in place where the step is.
    ///
    /// # Errors
    /// As [`Operator::launches`].
    ///
    /// [`Operator::launches`]: crate::graph::Operator::launches
    pub fn launches(&self, node: &Node, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let mut launches = node.operator.launches(shapes, &caps.on(node.storage))?;
        if let Some(input) = self.in_place {
            launches = launches.into_iter().map(|launch| launch.in_place(input)).collect();
        }
        Ok(launches)
    }
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
    /// Floats alive in the slots at every step.
    pub alive: Vec<usize>,
    /// The same at every step of the preparation.
    pub alive_in_preparation: Vec<usize>,
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
        if options.precision == Precision::F16 {
            let Target::Gpu(caps) = target else {
                return Err(Error::bad_argument(
                    "precision f16 on the CPU",
                    "a GPU: the CPU computes in f32 alone",
                    "name a GPU with --device (see `glavitu devices`), or leave out --precision f16",
                ));
            };
            graph = precision::halve(&graph, caps, &roles::constants(&graph))?;
        }
        let originals = graph.tensors().len();
        if let Some(bytes) = options.max_memory {
            graph = recompute::fit(graph, target, bytes)?;
        }
        let roles = Roles::of(&graph);
        let tenants = Tenants::of(&graph, &roles, target);
        let assignment = slots::assign(&tenants.lifetimes, largest_slot(target));

        let mut placements = vec![Placement::Nowhere; graph.tensors().len()];
        let (mut parameter_floats, mut prepared_floats) = (0, 0);
        for (id, tensor) in graph.ids().zip(graph.tensors()).filter(|(_, tensor)| tensor.within.is_none()) {
            let floats = tensor.floats().next_multiple_of(ALIGNMENT);
            placements[id.index()] = match (tenants.of_tensor[id.index()], roles.of_tensor[id.index()], tensor.source) {
                (Some(tenant), _, _) => Placement::Slot(assignment.places[tenant]),
                (None, Role::Kept, Source::Parameter | Source::Packed) => {
                    parameter_floats += floats;
                    Placement::Parameter(parameter_floats - floats)
                }
                (None, Role::Kept, Source::Node(node)) if roles.once.contains(&node) => {
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
                Placement::Slot(Place { slot, offset: start }) => {
                    Placement::Slot(Place { slot, offset: start + offset })
                }
                other => other,
            };
        }
        let step = |(i, &node): (usize, &usize)| Step {
            node,
            scratch: assignment.places[tenants.scratch[i].clone()].to_vec(),
            in_place: tenants.in_place[i],
            again: graph.nodes()[node].outputs[0].index() >= originals,
        };
        let mut prepare: Vec<Step> = roles.once.iter().chain(&roles.every).enumerate().map(step).collect();
        let steps = prepare.split_off(roles.once.len());
        let result_floats = result_floats(&graph, target);
        let mut alive = slots::live(&tenants.lifetimes);
        let lower_bound_floats = alive.iter().copied().max().unwrap_or(0);
        // Time 0 is before the first step of the preparation, and the inputs are written after the last.
        alive.resize(roles.end() + 1, 0);
        let alive_in_preparation = alive[1..roles.start()].to_vec();
        let alive = alive[roles.start() + 1..roles.end()].to_vec();
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
            alive,
            alive_in_preparation,
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

    /// The largest tensors that lie in slots, with their bytes, largest first.
    #[must_use]
    pub fn largest_tensors(&self, count: usize) -> Vec<(TensorId, u64)> {
        let tensors = self.graph.tensors();
        let is_in_slot = |id: &TensorId| {
            tensors[id.index()].within.is_none() && matches!(self.placements[id.index()], Placement::Slot(_))
        };
        let bytes = |id: TensorId| 4 * tensors[id.index()].floats() as u64;
        let mut sizes: Vec<(TensorId, u64)> = self.graph.ids().filter(is_in_slot).map(|id| (id, bytes(id))).collect();
        sizes.sort_by_key(|&(id, bytes)| (Reverse(bytes), &tensors[id.index()].name, id));
        sizes.truncate(count);
        sizes
    }

    /// The tensors in slots that are alive at a step of every run, by the step's index. An input in whose memory the step writes
    /// does not count.
    #[must_use]
    pub fn alive_tensors(&self, step: usize) -> Vec<TensorId> {
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; self.graph.tensors().len()];
        for (id, tensor) in self.graph.ids().zip(self.graph.tensors()) {
            match tensor.source {
                Source::Input => spans[id.index()] = Some((0, 0)),
                Source::Packed => spans[id.index()] = Some((0, usize::MAX)),
                _ => {}
            }
        }
        for (time, Step { node, in_place, .. }) in self.steps.iter().enumerate() {
            let node = &self.graph.nodes()[*node];
            let kept = node.inputs.iter().enumerate().filter(|(i, _)| Some(*i) != *in_place).map(|(_, input)| input);
            for &id in node.outputs.iter().chain(kept) {
                let span = spans[home(&self.graph, id).index()].get_or_insert((time, time));
                span.1 = span.1.max(time);
            }
        }
        let results = self.graph.outputs().iter().map(|(_, id)| *id);
        for id in results.chain(self.graph.assignments().iter().map(|(_, value)| *value)) {
            if let Some(span) = &mut spans[home(&self.graph, id).index()] {
                span.1 = usize::MAX;
            }
        }
        let is_alive = |id: &TensorId| {
            let in_slot = matches!(self.placements[id.index()], Placement::Slot(_));
            in_slot && spans[id.index()].is_some_and(|(first, last)| first <= step && step <= last)
        };
        self.graph.ids().filter(is_alive).collect()
    }

    /// The error for a device that has only `available` bytes for this plan.
    pub(crate) fn out_of_memory(&self, device: &str, available: u64) -> Error {
        let told = |(id, bytes): (TensorId, u64)| {
            let tensor = &self.graph.tensors()[id.index()];
            format!("{} ({}): {bytes} bytes", tensor.name, tensor.shape)
        };
        let largest: Vec<String> = self.largest_tensors(3).into_iter().map(told).collect();
        Error::OutOfMemory {
            device: device.to_owned(),
            needed_bytes: self.peak_bytes(),
            available_bytes: available,
            largest: largest.join(", "),
        }
    }
}

/// What the executor holds of the results outside of the slots.
fn result_floats(graph: &Graph, target: &Target) -> usize {
    match target {
        Target::Cpu => 0,
        Target::Gpu(_) => graph.outputs().iter().map(|(_, id)| graph.shape(*id).elements()).sum(),
    }
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
