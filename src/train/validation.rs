//! How good the weights are on tiles they do not learn from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::dataset::sampling::TileSet;
use crate::error::Result;
use crate::evaluate::confusion::Confusion;
use crate::evaluate::tile_pass::{PatchBatch, PatchPrediction, TilePass};
use crate::graph::Graph;
use crate::model::{Location, ModelConfig, Weights};
use crate::plan::PlanOptions;
use crate::train::log_file::{Losses, Validation};
use crate::train::objective::Objective;

/// Runs the inference graph over every consecutive patch.
#[derive(Debug)]
pub struct Validator {
    pass: TilePass,
    objective: Objective,
    has_regions: bool,
}

/// Counts by what they are counted for.
#[derive(Default)]
struct Counts {
    all: Confusion,
    known: Confusion,
    unknown: Confusion,
    regions: BTreeMap<String, Confusion>,
}

impl Validator {
    /// Plans the graph for a batch size.
    ///
    /// # Errors
    /// The device cannot run it.
    pub fn new(
        config: &ModelConfig,
        tiles: Arc<TileSet>,
        objective: &Objective,
        batch: usize,
        workers: usize,
        device: &str,
        options: &PlanOptions,
    ) -> Result<Self> {
        let has_regions = matches!(config.location, Location::Regions(_));
        let pass = TilePass::new(config, tiles, batch, workers, device, options)?;
        Ok(Self { pass, objective: objective.clone(), has_regions })
    }

    /// Bytes planned on the device.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.pass.planned_bytes()
    }

    /// Loss and IoU of some weights. With a region vector every patch counts twice, with its region and as `unknown`.
    ///
    /// `progress` is called with the number of batches done and of all; its error ends the work.
    ///
    /// # Errors
    /// A damaged tile file, a device that fails, an output that is not finite, or what `progress` returns.
    pub fn run(
        &mut self,
        weights: &Weights,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Validation> {
        let Self { pass, objective, has_regions } = self;
        let mut counts = Counts::default();
        for region in pass.tiles().regions() {
            counts.regions.insert(region, Confusion::default());
        }
        let (mut sums, mut samples) = (Losses::default(), 0);
        let mut add = |batch: &PatchBatch<'_>| {
            let losses = batch_losses(objective, batch)?;
            let n = as_f64(batch.len());
            sums.total += n * losses.total;
            sums.deep_supervision += n * losses.deep_supervision;
            sums.output += n * losses.output;
            samples += batch.len();
            batch.patches().try_for_each(|patch| counts.add(&patch))
        };
        pass.run(weights, &mut add, progress)?;
        let n = as_f64(samples.max(1));
        let only_with_regions = |counts: &Confusion| if *has_regions { counts.iou() } else { None };
        Ok(Validation {
            losses: Losses {
                total: sums.total / n,
                deep_supervision: sums.deep_supervision / n,
                output: sums.output / n,
            },
            iou: counts.all.iou(),
            iou_known: only_with_regions(&counts.known),
            iou_unknown: only_with_regions(&counts.unknown),
            regions: counts.regions.into_iter().map(|(region, counts)| (region, counts.iou())).collect(),
        })
    }
}

impl Counts {
    fn add(&mut self, patch: &PatchPrediction<'_>) -> Result<()> {
        let mut confusion = Confusion::default();
        confusion.add_labelled(patch.probabilities, patch.target)?;
        self.all.merge(&confusion);
        if patch.location_known { &mut self.known } else { &mut self.unknown }.merge(&confusion);
        self.regions.entry(patch.tile.region.clone()).or_default().merge(&confusion);
        Ok(())
    }
}

fn batch_losses(objective: &Objective, batch: &PatchBatch<'_>) -> Result<Losses> {
    let (first, second, target) = batch.arrays();
    let deep_supervision = if objective.deep_supervision > 0.0 {
        head_loss(objective, objective.deep_supervision, first, target)?
    } else {
        0.0
    };
    let output = head_loss(objective, 1.0, second, target)?;
    Ok(Losses { total: deep_supervision + output, deep_supervision, output })
}

/// A head's loss in f64, by the definitions of the operators that training minimises; they take logits, and logarithms of probabilities are some.
fn head_loss(objective: &Objective, weight: f64, probabilities: &[f32], target: &[f32]) -> Result<f64> {
    let mut graph = Graph::new();
    let shape = [1, 1, probabilities.len() / 2, 2];
    let inputs = [graph.input("logits", shape), graph.input("target", shape)];
    let loss = objective.append(&mut graph, inputs[0], inputs[1], weight)?;
    graph.output("loss", loss);
    let logits = probabilities.iter().map(|&p| libm::log(f64::from(p).max(1e-300))).collect();
    let values = HashMap::from([
        ("logits".to_owned(), logits),
        ("target".to_owned(), target.iter().map(|&t| f64::from(t)).collect()),
    ]);
    let outputs = graph.evaluate_reference(&values)?;
    Ok(outputs.get("loss").and_then(|v| v.first()).copied().unwrap_or(f64::NAN))
}

#[expect(clippy::cast_precision_loss, reason = "numbers of patches are far below 2^52")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn focal_loss_by_hand() {
        let objective = Objective::default();
        // Two labelled pixels and one without: -(0.2^2 ln 0.8) and -(0.9^2 ln 0.1), over three pixels.
        let loss = head_loss(&objective, 1.0, &[0.2, 0.8, 0.1, 0.9, 0.3, 0.7], &[0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let expected = -(0.04 * 0.8_f64.ln() + 0.81 * 0.1_f64.ln()) / 3.0;
        // The probabilities are f32.
        assert!((loss.expect("fits") - expected).abs() < 1e-7);
        // Wrong with certainty: clipped to 1e-7.
        let loss = head_loss(&objective, 0.5, &[1.0, 0.0], &[0.0, 1.0]).expect("fits");
        assert!((loss - 0.5 * (1.0 - 1e-7_f64).powi(2) * 1e7_f64.ln()).abs() < 1e-9, "{loss}");
    }
}
