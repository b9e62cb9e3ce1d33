//! `glavitu devices`: what can compute here.

use anyhow::Result;
use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use crate::cli::print_line;
use crate::cpu::CpuSummary;
use crate::device::automatic;
use crate::gpu::{AdapterSummary, adapters};

/// List the devices of this machine and say which one `--device auto` takes.
///
/// Software adapters compute on the CPU; they are for tests, slower than the native code, and used only when named.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu devices
  glavitu devices --json")]
pub struct DevicesArgs {
    /// Print JSON for programs to read
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listing<'a> {
    adapters: &'a [AdapterSummary],
    cpu: CpuSummary,
    auto: &'a str,
}

/// Runs `glavitu devices`.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let list = adapters();
    let (_, auto) = automatic(&list);
    let cpu = CpuSummary::new();
    let text = if args.json {
        serde_json::to_string_pretty(&Listing { adapters: &list, cpu, auto: &auto })?
    } else {
        format!("{}\n\n--device auto takes {auto}.", table(&list, &cpu))
    };
    print_line(text)?;
    Ok(())
}

fn table(list: &[AdapterSummary], cpu: &CpuSummary) -> Table {
    let mut table = Table::new();
    table.set_header([
        "device",
        "name",
        "type",
        "backend",
        "driver",
        "binding",
        "buffer",
        "invocations",
        "workgroup",
        "f16",
        "subgroups",
        "timestamps",
    ]);
    let yes = |b: bool| if b { "yes" } else { "no" }.to_owned();
    for a in list {
        table.add_row([
            format!("gpu:{}", a.index),
            a.name.clone(),
            a.kind.to_owned(),
            a.backend.clone(),
            a.driver.clone(),
            mebibytes(a.max_binding_bytes),
            mebibytes(a.max_buffer_bytes),
            a.max_invocations.to_string(),
            format!("{} KiB", a.max_workgroup_bytes >> 10),
            yes(a.f16),
            a.subgroups.map_or_else(|| "no".to_owned(), |(low, high)| range(low, high)),
            yes(a.timestamps),
        ]);
    }
    table.add_row([
        "cpu".to_owned(),
        format!("{} threads, {} ({} bits)", cpu.threads, cpu.vectors, cpu.vector_bits),
        "native".to_owned(),
    ]);
    table
}

fn range(low: u32, high: u32) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}

fn mebibytes(bytes: u64) -> String {
    // Drivers without a bound of their own report a huge number.
    if bytes >= 1 << 60 { "no limit".to_owned() } else { format!("{} MiB", bytes >> 20) }
}
