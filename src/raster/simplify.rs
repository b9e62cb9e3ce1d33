//! Simplification of polygons that keeps their topology: neighbours stay flush, and nothing crosses.
//!
//! All rings together are one network of vertices and edges, in which a boundary between two polygons is there once. Vertices where more than two
//! edges meet (where three polygons meet, or two touch in a corner) are its nodes and stay. Every other vertex can be left out, for all rings that pass
//! it at once. As in Visvalingam & Whyatt 1993 (doi 10.1179/000870493786962263) the one that spans the smallest triangle with its neighbours goes
//! first. It goes only if
//!
//! - every vertex that was left out between the two neighbours lies within the tolerance of the new edge (the bandwidth criterion of de Berg,
//!   van Kreveld & Schirra 1998, doi 10.1559/152304098782383007);
//! - no other vertex lies in the triangle or on its rim: then no edge can cross the new one, because it would have to come into the triangle
//!   over the new edge and leave it there again (compare Saalfeld 1999, doi 10.1559/152304099782424901);
//! - the new edge is not there already: a ring keeps three vertices, and two boundaries between the same nodes do not fall together.
//!
//! So from a valid coverage comes a valid coverage: holes stay inside, polygons that did not overlap do not, and shared boundaries are shared. Where
//! something is in the way, boundaries keep more vertices than the tolerance asks for.
//!
//! Boundaries that are shared must have the same vertices on both sides. Outlines of pixels have only their own corners; [`add_junctions`] adds those
//! of their neighbours.
//!
//! Time is O(n log n) for n vertices as outlines are; memory about 150 bytes for each, whatever the size of the raster.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::raster::polygons::{Polygon, Ring};

/// Adds to every ring of pixel corners the vertices of other rings that lie on its edges, so that shared boundaries have the same vertices on both sides.
///
/// Edges must run along rows and columns, as those of [`crate::raster::outliner`] do.
pub fn add_junctions(polygons: &mut [Polygon<u32>]) {
    let all = || polygons.iter().flat_map(Polygon::rings).flatten();
    let mut by_row: Vec<(u32, u32)> = all().map(|&(col, row)| (row, col)).collect();
    by_row.sort_unstable();
    by_row.dedup();
    let mut by_col: Vec<(u32, u32)> = all().copied().collect();
    by_col.sort_unstable();
    by_col.dedup();
    // Those strictly between two places of one line.
    let between = |sorted: &[(u32, u32)], line: u32, from: u32, to: u32| -> Vec<u32> {
        let first = sorted.partition_point(|&place| place <= (line, from.min(to)));
        let last = sorted.partition_point(|&place| place < (line, from.max(to)));
        let mut found: Vec<u32> = sorted[first..last.max(first)].iter().map(|place| place.1).collect();
        if from > to {
            found.reverse();
        }
        found
    };
    for ring in polygons.iter_mut().flat_map(|p| std::iter::once(&mut p.exterior).chain(&mut p.holes)) {
        let mut full = Vec::with_capacity(ring.len());
        for edge in ring.windows(2) {
            let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
            full.push((x0, y0));
            if y0 == y1 {
                full.extend(between(&by_row, y0, x0, x1).into_iter().map(|x| (x, y0)));
            } else if x0 == x1 {
                full.extend(between(&by_col, x0, y0, y1).into_iter().map(|y| (x0, y)));
            }
        }
        full.extend(ring.last().copied());
        *ring = full;
    }
}

/// Simplifies polygons in place. No boundary moves by more than `tolerance_m` metres.
///
/// `metres_per_unit` is the size of a unit of x and y; for degrees that of the middle of the scene serves (`Grid::metres_per_unit`). Shared
/// boundaries must have the same vertices, bit for bit, and polygons must not overlap; of others the result may not be valid, but it is within the
/// tolerance.
///
/// # Errors
/// A tolerance that is negative or not a number, a coordinate that is not finite, or 2^32 - 1 vertices and more.
pub fn simplify(polygons: &mut [Polygon<f64>], tolerance_m: f64, metres_per_unit: (f64, f64)) -> Result<()> {
    if !(tolerance_m >= 0.0 && tolerance_m.is_finite()) {
        return Err(Error::bad_argument(
            format!("a tolerance of {tolerance_m} m"),
            "0 or more metres",
            "give the distance by which outlines may move",
        ));
    }
    if tolerance_m == 0.0 || polygons.is_empty() {
        return Ok(());
    }
    let mut network = Network::new(polygons, metres_per_unit)?;
    network.thin(tolerance_m);
    let mut corners = network.corners.into_iter();
    for ring in polygons.iter_mut().flat_map(|p| std::iter::once(&mut p.exterior).chain(&mut p.holes)) {
        let open = ring.len().saturating_sub(1);
        let mut kept: Ring<f64> = ring[..open]
            .iter()
            .zip(corners.by_ref().take(open))
            .filter(|(_, id)| !network.is_gone[*id as usize])
            .map(|(&place, _)| place)
            .collect();
        kept.extend(kept.first().copied());
        *ring = kept;
    }
    Ok(())
}

