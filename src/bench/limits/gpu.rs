//! The limits of a GPU, by kernels of their own in `kernels/limits`.

use std::time::Instant;

use super::super::Watch;
use super::super::statistics::quantile;
use super::{Limits, best};
use crate::error::{Error, Result};
use crate::executor::Clock;
use crate::gpu::Gpu;
use crate::gpu::dispatch::{Dispatch, Range, Recorder, storage_buffer};
use crate::gpu::kernel::PipelineCache;
use crate::gpu::profile::{time_passes, wait};
use crate::graph::{Binding, Kernel, Launch, Storage, extent};
use crate::{kernel, params};

static FMA_F32: Kernel = kernel!("limits/fma_f32");
static FMA_F16: Kernel = kernel!("limits/fma_f16");
static READ: Kernel = kernel!("limits/read");
static WRITE: Kernel = kernel!("limits/write");
static COPY: Kernel = kernel!("limits/copy");
static EMPTY: Kernel = kernel!("limits/empty");

params! { struct Fma { iterations: u32, factor: f32, addend: f32 } }
params! { struct Read { mask: u32, stride: u32, iterations: u32 } }
params! { struct Write { count: u32, value: f32 } }
params! { struct Copy4 { count: u32 } }
params! { struct Empty { number: u32 } }

/// Threads of a group.
const THREADS: usize = 256;
/// Floating-point operations of a thread in one iteration of `fma_f32` and `fma_f16`.
const FLOP: usize = 256;
/// Groups that fill any GPU many times over, and the least of them to begin with.
const GROUPS: u64 = 16_384;
const FIRST_GROUPS: u64 = 64;
/// Elements a group of `write` and `copy` takes.
const ITEMS: usize = 1024;
/// Largest working set for the memory: five times the largest cache of today's GPUs.
const MEMORY_BYTES: u64 = 256 << 20;
/// Working set for the cache: more than a core's own, less than the shared one of nearly every GPU.
const CACHE_BYTES: usize = 1 << 20;
/// Runs of 256 vec4 that a group reads from the memory.
const RUNS: usize = 16;
/// Distance of the working sets' beginnings of two groups, in vec4; odd multiples of a run spread over all of it.
const CACHE_STRIDE: usize = 17 * THREADS;
const CACHE_GROUPS: usize = 2048;

/// See [`super::of_gpu`].
pub(super) fn measure(gpu: &Gpu, watch: Watch<'_>) -> Result<Limits> {
    let name = &gpu.summary.name;
    let mut bench = Bench { gpu, cache: PipelineCache::default(), round_trip: 0.0, clock: Clock::Device };
    watch(&format!("limits of {name}: launches"))?;
    let round_trip = bench.round_trip()?;
    bench.round_trip = round_trip;
    let launch_seconds = bench.launch()?;
    watch(&format!("limits of {name}: arithmetic"))?;
    let fma_f32_gflops = bench.fma(&FMA_F32, 1)?.max(bench.fma(&FMA_F32, 0)?);
    let fma_f16_gflops = if gpu.caps.native_half { bench.fma_f16()? } else { None };
    watch(&format!("limits of {name}: memory"))?;
    let memory_bytes = memory_bytes(gpu);
    let [read_gbs, write_gbs, copy_gbs] = bench.memory(memory_bytes)?;
    watch(&format!("limits of {name}: cache"))?;
    let cache_gbs = bench.read_cache()?;
    Ok(Limits {
        clock: bench.clock,
        fma_f32_gflops,
        fma_f16_gflops,
        read_gbs,
        write_gbs,
        copy_gbs,
        memory_bytes,
        cache_gbs,
        cache_bytes: CACHE_BYTES as u64,
        launch_seconds,
        round_trip_seconds: Some(round_trip),
    })
}

/// The largest power of two up to [`MEMORY_BYTES`] that can be bound.
fn memory_bytes(gpu: &Gpu) -> u64 {
    let most = gpu.caps.max_binding_bytes.min(gpu.device.limits().max_buffer_size).min(MEMORY_BYTES);
    1 << most.max(1 << 20).ilog2()
}

struct Bench<'a> {
    gpu: &'a Gpu,
    cache: PipelineCache,
    /// Taken off times by our own clock.
    round_trip: f64,
    clock: Clock,
}

