//! Outlines against those of experts, glacier by glacier: how far areas and boundaries are apart, and whether experts differ as much among themselves.
//!
//! # Glaciers
//! are those of the first reference. Outlines of other files belong to them by identifier, or to the one with which they share most ground. A raster is
//! split by them as `glavitu inventory` does. What belongs to none is counted apart. Glaciers that a raster does not show
//! whole are left out: outlines would end where the raster does.
//!
//! # Plane
//! Areas are those on the WGS 84 ellipsoid. Distances ([`super::distance`]) are taken in a plane: that of the first reference's CRS where it is a transverse
//! Mercator projection such as a UTM zone, or where no file has a CRS; else a transverse Mercator projection of scale 1 through
//! each glacier. Both are true to 0.1 % near their meridian.
//!
//! # Spread of experts
//! With two experts or more for a glacier, the mean distance of each pair of them is measured as that of the prediction from each. The prediction is within the
//! spread if the mean of its mean distances is at most the largest mean distance between two experts; its area is within if it lies between the
//! least and the largest of theirs.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance::{Boundary, Distances, Measured};
use super::groups::mean_and_deviation;
pub use super::outline_layer::Matching;
use super::outline_layer::{Outline, OutlineLayer, map};
pub use super::self_crossing::CrossingPolygons;
use crate::error::{Error, Result};
use crate::raster::crs::GeoKeys;
use crate::raster::polygons::Polygon;
use crate::raster::{Crs, Transformer};

/// Points along outlines lie this far apart at most, if the user does not say.
pub const SPACING_M: f64 = 5.0;
/// The most points along all outlines; each takes 16 bytes.
const MOST_POINTS: f64 = 1e8;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Outlines, or a raster of classes or probabilities.
    pub predicted: &'a Path,
    /// Outlines of one expert each; the glaciers are those of the first.
    pub references: &'a [PathBuf],
    /// The attribute with the identifiers, where it is none of the usual ones.
    pub id_column: Option<&'a str>,
    /// Stands in for a CRS that a file does not name or that is not known.
    pub assumed_crs: Option<&'a Crs>,
    /// Points along outlines lie this far apart at most, in metres.
    pub spacing: f64,
}

/// A glacier as it was predicted, against one expert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GlacierDeviation {
    /// The expert's number, from 1, in the order of the references.
    pub expert: usize,
    /// The identifier in the first reference, or the feature's number.
    pub glacier_id: String,
    /// Its name.
    pub name: Option<String>,
    /// Predicted area; 0 where nothing was predicted.
    pub predicted_km2: f64,
    /// The expert's.
    pub reference_km2: f64,
    /// Predicted less the expert's.
    pub area_deviation_km2: f64,
    /// That in percent of the expert's.
    pub area_deviation_percent: Option<f64>,
    /// Distances of the outlines; `None` where nothing was predicted.
    pub distances: Option<Distances>,
}

/// All glaciers of an expert together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TotalDeviation {
    /// The expert's number, from 1.
    pub expert: usize,
    /// The file.
    pub file: PathBuf,
    /// How its glaciers were told; the first reference has them by definition.
    pub matching: Matching,
    /// Glaciers that the expert has.
    pub glaciers: usize,
    /// Those of them of which something was predicted.
    pub predicted_glaciers: usize,
    /// Predicted area of these glaciers.
    pub predicted_km2: f64,
    /// The expert's area of them.
    pub reference_km2: f64,
    /// Predicted less the expert's.
    pub area_deviation_km2: f64,
    /// That in percent of the expert's.
    pub area_deviation_percent: Option<f64>,
    /// The sum of the glaciers' deviations, each without its sign.
    pub absolute_deviation_km2: f64,
    /// That in percent of the expert's area.
    pub absolute_deviation_percent: Option<f64>,
    /// Distances along the boundaries of all glaciers together; the Hausdorff distance is the largest of all.
    pub distances: Option<Distances>,
    /// The expert's outlines that belong to no glacier of the first reference.
    pub unmatched: usize,
}

