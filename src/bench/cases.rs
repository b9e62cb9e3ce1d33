//! Every operator of the registry alone, on its cases.

use std::hint::black_box;
use std::time::Instant;

use super::Watch;
use super::breakdown::KernelTime;
use super::limits::Limits;
use super::statistics::{Sampling, Timing, ratio, sample};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::single::SingleOperator;
use crate::graph::Shapes;
use crate::ops::{Case, Entry, REGISTRY};

/// The entries of the registry that names mean: an operator's, or that of a kernel it may launch. All without names.
///
/// # Errors
/// A name that nothing has, with those that are like it.
pub fn entries(names: &[String]) -> Result<Vec<&'static Entry>> {
    let has = |entry: &Entry, name: &str| entry.name == name || entry.kernels.iter().any(|k| k.name == name);
    for name in names {
        if !REGISTRY.iter().any(|entry| has(entry, name)) {
            let known = || REGISTRY.iter().flat_map(|e| e.kernels.iter().map(|k| k.name).chain([e.name]));
            return Err(Error::bad_argument(
                format!("kernel '{name}'"),
                "an operator or one of its kernels",
                format!("did you mean {}?", alike(name, known()).join(", ")),
            ));
        }
    }
    Ok(REGISTRY.iter().filter(|entry| names.is_empty() || names.iter().any(|name| has(entry, name))).collect())
}

/// The three names most like `name`: those that contain it, then those that fewest changes of a letter turn into it.
#[must_use]
pub fn alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    known.sort_by_key(|other| (!(other.contains(&name) || name.contains(other)), changes(&name, other)));
    known.truncate(3);
    known
}

/// Letters to insert, remove or replace to get from one word to another (Levenshtein 1966).
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let replaced = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}

/// Where operators run alone.
#[derive(Debug, Clone, Copy)]
pub enum Runner<'a> {
    /// Natively.
    Cpu,
    /// On a GPU.
    Gpu(&'a Gpu),
}

/// Times the cases of `entries`: those of the published model's size, or with `small` the odd ones that tests run.
///
/// # Errors
/// A device that fails, or what `watch` returns. A case that the device has no memory or limit for is left out, with a warning.
pub fn time(
    entries: &[&Entry],
    small: bool,
    runner: Runner<'_>,
    sampling: Sampling,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<Vec<KernelTime>> {
    let mut rows = Vec::new();
    for entry in entries {
        for case in (entry.cases)().iter().filter(|case| case.published_size != small) {
            let shapes = case.shapes()?;
            let inputs = shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("{} of {inputs}", entry.name);
            let timed = match runner {
                Runner::Cpu => on_cpu(case, &shapes, sampling, &what, watch),
                Runner::Gpu(gpu) => on_gpu(gpu, case, &shapes, sampling, &what, watch),
            };
            match timed {
                Ok((kernels, seconds)) => {
                    let timing = Timing::of(&seconds);
                    let cost = case.operator.cost(&shapes);
                    let row = KernelTime::new(entry.name, kernels, 1, timing.median_seconds, cost, limits);
                    rows.push(KernelTime { inputs: Some(inputs), spread: Some(timing.spread), ..row });
                }
                Err(error @ (Error::DeviceLimit { .. } | Error::OutOfMemory { .. })) => {
                    tracing::warn!("{what} is left out: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }
    let whole: f64 = rows.iter().map(|row| row.seconds).sum();
    rows.iter_mut().for_each(|row| row.share = ratio(row.seconds, whole));
    Ok(rows)
}

/// Kernels and seconds of every run.
type Timed = (Vec<String>, Vec<f64>);

fn on_cpu(case: &Case, shapes: &Shapes, sampling: Sampling, what: &str, watch: Watch<'_>) -> Result<Timed> {
    let data = case.values(1);
    let inputs: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
    let mut results: Vec<Vec<f32>> = shapes.outputs.iter().map(|shape| vec![0.0; shape.elements()]).collect();
    let mut scratch = vec![0.0; case.operator.cpu_scratch(shapes)];
    let seconds = sample(sampling, what, watch, || {
        let mut outputs: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
        let begin = Instant::now();
        case.operator.compute(shapes, black_box(&inputs), &mut outputs, &mut scratch);
        Ok(begin.elapsed().as_secs_f64())
    })?;
    Ok((Vec::new(), seconds))
}

fn on_gpu(gpu: &Gpu, case: &Case, shapes: &Shapes, sampling: Sampling, what: &str, watch: Watch<'_>) -> Result<Timed> {
    watch(what)?;
    let single = SingleOperator::new(gpu, case.operator.as_ref(), shapes, 0)?;
    single.write(&case.values(1));
    let seconds = sample(sampling, what, watch, || Ok(single.time()?.seconds.iter().sum()))?;
    Ok((single.kernels().into_iter().map(str::to_owned).collect(), seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operators_and_kernels_are_understood() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            entries(&names).map(|found| found.iter().map(|e| e.name).collect::<Vec<_>>())
        };
        assert_eq!(named(&["gelu"]).ok(), Some(vec!["gelu"]));
        assert_eq!(named(&["softmax_wide", "gelu"]).ok(), Some(vec!["gelu", "softmax"]));
        assert_eq!(named(&[]).ok().map(|all| all.len()), Some(REGISTRY.len()));
        let message = named(&["conv2"]).expect_err("no such kernel").to_string();
        assert!(message.contains("did you mean conv2d,"), "{message}");
        let message = named(&["gleu"]).expect_err("no such kernel").to_string();
        assert!(message.contains("gelu"), "{message}");
    }

    #[test]
    fn changes_of_letters_are_counted() {
        for (a, b, count) in [("", "", 0), ("add", "add", 0), ("ad", "add", 1), ("gleu", "gelu", 2), ("", "abc", 3)] {
            assert_eq!((changes(a, b), changes(b, a)), (count, count), "{a} {b}");
        }
    }
}
