//! Two maps of glaciers of one place, compared: what was lost, gained and kept, glacier by glacier.
//!
//! Pixels without data at either date do not count. A glacier's ground is its reference outline and the ice, of either date, that hangs together
//! with it ([`crate::evaluate::territory`]). Uncertainties come from confidences ([`crate::evaluate::bootstrap`]): a glacier's from the pixels of its
//! ground, the total's from all pixels.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::bootstrap::{RESAMPLES, Spread, Spreads};
use crate::evaluate::change_doubt::{TOTAL, bootstrap};
use crate::evaluate::inventory::{Measure, pixel_size, read_band, read_classes, warp_classes};
use crate::evaluate::layer::{GLACIER, UNKNOWN};
use crate::evaluate::reference::{Reference, date_of};
use crate::evaluate::table::csv;
use crate::evaluate::territory::Territories;
use crate::raster::polygons::Polygon;
use crate::raster::quicklook::{Caption, Mark, Quicklook, write_png};
use crate::raster::shapes::{Column, ColumnType, Features, Format, Layer, ShapeWriter, Value};
use crate::raster::{Crs, Grid, check_same_grid};

/// Names of the files that [`Change::stage`] makes.
pub const FILES: [&str; 3] = ["change.csv", "change.gpkg", "change.png"];

/// What is compared, on the grid of the first raster: polygons are put on it, and rasters on other grids are warped to it.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The earlier map: classes, probabilities or polygons.
    pub before: &'a Path,
    /// The later one.
    pub after: &'a Path,
    /// Outlines of known glaciers with identifiers; without, the earlier map's if it has some, else there is only a total.
    pub reference: Option<&'a Path>,
    /// The attribute with the identifiers, where it is none of the usual ones.
    pub id_column: Option<&'a str>,
    /// Elevations, which share ice outside the reference among its glaciers.
    pub elevation: Option<&'a Path>,
    /// Confidences of the earlier and the later map.
    pub confidence: Option<[&'a Path; 2]>,
    /// A raster whose grid it is, where both maps are polygons.
    pub grid: Option<&'a Path>,
    /// Stands in for a CRS that a file does not name or that is not known.
    pub assumed_crs: Option<&'a Crs>,
    /// The days of both maps; else those of their polygons' attributes.
    pub dates: Option<[Day; 2]>,
    /// For the bootstrap.
    pub seed: u64,
}

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    /// A day as `YYYY-MM-DD`.
    ///
    /// # Errors
    /// Another text, or a day that there is not.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::bad_argument(format!("the date '{text}'"), "a day as YYYY-MM-DD", "give 2020-08-16, say");
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [year, month, day] = parts.as_slice() else { return Err(wrong()) };
        let number = |part: &str, digits: usize| {
            Some(part).filter(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok()
        };
        let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
            return Err(wrong());
        };
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let longest = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err(wrong()),
        };
        if (1..=longest).contains(&day) { Ok(Self { year, month, day }) } else { Err(wrong()) }
    }

    /// Days since some day (years that begin in March make leap days the last).
    fn number(self) -> i64 {
        let (year, month) = if self.month > 2 { (self.year, self.month - 3) } else { (self.year - 1, self.month + 9) };
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + self.day
    }

    /// Years of 365.25 days from this day to another.
    #[must_use]
    pub fn years_to(self, later: Self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "some thousand years")]
        let days = (later.number() - self.number()) as f64;
        days / 365.25
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// What became of one glacier, or of all ice.
#[derive(Debug, Clone)]
pub struct Row {
    /// The identifier of the reference, or `new-1`, `new-2`, ... without those that the reference has itself; `total` for all ice.
    pub id: String,
    /// The name in the reference.
    pub name: Option<String>,
    /// Area at the first date, in km2.
    pub before_km2: f64,
    /// Area at the second.
    pub after_km2: f64,
    /// Ice at the first date only.
    pub lost_km2: f64,
    /// Ice at the second date only.
    pub gained_km2: f64,
    /// Ice at both.
    pub stable_km2: f64,
    /// How sure that is, where confidences are known.
    pub spreads: Option<Spreads>,
}

impl Row {
    /// The second area less the first, in km2.
    #[must_use]
    pub fn change_km2(&self) -> f64 {
        self.after_km2 - self.before_km2
    }

