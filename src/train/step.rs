//! Stand-in for the training step until the engine has one.

use crate::error::Result;
use crate::executor::Arrays;
use crate::model::{ModelConfig, Weights};
use crate::train::objective::{AdamSettings, Objective};

/// A step.
#[derive(Debug)]
pub struct TrainingStep {
    state: Option<TrainingState>,
}

/// Losses.
#[derive(Debug, Clone)]
pub struct StepLosses {
    /// Weighted.
    pub deep_supervision: f64,
    /// Output.
    pub output: f64,
    /// Sum.
    pub total: f64,
    /// Output head.
    pub probabilities: Vec<f32>,
}

/// State.
#[derive(Debug, Clone)]
pub struct TrainingState {
    /// Steps.
    pub step: u64,
    /// Weights.
    pub weights: Weights,
    /// First.
    pub moment1: Vec<f32>,
    /// Second.
    pub moment2: Vec<f32>,
}

#[expect(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "stub"
)]
impl TrainingStep {
    pub fn new(
        config: &ModelConfig,
        batch: usize,
        _objective: &Objective,
        _adam: &AdamSettings,
        _device: &str,
    ) -> Result<Self> {
        crate::model::network::inference_graph(config, batch)?;
        Ok(Self { state: None })
    }
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        let n = weights.tensors().iter().map(|(_, t)| t.data.len()).sum();
        self.state =
            Some(TrainingState { step: 0, weights: weights.clone(), moment1: vec![0.0; n], moment2: vec![0.0; n] });
        Ok(())
    }
    pub fn run(&mut self, batch: &Arrays, learning_rate: f64) -> Result<StepLosses> {
        let state = self.state.as_mut().unwrap();
        state.step += 1;
        let sum: f64 = batch["input.optical"].iter().map(|&v| f64::from(v)).sum();
        let w = &state.weights;
        let tensors: Vec<_> = w
            .tensors()
            .iter()
            .map(|(n, t)| {
                let mut t = t.clone();
                if n.ends_with("kernel") {
                    t.data
                        .iter_mut()
                        .for_each(|v| *v -= (learning_rate * f64::from(*v) + learning_rate * sum.sin()) as f32);
                }
                (n.clone(), t)
            })
            .collect();
        for (m, v) in state.moment1.iter_mut().zip(&tensors[0].1.data) {
            *m = *m * 0.9 + v * 0.1;
        }
        if sum.is_finite() {
            state.weights = Weights::new(w.config().clone(), w.normalisation().clone(), w.origin(), tensors)?;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        let output = if sum < 1e30 { 1.0 / (1.0 + state.step as f64) + sum.sin().abs() * 0.01 } else { f64::NAN };
        Ok(StepLosses {
            deep_supervision: output / 2.0,
            output,
            total: 1.5 * output,
            probabilities: batch["target"].clone(),
        })
    }
    pub fn weights(&mut self) -> Result<Weights> {
        Ok(self.state.as_ref().unwrap().weights.clone())
    }
    pub fn state(&mut self) -> Result<TrainingState> {
        Ok(self.state.clone().unwrap())
    }
    pub fn restore(&mut self, state: &TrainingState) -> Result<()> {
        self.state = Some(state.clone());
        Ok(())
    }
    pub fn first_non_finite(&mut self, _batch: &Arrays) -> Result<Option<String>> {
        Ok(Some("fusion.optical.conv1/conv2d".into()))
    }
    pub fn planned_bytes(&self) -> u64 {
        1
    }
    pub fn device(&self) -> String {
        "stub".into()
    }
}
