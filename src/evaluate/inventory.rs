//! A map of glaciers, glacier by glacier: ice split by the outlines of an inventory.
//!
//! All areas are those of outlines along pixel edges, on the WGS 84 ellipsoid where the CRS is known. Neighbours share their divide edge by edge.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::area_interval::IntervalSettings;
use crate::evaluate::calibration::Calibrator;
use crate::evaluate::doubt::{Belief, COLUMNS, Doubt, Doubts, check_any_value, is_raw, numbers, warn_of_probabilities};
use crate::evaluate::layer::{GLACIER, Source, UNKNOWN, with_crs};
use crate::evaluate::layer_rows::{LayerRows, windows};
use crate::evaluate::reference::Reference;
use crate::evaluate::table::csv;
use crate::evaluate::territory::Territories;
use crate::raster::area::area;
use crate::raster::polygons::Polygon;
use crate::raster::shapes::{Column, ColumnType, Layer, ShapeWriter, Value, write_style};
use crate::raster::warp::{Resampling, Warp};
use crate::raster::{Crs, Grid, RasterFile, Transformer, Window, check_same_grid};

/// What an inventory is made of. Polygons are put on the grid of the classes, and other rasters are warped to it.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Classes, probabilities or polygons.
    pub outlines: &'a Path,
    /// Outlines of known glaciers with identifiers.
    pub reference: &'a Path,
    /// The attribute with the identifiers, where it is none of the usual ones.
    pub id_column: Option<&'a str>,
    /// Elevations, which share ice outside the reference among its glaciers.
    pub elevation: Option<&'a Path>,
    /// Calibrated confidences.
    pub confidence: Option<&'a Path>,
    /// Probabilities of glacier, in the place of confidences, for the intervals of areas.
    pub probability: Option<&'a Path>,
    /// What maps the confidences that probabilities make; without, they are taken for calibrated.
    pub calibrator: Option<&'a Calibrator>,
    /// How intervals are found.
    pub interval: IntervalSettings,
    /// Whether the least and the largest outlines are wanted.
    pub bounds: bool,
    /// A raster whose grid it is, where the outlines are polygons.
    pub grid: Option<&'a Path>,
    /// Stands in for a CRS that a file does not name or that is not known.
    pub assumed_crs: Option<&'a Crs>,
}

/// One glacier as it was mapped.
#[derive(Debug, Clone)]
pub struct Row {
    /// The identifier of the reference, or `new-1`, `new-2`, ... without those that the reference has itself.
    pub id: String,
    /// Its name in the reference.
    pub name: Option<String>,
    /// Its outlines in pixel corners; none where no ice is left.
    pub outlines: Vec<Polygon<u32>>,
    /// Mapped area.
    pub area_km2: f64,
    /// Area of the whole reference outline, seen or not; `None` for a new glacier.
    pub reference_km2: Option<f64>,
    /// The part of the reference outline where the map has data, in pixels: `area_km2 = seen_km2 - lost_km2 + gained_km2`.
    pub seen_km2: f64,
    /// Inside the reference outline, mapped as no ice.
    pub lost_km2: f64,
    /// Ice outside the reference outline.
    pub gained_km2: f64,
    /// Mean confidence of its pixels of ice, where confidences are known.
    pub mean_confidence: Option<f64>,
    /// The smallest of them.
    pub min_confidence: Option<f64>,
    /// Pixels of ice.
    pub pixels: u64,
    /// How sure the area is, where calibrated confidences or probabilities are known of all its ground.
    pub doubt: Option<Doubt>,
    /// Pixels of ice with a confidence.
    confident: u64,
    /// Its number among the owners of ground, less 1.
    owner: usize,
}

/// An inventory of mapped glaciers.
#[derive(Debug, Clone)]
pub struct Inventory {
    grid: Grid,
    /// Reference glaciers of which something was seen, in the reference's order, then new ones in the order of their first pixel.
    pub rows: Vec<Row>,
    /// Reference glaciers of which no pixel with data was seen; they have no row.
    pub not_seen: usize,
    /// How sure the areas are.
    pub doubts: Option<Doubts>,
    new: usize,
    on_ellipsoid: bool,
}

/// What is counted in one pass over the pixels.
#[derive(Debug, Clone, Copy)]
struct Counts {
    ice: u64,
    seen: u64,
    confidence: f64,
    lowest: f64,
    confident: u64,
}

