//! The network over a scene, one row of windows at a time.
//!
//! Three threads work beside the one that computes: one reads the next part of the scene, one makes network input of the present part, one blends
//! and appends complete rows to the [`Spool`]. A part is as high as a tile and as wide as [`Network::part_bytes`] allow. What is held is two parts, a few batches, and the
//! rows that are not complete.
//!
//! Batches are formed within one part of a row of windows, of the windows that have a valid pixel. So the same batches are computed, in the same order, whether or not
//! the run was interrupted in between.
//!
//! A prediction of several members ([`Members`]) takes a few windows at a time, and for each model runs all its members over them; see
//! [`uncertainty`] for what becomes of them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::executor::{Arrays, Executor};
use crate::infer::blend::Blend;
use crate::infer::dropout::{Dropout, DropoutRun};
use crate::infer::extent::Extent;
use crate::infer::postprocess::GLACIER;
use crate::infer::scene::{Scene, SceneWindow};
use crate::infer::spool::Spool;
use crate::infer::symmetry::Symmetry;
use crate::infer::tiles::{TileWindow, Tiling};
use crate::infer::uncertainty::{self, Moments};
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

/// What makes the members of a prediction: every model, under every symmetry, with every run of dropout.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    /// The models; of the same features, tile and batch.
    pub models: &'a [Network<'a>],
    /// The symmetries, [`Symmetry::IDENTITY`] alone or all.
    pub symmetries: &'a [Symmetry],
    /// Dropout of each model, whose executor then holds its [`dropout_graph`](crate::model::network::dropout_graph); nothing without.
    pub dropout: &'a [Dropout],
    /// Runs of dropout; 1 without.
    pub runs: usize,
}

impl Members<'_> {
    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.models.len() * self.of_model()
    }

    /// Values of a pixel that a prediction gives: the probability, and with more than one member those of [`uncertainty`].
    #[must_use]
    pub fn channels(&self) -> usize {
        if self.count() > 1 { uncertainty::CHANNELS } else { 1 }
    }

    fn of_model(&self) -> usize {
        self.symmetries.len() * self.runs
    }

    fn batch(&self) -> usize {
        self.models.first().map_or(1, |network| network.batch).max(1)
    }

    /// Windows whose members fill whole batches: never more than a batch has tiles.
    fn windows_at_once(&self) -> usize {
        let (mut a, mut b) = (self.batch(), self.of_model().max(1));
        while b > 0 {
            (a, b) = (b, a % b);
        }
        self.batch() / a
    }

    /// The members of a model that see some windows, window by window.
    fn samples(&self, model: usize, windows: &[TileWindow]) -> Vec<Sample> {
        let is_last_model = model + 1 == self.models.len();
        let of_window = |(tile, &window): (usize, &TileWindow)| {
            (0..self.of_model()).map(move |number| Sample {
                window,
                tile,
                symmetry: self.symmetries[number / self.runs],
                run: number % self.runs,
                is_last: is_last_model && number + 1 == self.of_model(),
            })
        };
        windows.iter().enumerate().flat_map(of_window).collect()
    }

    fn check(&self, executors: usize) -> Result<()> {
        let Some(first) = self.models.first() else { return Err(defect("no model", "at least one")) };
        let is_same = |network: &Network<'_>| {
            let (a, b) = (&first.config.features, &network.config.features);
            network.config.tile == first.config.tile
                && network.batch == first.batch
                && a.len() == b.len()
                && a.iter().all(|feature| b.contains(feature))
        };
        if executors != self.models.len()
            || !self.models.iter().all(is_same)
            || self.of_model() == 0
            || !(self.dropout.is_empty() || self.dropout.len() == self.models.len())
        {
            return Err(defect("members that do not fit", "an executor for each of some models alike"));
        }
        Ok(())
    }
}

fn defect(found: &str, expected: &str) -> Error {
    Error::bad_argument(found, expected, "this is a defect of the program; please report it")
}

/// A window as one member sees it.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Placed relative to the extent.
    window: TileWindow,
    /// Its number among the windows that are computed at once.
    tile: usize,
    symmetry: Symmetry,
    run: usize,
    /// Whether no other member sees the window after it.
    is_last: bool,
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
    Compute { model: usize, samples: Vec<Sample>, inputs: Arrays },
    End,
}

