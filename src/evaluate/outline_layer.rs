//! Files of outlines, glacier by glacier, in one plane; and which glacier of one file is which of another.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::evaluate::area_interval::IntervalSettings;
use crate::evaluate::inventory::{Files, Inventory};
use crate::evaluate::layer::with_crs;
use crate::evaluate::reference::Reference;
use crate::evaluate::self_crossing::CrossingPolygons;
use crate::raster::area::{area, planar_km2, size};
use crate::raster::polygons::{Polygon, Ring};
use crate::raster::shapes::{Features, Format};
use crate::raster::{Crs, Grid, RasterFile, Transformer};

/// Lines by which an overlap is measured.
const LINES: u32 = 256;
/// An outline covers a glacier if it covers more than this part of it.
const COVERED: f64 = 0.25;

/// A glacier of a file.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) polygons: Vec<Polygon<f64>>,
    pub(super) area_km2: f64,
}

/// The glaciers of a file, in coordinates of `crs`.
#[derive(Debug, Clone)]
pub(super) struct OutlineLayer {
    pub(super) path: PathBuf,
    /// `None` where neither the file nor the user names one.
    pub(super) crs: Option<Crs>,
    /// Whether the file tells which glaciers they are; else they are numbered.
    pub(super) has_ids: bool,
    /// Whether it has the attribute that the user named.
    pub(super) has_named: bool,
    pub(super) outlines: Vec<Outline>,
    /// Of a map: the glaciers of the reference that it shows whole. `None` for polygons, which do not tell what was looked at.
    pub(super) whole: Option<HashSet<String>>,
}

impl OutlineLayer {
    /// Reads a file of polygons. Identifiers are those of `id_column` or a usual attribute; without one, features are numbered from 1. Running
    /// numbers are identifiers only if the user names them: those of two files have nothing to do with each other.
    ///
    /// # Errors
    /// The file cannot be read or has no polygons, a feature has no identifier, or a vertex has no place on the Earth.
    pub(super) fn read(path: &Path, id_column: Option<&str>, assumed: Option<&Crs>) -> Result<Self> {
        let features = Features::open(path)?;
        let named = id_column.and_then(|name| features.column(name));
        let crs = known(features.crs.as_ref(), assumed);
        let lasting = named.or_else(|| Reference::find_lasting_id(&features));
        let column = lasting.or_else(|| Reference::find_id(&features)).and_then(|column| features.columns.get(column));
        let (has_ids, has_named) = (lasting.is_some(), named.is_some());
        let glaciers: Vec<(String, Option<String>, Vec<Polygon<f64>>)> = if let Some(column) = column {
            let reference = Reference::read(path, Some(&column.name))?;
            reference.glaciers.into_iter().map(|glacier| (glacier.id, glacier.name, glacier.polygons)).collect()
        } else {
            let rows = (1_u64..).zip(features.features);
            rows.map(|(number, feature)| (number.to_string(), None, feature.polygons)).collect()
        };
        let to_earth = crs.as_ref().map(Transformer::to_longitude_latitude).transpose()?;
        let outline = |(id, name, polygons): (String, Option<String>, Vec<Polygon<f64>>)| {
            let area_km2 = area_km2(&polygons, to_earth.as_ref()).map_err(|e| blamed(path, e))?;
            Ok(Outline { id, name, polygons, area_km2 })
        };
        let outlines: Result<Vec<Outline>> = glaciers.into_iter().map(outline).collect();
        Ok(Self { path: path.to_path_buf(), crs, has_ids, has_named, outlines: outlines?, whole: None })
    }

