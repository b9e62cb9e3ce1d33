//! Which glacier a pixel of ice belongs to.
//!
//! Inside a reference outline it is that glacier's. Ice outside goes to the glacier whose outline it hangs together with:
//!
//! - With elevations, through a seeded watershed: the outlines are flooded at once, the lowest pixel at the waters' edge first, and pixels keep the
//!   glacier whose water reaches them first (Vincent and Soille 1991, with markers and a queue as Meyer 1992 and the priority-flood of Barnes,
//!   Lehman and Mulla 2014). So waters meet on the crests between basins.
//! - Without, by the shortest way along the ice (Dijkstra 1959 with all outlines as sources).
//!
//! Ice hangs together where pixels share an edge. Ice that touches no outline is a new glacier for each piece.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{Error, Result};
use crate::evaluate::layer::GLACIER;
use crate::raster::polygons::{Polygon, Regions, Ring};
use crate::raster::rasterise::burn;
use crate::raster::{Grid, Window};

/// Marks pixels inside a reference outline.
const INSIDE: u32 = 1 << 31;
/// Owners are numbered from 1; this many at most.
const MOST_OWNERS: u32 = INSIDE - 1;

/// The owner of every pixel of ice and of every pixel inside a reference outline.
#[derive(Debug, Clone)]
pub struct Territories {
    width: usize,
    height: usize,
    /// 0 for nobody, else the owner's number, from 1, with the mark of a reference outline.
    owners: Vec<u32>,
    /// Owners from the reference; those of new glaciers follow.
    references: u32,
    /// All owners.
    count: u32,
}

impl Territories {
    /// Nobody's ground.
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn new(grid: &Grid) -> Result<Self> {
        let mut owners = Vec::new();
        owners.try_reserve_exact(grid.len()).map_err(|_| out_of_memory(grid.width, grid.height))?;
        owners.resize(grid.len(), 0);
        Ok(Self { width: grid.width, height: grid.height, owners, references: 0, count: 0 })
    }

    /// Adds a reference glacier, each polygon as rings in pixel positions; gives its number. Where outlines overlap, a pixel stays the first one's.
    ///
    /// # Errors
    /// There are 2^31 glaciers.
    pub fn add_reference(&mut self, polygons: &[Vec<Ring<f64>>]) -> Result<u32> {
        if self.references == MOST_OWNERS {
            return Err(Error::bad_argument("2147483647 glaciers", "fewer", "split the reference"));
        }
        self.references += 1;
        self.count = self.references;
        for rings in polygons {
            let Some(window) = self.window_around(rings) else { continue };
            let (left, top) = (window.col as f64, window.row as f64);
            let moved: Vec<Ring<f64>> =
                rings.iter().map(|ring| ring.iter().map(|&(x, y)| (x - left, y - top)).collect()).collect();
            let mut mask = vec![false; window.width * window.height];
            burn(&moved, window.width, &mut mask);
            for (number, _) in mask.iter().enumerate().filter(|(_, inside)| **inside) {
                let (row, col) = (window.row + number / window.width, window.col + number % window.width);
                if let Some(owner) = self.owners.get_mut(row * self.width + col).filter(|owner| **owner == 0) {
                    *owner = self.references | INSIDE;
                }
            }
        }
        Ok(self.references)
    }

    /// The pixels around rings, within the grid; `None` beside it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the grid first")]
    fn window_around(&self, rings: &[Ring<f64>]) -> Option<Window> {
        let range = |values: &mut dyn Iterator<Item = f64>, size: usize| {
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
            let first = low.floor().clamp(0.0, size as f64) as usize;
            let end = high.ceil().clamp(0.0, size as f64) as usize;
            (first < end).then_some((first, end))
        };
        let (left, right) = range(&mut rings.iter().flatten().map(|v| v.0), self.width)?;
        let (top, bottom) = range(&mut rings.iter().flatten().map(|v| v.1), self.height)?;
        Some(Window { row: top, col: left, height: bottom - top, width: right - left })
    }

    /// Gives ice outside the reference outlines to their glaciers, and what touches none to new ones. `is_ice` tells by the pixel's number;
    /// `elevation` has one for each pixel, NaN where it is not known, which counts as level; `pixel` is the size of a pixel along columns and rows.
    ///
    /// # Errors
    /// There are 2^31 glaciers, or memory does not suffice.
    pub fn spread(
        &mut self,
        is_ice: impl Fn(usize) -> bool,
        elevation: Option<&[f32]>,
        pixel: (f64, f64),
    ) -> Result<()> {
        match elevation {
            Some(elevation) => self.flood(&is_ice, elevation),
            None => self.reach_out(&is_ice, pixel)?,
        }
        self.name_the_rest(&is_ice)
    }

