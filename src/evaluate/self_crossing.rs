//! Polygons whose boundary crosses itself, such as a bow-tie: their parts run in opposite directions, so that areas cancel.
//!
//! Two edges cross where each passes from one side of the other to its other side: between their ends, at a vertex of one, or at a vertex of both. What
//! only touches does not cross. Signs of orientations are certain: what rounding leaves open counts as on the line.
//!
//! Edges stay in the order of their ring, in boxes over eight of them, boxes over two boxes, and so on. Pairs of boxes that do not overlap are left out.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::boundary_index::Point;
use crate::raster::polygons::Polygon;

/// Edges in a box of the lowest level.
const LEAF: usize = 8;
/// Pairs of boxes looked at for each edge, at most: combs of long edges would take minutes. Where it does not suffice, nothing is said.
const MOST_PAIRS: usize = 50;
/// Glaciers that are named.
const NAMED: usize = 5;

/// The polygons of a file that cross themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossingPolygons {
    /// The file.
    pub file: PathBuf,
    /// How many.
    pub polygons: usize,
    /// The identifiers of their glaciers.
    pub glaciers: Vec<String>,
}

impl CrossingPolygons {
    /// Looks for them; `None` if there are none. Glaciers have an identifier and polygons.
    pub(super) fn find(file: &Path, glaciers: &[(&str, &[Polygon<f64>])]) -> Option<Self> {
        let counts: Vec<usize> = glaciers
            .par_iter()
            .map(|(_, polygons)| polygons.par_iter().filter(|polygon| crosses_itself(polygon)).count())
            .collect();
        let own = glaciers.iter().zip(&counts).filter(|(_, count)| **count > 0);
        let glaciers: Vec<String> = own.map(|((id, _), _)| (*id).to_owned()).collect();
        let polygons = counts.iter().sum();
        (polygons > 0).then(|| Self { file: file.to_path_buf(), polygons, glaciers })
    }

    /// What is wrong and what to do, in a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        let named: Vec<&str> = self.glaciers.iter().take(NAMED).map(String::as_str).collect();
        let more = self.glaciers.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let many = if self.polygons == 1 { "polygon crosses itself" } else { "polygons cross themselves" };
        format!(
            "{}: {} {many} (glacier {}{more}), so areas and distances there are wrong; mend the file first, for example with QGIS's Fix geometries",
            self.file.display(),
            self.polygons,
            named.join(", ")
        )
    }
}

/// Whether edges of a polygon cross: of one ring, or of two.
pub(super) fn crosses_itself(polygon: &Polygon<f64>) -> bool {
    let edges = edges(polygon);
    let levels = levels(&edges);
    let Some(top) = levels.len().checked_sub(1) else { return false };
    let overlap = |a: &[f64; 4], b: &[f64; 4]| a[0] <= b[2] && b[0] <= a[2] && a[1] <= b[3] && b[1] <= a[3];
    let mut pairs = vec![(top, 0, 0)];
    let mut left = MOST_PAIRS.saturating_mul(edges.len());
    while let Some((level, a, b)) = pairs.pop() {
        let boxes = levels.get(level);
        let (Some(box_a), Some(box_b)) = (boxes.and_then(|own| own.get(a)), boxes.and_then(|own| own.get(b))) else {
            continue;
        };
        if !overlap(box_a, box_b) {
            continue;
        }
        let Some(rest) = left.checked_sub(1) else { return false };
        left = rest;
        if let Some(below) = level.checked_sub(1) {
            pairs.extend([(below, 2 * a, 2 * b), (below, 2 * a, 2 * b + 1), (below, 2 * a + 1, 2 * b + 1)]);
            if a != b {
                pairs.push((below, 2 * a + 1, 2 * b));
            }
            continue;
        }
        let own = |number: usize| edges.iter().enumerate().skip(number * LEAF).take(LEAF);
        for (i, e) in own(a) {
            let bounds = e.bounds();
            if own(b).any(|(j, f)| (a != b || i < j) && overlap(&bounds, &f.bounds()) && e.crosses(f)) {
                return true;
            }
        }
    }
    false
}

