//! The program `glavitu`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use glavitu::cli::{import, info};

/// Maps glaciers from satellite scenes.
#[derive(Debug, Parser)]
#[command(version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::ImportArgs),
    Info(info::InfoArgs),
}

fn main() -> ExitCode {
    let result = match Program::parse().command {
        Command::Import(args) => import::run(args),
        Command::Info(args) => info::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The library's messages already name their cause.
            eprintln!("error: {error}");
            let bad_input = error.downcast_ref::<glavitu::Error>().is_some_and(glavitu::Error::is_bad_input);
            ExitCode::from(if bad_input { 2 } else { 1 })
        }
    }
}