/// The prediction beside the experts' differences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertSpread {
    /// The identifier.
    pub glacier_id: String,
    /// Its name.
    pub name: Option<String>,
    /// Experts who drew it, two or more.
    pub experts: usize,
    /// Their mean area.
    pub mean_area_km2: f64,
    /// The sample standard deviation of their areas.
    pub area_deviation_km2: f64,
    /// The least.
    pub least_area_km2: f64,
    /// The largest.
    pub largest_area_km2: f64,
    /// Mean distance between two experts, over all pairs.
    pub expert_distance_m: f64,
    /// The largest mean distance between two experts.
    pub largest_expert_distance_m: f64,
    /// Predicted area.
    pub predicted_km2: f64,
    /// Mean of the prediction's mean distances from the experts; `None` where nothing was predicted.
    pub predicted_distance_m: Option<f64>,
    /// Whether that is at most the largest between two experts; false where nothing was predicted.
    pub distance_within: bool,
    /// Whether the predicted area is between the experts' least and largest.
    pub area_within: bool,
}

/// A prediction against experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutlineComparison {
    /// The plane of the distances.
    pub plane: String,
    /// `WGS 84 ellipsoid` or `plane`.
    pub area_surface: String,
    /// Points along outlines lie this far apart at most.
    pub spacing_m: f64,
    /// How predicted outlines were matched to glaciers.
    pub matching: Matching,
    /// Predicted outlines matched by identifier to a glacier that lies elsewhere.
    pub apart: usize,
    /// Polygons that cross themselves, by file: areas and distances there are wrong.
    pub crossing: Vec<CrossingPolygons>,
    /// Predicted outlines that belong to no glacier.
    pub unmatched_outlines: usize,
    /// Their area.
    pub unmatched_km2: f64,
    /// Glaciers of which a map shows a part only; they are not compared. Polygons do not tell what was looked at, so none are left out.
    pub not_whole: Vec<String>,
    /// One for each expert.
    pub totals: Vec<TotalDeviation>,
    /// By glacier, then by expert.
    pub glaciers: Vec<GlacierDeviation>,
    /// Glaciers that two experts or more drew.
    pub spread: Vec<ExpertSpread>,
}

/// One glacier in the plane.
struct Planar {
    predicted: Option<Boundary>,
    predicted_km2: f64,
    /// By expert.
    experts: Vec<Option<(Boundary, f64)>>,
}

/// What is found for a glacier.
struct Found {
    rows: Vec<GlacierDeviation>,
    measured: Vec<Option<Measured>>,
    spread: Option<ExpertSpread>,
}

