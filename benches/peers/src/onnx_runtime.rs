//! ONNX Runtime on the CPU, in a Python process of its own, against this engine's CPU executor.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use glavitu::cpu::CpuExecutor;
use glavitu::executor::{Arrays, Executor};
use glavitu::model::keras::{LocationKind, import_keras};
use glavitu::model::network::{inference_graph, input_name};
use glavitu::model::{Feature, Weights};
use glavitu::plan::PlanOptions;
use serde::{Deserialize, Serialize};

use crate::ours::uniform;
use crate::timing::{Times, by_turns, seconds};

/// Runs of each before any is timed.
const WARM_UP: usize = 2;
/// How far the probabilities of two correct engines may lie apart, both in f32 and this one with fast convolutions.
const LARGEST_DIFFERENCE: f32 = 1e-3;

/// The result of the comparison.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub onnx_runtime_version: String,
    pub threads: usize,
    pub ours: Times,
    pub onnx_runtime: Times,
    /// The largest difference between the two engines' probabilities.
    pub largest_difference: f32,
}

impl Comparison {
    /// Our time over theirs.
    pub fn ratio(&self) -> f64 {
        self.ours.median / self.onnx_runtime.median
    }
}

/// Times one inference of the same weights in both engines by turns.
///
/// # Errors
/// A file that cannot be read, a Python without ONNX Runtime, or results that differ.
pub fn compare(python: &Path, script: &Path, onnx: &Path, model: &Path, runs: usize) -> Result<Comparison> {
    let threads = available_parallelism().map_or(1, usize::from);
    let mut theirs = OnnxRuntime::start(python, script, onnx, threads)?;
    let features = theirs.features()?;
    let weights = load(model, &features)?;
    let graph = inference_graph(weights.config(), 1)?;
    let mut executor = CpuExecutor::new(&graph, &PlanOptions::default())?;
    executor.load(&weights)?;

    let mut state = 1;
    let mut inputs = Arrays::new();
    let directory = tempfile::tempdir()?;
    for feature in &features {
        let shape = &theirs.about.inputs[feature.name()];
        let count = shape.iter().product();
        // Normalised rasters lie between 0 and 1.
        let values: Vec<f32> = (0..count).map(|_| uniform(&mut state).abs()).collect();
        write_floats(&directory.path().join(format!("{feature}.f32")), &values)?;
        inputs.insert(input_name(*feature), values);
    }
    theirs.ask(&format!("load {}", directory.path().display()))?;

    let mut outputs = Arrays::new();
    for _ in 0..WARM_UP {
        outputs = executor.run(&inputs)?;
        theirs.run()?;
    }
    theirs.ask(&format!("save {}", directory.path().display()))?;
    let largest_difference = largest_difference(&theirs.about.outputs, &outputs, directory.path())?;
    let mut ours = || seconds(|| Ok(drop(executor.run(&inputs)?)));
    let [ours, onnx_runtime] = by_turns(runs, [&mut ours, &mut || theirs.run()])?;
    Ok(Comparison {
        onnx_runtime_version: theirs.about.version.clone(),
        threads,
        ours,
        onnx_runtime,
        largest_difference,
    })
}

fn load(model: &Path, features: &[Feature]) -> Result<Weights> {
    let keras = model.extension().is_some_and(|e| e == "h5");
    let weights = if keras { import_keras(model, features, &LocationKind::Guess) } else { Weights::load(model) }?;
    ensure!(
        weights.config().features == features,
        "{}: features {:?} where the ONNX file takes {features:?}",
        model.display(),
        weights.config().features
    );
    Ok(weights)
}

fn largest_difference(names: &[String], ours: &HashMap<String, Vec<f32>>, directory: &Path) -> Result<f32> {
    let mut largest: f32 = 0.0;
    for name in names {
        let theirs = read_floats(&directory.join(format!("{name}.f32")))?;
        let ours = ours.get(name).with_context(|| format!("the ONNX file's output '{name}' is none of the model's"))?;
        ensure!(ours.len() == theirs.len(), "{name}: {} values against {}", ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            // A NaN on either side is a difference too.
            let difference = (a - b).abs();
            largest = if difference <= largest { largest } else { difference };
        }
    }
    ensure!(
        largest <= LARGEST_DIFFERENCE,
        "the probabilities differ by up to {largest}, at most {LARGEST_DIFFERENCE} was expected: do both files hold the same weights?"
    );
    Ok(largest)
}

/// The Python process.
struct OnnxRuntime {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    about: About,
}

/// What the process says of its model.
#[derive(Debug, Default, Deserialize)]
struct About {
    version: String,
    inputs: BTreeMap<String, Vec<usize>>,
    outputs: Vec<String>,
}

impl OnnxRuntime {
    fn start(python: &Path, script: &Path, onnx: &Path, threads: usize) -> Result<Self> {
        ensure!(onnx.exists(), "{}: no such file; name an ONNX file with --onnx", onnx.display());
        let mut command = Command::new(python);
        command.arg(script).arg(onnx).arg("--threads").arg(threads.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot be run; name a Python with --python", python.display()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the Python process has no pipes")
        };
        let mut started = Self { child, stdin, stdout: BufReader::new(stdout), about: About::default() };
        let line = started.answer()?;
        started.about = serde_json::from_str(&line).with_context(|| format!("an unexpected answer: {line}"))?;
        Ok(started)
    }

    /// The inputs' features in the model's order.
    fn features(&self) -> Result<Vec<Feature>> {
        let known: Vec<Feature> =
            Feature::ALL.into_iter().filter(|f| self.about.inputs.contains_key(f.name())).collect();
        ensure!(
            known.len() == self.about.inputs.len(),
            "the ONNX file's inputs {:?} are not all features",
            self.about.inputs
        );
        Ok(known)
    }

    fn run(&mut self) -> Result<f64> {
        let seconds = self.ask("run")?;
        seconds.parse().with_context(|| format!("an unexpected answer: {seconds}"))
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.stdin, "{command}").context("the Python process has ended")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the Python process ended early ({}); see its messages above", self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_floats(path: &PathBuf, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn read_floats(path: &PathBuf) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