    /// The outlines of a prediction: polygons as they are; the ice of a raster, split by the glaciers of a reference as `glavitu inventory` does.
    ///
    /// # Errors
    /// As [`OutlineLayer::read`] and [`Inventory::new`].
    pub(super) fn predicted(
        path: &Path,
        reference: &Path,
        id_column: Option<&str>,
        assumed: Option<&Crs>,
    ) -> Result<Self> {
        if Format::detect(path)?.is_some() {
            return Self::read(path, id_column, assumed);
        }
        let inventory = Inventory::new(&Files {
            outlines: path,
            reference,
            id_column,
            elevation: None,
            confidence: None,
            probability: None,
            calibrator: None,
            interval: IntervalSettings::default(),
            bounds: false,
            grid: None,
            assumed_crs: assumed,
        })?;
        let grid = with_crs(RasterFile::open(path)?.grid(), assumed);
        let known_ice = Self::read(reference, id_column, assumed)?;
        let seen: HashMap<&str, f64> = inventory.rows.iter().map(|row| (row.id.as_str(), row.seen_km2)).collect();
        let whole = known_ice.whole_in(&grid, &seen)?;
        let outlines = inventory.rows.iter().filter(|row| !row.outlines.is_empty()).map(|row| Outline {
            id: row.id.clone(),
            name: row.name.clone(),
            polygons: row.outlines.iter().map(|polygon| polygon.to_map(&grid)).collect(),
            area_km2: row.area_km2,
        });
        let crs = known(grid.crs.as_ref(), assumed);
        let (has_named, outlines) = (known_ice.has_named, outlines.collect());
        Ok(Self { path: path.to_path_buf(), crs, has_ids: true, has_named, outlines, whole: Some(whole) })
    }

    /// The glaciers that lie within a map and of which it has seen all, but for half a pixel along the outline: what is seen is counted in pixels.
    fn whole_in(&self, grid: &Grid, seen_km2: &HashMap<&str, f64>) -> Result<HashSet<String>> {
        let to_earth = self.crs.as_ref().map(Transformer::to_longitude_latitude).transpose()?;
        let crs = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        let way = match (&to_earth, crs) {
            (Some(to_earth), Some(crs)) if !self.crs.as_ref().is_some_and(|own| own.is_same(crs)) => {
                Some((to_earth, Transformer::from_longitude_latitude(crs)?))
            }
            _ => None,
        };
        let t = grid.transform;
        let pixel_km = grid.ground_pixel_m().unwrap_or_else(|| (t[0] * t[4] - t[1] * t[3]).abs().sqrt()) / 1e3;
        let (width, height) = (grid.width as f64, grid.height as f64);
        let mut whole = HashSet::new();
        for outline in &self.outlines {
            let Some(seen) = seen_km2.get(outline.id.as_str()) else { continue };
            let on_grid = map(&outline.polygons, |x, y| {
                let (x, y) = match &way {
                    Some((to_earth, to_map)) => {
                        let (longitude, latitude) = to_earth.apply(x, y)?;
                        to_map.apply(longitude, latitude)?
                    }
                    None => (x, y),
                };
                Ok(grid.pixel_at(x, y))
            });
            // What has no place on the map does not lie in it.
            let Ok(on_grid) = on_grid else { continue };
            let [left, top, right, bottom] = bounds(&on_grid);
            let mut perimeter_km = 0.0;
            for polygon in &outline.polygons {
                perimeter_km += size(polygon, to_earth.as_ref())?.perimeter_km;
            }
            let is_within = left >= -0.5 && top >= -0.5 && right <= width + 0.5 && bottom <= height + 0.5;
            if is_within && *seen >= outline.area_km2 - perimeter_km * pixel_km / 2.0 {
                whole.insert(outline.id.clone());
            }
        }
        Ok(whole)
    }

