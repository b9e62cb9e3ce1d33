//! The network over a whole scene.

use crate::error::Result;
use crate::executor::{Arrays, Executor};
use crate::infer::blend::Blend;
use crate::infer::postprocess::GLACIER;
use crate::infer::scene::Scene;
use crate::infer::tiles::{TileWindow, Tiling};
use crate::model::network::{LOCATION, OUTPUT, input_name};
use crate::model::{ModelConfig, Normalisation};

/// Classes of the network's output.
const CLASSES: usize = 2;

/// Glacier probability of every pixel of the scene, row by row, also where the scene has no data and the network saw filled gaps.
///
/// `executor` holds the network for batches of `batch` tiles, with its weights loaded. `progress` is told the number of tiles done after each
/// batch; its error ends the work.
///
/// # Errors
/// Input that is not finite, a device that fails, or what `progress` returns.
pub fn predict(
    executor: &mut dyn Executor,
    config: &ModelConfig,
    normalisation: &Normalisation,
    batch: usize,
    location: &[f32],
    scene: &Scene,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let tiling = Tiling::new(scene.grid().height, scene.grid().width, config.tile)?;
    let mut blend = Blend::new(tiling, CLASSES, usize::from(GLACIER))?;
    let windows: Vec<TileWindow> = tiling.windows().collect();
    let pixels = config.tile * config.tile;
    let mut inputs: Arrays =
        config.features.iter().map(|f| (input_name(*f), vec![0.0; batch * pixels * f.channels()])).collect();
    if config.location_size() > 0 {
        inputs.insert(LOCATION.to_owned(), location.repeat(batch));
    }
    let mut done = 0;
    for group in windows.chunks(batch) {
        // Shapes are static: a shorter last group leaves old tiles in the rest of the batch, whose results are not used.
        for (sample, &window) in group.iter().enumerate() {
            let read = scene.read_tile(&tiling, window)?;
            for &feature in &config.features {
                let Some(input) = inputs.get_mut(&input_name(feature)) else { continue };
                let size = pixels * feature.channels();
                let out = &mut input[sample * size..(sample + 1) * size];
                read.fill_tile(feature, normalisation, &tiling, window, out)?;
            }
        }
        let outputs = executor.run(&inputs)?;
        let probabilities = outputs.get(OUTPUT).map(Vec::as_slice).unwrap_or_default();
        for (&window, tile) in group.iter().zip(probabilities.chunks_exact(pixels * CLASSES)) {
            blend.add(window, tile)?;
        }
        done += group.len();
        progress(done)?;
    }
    blend.finish()
}
