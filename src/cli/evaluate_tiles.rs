//! `glavitu evaluate --dataset`: how good a model is on tile files with labels.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::device_args::DeviceArgs;
use crate::cli::print_line;
use crate::dataset::sampling::{Selection, TileSet};
use crate::model::Weights;
use crate::train::Objective;
use crate::train::validation::Validator;

/// Patches computed at a time, and threads that read them.
const BATCH: usize = 4;
const WORKERS: usize = 2;

/// Prints the IoU of glaciers, overall and by region.
///
/// Patches lie side by side and do not overlap, as in the validation of a training run. Pixels without a label do not count. A model with a
/// region vector meets every patch twice: with its region, and without.
///
/// # Errors
/// Files that do not fit the model, or a device that fails.
pub(super) fn run(model: &PathBuf, dataset: &[PathBuf], device: &DeviceArgs, as_json: bool) -> Result<()> {
    let weights = Weights::load(model)?;
    let config = weights.config();
    let selection =
        Selection { tile: config.tile, location: config.location.clone(), ..Selection::new(config.features.clone()) };
    let tiles = Arc::new(TileSet::open(dataset, &selection)?);
    let (count, patches) = (tiles.tiles().len(), tiles.patches());
    let mut validator =
        Validator::new(config, tiles, &Objective::default(), BATCH, WORKERS, &device.device, &device.options())?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} batches, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let found = validator.run(&weights, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    if as_json {
        let regions: serde_json::Map<String, Value> =
            found.regions.iter().map(|(region, iou)| (region.clone(), json!(iou))).collect();
        return print_line(format_args!(
            "{:#}",
            json!({
                "model": model,
                "parameters_sha256": weights.parameters_sha256(),
                "dataset": dataset,
                "tiles": count,
                "patches": patches,
                "iou": found.iou,
                "regions": regions,
            })
        ));
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["region", "IoU"]);
    let text = |iou: Option<f64>| iou.map_or_else(|| "no glacier".to_owned(), |iou| format!("{iou:.3}"));
    for (region, iou) in &found.regions {
        table.add_row([region.clone(), text(*iou)]);
    }
    table.add_row(["all".to_owned(), text(found.iou)]);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print_line(table)?;
    print_line(format_args!("{count} tiles, {patches} patches of {0} x {0} pixels.", config.tile))
}
