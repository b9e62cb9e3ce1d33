//! One operator alone on the GPU, with memory around its outputs that shows stray writes: for tests and benches.

use super::device::Gpu;
use super::dispatch::{Dispatch, Range, Recorder, storage_buffer};
use super::kernel::PipelineCache;
use super::profile::{Pass, PassTimes, time_passes, wait};
use super::readback::{self, Readback};
use crate::error::{Error, Result};
use crate::graph::{Binding, NodeStorage, Operator, Shape, Shapes, Storage};

/// What the memory after every output holds before a run.
pub const SENTINEL: f32 = -1.0e33;

/// What outputs and temporary memory hold before a run: no number, neither as a float nor as two halves.
const POISON: f32 = f32::from_bits(0x7fc0_7fc0);

/// An operator with buffers for one application.
#[derive(Debug)]
pub struct SingleOperator<'a> {
    gpu: &'a Gpu,
    dispatches: Vec<Dispatch>,
    inputs: Vec<(wgpu::Buffer, Storage)>,
    /// With the number of elements before the tail.
    outputs: Vec<(Readback, Storage, usize)>,
}

impl<'a> SingleOperator<'a> {
    /// Makes the buffers. Outputs and temporary memory start as NaN, followed by `tail` sentinels. The sentinels are
    /// within the bindings, so that no bounds check of the driver protects them.
    ///
    /// # Errors
    /// Shapes that the device cannot take, or kernels that do not compile.
    pub fn new(gpu: &'a Gpu, operator: &dyn Operator, shapes: &Shapes, tail: usize) -> Result<Self> {
        Self::build(gpu, operator, shapes, Storage::F32, tail, None)
    }

    /// The same on tensors of this storage.
    ///
    /// # Errors
    /// As [`SingleOperator::new`], and kernels that do not run on this storage.
    pub fn on(gpu: &'a Gpu, operator: &dyn Operator, shapes: &Shapes, storage: Storage, tail: usize) -> Result<Self> {
        Self::build(gpu, operator, shapes, storage, tail, None)
    }

    /// The same where the input of this index lies in the memory of the first output, as [`Operator::in_place`] allows.
    ///
    /// # Errors
    /// As [`SingleOperator::new`].
    pub fn in_place(gpu: &'a Gpu, operator: &dyn Operator, shapes: &Shapes, tail: usize, input: usize) -> Result<Self> {
        Self::build(gpu, operator, shapes, Storage::F32, tail, Some(input))
    }

    fn build(
        gpu: &'a Gpu,
        operator: &dyn Operator,
        shapes: &Shapes,
        storage: Storage,
        tail: usize,
        in_place: Option<usize>,
    ) -> Result<Self> {
        pollster::block_on(async {
            let caps = gpu.caps.on(storage);
            let launches = operator.launches(shapes, &caps)?;
            let of = NodeStorage::of(&launches, shapes, storage, &gpu.caps).ok_or_else(|| {
                let found = format!("{} on {storage}", operator.name());
                Error::bad_argument(found, "shapes whose kernels take quads of elements", "compute it in f32")
            })?;
            let input = |(shape, storage): (&Shape, &Storage)| {
                (storage_buffer(gpu, "input", 4 * storage.floats(shape.elements()) as u64), *storage)
            };
            let mut inputs: Vec<(wgpu::Buffer, Storage)> = shapes.inputs.iter().zip(&of.inputs).map(input).collect();
            let poisoned = |floats: usize| {
                let mut values = vec![POISON; floats];
                values.resize(floats + tail, SENTINEL);
                let buffer = storage_buffer(gpu, "output", 4 * values.len() as u64);
                gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
                Range { buffer, offset: 0, bytes: 4 * values.len() as u64 }
            };
            let output = |(shape, storage): (&Shape, &Storage)| poisoned(storage.floats(shape.elements()));
            let outputs: Vec<Range> = shapes.outputs.iter().zip(&of.outputs).map(output).collect();
            if let Some(input) = in_place {
                inputs[input].0 = outputs[0].buffer.clone();
            }
            let scratch: Vec<Range> = operator.gpu_scratch(shapes, &caps).into_iter().map(poisoned).collect();
            let mut recorder = Recorder::default();
            for launch in launches {
                let launch = match in_place {
                    Some(input) => launch.in_place(input),
                    None => launch,
                };
                recorder.push(launch, storage, operator.name(), |binding| match binding {
                    Binding::Input(i) => {
                        let (buffer, storage) = &inputs[i];
                        let bytes = 4 * storage.floats(shapes.inputs[i].elements()) as u64;
                        Range { buffer: buffer.clone(), offset: 0, bytes }
                    }
                    Binding::Output(i) => outputs[i].clone(),
                    Binding::ScratchIn(i) | Binding::ScratchOut(i) => scratch[i].clone(),
                });
            }
            let dispatches = recorder.finish(gpu, &mut PipelineCache::default()).await?;
            let elements = shapes.outputs.iter().map(Shape::elements);
            let outputs = outputs.into_iter().zip(&of.outputs).zip(elements);
            let outputs =
                outputs.map(|((range, storage), elements)| (Readback::new(gpu, range), *storage, elements)).collect();
            gpu.check()?;
            Ok(Self { gpu, dispatches, inputs, outputs })
        })
    }

    /// Uploads the inputs.
    pub fn write(&self, inputs: &[Vec<f32>]) {
        for ((buffer, storage), values) in self.inputs.iter().zip(inputs) {
            self.gpu.queue.write_buffer(buffer, 0, &storage.encode(values));
        }
    }

    /// Runs the operator and waits for it.
    ///
    /// # Errors
    /// The device fails.
    pub fn run(&self) -> Result<()> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for dispatch in &self.dispatches {
                dispatch.record(&mut pass);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        wait(self.gpu)
    }

    /// Runs the operator and times each of its dispatches, in order.
    ///
    /// # Errors
    /// The device fails.
    pub fn time(&self) -> Result<PassTimes> {
        let passes: Vec<Pass<'_>> = self.dispatches.iter().map(|dispatch| vec![dispatch]).collect();
        pollster::block_on(time_passes(self.gpu, &[passes], || {}))
    }

    /// The kernels it launches, in order.
    #[must_use]
    pub fn kernels(&self) -> Vec<&'static str> {
        self.dispatches.iter().map(|dispatch| dispatch.kernel).collect()
    }

    /// The outputs, each with its tail.
    ///
    /// # Errors
    /// The device fails.
    pub fn read(&self) -> Result<Vec<Vec<f32>>> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (output, ..) in &self.outputs {
            output.record(&mut encoder);
        }
        self.gpu.queue.submit([encoder.finish()]);
        let readbacks: Vec<&Readback> = self.outputs.iter().map(|(output, ..)| output).collect();
        let mut found = pollster::block_on(readback::read(self.gpu, &readbacks))?;
        for (stored, (_, storage, elements)) in found.iter_mut().zip(&self.outputs) {
            let tail = stored.split_off(storage.floats(*elements));
            *stored = storage.decode(std::mem::take(stored), *elements);
            stored.extend(tail);
        }
        Ok(found)
    }
}
