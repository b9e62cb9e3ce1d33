//! The tables that `glavitu bench` prints.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};

use crate::bench::breakdown::{Bound, KernelTime};
use crate::bench::chart::write_chart;
use crate::bench::comparison::{Entrant, Measure, measures, operators};
use crate::bench::limits::Limits;
use crate::bench::network::RunTime;
use crate::bench::report::{Benchmark, Report};
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::executor::Clock;
use crate::plan::MemorySize;
use crate::svg::three_digits as digits;

/// Rows of a run's table; what takes less time is summed up.
const ROWS: usize = 24;
/// Operators of a comparison.
const OPERATORS: usize = 16;

/// One machine's result.
pub(super) fn measured(report: &Report) -> String {
    // Writing to a string cannot fail.
    let mut text = format!("{}\n", report.device.describe());
    let settings = &report.settings;
    if matches!(report.benchmark, Benchmark::Model | Benchmark::Train) {
        let exact = if settings.exact { ", exact" } else { "" };
        let _ = writeln!(
            text,
            "{}: tiles of {} x {} pixels, batch {}, {}{exact}",
            settings.size, settings.tile, settings.tile, settings.batch, settings.precision
        );
    }
    let runs = [("forward pass", &report.forward), ("training step", &report.train_step)];
    for (name, time) in runs {
        if let Some(time) = time {
            let _ = write!(text, "\n{}", run(name, time));
        }
    }
    if !report.kernels.is_empty() {
        let _ = writeln!(text, "\n{}", kernels(report));
    }
    let _ = write!(text, "\n{}", limits(&report.limits));
    text
}

fn run(name: &str, time: &RunTime) -> String {
    let t = &time.timing;
    let clock = if time.kernel_clock == Clock::Device { "device timestamps" } else { "this program's clock" };
    format!(
        "{name}: {} (median of {}; {} to {}; quartiles {:.1} % apart), {:.0} GFLOP/s, {:.0} MiB planned\n\
         its {} launches: {} ({clock})\n",
        seconds(t.median_seconds),
        t.runs,
        seconds(t.min_seconds),
        seconds(t.max_seconds),
        100.0 * t.spread,
        time.gflops,
        MemorySize(time.planned_bytes).mebibytes(),
        time.launches,
        seconds(time.kernel_seconds),
    )
}

fn kernels(report: &Report) -> Table {
    let alone = report.benchmark == Benchmark::Kernels;
    let mut table = markdown();
    let first = if alone { ["operator", "inputs", "kernels"] } else { ["operator", "kernels", "nodes"] };
    table.set_header(first.into_iter().chain(["ms", "GFLOP/s", "GB/s", "limit", "of limit", "of whole"]));
    let shown = if alone { report.kernels.len() } else { ROWS };
    for kernel in report.kernels.iter().take(shown) {
        let first = if alone {
            [kernel.operator.clone(), kernel.inputs.clone().unwrap_or_default(), kernel.variant()]
        } else {
            [kernel.operator.clone(), kernel.variant(), kernel.count.to_string()]
        };
        table.add_row(first.map(Cell::new).into_iter().chain(numbers(kernel)));
    }
    if report.kernels.len() > shown {
        let rest = &report.kernels[shown..];
        let (seconds, share) = rest.iter().fold((0.0, 0.0), |sum, k| (sum.0 + k.seconds, sum.1 + k.share));
        let nodes: usize = rest.iter().map(|k| k.count).sum();
        let cells = [format!("{} more", rest.len()), String::new(), nodes.to_string(), digits(1e3 * seconds)];
        let empty = [const { String::new() }; 4];
        table.add_row(cells.into_iter().chain(empty).chain([percent(share)]));
    }
    for column in if alone { 3..9 } else { 2..9 } {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn numbers(kernel: &KernelTime) -> [Cell; 6] {
    let rate = |rate: f64| if rate > 0.0 { digits(rate) } else { String::new() };
    let bound = if kernel.bound == Bound::Compute { "arithmetic" } else { "memory" };
    [
        digits(1e3 * kernel.seconds),
        rate(kernel.gflops),
        rate(kernel.gbs),
        bound.to_owned(),
        percent(kernel.share_of_limit),
        percent(kernel.share),
    ]
    .map(Cell::new)
}

fn limits(limits: &Limits) -> String {
    let f16 = limits.fma_f16_gflops.map_or(String::new(), |rate| format!(", f16 {} GFLOP/s", digits(rate)));
    let trip = limits.round_trip_seconds.map_or(String::new(), |s| format!(", round trip {}", seconds(s)));
    format!(
        "limits: f32 {} GFLOP/s{f16}\n        memory: read {}, write {}, copy {} GB/s ({:.0} MiB); cache: {} GB/s ({:.0} KiB)\n        \
         launch {}{trip}",
        digits(limits.fma_f32_gflops),
        digits(limits.read_gbs),
        digits(limits.write_gbs),
        digits(limits.copy_gbs),
        MemorySize(limits.memory_bytes).mebibytes(),
        digits(limits.cache_gbs),
        1024.0 * MemorySize(limits.cache_bytes).mebibytes(),
        seconds(limits.launch_seconds),
    )
}

/// A table that can be pasted into an issue or a README.
fn markdown() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table
}

/// Prints several machines' results side by side, and draws their chart.
pub(super) fn compared(files: &[PathBuf], chart: Option<&Path>) -> Result<()> {
    if let Some(chart) = chart {
        check_output(chart, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    }
    let read = |path: &PathBuf| Ok(Entrant::new(path, Report::read(path)?));
    let entrants = files.iter().map(read).collect::<Result<Vec<_>>>()?;
    for pair in entrants.windows(2) {
        if pair[0].report.benchmark == pair[1].report.benchmark && pair[0].workload() != pair[1].workload() {
            tracing::warn!(
                "{} ({}) and {} ({}) did different work",
                pair[0].label,
                pair[0].workload(),
                pair[1].label,
                pair[1].workload()
            );
        }
    }
    let mut text = String::new();
    for entrant in &entrants {
        let _ = writeln!(text, "{}: {}", entrant.label, entrant.describe());
        for warning in &entrant.report.warnings {
            let _ = writeln!(text, "  {warning}");
        }
    }
    let (measures, operators) = (measures(&entrants), operators(&entrants, OPERATORS));
    let _ = write!(text, "\n{}", side_by_side(&entrants, &measures));
    if !operators.is_empty() {
        let _ = write!(text, "\n\n{}", side_by_side(&entrants, &operators));
    }
    if let Some(chart) = chart {
        write_chart(chart, &entrants, &measures)?;
    }
    print_line(text)
}

fn side_by_side(entrants: &[Entrant], measures: &[Measure]) -> Table {
    let mut table = markdown();
    let header = ["", "unit"].map(str::to_owned).into_iter().chain(entrants.iter().map(|e| e.label.clone()));
    table.set_header(header);
    for measure in measures {
        let values = measure.values.iter().map(|value| value.map_or_else(|| "-".to_owned(), digits));
        table.add_row([measure.title.clone(), measure.unit.to_owned()].into_iter().chain(values));
    }
    for column in 2..entrants.len() + 2 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn seconds(value: f64) -> String {
    match value {
        v if v >= 1.0 => format!("{} s", digits(v)),
        v if v >= 1e-3 => format!("{} ms", digits(1e3 * v)),
        v => format!("{} us", digits(1e6 * v)),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!([2.0, 0.5, 0.002, 3e-6].map(seconds), ["2.00 s", "500 ms", "2.00 ms", "3.00 us"]);
    }
}
