//! The outlines of a class, from rows of a prediction to a file of polygons.
//!
//! Rows come from the north and are not kept: memory is some bytes per column and the boundaries of the outlines.
//!
//! Every outline has the attributes
//!
//! | name | meaning |
//! |---|---|
//! | `glacier_id` | 1, 2, ... in reading order of the first pixels |
//! | `area_km2` | area of the polygon as it is written, on the WGS 84 ellipsoid where the CRS is known |
//! | `perimeter_km` | length of its exterior and holes, on the same surface; along pixel edges it is that of a staircase |
//! | `mean_confidence` | mean confidence of its pixels |
//! | `min_confidence` | the least of them |
//! | `pixels` | its number of pixels |
//!
//! With an iso-line ([`crate::raster::iso_line`]) boundaries follow the probability of 0.5 and not the classes. Where a filter changed classes, the line
//! does not follow the filter: it shows what the network said, single pixels included. `min_area_km2` takes those away.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::raster::area::{Size, size};
use crate::raster::iso_line::{IsoLine, IsoRegion};
use crate::raster::outliner::{Outline, Outliner, reading_order};
use crate::raster::polygons::{Polygon, Statistics};
use crate::raster::shapes::{Column, ColumnType, Layer, ShapeWriter, Value, check_extension, write_style};
use crate::raster::simplify::{add_junctions, simplify};
use crate::raster::{Crs, Grid, Transformer};

/// The probability that an iso-line follows: [`crate::infer::postprocess::classify`] has glacier above it.
pub const LEVEL: f32 = 0.5;

/// The name of the layer in formats that name layers.
pub const LAYER: &str = "outlines";

/// Outlines made at once: enough for the cores, little in memory.
const BATCH: usize = 1024;

/// How outlines are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OutlineSettings {
    /// Outlines smaller than this are left out; their area is taken before they are simplified.
    pub min_area_km2: f64,
    /// How far, in metres, simplification may move a boundary; 0 for none.
    pub simplify_m: f64,
    /// Along the probability of 0.5 instead of pixel edges.
    pub iso_line: bool,
}

impl OutlineSettings {
    /// Checks the numbers.
    ///
    /// # Errors
    /// One of them is negative or not a number.
    pub fn check(&self) -> Result<()> {
        for (what, value) in [("a least area", self.min_area_km2), ("a tolerance", self.simplify_m)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::bad_argument(format!("{what} of {value}"), "0 or more", "give another number"));
            }
        }
        Ok(())
    }
}

/// What was outlined.
#[derive(Debug, Clone)]
pub struct OutlineSummary {
    /// Outlines.
    pub count: usize,
    /// The sum of their areas in km2.
    pub area_km2: f64,
    /// The surface that areas were measured on: `WGS 84 ellipsoid`, or `plane` where the CRS is not known.
    pub surface: &'static str,
    /// The outlines along pixel edges, in pixel corners, for pictures: those of the classes also where the file has iso-lines. Empty if
    /// [`OutlineLayer::without_pixel_polygons`] was asked for.
    pub pixel_polygons: Vec<Polygon<u32>>,
    /// The same numbers by class.
    pub classes: Vec<ClassSummary>,
}

/// What was outlined of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassSummary {
    /// The class.
    pub class: u8,
    /// Its outlines.
    pub count: usize,
    /// The sum of their areas in km2.
    pub area_km2: f64,
}

/// The outlines of one class, under way.
#[derive(Debug)]
pub struct OutlineLayer {
    grid: Grid,
    settings: OutlineSettings,
    class: u8,
    transformer: Option<Transformer>,
    outliner: Option<Outliner>,
    line: Option<IsoLine>,
    has_confidence: bool,
    keeps_pixels: bool,
    found: Vec<Found>,
    /// Beside iso-lines.
    pixel_polygons: Vec<Polygon<u32>>,
}

#[derive(Debug)]
struct Found {
    class: u8,
    boundary: Boundary,
    pixels: u64,
    values: Statistics,
}

#[derive(Debug)]
enum Boundary {
    Pixels(Polygon<u32>),
    Line(IsoRegion),
}

impl Boundary {
    fn to_map(&self, grid: &Grid) -> Polygon<f64> {
        match self {
            Self::Pixels(polygon) => polygon.to_map(grid),
            Self::Line(region) => region.to_map(grid),
        }
    }

