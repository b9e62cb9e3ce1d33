//! `glavitu kernels list`: operators and their kernels.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use crate::cli::print_line;
use crate::error;
use crate::gpu::ChangedKernels;
use crate::gpu::kernel::{self, Resources};
use crate::gpu::prelude::Form;
use crate::graph::{Caps, Storage};
use crate::ops::{Entry, REGISTRY};

/// List the operators with their kernels, when each is taken and what it asks of a workgroup.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels list
  glavitu kernels list --json")]
pub(super) struct ListArgs {
    /// Print JSON for programs to read
    #[arg(long)]
    json: bool,
}

/// One kernel of an operator.
#[derive(Debug, Serialize)]
struct Row {
    operator: &'static str,
    kernel: &'static str,
    /// When the operator takes it.
    taken: String,
    /// Threads of a workgroup.
    threads: u32,
    workgroup_bytes: u32,
    storage_buffers: usize,
}

/// Runs `glavitu kernels list`.
pub(super) fn run(args: &ListArgs) -> Result<()> {
    let rows: Vec<Row> = REGISTRY.iter().map(rows).collect::<error::Result<Vec<_>>>()?.into_iter().flatten().collect();
    if args.json {
        return print_line(serde_json::to_string_pretty(&rows)?);
    }
    let mut table = Table::new();
    table.set_header(["operator", "kernel", "taken", "threads", "workgroup memory", "storage buffers"]);
    for row in rows {
        table.add_row([
            row.operator.to_owned(),
            row.kernel.to_owned(),
            row.taken,
            row.threads.to_string(),
            format!("{} B", row.workgroup_bytes),
            row.storage_buffers.to_string(),
        ]);
    }
    print_line(table)
}

/// How often the registry's cases launch a kernel, and the most it asks for.
#[derive(Debug, Default)]
struct Use {
    cases: usize,
    other_ways: usize,
    most: Option<Resources>,
}

/// Values of `override` constants.
type Constants = Vec<(&'static str, f64)>;

/// The kernels of an operator, in the registry's order.
fn rows(entry: &Entry) -> error::Result<Vec<Row>> {
    let cases = (entry.cases)();
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    let mut known: Vec<(&str, usize, Constants)> = Vec::new();
    for case in &cases {
        let shapes = case.shapes()?;
        for (way, caps) in case.ways(&shapes, &Caps::default())? {
            let launches = case.operator.launches(&shapes, &caps)?;
            let mut seen = Vec::new();
            for launch in launches {
                let name = launch.kernel.name;
                let found = uses.entry(name).or_default();
                if !seen.contains(&name) {
                    *(if way.is_empty() { &mut found.cases } else { &mut found.other_ways }) += 1;
                    seen.push(name);
                }
                let key = (name, launch.item, launch.constants.clone());
                if !known.contains(&key) {
                    let asked = kernel::check(
                        &launch,
                        Form::of(&launch, Storage::F32, &Caps::default()),
                        &ChangedKernels::default(),
                    )?;
                    found.most = Some(found.most.map_or(asked, |most| larger(most, asked)));
                    known.push(key);
                }
            }
        }
    }
    let rows = entry.kernels.iter().map(|kernel| {
        let found = uses.remove(kernel.name).unwrap_or_default();
        let most = found.most.unwrap_or_default();
        Row {
            operator: entry.name,
            kernel: kernel.name,
            taken: taken(kernel.source, &found, cases.len()),
            threads: most.invocations,
            workgroup_bytes: most.workgroup_bytes,
            storage_buffers: most.storage_buffers,
        }
    });
    Ok(rows.collect())
}

/// What the kernel's header says of when it is taken, or what the cases show.
fn taken(source: &str, found: &Use, cases: usize) -> String {
    if let Some(said) = source.lines().find_map(|line| line.strip_prefix("// Taken: ")) {
        return said.trim_end_matches('.').to_owned();
    }
    match (found.cases, found.other_ways) {
        (n, _) if n == cases => "always".to_owned(),
        (0, 1..) => "plain kernels, or where it was measured to be faster".to_owned(),
        _ => "for some shapes".to_owned(),
    }
}

fn larger(a: Resources, b: Resources) -> Resources {
    Resources {
        invocations: a.invocations.max(b.invocations),
        workgroup_bytes: a.workgroup_bytes.max(b.workgroup_bytes),
        storage_buffers: a.storage_buffers.max(b.storage_buffers),
    }
}