impl Inventory {
    /// Reads the files and splits the ice.
    ///
    /// # Errors
    /// A file cannot be read, a raster shows another place, polygons cannot be put on the grid, the reference has no identifiers or none of its
    /// glaciers lies in the map, or memory does not suffice.
    pub fn new(files: &Files<'_>) -> Result<Self> {
        let assumed = files.assumed_crs;
        let (grid, classes) = read_classes(files.outlines, files.grid, assumed)?;
        let on_grid = |path: &Path| read_band(path, (files.outlines, &grid), assumed);
        let reference = Reference::read(files.reference, files.id_column)?;
        if let Some(crossing) = reference.crossing() {
            tracing::warn!("{}", crossing.describe());
        }
        let mut territories = reference.territories(&grid, assumed)?;
        let elevation = files.elevation.map(on_grid).transpose()?;
        territories.spread(|i| classes.get(i) == Some(&GLACIER), elevation.as_deref(), pixel_size(&grid))?;
        drop(elevation);
        let confidence = files.confidence.map(on_grid).transpose()?;
        let counts = count(&territories, &classes, confidence.as_deref());
        let references = territories.references() as usize;
        if counts.iter().take(references).all(|counts| counts.seen == 0) {
            return Err(Error::bad_file(
                files.reference,
                "no glacier in which the map has data",
                "outlines of glaciers of the same place",
                "check that the files belong together, and their CRSs",
            ));
        }
        let measure = Measure::new(&grid)?;
        let windows = territories.windows();
        let new_ids: Vec<String> = reference.new_ids().take(windows.len().saturating_sub(references)).collect();
        let rows: Result<Vec<Option<Row>>> = (counts.par_iter().zip(&windows).enumerate())
            .map(|(number, (counts, window))| {
                let glacier = reference.glaciers.get(number).filter(|_| number < references);
                let Some(window) = window.filter(|_| counts.ice + counts.seen > 0) else { return Ok(None) };
                let owner = u32::try_from(number + 1).unwrap_or(u32::MAX);
                let measured = |belongs: &(dyn Fn(u8, bool) -> bool + Sync)| {
                    measure.outlines(&territories, window, |i| {
                        let (own, inside) = territories.owner(i);
                        own == owner && classes.get(i).is_some_and(|class| belongs(*class, inside))
                    })
                };
                let (outlines, area_km2) = measured(&|class, _| class == GLACIER)?;
                let (_, seen_km2) = measured(&|class, inside| inside && class != UNKNOWN)?;
                let (_, lost_km2) = measured(&|class, inside| inside && class != UNKNOWN && class != GLACIER)?;
                let (_, gained_km2) = measured(&|class, inside| !inside && class == GLACIER)?;
                let new_id = number.checked_sub(references).and_then(|new| new_ids.get(new));
                Ok(Some(Row {
                    id: glacier.map(|glacier| &glacier.id).or(new_id).cloned().unwrap_or_default(),
                    name: glacier.and_then(|glacier| glacier.name.clone()),
                    outlines,
                    area_km2,
                    reference_km2: glacier.map(|glacier| reference.area_km2(glacier, assumed)).transpose()?,
                    seen_km2,
                    lost_km2,
                    gained_km2,
                    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 pixels")]
                    mean_confidence: (counts.confident > 0).then(|| counts.confidence / counts.confident as f64),
                    min_confidence: (counts.confident > 0).then_some(counts.lowest),
                    pixels: counts.ice,
                    doubt: None,
                    confident: counts.confident,
                    owner: number,
                }))
            })
            .collect();
        let mut rows = rows?;
        let not_seen = rows.iter().take(references).filter(|row| row.is_none()).count();
        let new = rows.iter().skip(references).flatten().count();
        let on_ellipsoid = measure.transformer.is_some();
        let mapped_km2 = rows.iter().flatten().map(|row| row.area_km2).fold(0.0, |sum, km2| sum + km2);
        let doubts = doubts(files, &grid, &mut territories, &classes, confidence, &measure, mapped_km2)?;
        for row in rows.iter_mut().flatten() {
            row.doubt = doubts.as_ref().and_then(|doubts| doubts.glaciers.get(row.owner).copied().flatten());
        }
        drop(measure);
        Ok(Self { rows: rows.into_iter().flatten().collect(), not_seen, doubts, new, on_ellipsoid, grid })
    }