    /// The watershed. A pixel is taken when water first reaches it, which is from its lowest neighbour, so it waits in the queue once.
    fn flood(&mut self, is_ice: &impl Fn(usize) -> bool, elevation: &[f32]) {
        let frame = Frame { width: self.width, height: self.height };
        let mut edge: BinaryHeap<Reverse<(u32, u64, usize)>> = BinaryHeap::new();
        // Among equals, the first comes first: level ground is shared evenly.
        let mut order = 0_u64;
        let mut take = |owners: &mut [u32], edge: &mut BinaryHeap<_>, owner: u32, i: usize, level: u32| {
            frame.neighbours(i, |j, _| {
                if owners[j] == 0 && is_ice(j) {
                    owners[j] = owner;
                    // Water does not sink again behind a sill.
                    let own = elevation.get(j).filter(|e| !e.is_nan()).map_or(0, |e| ordered(*e));
                    edge.push(Reverse((own.max(level), order, j)));
                    order += 1;
                }
            });
        };
        for i in 0..self.owners.len() {
            let owner = self.owners[i];
            if owner & INSIDE != 0 {
                take(&mut self.owners, &mut edge, owner & !INSIDE, i, 0);
            }
        }
        while let Some(Reverse((level, _, i))) = edge.pop() {
            let owner = self.owners[i];
            take(&mut self.owners, &mut edge, owner, i, level);
        }
    }

    /// The shortest ways along the ice.
    fn reach_out(&mut self, is_ice: &impl Fn(usize) -> bool, pixel: (f64, f64)) -> Result<()> {
        let frame = Frame { width: self.width, height: self.height };
        // The shortest way found so far. Positive numbers are in the order of their bits.
        let mut best: Vec<f32> = Vec::new();
        best.try_reserve_exact(self.owners.len()).map_err(|_| out_of_memory(self.width, self.height))?;
        best.resize(self.owners.len(), f32::INFINITY);
        let mut edge: BinaryHeap<Reverse<(u32, u64, usize, u32)>> = BinaryHeap::new();
        let mut order = 0_u64;
        let mut take = |owners: &[u32], edge: &mut BinaryHeap<_>, owner: u32, i: usize, way: f32| {
            let mut offer = |j: usize, step: f64| {
                #[expect(clippy::cast_possible_truncation, reason = "rounded: ways are compared, not reported")]
                let way = way + step as f32;
                if owners[j] == 0 && way < best[j] && is_ice(j) {
                    best[j] = way;
                    edge.push(Reverse((way.to_bits(), order, j, owner)));
                    order += 1;
                }
            };
            frame.neighbours(i, |j, is_row| offer(j, if is_row { pixel.0 } else { pixel.1 }));
            frame.corners(i, is_ice, |j| offer(j, pixel.0.hypot(pixel.1)));
        };
        for i in 0..self.owners.len() {
            let owner = self.owners[i];
            if owner & INSIDE != 0 {
                take(&self.owners, &mut edge, owner & !INSIDE, i, 0.0);
            }
        }
        while let Some(Reverse((way, _, i, owner))) = edge.pop() {
            if self.owners[i] == 0 {
                self.owners[i] = owner;
                take(&self.owners, &mut edge, owner, i, f32::from_bits(way));
            }
        }
        Ok(())
    }

    /// A new glacier for each piece of ice that touches no outline.
    fn name_the_rest(&mut self, is_ice: &impl Fn(usize) -> bool) -> Result<()> {
        let frame = Frame { width: self.width, height: self.height };
        let mut stack = Vec::new();
        for first in 0..self.owners.len() {
            if self.owners[first] != 0 || !is_ice(first) {
                continue;
            }
            if self.count == MOST_OWNERS {
                return Err(Error::bad_argument("2147483647 glaciers", "fewer", "smooth the class raster"));
            }
            self.count += 1;
            let owner = self.count;
            self.owners[first] = owner;
            stack.push(first);
            while let Some(i) = stack.pop() {
                frame.neighbours(i, |j, _| {
                    if self.owners[j] == 0 && is_ice(j) {
                        self.owners[j] = owner;
                        stack.push(j);
                    }
                });
            }
        }
        Ok(())
    }

