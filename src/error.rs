//! The library's one error type: what was found, what was expected, what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong in the library.
///
/// [`Error::is_bad_input`] tells mistakes the user can mend (exit code 2 of the program) from failures of the machine (exit code 1).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that was given is not what it must be.
    #[error("{}: found {found}, expected {expected}; {remedy}", file.display())]
    BadFile {
        /// The file.
        file: PathBuf,
        /// What is in it.
        found: String,
        /// What should be in it.
        expected: String,
        /// What the user can do.
        remedy: String,
    },
    /// An option or a combination of options makes no sense.
    #[error("found {found}, expected {expected}; {remedy}")]
    BadArgument {
        /// What was given.
        found: String,
        /// What is accepted.
        expected: String,
        /// What the user can do.
        remedy: String,
    },
    /// Tensors of shapes that an operator cannot take.
    #[error("operator {operator}: found {found}, expected {expected}")]
    Shape {
        /// The operator's registered name.
        operator: &'static str,
        /// The shapes found.
        found: String,
        /// The shapes expected.
        expected: String,
    },
    /// An operator that has no gradient was asked for one.
    #[error("operator {operator} has no gradient rule; build the training graph without it")]
    NoGradient {
        /// The operator's registered name.
        operator: &'static str,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// The operation: `read`, `write`, `create`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No device answers to the name that was given.
    #[error("no device matches '{wanted}'; available: {available}; run `glavitu devices` for details")]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// What there is, by name.
        available: String,
    },
    /// The device vanished during a computation.
    #[error(
        "device {device} was lost ({reason}); what was finished is kept: run the command again, with a smaller --batch or with --device cpu if it happens again"
    )]
    DeviceLost {
        /// The device's name.
        device: String,
        /// The driver's reason.
        reason: String,
    },
    /// The plan does not fit the device.
    #[error(
        "{device} cannot hold the plan: it needs {needed_bytes} bytes and {available_bytes} are available; the largest tensors are {largest}; use a smaller --batch or another --device"
    )]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// The plan's peak.
        needed_bytes: u64,
        /// What the device offers.
        available_bytes: u64,
        /// The largest tensors, with sizes.
        largest: String,
    },
    /// The plan cannot be made as small as was asked.
    #[error(
        "found a bound of {bound} bytes, expected at least {smallest}: no plan that was found needs less; give --max-memory {}MiB, or use a smaller --batch or a smaller tile",
        smallest.div_ceil(1 << 20)
    )]
    MemoryBound {
        /// The bound that was given.
        bound: u64,
        /// The smallest that can be met.
        smallest: u64,
    },
    /// A single work item exceeds a limit of the device and cannot be split.
    #[error(
        "node {node} needs {needed} for {limit_name}, but the device's limit is {limit}; use a smaller --batch, a smaller tile or --device cpu"
    )]
    DeviceLimit {
        /// The node of the graph.
        node: String,
        /// The WebGPU name of the limit.
        limit_name: &'static str,
        /// What is needed.
        needed: u64,
        /// What the device allows.
        limit: u64,
    },
    /// A kernel does not compile or does not match its operator.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// The kernel's file name without extension.
        kernel: String,
        /// The compiler's message.
        message: String,
    },
    /// A kernel that the user changed does not compile or does not match its operator.
    #[error("changed kernel {kernel}: {message}")]
    ChangedKernel {
        /// The kernel's file name without extension.
        kernel: String,
        /// The compiler's message, with file and line.
        message: String,
    },
    /// A kernel gives other results than the operator's definition.
    #[error("{failed} of {cases} cases differ from the definition on {device}")]
    WrongResults {
        /// Cases with other results.
        failed: usize,
        /// Cases that ran.
        cases: usize,
        /// The device.
        device: String,
        /// Whether the user changed the kernels.
        changed: bool,
    },
    /// A loss is not a number.
    #[error(
        "the loss of epoch {epoch}, step {step} is not a number; the first node with an output that is not finite is {node}; \
         lower --lr, give --clip-norm 1, or look for extreme values in the training files; the last checkpoint is kept"
    )]
    Diverged {
        /// The epoch, counted from 1.
        epoch: u64,
        /// The step since the beginning, counted from 1.
        step: u64,
        /// The node of the graph.
        node: String,
    },
    /// The user interrupted a run, which can go on.
    #[error("interrupted; continue with `glavitu {command} --resume -o {}`", folder.display())]
    Paused {
        /// The subcommand.
        command: &'static str,
        /// The run's folder.
        folder: PathBuf,
    },
    /// Some of many scenes could not be mapped.
    #[error("{failed} of {scenes} scenes failed; {} says why", summary.display())]
    ScenesFailed {
        /// Scenes that failed.
        failed: usize,
        /// All scenes of the run.
        scenes: usize,
        /// The file with the reasons.
        summary: PathBuf,
        /// Whether it was the input in every case.
        bad_input: bool,
    },
    /// The user interrupted the computation.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl Error {
    /// Wraps an [`io::Error`] with the operation and the file.
    pub fn io(action: &'static str, file: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { action, file: file.as_ref().to_path_buf(), source }
    }

    /// A [`Error::BadFile`].
    pub fn bad_file(
        file: impl AsRef<Path>,
        found: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::BadFile {
            file: file.as_ref().to_path_buf(),
            found: found.into(),
            expected: expected.into(),
            remedy: remedy.into(),
        }
    }

    /// A [`Error::BadArgument`].
    pub fn bad_argument(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::BadArgument { found: found.into(), expected: expected.into(), remedy: remedy.into() }
    }

    /// A [`Error::Shape`].
    pub fn shape(operator: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Shape { operator, found: found.into(), expected: expected.into() }
    }

    /// Whether the user's input is at fault (exit code 2) rather than the machine (exit code 1).
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, OutOfMemory, QuotaExceeded, StorageFull};
        match self {
            // A full disk is no mistake; a missing file or a folder that may not be written is one.
            Self::Io { source, .. } => {
                !matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory)
            }
            Self::BadFile { .. }
            | Self::BadArgument { .. }
            | Self::Shape { .. }
            | Self::NoDevice { .. }
            | Self::MemoryBound { .. }
            | Self::ChangedKernel { .. }
            | Self::WrongResults { changed: true, .. }
            | Self::ScenesFailed { bad_input: true, .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;
    use std::io::ErrorKind;

    #[test]
    fn a_full_disk_is_not_the_users_mistake() {
        let io = |kind: ErrorKind| Error::io("write", "outlines.tif", kind.into());
        assert!(!io(ErrorKind::StorageFull).is_bad_input());
        assert!(!io(ErrorKind::FileTooLarge).is_bad_input());
        assert!(io(ErrorKind::NotFound).is_bad_input());
        assert!(io(ErrorKind::PermissionDenied).is_bad_input());
    }
}
