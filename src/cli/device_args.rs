//! Where a command computes, and how exactly.

use clap::Args;

use crate::device;
use crate::error::Result;
use crate::executor::Executor;
use crate::graph::Graph;
use crate::plan::{MemorySize, PlanOptions};

/// The options of every command that runs a network.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// Where the network runs: auto, cpu, gpu, gpu:N or a part of an adapter's name (see `glavitu devices`)
    #[arg(long, default_value = "auto")]
    pub(super) device: String,
    /// Take convolutions in their direct form, which rounds less and takes longer
    #[arg(long)]
    pub(super) exact: bool,
    /// Hold no more than this on the device, as in 4GiB or 500MB: batches become smaller, and what still does not fit is computed again
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<MemorySize>,
}

impl DeviceArgs {
    /// How graphs are planned.
    pub(super) fn options(&self) -> PlanOptions {
        PlanOptions { exact: self.exact, max_memory: self.max_memory.map(|size| size.0) }
    }

    /// How many of `wanted` samples to compute at a time.
    ///
    /// # Errors
    /// As [`device::largest_batch`].
    pub(super) fn batch(&self, wanted: usize, graph: impl Fn(usize) -> Result<Graph>) -> Result<usize> {
        device::largest_batch(&self.device, wanted, &self.options(), graph)
    }

    /// An executor of `graph`.
    ///
    /// # Errors
    /// As [`device::executor`].
    pub(super) fn executor(&self, graph: &Graph) -> Result<Box<dyn Executor>> {
        device::executor(&self.device, graph, &self.options())
    }
}