/// No vertex.
const NONE: u32 = u32::MAX;

/// Closer than this to the rim of a triangle, in metres, counts as within: far above the rounding of map coordinates.
const RIM_M: f64 = 1e-7;

type Place = (f64, f64);

/// Rings as one network.
struct Network {
    /// In metres from the first vertex.
    places: Vec<Place>,
    /// The two neighbours of every vertex that is no node.
    links: Vec<[u32; 2]>,
    /// The neighbours that it had first.
    first_links: Vec<[u32; 2]>,
    is_node: Vec<bool>,
    is_gone: Vec<bool>,
    /// Edges between nodes, smaller number first.
    between_nodes: HashSet<(u32, u32)>,
    /// The vertex of every corner of every ring, without the repeated last.
    corners: Vec<u32>,
}

impl Network {
    fn new(polygons: &[Polygon<f64>], (unit_x, unit_y): (f64, f64)) -> Result<Self> {
        let rings = || polygons.iter().flat_map(Polygon::rings).map(|ring| &ring[..ring.len().saturating_sub(1)]);
        let count = rings().map(<[Place]>::len).sum::<usize>();
        if u32::try_from(count).is_err() || count >= NONE as usize {
            let remedy = "simplify fewer polygons at once";
            return Err(Error::bad_argument(format!("{count} vertices"), "fewer than 4294967295", remedy));
        }
        let (ox, oy) = rings().flatten().next().copied().unwrap_or_default();
        let mut ids: HashMap<[u64; 2], u32> = HashMap::with_capacity(count);
        let mut places = Vec::new();
        let mut corners = Vec::with_capacity(count);
        for &(x, y) in rings().flatten() {
            let place = ((x - ox) * unit_x, (y - oy) * unit_y);
            if !(place.0.is_finite() && place.1.is_finite()) {
                let remedy = "check the georeference";
                return Err(Error::bad_argument(format!("a vertex at ({x}, {y})"), "finite coordinates", remedy));
            }
            // Adding 0 makes -0 and 0 one.
            let id = *ids.entry([(x + 0.0).to_bits(), (y + 0.0).to_bits()]).or_insert_with(|| {
                places.push(place);
                u32::try_from(places.len() - 1).unwrap_or(NONE)
            });
            corners.push(id);
        }
        drop(ids);
        let count = places.len();
        let mut network = Self {
            places,
            links: vec![[NONE; 2]; count],
            first_links: Vec::new(),
            is_node: vec![false; count],
            is_gone: vec![false; count],
            between_nodes: HashSet::new(),
            corners: Vec::new(),
        };
        let mut rest = corners.as_slice();
        let of_rings: Vec<&[u32]> = rings().map(|ring| rest.split_off(..ring.len()).unwrap_or_default()).collect();
        for own in &of_rings {
            for (at, &a) in own.iter().enumerate() {
                let b = own[(at + 1) % own.len()];
                if a != b {
                    network.link(a, b);
                    network.link(b, a);
                }
            }
        }
        for (node, links) in network.is_node.iter_mut().zip(&network.links) {
            *node |= links[1] == NONE;
        }
        for own in &of_rings {
            for (at, &a) in own.iter().enumerate() {
                let b = own[(at + 1) % own.len()];
                if network.is_node[a as usize] && network.is_node[b as usize] {
                    network.between_nodes.insert((a.min(b), a.max(b)));
                }
            }
        }
        network.first_links.clone_from(&network.links);
        network.corners = corners;
        Ok(network)
    }

    /// Notes a neighbour; a third one makes a node.
    fn link(&mut self, of: u32, to: u32) {
        let links = &mut self.links[of as usize];
        if links.contains(&to) {
            return;
        }
        match links.iter_mut().find(|link| **link == NONE) {
            Some(free) => *free = to,
            None => self.is_node[of as usize] = true,
        }
    }

