//! `glavitu completions`: scripts that complete commands, options and paths in a shell.

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::print_line;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu completions bash > ~/.local/share/bash-completion/completions/glavitu
  glavitu completions zsh > ~/.zfunc/_glavitu")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs `glavitu completions`; `program` is the whole command line.
///
/// # Errors
/// None at present.
pub fn run(args: &CompletionsArgs, program: &mut Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, "glavitu", &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
