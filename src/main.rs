//! The program `glavitu`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use glavitu::Error;
use glavitu::cli::{
    backward, bench, calibrate, change, completions, convert, dataset, devices, evaluate, export, forward, import,
    info, inspect, inventory, kernels, optimise_region, plan, predict, prepare, train, tune, vectorise, warp,
};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Maps glaciers from satellite scenes with the GlaViTU network, on any GPU or on the CPU.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 a device or the machine failed, 2 the input is not right, 130 interrupted.\n\
                  GLAVITU_LOG=info or =debug says more of what happens."
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Predict(Box<predict::PredictArgs>),
    Train(Box<train::TrainArgs>),
    OptimiseRegion(Box<optimise_region::OptimiseRegionArgs>),
    Evaluate(evaluate::EvaluateArgs),
    Calibrate(Box<calibrate::CalibrateArgs>),
    Inventory(inventory::InventoryArgs),
    Change(change::ChangeArgs),
    Convert(convert::ConvertArgs),
    Vectorise(vectorise::VectoriseArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Info(info::InfoArgs),
    Inspect(inspect::InspectArgs),
    Warp(warp::WarpArgs),
    Forward(forward::ForwardArgs),
    Backward(backward::BackwardArgs),
    Devices(devices::DevicesArgs),
    Bench(Box<bench::BenchArgs>),
    Prepare(Box<prepare::PrepareArgs>),
    Dataset(dataset::DatasetArgs),
    Plan(plan::PlanArgs),
    Kernels(kernels::KernelsArgs),
    Tune(tune::TuneArgs),
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    quiet_device_selection();
    let is_terminal = std::io::stderr().is_terminal();
    // Piped, only what matters to a reader of the log; on a terminal, what is being done too.
    let level = if is_terminal { "info" } else { "warn" };
    let chosen = std::env::var("GLAVITU_LOG").unwrap_or_else(|_| format!("glavitu={level}"));
    let targets: Targets = chosen.parse().unwrap_or_default();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .without_time()
        .with_target(false)
        .with_filter(targets);
    tracing_subscriber::registry().with(log).init();
    let result = match Program::parse().command {
        Command::Predict(args) => predict::run(&args),
        Command::Train(args) => train::run(&args),
        Command::OptimiseRegion(args) => optimise_region::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Inventory(args) => inventory::run(&args),
        Command::Change(args) => change::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Vectorise(args) => vectorise::run(&args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(&args),
        Command::Info(args) => info::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Warp(args) => warp::run(&args),
        Command::Forward(args) => forward::run(&args),
        Command::Backward(args) => backward::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Prepare(args) => prepare::run(&args),
        Command::Dataset(args) => dataset::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Program::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The library's messages already name their cause.
            // Where standard error is gone, the exit code is what remains.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(match error.downcast_ref::<Error>() {
                Some(Error::Interrupted | Error::Paused { .. }) => 130,
                Some(error) if error.is_bad_input() => 2,
                _ => 1,
            })
        }
    }
}

/// Keeps Mesa's device-selection layer from printing errors about a missing display on servers.
///
/// The layer asks the Wayland compositor which adapter to list first; without a session there is none, and libwayland says so on
/// standard error whenever adapters are listed. Somebody who uses the layer is left alone.
fn quiet_device_selection() {
    let is_set = |name| std::env::var_os(name).is_some();
    if !is_set("XDG_RUNTIME_DIR") && !is_set("MESA_VK_DEVICE_SELECT") {
        // SAFETY: this is the first statement of the program; no other thread exists that could read the environment. The layer takes
        // no other switch than this variable.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