    /// (row, column) of where it begins.
    fn order(&self) -> (f64, f64) {
        match self {
            Self::Pixels(polygon) => {
                reading_order(polygon).map_or((0.0, 0.0), |(row, col)| (f64::from(row), f64::from(col)))
            }
            Self::Line(region) => region.polygon.exterior.first().map_or((0.0, 0.0), |&(col, row)| (row, col)),
        }
    }
}

impl OutlineLayer {
    /// For the pixels of `class` on a grid.
    ///
    /// # Errors
    /// Settings that are no numbers, or a CRS that cannot be transformed to the ellipsoid.
    pub fn new(grid: &Grid, settings: &OutlineSettings, class: u8) -> Result<Self> {
        Self::starting_at(grid, settings, class, 0)
    }

    /// As [`OutlineLayer::new`], for a class that rows before `row` do not have.
    ///
    /// # Errors
    /// As [`OutlineLayer::new`].
    pub fn starting_at(grid: &Grid, settings: &OutlineSettings, class: u8, row: usize) -> Result<Self> {
        settings.check()?;
        let crs = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        let row = u32::try_from(row).unwrap_or(u32::MAX); // which the first row refuses
        Ok(Self {
            grid: grid.clone(),
            settings: *settings,
            class,
            transformer: crs.map(Transformer::to_longitude_latitude).transpose()?,
            outliner: Some(Outliner::starting_at(grid.width, class, row)),
            line: settings.iso_line.then(|| IsoLine::starting_at(grid.width, LEVEL, row)),
            has_confidence: true,
            keeps_pixels: true,
            found: Vec::new(),
            pixel_polygons: Vec::new(),
        })
    }

    /// Keeps no outlines for pictures.
    #[must_use]
    pub fn without_pixel_polygons(mut self) -> Self {
        self.keeps_pixels = false;
        if self.line.is_some() {
            self.outliner = None;
        }
        self
    }

    /// Writes no confidence.
    #[must_use]
    pub fn without_confidence(mut self) -> Self {
        self.has_confidence = false;
        self
    }

    /// Adds whole rows from the north: classes, their confidence and the probability of the class, NaN where there are no data. `confidence` may be
    /// empty, and `probability` where no iso-line is drawn.
    ///
    /// # Errors
    /// The lengths are not those of whole rows, or an outline lies outside its projection's domain.
    pub fn add_rows(&mut self, classes: &[u8], confidence: &[f32], probability: &[f32]) -> Result<()> {
        let class = self.class;
        self.add_rows_where(classes.len(), |index| classes[index] == class, confidence, probability)
    }

    /// As [`OutlineLayer::add_rows`], of `pixels` pixels for which `inside` tells whether they are of the class.
    ///
    /// # Errors
    /// As [`OutlineLayer::add_rows`].
    pub fn add_rows_where(
        &mut self,
        pixels: usize,
        inside: impl Fn(usize) -> bool,
        confidence: &[f32],
        probability: &[f32],
    ) -> Result<()> {
        if let Some(outliner) = &mut self.outliner {
            outliner.add_rows_where(pixels, inside, confidence)?;
            let complete = outliner.take_complete();
            self.take_outlines(complete)?;
        }
        if let Some(line) = &mut self.line {
            if probability.len() != pixels {
                return Err(Error::bad_argument(
                    format!("{} probabilities for {pixels} pixels", probability.len()),
                    "a probability for each pixel",
                    "an iso-line needs the raster of probabilities",
                ));
            }
            line.add_rows(probability, confidence)?;
            let complete = line.take_complete();
            self.take_lines(complete)?;
        }
        Ok(())
    }

    fn take_outlines(&mut self, outlines: Vec<Outline>) -> Result<()> {
        let class = self.class;
        let found = outlines.into_iter().map(|Outline { polygon, pixels, values }| Found {
            class,
            boundary: Boundary::Pixels(polygon),
            pixels,
            values,
        });
        let found = self.large_enough(found.collect())?;
        if self.line.is_some() {
            self.pixel_polygons.extend(found.into_iter().filter_map(|found| match found.boundary {
                Boundary::Pixels(polygon) => Some(polygon),
                Boundary::Line(_) => None,
            }));
        } else {
            self.found.extend(found);
        }
        Ok(())
    }

