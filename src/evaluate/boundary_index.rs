//! Edges of outlines, and the nearest of them to a point.
//!
//! A tree of bounding boxes over the edges: each node has two halves, divided at the median of the edges' middles along the longer side of the box.
//! A query goes down the nearer half first and leaves out boxes that are farther away than the nearest edge so far.

use crate::raster::polygons::Ring;

/// A position in metres.
pub(super) type Point = (f64, f64);

/// Edges in a leaf, at most.
const LEAF: usize = 6;

/// An edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    pub(super) from: Point,
    pub(super) to: Point,
}

impl Segment {
    pub(super) fn length(&self) -> f64 {
        (self.to.0 - self.from.0).hypot(self.to.1 - self.from.1)
    }

    /// The point at a share of the way, 0 to 1.
    pub(super) fn at(&self, share: f64) -> Point {
        let along = |from: f64, to: f64| from + share * (to - from);
        (along(self.from.0, self.to.0), along(self.from.1, self.to.1))
    }

    pub(super) fn distance(&self, point: Point) -> f64 {
        self.squared(point).sqrt()
    }

    fn squared(&self, (x, y): Point) -> f64 {
        let (dx, dy) = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let (px, py) = (x - self.from.0, y - self.from.1);
        let length = dx * dx + dy * dy;
        let share = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
        let (ox, oy) = (px - share * dx, py - share * dy);
        ox * ox + oy * oy
    }

    fn middle(&self, axis: usize) -> f64 {
        if axis == 0 { self.from.0 + self.to.0 } else { self.from.1 + self.to.1 }
    }
}

/// The edges of rings, without those of no length.
pub(super) fn segments<'a>(rings: impl Iterator<Item = &'a Ring<f64>>) -> Vec<Segment> {
    let edges = rings.flat_map(|ring| ring.windows(2).map(|edge| Segment { from: edge[0], to: edge[1] }));
    edges.filter(|edge| edge.from != edge.to).collect()
}

/// A box over edges: west, south, east, north.
#[derive(Debug, Clone, Copy)]
struct Node {
    bounds: [f64; 4],
    /// Its first edge and how many; the left half is the next node, the right one is `right`, which is 0 in a leaf.
    first: usize,
    count: usize,
    right: usize,
}

impl Node {
    fn squared(&self, (x, y): Point) -> f64 {
        let [west, south, east, north] = self.bounds;
        let dx = (west - x).max(x - east).max(0.0);
        let dy = (south - y).max(y - north).max(0.0);
        dx * dx + dy * dy
    }
}

/// The edges, ready for queries.
#[derive(Debug, Clone)]
pub(super) struct BoundaryIndex {
    segments: Vec<Segment>,
    nodes: Vec<Node>,
}

/// The nearest edge to a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nearest {
    pub(super) distance: f64,
    pub(super) segment: Segment,
}

impl BoundaryIndex {
    /// `None` without edges.
    pub(super) fn new(mut segments: Vec<Segment>) -> Option<Self> {
        if segments.is_empty() {
            return None;
        }
        let mut nodes = Vec::with_capacity(2 * segments.len().div_ceil(LEAF));
        let count = segments.len();
        build(&mut segments, 0, count, &mut nodes);
        Some(Self { segments, nodes })
    }

    /// The nearest edge.
    pub(super) fn nearest(&self, point: Point) -> Nearest {
        let mut best = (f64::INFINITY, 0);
        self.search(0, point, &mut best);
        let segment = self.segments.get(best.1).copied().unwrap_or(Segment { from: point, to: point });
        Nearest { distance: best.0.sqrt(), segment }
    }

    fn search(&self, at: usize, point: Point, best: &mut (f64, usize)) {
        let Some(node) = self.nodes.get(at) else { return };
        if node.right == 0 {
            let own = self.segments.iter().enumerate().skip(node.first).take(node.count);
            for (number, segment) in own {
                let squared = segment.squared(point);
                if squared < best.0 {
                    *best = (squared, number);
                }
            }
            return;
        }
        let squared = |half: usize| self.nodes.get(half).map_or(f64::INFINITY, |node| node.squared(point));
        let (left, right) = ((at + 1, squared(at + 1)), (node.right, squared(node.right)));
        let (near, far) = if left.1 <= right.1 { (left, right) } else { (right, left) };
        for (half, squared) in [near, far] {
            if squared < best.0 {
                self.search(half, point, best);
            }
        }
    }
}

/// Adds the tree over `count` edges from `first` on. Its depth is that of a binary tree: halves are equal.
fn build(segments: &mut [Segment], first: usize, count: usize, nodes: &mut Vec<Node>) {
    let Some(own) = segments.get_mut(first..first + count) else { return };
    let empty = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let bounds = own
        .iter()
        .flat_map(|edge| [edge.from, edge.to])
        .fold(empty, |[w, s, e, n], (x, y)| [w.min(x), s.min(y), e.max(x), n.max(y)]);
    let at = nodes.len();
    nodes.push(Node { bounds, first, count, right: 0 });
    if count <= LEAF {
        return;
    }
    let axis = usize::from(bounds[3] - bounds[1] > bounds[2] - bounds[0]);
    let half = count / 2;
    own.select_nth_unstable_by(half, |a, b| a.middle(axis).total_cmp(&b.middle(axis)));
    build(segments, first, half, nodes);
    let right = nodes.len();
    if let Some(node) = nodes.get_mut(at) {
        node.right = right;
    }
    build(segments, first + half, count - half, nodes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distances_to_an_edge() {
        let edge = Segment { from: (0.0, 0.0), to: (4.0, 0.0) };
        assert_eq!([(2.0, 3.0), (-3.0, 4.0), (7.0, -4.0), (1.0, 0.0)].map(|p| edge.distance(p)), [3.0, 5.0, 5.0, 0.0]);
        assert_eq!(Segment { from: (1.0, 1.0), to: (1.0, 1.0) }.distance((4.0, 5.0)), 5.0);
        assert!(BoundaryIndex::new(Vec::new()).is_none());
    }

    proptest! {
        #[test]
        fn the_nearest_of_all(
            points in prop::collection::vec((-100.0..100.0_f64, -100.0..100.0_f64), 2..200),
            place in (-150.0..150.0_f64, -150.0..150.0_f64),
        ) {
            let edges: Vec<Segment> = points.windows(2).map(|p| Segment { from: p[0], to: p[1] }).collect();
            let expected = edges.iter().map(|edge| edge.distance(place)).fold(f64::INFINITY, f64::min);
            let found = BoundaryIndex::new(edges).expect("edges").nearest(place);
            // A box may be left out for the last digit.
            prop_assert!((found.distance - expected).abs() <= 1e-12 * expected.max(1.0));
            prop_assert_eq!(found.segment.distance(place), found.distance);
        }
    }
}
