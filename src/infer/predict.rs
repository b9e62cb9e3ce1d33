//! The network over a scene, one row of windows at a time.
//!
//! Three threads work beside the one that computes: one reads the next part of the scene, one makes network input of the present part, one blends
//! and appends complete rows to the [`Spool`]. A part is as high as a tile and as wide as [`Network::part_bytes`] allow. What is held is two parts, a few batches, and the
//! rows that are not complete.
//!
//! Batches are formed within one part of a row of windows, of the windows that have a valid pixel. So the same batches are computed, in the same order, whether or not
//! the run was interrupted in between.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use rayon::prelude::*;

use crate::error::Result;
use crate::executor::{Arrays, Executor};
use crate::infer::blend::Blend;
use crate::infer::extent::Extent;
use crate::infer::postprocess::GLACIER;
use crate::infer::scene::{Scene, SceneWindow};
use crate::infer::spool::Spool;
use crate::infer::tiles::{TileWindow, Tiling};
use crate::model::network::{LOCATION, OUTPUT, input_name};
use crate::model::{ModelConfig, Normalisation};
use crate::raster::Window;

/// Classes of the network's output.
const CLASSES: usize = 2;

/// Batches that may wait for the device, and results that may wait for the disk.
const WAITING: usize = 2;

/// Little beside the network, and enough to read on while the fastest devices compute.
pub const PART_BYTES: usize = 96 << 20;

/// What an executor runs.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// The model's sizes.
    pub config: &'a ModelConfig,
    /// What makes its input of physical values.
    pub normalisation: &'a Normalisation,
    /// Tiles of one run.
    pub batch: usize,
    /// Where the scene lies; see [`crate::infer::location`].
    pub location: &'a [f32],
    /// A part of the scene that is read at a time holds no more bytes of values than this, unless one batch needs more; usually [`PART_BYTES`].
    pub part_bytes: usize,
}

/// What became of the windows of a scene, those of earlier runs not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Windows that the network saw.
    pub computed: usize,
    /// Windows without a valid pixel.
    pub skipped: usize,
}

/// A part of the extent, as high as a tile.
struct Part {
    /// Where it lies in the extent.
    place: Window,
    /// Placed relative to the extent.
    windows: Vec<TileWindow>,
    /// Whether its row of windows ends here.
    is_last: bool,
    /// What the windows show of the scene, around the extent too.
    scene: SceneWindow,
    valid: Vec<bool>,
}

/// What is to be done for a row of windows, in this order, the first two for every part.
enum Step {
    Begin { place: Window, valid: Vec<bool>, skipped: Vec<TileWindow> },
    Compute { windows: Vec<TileWindow>, inputs: Arrays },
    End,
}

/// What is to be blended.
enum Outcome {
    Begin { place: Window, valid: Vec<bool>, skipped: Vec<TileWindow> },
    Computed { windows: Vec<TileWindow>, probabilities: Vec<f32> },
    End,
}

