//! The built-in kernels by name.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;

use crate::graph::Kernel;
use crate::ops::REGISTRY;

/// All kernels of the registry by name.
pub(super) fn kernels() -> BTreeMap<&'static str, &'static Kernel> {
    REGISTRY.iter().flat_map(|entry| entry.kernels).map(|kernel| (kernel.name, *kernel)).collect()
}

/// The text of every file of `kernels/`, by name: `gelu`, `shared/tile`.
pub(super) fn files() -> BTreeMap<String, &'static str> {
    let kernels = kernels();
    let shared = kernels.values().flat_map(|kernel| kernel.shared);
    let shared = shared.map(|file| (format!("shared/{}", file.name), file.source));
    kernels.values().map(|kernel| (kernel.name.to_owned(), kernel.source)).chain(shared).collect()
}

/// Accepts the name of a kernel, with suggestions and completion.
pub(super) fn kernel_name() -> PossibleValuesParser {
    PossibleValuesParser::new(kernels().into_keys())
}

/// Accepts the name of a file, with suggestions and completion.
pub(super) fn file_name() -> PossibleValuesParser {
    PossibleValuesParser::new(files().into_keys())
}