    /// Brings the outlines to another CRS, vertex by vertex; areas stay as they were measured.
    ///
    /// # Errors
    /// One of the two CRSs is known and the other is not, or a vertex has no place on the map.
    pub(super) fn brought_to(mut self, crs: Option<&Crs>) -> Result<Self> {
        let (from, to) = match (&self.crs, crs) {
            (None, None) => return Ok(self),
            (Some(from), Some(to)) if from.is_same(to) => return Ok(self),
            (Some(from), Some(to)) => {
                (Transformer::to_longitude_latitude(from)?, Transformer::from_longitude_latitude(to)?)
            }
            _ => {
                let found = if self.crs.is_none() { "polygons without a known CRS" } else { "polygons with a CRS" };
                let remedy = "give --assume-crs EPSG:CODE for the files that name none";
                return Err(Error::bad_file(self.path, found, "CRSs that are known, or none in any file", remedy));
            }
        };
        let path = &self.path;
        for outline in &mut self.outlines {
            let moved = map(&outline.polygons, |x, y| {
                let (longitude, latitude) = from.apply(x, y)?;
                to.apply(longitude, latitude)
            });
            outline.polygons = moved.map_err(|e| blamed(path, e))?;
        }
        self.crs = crs.cloned();
        Ok(self)
    }

    /// The polygons that cross themselves.
    pub(super) fn crossing(&self) -> Option<CrossingPolygons> {
        let glaciers: Vec<(&str, &[Polygon<f64>])> =
            self.outlines.iter().map(|outline| (outline.id.as_str(), outline.polygons.as_slice())).collect();
        CrossingPolygons::find(&self.path, &glaciers)
    }

    /// Every outline as what it is itself.
    pub(super) fn itself(&self) -> Matched<'_> {
        let how = if self.has_ids { Matching::Identifier } else { Matching::Overlap };
        let of_glacier = self.outlines.iter().enumerate().map(|(number, outline)| (number, vec![outline])).collect();
        Matched { of_glacier, others: Vec::new(), how, straddling: 0, apart: 0 }
    }

    /// Which outlines belong to which glacier of `reference`: by identifier where both files have them and share one, else each outline to the
    /// glacier with which it shares most ground. Both are in one CRS.
    pub(super) fn matched(&self, reference: &Self) -> Matched<'_> {
        let numbers: HashMap<&str, usize> =
            reference.outlines.iter().enumerate().map(|(number, outline)| (outline.id.as_str(), number)).collect();
        // What was split by the glaciers of the reference has its identifiers, whatever they are.
        let by_id = (self.whole.is_some() || self.has_ids && reference.has_ids)
            && self.outlines.iter().any(|outline| numbers.contains_key(outline.id.as_str()));
        let how = if by_id { Matching::Identifier } else { Matching::Overlap };
        let mut matched = Matched { of_glacier: HashMap::new(), others: Vec::new(), how, straddling: 0, apart: 0 };
        let boxes: Vec<[f64; 4]> = reference.outlines.iter().map(|outline| bounds(&outline.polygons)).collect();
        for outline in &self.outlines {
            let own = bounds(&outline.polygons);
            let number = if by_id {
                let number = numbers.get(outline.id.as_str()).copied();
                let other = number.and_then(|number| boxes.get(number));
                matched.apart += usize::from(other.is_some_and(|other| are_apart(own, *other)));
                number
            } else {
                let (mut best, mut covered) = ((0.0, None), 0);
                for (number, (glacier, bounds)) in reference.outlines.iter().zip(&boxes).enumerate() {
                    if meet(own, *bounds).is_some() {
                        let shared = overlap(&outline.polygons, &glacier.polygons);
                        let whole: f64 = glacier.polygons.iter().map(|polygon| 1e6 * planar_km2(polygon)).sum();
                        covered += usize::from(shared > COVERED * whole);
                        if shared > best.0 {
                            best = (shared, Some(number));
                        }
                    }
                }
                matched.straddling += usize::from(covered > 1);
                best.1
            };
            match number {
                Some(number) => matched.of_glacier.entry(number).or_default().push(outline),
                None => matched.others.push(outline),
            }
        }
        matched
    }
}

