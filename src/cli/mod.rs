//! The subcommands of the program `glavitu`, one file each.

pub mod completions;
pub mod dataset;
pub mod devices;
pub mod forward;
pub mod import;
pub mod info;
mod output_file;
pub mod predict;