    fn take_lines(&mut self, regions: Vec<IsoRegion>) -> Result<()> {
        let class = self.class;
        let found = regions.into_iter().map(|region| Found {
            class,
            pixels: region.pixels,
            values: region.values,
            boundary: Boundary::Line(region),
        });
        let found = self.large_enough(found.collect())?;
        self.found.extend(found);
        Ok(())
    }

    /// Those that are not smaller than the least area.
    fn large_enough(&self, found: Vec<Found>) -> Result<Vec<Found>> {
        if self.settings.min_area_km2 <= 0.0 {
            return Ok(found);
        }
        let sized: Result<Vec<(Found, bool)>> = found
            .into_par_iter()
            .map(|found| {
                let own = size(&found.boundary.to_map(&self.grid), self.transformer.as_ref())?;
                Ok((found, own.area.km2() >= self.settings.min_area_km2))
            })
            .collect();
        Ok(sized?.into_iter().filter(|(_, is_large)| *is_large).map(|(found, _)| found).collect())
    }

    /// Writes all outlines to every one of `targets` (format by extension). `description` says where they come from.
    ///
    /// # Errors
    /// A file cannot be written, its format is not known, or an outline lies outside its projection's domain.
    pub fn finish(self, targets: &[PathBuf], description: &str, staged: &mut StagedFiles) -> Result<OutlineSummary> {
        finish_layers(vec![self], false, targets, description, staged)
    }

    /// Takes what the last row completed.
    fn end(&mut self) -> Result<()> {
        if let Some(outliner) = self.outliner.take() {
            let rest = outliner.finish()?;
            self.take_outlines(rest)?;
        }
        if let Some(line) = self.line.as_mut() {
            let width = self.grid.width;
            let rest = std::mem::replace(line, IsoLine::new(width, LEVEL)).finish();
            self.take_lines(rest)?;
        }
        Ok(())
    }
}

/// Writes the outlines of several classes of one grid to one layer, in which neighbours of different classes are simplified together.
/// `names_class` adds the attribute `class`. The first layer's settings count.
///
/// # Errors
/// As [`OutlineLayer::finish`].
pub fn finish_layers(
    mut layers: Vec<OutlineLayer>,
    names_class: bool,
    targets: &[PathBuf],
    description: &str,
    staged: &mut StagedFiles,
) -> Result<OutlineSummary> {
    let mut found = Vec::new();
    let mut pixel_polygons = Vec::new();
    for layer in &mut layers {
        layer.end()?;
        found.append(&mut layer.found);
        pixel_polygons.append(&mut layer.pixel_polygons);
    }
    let mut summary = OutlineSummary {
        count: 0,
        area_km2: 0.0,
        surface: "WGS 84 ellipsoid",
        pixel_polygons,
        classes: layers.iter().map(|layer| ClassSummary { class: layer.class, count: 0, area_km2: 0.0 }).collect(),
    };
    let Some(OutlineLayer { grid, settings, transformer, has_confidence, keeps_pixels, .. }) =
        layers.into_iter().next()
    else {
        return Ok(summary);
    };
    if transformer.is_none() {
        summary.surface = "plane";
    }
    found.sort_by(|a, b| a.boundary.order().partial_cmp(&b.boundary.order()).unwrap_or(std::cmp::Ordering::Equal));
    if keeps_pixels && !settings.iso_line {
        summary.pixel_polygons = found
            .iter()
            .filter_map(|found| match &found.boundary {
                Boundary::Pixels(polygon) => Some(polygon.clone()),
                Boundary::Line(_) => None,
            })
            .collect();
    }
    let simplified = (settings.simplify_m > 0.0)
        .then(|| simplified(&mut found, &grid, settings.simplify_m, summary.classes.len() > 1))
        .transpose()?;
    let columns = columns(names_class, has_confidence);
    let layer = LayerFiles { description, crs: grid.crs.as_ref(), columns: &columns };
    layer.write(targets, staged, |add| {
        // Every target asks for the features anew.
        (summary.count, summary.area_km2) = (0, 0.0);
        for class in &mut summary.classes {
            (class.count, class.area_km2) = (0, 0.0);
        }
        for (batch, group) in found.chunks(BATCH).enumerate() {
            let sized: Result<Vec<(Polygon<f64>, Size)>> = group
                .par_iter()
                .enumerate()
                .map(|(index, found)| {
                    let polygon = match &simplified {
                        Some(all) => all[batch * BATCH + index].clone(),
                        None => found.boundary.to_map(&grid),
                    };
                    let own = size(&polygon, transformer.as_ref())?;
                    Ok((polygon, own))
                })
                .collect();
            for (found, (polygon, own)) in group.iter().zip(sized?) {
                summary.count += 1;
                summary.area_km2 += own.area.km2();
                if let Some(class) = summary.classes.iter_mut().find(|class| class.class == found.class) {
                    class.count += 1;
                    class.area_km2 += own.area.km2();
                }
                add(&polygon, &values(found, own, summary.count, names_class, has_confidence))?;
            }
        }
        Ok(())
    })?;
    Ok(summary)
}

