//! The native executor: runs a plan step by step with the operators' CPU code, on all cores.

mod block;

use block::Block;

use crate::error::Result;
use crate::executor::{ArraySource, Arrays, Executor, array_for};
use crate::graph::{Graph, Source, TensorId};
use crate::plan::{Placement, Plan, Step, Target};

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
    /// The plan cannot be made.
    pub fn new(graph: &Graph) -> Result<Self> {
        let plan = Plan::new(graph, &Target::Cpu)?;
        Ok(Self { plan, memory: Memory::default() })
    }
}

impl Memory {
    fn step(&mut self, plan: &Plan, step: &Step) {
        let node = &plan.graph.nodes()[step.node];
        let shapes = plan.graph.shapes(node);
        // Outputs and temporary memory are taken out of their arenas while the operator runs: no two tensors alive at
        // one time share a slot, so what stays holds all inputs.
        let mut taken: Vec<Block> = node.outputs.iter().map(|&t| self.take(plan, t)).collect();
        let mut scratch = step.scratch.first().map(|&slot| std::mem::take(&mut self.slots[slot])).unwrap_or_default();
        {
            let inputs: Vec<&[f32]> = node.inputs.iter().map(|&t| self.view(plan, t)).collect();
            let mut outputs: Vec<&mut [f32]> =
                taken.iter_mut().zip(&shapes.outputs).map(|(memory, shape)| &mut memory[..shape.elements()]).collect();
            let scratch_len = node.operator.cpu_scratch(&shapes);
            node.operator.compute(&shapes, &inputs, &mut outputs, &mut scratch[..scratch_len]);
        }
        for (&tensor, memory) in node.outputs.iter().zip(taken) {
            self.put_back(plan, tensor, memory);
        }
        if let Some(&slot) = step.scratch.first() {
            self.slots[slot] = scratch;
        }
    }

    /// A tensor's values.
    fn view(&self, plan: &Plan, tensor: TensorId) -> &[f32] {
        let len = plan.graph.shape(tensor).elements();
        match plan.placements[tensor.index()] {
            Placement::Parameter(offset) => &self.parameters[offset..offset + len],
            Placement::Prepared(offset) => &self.prepared[offset..offset + len],
            Placement::Slot(slot) => &self.slots[slot][..len],
        }
    }

    /// Memory to write a tensor to: its slot, or new memory for a prepared one (they are made once).
    fn take(&mut self, plan: &Plan, tensor: TensorId) -> Block {
        match plan.placements[tensor.index()] {
            Placement::Slot(slot) => std::mem::take(&mut self.slots[slot]),
            _ => Block::new(plan.graph.shape(tensor).elements()),
        }
    }

    fn put_back(&mut self, plan: &Plan, tensor: TensorId, memory: Block) {
        match plan.placements[tensor.index()] {
            Placement::Slot(slot) => self.slots[slot] = memory,
            Placement::Prepared(offset) => self.prepared[offset..offset + memory.len()].copy_from_slice(&memory),
            Placement::Parameter(_) => {}
        }
    }
}

impl Executor for CpuExecutor {
    fn load(&mut self, weights: &dyn ArraySource) -> Result<()> {
        let memory = &mut self.memory;
        memory.parameters = Block::new(self.plan.parameter_floats);
        memory.prepared = Block::new(self.plan.prepared_floats);
        memory.slots = self.plan.slots.iter().map(|&len| Block::new(len)).collect();
        for (id, tensor) in self.plan.graph.sources(Source::Parameter) {
            let values = array_for(&self.plan.graph, Source::Parameter, &tensor.name, weights)?;
            if let Placement::Parameter(offset) = self.plan.placements[id.index()] {
                memory.parameters[offset..offset + values.len()].copy_from_slice(values);
            }
        }
        for step in &self.plan.prepare {
            memory.step(&self.plan, step);
        }
        Ok(())
    }

    fn run(&mut self, inputs: &Arrays) -> Result<Arrays> {
        for (id, tensor) in self.plan.graph.sources(Source::Input) {
            let values = array_for(&self.plan.graph, Source::Input, &tensor.name, inputs)?;
            if let Placement::Slot(slot) = self.plan.placements[id.index()] {
                self.memory.slots[slot][..values.len()].copy_from_slice(values);
            }
        }
        for step in &self.plan.steps {
            self.memory.step(&self.plan, step);
        }
        let outputs = self.plan.graph.outputs();
        Ok(outputs.iter().map(|(name, id)| (name.clone(), self.memory.view(&self.plan, *id).to_vec())).collect())
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn allocated_bytes(&self) -> u64 {
        let Memory { parameters, prepared, slots } = &self.memory;
        4 * [parameters, prepared].into_iter().chain(slots).map(|block| block.len() as u64).sum::<u64>()
    }

    fn device(&self) -> String {
        format!("CPU ({} threads)", rayon::current_num_threads())
    }
}
