//! The subcommands of the program `glavitu`, one file each.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

mod assumed_crs;
pub mod backward;
pub mod bench;
mod bench_tables;
pub mod calibrate;
pub mod change;
pub mod completions;
pub mod convert;
pub mod dataset;
mod device_args;
pub mod devices;
pub mod evaluate;
mod evaluate_outlines;
mod evaluate_reliability;
mod evaluate_tiles;
pub mod export;
pub mod forward;
pub mod import;
pub mod info;
pub mod inspect;
pub mod inventory;
pub mod kernels;
mod model_size;
mod open_gpu;
pub mod optimise_region;
mod output_file;
pub mod plan;
pub mod predict;
pub mod prepare;
mod scene_args;
pub mod train;
pub mod tune;
pub mod vectorise;
pub mod warp;

/// Prints a line to standard output. A reader that has gone (`| head`) is no failure: the work is done.
fn print_line(text: impl Display) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            anyhow::bail!("cannot write to standard output: {error}")
        }
        _ => Ok(()),
    }
}
