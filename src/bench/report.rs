//! The result of a benchmark as a JSON file that others can read and compare.
//!
//! The schema is this module's structs; times are in seconds, sizes in bytes, rates in 1e9 a second. [`SCHEMA`] grows when a field
//! changes its meaning or goes; new optional fields leave it as it is.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::breakdown::{Breakdown, KernelTime, LaunchTime, NodeTime};
use super::limits::Limits;
use super::network::RunTime;
use crate::atomic_file::write_atomically;
use crate::cpu::CpuSummary;
use crate::error::{Error, Result};
use crate::gpu::AdapterSummary;

/// The schema's version.
pub const SCHEMA: u32 = 1;

/// What was measured, where, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Which benchmark.
    pub benchmark: Benchmark,
    /// The program.
    pub program: Program,
    /// The machine.
    pub device: Device,
    /// How it was measured.
    pub settings: Settings,
    /// What the device can do at best.
    pub limits: Limits,
    /// The forward pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<RunTime>,
    /// A step of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_step: Option<RunTime>,
    /// Times by operator and kernels: of the run, or of every case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelTime>,
    /// Times of the run by kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<LaunchTime>,
    /// Times of the run by node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeTime>,
    /// What makes the numbers doubtful; empty for good ones.
    pub warnings: Vec<String>,
}

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// The forward pass of the network.
    Model,
    /// A step of training.
    Train,
    /// Every operator alone.
    Kernels,
    /// The device's limits only.
    Limits,
}

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from, where the build was told by `GLAVITU_COMMIT`.
    pub commit: Option<String>,
}

impl Program {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("GLAVITU_COMMIT").map(str::to_owned),
        }
    }
}

/// The device that was measured, and the machine it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// `cpu`, or an adapter's `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// `native`, or an adapter's `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// Driver and version; empty for a CPU.
    pub driver: String,
    /// The operating system and the architecture.
    pub system: String,
    /// The machine's CPU, which also runs software adapters.
    pub cpu: Cpu,
    /// Largest binding of a GPU.
    pub max_binding_bytes: Option<u64>,
}

/// A machine's CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its name, where the system tells.
    pub name: Option<String>,
    /// Threads that compute.
    pub threads: usize,
    /// The widest vector instructions.
    pub vectors: String,
    /// Their width.
    pub vector_bits: u32,
    /// Main memory, where the system tells.
    pub memory_bytes: Option<u64>,
}

impl Device {
    /// A GPU of this machine, or without one its CPU.
    #[must_use]
    pub fn new(adapter: Option<&AdapterSummary>) -> Self {
        let CpuSummary { name, threads, vectors, vector_bits, memory_bytes } = CpuSummary::new();
        let cpu = Cpu { name, threads, vectors: vectors.to_owned(), vector_bits, memory_bytes };
        let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        match adapter {
            Some(a) => Self {
                name: a.name.clone(),
                kind: a.kind.to_owned(),
                backend: a.backend.clone(),
                driver: a.driver.clone(),
                system,
                cpu,
                max_binding_bytes: Some(a.max_binding_bytes),
            },
            None => Self {
                name: cpu.name.clone().unwrap_or_else(|| "CPU".to_owned()),
                kind: "cpu".to_owned(),
                backend: "native".to_owned(),
                driver: String::new(),
                system,
                cpu,
                max_binding_bytes: None,
            },
        }
    }

    /// The device in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.kind == "cpu" {
            format!("{}, {} threads, {}", self.name, self.cpu.threads, self.cpu.vectors)
        } else {
            format!("{} ({}, {})", self.name, self.backend, self.driver)
        }
    }
}

/// How it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `paper`, `small`, or the model's file.
    pub size: String,
    /// Side of a tile in pixels.
    pub tile: usize,
    /// Tiles computed together.
    pub batch: usize,
    /// How values are stored on the device.
    pub precision: String,
    /// Whether fast algorithms that round more were left out.
    pub exact: bool,
    /// The bound on memory that was asked for, if any.
    #[serde(default)]
    pub max_memory_bytes: Option<u64>,
}

impl Report {
    /// Takes over where the time goes.
    pub fn take(&mut self, breakdown: Breakdown) {
        let Breakdown { kernels, launches, nodes, .. } = breakdown;
        (self.kernels, self.launches, self.nodes) = (kernels, launches, nodes);
    }

    /// The JSON text, with a line break at its end.
    ///
    /// # Errors
    /// None in practice: all of it can be written as JSON.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|e| {
            Error::bad_argument(format!("a report that is no JSON ({e})"), "finite numbers", "report this as a defect")
        })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.text()?;
        write_atomically(path, |temporary| fs::write(temporary, &text).map_err(|e| Error::io("write", path, e)))
    }

    /// Reads a file that [`Report::write`] wrote.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |found: String| {
            let expected = format!("a benchmark's JSON of schema {SCHEMA}");
            Error::bad_file(path, found, expected, "make one with `glavitu bench --json FILE`")
        };
        let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("something that is no JSON ({e})")))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            None => return Err(wrong("JSON without a schema".into())),
            Some(schema) if schema != u64::from(SCHEMA) => return Err(wrong(format!("schema {schema}"))),
            Some(_) => {}
        }
        serde_json::from_value(value).map_err(|e| wrong(format!("a report that lacks something ({e})")))
    }
}
