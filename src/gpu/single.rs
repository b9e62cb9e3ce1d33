//! One operator alone on the GPU, with memory around its outputs that shows stray writes: for tests and benches.

use super::device::Gpu;
use super::dispatch::{Dispatch, Range, Recorder, storage_buffer};
use super::kernel::PipelineCache;
use super::profile::{Pass, PassTimes, time_passes, wait};
use super::readback::{self, Readback};
use crate::error::Result;
use crate::graph::{Binding, Operator, Shapes, Storage};

/// What the memory after every output holds before a run.
pub const SENTINEL: f32 = -1.0e33;

/// An operator with buffers for one application.
#[derive(Debug)]
pub struct SingleOperator<'a> {
    gpu: &'a Gpu,
    dispatches: Vec<Dispatch>,
    inputs: Vec<wgpu::Buffer>,
    outputs: Vec<Readback>,
}

impl<'a> SingleOperator<'a> {
    /// Makes the buffers. Outputs and temporary memory start as NaN, followed by `tail` sentinels. The sentinels are
    /// within the bindings, so that no bounds check of the driver protects them.
    ///
    /// # Errors
    /// Shapes that the device cannot take, or kernels that do not compile.
    pub fn new(gpu: &'a Gpu, operator: &dyn Operator, shapes: &Shapes, tail: usize) -> Result<Self> {
        Self::build(gpu, operator, shapes, tail, None)
    }

    /// The same where the input of this index lies in the memory of the first output, as [`Operator::in_place`] allows.
    ///
    /// # Errors
    /// As [`SingleOperator::new`].
    pub fn in_place(gpu: &'a Gpu, operator: &dyn Operator, shapes: &Shapes, tail: usize, input: usize) -> Result<Self> {
        Self::build(gpu, operator, shapes, tail, Some(input))
    }

    fn build(
        gpu: &'a Gpu,
        operator: &dyn Operator,
        shapes: &Shapes,
        tail: usize,
        in_place: Option<usize>,
    ) -> Result<Self> {
        pollster::block_on(async {
            let input = |floats: usize| storage_buffer(gpu, "input", 4 * floats as u64);
            let mut inputs: Vec<wgpu::Buffer> = shapes.inputs.iter().map(|s| input(s.elements())).collect();
            let poisoned = |floats: usize| {
                let mut values = vec![f32::NAN; floats];
                values.resize(floats + tail, SENTINEL);
                let buffer = storage_buffer(gpu, "output", 4 * values.len() as u64);
                gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
                Range { buffer, offset: 0, bytes: 4 * values.len() as u64 }
            };
            let outputs: Vec<Range> = shapes.outputs.iter().map(|s| poisoned(s.elements())).collect();
            if let Some(input) = in_place {
                inputs[input] = outputs[0].buffer.clone();
            }
            let scratch: Vec<Range> = operator.gpu_scratch(shapes, &gpu.caps).into_iter().map(poisoned).collect();
            let mut recorder = Recorder::default();
            for launch in operator.launches(shapes, &gpu.caps)? {
                let launch = match in_place {
                    Some(input) => launch.in_place(input),
                    None => launch,
                };
                recorder.push(launch, Storage::F32, operator.name(), |binding| match binding {
                    Binding::Input(i) => {
                        let bytes = 4 * shapes.inputs[i].elements() as u64;
                        Range { buffer: inputs[i].clone(), offset: 0, bytes }
                    }
                    Binding::Output(i) => outputs[i].clone(),
                    Binding::ScratchIn(i) | Binding::ScratchOut(i) => scratch[i].clone(),
                });
            }
            let dispatches = recorder.finish(gpu, &mut PipelineCache::default()).await?;
            let outputs = outputs.into_iter().map(|range| Readback::new(gpu, range)).collect();
            gpu.check()?;
            Ok(Self { gpu, dispatches, inputs, outputs })
        })
    }

    /// Uploads the inputs.
    pub fn write(&self, inputs: &[Vec<f32>]) {
        for (buffer, values) in self.inputs.iter().zip(inputs) {
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(values));
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
        for output in &self.outputs {
            output.record(&mut encoder);
        }
        self.gpu.queue.submit([encoder.finish()]);
        pollster::block_on(readback::read(self.gpu, &self.outputs.iter().collect::<Vec<_>>()))
    }
}
