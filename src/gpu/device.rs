//! Adapters: what there is, which one is meant, and opening it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::kernel_text::ChangedKernels;
use crate::error::{Error, Result};
use crate::graph::{Caps, Tile};

/// An adapter in words and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterSummary {
    /// Its position in the list, as in `gpu:N`.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The graphics interface: `vulkan`, `metal`, `dx12`, `gl`.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Largest storage-buffer binding, in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest number of invocations in a workgroup.
    pub max_invocations: u32,
    /// Workgroup memory, in bytes.
    pub max_workgroup_bytes: u32,
    /// Whether kernels can compute in 16-bit floats.
    pub f16: bool,
    /// Smallest and largest subgroup, where kernels can use them.
    pub subgroups: Option<(u32, u32)>,
    /// Whether the time of passes can be measured.
    pub timestamps: bool,
}

impl AdapterSummary {
    fn new(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        Self {
            index,
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            },
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            name: info.name,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }

    /// Whether it computes on the CPU.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// How much it is preferred when any GPU will do; `None` for software adapters, which must be asked for by name.
    fn rank(&self) -> Option<u8> {
        let rank = match self.kind {
            "discrete" => 0,
            "integrated" => 1,
            "virtual" => 2,
            "other" => 3,
            _ => return None,
        };
        // OpenGL is for machines that have nothing newer.
        Some(if self.backend == "gl" { rank + 4 } else { rank })
    }
}

/// All adapters that can compute, in a fixed order.
#[must_use]
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(found()).iter().enumerate().map(|(i, a)| AdapterSummary::new(i, a)).collect()
}

async fn found() -> Vec<wgpu::Adapter> {
    // Flags come from the build type, not from variables of the environment: the same run everywhere.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY | wgpu::Backends::GL).await;
    adapters.retain(|a| {
        let needed = wgpu::DownlevelFlags::COMPUTE_SHADERS;
        let limits = a.limits();
        a.get_downlevel_capabilities().flags.contains(needed)
            && limits.max_storage_buffers_per_shader_stage >= 8
            && limits.max_compute_invocations_per_workgroup >= 256
            && limits.max_compute_workgroup_storage_size >= 16 << 10
    });
    adapters
}

/// The adapter meant by `gpu`, `gpu:N` or a part of its name in any case.
///
/// `gpu` takes a discrete GPU before an integrated one and never a software adapter; those answer to number and name only.
///
/// # Errors
/// [`Error::NoDevice`], which lists what there is.
pub fn select<'a>(wanted: &str, list: &'a [AdapterSummary]) -> Result<&'a AdapterSummary> {
    let lower = wanted.to_lowercase();
    let chosen = if lower == "gpu" {
        list.iter().filter_map(|a| Some((a.rank()?, a.index, a))).min_by_key(|c| (c.0, c.1)).map(|c| c.2)
    } else if let Some(number) = lower.strip_prefix("gpu:") {
        number.parse::<usize>().ok().and_then(|n| list.get(n))
    } else {
        list.iter().find(|a| !lower.is_empty() && a.name.to_lowercase().contains(&lower))
    };
    chosen.ok_or_else(|| {
        let names: Vec<String> =
            list.iter().map(|a| format!("gpu:{} {} ({}, {})", a.index, a.name, a.kind, a.backend)).collect();
        let available = if names.is_empty() { "no GPU, only cpu".to_owned() } else { names.join("; ") };
        Error::NoDevice { wanted: wanted.to_owned(), available }
    })
}

/// What is used where an adapter has it.
const OPTIONAL_FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::SHADER_INT64);

/// What went wrong on a device since it was last looked at.
#[derive(Debug, Default)]
struct Faults {
    lost: Option<String>,
    uncaptured: Option<String>,
}

/// An open GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter it was opened on.
    pub summary: AdapterSummary,
    /// What operators may use.
    pub caps: Caps,
    /// Kernels of the user's that run instead of the built-in ones.
    pub changed_kernels: Arc<ChangedKernels>,
    faults: Arc<Mutex<Faults>>,
}

/// The vendor's number on PCI.
const NVIDIA: u32 = 0x10de;

impl Gpu {
    /// Opens the adapter that `wanted` means; see [`select`].
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is none or it refuses.
    pub fn open(wanted: &str) -> Result<Self> {
        pollster::block_on(Self::open_async(wanted))
    }

