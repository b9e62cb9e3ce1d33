//! Where a command computes, and how exactly.

use clap::{Args, ValueEnum};

use crate::device;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::graph::Graph;
use crate::plan::{MemorySize, PlanOptions, Precision};

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
    /// How weights and activations are stored: f16 takes about half of the memory, rounds more, and is for GPUs
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionOption,
}

/// The value of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrecisionOption {
    /// Floats of 32 bits
    F32,
    /// Floats of 16 bits; sums in 32
    F16,
}

impl PrecisionOption {
    /// What the plan takes.
    pub(super) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
        }
    }

    /// Allows f32 alone.
    ///
    /// # Errors
    /// It is f16.
    pub(super) fn refuse_for_gradients(self) -> Result<()> {
        match self {
            Self::F32 => Ok(()),
            Self::F16 => Err(Error::bad_argument(
                "--precision f16 for gradients",
                "f32: small changes would be lost in 16 bits",
                "leave out --precision f16",
            )),
        }
    }
}

impl DeviceArgs {
    /// How graphs are planned.
    pub(super) fn options(&self) -> PlanOptions {
        PlanOptions {
            exact: self.exact,
            max_memory: self.max_memory.map(|size| size.0),
            precision: self.precision.precision(),
        }
    }

    /// How graphs with gradients are planned.
    ///
    /// # Errors
    /// Halves were asked for.
    pub(super) fn options_for_gradients(&self) -> Result<PlanOptions> {
        self.precision.refuse_for_gradients()?;
        Ok(self.options())
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