impl OutlineComparison {
    /// Reads and compares.
    ///
    /// # Errors
    /// A file cannot be read or brought to the first reference's CRS, none has the attribute that the user named, no predicted outline belongs to a
    /// glacier, or there would be more points than memory.
    pub fn new(files: &Files<'_>) -> Result<Self> {
        let (assumed, spacing) = (files.assumed_crs, files.spacing);
        if !(spacing.is_finite() && spacing > 0.0) {
            let expected = "metres between points along outlines, above 0";
            return Err(Error::bad_argument(format!("a spacing of {spacing}"), expected, "leave out --spacing"));
        }
        let Some(first) = files.references.first() else {
            return Err(Error::bad_argument("no reference", "outlines of one expert or more", "give --reference"));
        };
        // Crossings are looked for before vertices move, in the coordinates that the user would mend.
        let mut crossing = Vec::new();
        let first_layer = OutlineLayer::read(first, files.id_column, assumed)?;
        let of_first = first_layer.crossing();
        let crs = first_layer.crs.clone();
        let mut experts = vec![first_layer];
        for path in &files.references[1..] {
            let layer = OutlineLayer::read(path, files.id_column, assumed)?;
            crossing.extend(layer.crossing());
            experts.push(layer.brought_to(crs.as_ref())?);
        }
        let predicted = OutlineLayer::predicted(files.predicted, first, files.id_column, assumed)?;
        let is_map = predicted.whole.is_some();
        if !is_map {
            crossing.extend(predicted.crossing());
        }
        if let Some(name) = files.id_column.filter(|_| !predicted.has_named && experts.iter().all(|e| !e.has_named)) {
            let expected = "an attribute that a file of outlines has";
            let remedy = "correct its name, or leave it out to match by the usual ones or by place";
            return Err(Error::bad_argument(format!("--id-column {name}, which no file has"), expected, remedy));
        }
        let predicted = predicted.brought_to(crs.as_ref())?;
        // The split of a map has warned of the first reference.
        for one in of_first.iter().filter(|_| !is_map).chain(&crossing) {
            tracing::warn!("{}", one.describe());
        }
        crossing.splice(0..0, of_first);

        let matched = predicted.matched(&experts[0]);
        if matched.of_glacier.is_empty() {
            return Err(Error::bad_file(
                files.predicted,
                "no outline that belongs to a glacier of the reference",
                "outlines of the same place",
                "check that the files belong together, and their CRSs",
            ));
        }
        if matched.straddling > 0 {
            tracing::warn!(
                "{}: {} outlines cover several glaciers of the reference and count for one of them; split them with `glavitu inventory` first",
                files.predicted.display(),
                matched.straddling
            );
        }
        let others = experts.iter().skip(1).map(|layer| layer.matched(&experts[0]));
        let by_expert: Vec<_> = std::iter::once(experts[0].itself()).chain(others).collect();
        let paths = std::iter::once(&predicted.path).chain(experts.iter().map(|layer| &layer.path));
        for (path, found) in paths.zip(std::iter::once(&matched).chain(&by_expert)) {
            if found.apart > 0 {
                tracing::warn!(
                    "{}: {} of {} glaciers have the identifier of one that lies elsewhere in {}; if the numbers mean different glaciers, name another attribute with --id-column, or leave theirs out of one file to match by place",
                    path.display(),
                    found.apart,
                    found.of_glacier.len(),
                    first.display()
                );
            }
        }
        let is_whole = |outline: &Outline| predicted.whole.as_ref().is_none_or(|whole| whole.contains(&outline.id));
        let (compared, cut): (Vec<_>, Vec<_>) =
            experts[0].outlines.iter().enumerate().partition(|(_, outline)| is_whole(outline));
        if compared.is_empty() {
            return Err(Error::bad_file(
                files.predicted,
                "a map that shows no glacier of the reference whole",
                "one of which outlines can be compared",
                "map a larger area, or compare pixels without --distances",
            ));
        }
        let plane = Plane::new(crs.as_ref())?;
        let planar: Result<Vec<Planar>> = compared
            .par_iter()
            .map(|&(number, outline)| {
                // A vertex, and not the middle of the coordinates: that of a glacier on the date line is on the other side of the Earth.
                let first = outline.polygons.first().and_then(|polygon| polygon.exterior.first());
                let here = plane.at(first.copied().unwrap_or_default())?;
                let placed = |outlines: Option<&Vec<&Outline>>| -> Result<Option<(Boundary, f64)>> {
                    let Some(outlines) = outlines else { return Ok(None) };
                    let mut polygons = Vec::new();
                    for outline in outlines {
                        polygons.extend(here.place(&outline.polygons)?);
                    }
                    let area = outlines.iter().fold(0.0, |sum, outline| sum + outline.area_km2);
                    Ok(Boundary::new(&polygons).map(|boundary| (boundary, area)))
                };
                let (predicted, predicted_km2) = match placed(matched.of_glacier.get(&number))? {
                    Some((boundary, area)) => (Some(boundary), area),
                    None => (None, 0.0),
                };
                let experts = by_expert.iter().map(|expert| placed(expert.of_glacier.get(&number)));
                Ok(Planar { predicted, predicted_km2, experts: experts.collect::<Result<_>>()? })
            })
            .collect();
        let planar = planar?;
        check_points(&planar, spacing)?;
        let found: Vec<Found> =
            planar.par_iter().zip(&compared).map(|(planar, (_, outline))| measure(planar, outline, spacing)).collect();

        let totals =
            experts.iter().zip(&by_expert).enumerate().map(|(number, (layer, matched))| {
                total(number, &layer.path, matched.how, matched.others.len(), &found)
            });
        Ok(Self {
            plane: plane.describe(),
            area_surface: if crs.is_some() { "WGS 84 ellipsoid" } else { "plane" }.into(),
            spacing_m: spacing,
            matching: matched.how,
            apart: matched.apart,
            crossing,
            unmatched_outlines: matched.others.len(),
            unmatched_km2: matched.others.iter().fold(0.0, |sum, outline| sum + outline.area_km2),
            not_whole: cut.into_iter().map(|(_, outline)| outline.id.clone()).collect(),
            totals: totals.collect(),
            spread: found.iter().filter_map(|found| found.spread.clone()).collect(),
            glaciers: found.into_iter().flat_map(|found| found.rows).collect(),
        })
    }
}

