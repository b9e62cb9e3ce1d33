//! Benchmarks: how long the network and its kernels take here, and what this machine could do at best.
//!
//! - [`statistics`]: repeated measurements and what they say.
//! - [`limits`]: the machine's own limits: arithmetic, memory, cache, launches.
//! - [`network`]: the forward pass and the training step.
//! - [`cases`]: every operator of the registry alone.
//! - [`breakdown`]: where the time of a run goes.
//! - [`report`]: all of it as a JSON file.
//! - [`comparison`]: several such files side by side; [`chart`] draws them.

pub mod breakdown;
pub mod cases;
pub mod chart;
pub mod comparison;
pub mod limits;
pub mod network;
pub mod report;
pub mod statistics;

use crate::error::Result;

/// Called before every measurement with what is measured; an error stops the benchmark.
pub type Watch<'a> = &'a mut dyn FnMut(&str) -> Result<()>;
