//! The time of GPU work, pass by pass: by the device's timestamps where they can be believed, else by our own clock.

use std::time::Instant;

use super::device::Gpu;
use super::dispatch::{Dispatch, Range};
use super::readback::{self, Readback};
use crate::error::Result;
use crate::executor::Clock;

/// Dispatches that are timed as one.
pub type Pass<'a> = Vec<&'a Dispatch>;

/// Seconds of every pass, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct PassTimes {
    /// Whose clock it was.
    pub clock: Clock,
    /// Seconds.
    pub seconds: Vec<f64>,
}

/// Passes of one query set; wgpu allows 4096 queries in one.
const PASSES_PER_SET: usize = 1024;

/// Runs passes, grouped by submission, and times each.
///
/// Timestamps that run backwards or do not fit the time that passed here are not believed: then every pass is submitted alone
/// and waited for, which adds the time of a round trip to each. `start` is called before each attempt; it must bring the
/// memory that the passes read into its first state.
///
/// # Errors
/// The device fails.
pub async fn time_passes(gpu: &Gpu, submissions: &[Vec<Pass<'_>>], mut start: impl FnMut()) -> Result<PassTimes> {
    if gpu.summary.timestamps {
        start();
        if let Some(seconds) = by_timestamps(gpu, submissions).await? {
            return Ok(PassTimes { clock: Clock::Device, seconds });
        }
        tracing::debug!("the timestamps of {} make no sense; times are from this program's clock", gpu.summary.name);
    }
    start();
    wait(gpu)?;
    let mut seconds = Vec::new();
    for pass in submissions.iter().flatten() {
        let begin = Instant::now();
        submit(gpu, [(pass, None)], |_| {});
        wait(gpu)?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(PassTimes { clock: Clock::Wall, seconds })
}

/// Waits for all that was submitted.
///
/// # Errors
/// The device fails.
pub fn wait(gpu: &Gpu) -> Result<()> {
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| gpu.lost(e.to_string()))?;
    gpu.check()
}

/// `None` if the timestamps make no sense.
async fn by_timestamps(gpu: &Gpu, submissions: &[Vec<Pass<'_>>]) -> Result<Option<Vec<f64>>> {
    // What was queued before is not of this time.
    wait(gpu)?;
    let begin = Instant::now();
    let mut readbacks = Vec::new();
    for passes in submissions.iter().flat_map(|passes| passes.chunks(PASSES_PER_SET)) {
        let made = gpu.guarded(|| Queries::new(gpu, passes.len())).await;
        let queries = made.map_err(|e| gpu.lost(e.to_string()))?;
        let writes = (0..).step_by(2).map(|first| Some((&queries.set, first)));
        submit(gpu, passes.iter().zip(writes), |encoder| {
            encoder.resolve_query_set(&queries.set, 0..queries.count, &queries.resolved, 0);
            queries.readback.record(encoder);
        });
        readbacks.push(queries.readback);
    }
    let values = readback::read(gpu, &readbacks.iter().collect::<Vec<_>>()).await?;
    let elapsed = begin.elapsed().as_secs_f64();
    let ticks: Vec<u64> = values.iter().flat_map(|part| bytemuck::pod_collect_to_vec::<f32, u64>(part)).collect();
    Ok(believable(&ticks, f64::from(gpu.queue.get_timestamp_period()) * 1e-9, elapsed))
}

/// Encodes passes, each with the query set and the first of the two queries it writes, and submits them.
fn submit<'a>(
    gpu: &Gpu,
    passes: impl IntoIterator<Item = (&'a Pass<'a>, Option<(&'a wgpu::QuerySet, u32)>)>,
    finish: impl FnOnce(&mut wgpu::CommandEncoder),
) {
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for (pass, queries) in passes {
        let timestamp_writes = queries.map(|(query_set, first)| wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        });
        let mut recorded = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for dispatch in pass {
            dispatch.record(&mut recorded);
        }
    }
    finish(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
}

/// Two queries a pass, and where their values go.
struct Queries {
    set: wgpu::QuerySet,
    count: u32,
    resolved: wgpu::Buffer,
    readback: Readback,
}

impl Queries {
    /// To be called within [`Gpu::guarded`].
    fn new(gpu: &Gpu, passes: usize) -> Self {
        let count = 2 * u32::try_from(passes.min(PASSES_PER_SET)).unwrap_or(0);
        let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * u64::from(wgpu::QUERY_SIZE);
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let readback = Readback::new(gpu, Range { buffer: resolved.clone(), offset: 0, bytes });
        Self { set, count, resolved, readback }
    }
}

/// Seconds of each pair of timestamps, if they never run backwards and all of them together fit into the time that passed.
#[expect(clippy::cast_precision_loss, reason = "differences of ticks are far below 2^52")]
fn believable(ticks: &[u64], period: f64, elapsed: f64) -> Option<Vec<f64>> {
    let (first, last) = (*ticks.first()?, *ticks.last()?);
    let ordered = ticks.windows(2).all(|pair| pair[0] <= pair[1]);
    let span = last.saturating_sub(first) as f64 * period;
    // A wrong unit is wrong by orders of magnitude. How much less is right depends on how long the queue took to start.
    let fits = span > 0.0 && span <= 1.2 * elapsed + 1e-3;
    (ordered && fits).then(|| ticks.chunks_exact(2).map(|pair| (pair[1] - pair[0]) as f64 * period).collect())
}

#[cfg(test)]
mod tests {
    use super::believable;

    #[test]
    fn timestamps_are_believed_where_they_can_be_true() {
        let period = 1e-9;
        let good = [1_000, 3_000_000, 3_000_000, 5_001_000];
        let seconds = believable(&good, period, 0.006).expect("good ones");
        assert!((seconds[0] - 2.999e-3).abs() < 1e-12 && (seconds[1] - 2.001e-3).abs() < 1e-12, "{seconds:?}");
        assert_eq!(believable(&[0; 4], period, 0.006), None, "a counter that stands still");
        assert_eq!(believable(&[5, 4, 6, 7], period, 1e-9), None, "backwards");
        assert_eq!(believable(&good, 1e-6, 0.006), None, "five seconds within six milliseconds");
        assert_eq!(believable(&[], period, 0.006), None);
    }
}
