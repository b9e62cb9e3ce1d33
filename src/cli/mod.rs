//! The subcommands of the program `glavitu`, one file each.

pub mod devices;
pub mod forward;
