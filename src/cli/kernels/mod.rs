//! `glavitu kernels`: looking at the GPU kernels, and trying changed ones without compiling the program again.

mod bench;
mod catalogue;
mod changed_folder;
mod check;
mod dump;
mod list;
mod show;
mod trial;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Look at the GPU kernels, change one and see what happens.
///
/// A changed kernel is a file in a folder of yours, named as in the project's folder kernels/ (gelu.wgsl, shared/tile.wgsl). It runs
/// instead of the built-in one; the program need not be compiled again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels list
  mkdir mine && glavitu kernels show --source attention > mine/attention.wgsl
  glavitu kernels check --kernels mine
  glavitu kernels bench attention --kernels mine")]
pub struct KernelsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Dump(dump::DumpArgs),
    Check(check::CheckArgs),
    Bench(bench::BenchArgs),
}

/// Runs `glavitu kernels`.
///
/// # Errors
/// Kernels that do not compile or give wrong results, files that cannot be read or written, or a device that fails.
pub fn run(args: &KernelsArgs) -> Result<()> {
    match &args.what {
        What::List(args) => list::run(args),
        What::Show(args) => show::run(args),
        What::Dump(args) => dump::run(args),
        What::Check(args) => check::run(args),
        What::Bench(args) => bench::run(args),
    }
}
