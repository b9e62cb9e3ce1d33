//! The subcommands of the program `glavitu`, one file each.

pub mod import;
pub mod info;
