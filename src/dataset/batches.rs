//! Batches for training and validation, and threads that prepare them ahead.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::dataset::augmentation::{Augmentation, Sample};
use crate::dataset::noise::Random;
use crate::dataset::sampling::{Patch, TileSet, one_hot};
use crate::dataset::tile_file::TileArray;
use crate::error::{Error, Result};
use crate::executor::Arrays;
use crate::model::Location;

/// Separates the random numbers of batches from all others of the same seed.
const BATCHES: u64 = 0x6261_7463_6865_7331;

/// Samples for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `input.<feature>` (samples, side, side, channels); `input.location` (samples, length) where the model has a location input;
    /// `target` (samples, side, side, 2): (other, glacier), (0, 0) where no loss counts.
    pub arrays: Arrays,
    /// How many of the samples count; the arrays hold the whole batch.
    pub samples: usize,
    /// Where each sample that counts comes from.
    pub patches: Vec<Patch>,
    /// For each sample that counts: false where the region vector says `unknown`. True without a region vector.
    pub location_known: Vec<bool>,
}

/// A random batch. It depends only on the arguments, so training can resume at any step, bit for bit.
///
/// Labels are smoothed last: `t (1 - s) + s / 2` for a smoothing `s`. Unlabelled pixels stay (0, 0) nonetheless. The published system
/// smooths them to (s/2, s/2), which asks the network to be undecided wherever nobody drew outlines; here they carry no loss.
///
/// # Errors
/// A batch of 0, a smoothing outside 0 to 1, an impossible augmentation, or a damaged file.
pub fn random_batch(
    set: &TileSet,
    batch: usize,
    augmentation: &Augmentation,
    label_smoothing: f64,
    seed: u64,
    epoch: u64,
    step: u64,
) -> Result<Batch> {
    augmentation.validate()?;
    if !(0.0..=1.0).contains(&label_smoothing) {
        return Err(Error::bad_argument(
            format!("a label smoothing of {label_smoothing}"),
            "0 to 1",
            "choose another; the published one is 0.1",
        ));
    }
    let mut collected = Collected::new(set, batch)?;
    for index in 0..batch {
        let mut random = stream(seed, epoch, step, index as u64);
        let patch = set.random_patch(&mut random);
        let mut sample = read_sample(set, patch)?;
        augmentation.apply(&mut sample, &mut random);
        smooth(&mut sample.target, label_smoothing);
        collected.push(&sample, patch);
    }
    Ok(collected.finish(batch))
}

/// The number of batches that [`consecutive_batch`] gives.
#[must_use]
pub fn consecutive_batches(set: &TileSet, batch: usize) -> usize {
    (set.patches() * copies(set)).div_ceil(batch.max(1))
}

/// Validation batch number `index`: consecutive patches, unchanged. With a region vector every patch comes twice, first with its region, then
/// as `unknown`. The last batch is filled up with its last sample, without labels; [`Batch::samples`] says how many count.
///
/// # Errors
/// No such batch, or a damaged file.
pub fn consecutive_batch(set: &TileSet, batch: usize, index: usize) -> Result<Batch> {
    let (copies, count) = (copies(set), consecutive_batches(set, batch));
    if index >= count {
        return Err(Error::bad_argument(
            format!("validation batch {index}"),
            format!("below {count}"),
            "choose one that exists",
        ));
    }
    let mut collected = Collected::new(set, batch)?;
    let mut last: Option<(Patch, Sample)> = None;
    let end = (index * batch).saturating_add(batch).min(set.patches() * copies);
    for number in index * batch..end {
        let Some(patch) = set.patch(number / copies) else { continue };
        let sample = match &mut last {
            // Its second copy need not be read again.
            Some((of, sample)) if *of == patch => sample,
            _ => &mut last.insert((patch, read_sample(set, patch)?)).1,
        };
        if number % copies == 1 {
            sample.location = one_hot(sample.location.len(), sample.location.len().saturating_sub(1));
            sample.location_known = false;
        }
        collected.push(sample, patch);
    }
    let samples = end - index * batch;
    if let Some((patch, sample)) = &mut last {
        sample.target.fill(0.0);
        (samples..batch).for_each(|_| collected.push(sample, *patch));
    }
    Ok(collected.finish(samples))
}

fn too_large(batch: usize) -> Error {
    Error::bad_argument(format!("a batch of {batch}"), "one that fits into memory", "choose a smaller batch or patch")
}

/// How often validation takes each patch.
fn copies(set: &TileSet) -> usize {
    if matches!(set.selection().location, Location::Regions(_)) { 2 } else { 1 }
}

/// A generator for one sample of one step.
fn stream(seed: u64, epoch: u64, step: u64, sample: u64) -> Random {
    [epoch, step, sample].into_iter().fold(Random::new(seed, BATCHES), |mut random, n| Random::new(random.bits(), n))
}

/// Values that are no numbers become 0, as after normalisation everywhere: one NaN would spoil every weight.
fn read_sample(set: &TileSet, patch: Patch) -> Result<Sample> {
    let mut inputs = Vec::new();
    for &feature in &set.selection().features {
        let mut values = set.read(patch, TileArray::Feature(feature))?;
        values.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 0.0);
        inputs.push((feature, values));
    }
    let (location, location_known) = set.location(patch)?;
    Ok(Sample {
        side: set.selection().tile,
        inputs,
        target: set.read_target(patch)?,
        location,
        has_region: copies(set) == 2,
        location_known,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "labels are f32")]
