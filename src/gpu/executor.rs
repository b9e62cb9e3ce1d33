//! A planned graph on a GPU: buffers, pipelines and bind groups made once, then replayed.

use super::device::Gpu;
use super::dispatch::{Dispatch, Range, Recorder, storage_buffer};
use super::kernel::PipelineCache;
use super::profile::{Pass, time_passes};
use super::readback::{self, Readback};
use super::slices::{FLOP_PER_SUBMISSION, Slice, slices};
use crate::error::{Error, Result};
use crate::executor::{ArraySource, Arrays, Executor, Piece, Profile, array_for, parameter_named};
use crate::graph::{Binding, Graph, Node, Source, Storage, Tensor, TensorId};
use crate::plan::slots::Place;
use crate::plan::{ALIGNMENT, Placement, Plan, PlanOptions, Step, Target};

/// A planned graph on a GPU.
#[derive(Debug)]
pub struct GpuExecutor {
    gpu: Gpu,
    plan: Plan,
    memory: Memory,
    prepare: Vec<Vec<Dispatch>>,
    /// Dispatches of every run, by submission.
    steps: Vec<Vec<Dispatch>>,
    /// The node of each of them.
    nodes: Vec<usize>,
    results: Vec<(String, Readback)>,
    /// What is copied over the parameters after every run: parameter, value.
    assignments: Vec<(Range, Range)>,
    loaded: bool,
}

/// Buffers behind the plan's placements.
///
/// A dispatch may not bind one buffer both to read and to write. Weights are never written by a dispatch, slots of the tensors of one
/// step differ by their lifetimes, and prepared tensors have a buffer each.
#[derive(Debug, Default)]
struct Memory {
    parameters: Option<wgpu::Buffer>,
    prepared: Vec<Option<wgpu::Buffer>>,
    slots: Vec<wgpu::Buffer>,
}

impl GpuExecutor {
    /// Plans `graph` for `gpu` and takes all memory. The limits are those of [`Gpu::caps`], which may be lowered.
    ///
    /// # Errors
    /// The plan does not fit the device, or the device fails.
    pub fn new(gpu: Gpu, graph: &Graph, options: &PlanOptions) -> Result<Self> {
        pollster::block_on(Self::new_async(gpu, graph, options))
    }

    /// [`GpuExecutor::new`] without blocking.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`].
    pub async fn new_async(gpu: Gpu, graph: &Graph, options: &PlanOptions) -> Result<Self> {
        let plan = Plan::new(graph, &Target::Gpu(gpu.caps.clone()), options)?;
        let mut held = 0;
        let memory = allocate(&gpu, &plan, &mut held).await?;
        let mut cache = PipelineCache::default();
        let (prepare, _) = record(&gpu, &plan, &plan.prepare, &memory, &mut cache).await?;
        let (steps, nodes) = record(&gpu, &plan, &plan.steps, &memory, &mut cache).await?;
        let mut results = Vec::new();
        for (name, tensor) in plan.graph.outputs() {
            let source = memory.range(&plan, *tensor)?;
            held += source.bytes;
            let made = gpu.guarded(|| Readback::new(&gpu, source)).await;
            results.push((name.clone(), made.map_err(|e| refused(&gpu, &plan, held, &e))?));
        }
        let assignments = plan.graph.assignments().iter();
        let assignments = assignments
            .map(|&(parameter, value)| Ok((memory.range(&plan, parameter)?, memory.range(&plan, value)?)))
            .collect::<Result<_>>()?;
        Ok(Self { gpu, plan, memory, prepare, steps, nodes, results, assignments, loaded: false })
    }

