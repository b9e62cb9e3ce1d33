//! The registry's cases that launch a kernel, run on a device and held against the CPU and the definition.

use std::collections::BTreeSet;

use crate::cpu;
use crate::error::Result;
use crate::gpu::prelude::Form;
use crate::gpu::single::{SENTINEL, SingleOperator};
use crate::gpu::{Gpu, kernel};
use crate::graph::{Caps, Shapes, Storage};
use crate::ops::case_values::nmse;
use crate::ops::{Case, REGISTRY};

/// Sentinels after every output.
const TAIL: usize = 256;

/// A case of the registry.
#[derive(Debug)]
pub(super) struct Trial {
    /// The operator's name.
    pub(super) operator: &'static str,
    /// Its place among the operator's cases.
    pub(super) index: usize,
    /// The operator's way of computing it; empty for the usual one.
    pub(super) way: &'static str,
    /// The case.
    pub(super) case: Case,
    /// Its shapes.
    pub(super) shapes: Shapes,
    /// The capabilities that choose the way.
    caps: Caps,
}

/// What a case came to.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The largest NMSE of the outputs against the f64 definition; `None` for cases of the published size, which it takes too long for.
    pub(super) against_definition: Option<f64>,
    /// The largest NMSE against the CPU.
    pub(super) against_cpu: f64,
    /// What is wrong, if anything.
    pub(super) fault: Option<String>,
}

/// The cases, in the registry's order, that launch one of `kernels` on a device of these capabilities.
///
/// A case comes once for each of the operator's ways, where they launch different kernels.
///
/// # Errors
/// A case that the device's limits do not allow.
pub(super) fn trials(kernels: &BTreeSet<&str>, caps: &Caps, wanted: impl Fn(&Case) -> bool) -> Result<Vec<Trial>> {
    let mut made = Vec::new();
    for entry in REGISTRY.iter().filter(|entry| entry.kernels.iter().any(|k| kernels.contains(k.name))) {
        for (index, case) in (entry.cases)().into_iter().enumerate().filter(|(_, case)| wanted(case)) {
            let shapes = case.shapes()?;
            for (way, caps) in case.ways(&shapes, caps)? {
                let launches = case.operator.launches(&shapes, &caps)?;
                if launches.iter().any(|launch| kernels.contains(launch.kernel.name)) {
                    let (case, shapes) = (case.clone(), shapes.clone());
                    made.push(Trial { operator: entry.name, index, way, case, shapes, caps });
                }
            }
        }
    }
    Ok(made)
}

impl Trial {
    /// The case in words.
    pub(super) fn label(&self) -> String {
        let shapes = self.shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let comma = if self.way.is_empty() { "" } else { ", " };
        format!("{} case {}{comma}{}: {shapes}", self.operator, self.index, self.way)
    }

    /// The device as this case takes it.
    pub(super) fn device(&self, gpu: &Gpu) -> Gpu {
        let mut gpu = gpu.clone();
        gpu.caps = self.caps.clone();
        gpu
    }

    /// Seeded inputs.
    pub(super) fn inputs(&self) -> Vec<Vec<f32>> {
        self.case.values(self.index as u64)
    }

    /// Holds the kernels' interfaces against the launches.
    ///
    /// # Errors
    /// A kernel that does not compile or does not fit, with file and line.
    pub(super) fn check_interface(&self, gpu: &Gpu) -> Result<()> {
        for launch in self.case.operator.launches(&self.shapes, &self.caps)? {
            kernel::check(&launch, Form::of(&launch, Storage::F32, &self.caps), &gpu.changed_kernels)?;
        }
        Ok(())
    }

    /// Runs the case once on the device, outputs NaN before and followed by sentinels, and judges what it gives.
    ///
    /// # Errors
    /// A kernel that does not compile, or a device that fails.
    pub(super) fn run(&self, gpu: &Gpu) -> Result<Verdict> {
        let (gpu, inputs) = (self.device(gpu), self.inputs());
        let single = SingleOperator::new(&gpu, self.case.operator.as_ref(), &self.shapes, TAIL)?;
        single.write(&inputs);
        single.run()?;
        let found = single.read()?;
        let on_cpu = cpu::single::outputs(self.case.operator.as_ref(), &self.shapes, &inputs);
        let definition = (!self.case.published_size).then(|| self.case.reference(&self.shapes, &inputs));
        Ok(self.judge(&found, &on_cpu, definition.as_deref()))
    }

    fn judge(&self, found: &[Vec<f32>], on_cpu: &[Vec<f32>], definition: Option<&[Vec<f64>]>) -> Verdict {
        let mut verdict = Verdict { against_definition: definition.map(|_| 0.0), against_cpu: 0.0, fault: None };
        for (o, (found, on_cpu)) in found.iter().zip(on_cpu).enumerate() {
            let (values, after) = found.split_at(found.len().saturating_sub(TAIL));
            let wide: Vec<f64> = on_cpu.iter().copied().map(f64::from).collect();
            let against_cpu = nmse(values, &wide);
            verdict.against_cpu = verdict.against_cpu.max(against_cpu);
            let error = match definition {
                Some(definition) => nmse(values, &definition[o]),
                None => against_cpu,
            };
            verdict.against_definition = verdict.against_definition.map(|worst| worst.max(error));
            let fault = if let Some(i) = values.iter().position(|x| !x.is_finite()) {
                Some(format!("output {o}: element {i} is {}", values[i]))
            } else if let Some(i) = after.iter().position(|&x| x != SENTINEL) {
                Some(format!("output {o}: {} written {i} elements after the end", after[i]))
            } else if error > self.case.tolerance {
                Some(format!("output {o}: NMSE {error:.1e} above {:.0e}", self.case.tolerance))
            } else {
                None
            };
            verdict.fault = verdict.fault.take().or(fault);
        }
        verdict
    }
}
