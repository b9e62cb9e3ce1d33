//! `glavitu kernels show`: the text of a kernel.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};

use super::{catalogue, changed_folder};
use crate::cli::print_line;
use crate::gpu::ChangedKernels;
use crate::gpu::kernel_text::assemble;
use crate::gpu::prelude::Form;

/// Print the text of a kernel as it is compiled: prelude, shared files, its own file.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels show attention
  glavitu kernels show --source attention > mine/attention.wgsl
  glavitu kernels show --source shared/tile > mine/shared/tile.wgsl")]
pub(super) struct ShowArgs {
    /// The kernel; with --source a shared file too (shared/tile)
    #[arg(value_name = "NAME", value_parser = catalogue::file_name(), hide_possible_values = true)]
    name: String,
    /// Print the kernel's own file alone, to be changed
    #[arg(long)]
    source: bool,
    /// A folder of changed kernels, taken instead of the built-in ones
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "source")]
    kernels: Option<PathBuf>,
}

/// Runs `glavitu kernels show`.
pub(super) fn run(args: &ShowArgs) -> Result<()> {
    let changed = args.kernels.as_deref().map_or_else(|| Ok(ChangedKernels::default()), changed_folder::read)?;
    let text = match catalogue::kernels().get(args.name.as_str()) {
        Some(kernel) if !args.source => assemble(kernel, Form::default(), &changed).text,
        // A shared file has nothing before it.
        _ => catalogue::files().get(&args.name).copied().unwrap_or_default().to_owned(),
    };
    print_line(text.trim_end())
}