/// Outlines by the glaciers to which they belong.
pub(super) struct Matched<'a> {
    /// By the glacier's number in the reference.
    pub(super) of_glacier: HashMap<usize, Vec<&'a Outline>>,
    /// Those that belong to none.
    pub(super) others: Vec<&'a Outline>,
    pub(super) how: Matching,
    /// Outlines that cover much of several glaciers.
    pub(super) straddling: usize,
    /// Outlines with the identifier of a glacier whose ground is elsewhere.
    pub(super) apart: usize,
}

/// How glaciers of two files were matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// By identifiers.
    Identifier,
    /// By the ground that they share.
    Overlap,
}

fn known(own: Option<&Crs>, assumed: Option<&Crs>) -> Option<Crs> {
    own.filter(|crs| !crs.proj.is_empty()).or(assumed).cloned()
}

/// Says which file a point comes from.
fn blamed(path: &Path, error: Error) -> Error {
    match error {
        Error::BadArgument { found, expected, remedy } => Error::bad_file(path, found, expected, remedy),
        other => other,
    }
}

fn area_km2(polygons: &[Polygon<f64>], to_earth: Option<&Transformer>) -> Result<f64> {
    // From 0, as the sum of nothing is -0.
    polygons.iter().try_fold(0.0, |sum, polygon| Ok(sum + area(polygon, to_earth)?.km2()))
}

/// Polygons with every vertex moved.
pub(super) fn map(
    polygons: &[Polygon<f64>],
    point: impl Fn(f64, f64) -> Result<(f64, f64)>,
) -> Result<Vec<Polygon<f64>>> {
    let ring = |ring: &Ring<f64>| ring.iter().map(|&(x, y)| point(x, y)).collect::<Result<Ring<f64>>>();
    polygons
        .iter()
        .map(|polygon| {
            let holes = polygon.holes.iter().map(&ring).collect::<Result<_>>()?;
            Ok(Polygon { exterior: ring(&polygon.exterior)?, holes })
        })
        .collect()
}

/// West, south, east and north.
fn bounds(polygons: &[Polygon<f64>]) -> [f64; 4] {
    let empty = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    polygons
        .iter()
        .flat_map(|polygon| &polygon.exterior)
        .fold(empty, |[w, s, e, n], &(x, y)| [w.min(x), s.min(y), e.max(x), n.max(y)])
}

/// Whether two boxes do not even touch.
fn are_apart(a: [f64; 4], b: [f64; 4]) -> bool {
    a[0] > b[2] || b[0] > a[2] || a[1] > b[3] || b[1] > a[3]
}

/// What two boxes have in common.
fn meet(a: [f64; 4], b: [f64; 4]) -> Option<[f64; 4]> {
    let both = [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])];
    (both[0] < both[2] && both[1] < both[3]).then_some(both)
}

/// The area that polygons share, about: exact lengths along 256 lines through what their boxes have in common, times the distance of the lines. It is
/// for telling which of several shares most.
fn overlap(a: &[Polygon<f64>], b: &[Polygon<f64>]) -> f64 {
    let Some([_, south, _, north]) = meet(bounds(a), bounds(b)) else { return 0.0 };
    let step = (north - south) / f64::from(LINES);
    let lines = |polygons: &[Polygon<f64>]| crossings(polygons, south, step);
    let shared: f64 = lines(a).iter().zip(&lines(b)).map(|(a, b)| common_length(a, b)).sum();
    shared * step
}

/// Where lines enter and leave polygons (even-odd), sorted; line number i lies at `south + (i + 0.5) * step`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the number of lines first")]
fn crossings(polygons: &[Polygon<f64>], south: f64, step: f64) -> Vec<Vec<f64>> {
    let mut lines = vec![Vec::new(); LINES as usize];
    for edge in polygons.iter().flat_map(Polygon::rings).flat_map(|ring| ring.windows(2)) {
        let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
        // The first line at or above an end; lines from the lower end on, below the upper end.
        let line = |y: f64| ((y - south) / step - 0.5).ceil().clamp(0.0, f64::from(LINES)) as usize;
        let (first, end) = (line(y0.min(y1)), line(y0.max(y1)));
        for (number, own) in lines.iter_mut().enumerate().take(end).skip(first) {
            let y = south + (number as f64 + 0.5) * step;
            own.push(x0 + (y - y0) / (y1 - y0) * (x1 - x0));
        }
    }
    lines.iter_mut().for_each(|line| line.sort_unstable_by(f64::total_cmp));
    lines
}

