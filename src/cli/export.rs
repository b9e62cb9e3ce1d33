//! `glavitu export`: models for others to use.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};

use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::model::Weights;

/// Write a model in a form to pass on.
///
/// With --half every value is rounded to float16: the file is half as large, and every command takes it as any other model.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu export --half run/best_iou.safetensors -o global.safetensors")]
pub struct ExportArgs {
    /// The model
    #[arg(value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    /// Store float16 (the only form so far)
    #[arg(long, required = true)]
    half: bool,
    /// The file to write
    #[arg(short, long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// Runs `glavitu export`.
///
/// # Errors
/// The model cannot be read or does not fit float16, or the output cannot be written.
pub fn run(args: &ExportArgs) -> Result<()> {
    check_output(&args.output, &[&args.model])?;
    let weights = Weights::load(&args.model)?.save_half(&args.output)?;
    print_line(format_args!("{}: float16, SHA-256 {}", args.output.display(), weights.parameters_sha256()))
}