fn smooth(target: &mut [f32], smoothing: f64) {
    for pixel in target.as_chunks_mut::<2>().0 {
        if *pixel != [0.0, 0.0] {
            *pixel = pixel.map(|t| (f64::from(t) * (1.0 - smoothing) + smoothing / 2.0) as f32);
        }
    }
}

/// Samples on their way into one array per input.
struct Collected {
    arrays: Arrays,
    /// The name of each input's array, in the order of a sample's inputs.
    names: Vec<String>,
    patches: Vec<Patch>,
    location_known: Vec<bool>,
}

impl Collected {
    fn new(set: &TileSet, batch: usize) -> Result<Self> {
        if batch == 0 {
            return Err(Error::bad_argument("a batch of 0", "at least 1", "choose a larger batch"));
        }
        let selection = set.selection();
        let names: Vec<_> = selection.features.iter().map(|f| format!("input.{}", f.name())).collect();
        let room = |channels: usize| {
            let mut values = Vec::new();
            let length = [batch, selection.tile, selection.tile].iter().try_fold(channels, |n, &by| n.checked_mul(by));
            let reserved = length.is_some_and(|length| values.try_reserve_exact(length).is_ok());
            if reserved { Ok(values) } else { Err(too_large(batch)) }
        };
        let mut arrays: Arrays = HashMap::new();
        for (name, feature) in names.iter().zip(&selection.features) {
            arrays.insert(name.clone(), room(feature.channels())?);
        }
        arrays.insert("target".into(), room(2)?);
        Ok(Self { arrays, names, patches: Vec::new(), location_known: Vec::new() })
    }

    fn push(&mut self, sample: &Sample, patch: Patch) {
        for (name, (_, values)) in self.names.iter().zip(&sample.inputs) {
            self.arrays.entry(name.clone()).or_default().extend_from_slice(values);
        }
        self.arrays.entry("target".into()).or_default().extend_from_slice(&sample.target);
        if !sample.location.is_empty() {
            self.arrays.entry("input.location".into()).or_default().extend_from_slice(&sample.location);
        }
        self.patches.push(patch);
        self.location_known.push(sample.location_known);
    }

    fn finish(mut self, samples: usize) -> Batch {
        self.patches.truncate(samples);
        self.location_known.truncate(samples);
        Batch { arrays: self.arrays, samples, patches: self.patches, location_known: self.location_known }
    }
}

/// Prepares items on threads of its own and yields them in order.
///
/// After an error it ends. Dropped early, it waits for what is being made and for nothing else.
pub struct Prefetch<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something was made, taken or stopped.
    changed: Condvar,
}

struct State<T> {
    /// The next item that nobody makes yet.
    next: usize,
    /// The next item to yield.
    wanted: usize,
    end: usize,
    stopped: bool,
    made: BTreeMap<usize, std::thread::Result<Result<T>>>,
}

impl<T> Shared<T> {
    /// No code panics while it holds the lock, so what it guards is sound.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// Runs `make(i)` for every `i` of `range` on `threads` threads; at most `ahead` items are being made or waiting. At least one each.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(
        range: Range<usize>,
        threads: usize,
        ahead: usize,
        make: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let state =
            State { next: range.start, wanted: range.start, end: range.end, stopped: false, made: BTreeMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut prefetch = Self { shared, threads: Vec::new() };
        let make = Arc::new(make);
        for _ in 0..threads.clamp(1, ahead.max(1)) {
            let (shared, make) = (Arc::clone(&prefetch.shared), Arc::clone(&make));
            let thread = std::thread::Builder::new()
                .name("prefetch".into())
                .spawn(move || work(&shared, ahead.max(1), &*make))
                .map_err(|e| Error::io("start a thread to read", "the tile files", e))?;
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }
}

fn work<T>(shared: &Shared<T>, ahead: usize, make: &dyn Fn(usize) -> Result<T>) {
    loop {
        let mut state = shared.lock();
        while !state.stopped && state.next < state.end && state.next - state.wanted >= ahead {
            state = shared.wait(state);
        }
        if state.stopped || state.next >= state.end {
            return;
        }
        let index = state.next;
        state.next += 1;
        drop(state);
        // A panic is a defect of the program; it is carried to the thread that waits for the item, which would wait for ever otherwise.
        let made = catch_unwind(AssertUnwindSafe(|| make(index)));
        let mut state = shared.lock();
        // Nothing after a failure will be asked for.
        if !matches!(made, Ok(Ok(_))) {
            state.end = state.end.min(index + 1);
        }
        state.made.insert(index, made);
        shared.changed.notify_all();
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.shared.lock();
        loop {
            if state.wanted >= state.end {
                return None;
            }
            let wanted = state.wanted;
            if let Some(made) = state.made.remove(&wanted) {
                state.wanted += 1;
                self.shared.changed.notify_all();
                drop(state);
                return Some(made.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            state = self.shared.wait(state);
        }
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // It catches the panics of what it runs.
            let _ = thread.join();
        }
    }
}

impl<T> std::fmt::Debug for Prefetch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
