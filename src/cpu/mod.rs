//! The native executor: runs a plan step by step with the operators' CPU code, on all cores.

mod available;
mod block;
pub mod single;
mod summary;

use std::time::Instant;

use available::available_bytes;
use block::Block;
pub use summary::CpuSummary;

use crate::error::Result;
use crate::executor::{ArraySource, Arrays, Clock, Executor, Piece, Profile, array_for, parameter_named};
use crate::graph::{Graph, Shape, Source, TensorId};
use crate::plan::slots::Place;
use crate::plan::{Placement, Plan, PlanOptions, Step, Target};

/// A planned graph in main memory.
#[derive(Debug)]
pub struct CpuExecutor {
    plan: Plan,
    memory: Memory,
}

/// The arenas that a plan's placements refer to.
#[derive(Debug, Default)]
struct Memory {
    parameters: Block,
    prepared: Block,
    slots: Vec<Block>,
}

impl CpuExecutor {
    /// Plans `graph`. Memory is taken when weights are loaded.
    ///
    /// # Errors
    /// The plan cannot be made, or needs more memory than the machine has left ([`crate::Error::OutOfMemory`]).
    pub fn new(graph: &Graph, options: &PlanOptions) -> Result<Self> {
        let plan = Plan::new(graph, &Target::Cpu, options)?;
        if let Some(available) = available_bytes().filter(|&available| available < plan.peak_bytes()) {
            return Err(plan.out_of_memory("the CPU", available));
        }
        Ok(Self { plan, memory: Memory::default() })
    }

    /// Runs the graph up to the first value that is no finite number; gives the name of its input or node. Assigns nothing.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn first_non_finite(&mut self, inputs: &dyn ArraySource) -> Result<Option<String>> {
        self.take_inputs(inputs)?;
        let graph = &self.plan.graph;
        let is_wrong = |memory: &Memory, id| memory.view(&self.plan, id).iter().any(|v| !v.is_finite());
        if let Some((_, input)) = graph.sources(Source::Input).find(|(id, _)| is_wrong(&self.memory, *id)) {
            return Ok(Some(input.name.clone()));
        }
        for step in &self.plan.steps {
            self.memory.step(&self.plan, step)?;
            let node = &graph.nodes()[step.node];
            if node.outputs.iter().any(|&id| is_wrong(&self.memory, id)) {
                return Ok(Some(node.name.clone()));
            }
        }
        Ok(None)
    }

    /// Runs the graph, every step by `run_step`.
    fn run_by(
        &mut self,
        inputs: &dyn ArraySource,
        mut run_step: impl FnMut(&mut Memory, &Plan, &Step) -> Result<()>,
    ) -> Result<Arrays> {
        self.take_inputs(inputs)?;
        for step in &self.plan.steps {
            run_step(&mut self.memory, &self.plan, step)?;
        }
        for &(parameter, value) in self.plan.graph.assignments() {
            self.memory.assign(&self.plan, parameter, value);
        }
        let outputs = self.plan.graph.outputs();
        Ok(outputs.iter().map(|(name, id)| (name.clone(), self.memory.view(&self.plan, *id).to_vec())).collect())
    }

    fn take_inputs(&mut self, inputs: &dyn ArraySource) -> Result<()> {
        for (id, tensor) in self.plan.graph.sources(Source::Input) {
            let values = array_for(&self.plan.graph, Source::Input, &tensor.name, inputs)?;
            self.memory.fill(self.plan.placements[id.index()], values);
        }
        Ok(())
    }
}

