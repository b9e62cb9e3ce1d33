//! The adapter that a kernel is tried on.

use crate::device::{DeviceChoice, automatic};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, adapters};

/// Opens the adapter that `device` means. `auto` takes a hardware GPU, or a software adapter where there is none: a kernel cannot run on
/// the native executor.
///
/// # Errors
/// No adapter, or `cpu`.
pub(super) fn open(device: &str) -> Result<Gpu> {
    match DeviceChoice::parse(device)? {
        DeviceChoice::Cpu => Err(Error::bad_argument(
            "device 'cpu'",
            "a GPU or a software adapter, which kernels run on",
            "see `glavitu devices`",
        )),
        DeviceChoice::Auto => {
            let list = adapters();
            let number = automatic(&list).0.map_or(0, |adapter| adapter.index);
            Gpu::open(&format!("gpu:{number}"))
        }
        choice => Gpu::open(&choice.to_string()),
    }
}