/// Appends the glacier probability of every row of the extent that `spool` does not have yet; also where the scene has no data and the network saw filled
/// gaps. Windows are those of the whole scene, so a part of it is mapped as it is in a map of the whole. Windows without a valid pixel are left out of the average; pixels that no other window covers get 0.
///
/// `executor` holds the network for batches of `network.batch` tiles, with its weights loaded. `progress` is told the number of windows done, of all
/// windows of the extent; its error ends the work. What was complete before an error is in the spool, and saved if the disk allows.
///
/// # Errors
/// Input that is not finite, a device that fails, a full disk, or what `progress` returns.
pub fn predict(
    executor: &mut dyn Executor,
    network: &Network<'_>,
    scene: &Scene,
    extent: &Extent,
    spool: &mut Spool,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<WindowCounts> {
    let grid = scene.grid();
    let whole = Tiling::new(grid.height, grid.width, network.config.tile)?;
    let tiling = whole.part(extent.window());
    let mut blend = Blend::new(tiling, CLASSES, usize::from(GLACIER))?;
    blend.begin_at(spool.rows())?;
    let Some(first_row) = first_needed(&tiling, spool.rows()) else { return Ok(WindowCounts::default()) };
    thread::scope(|scope| {
        // Nothing waits between the two: one part is read while one is used.
        let (parts, read_parts) = sync_channel(0);
        let (steps, next_steps) = sync_channel(WAITING);
        let (outcomes, next_outcomes) = sync_channel(WAITING);
        let (used, unused) = channel();
        let windows_at_once = windows_in_part(network);
        scope.spawn(move || read(scene, extent, (&whole, &tiling), (first_row, windows_at_once), &parts));
        scope.spawn(move || prepare(network, extent, (&whole, &tiling), &read_parts, &unused, &steps));
        let writer = scope.spawn(move || write(blend, spool, &next_outcomes));
        let before = first_row * tiling.grid().1;
        let computed = compute(executor, next_steps, outcomes, &used, &mut |counts: WindowCounts| {
            progress(before + counts.computed + counts.skipped)
        });
        // The channels are closed now, so all threads end.
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let counts = computed?;
        written.map(|()| counts)
    })
}

/// The first row of windows that reaches beyond `rows` rows; `None` if all rows are there.
fn first_needed(tiling: &Tiling, rows: usize) -> Option<usize> {
    if rows >= tiling.height() {
        return None;
    }
    (0..tiling.grid().0).find(|&row| {
        let end = tiling.window_row(row).saturating_add_unsigned(tiling.tile() as u64);
        usize::try_from(end).is_ok_and(|end| end > rows)
    })
}

/// Windows of one part: as many as fit, in whole batches. The scene does not matter, so that a resumed run has the same batches.
fn windows_in_part(network: &Network<'_>) -> usize {
    let (tile, batch) = (network.config.tile, network.batch.max(1));
    let values: usize = network.config.features.iter().map(|feature| feature.channels()).sum();
    let columns = network.part_bytes / (tile * values * size_of::<f32>()).max(1);
    let windows = columns.saturating_sub(tile) / (tile / 2).max(1) + 1;
    (windows / batch).max(1) * batch
}

/// Reads the parts from the row of windows `first_row` on, until an error or until nobody wants them.
fn read(
    scene: &Scene,
    extent: &Extent,
    (whole, tiling): (&Tiling, &Tiling),
    (first_row, windows_at_once): (usize, usize),
    parts: &SyncSender<Result<Part>>,
) {
    let (rows, across) = tiling.grid();
    for row in first_row..rows {
        let windows: Vec<TileWindow> = tiling.windows().skip(row * across).take(across).collect();
        let count = windows.len().div_ceil(windows_at_once);
        for (number, windows) in windows.chunks(windows_at_once).enumerate() {
            let place = place(tiling, windows);
            let in_scene: Vec<TileWindow> = windows.iter().map(|window| extent.in_scene(*window)).collect();
            let around = self::place(whole, &in_scene);
            let part = extent.read(scene, around, place).map(|(scene, valid)| {
                let (windows, is_last) = (windows.to_vec(), number + 1 == count);
                Part { place, windows, is_last, scene, valid }
            });
            let failed = part.is_err();
            if parts.send(part).is_err() || failed {
                return;
            }
        }
    }
}

/// The smallest window of the scene that holds neighbouring windows' parts of it.
fn place(tiling: &Tiling, windows: &[TileWindow]) -> Window {
    let shared = |window: Option<&TileWindow>| window.and_then(|window| tiling.overlap(*window));
    match (shared(windows.first()), shared(windows.last())) {
        (Some(first), Some(last)) => Window {
            row: first.scene_row,
            col: first.scene_col,
            height: first.height,
            width: last.scene_col + last.width - first.scene_col,
        },
        // Every window of a tiling touches the scene.
        _ => Window { row: 0, col: 0, height: 0, width: 0 },
    }
}

/// Makes network input of the parts. Arrays that were used come back through `unused`.
fn prepare(
    network: &Network<'_>,
    extent: &Extent,
    (whole, tiling): (&Tiling, &Tiling),
    parts: &Receiver<Result<Part>>,
    unused: &Receiver<Arrays>,
    steps: &SyncSender<Result<Step>>,
) {
    for part in parts {
        let work = || -> Result<bool> {
            let Part { place, windows, is_last, scene, valid } = part?;
            let is_valid = |window: &TileWindow| has_valid(tiling, *window, place, &valid);
            let (kept, skipped): (Vec<_>, Vec<_>) = windows.into_iter().partition(is_valid);
            if steps.send(Ok(Step::Begin { place, valid, skipped })).is_err() {
                return Ok(false);
            }
            for group in kept.chunks(network.batch.max(1)) {
                let mut inputs = unused.try_recv().unwrap_or_else(|_| empty_inputs(network));
                let in_scene: Vec<TileWindow> = group.iter().map(|window| extent.in_scene(*window)).collect();
                fill(network, whole, &scene, &in_scene, &mut inputs)?;
                if steps.send(Ok(Step::Compute { windows: group.to_vec(), inputs })).is_err() {
                    return Ok(false);
                }
            }
            Ok(!is_last || steps.send(Ok(Step::End)).is_ok())
        };
        match work() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // Nobody listens only if something else failed before.
                let _ = steps.send(Err(error));
                return;
            }
        }
    }
}