fn check_points(planar: &[Planar], spacing: f64) -> Result<()> {
    let points: f64 = planar
        .iter()
        .map(|glacier| {
            let experts: Vec<f64> = glacier.experts.iter().flatten().map(|(b, _)| b.points(spacing)).collect();
            let sum: f64 = experts.iter().sum();
            // Each expert against the prediction. Pairs of experts are not kept.
            glacier.predicted.as_ref().map_or(0.0, |own| own.points(spacing) * experts.len() as f64 + sum)
        })
        .sum();
    if points <= MOST_POINTS {
        return Ok(());
    }
    Err(Error::bad_argument(
        format!("{points:.0} points along outlines, {spacing} m apart"),
        format!("at most {MOST_POINTS:.0}"),
        "give a larger --spacing, or compare parts of the region",
    ))
}

fn measure(planar: &Planar, outline: &Outline, spacing: f64) -> Found {
    let (mut rows, mut measured) = (Vec::new(), Vec::new());
    for (number, expert) in planar.experts.iter().enumerate() {
        let Some((boundary, reference_km2)) = expert else {
            measured.push(None);
            continue;
        };
        let own = planar.predicted.as_ref().map(|predicted| Measured::between(predicted, boundary, spacing));
        let deviation = planar.predicted_km2 - reference_km2;
        rows.push(GlacierDeviation {
            expert: number + 1,
            glacier_id: outline.id.clone(),
            name: outline.name.clone(),
            predicted_km2: planar.predicted_km2,
            reference_km2: *reference_km2,
            area_deviation_km2: deviation,
            area_deviation_percent: percent(deviation, *reference_km2),
            distances: own.clone().and_then(Measured::distances),
        });
        measured.push(own);
    }
    let spread = spread(planar, outline, &rows, spacing);
    Found { rows, measured, spread }
}

fn spread(planar: &Planar, outline: &Outline, rows: &[GlacierDeviation], spacing: f64) -> Option<ExpertSpread> {
    let drawn: Vec<&(Boundary, f64)> = planar.experts.iter().flatten().collect();
    let mut between = Vec::new();
    for (number, (one, _)) in drawn.iter().enumerate() {
        for (other, _) in &drawn[number + 1..] {
            between.push(Measured::between(one, other, spacing).distances()?.mean_m);
        }
    }
    let areas: Vec<f64> = drawn.iter().map(|(_, area)| *area).collect();
    let (mean_area, Some(area_deviation)) = mean_and_deviation(&areas) else { return None };
    let least = areas.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = areas.iter().copied().fold(0.0, f64::max);
    let largest_distance = between.iter().copied().fold(0.0, f64::max);
    let own: Vec<f64> = rows.iter().filter_map(|row| Some(row.distances?.mean_m)).collect();
    let predicted_distance_m = mean_and_deviation(&own).0;
    Some(ExpertSpread {
        glacier_id: outline.id.clone(),
        name: outline.name.clone(),
        experts: drawn.len(),
        mean_area_km2: mean_area.unwrap_or(0.0),
        area_deviation_km2: area_deviation,
        least_area_km2: least,
        largest_area_km2: largest,
        expert_distance_m: mean_and_deviation(&between).0.unwrap_or(0.0),
        largest_expert_distance_m: largest_distance,
        predicted_km2: planar.predicted_km2,
        predicted_distance_m,
        distance_within: predicted_distance_m.is_some_and(|distance| distance <= largest_distance),
        area_within: (least..=largest).contains(&planar.predicted_km2),
    })
}

