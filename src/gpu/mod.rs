//! The GPU executor: hand-written WGSL kernels on wgpu.
//!
//! - [`device`]: which adapters there are, and opening one.
//! - [`kernel_text`]: a kernel's text, put together from its files or the user's.
//! - [`prelude`]: the storage and width of a kernel's tensors.
//! - [`kernel`]: from a kernel's text to a pipeline, and the check of its interface.
//! - [`dispatch`]: launches with buffers, as they are recorded into a command encoder.
//! - [`slices`]: batch slices for what exceeds a limit of the device.
//! - [`readback`]: results back to our memory.
//! - [`profile`]: the time of passes.
//! - [`executor`]: a planned graph on a GPU.
//! - [`single`]: one operator alone, for tests and benches.

pub mod device;
pub mod dispatch;
pub mod executor;
pub mod kernel;
pub mod kernel_text;
pub mod prelude;
pub mod profile;
pub mod readback;
pub mod single;
pub mod slices;

pub use device::{AdapterSummary, Gpu, adapters};
pub use executor::GpuExecutor;
pub use kernel_text::ChangedKernels;
