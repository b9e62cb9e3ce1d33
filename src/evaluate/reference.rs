//! Glaciers that are known already: an inventory such as the Randolph Glacier Inventory or GLIMS, by identifier.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::evaluate::self_crossing::CrossingPolygons;
use crate::evaluate::territory::Territories;
use crate::raster::area::area;
use crate::raster::polygons::{Polygon, Ring};
use crate::raster::shapes::placement::Placement;
use crate::raster::shapes::{ColumnType, Features, Value};
use crate::raster::{Crs, Grid, Transformer};

/// Attributes that identify glaciers, the usual one first: RGI 7 and 6, GLIMS, our own.
const IDS: [&str; 6] = ["rgi_id", "rgiid", "glims_id", "glac_id", "glacier_id", "glimsid"];
/// Attributes that name glaciers.
const NAMES: [&str; 4] = ["glac_name", "name", "glacier_name", "glacier"];
/// Attributes that date outlines.
const DATES: [&str; 4] = ["src_date", "acq_date", "date", "bgndate"];

/// One glacier of an inventory.
#[derive(Debug, Clone)]
pub struct Glacier {
    /// Its identifier.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its outlines in the inventory's CRS.
    pub polygons: Vec<Polygon<f64>>,
}

/// The glaciers of an inventory.
#[derive(Debug, Clone)]
pub struct Reference {
    path: PathBuf,
    crs: Option<Crs>,
    /// The attribute with the identifiers.
    pub id_column: String,
    /// The glaciers, in the file's order. Several features of one identifier are one glacier.
    pub glaciers: Vec<Glacier>,
}

