//! A model's predictions for tile files, patch by patch: what scores, validation and calibration are counted from.

use std::sync::Arc;

use crate::dataset::batches::{Prefetch, consecutive_batch, consecutive_batches};
use crate::dataset::sampling::{Patch, TileSet};
use crate::dataset::tile_file::TileInfo;
use crate::device;
use crate::error::{Error, Result};
use crate::executor::{Arrays, Executor};
use crate::model::network::{DEEP_SUPERVISION, OUTPUT, inference_graph};
use crate::model::{ModelConfig, Weights};
use crate::plan::PlanOptions;

/// Runs the inference graph over every consecutive patch of a set of tiles. Patches lie side by side and do not overlap.
pub struct TilePass {
    executor: Box<dyn Executor>,
    tiles: Arc<TileSet>,
    batch: usize,
    workers: usize,
}

/// The patches of one batch. With a region vector every patch comes twice: first with its region, then as `unknown`.
#[derive(Debug)]
pub struct PatchBatch<'a> {
    tiles: &'a TileSet,
    patches: &'a [Patch],
    location_known: &'a [bool],
    deep_supervision: &'a [f32],
    probabilities: &'a [f32],
    target: &'a [f32],
}

/// What is predicted for one patch, and what is there.
#[derive(Debug, Clone, Copy)]
pub struct PatchPrediction<'a> {
    /// Its tile.
    pub tile: &'a TileInfo,
    /// Where it lies: its tile's number in the set, its first row and column there.
    pub patch: Patch,
    /// False where the model was told that the region is unknown.
    pub location_known: bool,
    /// (other, glacier) of every pixel, row by row; (side, side, 2).
    pub probabilities: &'a [f32],
    /// Labels in the same order, one-hot; (0, 0) where nothing is known.
    pub target: &'a [f32],
}

impl TilePass {
    /// Plans the graph for a batch size. `workers` threads read ahead.
    ///
    /// # Errors
    /// The device cannot run it.
    pub fn new(
        config: &ModelConfig,
        tiles: Arc<TileSet>,
        batch: usize,
        workers: usize,
        device: &str,
        options: &PlanOptions,
    ) -> Result<Self> {
        let executor = device::executor(device, &inference_graph(config, batch)?, options)?;
        Ok(Self { executor, tiles, batch, workers })
    }

    /// The tiles.
    #[must_use]
    pub fn tiles(&self) -> &TileSet {
        &self.tiles
    }

    /// Bytes planned on the device.
    #[must_use]
    pub fn planned_bytes(&self) -> u64 {
        self.executor.plan().peak_bytes()
    }

    /// Calls `each` for every batch, in order, and `progress` with the number of batches done and of all.
    ///
    /// # Errors
    /// A damaged tile file, a device that fails, an output that is not finite, or what the two return.
    pub fn run(
        &mut self,
        weights: &Weights,
        each: &mut dyn FnMut(&PatchBatch<'_>) -> Result<()>,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        self.executor.load(weights)?;
        let (tiles, batch) = (Arc::clone(&self.tiles), self.batch);
        let count = consecutive_batches(&tiles, batch);
        let batches =
            Prefetch::new(0..count, self.workers, 2 * self.workers, move |i| consecutive_batch(&tiles, batch, i))?;
        for (done, batch) in batches.enumerate() {
            let batch = batch?;
            let outputs = self.executor.run(&batch.arrays)?;
            // A last batch is filled up with samples that do not count.
            let counted = |arrays: &Arrays, name: &str| -> Vec<f32> {
                let values = arrays.get(name).map(Vec::as_slice).unwrap_or_default();
                values[..values.len() / self.batch * batch.samples].to_vec()
            };
            let (first, second) = (counted(&outputs, DEEP_SUPERVISION), counted(&outputs, OUTPUT));
            if let Some(bad) = first.iter().chain(&second).find(|v| !v.is_finite()) {
                return Err(Error::bad_argument(
                    format!("{bad} in a prediction for a patch of a tile"),
                    "finite predictions",
                    "look for extreme values in the tile files; if it happens in training, lower the learning rate",
                ));
            }
            each(&PatchBatch {
                tiles: &self.tiles,
                patches: &batch.patches,
                location_known: &batch.location_known,
                deep_supervision: &first,
                probabilities: &second,
                target: &counted(&batch.arrays, "target"),
            })?;
            progress(done + 1, count)?;
        }
        Ok(())
    }
}

impl<'a> PatchBatch<'a> {
    /// How many patches there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.patches.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// The patches, one by one.
    pub fn patches(&self) -> impl Iterator<Item = PatchPrediction<'a>> {
        let values = self.target.len() / self.patches.len().max(1);
        let arrays = self.probabilities.chunks_exact(values.max(1)).zip(self.target.chunks_exact(values.max(1)));
        let tiles = self.tiles;
        self.patches.iter().zip(self.location_known).zip(arrays).map(
            move |((&patch, &location_known), (probabilities, target))| PatchPrediction {
                tile: &tiles.tiles()[patch.tile],
                patch,
                location_known,
                probabilities,
                target,
            },
        )
    }

    /// Probabilities of the first head (deep supervision), of the second (the output), and labels, of all patches: (patches, side, side, 2).
    #[must_use]
    pub fn arrays(&self) -> (&'a [f32], &'a [f32], &'a [f32]) {
        (self.deep_supervision, self.probabilities, self.target)
    }
}

impl std::fmt::Debug for TilePass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TilePass").field("batch", &self.batch).finish_non_exhaustive()
    }
}