    /// Gives nobody's pixels that `is_possible` tells, and that hang together with somebody's, to the nearest along them, step by step across edges.
    pub fn grow(&mut self, is_possible: impl Fn(usize) -> bool) {
        let frame = Frame { width: self.width, height: self.height };
        let touches = |i: usize| {
            let mut touches = false;
            frame.neighbours(i, |j, _| touches |= self.owners[j] == 0 && is_possible(j));
            touches
        };
        let mut edge: Vec<usize> = (0..self.owners.len()).filter(|&i| self.owners[i] != 0 && touches(i)).collect();
        while !edge.is_empty() {
            let mut next = Vec::new();
            for i in edge {
                let owner = self.owners[i] & !INSIDE;
                frame.neighbours(i, |j, _| {
                    if self.owners[j] == 0 && is_possible(j) {
                        self.owners[j] = owner;
                        next.push(j);
                    }
                });
            }
            edge = next;
        }
    }

    /// Owners from the reference; they have the numbers 1 to this.
    #[must_use]
    pub fn references(&self) -> u32 {
        self.references
    }

    /// All owners, those of new glaciers at the end.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The owner of a pixel (0 for nobody), and whether it lies inside that owner's reference outline.
    #[must_use]
    pub fn owner(&self, pixel: usize) -> (u32, bool) {
        let owner = self.owners.get(pixel).copied().unwrap_or(0);
        (owner & !INSIDE, owner & INSIDE != 0)
    }

    /// The smallest window around each owner's pixels, by its number less 1.
    #[must_use]
    pub fn windows(&self) -> Vec<Option<Window>> {
        // First and last row and column.
        let mut found: Vec<Option<[usize; 4]>> = vec![None; self.count as usize];
        for (i, owner) in self.owners.iter().enumerate() {
            let Some(place) = ((owner & !INSIDE) as usize).checked_sub(1).and_then(|n| found.get_mut(n)) else {
                continue;
            };
            let (row, col) = (i / self.width, i % self.width);
            let [r0, r1, c0, c1] = place.unwrap_or([row, row, col, col]);
            *place = Some([r0.min(row), r1.max(row), c0.min(col), c1.max(col)]);
        }
        let window =
            |[r0, r1, c0, c1]: [usize; 4]| Window { row: r0, col: c0, height: r1 - r0 + 1, width: c1 - c0 + 1 };
        found.into_iter().map(|place| place.map(window)).collect()
    }

    /// The outlines, along pixel edges, of the pixels of a window that `belongs` tells by their number.
    ///
    /// # Errors
    /// The window has 2^32 - 1 pixels or more.
    pub fn outlines(&self, window: Window, belongs: impl Fn(usize) -> bool) -> Result<Vec<Polygon<u32>>> {
        let mut classes = Vec::with_capacity(window.width * window.height);
        for row in window.row..window.row + window.height {
            let first = row * self.width + window.col;
            classes.extend((first..first + window.width).map(|i| if belongs(i) { GLACIER } else { 0 }));
        }
        let regions = Regions::find(&classes, window.width, window.height, GLACIER)?;
        let (Ok(left), Ok(top)) = (u32::try_from(window.col), u32::try_from(window.row)) else {
            let found = format!("a raster of {} x {} pixels", self.width, self.height);
            return Err(Error::bad_argument(found, "fewer than 2^32 rows and columns", "split the scene"));
        };
        let moved = |ring: Ring<u32>| ring.into_iter().map(|(col, row)| (col + left, row + top)).collect();
        let polygons = regions.polygons.into_iter().map(|polygon| Polygon {
            exterior: moved(polygon.exterior),
            holes: polygon.holes.into_iter().map(moved).collect(),
        });
        Ok(polygons.collect())
    }
}

/// Rows and columns of pixels that are numbered row by row.
#[derive(Debug, Clone, Copy)]
struct Frame {
    width: usize,
    height: usize,
}

impl Frame {
    /// Calls `visit` with each pixel across an edge, and whether it is in the same row.
    fn neighbours(self, i: usize, mut visit: impl FnMut(usize, bool)) {
        let (row, col) = (i / self.width, i % self.width);
        if row > 0 {
            visit(i - self.width, false);
        }
        if col > 0 {
            visit(i - 1, true);
        }
        if col + 1 < self.width {
            visit(i + 1, true);
        }
        if row + 1 < self.height {
            visit(i + self.width, false);
        }
    }

    /// Calls `visit` with each pixel across a corner beside which there is ice.
    fn corners(self, i: usize, is_ice: &impl Fn(usize) -> bool, mut visit: impl FnMut(usize)) {
        let (row, col) = (i / self.width, i % self.width);
        let rows = [(row > 0).then(|| row - 1), (row + 1 < self.height).then_some(row + 1)];
        let cols = [(col > 0).then(|| col - 1), (col + 1 < self.width).then_some(col + 1)];
        for other_row in rows.into_iter().flatten() {
            for other_col in cols.into_iter().flatten() {
                if is_ice(row * self.width + other_col) || is_ice(other_row * self.width + col) {
                    visit(other_row * self.width + other_col);
                }
            }
        }
    }
}

