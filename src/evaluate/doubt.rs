//! What calibrated probabilities say of a map of glaciers: intervals of areas, and the least and the largest outlines.
//!
//! The ground of a glacier is what the map gives it ([`crate::evaluate::territory`]) and, around that, what is possibly ice ([`SURE`]) and hangs together
//! with it. The total is of all pixels, in blocks from the grid's first pixel on; a glacier's blocks begin at its own first row and column, so that what is smaller than a
//! block is in one.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::area_interval::{AreaInterval, IntervalSettings, ProbableArea, SURE, effective};
use crate::evaluate::calibration::Calibrator;
use crate::evaluate::change::{pixel_km2, pixel_metres};
use crate::evaluate::inventory::Measure;
use crate::evaluate::layer::{GLACIER, UNKNOWN};
use crate::evaluate::temperature::{confidence_of_logit, logit_of_probability};
use crate::evaluate::territory::Territories;
use crate::raster::polygons::Polygon;
use crate::raster::shapes::{Column, ColumnType, Layer, ShapeWriter, Value, write_style};
use crate::raster::{Grid, RasterFile, Window};

/// Pixels of lower calibrated confidence are left out of the least outlines and taken into the largest.
pub const CONFIDENCE: f32 = 0.95;
/// Names of the numbers, as columns and in JSON.
pub const COLUMNS: [&str; 6] =
    ["area_expected_km2", "area_std_km2", "area_low_km2", "area_high_km2", "area_inner_km2", "area_outer_km2"];
/// A map further than this from what probabilities foresee is worth a warning.
const ODD: f64 = 0.2;

/// How sure an area is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt {
    /// What it may be.
    pub interval: AreaInterval,
    /// The area if no doubtful pixel is ice (calibrated confidence below [`CONFIDENCE`]), in km2.
    pub inner_km2: f64,
    /// The area if every doubtful pixel is.
    pub outer_km2: f64,
}

impl Doubt {
    /// The numbers in the order of [`COLUMNS`].
    #[must_use]
    pub fn values(&self) -> [f64; 6] {
        let Self { interval: i, inner_km2, outer_km2 } = *self;
        [i.expected_km2, i.deviation_km2, i.low_km2, i.high_km2, inner_km2, outer_km2]
    }
}

/// Least or largest outlines of one glacier.
#[derive(Debug, Clone)]
struct Bound {
    owner: usize,
    name: &'static str,
    outlines: Vec<Polygon<u32>>,
    km2: f64,
}

/// How sure a map is, glacier by glacier and in all.
#[derive(Debug, Clone)]
pub struct Doubts {
    /// By the owner's number less 1; `None` where a pixel of the glacier's ground, or beside it, has no probability.
    pub glaciers: Vec<Option<Doubt>>,
    /// Of all pixels with a probability; `None` if that of a glacier is.
    pub total: Option<Doubt>,
    /// What of the total's expected area is no glacier's: possible ice apart from all glaciers, in km2.
    pub unowned_expected_km2: f64,
    /// What of the total's largest area is no glacier's, in km2.
    pub unowned_outer_km2: f64,
    /// Ground that the map knows and for which there is no probability.
    pub blank: Blank,
    /// What probabilities below [`SURE`] would add to the expected total, in km2.
    pub unlikely_km2: f64,
    settings: IntervalSettings,
    bounds: Vec<Bound>,
}

/// Pixels of a map for which there is no probability.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Blank {
    /// All of them, in km2.
    pub km2: f64,
    /// Those that are mapped as glacier.
    pub ice_km2: f64,
    /// Glaciers that have or touch one.
    pub glaciers: usize,
}

/// What is summed up while pixels are gone through.
#[derive(Debug, Clone, Default)]
struct Sums {
    area: ProbableArea,
    inner: f64,
    outer: f64,
}

impl Sums {
    fn add(&mut self, block: usize, km2: f64, p: f32) {
        self.area.add(block, km2, f64::from(p));
        self.inner += if is_inner(p) { km2 } else { 0.0 };
        self.outer += if is_outer(p) { km2 } else { 0.0 };
    }

    fn doubt(&self, settings: &IntervalSettings, stream: u64) -> Doubt {
        let interval = self.area.interval(settings, stream);
        Doubt { interval, inner_km2: self.inner, outer_km2: self.outer }
    }
}

fn is_inner(p: f32) -> bool {
    p >= CONFIDENCE
}

fn is_outer(p: f32) -> bool {
    p > 1.0 - CONFIDENCE
}

/// Blocks of pixels from some row and column on.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    first: (usize, usize),
    rows: usize,
    cols: usize,
    across: usize,
}