    /// Totals and all rows, without outlines.
    #[must_use]
    pub fn summary(&self) -> Json {
        let sum = |value: &dyn Fn(&Row) -> f64| self.sum(value);
        let rows: Vec<Json> = self
            .rows
            .iter()
            .map(|row| {
                let mut json = json!({
                    "glacier_id": row.id,
                    "name": row.name,
                    "area_km2": row.area_km2,
                    "reference_area_km2": row.reference_km2,
                    "seen_km2": row.seen_km2,
                    "lost_km2": row.lost_km2,
                    "gained_km2": row.gained_km2,
                    "mean_confidence": row.mean_confidence,
                    "min_confidence": row.min_confidence,
                    "pixels": row.pixels,
                });
                if let (Some(object), Some(_)) = (json.as_object_mut(), &self.doubts) {
                    object.extend(numbers(row.doubt.as_ref()));
                }
                json
            })
            .collect();
        let mut summary = json!({
            "glaciers": self.rows.len() - self.new,
            "new_glaciers": self.new,
            "vanished_glaciers": self.rows.iter().filter(|row| row.pixels == 0).count(),
            "not_seen_glaciers": self.not_seen,
            "area_km2": sum(&|row| row.area_km2),
            "seen_km2": sum(&|row| row.seen_km2),
            "lost_km2": sum(&|row| row.lost_km2),
            "gained_km2": sum(&|row| row.gained_km2),
            "area_surface": if self.on_ellipsoid { "WGS 84 ellipsoid" } else { "plane" },
            "rows": rows,
        });
        if let Some(doubts) = &self.doubts {
            summary["intervals"] = doubts.json(sum(&|row| row.area_km2));
        }
        summary
    }

    /// A sum over the rows. It begins at 0, as the sum of nothing is -0.
    fn sum(&self, value: &dyn Fn(&Row) -> f64) -> f64 {
        self.rows.iter().map(value).fold(0.0, |sum, value| sum + value)
    }

    /// The last line of the table: sums, the mean and least confidence of all ice, and the interval of the total.
    fn total(&self) -> Vec<Value> {
        let real = |value: Option<f64>| value.map_or(Value::Null, Value::Real);
        let mut known = self.rows.iter().filter_map(|row| row.reference_km2).peekable();
        let has_reference = known.peek().is_some();
        let reference = known.fold(0.0, |sum, km2| sum + km2);
        let confident: u64 = self.rows.iter().map(|row| row.confident).sum();
        let means = self.sum(&|row| row.mean_confidence.map_or(0.0, |mean| mean * row.confident as f64));
        let pixels: u64 = self.rows.iter().map(|row| row.pixels).sum();
        let mut values = vec![
            Value::Text("total".into()),
            Value::Null,
            Value::Real(self.sum(&|row| row.area_km2)),
            real(has_reference.then_some(reference)),
            Value::Real(self.sum(&|row| row.seen_km2)),
            Value::Real(self.sum(&|row| row.lost_km2)),
            Value::Real(self.sum(&|row| row.gained_km2)),
            real((confident > 0).then(|| means / confident as f64)),
            real(self.rows.iter().filter_map(|row| row.min_confidence).min_by(f64::total_cmp)),
            Value::Integer(i64::try_from(pixels).unwrap_or(i64::MAX)),
        ];
        values.extend(self.doubts.iter().flat_map(|doubts| doubt_values(doubts.total.as_ref())));
        values
    }

    /// Stages the polygons (the format is that of the name), a table `.csv` with a line for each and the total, and a style `.qml` beside them.
    ///
    /// # Errors
    /// The format is not known or has no place for the polygons, or a file cannot be written.
    pub fn stage(&self, target: &Path, description: &str, staged: &mut StagedFiles) -> Result<()> {
        let mut columns = vec![
            Column::new("glacier_id", ColumnType::Text),
            Column::new("name", ColumnType::Text),
            Column::new("area_km2", ColumnType::Real),
            Column::new("reference_area_km2", ColumnType::Real),
            Column::new("seen_km2", ColumnType::Real),
            Column::new("lost_km2", ColumnType::Real),
            Column::new("gained_km2", ColumnType::Real),
            Column::new("mean_confidence", ColumnType::Real),
            Column::new("min_confidence", ColumnType::Real),
            Column::new("pixels", ColumnType::Integer),
        ];
        if self.doubts.is_some() {
            columns.extend(COLUMNS.map(|name| Column::new(name, ColumnType::Real)));
        }
        let crs = self.grid.crs.as_ref();
        let layer = Layer { name: "inventory", description, crs, columns: &columns };
        let mut writer = ShapeWriter::create(target, &layer)?;
        let real = |value: Option<f64>| value.map_or(Value::Null, Value::Real);
        let mut rows = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut values = vec![
                Value::Text(row.id.clone()),
                row.name.clone().map_or(Value::Null, Value::Text),
                Value::Real(row.area_km2),
                real(row.reference_km2),
                Value::Real(row.seen_km2),
                Value::Real(row.lost_km2),
                Value::Real(row.gained_km2),
                real(row.mean_confidence),
                real(row.min_confidence),
                Value::Integer(i64::try_from(row.pixels).unwrap_or(i64::MAX)),
            ];
            values.extend(self.doubts.iter().flat_map(|_| doubt_values(row.doubt.as_ref())));
            let polygons: Vec<Polygon<f64>> = row.outlines.iter().map(|polygon| polygon.to_map(&self.grid)).collect();
            writer.add(&polygons, &values)?;
            rows.push(values);
        }
        writer.finish(staged)?;
        rows.push(self.total());
        staged.stage_bytes(target.with_extension("csv"), csv(&columns, &rows).as_bytes())?;
        write_style(target, staged)
    }

    /// Stages the least and the largest outlines, two features for each glacier: `bound` is inner or outer. Nothing if they were not asked for.
    ///
    /// # Errors
    /// As [`Inventory::stage`].
    pub fn stage_bounds(&self, target: &Path, description: &str, staged: &mut StagedFiles) -> Result<()> {
        let Some(doubts) = &self.doubts else { return Ok(()) };
        let ids: BTreeMap<usize, String> = self.rows.iter().map(|row| (row.owner, row.id.clone())).collect();
        doubts.stage(&self.grid, target, description, &ids, staged)
    }
}