impl Reference {
    /// Reads an inventory. `id_column` is the attribute with the identifiers; without it, the usual ones are looked for.
    ///
    /// # Errors
    /// The file cannot be read, has no such attribute, or a glacier has no identifier.
    pub fn read(path: &Path, id_column: Option<&str>) -> Result<Self> {
        let features = Features::open(path)?;
        let Some(id) = id_column.map_or_else(|| Self::find_id(&features), |name| features.column(name)) else {
            let names: Vec<&str> = features.columns.iter().map(|column| column.name.as_str()).collect();
            let found =
                if names.is_empty() { "no attributes".into() } else { format!("the attributes {}", names.join(", ")) };
            let expected =
                id_column.map_or_else(|| format!("one of {}", IDS.join(", ")), |name| format!("one called {name}"));
            return Err(Error::bad_file(path, found, expected, "name the one with the identifiers with --id-column"));
        };
        let name = NAMES.iter().filter_map(|name| features.column(name)).find(|column| *column != id);
        let id_column = features.columns.get(id).map(|column| column.name.clone()).unwrap_or_default();
        let mut glaciers: Vec<Glacier> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for (row, feature) in features.features.into_iter().enumerate() {
            let text = |column: usize| match feature.values.get(column) {
                Some(Value::Text(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Some(Value::Integer(number)) => Some(number.to_string()),
                Some(Value::Real(number)) => Some(number.to_string()),
                _ => None,
            };
            let Some(id) = text(id) else {
                let found = format!("no {id_column} in feature {}", row + 1);
                return Err(Error::bad_file(
                    path,
                    found,
                    "an identifier for every glacier",
                    "choose another --id-column",
                ));
            };
            let name = name.and_then(text);
            match numbers.get(&id).and_then(|number| glaciers.get_mut(*number)) {
                Some(glacier) => glacier.polygons.extend(feature.polygons),
                None => {
                    numbers.insert(id.clone(), glaciers.len());
                    glaciers.push(Glacier { id, name, polygons: feature.polygons });
                }
            }
        }
        Ok(Self { path: path.to_path_buf(), crs: features.crs, id_column, glaciers })
    }

    /// The attribute that identifies the glaciers of a file, if it has a usual one.
    #[must_use]
    pub fn find_id(features: &Features) -> Option<usize> {
        IDS.iter().find_map(|name| features.column(name))
    }

    /// As [`Reference::find_id`], of an attribute that identifies glaciers outside the file too. Running numbers, which `glavitu predict` and `glavitu
    /// vectorise` write, do not.
    #[must_use]
    pub fn find_lasting_id(features: &Features) -> Option<usize> {
        IDS.iter().filter_map(|name| features.column(name)).find(|column| !are_running_numbers(features, *column))
    }

    /// The glaciers' polygons that cross themselves.
    #[must_use]
    pub fn crossing(&self) -> Option<CrossingPolygons> {
        let glaciers: Vec<(&str, &[Polygon<f64>])> =
            self.glaciers.iter().map(|glacier| (glacier.id.as_str(), glacier.polygons.as_slice())).collect();
        CrossingPolygons::find(&self.path, &glaciers)
    }

    /// Identifiers for glaciers that the inventory does not know: `new-1`, `new-2`, ... without those that it has itself, as one made by
    /// [`crate::evaluate::inventory`] may have.
    pub fn new_ids(&self) -> impl Iterator<Item = String> {
        let known: HashSet<&str> = self.glaciers.iter().map(|glacier| glacier.id.as_str()).collect();
        (1_u64..).map(|number| format!("new-{number}")).filter(move |id| !known.contains(id.as_str()))
    }

    /// Whose ground pixels inside the outlines are; the glaciers are numbered from 1 in their order.
    ///
    /// # Errors
    /// A CRS is not known, a vertex has no place on the map, or memory does not suffice.
    pub fn territories(&self, grid: &Grid, assumed: Option<&Crs>) -> Result<Territories> {
        let placement = Placement::new(&self.path, self.crs.as_ref(), grid, assumed)?;
        let mut territories = Territories::new(grid)?;
        for glacier in &self.glaciers {
            let mut placed = Vec::with_capacity(glacier.polygons.len());
            for polygon in &glacier.polygons {
                let rings: Vec<Ring<f64>> = polygon.rings().cloned().collect();
                placed.extend(placement.pixels(&rings)?);
            }
            territories.add_reference(&placed)?;
        }
        Ok(territories)
    }

    /// The area of a glacier's outlines in km2, on the ellipsoid where the CRS is known.
    ///
    /// # Errors
    /// A vertex has no place on the Earth.
    pub fn area_km2(&self, glacier: &Glacier, assumed: Option<&Crs>) -> Result<f64> {
        let crs = self.crs.as_ref().filter(|crs| !crs.proj.is_empty()).or(assumed);
        let transformer = crs.map(Transformer::to_longitude_latitude).transpose()?;
        let areas: Result<Vec<f64>> =
            glacier.polygons.iter().map(|polygon| area(polygon, transformer.as_ref()).map(|area| area.km2())).collect();
        Ok(areas?.into_iter().sum())
    }
}

/// Whether a column numbers the features: 1, 2, 3, ... in the file's order. Where features were deleted since, those of our own outlines are told by the
/// columns beside them.
fn are_running_numbers(features: &Features, column: usize) -> bool {
    let is_integer = |column: usize| features.columns.get(column).is_some_and(|own| own.kind == ColumnType::Integer);
    let is_called = |name: &str| features.column(name) == Some(column);
    let is_outline_of_pixels = ["pixels", "perimeter_km"].iter().all(|name| features.column(name).is_some());
    if is_integer(column) && is_called("glacier_id") && is_outline_of_pixels {
        return true;
    }
    let mut values = (1_i64..).zip(features.features.iter().map(|feature| feature.values.get(column)));
    values.all(|(number, value)| match value {
        Some(Value::Integer(value)) => *value == number,
        Some(Value::Real(value)) => *value == number as f64,
        _ => false,
    })
}

/// The middle one of the dates of a file's outlines, as text; `None` where it has no attribute of dates.
#[must_use]
pub fn date_of(features: &Features) -> Option<String> {
    let column = DATES.iter().find_map(|name| features.column(name))?;
    let mut dates: Vec<&str> = features
        .features
        .iter()
        .filter_map(|feature| match feature.values.get(column) {
            Some(Value::Text(text)) => text.get(..10),
            _ => None,
        })
        .collect();
    dates.sort_unstable();
    dates.get(dates.len() / 2).map(|date| (*date).to_owned())
}
