//! From the GPU's memory back to ours, asynchronous at its core.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::device::Gpu;
use super::dispatch::Range;
use crate::error::Result;

/// A tensor to be read back, with the mappable buffer it is copied to.
#[derive(Debug)]
pub struct Readback {
    source: Range,
    staging: wgpu::Buffer,
}

impl Readback {
    /// Makes the mappable buffer. To be called within [`Gpu::guarded`].
    #[must_use]
    pub fn new(gpu: &Gpu, source: Range) -> Self {
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: source.bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { source, staging }
    }

    /// Bytes of the mappable buffer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.source.bytes
    }

    /// Records the copy.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let Range { buffer, offset, bytes } = &self.source;
        encoder.copy_buffer_to_buffer(buffer, *offset, &self.staging, 0, *bytes);
    }
}

/// Waits for the copies of all `readbacks`, which must have been submitted, and gives their values.
///
/// # Errors
/// [`crate::Error::DeviceLost`] if the device fails meanwhile.
pub async fn read(gpu: &Gpu, readbacks: &[&Readback]) -> Result<Vec<Vec<f32>>> {
    let signals: Vec<Signal> = readbacks
        .iter()
        .map(|readback| {
            let signal = Signal::default();
            let sender = signal.clone();
            readback.staging.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result));
            signal
        })
        .collect();
    // Natively this blocks until everything is done; in a browser it does nothing and the callbacks come by themselves.
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| gpu.lost(e.to_string()))?;
    let mut values = Vec::with_capacity(readbacks.len());
    for (readback, signal) in readbacks.iter().zip(signals) {
        let mapped = signal.await;
        // The cause of a failed mapping is told by the device.
        gpu.check()?;
        mapped.map_err(|e| gpu.lost(e.to_string()))?;
        let view = readback.staging.get_mapped_range(..).map_err(|e| gpu.lost(e.to_string()))?;
        values.push(bytemuck::pod_collect_to_vec(&view));
        drop(view);
        readback.staging.unmap();
    }
    Ok(values)
}

type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// The result of a callback as a future.
#[derive(Debug, Clone, Default)]
struct Signal(Arc<Mutex<(Option<Mapped>, Option<Waker>)>>);

impl Signal {
    fn send(&self, result: Mapped) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = Some(result);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl Future for Signal {
    type Output = Mapped;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Mapped> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = state.0.take() {
            return Poll::Ready(result);
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
