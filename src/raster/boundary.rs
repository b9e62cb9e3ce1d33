//! The boundaries of regions in a raster whose rows come one by one: what [`crate::raster::outliner`] and [`crate::raster::iso_line`] share.
//!
//! Rows are swept from north to south. Between two rows, every corner where four pixels meet is looked at from west to east. What is inside
//! (16 cases) tells which boundaries come to the corner from above and from the left and which leave it downwards and to the right. A
//! boundary under way is a chain of points with two growing ends: where the region lies east of a boundary it runs south, where it lies
//! west it runs north, so that the region is always on the left. Chains meet and close; what is closed belongs to a region. Regions are runs
//! of pixels joined by union-find (Rosenfeld & Pfaltz 1966, doi 10.1145/321356.321357) and are given away as soon as a row does not continue
//! them.
//!
//! Memory is some bytes per column and the boundaries of regions that are not complete. Time is O(pixels + n log n) for n points: of two
//! chains that join, the shorter is copied.

use std::collections::VecDeque;

use crate::raster::polygons::{Polygon, Ring, Statistics};

/// What the two inside pixels at a corner are to each other whose other two pixels are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// They are joined across the corner.
    Joined,
    /// They are separate there.
    Apart,
    /// That depends on whether they belong to one region in the end.
    AsRegions,
}

/// Where the points of boundaries lie. Columns are those of corners: 0 is the west edge of the first pixel.
pub(super) trait Trace {
    /// A position.
    type Point: Copy;

    /// The point at a corner where a boundary turns.
    fn corner(&self, col: usize) -> Option<Self::Point>;

    /// The point on the edge that leaves a corner downwards.
    fn below(&self, col: usize) -> Option<Self::Point>;

    /// The point on the edge that leaves a corner to the right.
    fn right(&self, col: usize) -> Option<Self::Point>;

    /// How inside pixels that face each other across a corner meet.
    fn meeting(&self, col: usize) -> Meeting;
}

/// A region that no later row can touch.
#[derive(Debug)]
pub(super) struct Complete<P> {
    /// Its number of pixels.
    pub(super) pixels: u64,
    /// Statistics of its values.
    pub(super) values: Statistics,
    /// Closed boundaries; the first point is not repeated.
    pub(super) rings: Vec<Vec<P>>,
    /// Boundaries between corners of [`Meeting::AsRegions`], which are their first and last points.
    pub(super) pieces: Vec<Vec<P>>,
}

/// An end that does not grow.
const FIXED: u32 = u32::MAX;
/// An end on the horizontal edge between the last corner and the next.
const CARRIED: u32 = u32::MAX - 1;

/// Columns and rows must be fewer: corners and marks are counted in 32 bits.
pub(super) const TOO_MANY: usize = CARRIED as usize;

/// A boundary under way. `head` and `tail` are the columns of the vertical edges at which it grows.
#[derive(Debug)]
struct Chain<P> {
    points: VecDeque<P>,
    head: u32,
    tail: u32,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    start: u32,
    end: u32,
    region: u32,
}

#[derive(Debug)]
struct Region<P> {
    pixels: u64,
    count: u64,
    sum: f64,
    minimum: f32,
    in_row: u32,
    is_open: bool,
    rings: Vec<Vec<P>>,
    pieces: Vec<Vec<P>>,
}

impl<P> Default for Region<P> {
    fn default() -> Self {
        let (rings, pieces) = (Vec::new(), Vec::new());
        Self { pixels: 0, count: 0, sum: 0.0, minimum: f32::INFINITY, in_row: 0, is_open: true, rings, pieces }
    }
}

/// The sweep over the rows.
#[derive(Debug)]
pub(super) struct Sweep<P> {
    width: usize,
    row: u32,
    /// Whether pixels of the last row and of the next are inside (1) or not (0), with one more at both ends.
    above: Vec<u8>,
    below: Vec<u8>,
    runs_above: Vec<Run>,
    runs_below: Vec<Run>,
    /// The chain at the vertical edge of each corner column, where there is one.
    edges: Vec<u32>,
    /// The chain on the horizontal edge, while a row is swept.
    carried: u32,
    chains: Vec<Chain<P>>,
    free_chains: Vec<u32>,
    regions: Vec<Region<P>>,
    /// What each region was joined to; itself for most.
    joined_to: Vec<u32>,
    free_regions: Vec<u32>,
    emptied: Vec<u32>,
    complete: Vec<Complete<P>>,
}

