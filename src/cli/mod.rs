//! The subcommands of the program `glavitu`, one file each.

pub mod completions;
pub mod dataset;
pub mod devices;
pub mod forward;
pub mod import;
pub mod info;
mod output_file;
pub mod predict;

/// Prints a line for the user or another program. A reader that has seen enough and gone is no failure.
fn print_line(text: impl std::fmt::Display) -> std::io::Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