fn total(number: usize, file: &Path, matching: Matching, unmatched: usize, found: &[Found]) -> TotalDeviation {
    let own = || found.iter().flat_map(|found| &found.rows).filter(|row| row.expert == number + 1);
    let sum = |value: &dyn Fn(&GlacierDeviation) -> f64| own().map(value).fold(0.0, |sum, value| sum + value);
    let mut measured = Measured::default();
    for one in found.iter().filter_map(|found| found.measured.get(number)?.as_ref()) {
        measured.merge(one);
    }
    let reference_km2 = sum(&|row| row.reference_km2);
    let deviation = sum(&|row| row.area_deviation_km2);
    let absolute = sum(&|row| row.area_deviation_km2.abs());
    TotalDeviation {
        expert: number + 1,
        file: file.to_path_buf(),
        matching,
        glaciers: own().count(),
        predicted_glaciers: own().filter(|row| row.distances.is_some()).count(),
        predicted_km2: sum(&|row| row.predicted_km2),
        reference_km2,
        area_deviation_km2: deviation,
        area_deviation_percent: percent(deviation, reference_km2),
        absolute_deviation_km2: absolute,
        absolute_deviation_percent: percent(absolute, reference_km2),
        distances: measured.distances(),
        unmatched,
    }
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| 100.0 * part / whole)
}

/// Where distances are taken.
enum Plane {
    /// In the plane of the coordinates, which are metres.
    Own(String),
    /// In one for each glacier.
    Local(Box<Transformer>),
}

impl Plane {
    fn new(crs: Option<&Crs>) -> Result<Self> {
        let Some(crs) = crs else { return Ok(Self::Own("plane of the coordinates, without a CRS".into())) };
        let is_true = ["+proj=utm", "+proj=tmerc", "+proj=etmerc"].iter().any(|name| crs.proj.contains(name));
        if is_true && crs.metres_per_unit() == Some(1.0) {
            return Ok(Self::Own(crs.name.clone()));
        }
        Ok(Self::Local(Box::new(Transformer::to_longitude_latitude(crs)?)))
    }

    fn describe(&self) -> String {
        match self {
            Self::Own(name) => name.clone(),
            Self::Local(_) => "transverse Mercator through each glacier".into(),
        }
    }

    /// The plane of a glacier at a place.
    fn at(&self, (x, y): (f64, f64)) -> Result<PlaneHere<'_>> {
        let Self::Local(to_earth) = self else { return Ok(PlaneHere(None)) };
        let (longitude, latitude) = to_earth.apply(x, y)?;
        let proj = format!(
            "+proj=tmerc +lat_0={latitude} +lon_0={longitude} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
        );
        let local = Crs { epsg: None, name: "local plane".into(), proj, geographic: false, keys: GeoKeys::default() };
        Ok(PlaneHere(Some((to_earth, Transformer::from_longitude_latitude(&local)?))))
    }
}

struct PlaneHere<'a>(Option<(&'a Transformer, Transformer)>);

impl PlaneHere<'_> {
    fn place(&self, polygons: &[Polygon<f64>]) -> Result<Vec<Polygon<f64>>> {
        let Some((to_earth, to_plane)) = &self.0 else { return Ok(polygons.to_vec()) };
        map(polygons, |x, y| {
            let (longitude, latitude) = to_earth.apply(x, y)?;
            to_plane.apply(longitude, latitude)
        })
    }
}
