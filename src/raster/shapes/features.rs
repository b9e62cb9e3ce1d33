//! Polygons with their attributes, from any of the formats.

use std::path::{Path, PathBuf};

use super::placement::Placement;
use super::{Format, PixelShapes, damaged, flatgeobuf, geojson, geopackage, shapefile};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::geopackage::{Column, ColumnType, Value};
use crate::raster::grid::Grid;
use crate::raster::polygons::{Polygon, Ring};

/// One row of a file of polygons.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its polygons, rings closed; none where it has no place.
    pub polygons: Vec<Polygon<f64>>,
    /// A value for each column of the file.
    pub values: Vec<Value>,
}

/// The features of a file.
#[derive(Debug, Clone)]
pub struct Features {
    path: PathBuf,
    /// The attributes, in the file's order and spelling. Dates are text, booleans are integers.
    pub columns: Vec<Column>,
    /// The features, in the file's order.
    pub features: Vec<Feature>,
    /// As [`super::Shapes::crs`].
    pub crs: Option<Crs>,
}

impl Features {
    /// Reads a file of polygons with all attributes.
    ///
    /// # Errors
    /// As [`super::Shapes::read`]; also for a damaged table of attributes.
    pub fn read(path: &Path, format: Format) -> Result<Self> {
        let bytes = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
        let mut gathered = Gathered::new(path, bytes);
        let mut sink = |parts, values| gathered.add(parts, values);
        let (columns, crs) = match format {
            Format::GeoJson => geojson::parse(path, &mut sink)?,
            Format::GeoPackage => geopackage::parse(path, true, &mut sink)?,
            Format::Shapefile => shapefile::parse(path, &mut sink)?,
            Format::FlatGeobuf => {
                let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
                flatgeobuf::parse(path, &bytes, &mut sink)?
            }
        };
        let features = gathered.features;
        if features.iter().all(|feature| feature.polygons.is_empty()) {
            let remedy = "check that the file is the right one";
            return Err(Error::bad_file(path, "no polygons", "at least one polygon", remedy));
        }
        Ok(Self { path: path.to_path_buf(), columns, features, crs })
    }