    /// The 2.5th and 97.5th percentile around the change, in km2; `None` without confidences.
    ///
    /// Errors are drawn from a normal distribution and for all of a glacier's ground, so they can exceed its ice. No more can be lost than was there: the bounds
    /// are not below the loss of the whole first area, with which the second is 0.
    #[must_use]
    pub fn change_bounds_km2(&self) -> Option<[f64; 2]> {
        let Spread { low, high, .. } = self.spreads?.change;
        // The difference from 0, as the negative of 0 would be written as -0.
        Some([low, high].map(|bound| (self.change_km2() + bound).max(0.0 - self.before_km2)))
    }

    /// The change in % of the first area; `None` where there was no ice.
    #[must_use]
    pub fn change_percent(&self) -> Option<f64> {
        (self.before_km2 > 0.0).then(|| 100.0 * self.change_km2() / self.before_km2)
    }
}

/// What a pixel was and is, as the picture and the polygons have it.
pub mod kind {
    /// No ice at either date.
    pub const NO_ICE: u8 = 0;
    /// Ice at both dates.
    pub const STABLE: u8 = 1;
    /// Ice at the first date only.
    pub const LOST: u8 = 2;
    /// Ice at the second date only.
    pub const GAINED: u8 = 3;
    /// Nothing is known at one date or both.
    pub const UNKNOWN: u8 = 255;
    pub(super) const NAMES: [(u8, &str); 3] = [(STABLE, "stable"), (LOST, "lost"), (GAINED, "gained")];
}

/// Polygons of one kind.
#[derive(Debug, Clone)]
struct Part {
    /// The number of its row; `None` where there are no glaciers.
    row: Option<usize>,
    kind: &'static str,
    outlines: Vec<Polygon<u32>>,
    km2: f64,
}

/// Two maps, compared.
#[derive(Debug, Clone)]
pub struct Change {
    grid: Grid,
    kinds: Vec<u8>,
    parts: Vec<Part>,
    /// The glaciers with ice at either date, those of the reference first.
    pub rows: Vec<Row>,
    /// All ice.
    pub total: Row,
    /// The days of the maps, where they are known.
    pub dates: Option<[Day; 2]>,
    not_known: u64,
    on_ellipsoid: bool,
}

impl Change {
    /// Reads and compares.
    ///
    /// # Errors
    /// A file cannot be read, a raster shows another place, polygons cannot be put on the grid, the reference has no identifiers, no pixel has data at
    /// both dates, the second date is not after the first, or memory does not suffice.
    pub fn new(files: &Files<'_>) -> Result<Self> {
        let assumed = files.assumed_crs;
        let dates = dates(files)?;
        let (grid, before, after) = read_both(files)?;
        let kinds: Vec<u8> = before
            .iter()
            .zip(&after)
            .map(|pair| match pair {
                (&UNKNOWN, _) | (_, &UNKNOWN) => kind::UNKNOWN,
                (&GLACIER, &GLACIER) => kind::STABLE,
                (&GLACIER, _) => kind::LOST,
                (_, &GLACIER) => kind::GAINED,
                _ => kind::NO_ICE,
            })
            .collect();
        drop((before, after));
        let not_known = kinds.iter().filter(|kind| **kind == kind::UNKNOWN).count() as u64;
        if not_known == kinds.len() as u64 {
            let remedy = "check that the files are of one place, and their nodata values";
            return Err(Error::bad_argument("no pixel with data at both dates", "maps that overlap", remedy));
        }
        let reference = reference(files)?;
        let mut territories = match &reference {
            Some(reference) => reference.territories(&grid, assumed)?,
            None => Territories::new(&grid)?,
        };
        let is_ice = |i: usize| matches!(kinds.get(i), Some(&(kind::STABLE | kind::LOST | kind::GAINED)));
        if reference.is_some() {
            let elevation = files.elevation.map(|path| read_band(path, (files.before, &grid), assumed)).transpose()?;
            territories.spread(is_ice, elevation.as_deref(), pixel_size(&grid))?;
        }
        let measure = Measure::new(&grid)?;
        let spreads = bootstrap(files, &grid, &kinds, &territories, &measure)?;
        let (rows, mut parts) = glaciers(&kinds, &territories, reference.as_ref(), &measure, spreads.as_ref())?;
        let mut sums = [0.0; 3];
        if reference.is_none() {
            for (sum, (wanted, name)) in sums.iter_mut().zip(kind::NAMES) {
                let outlines = territories.outlines(grid.window(), |i| kinds.get(i) == Some(&wanted))?;
                for outline in outlines {
                    let km2 = measure.km2(&outline)?;
                    *sum += km2;
                    parts.push(Part { row: None, kind: name, outlines: vec![outline], km2 });
                }
            }
        } else {
            for row in &rows {
                for (sum, km2) in sums.iter_mut().zip([row.stable_km2, row.lost_km2, row.gained_km2]) {
                    *sum += km2;
                }
            }
        }
        let total = row("total".into(), None, sums, spreads.and_then(|all| all.get(&TOTAL).copied()));
        let on_ellipsoid = measure.transformer.is_some();
        drop(measure);
        Ok(Self { grid, kinds, parts, rows, total, dates, not_known, on_ellipsoid })
    }