    /// Number of dispatches of a run.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.steps.iter().map(Vec::len).sum()
    }

    /// [`Executor::run`] without blocking.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub async fn run_async(&mut self, inputs: &dyn ArraySource) -> Result<Arrays> {
        self.upload(&self.checked(inputs)?);
        self.submit(&self.steps, &self.results);
        self.read_results().await
    }

    /// [`Executor::profile`] without blocking.
    ///
    /// # Errors
    /// As [`Executor::profile`].
    pub async fn profile_async(&mut self, inputs: &dyn ArraySource) -> Result<(Arrays, Profile)> {
        let writes = self.checked(inputs)?;
        let submissions: Vec<Vec<Pass<'_>>> =
            self.steps.iter().map(|steps| steps.iter().map(|dispatch| vec![dispatch]).collect()).collect();
        // A run leaves other tensors where its inputs were.
        let times = time_passes(&self.gpu, &submissions, || self.upload(&writes)).await?;
        self.submit(&[], &self.results);
        let outputs = self.read_results().await?;
        let dispatches = self.steps.iter().flatten().zip(&self.nodes).zip(times.seconds);
        let pieces = dispatches.map(|((d, &node), seconds)| Piece { node, kernel: Some(d.kernel), seconds }).collect();
        Ok((outputs, Profile { clock: times.clock, pieces }))
    }

    /// All inputs with their places, checked before any is sent.
    fn checked<'a>(&self, inputs: &'a dyn ArraySource) -> Result<Vec<(Range, &'a [f32])>> {
        if !self.loaded && self.plan.parameter_floats > 0 {
            return Err(Error::bad_argument("no weights", "weights before the first run", "load them"));
        }
        let graph = &self.plan.graph;
        let place = |(id, tensor): (TensorId, &Tensor)| {
            let values = array_for(graph, Source::Input, &tensor.name, inputs)?;
            Ok((self.memory.range(&self.plan, id)?, values))
        };
        graph.sources(Source::Input).map(place).collect()
    }

    fn upload(&self, writes: &[(Range, &[f32])]) {
        for (range, values) in writes {
            self.gpu.queue.write_buffer(&range.buffer, range.offset, bytemuck::cast_slice(values));
        }
    }

    async fn read_results(&self) -> Result<Arrays> {
        let readbacks: Vec<&Readback> = self.results.iter().map(|(_, r)| r).collect();
        let values = readback::read(&self.gpu, &readbacks).await?;
        Ok(self.results.iter().map(|(name, _)| name.clone()).zip(values).collect())
    }

    /// Encodes and submits, then the copies of the results. Errors are caught by [`Gpu::check`].
    fn submit(&self, submissions: &[Vec<Dispatch>], results: &[(String, Readback)]) {
        for dispatches in submissions {
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for dispatch in dispatches {
                    dispatch.record(&mut pass);
                }
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
        if !results.is_empty() {
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (_, result) in results {
                result.record(&mut encoder);
            }
            for (parameter, value) in &self.assignments {
                let bytes = value.bytes;
                encoder.copy_buffer_to_buffer(&value.buffer, value.offset, &parameter.buffer, parameter.offset, bytes);
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
    }
}

impl Executor for GpuExecutor {
    fn load(&mut self, weights: &dyn ArraySource) -> Result<()> {
        for (id, tensor) in self.plan.graph.sources(Source::Parameter) {
            let values = array_for(&self.plan.graph, Source::Parameter, &tensor.name, weights)?;
            let range = self.memory.range(&self.plan, id)?;
            self.gpu.queue.write_buffer(&range.buffer, range.offset, &tensor.storage.encode(values));
        }
        self.submit(&self.prepare, &[]);
        self.gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| self.gpu.lost(e.to_string()))?;
        self.gpu.check()?;
        self.loaded = true;
        Ok(())
    }

    fn run(&mut self, inputs: &dyn ArraySource) -> Result<Arrays> {
        pollster::block_on(self.run_async(inputs))
    }

    fn profile(&mut self, inputs: &dyn ArraySource) -> Result<(Arrays, Profile)> {
        pollster::block_on(self.profile_async(inputs))
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let id = parameter_named(&self.plan, name)?;
        let tensor = &self.plan.graph.tensors()[id.index()];
        let range = self.memory.range(&self.plan, id)?;
        pollster::block_on(async {
            let made = self.gpu.guarded(|| Readback::new(&self.gpu, range)).await;
            let readback = made.map_err(|e| refused(&self.gpu, &self.plan, self.allocated_bytes(), &e))?;
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            readback.record(&mut encoder);
            self.gpu.queue.submit([encoder.finish()]);
            let stored = readback::read(&self.gpu, &[&readback]).await?.pop().unwrap_or_default();
            Ok(tensor.storage.decode(stored, tensor.shape.elements()))
        })
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    /// With the buffers that results are read from.
    fn allocated_bytes(&self) -> u64 {
        let memory = &self.memory;
        let buffers = memory.parameters.iter().chain(memory.prepared.iter().flatten()).chain(&memory.slots);
        buffers.map(wgpu::Buffer::size).sum::<u64>() + self.results.iter().map(|(_, r)| r.bytes()).sum::<u64>()
    }

    fn device(&self) -> String {
        self.gpu.describe()
    }
}

impl Memory {
    /// The piece of memory of a tensor.
    fn range(&self, plan: &Plan, tensor: TensorId) -> Result<Range> {
        let bytes = 4 * plan.graph.tensors()[tensor.index()].floats() as u64;
        let (buffer, floats) = match plan.placements[tensor.index()] {
            Placement::Parameter(offset) => (self.parameters.as_ref(), offset),
            Placement::Prepared(_) => (self.prepared.get(tensor.index()).and_then(Option::as_ref), 0),
            Placement::Slot(Place { slot, offset }) => (self.slots.get(slot), offset),
            Placement::Nowhere => (None, 0),
        };
        let buffer = buffer.cloned().ok_or_else(|| {
            let name = &plan.graph.tensors()[tensor.index()].name;
            Error::bad_argument(format!("no memory for {name}"), "a plan of this graph", "plan it again")
        })?;
        Ok(Range { buffer, offset: 4 * floats as u64, bytes })
    }
}

/// Takes all buffers, counting bytes in `held`.
async fn allocate(gpu: &Gpu, plan: &Plan, held: &mut u64) -> Result<Memory> {
    let limit = gpu.device.limits().max_buffer_size;
    let mut memory = Memory { prepared: vec![None; plan.graph.tensors().len()], ..Memory::default() };
    if plan.parameter_floats > 0 {
        memory.parameters = Some(take(gpu, plan, "the weights", plan.parameter_floats, limit, held).await?);
    }
    for (id, tensor) in plan.graph.ids().zip(plan.graph.tensors()) {
        if let Placement::Prepared(_) = plan.placements[id.index()] {
            let floats = tensor.floats().next_multiple_of(ALIGNMENT);
            let buffer = take(gpu, plan, &tensor.name, floats, limit, held).await?;
            memory.prepared[id.index()] = Some(buffer);
        }
    }
    for (slot, &floats) in plan.slots.iter().enumerate() {
        let tenant = plan.placements.iter().zip(plan.graph.tensors()).find(|(place, tensor)| {
            **place == Placement::Slot(Place { slot, offset: 0 })
                && tensor.floats().next_multiple_of(ALIGNMENT) == floats
        });
        let name = tenant.map_or("temporary memory", |(_, tensor)| &tensor.name);
        memory.slots.push(take(gpu, plan, name, floats, limit, held).await?);
    }
    Ok(memory)
}

async fn take(gpu: &Gpu, plan: &Plan, name: &str, floats: usize, limit: u64, held: &mut u64) -> Result<wgpu::Buffer> {
    let needed = 4 * floats as u64;
    if needed > limit {
        return Err(Error::DeviceLimit { node: name.to_owned(), limit_name: "maxBufferSize", needed, limit });
    }
    let made = gpu.guarded(|| storage_buffer(gpu, name, needed)).await;
    let buffer = made.map_err(|e| refused(gpu, plan, *held, &e))?;
    *held += needed;
    Ok(buffer)
}

/// The error for a refused allocation, when `held` bytes had been granted.
fn refused(gpu: &Gpu, plan: &Plan, held: u64, error: &wgpu::Error) -> Error {
    if !matches!(error, wgpu::Error::OutOfMemory { .. }) {
        return gpu.lost(error.to_string());
    }
    plan.out_of_memory(&gpu.summary.name, held)
}

/// Makes the dispatches of `steps`, cut into submissions of bounded work; with the node of each.
async fn record(
    gpu: &Gpu,
    plan: &Plan,
    steps: &[Step],
    memory: &Memory,
    cache: &mut PipelineCache,
) -> Result<(Vec<Vec<Dispatch>>, Vec<usize>)> {
    let mut recorder = Recorder::default();
    let (mut cuts, mut nodes) = (Vec::new(), Vec::new());
    let mut flop = 0;
    for step in steps {
        let node = &plan.graph.nodes()[step.node];
        let shapes = plan.graph.shapes(node);
        let batched = node.operator.batched(&shapes);
        let whole = Ranges::new(plan, memory, node, step, batched)?;
        for slice in slices(&node.name, node.operator.as_ref(), &shapes, &plan.graph.storage(node), &gpu.caps)? {
            let work = node.operator.cost(&slice.shapes).flop;
            if flop > 0 && flop + work > FLOP_PER_SUBMISSION {
                cuts.push(recorder.len());
                flop = 0;
            }
            flop += work;
            let caps = gpu.caps.on(node.storage);
            for launch in step.launches(node, &slice.shapes, &gpu.caps)? {
                let scratch = node.operator.gpu_scratch(&slice.shapes, &caps);
                recorder.push(launch, node.storage, &node.name, |binding| whole.resolve(binding, &slice, &scratch));
                nodes.push(step.node);
            }
        }
    }
    let mut dispatches = recorder.finish(gpu, cache).await?;
    let mut submissions = Vec::new();
    for cut in cuts.into_iter().rev() {
        submissions.push(dispatches.split_off(cut));
    }
    submissions.push(dispatches);
    submissions.reverse();
    submissions.retain(|s| !s.is_empty());
    Ok((submissions, nodes))
}

/// The memory of a node's tensors.
struct Ranges {
    inputs: Vec<(Range, Storage)>,
    outputs: Vec<(Range, Storage)>,
    /// Buffers, and where in them, in floats.
    scratch: Vec<(wgpu::Buffer, usize)>,
    batched: Vec<bool>,
}

impl Ranges {
    fn new(plan: &Plan, memory: &Memory, node: &Node, step: &Step, batched: Vec<bool>) -> Result<Self> {
        let stored = |t: TensorId| Ok((memory.range(plan, t)?, plan.graph.tensors()[t.index()].storage));
        let all = |ids: &[TensorId]| ids.iter().map(|&t| stored(t)).collect::<Result<Vec<_>>>();
        let scratch = step.scratch.iter().map(|place| (memory.slots[place.slot].clone(), place.offset)).collect();
        Ok(Self { inputs: all(&node.inputs)?, outputs: all(&node.outputs)?, scratch, batched })
    }

    /// What a binding means for a slice.
    fn resolve(&self, binding: Binding, slice: &Slice, scratch: &[usize]) -> Range {
        let part = |(whole, storage): &(Range, Storage), shape: &crate::graph::Shape, batched: bool| {
            let bytes = 4 * storage.floats(shape.elements()) as u64;
            let sample = storage.bytes() * shape.elements() / shape.batch();
            let start = if batched { (sample * slice.start) as u64 } else { 0 };
            Range { buffer: whole.buffer.clone(), offset: whole.offset + start, bytes }
        };
        match binding {
            Binding::Input(i) => part(&self.inputs[i], &slice.shapes.inputs[i], self.batched[i]),
            Binding::Output(i) => part(&self.outputs[i], &slice.shapes.outputs[i], true),
            Binding::ScratchIn(i) | Binding::ScratchOut(i) => {
                let (buffer, offset) = &self.scratch[i];
                Range { buffer: buffer.clone(), offset: 4 * *offset as u64, bytes: 4 * scratch[i] as u64 }
            }
        }
    }
}