/// An edge and the vertex after it.
#[derive(Debug, Clone, Copy)]
struct Edge {
    from: Point,
    to: Point,
    after: Point,
}

fn edges(polygon: &Polygon<f64>) -> Vec<Edge> {
    let mut edges = Vec::new();
    for ring in polygon.rings() {
        let mut points = ring.clone();
        points.dedup();
        if points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        if points.len() > 2 {
            let after = |places: usize| points.iter().cycle().skip(places);
            let triples = points.iter().zip(after(1)).zip(after(2));
            edges.extend(triples.map(|((from, to), after)| Edge { from: *from, to: *to, after: *after }));
        }
    }
    edges
}

/// Boxes (west, south, east, north), the lowest level first; none without edges.
fn levels(edges: &[Edge]) -> Vec<Vec<[f64; 4]>> {
    let union = |a: [f64; 4], b: [f64; 4]| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])];
    let empty = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let mut boxes: Vec<[f64; 4]> =
        edges.chunks(LEAF).map(|own| own.iter().map(Edge::bounds).fold(empty, union)).collect();
    let mut levels = Vec::new();
    while boxes.len() > 1 {
        let above = boxes.chunks(2).map(|own| own.iter().copied().fold(empty, union)).collect();
        levels.push(std::mem::replace(&mut boxes, above));
    }
    if !boxes.is_empty() {
        levels.push(boxes);
    }
    levels
}

impl Edge {
    fn bounds(&self) -> [f64; 4] {
        let ((x0, y0), (x1, y1)) = (self.from, self.to);
        [x0.min(x1), y0.min(y1), x0.max(x1), y0.max(y1)]
    }

    /// A vertex that lies on both counts for the edges that end there; each vertex is the end of one.
    fn crosses(&self, other: &Self) -> bool {
        if self.to == other.to {
            return self.crosses_at_end(other);
        }
        let (from, to) = (self.side(other.from), self.side(other.to));
        let (own_from, own_to) = (other.side(self.from), other.side(self.to));
        from * to < 0 && own_from * own_to < 0
            || (to == 0 && self.holds(other.to) && from * self.side(other.after) < 0)
            || (own_to == 0 && other.holds(self.to) && own_from * other.side(self.after) < 0)
    }

    /// 1 left of the line, -1 right of it, 0 on it.
    fn side(&self, point: Point) -> i8 {
        orientation(self.from, self.to, point)
    }

    /// Whether a point of the line lies between the ends.
    fn holds(&self, point: Point) -> bool {
        is_ahead(self.from, self.to, point) && is_ahead(self.to, self.from, point)
    }

    /// Both end in one vertex: do they part on other sides than they came from?
    fn crosses_at_end(&self, other: &Self) -> bool {
        let sector = |point| is_in_sector(self.to, self.from, self.after, point);
        matches!((sector(other.from), sector(other.after)), (Some(from), Some(after)) if from != after)
    }
}

/// 1 where `point` lies left of the line from `a` to `b`, -1 right of it, 0 on it or where rounding does not tell.
fn orientation(a: Point, b: Point, point: Point) -> i8 {
    let (left, right) = ((b.0 - a.0) * (point.1 - a.1), (b.1 - a.1) * (point.0 - a.0));
    let (difference, uncertain) = (left - right, 4.0 * f64::EPSILON * (left.abs() + right.abs()));
    i8::from(difference > uncertain) - i8::from(difference < -uncertain)
}

/// Whether `point` lies in the direction of `to`, seen from `from`.
fn is_ahead(from: Point, to: Point, point: Point) -> bool {
    (to.0 - from.0) * (point.0 - from.0) + (to.1 - from.1) * (point.1 - from.1) > 0.0
}

