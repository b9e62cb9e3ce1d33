//! Which executor to use: the value of `--device`.

use std::fmt;

use crate::cpu::CpuExecutor;
use crate::error::{Error, Result};
use crate::executor::Executor;
use crate::gpu::device::select;
use crate::gpu::{AdapterSummary, Gpu, GpuExecutor, adapters};
use crate::graph::Graph;
use crate::plan::{Plan, PlanOptions, Target};
use crate::tuning_file::saved_tuning;

/// A device as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first hardware GPU (a discrete one before others), else the CPU.
    Auto,
    /// The native executor.
    Cpu,
    /// The first hardware GPU.
    Gpu,
    /// The adapter of this number in the list of `glavitu devices`.
    Number(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

impl DeviceChoice {
    /// Reads `auto`, `cpu`, `gpu`, `gpu:N` or a part of an adapter's name.
    ///
    /// # Errors
    /// Nothing, or `gpu:` without a number.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::bad_argument(
                format!("device '{text}'"),
                "auto, cpu, gpu, gpu:N or a part of an adapter's name",
                "see `glavitu devices`",
            )
        };
        let lower = text.trim().to_lowercase();
        Ok(match (lower.as_str(), lower.strip_prefix("gpu:")) {
            ("", _) => return Err(wrong()),
            ("auto", _) => Self::Auto,
            ("cpu", _) => Self::Cpu,
            ("gpu", _) => Self::Gpu,
            (_, Some(number)) => Self::Number(number.parse().map_err(|_| wrong())?),
            _ => Self::Name(text.trim().to_owned()),
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::Number(number) => write!(f, "gpu:{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The adapter that `auto` takes from a list, if any, and why.
#[must_use]
pub fn automatic(list: &[AdapterSummary]) -> (Option<&AdapterSummary>, String) {
    match select("gpu", list) {
        Ok(adapter) => {
            (Some(adapter), format!("gpu:{} {}: a hardware GPU ({})", adapter.index, adapter.name, adapter.kind))
        }
        Err(_) if list.is_empty() => (None, "the CPU: no GPU adapter was found".to_owned()),
        Err(_) => (None, "the CPU: all adapters found are software, and slower than the native code".to_owned()),
    }
}

/// The one device that `choice` means here: `auto` becomes `cpu` or the number of an adapter.
///
/// # Errors
/// Text that is no device; see [`DeviceChoice::parse`]. Whether an adapter of that name exists is found out by opening it.
pub fn resolve(choice: &str) -> Result<DeviceChoice> {
    Ok(match DeviceChoice::parse(choice)? {
        DeviceChoice::Auto => match automatic(&adapters()) {
            (Some(adapter), _) => DeviceChoice::Number(adapter.index),
            (None, _) => DeviceChoice::Cpu,
        },
        other => other,
    })
}

/// An executor of `graph` on the device that `choice` means; see [`DeviceChoice::parse`].
///
/// `auto` falls back to the CPU, with a warning, where the GPU it chose cannot hold or run the graph.
///
/// # Errors
/// [`Error::NoDevice`] where nothing answers to the name, or what the device reports.
pub fn executor(choice: &str, graph: &Graph, options: &PlanOptions) -> Result<Box<dyn Executor>> {
    let choice = DeviceChoice::parse(choice)?;
    let made: Box<dyn Executor> = match choice {
        DeviceChoice::Cpu => Box::new(CpuExecutor::new(graph, options)?),
        DeviceChoice::Auto => match automatic(&adapters()) {
            (Some(adapter), _) => match on_gpu(&DeviceChoice::Number(adapter.index), graph, options) {
                Ok(executor) => executor,
                Err(error) => {
                    tracing::warn!("{} is not used: {error}", adapter.name);
                    Box::new(CpuExecutor::new(graph, options)?)
                }
            },
            (None, _) => Box::new(CpuExecutor::new(graph, options)?),
        },
        _ => on_gpu(&choice, graph, options)?,
    };
    tracing::info!("computing on {} with {} MB", made.device(), made.plan().peak_bytes() / 1_000_000);
    Ok(made)
}

/// What to plan for on the device that `choice` means.
///
/// # Errors
/// [`Error::NoDevice`] where nothing answers to the name, or it cannot be opened.
pub fn target(choice: &str) -> Result<Target> {
    let choice = match DeviceChoice::parse(choice)? {
        DeviceChoice::Auto => {
            automatic(&adapters()).0.map_or(DeviceChoice::Cpu, |adapter| DeviceChoice::Number(adapter.index))
        }
        choice => choice,
    };
    match choice {
        DeviceChoice::Cpu => Ok(Target::Cpu),
        choice => Ok(Target::Gpu(open(&choice)?.caps)),
    }
}

/// The largest batch of `wanted` samples at most whose plan on a device holds no more than `options` allow, with nothing computed
/// again; at least one sample.
///
/// # Errors
/// As [`target`] and [`Plan::new`].
pub fn largest_batch(
    choice: &str,
    wanted: usize,
    options: &PlanOptions,
    graph: impl Fn(usize) -> Result<Graph>,
) -> Result<usize> {
    let Some(bytes) = options.max_memory else { return Ok(wanted) };
    let (target, free) = (target(choice)?, PlanOptions { max_memory: None, ..*options });
    let fits = |batch: usize| Ok::<_, Error>(Plan::new(&graph(batch)?, &target, &free)?.peak_bytes() <= bytes);
    let (mut most, mut least_too_large) = (1, wanted + 1);
    while least_too_large - most > 1 {
        // Wanted itself first: mostly it fits.
        let batch = if least_too_large > wanted { wanted } else { most.midpoint(least_too_large) };
        if fits(batch)? {
            most = batch;
        } else {
            least_too_large = batch;
        }
    }
    Ok(most)
}

fn on_gpu(choice: &DeviceChoice, graph: &Graph, options: &PlanOptions) -> Result<Box<dyn Executor>> {
    Ok(Box::new(GpuExecutor::new(open(choice)?, graph, options)?))
}

/// The GPU, with the kernel variants that were tuned for it.
fn open(choice: &DeviceChoice) -> Result<Gpu> {
    let mut gpu = Gpu::open(&choice.to_string())?;
    gpu.caps.tuning = saved_tuning(&gpu.summary).into();
    Ok(gpu)
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn choices_are_read_and_written_alike() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("gpu", DeviceChoice::Gpu),
            ("gpu:3", DeviceChoice::Number(3)),
            ("GeForce", DeviceChoice::Name("GeForce".to_owned())),
        ] {
            assert_eq!(DeviceChoice::parse(text).ok(), Some(choice.clone()));
            assert_eq!(choice.to_string(), text);
        }
        for wrong in ["", " ", "gpu:", "gpu:x", "gpu:-1"] {
            assert!(DeviceChoice::parse(wrong).is_err(), "{wrong}");
        }
    }
}