    /// [`Gpu::open`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_async(wanted: &str) -> Result<Self> {
        let found = found().await;
        let list: Vec<AdapterSummary> = found.iter().enumerate().map(|(i, a)| AdapterSummary::new(i, a)).collect();
        let summary = select(wanted, &list)?.clone();
        let adapter = &found[summary.index];
        // All that the adapter offers: larger bindings mean fewer slices.
        let limits = adapter.limits();
        let caps = Caps {
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            plain_kernels: false,
            winograd: None,
            tuning: Arc::default(),
            native_half: summary.f16,
            tile: if summary.is_software() { Tile::Wide } else { Tile::Narrow },
            // Measured on an H200: 17 to 21 TFLOP/s for gradients of weights, against 6.6 of tiles without workgroup memory.
            shared_tiles: !summary.is_software() && adapter.get_info().vendor == NVIDIA,
            subgroups: summary.subgroups.is_some(),
            // Measured on lavapipe; what else is software has not been tried.
            long_words: summary.is_software()
                && adapter.get_info().backend == wgpu::Backend::Vulkan
                && adapter.features().contains(wgpu::Features::SHADER_INT64),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("glavitu"),
            required_features: adapter.features() & OPTIONAL_FEATURES,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| Error::NoDevice {
            wanted: wanted.to_owned(),
            available: format!("{}, but it cannot be opened: {e}", summary.name),
        })?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let seen = Arc::clone(&faults);
        device.set_device_lost_callback(move |_, reason| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).lost = Some(reason);
        });
        let seen = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            // The first error is the cause of those that follow.
            seen.lock().unwrap_or_else(PoisonError::into_inner).uncaptured.get_or_insert(error.to_string());
        }));
        Ok(Self { device, queue, summary, caps, changed_kernels: Arc::default(), faults })
    }

    /// The device in words.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} ({}, {})", self.summary.name, self.summary.backend, self.summary.driver)
    }

    /// An error if the device was lost or reported something since the last call.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] with the driver's reason.
    pub fn check(&self) -> Result<()> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        // A lost device stays lost; another error is told once.
        let reason = faults.lost.clone().or_else(|| faults.uncaptured.take());
        reason.map_or(Ok(()), |reason| Err(self.lost(reason)))
    }

    /// [`Error::DeviceLost`] for this device.
    #[must_use]
    pub fn lost(&self, reason: impl Into<String>) -> Error {
        Error::DeviceLost { device: self.summary.name.clone(), reason: reason.into() }
    }

    /// Runs `make` and gives what it made, or the first error that the device reported meanwhile.
    ///
    /// # Errors
    /// Validation, memory and internal errors of the device.
    pub async fn guarded<T>(&self, make: impl FnOnce() -> T) -> std::result::Result<T, wgpu::Error> {
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        let made = make();
        // Scopes nest: the last one opened is closed first.
        let [internal, memory, validation] = scopes;
        let errors = [validation.pop(), memory.pop(), internal.pop()];
        for error in errors {
            if let Some(error) = error.await {
                return Err(error);
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::{AdapterSummary, select};
    use crate::error::Error;

    fn adapter(index: usize, name: &str, kind: &'static str) -> AdapterSummary {
        AdapterSummary {
            index,
            name: name.to_owned(),
            kind,
            backend: "vulkan".to_owned(),
            driver: String::new(),
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_invocations: 256,
            max_workgroup_bytes: 16 << 10,
            f16: false,
            subgroups: None,
            timestamps: false,
        }
    }

    #[test]
    fn gpu_prefers_discrete_and_never_takes_software() {
        let list =
            [adapter(0, "llvmpipe", "software"), adapter(1, "Iris", "integrated"), adapter(2, "RTX", "discrete")];
        assert_eq!(select("gpu", &list).map(|a| a.index).ok(), Some(2));
        assert_eq!(select("gpu", &list[..2]).map(|a| a.index).ok(), Some(1));
        assert!(matches!(select("gpu", &list[..1]), Err(Error::NoDevice { .. })));
    }

    #[test]
    fn software_answers_to_number_and_name() {
        let list = [adapter(0, "llvmpipe (LLVM 15)", "software")];
        assert!(select("gpu:0", &list).is_ok());
        assert!(select("LLVMpipe", &list).is_ok());
        for wrong in ["gpu:1", "gpu:x", "", "nvidia"] {
            let message = select(wrong, &list).map_or_else(|e| e.to_string(), |_| String::new());
            assert!(message.contains("llvmpipe"), "{message}");
        }
    }
}