fn out_of_memory(width: usize, height: usize) -> Error {
    Error::bad_argument(
        format!("a grid of {width} x {height} pixels"),
        "one for which there is memory (about 16 bytes a pixel)",
        "cut the class raster into parts that do not divide a glacier, with gdal_translate -srcwin",
    )
}

/// Bits in the order of the numbers, negative ones included.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(width: usize, height: usize) -> Grid {
        Grid { width, height, transform: [1.0, 0.0, 0.0, 0.0, -1.0, 0.0], crs: None }
    }

    fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Vec<Vec<Ring<f64>>> {
        vec![vec![vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]]
    }

    fn picture(territories: &Territories) -> String {
        let rows = territories.owners.chunks_exact(territories.width);
        let rows = rows.map(|row| row.iter().map(|owner| (owner & !INSIDE).to_string()).collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_nearest_along_the_ice() {
        // Two outlines at the ends of a bent tongue of ice; in the middle of the bend both are as near, and the first gets it.
        let ice = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0];
        let mut territories = Territories::new(&grid(7, 4)).expect("small");
        territories.add_reference(&rectangle(0.0, 0.0, 1.0, 1.0)).expect("few");
        territories.add_reference(&rectangle(0.0, 2.0, 1.0, 3.0)).expect("few");
        territories.spread(|i| ice[i] == 1, None, (1.0, 1.0)).expect("few");
        assert_eq!(picture(&territories), "1111111\n0000001\n2222222\n0200000");
    }

    #[test]
    fn watersheds_meet_on_crests() {
        // Two outlines at the lower ends of two slopes; the crest is nearer to the left one.
        let elevation: Vec<f32> = [10, 20, 30, 25, 20, 15, 12, 11].into_iter().map(|e: u8| f32::from(e)).collect();
        let mut territories = Territories::new(&grid(8, 1)).expect("small");
        territories.add_reference(&rectangle(0.0, 0.0, 1.0, 1.0)).expect("few");
        territories.add_reference(&rectangle(7.0, 0.0, 8.0, 1.0)).expect("few");
        let flat = territories.clone();
        territories.spread(|_| true, Some(&elevation), (1.0, 1.0)).expect("few");
        assert!(
            picture(&territories).starts_with("11") && picture(&territories).ends_with("22222"),
            "{}",
            picture(&territories)
        );
        let mut nearest = flat;
        nearest.spread(|_| true, None, (1.0, 1.0)).expect("few");
        assert_eq!(picture(&nearest), "11112222");
    }

    #[test]
    fn what_touches_nothing_is_new() {
        let ice = [1, 1, 0, 1, 0, 1, 0, 0, 0, 1];
        let mut territories = Territories::new(&grid(5, 2)).expect("small");
        territories.add_reference(&rectangle(0.0, 0.0, 1.0, 1.0)).expect("few");
        territories.spread(|i| ice[i] == 1, None, (1.0, 1.0)).expect("few");
        assert_eq!(picture(&territories), "11020\n10003");
        assert_eq!((territories.references(), territories.count()), (1, 3));
        assert_eq!(territories.owner(0), (1, true));
        assert_eq!(territories.owner(1), (1, false));
        assert_eq!(territories.windows()[0], Some(Window { row: 0, col: 0, height: 2, width: 2 }));
        let outlines =
            territories.outlines(Window { row: 0, col: 3, height: 2, width: 2 }, |i| territories.owner(i).0 == 3);
        assert_eq!(outlines.expect("small")[0].exterior, [(4, 1), (4, 2), (5, 2), (5, 1), (4, 1)]);
    }

    #[test]
    fn ground_grows_step_by_step() {
        let mut territories = Territories::new(&grid(7, 1)).expect("small");
        // Two glaciers of a pixel; what lies beyond the gap stays nobody's.
        territories.add_reference(&rectangle(0.0, 0.0, 1.0, 1.0)).expect("few");
        territories.add_reference(&rectangle(4.0, 0.0, 5.0, 1.0)).expect("few");
        territories.grow(|i| i != 5);
        let owners: Vec<(u32, bool)> = (0..7).map(|i| territories.owner(i)).collect();
        assert_eq!(owners, [(1, true), (1, false), (1, false), (2, false), (2, true), (0, false), (0, false)]);
    }

    #[test]
    fn order_of_numbers() {
        let values = [-5.0, -1.0, -0.0, 0.0, 1e-9, 2.0, 8000.0];
        assert!(values.windows(2).all(|pair| ordered(pair[0]) <= ordered(pair[1])));
        assert!(ordered(-5.0) < ordered(-1.0) && ordered(1.0) < ordered(2.0));
    }
}