/// What is to be blended.
enum Outcome {
    Begin { place: Window, valid: Vec<bool>, skipped: Vec<TileWindow> },
    Computed { samples: Vec<Sample>, probabilities: Vec<f32> },
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
    let models = std::slice::from_ref(network);
    let members = Members { models, symmetries: &[Symmetry::IDENTITY], dropout: &[], runs: 1 };
    predict_members(&mut [executor], &members, scene, extent, spool, progress)
}

/// As [`predict`], with one executor for each model of `members`, and a spool of [`Members::channels`]: the mean probability of the members and, if there
/// is more than one, their variance and mutual information (see [`uncertainty`]).
///
/// # Errors
/// As [`predict`].
pub fn predict_members(
    executors: &mut [&mut dyn Executor],
    members: &Members<'_>,
    scene: &Scene,
    extent: &Extent,
    spool: &mut Spool,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<WindowCounts> {
    members.check(executors.len())?;
    let network = &members.models[0];
    let grid = scene.grid();
    let whole = Tiling::new(grid.height, grid.width, network.config.tile)?;
    let tiling = whole.part(extent.window());
    let mut blend = match members.channels() {
        1 => Blend::new(tiling, CLASSES, usize::from(GLACIER))?,
        channels => Blend::of_channels(tiling, channels),
    };
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
        scope.spawn(move || prepare(members, extent, (&whole, &tiling), &read_parts, &unused, &steps));
        let is_one = members.count() == 1;
        let writer = scope.spawn(move || write(blend, is_one, spool, &next_outcomes));
        let before = first_row * tiling.grid().1;
        let computed = compute(executors, next_steps, outcomes, &used, &mut |counts: WindowCounts| {
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
    members: &Members<'_>,
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
            for group in kept.chunks(members.windows_at_once()) {
                let in_scene: Vec<TileWindow> = group.iter().map(|window| extent.in_scene(*window)).collect();
                for model in 0..members.models.len() {
                    let mut send = |samples: &[Sample], inputs: Arrays| {
                        steps.send(Ok(Step::Compute { model, samples: samples.to_vec(), inputs })).is_ok()
                    };
                    let mut empty = || unused.try_recv().unwrap_or_default();
                    let tiles = (group, in_scene.as_slice());
                    if !batches(members, model, (whole, &scene), tiles, &mut empty, &mut send)? {
                        return Ok(false);
                    }
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

/// Makes the batches of one model's members that see some windows (placed relative to the extent, and in the scene), and hands each on until nobody takes it.
fn batches(
    members: &Members<'_>,
    model: usize,
    (whole, scene): (&Tiling, &SceneWindow),
    (windows, in_scene): (&[TileWindow], &[TileWindow]),
    empty: &mut dyn FnMut() -> Arrays,
    send: &mut dyn FnMut(&[Sample], Arrays) -> bool,
) -> Result<bool> {
    let (network, batch) = (&members.models[model], members.batch());
    // Where every window is seen once, and as it is, it is written where it is needed.
    let is_plain = members.symmetries == [Symmetry::IDENTITY] && members.runs == 1;
    let mut tiles = Arrays::new();
    if !is_plain {
        fill(network, whole, scene, in_scene, windows.len(), &mut tiles)?;
    }
    let samples = members.samples(model, windows);
    for samples in samples.chunks(batch) {
        let mut inputs = empty();
        if is_plain {
            fill(network, whole, scene, &in_scene[samples[0].tile..][..samples.len()], batch, &mut inputs)?;
        } else {
            turn(network, &tiles, samples, batch, &mut inputs);
        }
        if network.config.location_size() > 0 {
            inputs.insert(LOCATION.to_owned(), network.location.repeat(batch));
        }
        if let Some(dropout) = members.dropout.get(model) {
            let run = |s: &Sample| DropoutRun { window: in_scene[s.tile], symmetry: s.symmetry, run: s.run };
            dropout.fill(&samples.iter().map(run).collect::<Vec<_>>(), batch, &mut inputs);
        }
        if !send(samples, inputs) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes windows as the network takes them to an array of `batch` tiles. Shapes are static: a shorter group leaves old tiles in the rest of the batch, whose results are not used.
fn fill(
    network: &Network<'_>,
    tiling: &Tiling,
    scene: &SceneWindow,
    group: &[TileWindow],
    batch: usize,
    inputs: &mut Arrays,
) -> Result<()> {
    for &feature in &network.config.features {
        let size = network.config.tile * network.config.tile * feature.channels();
        let input = inputs.entry(input_name(feature)).or_default();
        input.resize(batch * size, 0.0);
        input
            .par_chunks_exact_mut(size)
            .zip(group)
            .try_for_each(|(out, &window)| scene.fill_tile(feature, network.normalisation, tiling, window, out))?;
    }
    Ok(())
}

/// Writes tiles, turned as members see them, to a batch.
fn turn(network: &Network<'_>, tiles: &Arrays, samples: &[Sample], batch: usize, inputs: &mut Arrays) {
    let side = network.config.tile;
    for &feature in &network.config.features {
        let (name, channels) = (input_name(feature), feature.channels());
        let size = side * side * channels;
        let tiles = tiles.get(&name).map(Vec::as_slice).unwrap_or_default();
        let input = inputs.entry(name).or_default();
        input.resize(batch * size, 0.0);
        input.par_chunks_exact_mut(size).zip(samples).for_each(|(out, sample)| {
            sample.symmetry.turn(side, channels, &tiles[sample.tile * size..][..size], out);
        });
    }
}

/// Runs the networks; ends early without an error if nobody takes what they give.
fn compute(
    executors: &mut [&mut dyn Executor],
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
            Step::Compute { model, samples, inputs } => {
                let probabilities = executors[model].run(&inputs)?.remove(OUTPUT).unwrap_or_default();
                counts.computed += samples.iter().filter(|sample| sample.is_last).count();
                // They are made anew where nobody takes them back.
                let _ = used.send(inputs);
                Outcome::Computed { samples, probabilities }
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

/// Blends what one member or all of them say, and appends complete rows.
fn write(mut blend: Blend, is_one: bool, spool: &mut Spool, outcomes: &Receiver<Outcome>) -> Result<()> {
    let (height, width) = spool.size();
    let mut gathering = Gathering { tile: blend.tile(), begun: Vec::new(), free: Vec::new() };
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
            Outcome::Computed { samples, probabilities } => {
                // A batch may hold more tiles than there were windows.
                let size = blend.tile() * blend.tile() * CLASSES;
                for (number, sample) in samples.into_iter().enumerate() {
                    let said = probabilities.get(number * size..(number + 1) * size).unwrap_or_default();
                    if is_one {
                        blend.add(sample.window, said)?;
                    } else if let Some(channels) = gathering.add(sample, said)? {
                        blend.add(sample.window, &channels)?;
                    }
                }
            }
            Outcome::End => {
                let (from, channels) = blend.completed_channels();
                let start = from.saturating_sub(first) * width;
                let count = channels.first().map_or(0, Vec::len);
                let marks = valid.get(start..start + count).unwrap_or_default();
                spool.append_channels(&channels, marks)?;
            }
        }
    }
    // Something failed before the last row: what is there must not be lost.
    if spool.rows() < height { spool.save() } else { Ok(()) }
}

/// Windows that some members have seen.
struct Gathering {
    tile: usize,
    begun: Vec<(TileWindow, Moments)>,
    /// To be used again.
    free: Vec<Moments>,
}

impl Gathering {
    /// Adds what a member says of a window; gives the window's channels after the last.
    fn add(&mut self, sample: Sample, probabilities: &[f32]) -> Result<Option<Vec<f32>>> {
        let at = self.begun.iter().position(|(window, _)| *window == sample.window).unwrap_or_else(|| {
            let moments = self.free.pop().unwrap_or_else(|| Moments::new(self.tile));
            self.begun.push((sample.window, moments));
            self.begun.len() - 1
        });
        self.begun[at].1.add(sample.symmetry, probabilities, CLASSES, usize::from(GLACIER))?;
        if !sample.is_last {
            return Ok(None);
        }
        let (_, mut moments) = self.begun.swap_remove(at);
        let channels = moments.channels();
        moments.clear();
        self.free.push(moments);
        Ok(Some(channels))
    }
}