    /// The grid on which the maps are compared.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What every pixel of the grid was and is, as in [`mod@kind`].
    #[must_use]
    pub fn kinds(&self) -> &[u8] {
        &self.kinds
    }

    /// Columns and values of the rows and of the total, as in `change.csv`.
    #[must_use]
    pub fn table(&self) -> (Vec<Column>, Vec<Vec<Value>>, Vec<Value>) {
        (self.columns(), self.rows.iter().map(|row| self.values(row)).collect(), self.values(&self.total))
    }

    /// Years between the maps, where both days are known.
    #[must_use]
    pub fn years(&self) -> Option<f64> {
        self.dates.map(|[before, after]| before.years_to(after))
    }

    /// All numbers.
    #[must_use]
    pub fn summary(&self) -> Json {
        let all = |row: &Row| {
            let names = self.columns();
            let pairs = names.iter().zip(self.values(row)).map(|(column, value)| {
                let value = match value {
                    Value::Text(text) => Json::from(text),
                    Value::Real(value) => Json::from(value),
                    Value::Integer(value) => Json::from(value),
                    Value::Null => Json::Null,
                };
                (column.name.clone(), value)
            });
            Json::Object(pairs.collect())
        };
        json!({
            "dates": self.dates.map(|dates| dates.map(|day| day.to_string())),
            "years": self.years(),
            "area_surface": if self.on_ellipsoid { "WGS 84 ellipsoid" } else { "plane" },
            "pixels_without_data_at_either_date": self.not_known,
            "resamples": RESAMPLES,
            "total": all(&self.total),
            "glaciers": self.rows.iter().map(all).collect::<Vec<Json>>(),
        })
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![Column::new("glacier_id", ColumnType::Text), Column::new("name", ColumnType::Text)];
        let real = [
            "before_km2",
            "after_km2",
            "lost_km2",
            "gained_km2",
            "stable_km2",
            "change_km2",
            "change_percent",
            "change_km2_per_year",
            "change_percent_per_year",
            "before_std_km2",
            "after_std_km2",
            "change_std_km2",
            "change_low_km2",
            "change_high_km2",
            "change_shift_km2",
        ];
        columns.extend(real.map(|name| Column::new(name, ColumnType::Real)));
        columns
    }

    fn values(&self, row: &Row) -> Vec<Value> {
        let real = |value: Option<f64>| value.map_or(Value::Null, Value::Real);
        let per_year = |value: Option<f64>| real(value.zip(self.years()).map(|(value, years)| value / years));
        let spread = |value: &dyn Fn(&Spreads) -> f64| real(row.spreads.as_ref().map(value));
        let change = row.change_km2();
        let mut values = vec![Value::Text(row.id.clone()), row.name.clone().map_or(Value::Null, Value::Text)];
        values.extend(
            [row.before_km2, row.after_km2, row.lost_km2, row.gained_km2, row.stable_km2, change].map(Value::Real),
        );
        values.extend([
            real(row.change_percent()),
            per_year(Some(change)),
            per_year(row.change_percent()),
            spread(&|s| s.before.deviation),
            spread(&|s| s.after.deviation),
            spread(&|s| s.change.deviation),
            real(row.change_bounds_km2().map(|[low, _]| low)),
            real(row.change_bounds_km2().map(|[_, high]| high)),
            spread(&|s| s.change.shift),
        ]);
        values
    }