/// Whether `point` lies in the sector that `a` sweeps counter-clockwise around `middle` until it reaches `b`; `None` on its sides, or without a sector.
fn is_in_sector(middle: Point, a: Point, b: Point, point: Point) -> Option<bool> {
    let turn = |from: Point, to: Point| orientation(middle, from, to);
    let is_along = |side: Point| turn(side, point) == 0 && is_ahead(middle, side, point);
    if is_along(a) || is_along(b) {
        return None;
    }
    match turn(a, b) {
        1 => Some(turn(a, point) > 0 && turn(point, b) > 0),
        -1 => Some(!(turn(b, point) > 0 && turn(point, a) > 0)),
        _ => (!is_ahead(middle, a, b)).then(|| turn(a, point) > 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(points: &[(f64, f64)]) -> Polygon<f64> {
        let mut exterior = points.to_vec();
        exterior.extend(points.first());
        Polygon { exterior, holes: vec![] }
    }

    #[test]
    fn what_crosses_and_what_touches() {
        let crossing: [&[(f64, f64)]; 4] = [
            // A bow-tie; one through a vertex; one through a vertex on an edge; an eight of which both loops turn alike.
            &[(0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0)],
            &[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (2.0, 0.0), (1.0, 1.0), (0.0, 2.0)],
            &[(0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (1.0, 1.0), (0.0, 2.0)],
            &[(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (1.0, 3.0), (1.0, 1.0), (3.0, 1.0), (3.0, 4.0), (0.0, 4.0)],
        ];
        for points in crossing {
            assert!(crosses_itself(&polygon(points)), "{points:?}");
        }
        let sound: [&[(f64, f64)]; 5] = [
            &[(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)],
            // Two squares that meet in a corner; a corner that touches an edge; a spike; too few vertices.
            &[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 1.0), (0.0, 1.0)],
            &[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (2.0, 0.0), (0.0, 4.0)],
            &[(0.0, 0.0), (4.0, 0.0), (6.0, 0.0), (4.0, 0.0), (4.0, 4.0)],
            &[(0.0, 0.0), (1.0, 1.0)],
        ];
        for points in sound {
            assert!(!crosses_itself(&polygon(points)), "{points:?}");
        }
        // A hole inside, one that touches, and one that leaves.
        let square = |x: f64| vec![(x, 1.0), (x, 2.0), (x + 1.0, 2.0), (x + 1.0, 1.0), (x, 1.0)];
        for (x, crosses) in [(1.0, false), (3.0, false), (3.5, true)] {
            let holes = vec![square(x)];
            let own = Polygon { holes, ..polygon(&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]) };
            assert_eq!(crosses_itself(&own), crosses, "{x}");
        }
    }

    #[test]
    fn a_million_edges() {
        let ring = |swap: bool| {
            let count = 1_000_000;
            let mut points: Vec<Point> = (0..count)
                .map(|i| {
                    let angle = f64::from(i) / f64::from(count) * std::f64::consts::TAU;
                    let radius = 1e4 * (1.0 + 0.3 * (37.0 * angle).sin() + 0.002 * (90_001.0 * angle).sin());
                    (500_000.0 + radius * angle.cos(), 5_780_000.0 + radius * angle.sin())
                })
                .collect();
            if swap {
                points.swap(777_777, 777_779);
            }
            polygon(&points)
        };
        assert!(!crosses_itself(&ring(false)));
        assert!(crosses_itself(&ring(true)));
    }

    proptest! {
        /// As every pair of edges says, without boxes.
        #[test]
        fn boxes_leave_nothing_out(points in prop::collection::vec((-50.0..50.0_f64, -50.0..50.0_f64), 3..60)) {
            // Around a centre by angle: nothing crosses. As they come: mostly something does.
            let mut around = points.clone();
            around.sort_by(|a, b| a.1.atan2(a.0).total_cmp(&b.1.atan2(b.0)));
            for points in [points, around] {
                let own = polygon(&points);
                let edges = edges(&own);
                let pairs = edges.iter().enumerate().flat_map(|(i, e)| edges.iter().skip(i + 1).map(move |f| (e, f)));
                let expected = pairs.into_iter().any(|(e, f)| e.crosses(f));
                prop_assert_eq!(crosses_itself(&own), expected);
            }
        }
    }
}