    /// Leaves out what can be left out, smallest triangles first.
    fn thin(&mut self, tolerance: f64) {
        let mut near = Near::new(&self.places);
        let mut versions = vec![0u32; self.places.len()];
        let mut waiting = BinaryHeap::new();
        for id in 0..self.places.len() {
            if !self.is_node[id] {
                let id = u32::try_from(id).unwrap_or(NONE);
                waiting.push(Reverse((self.weight(id), id, 0)));
            }
        }
        while let Some(Reverse((_, id, version))) = waiting.pop() {
            if self.is_gone[id as usize] || versions[id as usize] != version {
                continue;
            }
            let [a, b] = self.links[id as usize];
            if a == b || self.has_edge(a, b) || !self.is_close(id, [a, b], tolerance) {
                continue;
            }
            let triangle = [a, id, b];
            if near.is_other_within(triangle, &self.places, &self.is_gone) {
                continue;
            }
            self.is_gone[id as usize] = true;
            for (of, to) in [(a, b), (b, a)] {
                if self.is_node[of as usize] {
                    continue;
                }
                for link in &mut self.links[of as usize] {
                    if *link == id {
                        *link = to;
                    }
                }
                versions[of as usize] += 1;
                waiting.push(Reverse((self.weight(of), of, versions[of as usize])));
            }
            if self.is_node[a as usize] && self.is_node[b as usize] {
                self.between_nodes.insert((a.min(b), a.max(b)));
            }
        }
    }

    /// The area of the triangle at a vertex, as bits that sort like it.
    fn weight(&self, id: u32) -> u64 {
        let [a, b] = self.links[id as usize].map(|link| self.places[link as usize]);
        turn(a, self.places[id as usize], b).abs().to_bits()
    }

    fn has_edge(&self, a: u32, b: u32) -> bool {
        match (self.is_node[a as usize], self.is_node[b as usize]) {
            (false, _) => self.links[a as usize].contains(&b),
            (true, false) => self.links[b as usize].contains(&a),
            (true, true) => self.between_nodes.contains(&(a.min(b), a.max(b))),
        }
    }

    /// Whether a vertex, and all that were left out between it and its neighbours, lie within the tolerance of the edge between those.
    fn is_close(&self, id: u32, ends: [u32; 2], tolerance: f64) -> bool {
        let [a, b] = ends.map(|end| self.places[end as usize]);
        // Rounding must not decide where the tolerance is just the side of a pixel.
        let limit = tolerance * tolerance * (1.0 + 1e-9);
        let is_near = |id: u32| square_distance(self.places[id as usize], a, b) <= limit;
        is_near(id)
            && self.first_links[id as usize].iter().all(|&towards| {
                let (mut before, mut at) = (id, towards);
                while self.is_gone[at as usize] {
                    if !is_near(at) {
                        return false;
                    }
                    let [one, other] = self.first_links[at as usize];
                    (before, at) = (at, if one == before { other } else { one });
                }
                true
            })
    }
}

/// Twice the area of a triangle, positive if it turns left where y grows upwards.
fn turn(a: Place, b: Place, c: Place) -> f64 {
    (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0)
}