impl Blocks {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the grid first")]
    fn new(grid: &Grid, block_m: f64, first: (usize, usize)) -> Self {
        let pixel_m = pixel_metres(grid);
        let pixels = |side: f64, size: usize| (block_m / side).round().clamp(1.0, size.max(1) as f64) as usize;
        let cols = pixels(pixel_m.0, grid.width);
        Self { first, rows: pixels(pixel_m.1, grid.height), cols, across: grid.width.div_ceil(cols) }
    }

    fn from(self, first: (usize, usize)) -> Self {
        Self { first, ..self }
    }

    fn of(self, row: usize, col: usize) -> usize {
        (row - self.first.0.min(row)) / self.rows * self.across + (col - self.first.1.min(col)) / self.cols
    }
}

impl Doubts {
    /// Goes through the pixels. `classes` and `probability` have one value each for every pixel of the grid. Nothing is said of a glacier that has or touches a
    /// pixel with a class and without a probability, nor of the total then. `territories` grow by what is possibly ice. With `bounds`, outlines are made too.
    ///
    /// # Errors
    /// An outline lies outside its projection's domain.
    pub(super) fn new(
        grid: &Grid,
        territories: &mut Territories,
        (classes, probability): (&[u8], &[f32]),
        measure: &Measure<'_>,
        settings: IntervalSettings,
        bounds: bool,
    ) -> Result<Self> {
        let class = |i: usize| classes.get(i).copied().unwrap_or(UNKNOWN);
        let value = |i: usize| match class(i) {
            UNKNOWN => f32::NAN,
            _ => probability.get(i).copied().unwrap_or(f32::NAN),
        };
        territories.grow(|i| effective(f64::from(value(i))) > 0.0);
        let windows = territories.windows();
        let mut is_known = vec![true; windows.len()];
        let mut blank = Blank::default();
        let (mut unowned_expected_km2, mut unowned_outer_km2) = (0.0, 0.0);
        let blocks = Blocks::new(grid, settings.block_m, (0, 0));
        let mut glaciers = vec![Sums::default(); windows.len()];
        let (mut total, mut unlikely_km2) = (Sums::default(), 0.0);
        // One area for all pixels of a block: they differ by less than probabilities are exact.
        let mut areas: BTreeMap<usize, f64> = BTreeMap::new();
        let mut last = (usize::MAX, 0.0);
        for i in 0..grid.len() {
            if class(i) == UNKNOWN {
                continue;
            }
            let (row, col) = (i / grid.width, i % grid.width);
            let block = blocks.of(row, col);
            if block != last.0 {
                let km2 = match areas.get(&block) {
                    Some(km2) => *km2,
                    None => {
                        let km2 = pixel_km2(grid, i, measure)?;
                        areas.insert(block, km2);
                        km2
                    }
                };
                last = (block, km2);
            }
            let (km2, p) = (last.1, value(i));
            if p.is_nan() {
                blank.km2 += km2;
                blank.ice_km2 += if class(i) == GLACIER { km2 } else { 0.0 };
                for pixel in with_neighbours(grid, row, col) {
                    let owner = (territories.owner(pixel).0 as usize).checked_sub(1);
                    if let Some(is_known) = owner.and_then(|n| is_known.get_mut(n)) {
                        *is_known = false;
                    }
                }
                continue;
            }
            total.add(block, km2, p);
            if effective(f64::from(p)) == 0.0 {
                unlikely_km2 += km2 * f64::from(p);
            }
            let owner = (territories.owner(i).0 as usize).checked_sub(1);
            if let Some((sums, Some(window))) = owner.and_then(|n| Some((glaciers.get_mut(n)?, windows.get(n)?))) {
                sums.add(blocks.from((window.row, window.col)).of(row, col), km2, p);
            } else {
                unowned_expected_km2 += km2 * effective(f64::from(p));
                unowned_outer_km2 += if is_outer(p) { km2 } else { 0.0 };
            }
        }
        blank.glaciers = is_known.iter().filter(|is_known| !**is_known).count();
        let mapped: Vec<Bound> = if bounds {
            let all: Result<Vec<Vec<Bound>>> = (windows.par_iter().enumerate())
                .filter(|(owner, _)| is_known.get(*owner) == Some(&true))
                .map(|(owner, window)| outline(territories, owner, *window, measure, &value))
                .collect();
            all?.into_iter().flatten().collect()
        } else {
            Vec::new()
        };
        // Streams of their own make the numbers of one glacier independent of the others.
        let doubt =
            |(n, (sums, is_known)): (usize, (&Sums, &bool))| is_known.then(|| sums.doubt(&settings, n as u64 + 1));
        let glaciers = glaciers.par_iter().zip(&is_known).enumerate().map(doubt).collect();
        let total = (blank.glaciers == 0).then(|| total.doubt(&settings, 0));
        Ok(Self {
            glaciers,
            total,
            unowned_expected_km2,
            unowned_outer_km2,
            blank,
            unlikely_km2,
            settings,
            bounds: mapped,
        })
    }

