//! From a graph to a list of steps with a place in memory for every tensor, made once and replayed.
//!
//! The plan folds batch norms into convolutions, runs what depends on weights alone only once, and gives every other
//! tensor a slot: a piece of memory shared by tensors that are never alive together. It knows its peak before anything runs.

pub mod fusion;
mod lifetimes;
mod recompute;
mod roles;
pub mod slots;

use crate::error::{Error, Result};
pub use crate::graph::ALIGNMENT;
use crate::graph::{Caps, Graph, Launch, Node, Shapes, Source};
use lifetimes::Tenants;
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
}

impl Step {
    /// The operator's launches for these shapes, in place where the step is.
    ///
    /// # Errors
    /// As [`Operator::launches`].
    ///
    /// [`Operator::launches`]: crate::graph::Operator::launches
    pub fn launches(&self, node: &Node, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let mut launches = node.operator.launches(shapes, caps)?;
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
        if let Some(bytes) = options.max_memory {
            graph = recompute::fit(graph, target, bytes)?;
        }
        let roles = Roles::of(&graph);
        let tenants = Tenants::of(&graph, &roles, target);
        let assignment = slots::assign(&tenants.lifetimes, largest_slot(target));

        let mut placements = vec![Placement::Nowhere; graph.tensors().len()];
        let (mut parameter_floats, mut prepared_floats) = (0, 0);
        for (id, tensor) in graph.ids().zip(graph.tensors()).filter(|(_, tensor)| tensor.within.is_none()) {
            let floats = tensor.shape.elements().next_multiple_of(ALIGNMENT);
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
                Placement::Slot(Place { slot, offset: start }) => Placement::Slot(Place { slot, offset: start + offset }),
                other => other,
            };
        }
        let step = |(i, &node): (usize, &usize)| Step {
            node,
            scratch: assignment.places[tenants.scratch[i].clone()].to_vec(),
            in_place: tenants.in_place[i],
        };
        let mut prepare: Vec<Step> = roles.once.iter().chain(&roles.every).enumerate().map(step).collect();
        let steps = prepare.split_off(roles.once.len());
        let result_floats = result_floats(&graph, target);
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