/// Squared distance of a point from a line between two.
fn square_distance(p: Place, a: Place, b: Place) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 { (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    let (x, y) = (a.0 + along * dx - p.0, a.1 + along * dy - p.1);
    x * x + y * y
}

/// Vertices by the square they lie in.
struct Near {
    origin: Place,
    side: f64,
    across: usize,
    down: usize,
    /// Where each square's vertices begin in `ids`; one more at the end.
    starts: Vec<u32>,
    /// Where those that remain end.
    ends: Vec<u32>,
    ids: Vec<u32>,
}

impl Near {
    #[expect(clippy::cast_precision_loss, reason = "vertices are fewer than 2^32")]
    #[expect(clippy::cast_possible_truncation, reason = "vertices are fewer than 2^32")]
    fn new(places: &[Place]) -> Self {
        let (mut low, mut high) = ((f64::INFINITY, f64::INFINITY), (f64::NEG_INFINITY, f64::NEG_INFINITY));
        for &(x, y) in places {
            (low.0, low.1) = (low.0.min(x), low.1.min(y));
            (high.0, high.1) = (high.0.max(x), high.1.max(y));
        }
        let (width, height) = ((high.0 - low.0).max(0.0), (high.1 - low.1).max(0.0));
        let count = places.len().max(1) as f64;
        // About one square for a vertex. The second term keeps a long, thin extent from having more squares than vertices either way.
        let side = (width * height / count).sqrt().max(width.max(height) / count).max(RIM_M);
        let cells = |extent: f64| whole(extent / side, places.len()) + 1;
        let (across, down) = (cells(width), cells(height));
        let mut near = Self {
            origin: low,
            side,
            across,
            down,
            starts: vec![0; across * down + 1],
            ends: Vec::new(),
            ids: vec![0; places.len()],
        };
        for &place in places {
            let cell = near.cell(place);
            near.starts[cell + 1] += 1;
        }
        for cell in 0..across * down {
            near.starts[cell + 1] += near.starts[cell];
        }
        near.ends = near.starts[..across * down].to_vec();
        for (id, &place) in places.iter().enumerate() {
            let cell = near.cell(place);
            near.ids[near.ends[cell] as usize] = id as u32;
            near.ends[cell] += 1;
        }
        near
    }

    fn col(&self, x: f64) -> usize {
        whole((x - self.origin.0) / self.side, self.across - 1)
    }

    fn row(&self, y: f64) -> usize {
        whole((y - self.origin.1) / self.side, self.down - 1)
    }

    fn cell(&self, (x, y): Place) -> usize {
        self.row(y) * self.across + self.col(x)
    }

    /// Whether a vertex that is not one of its corners lies in a triangle or on its rim.
    #[expect(clippy::cast_precision_loss, reason = "squares are fewer than 2^34")]
    fn is_other_within(&mut self, corners: [u32; 3], places: &[Place], is_gone: &[bool]) -> bool {
        let triangle = corners.map(|corner| places[corner as usize]);
        let least = |of: fn(&Place) -> f64| triangle.iter().map(of).fold(f64::INFINITY, f64::min) - RIM_M;
        let most = |of: fn(&Place) -> f64| triangle.iter().map(of).fold(f64::NEG_INFINITY, f64::max) + RIM_M;
        let (low, high) = ((least(|p| p.0), least(|p| p.1)), (most(|p| p.0), most(|p| p.1)));
        let within = Within::new(triangle);
        for row in self.row(low.1)..=self.row(high.1) {
            // A long, thin triangle touches few squares of each row.
            let south = self.origin.1 + row as f64 * self.side - RIM_M;
            let north = south + self.side + 2.0 * RIM_M;
            let (mut west, mut east) = (f64::INFINITY, f64::NEG_INFINITY);
            for side in 0..3 {
                let (p, q) = (triangle[side], triangle[(side + 1) % 3]);
                if p.1.max(q.1) < south || p.1.min(q.1) > north {
                    continue;
                }
                let at = |y: f64| {
                    let share = (y - p.1) / (q.1 - p.1);
                    p.0 + if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) } * (q.0 - p.0)
                };
                // A level side lies in the strip whole.
                let ends = if p.1 == q.1 { [p.0, q.0] } else { [at(south), at(north)] };
                west = west.min(ends[0]).min(ends[1]);
                east = east.max(ends[0]).max(ends[1]);
            }
            if west > east {
                continue;
            }
            for col in self.col(west - RIM_M)..=self.col(east + RIM_M) {
                let cell = row * self.across + col;
                let mut at = self.starts[cell];
                while at < self.ends[cell] {
                    let id = self.ids[at as usize];
                    if is_gone[id as usize] {
                        self.ends[cell] -= 1;
                        self.ids.swap(at as usize, self.ends[cell] as usize);
                        continue;
                    }
                    at += 1;
                    let (x, y) = places[id as usize];
                    let is_in_box = x >= low.0 && x <= high.0 && y >= low.1 && y <= high.1;
                    if is_in_box && !corners.contains(&id) && within.holds((x, y)) {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// A number as a count of at most `most`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "clamped, and a vertex number has no 52 bits"
)]
fn whole(number: f64, most: usize) -> usize {
    // Casts of what is negative or too large end at 0 and the maximum.
    #[expect(clippy::cast_sign_loss, reason = "clamped")]
    let whole = number.clamp(0.0, most as f64) as usize;
    whole.min(most)
}

/// A triangle that turns left, with some room at its rim.
struct Within {
    corners: [Place; 3],
    room: f64,
}

impl Within {
    fn new([a, b, c]: [Place; 3]) -> Self {
        let corners = if turn(a, b, c) < 0.0 { [a, c, b] } else { [a, b, c] };
        let longest =
            [(a, b), (b, c), (c, a)].map(|(p, q)| (p.0 - q.0).hypot(p.1 - q.1)).into_iter().fold(0.0, f64::max);
        Self { corners, room: -RIM_M * longest }
    }

    fn holds(&self, p: Place) -> bool {
        let [a, b, c] = self.corners;
        turn(a, b, p) >= self.room && turn(b, c, p) >= self.room && turn(c, a, p) >= self.room
    }
}

#[cfg(test)]
#[path = "simplify_tests.rs"]
mod tests;