    /// Stages `change.csv` (a line for each glacier, then the total), `change.gpkg` (polygons lost, gained and stable) and `change.png` for `folder`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage(&self, folder: &Path, description: &str, staged: &mut StagedFiles) -> Result<()> {
        let rows: Vec<Vec<Value>> = self.rows.iter().chain([&self.total]).map(|row| self.values(row)).collect();
        staged.stage_bytes(folder.join(FILES[0]), csv(&self.columns(), &rows).as_bytes())?;
        let columns = [
            Column::new("kind", ColumnType::Text),
            Column::new("glacier_id", ColumnType::Text),
            Column::new("area_km2", ColumnType::Real),
        ];
        let layer = Layer { name: "change", description, crs: self.grid.crs.as_ref(), columns: &columns };
        let mut writer = ShapeWriter::create(&folder.join(FILES[1]), &layer)?;
        for part in &self.parts {
            let id = part.row.and_then(|row| self.rows.get(row)).map_or(Value::Null, |row| Value::Text(row.id.clone()));
            let polygons: Vec<Polygon<f64>> = part.outlines.iter().map(|polygon| polygon.to_map(&self.grid)).collect();
            writer.add(&polygons, &[Value::Text(part.kind.into()), id, Value::Real(part.km2)])?;
        }
        writer.finish(staged)?;
        staged.stage(folder.join(FILES[2]), |path| self.write_picture(path))
    }

    fn write_picture(&self, path: &Path) -> Result<()> {
        let mut picture = Quicklook::new(self.grid.height, self.grid.width, 0.0)?;
        for row in self.kinds.chunks(self.grid.width.max(1)) {
            let ground: Vec<f32> = row.iter().map(|kind| if *kind == kind::UNKNOWN { f32::NAN } else { 0.5 }).collect();
            picture.add_rows([&ground, &ground, &ground], None)?;
        }
        let marks = [
            Mark { value: kind::STABLE, colour: [70, 160, 255], opacity: 0.6, name: "Ice at both dates" },
            Mark { value: kind::LOST, colour: [235, 30, 30], opacity: 0.85, name: "Lost" },
            Mark { value: kind::GAINED, colour: [255, 210, 0], opacity: 0.85, name: "Gained" },
        ];
        let dates = self.dates.map_or(String::new(), |[a, b]| format!("{a} to {b}  "));
        let sure = self.total.spreads.map_or(String::new(), |s| format!(" +- {:.2}", s.change.deviation));
        let title = format!("{dates}{:+.2}{sure} km2", self.total.change_km2());
        let caption = Caption { title: &title, pixel_m: self.grid.pixel_m() };
        write_png(&picture.draw_marks(&self.kinds, &marks, &caption)?, path)
    }
}

/// Both maps' classes on one grid: that of the first raster among them, else the one given.
fn read_both(files: &Files<'_>) -> Result<(Grid, Vec<u8>, Vec<u8>)> {
    let is_polygons = |path: &Path| Ok::<bool, Error>(Format::detect(path)?.is_some());
    let grid_of = match (is_polygons(files.before)?, is_polygons(files.after)?) {
        (false, _) => Some(files.before),
        (true, false) => Some(files.after),
        (true, true) => files.grid,
    };
    let (grid, before) = read_classes(files.before, grid_of, files.assumed_crs)?;
    let (own, after) = read_classes(files.after, grid_of, files.assumed_crs)?;
    if check_same_grid((files.before, &grid), (files.after, &own)).is_ok() {
        return Ok((grid, before, after));
    }
    tracing::info!("{}: brought to the grid of {}", files.after.display(), files.before.display());
    let after = warp_classes(files.after, (&own, &after), (files.before, &grid))?;
    Ok((grid, before, after))
}

/// The glaciers to tell apart: those of the reference, else those of the first map if it has identifiers.
fn reference(files: &Files<'_>) -> Result<Option<Reference>> {
    if let Some(path) = files.reference {
        return Reference::read(path, files.id_column).map(Some);
    }
    let Some(format) = Format::detect(files.before)? else { return Ok(None) };
    let has_id = files.id_column.is_some() || Reference::find_id(&Features::read(files.before, format)?).is_some();
    if has_id { Reference::read(files.before, files.id_column).map(Some) } else { Ok(None) }
}

fn dates(files: &Files<'_>) -> Result<Option<[Day; 2]>> {
    let of = |path: &Path| -> Result<Option<Day>> {
        let Some(format) = Format::detect(path)? else { return Ok(None) };
        Ok(date_of(&Features::read(path, format)?).and_then(|text| Day::parse(&text).ok()))
    };
    match files.dates {
        Some([before, after]) if after <= before => Err(Error::bad_argument(
            format!("the dates {before} and {after}"),
            "the second after the first",
            "exchange the files, or give --dates EARLIER,LATER",
        )),
        Some(dates) => Ok(Some(dates)),
        None => match (of(files.before)?, of(files.after)?) {
            (Some(before), Some(after)) if after <= before => {
                tracing::warn!(
                    "the maps' attributes date them to {before} and {after}: rates are left out; --dates gives others"
                );
                Ok(None)
            }
            (Some(before), Some(after)) => Ok(Some([before, after])),
            _ => Ok(None),
        },
    }
}