    /// The total and how it was found.
    #[must_use]
    pub fn json(&self, mapped_km2: f64) -> Json {
        let mut total = numbers(self.total.as_ref());
        let unowned = |km2: f64| self.total.is_some().then_some(km2);
        total.insert("no_glacier_expected_km2".into(), json!(unowned(self.unowned_expected_km2)));
        total.insert("no_glacier_outer_km2".into(), json!(unowned(self.unowned_outer_km2)));
        total.insert("area_km2".into(), json!(mapped_km2));
        total.insert("left_out_km2".into(), json!(self.unlikely_km2));
        json!({
            "total": total,
            "without_value_km2": self.blank.km2,
            "glacier_without_value_km2": self.blank.ice_km2,
            "glaciers_without_interval": self.blank.glaciers,
            "block_size_m": self.settings.block_m,
            "resamples": self.settings.resamples,
            "seed": self.settings.seed,
            "counts_as_sure": 1.0 - SURE,
            // Through text, as 0.95 is not 0.949999988 to a reader.
            "doubtful_below_confidence": CONFIDENCE.to_string().parse::<f64>().unwrap_or(f64::from(CONFIDENCE)),
        })
    }

    /// Warns of ground without probabilities, and of a map that is far from what they foresee.
    pub(super) fn warn(&self, path: &Path, mapped_km2: f64) {
        let Blank { km2, ice_km2, glaciers } = self.blank;
        if km2 > 0.0 {
            let share = 100.0 * ice_km2 / mapped_km2.max(ice_km2).max(f64::MIN_POSITIVE);
            let so = match glaciers {
                0 => "they touch no glacier and count for nothing".to_owned(),
                n => format!("the intervals of the {n} glaciers that they touch, and of the total, are left empty"),
            };
            tracing::warn!(
                "{}: it has no value for {km2:.2} km2 of the map, of which {ice_km2:.2} are mapped as glacier ({share:.1} % of it); {so}",
                path.display()
            );
        }
        let Some(total) = &self.total else { return };
        let expected = total.interval.expected_km2;
        if (expected - mapped_km2).abs() > ODD * mapped_km2.max(f64::MIN_POSITIVE) && expected + mapped_km2 > 0.0 {
            tracing::warn!(
                "{}: {mapped_km2:.2} km2 are mapped, and its values foresee {expected:.2}: are they calibrated for this place?",
                path.display()
            );
        }
    }

    /// Stages the least and the largest outlines of glaciers; `ids` has the identifiers of those that have a row, by the owner's number less 1.
    ///
    /// # Errors
    /// The format is not known or has no place for the polygons, or a file cannot be written.
    pub(super) fn stage(
        &self,
        grid: &Grid,
        target: &Path,
        description: &str,
        ids: &BTreeMap<usize, String>,
        staged: &mut StagedFiles,
    ) -> Result<()> {
        let columns = [
            Column::new("glacier_id", ColumnType::Text),
            Column::new("bound", ColumnType::Text),
            Column::new("area_km2", ColumnType::Real),
        ];
        let layer = Layer { name: "bounds", description, crs: grid.crs.as_ref(), columns: &columns };
        let mut writer = ShapeWriter::create(target, &layer)?;
        for bound in &self.bounds {
            let Some(id) = ids.get(&bound.owner) else { continue };
            let polygons: Vec<Polygon<f64>> = bound.outlines.iter().map(|polygon| polygon.to_map(grid)).collect();
            writer
                .add(&polygons, &[Value::Text(id.clone()), Value::Text(bound.name.into()), Value::Real(bound.km2)])?;
        }
        writer.finish(staged)?;
        write_style(target, staged)
    }
}

