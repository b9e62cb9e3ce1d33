//! Distances between outlines, in metres of the plane in which they are given.
//!
//! A boundary is all rings of an outline, holes included. d(p, B) is the distance of a point p from the nearest point of the boundary B, on an edge as
//! well as at a vertex.
//!
//! - *Mean, median, root mean square and 95th percentile* are of d along both boundaries, from each to the other, weighted by length: of A and B taken
//!   together, so that the longer one counts for more (the average symmetric distance). Along an edge of length L, d is taken at the middles of the
//!   n = ceil(L / spacing) equal parts, each with the weight L / n. The p-quantile is the smallest d up to which the weights, in the order of d, reach
//!   the share p of their sum.
//! - *Hausdorff distance*: the largest d along both boundaries, to 1e-7 m, also where it lies within an edge. Vertices alone would find too little:
//!   an edge may be farthest from the other outline in its middle, where two edges of that are equally near. d along an edge is the minimum of
//!   convex functions, one for each edge of the other boundary. So its maximum between two points is at most the larger of the two ends' distances
//!   from any one edge, and also at most (d1 + d2 + length) / 2. Parts that cannot exceed what was found are left out, others are halved.
//! - *PoLiS* (Avbelj, Müller and Bamler 2015, doi 10.1109/LGRS.2014.2330695): the mean of d over the vertices of A and that over the vertices of B,
//!   halved and added. It depends on where vertices are: outlines along pixel edges have many on oblique lines.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::boundary_index::{BoundaryIndex, Nearest, Segment, segments};
use crate::raster::polygons::Polygon;

/// How much the Hausdorff distance may be too small.
const TOLERANCE_M: f64 = 1e-7;
/// Weights are sums of many numbers.
const ROUNDING: f64 = 1e-9;

/// Distances between two outlines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// The mean.
    pub mean_m: f64,
    /// The median.
    pub median_m: f64,
    /// The root mean square.
    pub rms_m: f64,
    /// The 95th percentile.
    pub percentile_95_m: f64,
    /// The Hausdorff distance.
    pub hausdorff_m: f64,
    /// PoLiS.
    pub polis_m: f64,
}

impl Distances {
    /// Mean, median, root mean square, 95th percentile, Hausdorff distance and PoLiS, in metres.
    #[must_use]
    pub fn values(&self) -> [f64; 6] {
        [self.mean_m, self.median_m, self.rms_m, self.percentile_95_m, self.hausdorff_m, self.polis_m]
    }
}

/// The boundary of an outline.
#[derive(Debug, Clone)]
pub struct Boundary {
    segments: Vec<Segment>,
    index: BoundaryIndex,
}

impl Boundary {
    /// All rings of all polygons. `None` if nothing has an edge.
    #[must_use]
    pub fn new(polygons: &[Polygon<f64>]) -> Option<Self> {
        let segments = segments(polygons.iter().flat_map(Polygon::rings));
        let index = BoundaryIndex::new(segments.clone())?;
        Some(Self { segments, index })
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> f64 {
        self.segments.iter().map(Segment::length).sum()
    }

    /// How many points [`Measured::between`] takes along it.
    #[must_use]
    pub fn points(&self, spacing: f64) -> f64 {
        self.segments.iter().map(|edge| parts(edge, spacing)).sum()
    }
}

/// Parts of an edge.
fn parts(edge: &Segment, spacing: f64) -> f64 {
    (edge.length() / spacing).ceil().max(1.0)
}

/// What is measured between two outlines, or between the outlines of several pairs.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Distances and the lengths for which they stand.
    samples: Vec<(f64, f64)>,
    /// Sum and number of the vertices' distances, of the first outlines and of the second.
    vertices: [(f64, f64); 2],
    hausdorff: f64,
}