    /// Reads a file of polygons, its format told by its first bytes.
    ///
    /// # Errors
    /// As [`Features::read`]; also for a file of another kind.
    pub fn open(path: &Path) -> Result<Self> {
        match Format::detect(path)? {
            Some(format) => Self::read(path, format),
            None => Err(Error::bad_file(
                path,
                "none of the formats it may have",
                "a GeoPackage, GeoJSON, FlatGeobuf or Shapefile (.shp)",
                "give the file of polygons",
            )),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The polygons of some features on the pixels of a grid, as [`super::Shapes::on_grid`] places them.
    ///
    /// # Errors
    /// As [`super::Shapes::on_grid`].
    pub fn on_grid(
        &self,
        chosen: impl Fn(&Feature) -> bool,
        grid: &Grid,
        assumed: Option<&Crs>,
    ) -> Result<PixelShapes> {
        let placement = Placement::new(&self.path, self.crs.as_ref(), grid, assumed)?;
        let mut polygons = Vec::new();
        for polygon in self.features.iter().filter(|feature| chosen(feature)).flat_map(|feature| &feature.polygons) {
            let rings: Vec<Ring<f64>> = polygon.rings().cloned().collect();
            polygons.extend(placement.pixels(&rings)?);
        }
        Ok(PixelShapes { width: grid.width, polygons })
    }

    /// The number of a column, whatever the case of its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// Values that a file may have beside one for each of its bytes: GeoJSON leaves absent ones out.
const FREE_VALUES: u64 = 1 << 20;

/// Features being read.
struct Gathered<'a> {
    path: &'a Path,
    /// Values that may still come: a few bytes of an attack must not become gigabytes of nothing.
    left: u64,
    features: Vec<Feature>,
}

impl<'a> Gathered<'a> {
    fn new(path: &'a Path, bytes: u64) -> Self {
        Self { path, left: bytes.saturating_add(FREE_VALUES), features: Vec::new() }
    }

    fn add(&mut self, parts: Vec<Vec<Ring<f64>>>, values: Vec<Value>) -> Result<()> {
        let Some(left) = self.left.checked_sub(values.len() as u64) else {
            return Err(damaged(self.path, "more attributes than the file has bytes"));
        };
        self.left = left;
        if let Some((x, y)) = parts.iter().flatten().flatten().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return Err(damaged(self.path, format!("the vertex ({x}, {y})")));
        }
        let polygons = parts.into_iter().filter_map(|rings| {
            let mut rings = rings.into_iter();
            let exterior = closed(rings.next()?)?;
            Some(Polygon { exterior, holes: rings.filter_map(closed).collect() })
        });
        self.features.push(Feature { polygons: polygons.collect(), values });
        Ok(())
    }
}

/// The ring with its first vertex repeated; `None` for one that encloses nothing.
fn closed(mut ring: Ring<f64>) -> Option<Ring<f64>> {
    let first = *ring.first()?;
    if ring.last() != Some(&first) {
        ring.push(first);
    }
    (ring.len() >= 4).then_some(ring)
}

/// What `text` becomes as the name of a layer or an attribute: letters, digits and underscores, beginning with a letter.
#[must_use]
pub fn plain_name(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(60).collect();
    let lower = plain.to_ascii_lowercase();
    let is_reserved = ["gpkg_", "sqlite_", "rtree_", "fid", "geom"].iter().any(|name| match name.strip_suffix('_') {
        Some(_) => lower.starts_with(name),
        None => lower == *name,
    });
    if is_reserved || !plain.starts_with(|c: char| c.is_ascii_alphabetic()) { format!("a_{plain}") } else { plain }
}

/// Columns with names that every format can have, each once, whatever its case.
#[must_use]
pub fn plain_columns(columns: &[Column]) -> Vec<Column> {
    let mut plain: Vec<Column> = Vec::with_capacity(columns.len());
    let mut taken = std::collections::HashSet::new();
    for column in columns {
        let base = plain_name(&column.name);
        let mut name = base.clone();
        let mut number = 1;
        while !taken.insert(name.to_ascii_lowercase()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        plain.push(Column::new(name, column.kind));
    }
    plain
}

/// The type that holds values of both types.
pub(super) fn common_type(a: ColumnType, b: ColumnType) -> ColumnType {
    match (a, b) {
        _ if a == b => a,
        (ColumnType::Integer, ColumnType::Real) | (ColumnType::Real, ColumnType::Integer) => ColumnType::Real,
        _ => ColumnType::Text,
    }
}

/// A value as one of a column's type.
pub(super) fn fitted(value: Value, kind: ColumnType) -> Value {
    match (value, kind) {
        #[expect(clippy::cast_precision_loss, reason = "a column of fractions has no exact integers beyond 2^53")]
        (Value::Integer(value), ColumnType::Real) => Value::Real(value as f64),
        (Value::Integer(value), ColumnType::Text) => Value::Text(value.to_string()),
        (Value::Real(value), ColumnType::Text) => Value::Text(value.to_string()),
        #[expect(clippy::cast_possible_truncation, reason = "held against the value")]
        (Value::Real(value), ColumnType::Integer) => {
            let whole = value as i64;
            #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "equal only if nothing was lost")]
            if whole as f64 == value { Value::Integer(whole) } else { Value::Null }
        }
        (Value::Text(text), ColumnType::Integer) => text.trim().parse().map_or(Value::Null, Value::Integer),
        (Value::Text(text), ColumnType::Real) => text.trim().parse().map_or(Value::Null, Value::Real),
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let columns =
            ["Glac ID", "glac_id", "fid", "1st", "Größe", "fidelity"].map(|n| Column::new(n, ColumnType::Text));
        let names: Vec<String> = plain_columns(&columns).into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["Glac_ID", "glac_id_2", "a_fid", "a_1st", "Gr__e", "fidelity"]);
        assert_eq!(plain_name("rtree_x"), "a_rtree_x");
    }

    #[test]
    fn types() {
        assert_eq!(fitted(Value::Real(3.0), ColumnType::Integer), Value::Integer(3));
        assert_eq!(fitted(Value::Real(3.5), ColumnType::Integer), Value::Null);
        assert_eq!(fitted(Value::Real(1e300), ColumnType::Integer), Value::Null);
        assert_eq!(fitted(Value::Integer(3), ColumnType::Text), Value::Text("3".into()));
        assert_eq!(fitted(Value::Text(" 2.5 ".into()), ColumnType::Real), Value::Real(2.5));
        assert_eq!(common_type(ColumnType::Integer, ColumnType::Real), ColumnType::Real);
        assert_eq!(common_type(ColumnType::Text, ColumnType::Real), ColumnType::Text);
    }
}