/// Numbers by name; none where nothing is known.
pub(super) fn numbers(doubt: Option<&Doubt>) -> serde_json::Map<String, Json> {
    let values = doubt.map_or([None; 6], |doubt| doubt.values().map(Some));
    COLUMNS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A pixel and those across its edges.
fn with_neighbours(grid: &Grid, row: usize, col: usize) -> impl Iterator<Item = usize> {
    let (width, height) = (grid.width, grid.height);
    let around = [
        Some((row, col)),
        row.checked_sub(1).map(|row| (row, col)),
        col.checked_sub(1).map(|col| (row, col)),
        (row + 1 < height).then_some((row + 1, col)),
        (col + 1 < width).then_some((row, col + 1)),
    ];
    around.into_iter().flatten().map(move |(row, col)| row * width + col)
}

fn outline(
    territories: &Territories,
    owner: usize,
    window: Option<Window>,
    measure: &Measure<'_>,
    value: &(dyn Fn(usize) -> f32 + Sync),
) -> Result<Vec<Bound>> {
    let Some(window) = window else { return Ok(Vec::new()) };
    type Kind = (&'static str, fn(f32) -> bool);
    let kinds: [Kind; 2] = [("inner", is_inner), ("outer", is_outer)];
    let bound = |(name, is_within): Kind| {
        let belongs = |i: usize| (territories.owner(i).0 as usize).checked_sub(1) == Some(owner) && is_within(value(i));
        let (outlines, km2) = measure.outlines(territories, window, belongs)?;
        Ok(Bound { owner, name, outlines, km2 })
    };
    kinds.into_iter().map(bound).collect()
}

/// Where calibrated probabilities come from.
#[derive(Debug, Clone, Copy)]
pub enum Belief<'a> {
    /// Calibrated confidences of the classes.
    Confidence(&'a [f32]),
    /// Probabilities of glacier, and what maps the confidence that they make; without, they are taken for calibrated.
    Probability(&'a [f32], Option<&'a Calibrator>),
}

impl Belief<'_> {
    /// The calibrated probability of glacier of every pixel; NaN where nothing is known.
    ///
    /// # Errors
    /// A value is not from 0 to 1.
    pub(super) fn probabilities(&self, path: &Path, classes: &[u8]) -> Result<Vec<f32>> {
        let values = match self {
            Self::Confidence(values) | Self::Probability(values, _) => values,
        };
        if let Some(value) = values.iter().find(|value| !value.is_nan() && !(0.0..=1.0).contains(*value)) {
            let remedy = "give confidence.tif or probability.tif of glavitu predict";
            return Err(Error::bad_file(path, format!("the value {value}"), "values from 0 to 1", remedy));
        }
        let of = |is_ice: bool, confidence: f32| if is_ice { confidence } else { 1.0 - confidence };
        Ok(match self {
            Self::Confidence(values) => {
                values.iter().zip(classes).map(|(c, class)| of(*class == GLACIER, *c)).collect()
            }
            Self::Probability(values, None) => values.to_vec(),
            Self::Probability(values, Some(calibrator)) => {
                let curve = calibrator.curve();
                let calibrated = |p: &f32| {
                    let raw = confidence_of_logit(logit_of_probability(f64::from(*p)));
                    #[expect(clippy::cast_possible_truncation, reason = "rounding a value in 0..=1 to float32")]
                    let confidence = curve.value(raw) as f32;
                    if p.is_nan() { *p } else { of(*p > 0.5, confidence) }
                };
                values.par_iter().map(calibrated).collect()
            }
        })
    }
}

/// Refuses values of which none lies where the map has data.
pub(super) fn check_any_value(path: &Path, mut known: impl Iterator<Item = f32>) -> Result<()> {
    if known.any(|value| !value.is_nan()) {
        return Ok(());
    }
    let remedy = "check that the files belong together, and the nodata value";
    Err(Error::bad_file(path, "no value where the map has data", "a value for every pixel of the map", remedy))
}

/// Warns of probabilities that nothing calibrates, and of a calibrator of another model than theirs, where their file tells.
pub(super) fn warn_of_probabilities(path: &Path, calibrator: Option<&Calibrator>) -> Result<()> {
    let items = RasterFile::open(path)?.items();
    let models = ["GLAVITU_PARAMETERS_SHA256", "GLAVITU_ENSEMBLE_PARAMETERS_SHA256"]
        .map(|key| items.iter().filter(move |(name, _)| name == key).flat_map(|(_, value)| value.split_whitespace()));
    let models: Vec<&str> = models.into_iter().flatten().collect();
    match calibrator {
        _ if models.is_empty() => {}
        Some(calibrator) => calibrator.warn_of_other_model(&models),
        None => tracing::warn!(
            "{}: the probabilities of `glavitu predict` are not calibrated, so intervals may be too narrow or too wide; give --calibration",
            path.display()
        ),
    }
    Ok(())
}

/// Whether a raster of confidences says that it is not calibrated.
pub(super) fn is_raw(path: &Path) -> Result<bool> {
    let items = RasterFile::open(path)?.items();
    Ok(items.iter().any(|(name, value)| name == "GLAVITU_CALIBRATION_SHA256" && value == "none"))
}