fn row(id: String, name: Option<String>, [stable, lost, gained]: [f64; 3], spreads: Option<Spreads>) -> Row {
    Row {
        id,
        name,
        before_km2: stable + lost,
        after_km2: stable + gained,
        lost_km2: lost,
        gained_km2: gained,
        stable_km2: stable,
        spreads,
    }
}

/// A glacier's number less 1, and the outlines and areas in km2 of each kind.
type Parts = (usize, [(Vec<Polygon<u32>>, f64); 3]);

/// A row for each glacier with ice at either date, and its polygons.
fn glaciers(
    kinds: &[u8],
    territories: &Territories,
    reference: Option<&Reference>,
    measure: &Measure<'_>,
    spreads: Option<&BTreeMap<u32, Spreads>>,
) -> Result<(Vec<Row>, Vec<Part>)> {
    let references = territories.references() as usize;
    let measured: Result<Vec<Option<Parts>>> = territories
        .windows()
        .into_par_iter()
        .enumerate()
        .map(|(number, window)| {
            let Some(window) = window else { return Ok(None) };
            let owner = u32::try_from(number + 1).unwrap_or(u32::MAX);
            let of = |wanted: u8| {
                measure
                    .outlines(territories, window, |i| kinds.get(i) == Some(&wanted) && territories.owner(i).0 == owner)
            };
            let found = [of(kind::STABLE)?, of(kind::LOST)?, of(kind::GAINED)?];
            Ok(found.iter().any(|(outlines, _)| !outlines.is_empty()).then_some((number, found)))
        })
        .collect();
    let (mut rows, mut parts) = (Vec::new(), Vec::new());
    let mut new_ids = reference.into_iter().flat_map(Reference::new_ids);
    for (number, found) in measured?.into_iter().flatten() {
        let glacier = reference.and_then(|reference| reference.glaciers.get(number)).filter(|_| number < references);
        let id = glacier.map(|glacier| glacier.id.clone()).or_else(|| new_ids.next()).unwrap_or_default();
        let spread = spreads.and_then(|all| all.get(&u32::try_from(number + 1).ok()?)).copied();
        let areas = [found[0].1, found[1].1, found[2].1];
        for ((_, name), (outlines, km2)) in kind::NAMES.into_iter().zip(found) {
            if !outlines.is_empty() {
                parts.push(Part { row: Some(rows.len()), kind: name, outlines, km2 });
            }
        }
        rows.push(row(id, glacier.and_then(|glacier| glacier.name.clone()), areas, spread));
    }
    Ok((rows, parts))
}

/// The sides of a pixel in metres.
pub(super) fn pixel_metres(grid: &Grid) -> (f64, f64) {
    const METRES_PER_DEGREE: f64 = 111_195.0;
    let unit = grid.crs.as_ref().map_or(1.0, |crs| crs.metres_per_unit().unwrap_or(METRES_PER_DEGREE));
    let (wide, high) = pixel_size(grid);
    (wide * unit, high * unit)
}

pub(super) fn pixel_km2(grid: &Grid, i: usize, measure: &Measure<'_>) -> Result<f64> {
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX - 1);
    let (col, row) = (side(i % grid.width.max(1)), side(i / grid.width.max(1)));
    let exterior = vec![(col, row), (col, row + 1), (col + 1, row + 1), (col + 1, row), (col, row)];
    measure.km2(&Polygon { exterior, holes: vec![] })
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "+- {:.3} km2", self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let day = |text: &str| Day::parse(text).expect("a day");
        assert_eq!(day("2000-08-01").years_to(day("2020-08-01")), 7305.0 / 365.25);
        assert_eq!(day("2020-02-28").number() + 2, day("2020-03-01").number());
        assert_eq!(day("1900-02-28").number() + 1, day("1900-03-01").number());
        assert_eq!(day("1999-12-31").number() + 1, day("2000-01-01").number());
        assert_eq!(day("0987-01-02").to_string(), "0987-01-02");
        for text in [
            "",
            "2020",
            "2020-13-01",
            "2021-02-29",
            "1900-02-29",
            "20-01-01",
            "2020-1-01",
            "2020-01-01T00",
            "a-b-c",
            "2020-00-10",
        ] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
    }
}
