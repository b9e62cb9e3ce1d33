//! How good the weights are on tiles they do not learn from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::dataset::batches::{Batch, Prefetch, consecutive_batch, consecutive_batches};
use crate::dataset::sampling::TileSet;
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::confusion::Confusion;
use crate::executor::Executor;
use crate::graph::Graph;
use crate::model::network::{DEEP_SUPERVISION, OUTPUT, inference_graph};
use crate::model::{Location, ModelConfig, Weights};
use crate::plan::PlanOptions;
use crate::train::log_file::{Losses, Validation};
use crate::train::objective::Objective;

/// Runs the inference graph over every consecutive patch.
pub struct Validator {
    executor: Box<dyn Executor>,
    tiles: Arc<TileSet>,
    objective: Objective,
    batch: usize,
    workers: usize,
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
        let executor = device::executor(device, &inference_graph(config, batch)?, options)?;
        let has_regions = matches!(config.location, Location::Regions(_));
        Ok(Self { executor, tiles, objective: objective.clone(), batch, workers, has_regions })
    }

    /// Bytes planned on the device.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.executor.plan().peak_bytes()
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
        self.executor.load(weights)?;
        let (tiles, batch) = (Arc::clone(&self.tiles), self.batch);
        let count = consecutive_batches(&tiles, batch);
        let batches =
            Prefetch::new(0..count, self.workers, 2 * self.workers, move |i| consecutive_batch(&tiles, batch, i))?;
        let mut counts = Counts::default();
        for region in self.tiles.regions() {
            counts.regions.insert(region, Confusion::default());
        }
        let (mut sums, mut samples) = (Losses::default(), 0);
        for (done, batch) in batches.enumerate() {
            let batch = batch?;
            let losses = self.batch(&batch, &mut counts)?;
            let n = as_f64(batch.samples);
            sums.total += n * losses.total;
            sums.deep_supervision += n * losses.deep_supervision;
            sums.output += n * losses.output;
            samples += batch.samples;
            progress(done + 1, count)?;
        }
        let n = as_f64(samples.max(1));
        let only_with_regions = |counts: &Confusion| if self.has_regions { counts.iou() } else { None };
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

    fn batch(&mut self, batch: &Batch, counts: &mut Counts) -> Result<Losses> {
        let outputs = self.executor.run(&batch.arrays)?;
        let of = |arrays: &'_ crate::executor::Arrays, name: &str| -> Vec<f32> {
            let values = arrays.get(name).map(Vec::as_slice).unwrap_or_default();
            // A last batch is filled up with samples that do not count.
            values[..values.len() / self.batch * batch.samples].to_vec()
        };
        let (first, second, target) =
            (of(&outputs, DEEP_SUPERVISION), of(&outputs, OUTPUT), of(&batch.arrays, "target"));
        if let Some(bad) = first.iter().chain(&second).find(|v| !v.is_finite()) {
            return Err(Error::bad_argument(
                format!("{bad} in a prediction for a validation patch"),
                "finite predictions",
                "lower the learning rate, or look for extreme values in the validation files",
            ));
        }
        let per_sample = target.len() / batch.samples.max(1);
        for (sample, (region, known)) in batch.regions.iter().zip(&batch.location_known).enumerate() {
            let range = sample * per_sample..(sample + 1) * per_sample;
            let mut confusion = Confusion::default();
            count_labelled(&mut confusion, &second[range.clone()], &target[range])?;
            counts.all.merge(&confusion);
            if *known { &mut counts.known } else { &mut counts.unknown }.merge(&confusion);
            counts.regions.entry(region.clone()).or_default().merge(&confusion);
        }
        let deep_supervision = if self.objective.deep_supervision > 0.0 {
            head_loss(&self.objective, self.objective.deep_supervision, &first, &target)?
        } else {
            0.0
        };
        let output = head_loss(&self.objective, 1.0, &second, &target)?;
        Ok(Losses { total: deep_supervision + output, deep_supervision, output })
    }
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

/// Counts the labelled pixels of some samples. Both slices are (pixels, 2); a class is the larger of the two, class 0 where they are equal.
/// Unlabelled pixels, (0, 0) in the target, do not count.
///
/// # Errors
/// The slices differ in length.
pub(super) fn count_labelled(counts: &mut Confusion, probabilities: &[f32], target: &[f32]) -> Result<()> {
    if probabilities.len() != target.len() || !target.len().is_multiple_of(2) {
        return Err(Error::bad_argument(
            format!("{} probabilities for {} labels", probabilities.len(), target.len()),
            "two of each for every pixel",
            "pass arrays of the same shape",
        ));
    }
    for (p, t) in probabilities.as_chunks::<2>().0.iter().zip(target.as_chunks::<2>().0) {
        if *t != [0.0, 0.0] {
            counts.add(p[1] > p[0], t[1] > t[0]);
        }
    }
    Ok(())
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validator").field("batch", &self.batch).finish_non_exhaustive()
    }
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

    #[test]
    fn unlabelled_pixels_and_ties() {
        let mut counts = Confusion::default();
        let target = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.05, 0.95, 1.0, 0.0];
        let found = [0.2, 0.8, 0.5, 0.5, 0.1, 0.9, 0.6, 0.4, 0.3, 0.7];
        count_labelled(&mut counts, &found, &target).expect("equal lengths");
        assert_eq!(counts, Confusion { tp: 1, fp: 1, fn_: 1, tn: 1 });
        assert!(count_labelled(&mut counts, &found, &target[..8]).is_err());
        assert!(count_labelled(&mut counts, &found[..1], &target[..1]).is_err());
    }
}
