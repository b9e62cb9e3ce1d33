//! Several machines' reports side by side.

use std::path::Path;

use super::report::{Benchmark, Report};

/// A report with the name it is shown by.
#[derive(Debug, Clone, PartialEq)]
pub struct Entrant {
    /// The file's name without extension.
    pub label: String,
    /// What it holds.
    pub report: Report,
}

/// One number of each machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// What it is.
    pub title: String,
    /// Its unit.
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// One value a machine, in their order; none where it was not measured.
    pub values: Vec<Option<f64>>,
}

impl Entrant {
    /// A report that was read from a file.
    #[must_use]
    pub fn new(path: &Path, report: Report) -> Self {
        Self { label: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), report }
    }

    /// Device and work in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let device = self.report.device.describe();
        match self.report.benchmark {
            Benchmark::Model | Benchmark::Train => format!("{device}; {}", self.workload()),
            Benchmark::Kernels | Benchmark::Limits => device,
        }
    }

    /// What the network was: numbers of different networks do not compare.
    #[must_use]
    pub fn workload(&self) -> String {
        let s = &self.report.settings;
        let exact = if s.exact { ", exact" } else { "" };
        let bound = s.max_memory_bytes.map_or(String::new(), |bytes| format!(", within {} MiB", bytes >> 20));
        format!("{}, {} x {} pixels, batch {}, {}{exact}{bound}", s.size, s.tile, s.tile, s.batch, s.precision)
    }
}

type Value = fn(&Report) -> Option<f64>;

/// What at least one of the machines has measured.
#[must_use]
pub fn measures(entrants: &[Entrant]) -> Vec<Measure> {
    let all: [(&str, &'static str, bool, Value); 12] = [
        ("Forward pass", "ms", false, |r| Some(1e3 * r.forward.as_ref()?.timing.median_seconds)),
        ("Forward pass, kernels alone", "ms", false, |r| Some(1e3 * r.forward.as_ref()?.kernel_seconds)),
        ("Training step", "ms", false, |r| Some(1e3 * r.train_step.as_ref()?.timing.median_seconds)),
        ("Training step, kernels alone", "ms", false, |r| Some(1e3 * r.train_step.as_ref()?.kernel_seconds)),
        ("Arithmetic limit, f32", "GFLOP/s", true, |r| Some(r.limits.fma_f32_gflops)),
        ("Arithmetic limit, f16", "GFLOP/s", true, |r| r.limits.fma_f16_gflops),
        ("Memory: read", "GB/s", true, |r| Some(r.limits.read_gbs)),
        ("Memory: write", "GB/s", true, |r| Some(r.limits.write_gbs)),
        ("Memory: copy", "GB/s", true, |r| Some(r.limits.copy_gbs)),
        ("Cache: read", "GB/s", true, |r| Some(r.limits.cache_gbs)),
        ("Launch", "us", false, |r| Some(1e6 * r.limits.launch_seconds)),
        ("Round trip", "us", false, |r| Some(1e6 * r.limits.round_trip_seconds?)),
    ];
    all.into_iter()
        .map(|(title, unit, more_is_better, value)| {
            let values = entrants.iter().map(|e| value(&e.report)).collect();
            Measure { title: title.to_owned(), unit, more_is_better, values }
        })
        .filter(|measure| measure.values.iter().any(Option::is_some))
        .collect()
}

/// Times of the operators of the runs, or of the cases where operators ran alone, those that take most first; at most `count`.
#[must_use]
pub fn operators(entrants: &[Entrant], count: usize) -> Vec<Measure> {
    let key = |k: &super::breakdown::KernelTime| match &k.inputs {
        Some(inputs) => format!("{} of {inputs}", k.operator),
        None => k.operator.clone(),
    };
    let sums: Vec<Vec<(String, f64)>> = entrants
        .iter()
        .map(|entrant| {
            let mut sums: Vec<(String, f64)> = Vec::new();
            for kernel in &entrant.report.kernels {
                let key = key(kernel);
                match sums.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, seconds)) => *seconds += kernel.seconds,
                    None => sums.push((key, kernel.seconds)),
                }
            }
            sums
        })
        .collect();
    let of = |sums: &[(String, f64)], name: &str| sums.iter().find(|(n, _)| n == name).map(|(_, s)| 1e3 * s);
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in sums.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let measure = |name: &&String| Measure {
        title: (*name).clone(),
        unit: "ms",
        more_is_better: false,
        values: sums.iter().map(|sums| of(sums, name)).collect(),
    };
    let mut measures: Vec<Measure> = names.iter().map(measure).collect();
    let largest = |m: &Measure| m.values.iter().flatten().copied().fold(0.0, f64::max);
    measures.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
    measures.truncate(count);
    measures
}
