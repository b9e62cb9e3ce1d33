//! The limits of the CPU: loops that the compiler cannot shorten, on all threads.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Watch;
use super::{Limits, best};
use crate::error::Result;
use crate::executor::Clock;

/// Floats that no cache of a common machine holds: 256 MiB.
const MEMORY: usize = 1 << 26;
/// Floats of a thread's small working set: 128 KiB, more than the first level and less than the second.
const CACHE: usize = 1 << 15;
/// Floats a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// Multiply-adds of a chain in one unit of work.
const STEPS: u64 = 1 << 16;

/// See [`super::of_cpu`].
pub(super) fn measure(watch: Watch<'_>) -> Result<Limits> {
    watch("limits of the CPU: arithmetic")?;
    let (fma_f32_gflops, _) = rate(|amount| {
        let flop: f64 = rayon::broadcast(|_| Arch::new().dispatch(Chains { steps: amount * STEPS })).iter().sum();
        Ok(flop)
    })?;
    watch("limits of the CPU: memory")?;
    let mut x = vec![1.0_f32; MEMORY];
    let mut y = vec![1.0_f32; MEMORY];
    let bytes = (4 * MEMORY) as f64;
    let (read_gbs, _) = rate(|amount| {
        for _ in 0..amount {
            black_box(x.par_chunks(CHUNK).map(sum).sum::<f32>());
        }
        Ok(amount as f64 * bytes)
    })?;
    let (copy_gbs, _) = rate(|amount| {
        for _ in 0..amount {
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| y.copy_from_slice(black_box(x)));
        }
        black_box(&y);
        Ok(2.0 * amount as f64 * bytes)
    })?;
    let (write_gbs, _) = rate(|amount| {
        for _ in 0..amount {
            x.par_chunks_mut(CHUNK).for_each(|x| x.fill(black_box(2.0)));
        }
        black_box(&x);
        Ok(amount as f64 * bytes)
    })?;
    drop((x, y));
    watch("limits of the CPU: cache")?;
    let (cache_gbs, _) = rate(|amount| {
        let read = rayon::broadcast(|_| {
            let set = vec![1.0_f32; CACHE];
            let passes = 64 * amount;
            for _ in 0..passes {
                black_box(sum(black_box(&set)));
            }
            passes as f64 * (4 * CACHE) as f64
        });
        Ok(read.iter().sum())
    })?;
    watch("limits of the CPU: launches")?;
    let (_, launch_seconds) = rate(|amount| {
        for _ in 0..amount {
            (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).for_each(|i| {
                black_box(i);
            });
        }
        Ok(amount as f64)
    })?;
    Ok(Limits {
        clock: Clock::Wall,
        fma_f32_gflops,
        fma_f16_gflops: None,
        read_gbs,
        write_gbs,
        copy_gbs,
        memory_bytes: 4 * MEMORY as u64,
        cache_gbs,
        cache_bytes: 4 * CACHE as u64,
        launch_seconds,
        round_trip_seconds: None,
    })
}

/// Work a second, in units of 1e9, and seconds of one unit. `work` does an amount and says how many units that was.
fn rate(mut work: impl FnMut(u64) -> Result<f64>) -> Result<(f64, f64)> {
    let mut units = 0.0;
    let (_, seconds) = best(1 << 30, |amount| {
        let begin = Instant::now();
        units = work(amount)?;
        Ok(begin.elapsed().as_secs_f64())
    })?;
    Ok((units / seconds * 1e-9, seconds / units))
}

/// Adds up with as many sums at a time as keep every load port busy.
fn sum(values: &[f32]) -> f32 {
    Arch::new().dispatch(|| {
        let mut sums = [0.0_f32; 128];
        let (rows, _) = values.as_chunks::<128>();
        for row in rows {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        sums.iter().sum()
    })
}

/// Independent chains of dependent multiply-adds, all in registers.
struct Chains {
    steps: u64,
}

impl WithSimd for Chains {
    /// Floating-point operations done.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        // AVX2 has 16 registers; AVX-512 and NEON have 32.
        if S::F32_LANES == 8 { chains::<S, 12>(simd, self.steps) } else { chains::<S, 24>(simd, self.steps) }
    }
}

#[inline(always)]
fn chains<S: Simd, const CHAINS: usize>(simd: S, steps: u64) -> f64 {
    let (factor, addend) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(1e-3)));
    let mut values: [S::f32s; CHAINS] = std::array::from_fn(|_| simd.splat_f32s(black_box(0.5)));
    for _ in 0..steps {
        for value in &mut values {
            *value = simd.mul_add_f32s(*value, factor, addend);
        }
    }
    let whole = values.into_iter().reduce(|a, b| simd.add_f32s(a, b));
    black_box(whole.map(|whole| simd.reduce_sum_f32s(whole)));
    2.0 * steps as f64 * (CHAINS * S::F32_LANES) as f64
}