impl Measured {
    /// Measures between two outlines, with points every `spacing` metres at least.
    #[must_use]
    pub fn between(a: &Boundary, b: &Boundary, spacing: f64) -> Self {
        let mut measured = Self::default();
        for (side, (from, to)) in [(a, b), (b, a)].into_iter().enumerate() {
            let along = from.segments.par_iter().flat_map_iter(|edge| {
                let n = parts(edge, spacing);
                let weight = edge.length() / n;
                let shares = std::iter::successors(Some(0.5), |i| Some(i + 1.0)).take_while(move |i| *i < n);
                shares.map(move |i| (to.index.nearest(edge.at(i / n)).distance, weight))
            });
            measured.samples.par_extend(along);
            // Every vertex of a ring begins one edge, and ends the one before.
            let starts: Vec<Nearest> = from.segments.par_iter().map(|edge| to.index.nearest(edge.from)).collect();
            let ends: Vec<(Nearest, Nearest)> = (from.segments.par_iter().enumerate())
                .zip(&starts)
                .map(|((number, edge), start)| {
                    let next = from.segments.get(number + 1).filter(|next| next.from == edge.to);
                    let known = next.and_then(|_| starts.get(number + 1).copied());
                    (*start, known.unwrap_or_else(|| to.index.nearest(edge.to)))
                })
                .collect();
            #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 vertices")]
            let count = ends.len() as f64;
            measured.vertices[side] = (ends.iter().map(|(start, _)| start.distance).sum(), count);
            measured.hausdorff = measured.hausdorff.max(farthest(&from.segments, &ends, &to.index));
        }
        // What was measured anyway may be larger by the tolerance.
        measured.hausdorff = measured.samples.iter().map(|sample| sample.0).fold(measured.hausdorff, f64::max);
        measured
    }

    /// Adds another pair's.
    pub fn merge(&mut self, other: &Self) {
        self.samples.extend_from_slice(&other.samples);
        for (own, other) in self.vertices.iter_mut().zip(other.vertices) {
            *own = (own.0 + other.0, own.1 + other.1);
        }
        self.hausdorff = self.hausdorff.max(other.hausdorff);
    }

    /// The distances; `None` if nothing was measured.
    #[must_use]
    pub fn distances(mut self) -> Option<Distances> {
        if self.samples.is_empty() {
            return None;
        }
        self.samples.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        // In the order of the distances: the same sums on every run.
        let total: f64 = self.samples.iter().map(|sample| sample.1).sum();
        let moment = |power: i32| self.samples.iter().map(|(d, weight)| weight * d.powi(power)).sum::<f64>() / total;
        let quantile = |share: f64| {
            let wanted = (share - ROUNDING) * total;
            let mut sum = 0.0;
            let found = self.samples.iter().find(|(_, weight)| {
                sum += weight;
                sum >= wanted
            });
            found.or(self.samples.last()).map_or(0.0, |sample| sample.0)
        };
        Some(Distances {
            mean_m: moment(1),
            median_m: quantile(0.5),
            rms_m: moment(2).sqrt(),
            percentile_95_m: quantile(0.95),
            hausdorff_m: self.hausdorff,
            polis_m: self.vertices.iter().map(|(sum, count)| sum / count.max(1.0) / 2.0).sum(),
        })
    }
}

/// Distances between two outlines, with points along them every `spacing` metres at least.
#[must_use]
pub fn distances(a: &Boundary, b: &Boundary, spacing: f64) -> Option<Distances> {
    Measured::between(a, b, spacing).distances()
}

/// Part of an edge, with what is nearest to its ends.
#[derive(Clone, Copy)]
struct Part {
    edge: Segment,
    ends: (Nearest, Nearest),
}

impl Part {
    /// What no distance along it exceeds.
    fn bound(&self) -> f64 {
        let (start, end) = self.ends;
        let by_length = (start.distance + end.distance + self.edge.length()) / 2.0;
        let by_start = start.distance.max(start.segment.distance(self.edge.to));
        let by_end = end.distance.max(end.segment.distance(self.edge.from));
        by_length.min(by_start).min(by_end)
    }
}

/// The largest distance of the edges from another boundary, given what is nearest to the edges' ends.
fn farthest(edges: &[Segment], ends: &[(Nearest, Nearest)], other: &BoundaryIndex) -> f64 {
    let mut best = ends.iter().map(|(start, end)| start.distance.max(end.distance)).fold(0.0, f64::max);
    let parts = edges.iter().zip(ends).map(|(&edge, &ends)| Part { edge, ends });
    let mut open: Vec<(f64, Part)> =
        parts.map(|part| (part.bound(), part)).filter(|(bound, _)| *bound > best + TOLERANCE_M).collect();
    // Where most may be found, first: it rules others out.
    open.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    for (_, part) in open {
        let mut stack = vec![part];
        while let Some(part) = stack.pop() {
            if part.bound() <= best + TOLERANCE_M {
                continue;
            }
            let middle = part.edge.at(0.5);
            let nearest = other.nearest(middle);
            best = best.max(nearest.distance);
            let (Segment { from, to }, (start, end)) = (part.edge, part.ends);
            stack.push(Part { edge: Segment { from, to: middle }, ends: (start, nearest) });
            stack.push(Part { edge: Segment { from: middle, to }, ends: (nearest, end) });
        }
    }
    best
}

#[cfg(test)]
#[path = "distance_tests.rs"]
mod tests;