/// Simplified polygons in map coordinates, in the order of `found`.
fn simplified(found: &mut [Found], grid: &Grid, tolerance_m: f64, has_neighbours: bool) -> Result<Vec<Polygon<f64>>> {
    if has_neighbours {
        // Outlines of one class meet in their own corners only.
        let mut polygons: Vec<Polygon<u32>> = found
            .iter_mut()
            .filter_map(|found| match &mut found.boundary {
                Boundary::Pixels(polygon) => {
                    Some(std::mem::replace(polygon, Polygon { exterior: Vec::new(), holes: Vec::new() }))
                }
                Boundary::Line(_) => None,
            })
            .collect();
        add_junctions(&mut polygons);
        let places = found.iter_mut().filter_map(|found| match &mut found.boundary {
            Boundary::Pixels(polygon) => Some(polygon),
            Boundary::Line(_) => None,
        });
        for (place, polygon) in places.zip(polygons) {
            *place = polygon;
        }
    }
    let mut polygons: Vec<Polygon<f64>> = found.par_iter().map(|found| found.boundary.to_map(grid)).collect();
    simplify(&mut polygons, tolerance_m, grid.metres_per_unit())?;
    Ok(polygons)
}

fn columns(names_class: bool, has_confidence: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("glacier_id", ColumnType::Integer)];
    if names_class {
        columns.push(Column::new("class", ColumnType::Integer));
    }
    columns.extend(["area_km2", "perimeter_km"].map(|name| Column::new(name, ColumnType::Real)));
    if has_confidence {
        columns.extend(["mean_confidence", "min_confidence"].map(|name| Column::new(name, ColumnType::Real)));
    }
    columns.push(Column::new("pixels", ColumnType::Integer));
    columns
}

/// The values of [`columns`].
fn values(found: &Found, own: Size, number: usize, names_class: bool, has_confidence: bool) -> Vec<Value> {
    let mut values = vec![Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))];
    if names_class {
        values.push(Value::Integer(i64::from(found.class)));
    }
    values.extend([Value::Real(own.area.km2()), Value::Real(own.perimeter_km)]);
    if has_confidence {
        values.extend([Value::Real(found.values.mean), Value::Real(found.values.minimum)]);
    }
    values.push(Value::Integer(i64::try_from(found.pixels).unwrap_or(i64::MAX)));
    values
}

/// What the files of a layer have in common.
struct LayerFiles<'a> {
    description: &'a str,
    crs: Option<&'a Crs>,
    columns: &'a [Column],
}