impl Memory {
    fn step(&mut self, plan: &Plan, step: &Step) -> Result<()> {
        let node = &plan.graph.nodes()[step.node];
        let shapes = plan.graph.shapes(node);
        // Outputs and temporary memory are taken out of their arenas while the operator runs. No step reads from a slot that
        // it writes to, so what stays holds all inputs but the one whose memory the output takes.
        let mut taken = self.take(plan, &node.outputs)?;
        let place = step.scratch.first().copied();
        let mut scratch = place.map(|place| std::mem::take(&mut self.slots[place.slot])).unwrap_or_default();
        {
            let input = |(i, &t): (usize, &TensorId)| if step.in_place == Some(i) { &[] } else { self.view(plan, t) };
            let inputs: Vec<&[f32]> = node.inputs.iter().enumerate().map(input).collect();
            let mut outputs = pieces(&mut taken, &shapes.outputs);
            let start = place.map_or(0, |place| place.offset);
            let scratch_len = node.operator.cpu_scratch(&shapes);
            node.operator.compute(&shapes, &inputs, &mut outputs, &mut scratch[start..start + scratch_len]);
        }
        for output in taken {
            self.put_back(output);
        }
        if let Some(place) = place {
            self.slots[place.slot] = scratch;
        }
        Ok(())
    }

    /// A tensor's values.
    fn view(&self, plan: &Plan, tensor: TensorId) -> &[f32] {
        let len = plan.graph.shape(tensor).elements();
        match plan.placements[tensor.index()] {
            Placement::Parameter(offset) => &self.parameters[offset..offset + len],
            Placement::Prepared(offset) => &self.prepared[offset..offset + len],
            Placement::Slot(Place { slot, offset }) => &self.slots[slot][offset..offset + len],
            Placement::Nowhere => &[],
        }
    }

    /// Copies given values to their place.
    fn fill(&mut self, place: Placement, values: &[f32]) {
        let (memory, offset) = match place {
            Placement::Parameter(offset) => (&mut self.parameters, offset),
            Placement::Prepared(offset) => (&mut self.prepared, offset),
            Placement::Slot(Place { slot, offset }) => (&mut self.slots[slot], offset),
            Placement::Nowhere => return,
        };
        memory[offset..offset + values.len()].copy_from_slice(values);
    }

    /// Memory to write a node's outputs to: slots, or new memory for prepared tensors (they are made once). Outputs that lie
    /// in one slot come together.
    fn take(&mut self, plan: &Plan, outputs: &[TensorId]) -> Result<Vec<Taken>> {
        let mut taken: Vec<Taken> = Vec::new();
        for (index, tensor) in outputs.iter().enumerate() {
            let place = plan.placements[tensor.index()];
            let (slot, offset) = match place {
                Placement::Slot(Place { slot, offset }) => (Some(slot), offset),
                _ => (None, 0),
            };
            if let Some(same) = taken.iter_mut().find(|t| slot.is_some() && t.slot == slot) {
                same.outputs.push((index, offset));
                continue;
            }
            let memory = match slot {
                Some(slot) => std::mem::take(&mut self.slots[slot]),
                None => self.block(plan, plan.graph.shape(*tensor).elements())?,
            };
            taken.push(Taken { memory, slot, place, outputs: vec![(index, offset)] });
        }
        Ok(taken)
    }

    /// New memory beside what is held.
    fn block(&self, plan: &Plan, len: usize) -> Result<Block> {
        Block::new(len).ok_or_else(|| plan.out_of_memory("the CPU", self.bytes()))
    }

    /// Bytes held.
    fn bytes(&self) -> u64 {
        let Self { parameters, prepared, slots } = self;
        4 * [parameters, prepared].into_iter().chain(slots).map(|block| block.len() as u64).sum::<u64>()
    }

    fn put_back(&mut self, taken: Taken) {
        let Taken { memory, slot, place, .. } = taken;
        match (slot, place) {
            (Some(slot), _) => self.slots[slot] = memory,
            (None, Placement::Prepared(offset)) => {
                self.prepared[offset..offset + memory.len()].copy_from_slice(&memory);
            }
            _ => {}
        }
    }

