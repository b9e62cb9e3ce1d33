//! Tables and the verdict.

use crate::onnx_runtime::Comparison;
use crate::operators::Row;
use crate::work::{Kind, Pass};

/// Our share of ONNX Runtime's time, at most.
pub const CPU_TARGET: f64 = 0.5;
/// How many times as fast as burn's each convolution must be, at least.
pub const CONVOLUTION_TARGET: f64 = 2.0;
/// The same for all convolutions together, weighted by how often the model has them.
pub const TOTAL_TARGET: f64 = 3.5;

/// The comparison on the CPU, as text.
pub fn cpu_table(c: &Comparison) -> String {
    let line = |name: &str, t: &crate::timing::Times| {
        format!("{name:<22} {:>8.3} {:>8.3} {:>8.3} {:>5}\n", t.median, t.least, t.most, t.runs)
    };
    format!(
        "One tile on the CPU, {} threads, seconds\n\n{:<22} {:>8} {:>8} {:>8} {:>5}\n{}{}\nratio {:.3}; probabilities differ by {:.1e} at most\n",
        c.threads,
        "engine",
        "median",
        "least",
        "most",
        "runs",
        line("glavitu", &c.ours),
        line(&format!("ONNX Runtime {}", c.onnx_runtime_version), &c.onnx_runtime),
        c.ratio(),
        c.largest_difference
    )
}

/// The table's heading.
pub fn operator_heading() -> String {
    format!(
        "{:<15} {:<30} {:>5} {:>8} {:>10} {:>8} {:>10} {:>8} {:>10} {:>8}",
        "pass", "shape", "count", "GFLOP", "ours ms", "GFLOP/s", "burn ms", "GFLOP/s", "burn/ours", "differ"
    )
}

/// One operator, as text.
pub fn operator_line(row: &Row) -> String {
    let rate = |seconds: f64| row.flop as f64 / seconds / 1e9;
    format!(
        "{:<15} {:<30} {:>5} {:>8.3} {:>10.2} {:>8.2} {:>10.2} {:>8.2} {:>10.2} {:>8.0e}{}",
        row.pass.name(),
        row.label,
        row.count,
        row.flop as f64 / 1e9,
        1e3 * row.ours.median,
        rate(row.ours.median),
        1e3 * row.burn.median,
        rate(row.burn.median),
        row.speedup(),
        row.difference,
        if row.burn_is_wrong { "  burn is wrong" } else { "" }
    )
}

/// Sums over rows, each as often as the model has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Total {
    pub ours: f64,
    pub burn: f64,
    pub flop: f64,
}

impl Total {
    /// How many times as long burn takes.
    pub fn speedup(self) -> f64 {
        self.burn / self.ours
    }
}

/// The sum over rows that `chosen` accepts; `None` if there is none.
pub fn total(rows: &[Row], chosen: impl Fn(&Row) -> bool) -> Option<Total> {
    let mut any = None;
    for row in rows.iter().filter(|row| chosen(row)) {
        let sum: &mut Total = any.get_or_insert_default();
        let count = row.count as f64;
        sum.ours += count * row.ours.median;
        sum.burn += count * row.burn.median;
        sum.flop += count * row.flop as f64;
    }
    any
}

/// Totals by kind and pass, as text.
pub fn totals_table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<32} {:>8} {:>9} {:>8} {:>9} {:>8} {:>10}\n",
        "total, weighted by count", "GFLOP", "ours s", "GFLOP/s", "burn s", "GFLOP/s", "burn/ours"
    );
    let mut line = |name: String, sum: Option<Total>| {
        let Some(sum) = sum else { return };
        text += &format!(
            "{name:<32} {:>8.1} {:>9.3} {:>8.2} {:>9.3} {:>8.2} {:>10.2}\n",
            sum.flop / 1e9,
            sum.ours,
            sum.flop / sum.ours / 1e9,
            sum.burn,
            sum.flop / sum.burn / 1e9,
            sum.speedup()
        );
    };
    for kind in Kind::ALL {
        for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
            line(format!("{}, {}", kind.name(), pass.name()), total(rows, |r| r.kind == kind && r.pass == pass));
        }
    }
    line("all convolutions".to_owned(), total(rows, |r| r.kind == Kind::Convolution));
    line("everything".to_owned(), total(rows, |_| true));
    text
}

/// Whether the targets hold, for those that were measured. `complete` tells whether all shapes were.
pub fn verdict(cpu: Option<&Comparison>, rows: &[Row], complete: bool) -> String {
    let word = |holds: bool| if holds { "holds" } else { "MISSED" };
    let mut parts = Vec::new();
    if let Some(c) = cpu {
        parts.push(format!(
            "CPU at most {CPU_TARGET} x ONNX Runtime: {} ({:.3})",
            word(c.ratio() <= CPU_TARGET),
            c.ratio()
        ));
    }
    let convolutions = || rows.iter().filter(|r| r.kind == Kind::Convolution);
    if let (Some(worst), Some(sum)) =
        (convolutions().map(Row::speedup).min_by(f64::total_cmp), total(rows, |r| r.kind == Kind::Convolution))
    {
        let slower = convolutions().filter(|r| r.speedup() < CONVOLUTION_TARGET).count();
        let failing = if slower == 0 { String::new() } else { format!(", {slower} below") };
        let partial = if complete { "" } else { ", not all shapes of the published size" };
        parts.push(format!(
            "each convolution at least {CONVOLUTION_TARGET} x burn: {} (least {worst:.2}{failing}{partial})",
            word(slower == 0)
        ));
        parts.push(format!(
            "all convolutions at least {TOTAL_TARGET} x burn: {} ({:.2}{partial})",
            word(sum.speedup() >= TOTAL_TARGET),
            sum.speedup()
        ));
    }
    format!("Targets: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::{total, verdict};
    use crate::operators::Row;
    use crate::timing::Times;
    use crate::work::{Kind, Pass};

    fn row(kind: Kind, count: usize, ours: f64, burn: f64) -> Row {
        let label = String::new();
        let [ours, burn] = [ours, burn].map(|t| Times::of(vec![t]));
        Row { kind, pass: Pass::Forward, label, count, flop: 1, ours, burn, difference: 0.0, burn_is_wrong: false }
    }

    #[test]
    fn totals_weigh_by_count() {
        let rows = [row(Kind::Convolution, 3, 1.0, 2.0), row(Kind::MatrixProduct, 1, 1.0, 10.0)];
        let convolutions = total(&rows, |r| r.kind == Kind::Convolution).expect("there is one");
        assert_eq!((convolutions.ours, convolutions.burn), (3.0, 6.0));
        assert_eq!(total(&rows, |_| true).map(|t| t.speedup()), Some(4.0));
        assert!(total(&rows, |r| r.kind == Kind::Attention).is_none());
    }

    #[test]
    fn the_verdict_names_what_is_missed() {
        let rows = [row(Kind::Convolution, 1, 1.0, 1.5), row(Kind::Convolution, 9, 1.0, 9.0)];
        let text = verdict(None, &rows, true);
        assert!(text.contains("MISSED (least 1.50, 1 below)"), "{text}");
        assert!(text.contains("holds (8.25)"), "{text}");
    }
}