/// Whether a window has a valid pixel, in the part of the scene at `place`.
fn has_valid(tiling: &Tiling, window: TileWindow, place: Window, valid: &[bool]) -> bool {
    tiling.overlap(window).is_some_and(|shared| {
        let left = shared.scene_col.saturating_sub(place.col);
        let rows = valid.chunks_exact(place.width.max(1)).skip(shared.scene_row.saturating_sub(place.row));
        rows.take(shared.height).any(|row| row[left..left + shared.width].contains(&true))
    })
}

fn empty_inputs(network: &Network<'_>) -> Arrays {
    let pixels = network.config.tile * network.config.tile;
    let features = network.config.features.iter();
    let mut inputs: Arrays =
        features.map(|f| (input_name(*f), vec![0.0; network.batch * pixels * f.channels()])).collect();
    if network.config.location_size() > 0 {
        inputs.insert(LOCATION.to_owned(), network.location.repeat(network.batch));
    }
    inputs
}

/// Writes a batch. Shapes are static: a shorter group leaves old tiles in the rest of the batch, whose results are not used.
fn fill(
    network: &Network<'_>,
    tiling: &Tiling,
    scene: &SceneWindow,
    group: &[TileWindow],
    inputs: &mut Arrays,
) -> Result<()> {
    for &feature in &network.config.features {
        let Some(input) = inputs.get_mut(&input_name(feature)) else { continue };
        let size = network.config.tile * network.config.tile * feature.channels();
        input
            .par_chunks_exact_mut(size)
            .zip(group)
            .try_for_each(|(out, &window)| scene.fill_tile(feature, network.normalisation, tiling, window, out))?;
    }
    Ok(())
}

/// Runs the network; ends early without an error if nobody takes what it gives.
fn compute(
    executor: &mut dyn Executor,
    steps: Receiver<Result<Step>>,
    outcomes: SyncSender<Outcome>,
    used: &Sender<Arrays>,
    progress: &mut dyn FnMut(WindowCounts) -> Result<()>,
) -> Result<WindowCounts> {
    let mut counts = WindowCounts::default();
    for step in steps {
        let outcome = match step? {
            Step::Begin { place, valid, skipped } => {
                counts.skipped += skipped.len();
                Outcome::Begin { place, valid, skipped }
            }
            Step::Compute { windows, inputs } => {
                let probabilities = executor.run(&inputs)?.remove(OUTPUT).unwrap_or_default();
                counts.computed += windows.len();
                // They are made anew where nobody takes them back.
                let _ = used.send(inputs);
                Outcome::Computed { windows, probabilities }
            }
            Step::End => Outcome::End,
        };
        if outcomes.send(outcome).is_err() {
            break;
        }
        progress(counts)?;
    }
    Ok(counts)
}

/// Blends, and appends complete rows.
fn write(mut blend: Blend, spool: &mut Spool, outcomes: &Receiver<Outcome>) -> Result<()> {
    let (height, width) = spool.size();
    // Of the whole width, from the row `first` on.
    let (mut first, mut valid) = (0, Vec::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Begin { place, valid: in_part, skipped } => {
                first = place.row;
                valid.resize(place.height * width, false);
                for (row, part) in valid.chunks_exact_mut(width).zip(in_part.chunks_exact(place.width.max(1))) {
                    row[place.col..place.col + place.width].copy_from_slice(part);
                }
                skipped.into_iter().try_for_each(|window| blend.skip(window))?;
            }
            Outcome::Computed { windows, probabilities } => {
                // A batch may hold more tiles than there were windows.
                let size = blend.window_values();
                for (number, window) in windows.into_iter().enumerate() {
                    blend.add(window, probabilities.get(number * size..(number + 1) * size).unwrap_or_default())?;
                }
            }
            Outcome::End => {
                let (from, rows) = blend.completed_rows();
                let start = from.saturating_sub(first) * width;
                let marks = valid.get(start..start + rows.len()).unwrap_or_default();
                spool.append(&rows, marks)?;
            }
        }
    }
    // Something failed before the last row: what is there must not be lost.
    if spool.rows() < height { spool.save() } else { Ok(()) }
}