    /// Copies a result over a parameter.
    fn assign(&mut self, plan: &Plan, parameter: TensorId, value: TensorId) {
        let len = plan.graph.shape(value).elements();
        if let (Placement::Parameter(to), Placement::Slot(Place { slot, offset })) =
            (plan.placements[parameter.index()], plan.placements[value.index()])
        {
            self.parameters[to..to + len].copy_from_slice(&self.slots[slot][offset..offset + len]);
        }
    }
}

/// Memory taken out of its place to be written to.
struct Taken {
    memory: Block,
    slot: Option<usize>,
    place: Placement,
    /// Which outputs of the node lie in it, and where.
    outputs: Vec<(usize, usize)>,
}

/// The slices of the taken memory that are the outputs of these shapes, in the node's order.
fn pieces<'a>(taken: &'a mut [Taken], shapes: &[Shape]) -> Vec<&'a mut [f32]> {
    let mut pieces: Vec<(usize, &'a mut [f32])> = Vec::with_capacity(shapes.len());
    for Taken { memory, outputs, .. } in taken {
        outputs.sort_by_key(|(_, offset)| *offset);
        let (mut rest, mut start): (&mut [f32], usize) = (memory, 0);
        for &(index, offset) in &*outputs {
            let (piece, after) = rest[offset - start..].split_at_mut(shapes[index].elements());
            start = offset + piece.len();
            pieces.push((index, piece));
            rest = after;
        }
    }
    pieces.sort_by_key(|(index, _)| *index);
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

impl Executor for CpuExecutor {
    fn load(&mut self, weights: &dyn ArraySource) -> Result<()> {
        // What an earlier load took is given back first.
        self.memory = Memory::default();
        let memory = &mut self.memory;
        memory.parameters = memory.block(&self.plan, self.plan.parameter_floats)?;
        memory.prepared = memory.block(&self.plan, self.plan.prepared_floats)?;
        for &len in &self.plan.slots {
            memory.slots.push(memory.block(&self.plan, len)?);
        }
        for (id, tensor) in self.plan.graph.sources(Source::Parameter) {
            let values = array_for(&self.plan.graph, Source::Parameter, &tensor.name, weights)?;
            memory.fill(self.plan.placements[id.index()], values);
        }
        for step in &self.plan.prepare {
            memory.step(&self.plan, step)?;
        }
        Ok(())
    }

    fn run(&mut self, inputs: &dyn ArraySource) -> Result<Arrays> {
        self.run_by(inputs, Memory::step)
    }

    fn profile(&mut self, inputs: &dyn ArraySource) -> Result<(Arrays, Profile)> {
        let mut pieces = Vec::with_capacity(self.plan.steps.len());
        let outputs = self.run_by(inputs, |memory, plan, step| {
            let begin = Instant::now();
            memory.step(plan, step)?;
            pieces.push(Piece { node: step.node, kernel: None, seconds: begin.elapsed().as_secs_f64() });
            Ok(())
        })?;
        Ok((outputs, Profile { clock: Clock::Wall, pieces }))
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let id = parameter_named(&self.plan, name)?;
        Ok(self.memory.view(&self.plan, id).to_vec())
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn allocated_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    fn device(&self) -> String {
        format!("CPU ({} threads)", rayon::current_num_threads())
    }
}

#[cfg(test)]
mod tests {
    use super::CpuExecutor;
    use crate::error::Error;
    use crate::model::ModelConfig;
    use crate::model::network::inference_graph;
    use crate::plan::PlanOptions;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_plan_larger_than_the_machine_is_refused() {
        // Twenty terabytes.
        let graph = inference_graph(&ModelConfig::default(), 100_000).expect("a graph");
        let error = CpuExecutor::new(&graph, &PlanOptions::default()).expect_err("too large for any machine");
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        let message = error.to_string();
        assert!(message.starts_with("the CPU cannot hold") && message.contains("100000x384x384"), "{message}");
        assert!(message.contains("a smaller --batch"), "{message}");
    }
}