/// The values of [`COLUMNS`], empty where nothing is known.
fn doubt_values(doubt: Option<&Doubt>) -> [Value; 6] {
    doubt.map_or([const { Value::Null }; 6], |doubt| doubt.values().map(Value::Real))
}

/// How sure the areas are, where something is known of that.
fn doubts(
    files: &Files<'_>,
    grid: &Grid,
    territories: &mut Territories,
    classes: &[u8],
    confidence: Option<Vec<f32>>,
    measure: &Measure<'_>,
    mapped_km2: f64,
) -> Result<Option<Doubts>> {
    let (path, probability) = if let Some(path) = files.probability {
        let values = read_band(path, (files.outlines, grid), files.assumed_crs)?;
        warn_of_probabilities(path, files.calibrator)?;
        (path, Belief::Probability(&values, files.calibrator).probabilities(path, classes)?)
    } else if let Some((path, values)) = files.confidence.zip(confidence) {
        if is_raw(path)? {
            if files.bounds {
                let remedy = "run `glavitu predict` with --calibration, or give --probability and --calibration";
                return Err(Error::bad_file(
                    path,
                    "confidence that is not calibrated",
                    "calibrated confidence",
                    remedy,
                ));
            }
            tracing::warn!(
                "{}: the confidence is not calibrated, so there are no intervals; run `glavitu predict` with --calibration, or give --probability and --calibration",
                path.display()
            );
            return Ok(None);
        }
        (path, Belief::Confidence(&values).probabilities(path, classes)?)
    } else {
        return Ok(None);
    };
    let known = classes.iter().zip(&probability).filter(|(class, _)| **class != UNKNOWN);
    check_any_value(path, known.map(|(_, p)| *p))?;
    let doubts = Doubts::new(grid, territories, (classes, &probability), measure, files.interval, files.bounds)?;
    doubts.warn(path, mapped_km2);
    Ok(Some(doubts))
}

/// Classes on their grid, or polygons on that of `grid`.
pub(super) fn read_classes(path: &Path, grid: Option<&Path>, assumed: Option<&Crs>) -> Result<(Grid, Vec<u8>)> {
    let source = Source::open(path)?;
    let grid = match (source.grid(assumed), grid) {
        (Some(own), _) => own,
        (None, Some(given)) => with_crs(RasterFile::open(given)?.grid(), assumed),
        (None, None) => {
            let remedy = "give --grid with a raster of the scene";
            return Err(Error::bad_file(path, "polygons", "a raster, on whose pixels they are compared", remedy));
        }
    };
    let mut rows = LayerRows::predicted(source, &grid, assumed)?;
    let mut classes = Vec::new();
    classes.try_reserve_exact(grid.len()).map_err(|_| {
        let found = format!("a raster of {} x {} pixels", grid.width, grid.height);
        Error::bad_argument(found, "one that fits into memory", "take a part of the scene")
    })?;
    for window in windows(&grid, rows.block_rows()) {
        classes.append(&mut rows.read(window)?);
    }
    rows.warn(false);
    Ok((grid, classes))
}