impl LayerFiles<'_> {
    /// Writes the same features to all targets: `features` calls what it is given for each.
    fn write(
        &self,
        targets: &[PathBuf],
        staged: &mut StagedFiles,
        mut features: impl FnMut(&mut dyn FnMut(&Polygon<f64>, &[Value]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        targets.iter().try_for_each(|target| check_extension(target))?;
        if targets.is_empty() {
            return features(&mut |_, _| Ok(()));
        }
        for target in targets {
            let layer = Layer { name: LAYER, description: self.description, crs: self.crs, columns: self.columns };
            let mut writer = ShapeWriter::create(target, &layer)?;
            features(&mut |polygon, values| writer.add(std::slice::from_ref(polygon), values))?;
            writer.finish(staged)?;
            write_style(target, staged)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let crs = Crs::from_epsg(32611).ok();
        Grid { width: 4, height: 4, transform: [100.0, 0.0, 480_000.0, 0.0, -100.0, 5_780_900.0], crs }
    }

    const CLASSES: [u8; 16] = [1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255];

    /// The attributes in their order.
    type Row = (i64, f64, f64, f64, f64, i64);

    /// The outlines, and the rows of the table that came of them.
    fn outlined(settings: &OutlineSettings) -> (OutlineSummary, Vec<Row>) {
        let mut layer = OutlineLayer::new(&grid(), settings, 1).expect("a known CRS");
        let confidence: Vec<f32> = [0.5, 0.75, 0.0, 0.25].repeat(4);
        let probability: Vec<f32> = CLASSES.iter().map(|&class| if class == 1 { 0.9 } else { 0.1 }).collect();
        for rows in [0..8, 8..12, 12..16] {
            layer.add_rows(&CLASSES[rows.clone()], &confidence[rows.clone()], &probability[rows]).expect("whole rows");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("outlines.gpkg");
        let mut staged = StagedFiles::new();
        let summary = layer.finish(std::slice::from_ref(&target), "a test", &mut staged).expect("written");
        staged.publish().expect("renamed");
        let table = rusqlite::Connection::open(target).expect("a GeoPackage");
        let mut rows = table
            .prepare("SELECT glacier_id, area_km2, perimeter_km, mean_confidence, min_confidence, pixels FROM outlines")
            .expect("the columns");
        let rows = rows
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))
            .and_then(Iterator::collect)
            .expect("rows");
        (summary, rows)
    }

    #[test]
    fn attributes_by_hand() {
        let (summary, rows) = outlined(&OutlineSettings::default());
        assert_eq!((summary.count, rows.len(), summary.surface), (2, 2, "WGS 84 ellipsoid"));
        assert_eq!(summary.pixel_polygons.len(), 2);
        let scale = 0.9996_f64; // near the central meridian
        let (id, area, perimeter, mean, least, pixels) = rows[0];
        assert_eq!((id, pixels, mean, least), (1, 3, (0.5 + 0.75 + 0.5) / 3.0, 0.5));
        assert!((area - 0.03 / scale.powi(2)).abs() < 1e-6 && (perimeter - 0.8 / scale).abs() < 1e-5);
        let (id, area, _, mean, least, pixels) = rows[1];
        assert_eq!((id, pixels, mean, least), (2, 1, 0.25, 0.25));
        assert!((summary.area_km2 - area - rows[0].1).abs() < 1e-12);
    }

    #[test]
    fn small_outlines_are_left_out() {
        let (summary, rows) = outlined(&OutlineSettings { min_area_km2: 0.02, ..OutlineSettings::default() });
        assert_eq!((summary.count, summary.pixel_polygons.len(), rows.len()), (1, 1, 1));
    }

    #[test]
    fn lines_and_simple_shapes() {
        let (line, rows) = outlined(&OutlineSettings { iso_line: true, ..OutlineSettings::default() });
        // The level lies in the middle between 0.9 and 0.1; corners are cut.
        assert_eq!((line.count, line.pixel_polygons.len(), rows[0].5), (2, 2, 3));
        assert!(rows[0].1 < 0.03 && rows[0].1 > 0.02, "{}", rows[0].1);
        let (simple, rows) = outlined(&OutlineSettings { simplify_m: 80.0, ..OutlineSettings::default() });
        assert_eq!((simple.count, rows[0].5), (2, 3));
        assert!(rows[0].2 < 0.8);
        // Pictures keep the pixels.
        assert_eq!(simple.pixel_polygons[0].exterior.len(), 7);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let nan = OutlineSettings { min_area_km2: f64::NAN, ..OutlineSettings::default() };
        assert!(OutlineLayer::new(&grid(), &nan, 1).is_err());
        let negative = OutlineSettings { simplify_m: -1.0, ..OutlineSettings::default() };
        assert!(OutlineLayer::new(&grid(), &negative, 1).is_err());
        let line = OutlineSettings { iso_line: true, ..OutlineSettings::default() };
        let mut layer = OutlineLayer::new(&grid(), &line, 1).expect("a known CRS");
        assert!(layer.add_rows(&[1; 4], &[], &[]).is_err());
        let layer = OutlineLayer::new(&grid(), &OutlineSettings::default(), 1).expect("a known CRS");
        assert!(layer.finish(&[PathBuf::from("outlines.xyz")], "", &mut StagedFiles::new()).is_err());
    }
}
