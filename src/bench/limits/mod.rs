//! What a device can do at best, measured: the roof that kernels are held against (Williams et al. 2009, the roofline model).

mod cpu;
mod gpu;

use serde::{Deserialize, Serialize};

use super::Watch;
use super::statistics::ratio;
use crate::error::Result;
use crate::executor::Clock;
use crate::gpu::Gpu;
use crate::graph::Cost;

/// The best of several measurements of each limit. Rates are in units of 1e9 a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Whose clock it was.
    pub clock: Clock,
    /// Multiply-adds of f32 in registers, two operations each.
    pub fma_f32_gflops: f64,
    /// The same of f16, where kernels can compute with it.
    pub fma_f16_gflops: Option<f64>,
    /// Reading a working set that no cache holds.
    pub read_gbs: f64,
    /// Writing one.
    pub write_gbs: f64,
    /// Copying one; both directions count.
    pub copy_gbs: f64,
    /// Bytes of that working set; copying uses two.
    pub memory_bytes: u64,
    /// Reading a small working set again and again.
    pub cache_gbs: f64,
    /// Bytes of that working set; on a CPU, of each thread's.
    pub cache_bytes: u64,
    /// One launch among many: an empty dispatch that waits for the one before it; on a CPU, handing an empty loop to all threads.
    pub launch_seconds: f64,
    /// Submitting one empty dispatch and waiting for it; none on a CPU.
    pub round_trip_seconds: Option<f64>,
}

impl Limits {
    /// Bandwidth of the memory in GB/s: the best of reading, writing and copying.
    #[must_use]
    pub fn memory_gbs(&self) -> f64 {
        self.read_gbs.max(self.write_gbs).max(self.copy_gbs)
    }

    /// Time of some work if it ran at the limits: that of the arithmetic or that of the memory, whichever is longer.
    #[expect(clippy::cast_precision_loss, reason = "rates need no more than 52 bits")]
    #[must_use]
    pub fn least_seconds(&self, cost: Cost) -> f64 {
        let arithmetic = ratio(cost.flop as f64, self.fma_f32_gflops * 1e9);
        arithmetic.max(ratio(cost.bytes as f64, self.memory_gbs() * 1e9))
    }
}

/// How long one measurement of a limit is to take. Bounded work: desktop systems end what keeps a GPU for seconds.
const SECONDS: f64 = 0.02;
/// Measurements of each limit, of which the best counts.
const REPEATS: usize = 5;
/// The first, short measurement is scaled up by at most so much at a time.
const GROWTH: f64 = 8.0;

/// The limits of this machine's CPU, on all threads.
///
/// # Errors
/// What `watch` returns.
pub fn of_cpu(watch: Watch<'_>) -> Result<Limits> {
    cpu::measure(watch)
}

/// The limits of a GPU.
///
/// # Errors
/// The device fails, or what `watch` returns.
pub fn of_gpu(gpu: &Gpu, watch: Watch<'_>) -> Result<Limits> {
    gpu::measure(gpu, watch)
}

/// Finds an amount of work that takes about [`SECONDS`], from 1 up to `most`, and gives it with its best time.
fn best(most: u64, mut seconds_of: impl FnMut(u64) -> Result<f64>) -> Result<(u64, f64)> {
    let mut amount = 1;
    // The first time includes what is done only once.
    seconds_of(amount)?;
    let mut seconds = seconds_of(amount)?;
    while seconds < SECONDS / 2.0 && amount < most {
        amount = grown(amount, (SECONDS / seconds.max(1e-9)).clamp(1.5, GROWTH)).min(most);
        seconds = seconds_of(amount)?;
    }
    for _ in 1..REPEATS {
        seconds = seconds.min(seconds_of(amount)?);
    }
    Ok((amount, seconds))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "amounts of work are far below 2^52"
)]
fn grown(amount: u64, factor: f64) -> u64 {
    (amount as f64 * factor).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_grows_until_it_takes_long_enough() {
        let (amount, seconds) = best(1 << 40, |amount| Ok(1e-6 + 1e-7 * amount as f64)).expect("no failure");
        assert!((SECONDS / 2.0..2.0 * SECONDS).contains(&seconds), "{amount} takes {seconds}");
        assert_eq!(best(64, |_| Ok(0.0)).expect("no failure").0, 64);
        assert_eq!(best(64, |_| Ok(1.0)).expect("no failure").0, 1);
    }

    #[test]
    fn the_roof_is_the_slower_of_arithmetic_and_memory() {
        let limits = Limits {
            clock: Clock::Wall,
            fma_f32_gflops: 100.0,
            fma_f16_gflops: None,
            read_gbs: 10.0,
            write_gbs: 5.0,
            copy_gbs: 8.0,
            memory_bytes: 1 << 28,
            cache_gbs: 50.0,
            cache_bytes: 1 << 20,
            launch_seconds: 1e-6,
            round_trip_seconds: None,
        };
        assert_eq!(limits.least_seconds(Cost { flop: 200_000_000_000, bytes: 1_000_000_000 }), 2.0);
        assert_eq!(limits.least_seconds(Cost { flop: 0, bytes: 30_000_000_000 }), 3.0);
    }
}