/// The classes of a raster on the grid of another file: those of the pixels that the centres fall on.
pub(super) fn warp_classes(path: &Path, (own, classes): (&Grid, &[u8]), target: (&Path, &Grid)) -> Result<Vec<u8>> {
    let warp = overlapping(path, own, target, Resampling::Nearest)?;
    let values = warp.read(target.1.window(), |window| {
        let row =
            |row: usize| classes.get(row * own.width + window.col..).unwrap_or_default().iter().take(window.width);
        let rows = (window.row..window.row + window.height).flat_map(row);
        Ok(rows.map(|class| if *class == UNKNOWN { f32::NAN } else { f32::from(*class) }).collect())
    })?;
    // NaN where there is nothing: there and outside.
    Ok(values.into_iter().map(|value| if value.is_nan() { UNKNOWN } else { u8::from(value > 0.5) }).collect())
}

/// The values of a raster of one band on the grid of another file, between pixel centres where the grids differ.
pub(super) fn read_band(path: &Path, target: (&Path, &Grid), assumed: Option<&Crs>) -> Result<Vec<f32>> {
    let file = RasterFile::open(path)?;
    if file.bands().len() != 1 {
        let found = format!("{} bands", file.bands().len());
        return Err(Error::bad_file(path, found, "one band", "select it with gdal_translate -b"));
    }
    let own = with_crs(file.grid(), assumed);
    if check_same_grid(target, (path, &own)).is_ok() {
        return file.read_window(0, own.window());
    }
    let warp = overlapping(path, &own, target, Resampling::Bilinear)?;
    warp.read(target.1.window(), |window| file.read_window(0, window))
}

/// The way from one grid to another that shares some ground with it.
fn overlapping(path: &Path, own: &Grid, (of, grid): (&Path, &Grid), resampling: Resampling) -> Result<Warp> {
    let warp = Warp::new(own, grid, resampling)?;
    if warp.overlaps() {
        return Ok(warp);
    }
    let expected = format!("one that overlaps {}", of.display());
    Err(Error::bad_file(
        path,
        "a raster of another place",
        expected,
        "check that the files belong together, and their CRSs",
    ))
}

/// Lengths of a pixel along columns and rows; those of degrees in proportion, at the grid's middle.
pub(super) fn pixel_size(grid: &Grid) -> (f64, f64) {
    let t = &grid.transform;
    let latitude = grid.position(grid.width as f64 / 2.0, grid.height as f64 / 2.0).1;
    let narrow = match &grid.crs {
        Some(crs) if crs.geographic => latitude.to_radians().cos().abs().max(1e-3),
        _ => 1.0,
    };
    ((t[0] * narrow).hypot(t[3]), (t[1] * narrow).hypot(t[4]))
}

fn count(territories: &Territories, classes: &[u8], confidence: Option<&[f32]>) -> Vec<Counts> {
    let none = Counts { ice: 0, seen: 0, confidence: 0.0, lowest: f64::INFINITY, confident: 0 };
    let mut counts = vec![none; territories.count() as usize];
    for (i, class) in classes.iter().enumerate().filter(|(_, class)| **class != UNKNOWN) {
        let (owner, inside) = territories.owner(i);
        let Some(counts) = (owner as usize).checked_sub(1).and_then(|number| counts.get_mut(number)) else { continue };
        counts.seen += u64::from(inside);
        if *class == GLACIER {
            counts.ice += 1;
            if let Some(value) = confidence.and_then(|all| all.get(i)).filter(|value| !value.is_nan()) {
                counts.confidence += f64::from(*value);
                counts.lowest = counts.lowest.min(f64::from(*value));
                counts.confident += 1;
            }
        }
    }
    counts
}

/// Outlines and their areas on a grid.
#[derive(Debug)]
pub(super) struct Measure<'a> {
    grid: &'a Grid,
    pub(super) transformer: Option<Transformer>,
}

impl<'a> Measure<'a> {
    /// # Errors
    /// The CRS has no supported projection.
    pub(super) fn new(grid: &'a Grid) -> Result<Self> {
        let known = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        Ok(Self { grid, transformer: known.map(Transformer::to_longitude_latitude).transpose()? })
    }

    /// The outlines of the pixels that belong, and their area in km2.
    pub(super) fn outlines(
        &self,
        territories: &Territories,
        window: Window,
        belongs: impl Fn(usize) -> bool,
    ) -> Result<(Vec<Polygon<u32>>, f64)> {
        let outlines = territories.outlines(window, belongs)?;
        let mut km2 = 0.0;
        for polygon in &outlines {
            km2 += self.km2(polygon)?;
        }
        Ok((outlines, km2))
    }

    /// The area of a polygon in km2.
    pub(super) fn km2(&self, polygon: &Polygon<u32>) -> Result<f64> {
        area(&polygon.to_map(self.grid), self.transformer.as_ref()).map(|area| area.km2())
    }
}