impl<P: Copy> Sweep<P> {
    /// For rows of `width` pixels, fewer than [`TOO_MANY`].
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            row: 0,
            above: vec![0; width + 2],
            below: vec![0; width + 2],
            runs_above: Vec::new(),
            runs_below: Vec::new(),
            edges: vec![FIXED; width + 1],
            carried: FIXED,
            chains: Vec::new(),
            free_chains: Vec::new(),
            regions: Vec::new(),
            joined_to: Vec::new(),
            free_regions: Vec::new(),
            emptied: Vec::new(),
            complete: Vec::new(),
        }
    }

    /// Adds a row. `values` has one value per pixel, or is empty.
    pub(super) fn add_row<T: Trace<Point = P>>(&mut self, trace: &T, inside: impl Fn(usize) -> bool, values: &[f32]) {
        for (col, flag) in self.below[1..=self.width].iter_mut().enumerate() {
            *flag = u8::from(inside(col));
        }
        // Most rows of a scene have nothing of a small class.
        if self.runs_above.is_empty() && !self.below.contains(&1) {
            self.row += 1;
            return;
        }
        self.find_runs();
        self.label(trace, values);
        self.sweep_corners(trace);
        self.release();
        std::mem::swap(&mut self.above, &mut self.below);
        std::mem::swap(&mut self.runs_above, &mut self.runs_below);
        self.row += 1;
    }

    /// Adds the row after the last one, in which nothing is inside.
    pub(super) fn end<T: Trace<Point = P>>(&mut self, trace: &T) {
        self.add_row(trace, |_| false, &[]);
    }

    /// The regions completed since the last call.
    pub(super) fn take_complete(&mut self) -> Vec<Complete<P>> {
        std::mem::take(&mut self.complete)
    }

    #[expect(clippy::cast_possible_truncation, reason = "rows have fewer than 2^32 - 2 pixels")]
    fn find_runs(&mut self) {
        self.runs_below.clear();
        let flags = &self.below[1..=self.width];
        let mut col = 0;
        while let Some(skipped) = flags[col..].iter().position(|&flag| flag == 1) {
            let start = col + skipped;
            let end = flags[start..].iter().position(|&flag| flag == 0).map_or(self.width, |length| start + length);
            self.runs_below.push(Run { start: start as u32, end: end as u32, region: FIXED });
            col = end;
        }
    }

    /// Gives the runs of the next row to the regions of the runs they touch, and joins those.
    fn label<T: Trace<Point = P>>(&mut self, trace: &T, values: &[f32]) {
        let mut first = 0;
        for index in 0..self.runs_below.len() {
            let run = self.runs_below[index];
            while self.runs_above.get(first).is_some_and(|above| above.end < run.start) {
                first += 1;
            }
            let mut own = FIXED;
            let mut at = first;
            while let Some(&above) = self.runs_above.get(at).filter(|above| above.start <= run.end) {
                let is_joined = if above.end == run.start {
                    trace.meeting(run.start as usize) == Meeting::Joined
                } else if above.start == run.end {
                    trace.meeting(run.end as usize) == Meeting::Joined
                } else {
                    true
                };
                if is_joined {
                    own = self.join_regions(own, above.region);
                }
                at += 1;
            }
            if own == FIXED {
                own = self.new_region();
            }
            self.runs_below[index].region = own;
            let row = self.row;
            let region = &mut self.regions[own as usize];
            region.in_row = row;
            region.pixels += u64::from(run.end - run.start);
            if let Some(values) = values.get(run.start as usize..run.end as usize) {
                for value in values.iter().copied().filter(|value| !value.is_nan()) {
                    region.count += 1;
                    region.sum += f64::from(value);
                    region.minimum = region.minimum.min(value);
                }
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are never more regions than two rows have pixels")]
    fn new_region(&mut self) -> u32 {
        if let Some(id) = self.free_regions.pop() {
            self.regions[id as usize] = Region::default();
            self.joined_to[id as usize] = id;
            return id;
        }
        let id = self.regions.len() as u32;
        self.regions.push(Region::default());
        self.joined_to.push(id);
        id
    }

    /// What a region belongs to now, halving paths on the way.
    fn root(&mut self, mut id: u32) -> u32 {
        let joined = &mut self.joined_to;
        while joined[id as usize] != id {
            joined[id as usize] = joined[joined[id as usize] as usize];
            id = joined[id as usize];
        }
        id
    }

    /// Joins two regions, of which the first may be none; returns what they became.
    fn join_regions(&mut self, a: u32, b: u32) -> u32 {
        let b = self.root(b);
        if a == FIXED {
            return b;
        }
        let a = self.root(a);
        if a == b {
            return a;
        }
        let size = |region: &Region<P>| region.rings.len() + region.pieces.len();
        let (keep, drop) =
            if size(&self.regions[a as usize]) >= size(&self.regions[b as usize]) { (a, b) } else { (b, a) };
        let mut gone = std::mem::take(&mut self.regions[drop as usize]);
        self.regions[drop as usize].is_open = false;
        self.joined_to[drop as usize] = keep;
        self.emptied.push(drop);
        let kept = &mut self.regions[keep as usize];
        kept.pixels += gone.pixels;
        kept.count += gone.count;
        kept.sum += gone.sum;
        kept.minimum = kept.minimum.min(gone.minimum);
        kept.in_row = kept.in_row.max(gone.in_row);
        kept.rings.append(&mut gone.rings);
        kept.pieces.append(&mut gone.pieces);
        keep
    }

    /// Follows the boundaries through the corners between the last row and the next.
    fn sweep_corners<T: Trace<Point = P>>(&mut self, trace: &T) {
        for col in 0..=self.width {
            let code = self.above[col] | self.above[col + 1] << 1 | self.below[col] << 2 | self.below[col + 1] << 3;
            if code != 0 && code != 15 {
                self.turn(trace, col, code);
            }
        }
        debug_assert_eq!(self.carried, FIXED, "every boundary turns at the last corner");
    }

    /// One corner. Bits of `code`: inside north-west 1, north-east 2, south-west 4, south-east 8.
    fn turn<T: Trace<Point = P>>(&mut self, trace: &T, col: usize, code: u8) {
        let (corner, below, right) = (trace.corner(col), || trace.below(col), || trace.right(col));
        let (left, top) = (self.carried, self.edges[col]);
        match code {
            // Straight on: south-north on either side, then along the row on either side.
            0b0101 => self.grow_head(top, [None, below()]),
            0b1010 => self.grow_tail(top, [None, below()]),
            0b0011 => self.grow_tail(left, [None, right()]),
            0b1100 => self.grow_head(left, [None, right()]),
            // A first corner.
            0b1000 => self.open(col, right(), corner, below(), false),
            0b0111 => self.open(col, below(), corner, right(), true),
            // A last corner.
            0b0001 => self.close(left, top, corner, col, code),
            0b1110 => self.close(top, left, corner, col, code),
            // A turn.
            0b0010 => {
                self.grow_tail(top, [corner, right()]);
                self.carry_tail(top);
            }
            0b1101 => {
                self.grow_head(top, [corner, right()]);
                self.carry_head(top);
            }
            0b0100 => {
                self.grow_head(left, [corner, below()]);
                self.lower_head(left, col);
            }
            0b1011 => {
                self.grow_tail(left, [corner, below()]);
                self.lower_tail(left, col);
            }
            _ => self.cross(trace, col, code),
        }
    }

    /// A corner at which two inside pixels face each other: north-west and south-east (code 9), or north-east and south-west (6).
    fn cross<T: Trace<Point = P>>(&mut self, trace: &T, col: usize, code: u8) {
        let (corner, below, right) = (trace.corner(col), trace.below(col), trace.right(col));
        let (left, top) = (self.carried, self.edges[col]);
        let is_falling = code == 0b1001;
        let mut meeting = trace.meeting(col);
        let (north, south) = self.regions_at(col, is_falling);
        // What is one region now stays one.
        if meeting == Meeting::AsRegions && north == south {
            meeting = Meeting::Joined;
        }
        match (meeting, is_falling) {
            (Meeting::Joined, true) => {
                self.grow_tail(left, [corner, below]);
                self.lower_tail(left, col);
                self.grow_head(top, [corner, right]);
                self.carry_head(top);
            }
            (Meeting::Joined, false) => {
                self.close(top, left, corner, col, code);
                self.open(col, below, corner, right, true);
            }
            (Meeting::Apart, true) => {
                self.close(left, top, corner, col, code);
                self.open(col, right, corner, below, false);
            }
            (Meeting::Apart, false) => {
                self.grow_head(left, [corner, below]);
                self.lower_head(left, col);
                self.grow_tail(top, [corner, right]);
                self.carry_tail(top);
            }
            (Meeting::AsRegions, true) => {
                self.grow_tail(left, [corner, None]);
                self.grow_head(top, [corner, None]);
                self.fix_tail(left, north);
                self.fix_head(top, north);
                self.carried = self.new_chain([right, corner, None], CARRIED, FIXED);
                self.edges[col] = self.new_chain([None, corner, below], FIXED, column(col));
            }
            (Meeting::AsRegions, false) => {
                self.grow_tail(top, [corner, None]);
                self.grow_head(left, [corner, None]);
                self.fix_tail(top, north);
                self.fix_head(left, south);
                self.carried = self.new_chain([None, corner, right], FIXED, CARRIED);
                self.edges[col] = self.new_chain([below, corner, None], column(col), FIXED);
            }
        }
    }

    /// The regions of the northern and the southern inside pixel at a corner of two.
    fn regions_at(&mut self, col: usize, is_falling: bool) -> (u32, u32) {
        let (north, south) = if is_falling { (col - 1, col) } else { (col, col - 1) };
        let north = region_of(&self.runs_above, north);
        let south = region_of(&self.runs_below, south);
        (self.root(north), self.root(south))
    }

    fn new_chain(&mut self, points: [Option<P>; 3], head: u32, tail: u32) -> u32 {
        let chain = Chain { points: points.into_iter().flatten().collect(), head, tail };
        if let Some(id) = self.free_chains.pop() {
            self.chains[id as usize] = chain;
            return id;
        }
        self.chains.push(chain);
        u32::try_from(self.chains.len() - 1).unwrap_or(FIXED)
    }

    /// A new chain, growing to the right and downwards.
    fn open(&mut self, col: usize, first: Option<P>, corner: Option<P>, last: Option<P>, head_is_below: bool) {
        let (head, tail) = if head_is_below { (column(col), CARRIED) } else { (CARRIED, column(col)) };
        let id = self.new_chain([first, corner, last], head, tail);
        self.carried = id;
        self.edges[col] = id;
    }

    fn grow_tail(&mut self, chain: u32, points: [Option<P>; 2]) {
        self.chains[chain as usize].points.extend(points.into_iter().flatten());
    }

    fn grow_head(&mut self, chain: u32, points: [Option<P>; 2]) {
        for point in points.into_iter().flatten() {
            self.chains[chain as usize].points.push_front(point);
        }
    }

    fn carry_tail(&mut self, chain: u32) {
        self.chains[chain as usize].tail = CARRIED;
        self.carried = chain;
    }

    fn carry_head(&mut self, chain: u32) {
        self.chains[chain as usize].head = CARRIED;
        self.carried = chain;
    }

    fn lower_tail(&mut self, chain: u32, col: usize) {
        self.chains[chain as usize].tail = column(col);
        self.edges[col] = chain;
        self.carried = FIXED;
    }

    fn lower_head(&mut self, chain: u32, col: usize) {
        self.chains[chain as usize].head = column(col);
        self.edges[col] = chain;
        self.carried = FIXED;
    }

    /// Ends the chain's tail here; it belongs to `region`.
    fn fix_tail(&mut self, chain: u32, region: u32) {
        self.chains[chain as usize].tail = FIXED;
        self.put_piece(chain, region);
    }

    fn fix_head(&mut self, chain: u32, region: u32) {
        self.chains[chain as usize].head = FIXED;
        self.put_piece(chain, region);
    }

    fn put_piece(&mut self, chain: u32, region: u32) {
        let Chain { head, tail, .. } = self.chains[chain as usize];
        if (head, tail) == (FIXED, FIXED) {
            let points = self.take_points(chain);
            self.regions[region as usize].pieces.push(points);
        }
    }

    fn take_points(&mut self, chain: u32) -> Vec<P> {
        self.free_chains.push(chain);
        let mut points = Vec::from(std::mem::take(&mut self.chains[chain as usize].points));
        points.shrink_to_fit();
        points
    }

    /// The tail of one chain meets the head of another, or its own.
    fn close(&mut self, first: u32, second: u32, corner: Option<P>, col: usize, code: u8) {
        self.carried = FIXED;
        self.grow_tail(first, [corner, None]);
        if first == second {
            // The inside pixels at the corner are of one region, but for two that face each other: there the boundary that closes is the
            // northern one's, or that of both.
            let north = if code & 1 == 1 { col - 1 } else { col };
            let region = region_of(&self.runs_above, north);
            let region = self.root(region);
            let points = self.take_points(first);
            self.regions[region as usize].rings.push(points);
            return;
        }
        let (head, tail) = (self.chains[first as usize].head, self.chains[second as usize].tail);
        let mut before = std::mem::take(&mut self.chains[first as usize].points);
        let mut after = std::mem::take(&mut self.chains[second as usize].points);
        let (kept, points) = if before.len() >= after.len() {
            before.append(&mut after);
            self.free_chains.push(second);
            (first, before)
        } else {
            for point in before.into_iter().rev() {
                after.push_front(point);
            }
            self.free_chains.push(first);
            (second, after)
        };
        self.chains[kept as usize] = Chain { points, head, tail };
        for end in [head, tail] {
            if end != FIXED {
                self.edges[end as usize] = kept;
            }
        }
        if (head, tail) == (FIXED, FIXED) {
            let north = if code & 1 == 1 { col - 1 } else { col };
            let region = region_of(&self.runs_above, north);
            let region = self.root(region);
            self.put_piece(kept, region);
        }
    }

    /// Gives away the regions that the next row does not continue.
    fn release(&mut self) {
        for index in 0..self.runs_above.len() {
            let id = self.root(self.runs_above[index].region);
            let row = self.row;
            let region = &mut self.regions[id as usize];
            if !region.is_open || region.in_row == row {
                continue;
            }
            region.is_open = false;
            let Region { pixels, count, sum, minimum, rings, pieces, .. } = std::mem::take(region);
            region.is_open = false;
            self.free_regions.push(id);
            #[expect(clippy::cast_precision_loss, reason = "a mean is no more precise than its values")]
            let mean = sum / count as f64; // 0 / 0 gives the NaN that is promised
            let minimum = if count == 0 { f64::NAN } else { f64::from(minimum) };
            self.complete.push(Complete { pixels, values: Statistics { count, mean, minimum }, rings, pieces });
        }
        for index in 0..self.runs_below.len() {
            self.runs_below[index].region = self.root(self.runs_below[index].region);
        }
        // No run names them any more: those above are done with.
        self.free_regions.append(&mut self.emptied);
    }
}

/// A corner's column as it is kept.
#[expect(clippy::cast_possible_truncation, reason = "rows have fewer than 2^32 - 2 pixels")]
fn column(col: usize) -> u32 {
    col as u32
}

/// The region of an inside pixel.
fn region_of(runs: &[Run], col: usize) -> u32 {
    let after = runs.partition_point(|run| run.start as usize <= col);
    runs[after - 1].region
}

/// A polygon of rings whose first point is not repeated: each begins at its first corner in reading order and is closed; holes come in the
/// order of theirs. `key` is the reading order of an edge, `None` for edges a ring cannot begin at; `is_exterior` tells which ring is outside.
pub(super) fn assemble<T: Copy + PartialEq, K: PartialOrd>(
    rings: Vec<Vec<(T, T)>>,
    key: impl Fn((T, T), (T, T)) -> Option<K>,
    is_exterior: impl Fn(&[(T, T)]) -> bool,
) -> Polygon<T> {
    let mut closed: Vec<(Option<K>, Ring<T>)> = rings
        .into_iter()
        .map(|mut ring| {
            let mut best: Option<(K, usize)> = None;
            for (index, &end) in ring.iter().enumerate() {
                let start = ring[if index == 0 { ring.len() - 1 } else { index - 1 }];
                if let Some(own) = key(start, end)
                    && best.as_ref().is_none_or(|(least, _)| own < *least)
                {
                    best = Some((own, index));
                }
            }
            let (least, first) = best.map_or((None, 0), |(least, first)| (Some(least), first));
            ring.rotate_left(first);
            ring.extend(ring.first().copied());
            (least, ring)
        })
        .collect();
    closed.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    let exterior = closed.iter().position(|(_, ring)| is_exterior(ring)).unwrap_or(0);
    let exterior = if closed.is_empty() { Vec::new() } else { closed.remove(exterior).1 };
    Polygon { exterior, holes: closed.into_iter().map(|(_, ring)| ring).collect() }
}