/// The length of what lies in intervals of both; each pair of numbers is an interval.
fn common_length(a: &[f64], b: &[f64]) -> f64 {
    let (mut length, mut i, mut j) = (0.0, 0, 0);
    while let (Some(&[a0, a1]), Some(&[b0, b1])) =
        (a.get(i..i + 2).and_then(|v| v.first_chunk::<2>()), b.get(j..j + 2).and_then(|v| v.first_chunk::<2>()))
    {
        length += (a1.min(b1) - a0.max(b0)).max(0.0);
        if a1 < b1 { i += 2 } else { j += 2 }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Polygon<f64> {
        let exterior = vec![(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)];
        Polygon { exterior, holes: vec![] }
    }

    fn layer(ids: &[&str], outlines: Vec<Polygon<f64>>, has_ids: bool) -> OutlineLayer {
        let outlines = ids.iter().zip(outlines).map(|(id, polygon)| Outline {
            id: (*id).into(),
            name: None,
            polygons: vec![polygon],
            area_km2: 1.0,
        });
        let outlines = outlines.collect();
        OutlineLayer { path: "layer".into(), crs: None, has_ids, has_named: false, outlines, whole: None }
    }

    #[test]
    fn shared_ground() {
        let hollow = Polygon { holes: vec![square(2.0, 2.0, 4.0).exterior], ..square(0.0, 0.0, 10.0) };
        let found = overlap(&[square(5.0, 0.0, 10.0)], std::slice::from_ref(&hollow));
        assert!((found - 46.0).abs() < 0.1, "{found}");
        assert_eq!(overlap(&[square(20.0, 0.0, 1.0)], std::slice::from_ref(&hollow)), 0.0);
        assert_eq!(overlap(&[], &[hollow]), 0.0);
        let twice = overlap(&[square(0.0, 0.0, 2.0), square(8.0, 8.0, 2.0)], &[square(0.0, 0.0, 10.0)]);
        assert!((twice - 8.0).abs() < 0.1, "{twice}");
    }

    #[test]
    fn which_is_which() {
        let reference = layer(&["a", "b"], vec![square(0.0, 0.0, 10.0), square(10.0, 0.0, 10.0)], true);
        let numbered =
            layer(&["1", "2", "3"], vec![square(8.0, 0.0, 8.0), square(0.0, 0.0, 5.0), square(50.0, 0.0, 5.0)], false);
        let found = numbered.matched(&reference);
        assert_eq!((found.how, found.others.len(), found.straddling), (Matching::Overlap, 1, 0));
        assert_eq!((found.of_glacier[&1][0].id.as_str(), found.of_glacier[&0][0].id.as_str()), ("1", "2"));
        // Identifiers are believed, wherever the outlines lie.
        let named = layer(&["b", "c"], vec![square(0.0, 0.0, 5.0), square(0.0, 0.0, 5.0)], true);
        let found = named.matched(&reference);
        assert_eq!((found.how, found.others.len(), found.of_glacier.len()), (Matching::Identifier, 1, 1));
        assert_eq!((found.of_glacier[&1].len(), found.apart), (1, 1));
        // Files that share none are matched by place.
        let foreign = layer(&["x"], vec![square(0.0, 0.0, 20.0)], true);
        let found = foreign.matched(&reference);
        assert_eq!((found.how, found.straddling), (Matching::Overlap, 1));
    }
}