impl Bench<'_> {
    /// Submitting one empty dispatch and waiting for it.
    fn round_trip(&mut self) -> Result<f64> {
        let out = self.buffer("limits", 256)?;
        let dispatch = self.dispatches(vec![empty()], &[], &[&out])?;
        let mut seconds = Vec::new();
        for _ in 0..21 {
            let begin = Instant::now();
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                dispatch.iter().for_each(|d| d.record(&mut pass));
            }
            self.gpu.queue.submit([encoder.finish()]);
            wait(self.gpu)?;
            seconds.push(begin.elapsed().as_secs_f64());
        }
        Ok(quantile(&seconds, 0.5))
    }

    /// Seconds of an empty dispatch among many.
    fn launch(&mut self) -> Result<f64> {
        let out = self.buffer("limits", 256)?;
        let dispatch = self.dispatches(vec![empty()], &[], &[&out])?;
        let (launches, seconds) = best(1 << 12, |launches| self.repeated(&dispatch, launches))?;
        Ok(seconds / as_f64(launches))
    }

    /// GFLOP/s of multiply-adds in f16; `None` where the driver says that it can and then cannot.
    fn fma_f16(&mut self) -> Result<Option<f64>> {
        let measured = self.fma(&FMA_F16, 1).and_then(|fused| Ok(fused.max(self.fma(&FMA_F16, 0)?)));
        match measured {
            Err(Error::Kernel { message, .. }) => {
                tracing::warn!("the f16 of {} is left out: {message}", self.gpu.summary.name);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// GFLOP/s of multiply-adds.
    fn fma(&mut self, kernel: &'static Kernel, fused: u32) -> Result<f64> {
        let out = self.buffer("limits", 4 * THREADS as u64 * GROUPS)?;
        // First more groups, then longer ones.
        let split = |amount: u64| {
            let groups = (FIRST_GROUPS * amount).min(GROUPS);
            (groups, (FIRST_GROUPS * amount).div_ceil(groups))
        };
        let (amount, seconds) = best(1 << 30, |amount| {
            let (groups, iterations) = split(amount);
            let params = Fma { iterations: u32::try_from(iterations).unwrap_or(u32::MAX), factor: 0.999, addend: 1e-3 };
            let groups = usize::try_from(groups).unwrap_or(usize::MAX);
            let mut launch = Launch::new(kernel, vec![Binding::Output(0)], &params, groups);
            launch.constants.push(("FUSED", f64::from(fused)));
            // The prelude of halves has quads only.
            launch.item = if kernel.name == FMA_F16.name { 4 } else { 1 };
            let dispatch = self.dispatches(vec![launch], &[], &[&out])?;
            self.repeated(&dispatch, 1)
        })?;
        let (groups, iterations) = split(amount);
        Ok(as_f64(groups * iterations) * (THREADS * FLOP) as f64 / seconds * 1e-9)
    }

    /// GB/s of reading, writing and copying.
    fn memory(&mut self, bytes: u64) -> Result<[f64; 3]> {
        let [x, y] = [self.buffer("limits, first", bytes)?, self.buffer("limits, second", bytes)?];
        let count = usize::try_from(bytes / 16).unwrap_or(usize::MAX);
        let groups = count / (RUNS * THREADS);
        let sums = self.buffer("limits, sums", (4 * THREADS * groups) as u64)?;
        let read = Launch::new(
            &READ,
            vec![Binding::Input(0), Binding::Output(0)],
            &Read { mask: extent(count - 1), stride: extent(RUNS * THREADS), iterations: extent(RUNS) },
            groups,
        );
        let write = Write { count: extent(count), value: 1.0 };
        let write = Launch::new(&WRITE, vec![Binding::Output(0)], &write, count.div_ceil(ITEMS));
        let copy = Copy4 { count: extent(count) };
        let copy = Launch::new(&COPY, vec![Binding::Input(0), Binding::Output(0)], &copy, count.div_ceil(ITEMS));
        let mut rates = [0.0; 3];
        // Writing first: memory that was never written may not be there yet.
        for (index, launch, out, moved) in [(1, write, &x, 1), (2, copy, &y, 2), (0, read, &sums, 1)] {
            let dispatch = self.dispatches(vec![launch], &[&x], &[out])?;
            let (repeats, seconds) = best(1 << 10, |repeats| self.repeated(&dispatch, repeats))?;
            rates[index] = as_f64(repeats * moved * bytes) / seconds * 1e-9;
        }
        Ok(rates)
    }

    /// GB/s of reading a small working set again and again.
    fn read_cache(&mut self) -> Result<f64> {
        let x = self.buffer("limits, first", CACHE_BYTES as u64)?;
        let sums = self.buffer("limits, sums", (4 * THREADS * CACHE_GROUPS) as u64)?;
        let mask = extent(CACHE_BYTES / 16 - 1);
        let (iterations, seconds) = best(1 << 20, |iterations| {
            let iterations = u32::try_from(iterations).unwrap_or(u32::MAX);
            let params = Read { mask, stride: extent(CACHE_STRIDE), iterations };
            let launch = Launch::new(&READ, vec![Binding::Input(0), Binding::Output(0)], &params, CACHE_GROUPS);
            let dispatch = self.dispatches(vec![launch], &[&x], &[&sums])?;
            self.repeated(&dispatch, 1)
        })?;
        Ok(as_f64(iterations) * (16 * THREADS * CACHE_GROUPS) as f64 / seconds * 1e-9)
    }

    fn buffer(&self, name: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let made = pollster::block_on(self.gpu.guarded(|| storage_buffer(self.gpu, name, bytes)));
        made.map_err(|error| match error {
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
                device: self.gpu.summary.name.clone(),
                needed_bytes: bytes,
                available_bytes: 0,
                largest: name.to_owned(),
            },
            other => self.gpu.lost(other.to_string()),
        })
    }

    fn dispatches(
        &mut self,
        launches: Vec<Launch>,
        inputs: &[&wgpu::Buffer],
        outputs: &[&wgpu::Buffer],
    ) -> Result<Vec<Dispatch>> {
        let mut recorder = Recorder::default();
        let whole = |buffer: &wgpu::Buffer| Range { buffer: buffer.clone(), offset: 0, bytes: buffer.size() };
        for launch in launches {
            // The storage only says whether the language's f16 is enabled.
            let storage = if launch.kernel.name == FMA_F16.name { Storage::F16 } else { Storage::F32 };
            recorder.push(launch, storage, "limits", |binding| match binding {
                Binding::Input(i) | Binding::ScratchIn(i) => whole(inputs[i]),
                Binding::Output(i) | Binding::ScratchOut(i) => whole(outputs[i]),
            });
        }
        pollster::block_on(recorder.finish(self.gpu, &mut self.cache))
    }

    /// Seconds of a pass that does the dispatches so many times.
    fn repeated(&mut self, dispatches: &[Dispatch], times: u64) -> Result<f64> {
        let pass = (0..times).flat_map(|_| dispatches).collect();
        let times = pollster::block_on(time_passes(self.gpu, &[vec![pass]], || {}))?;
        self.clock = times.clock;
        let seconds = times.seconds.first().copied().unwrap_or(0.0);
        Ok(match times.clock {
            Clock::Device => seconds,
            Clock::Wall => (seconds - self.round_trip).max(0.05 * seconds),
        })
    }
}

fn empty() -> Launch {
    Launch::new(&EMPTY, vec![Binding::Output(0)], &Empty { number: 1 }, 1)
}

#[expect(clippy::cast_precision_loss, reason = "amounts of work are far below 2^52")]
fn as_f64(amount: u64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::kernel;
    use crate::gpu::kernel_text::ChangedKernels;
    use crate::gpu::prelude::Form;

    #[test]
    fn kernels_match_their_launches_and_the_default_limits() {
        let io = || vec![Binding::Input(0), Binding::Output(0)];
        let fma = Fma { iterations: 1, factor: 1.0, addend: 0.0 };
        let launches = [
            Launch::new(&FMA_F32, vec![Binding::Output(0)], &fma, 1),
            Launch::new(&READ, io(), &Read { mask: 0, stride: 0, iterations: 1 }, 1),
            Launch::new(&WRITE, vec![Binding::Output(0)], &Write { count: 1, value: 1.0 }, 1),
            Launch::new(&COPY, io(), &Copy4 { count: 1 }, 1),
            empty(),
        ];
        for launch in launches {
            let resources =
                kernel::check(&launch, Form::default(), &ChangedKernels::default()).unwrap_or_else(|e| panic!("{e}"));
            assert!((1..=256).contains(&resources.invocations), "{resources:?}");
        }
        let half = Launch::new(&FMA_F16, vec![Binding::Output(0)], &fma, 1);
        let form = Form { item: 4, storage: Storage::F16, native_half: true, ..Form::default() };
        kernel::check(&half, form, &ChangedKernels::default()).unwrap_or_else(|e| panic!("{e}"));
    }
}
