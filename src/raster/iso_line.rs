//! Iso-lines of a raster as polygons: where a probability, say, passes a level, instead of the edges of pixels.
//!
//! Marching squares (Lorensen & Cline 1987, doi 10.1145/37402.37422, in two dimensions): values lie at pixel centres, four of which are a cell.
//! The line crosses a side of a cell where linear interpolation between its ends meets the level. Where two opposite corners of a cell are above
//! the level, they are joined if the mean of the four is. At the raster's edge and at pixels without data (NaN) the line follows the edges of
//! pixels, with its corners cut; pixels without data join nothing.
//!
//! Crossings keep [`CLEARANCE`] from the centres. So no two of them coincide, and since lines within a cell do not cross, no ring touches
//! itself or another: polygons are valid in the sense of OGC 06-103r4. What is inside is what `value > level` says of a pixel's centre.
//!
//! Rows come from north to south; what is kept are two rows and the lines of regions that have not been taken (`raster/boundary.rs`).

use crate::error::Result;
use crate::raster::boundary::{Complete, Meeting, Sweep, TOO_MANY, Trace, assemble};
use crate::raster::grid::Grid;
use crate::raster::outliner::check_rows;
use crate::raster::polygons::{Polygon, Ring, Statistics};

/// The least distance of a crossing from a pixel's centre, in pixels.
pub const CLEARANCE: f64 = 1.0 / 1024.0;

/// One region above the level.
#[derive(Debug, Clone)]
pub struct IsoRegion {
    /// Its boundary in pixels (column, row); (0, 0) is the outer corner of the first pixel, (0.5, 0.5) its centre.
    pub polygon: Polygon<f64>,
    /// The number of pixels whose centres it holds.
    pub pixels: u64,
    /// Statistics of the values that came with them.
    pub values: Statistics,
}

impl IsoRegion {
    /// The boundary in map coordinates, oriented as [`Polygon::to_map`] has it.
    #[must_use]
    pub fn to_map(&self, grid: &Grid) -> Polygon<f64> {
        let map = |ring: &Ring<f64>| {
            let mut ring: Ring<f64> = ring.iter().map(|&(col, row)| grid.position(col, row)).collect();
            if grid.is_mirrored() {
                ring.reverse();
            }
            ring
        };
        Polygon { exterior: map(&self.polygon.exterior), holes: self.polygon.holes.iter().map(map).collect() }
    }
}

/// Finds the regions above a level in a raster whose rows come from the north to the south.
#[derive(Debug)]
pub struct IsoLine {
    width: usize,
    level: f32,
    row: u32,
    /// The last row and the next, with a pixel without data at both ends.
    above: Vec<f32>,
    below: Vec<f32>,
    sweep: Sweep<(f64, f64)>,
}

impl IsoLine {
    /// For rows of `width` pixels.
    #[must_use]
    pub fn new(width: usize, level: f32) -> Self {
        Self::starting_at(width, level, 0)
    }

    /// As [`IsoLine::new`], for a raster in which no pixel before `row` is above the level or beside one that is.
    #[must_use]
    pub fn starting_at(width: usize, level: f32, row: u32) -> Self {
        // A wider raster is refused with its first row, before anything is made of its size.
        let own = if width < TOO_MANY { width } else { 0 };
        let nothing = vec![f32::NAN; own + 2];
        Self { width, level, row, above: nothing.clone(), below: nothing, sweep: Sweep::new(own) }
    }

    /// Adds whole rows: what the line is drawn through (NaN where there is no data), and a value for each pixel (NaN counts for nothing) or none.
    ///
    /// # Errors
    /// The lengths are not whole rows, or there are too many rows.
    pub fn add_rows(&mut self, field: &[f32], values: &[f32]) -> Result<()> {
        let rows = check_rows(self.width, self.row, field.len(), values.len())?;
        for row in 0..rows {
            let start = row * self.width;
            self.below[1..=self.width].copy_from_slice(&field[start..start + self.width]);
            let values = if values.is_empty() { values } else { &values[start..start + self.width] };
            let Self { level, above, below, sweep, .. } = self;
            let cells = Cells { row: self.row, level: *level, above, below };
            sweep.add_row(&cells, |col| below[col + 1] > *level, values);
            std::mem::swap(above, below);
            self.row += 1;
        }
        Ok(())
    }

    /// The regions that are complete: no later row can touch them. Each comes out once.
    pub fn take_complete(&mut self) -> Vec<IsoRegion> {
        self.sweep.take_complete().into_iter().map(region).collect()
    }

    /// The regions that did not come out before.
    #[must_use]
    pub fn finish(mut self) -> Vec<IsoRegion> {
        self.below.fill(f32::NAN);
        let cells = Cells { row: self.row, level: self.level, above: &self.above, below: &self.below };
        self.sweep.end(&cells);
        self.take_complete()
    }
}

fn region(complete: Complete<(f64, f64)>) -> IsoRegion {
    let key = |_: (f64, f64), end: (f64, f64)| Some((end.1, end.0));
    let polygon = assemble(complete.rings, key, encloses_left);
    IsoRegion { polygon, pixels: complete.pixels, values: complete.values }
}

/// Whether a ring in pixels runs counter-clockwise with north up.
fn encloses_left(ring: &[(f64, f64)]) -> bool {
    let Some(&(ox, oy)) = ring.first() else { return false };
    ring.windows(2).map(|e| (e[1].0 - ox) * (e[0].1 - oy) - (e[0].0 - ox) * (e[1].1 - oy)).sum::<f64>() > 0.0
}

/// The cells between the centres of two rows. The cell of a corner has it in its middle.
struct Cells<'a> {
    /// The row of the southern centres.
    row: u32,
    level: f32,
    above: &'a [f32],
    below: &'a [f32],
}

impl Cells<'_> {
    /// Where the line crosses between two neighbouring centres: the share of the way from the first.
    fn crossing(&self, a: f32, b: f32) -> f64 {
        if a.is_nan() || b.is_nan() {
            return 0.5;
        }
        let (a, b, level) = (f64::from(a), f64::from(b), f64::from(self.level));
        let share = (level - a) / (b - a);
        // Infinite values have no linear course.
        if share.is_nan() { 0.5 } else { share.clamp(CLEARANCE, 1.0 - CLEARANCE) }
    }
}

impl Trace for Cells<'_> {
    type Point = (f64, f64);

    fn corner(&self, _col: usize) -> Option<(f64, f64)> {
        None
    }

    #[expect(clippy::cast_precision_loss, reason = "columns are fewer than 2^32")]
    fn below(&self, col: usize) -> Option<(f64, f64)> {
        let share = self.crossing(self.below[col], self.below[col + 1]);
        Some((col as f64 - 0.5 + share, f64::from(self.row) + 0.5))
    }

    #[expect(clippy::cast_precision_loss, reason = "columns are fewer than 2^32")]
    fn right(&self, col: usize) -> Option<(f64, f64)> {
        let share = self.crossing(self.above[col + 1], self.below[col + 1]);
        Some((col as f64 + 0.5, f64::from(self.row) - 0.5 + share))
    }

    fn meeting(&self, col: usize) -> Meeting {
        let cell = [self.above[col], self.above[col + 1], self.below[col], self.below[col + 1]];
        let mean = cell.iter().map(|&value| f64::from(value)).sum::<f64>() / 4.0;
        // False for NaN.
        if mean > f64::from(self.level) { Meeting::Joined } else { Meeting::Apart }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::raster::polygons::Regions;

    fn lines(field: &[f32], width: usize) -> Vec<IsoRegion> {
        let mut line = IsoLine::new(width, 0.5);
        let mut found = Vec::new();
        for row in field.chunks(width) {
            line.add_rows(row, row).expect("a row");
            found.extend(line.take_complete());
        }
        found.extend(line.finish());
        found
    }

    fn area(polygon: &Polygon<f64>) -> f64 {
        let of = |ring: &Ring<f64>| ring.windows(2).map(|e| e[1].0 * e[0].1 - e[0].0 * e[1].1).sum::<f64>() / 2.0;
        polygon.rings().map(of).sum()
    }

    /// Whether a point lies in a polygon, by counting the edges above it.
    fn holds(polygon: &Polygon<f64>, (x, y): (f64, f64)) -> bool {
        let crossed = polygon.rings().flat_map(|ring| ring.windows(2)).filter(|e| {
            let ((x0, y0), (x1, y1)) = (e[0], e[1]);
            (x0 <= x) != (x1 <= x) && y0 + (x - x0) / (x1 - x0) * (y1 - y0) < y
        });
        crossed.count() % 2 == 1
    }

    #[test]
    fn one_pixel_is_a_diamond() {
        let found = lines(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 3);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].polygon.exterior, [(1.5, 1.0), (1.0, 1.5), (1.5, 2.0), (2.0, 1.5), (1.5, 1.0)]);
        assert_eq!((found[0].pixels, found[0].values.mean), (1, 1.0));
    }

    #[test]
    fn a_slope_is_cut_where_it_passes_the_level() {
        // 0.2, 0.4, 0.8, 1.0 in every row: the level lies a quarter of a pixel after the second centre.
        let row = [0.2, 0.4, 0.8, 1.0];
        let found = lines(&row.repeat(4), 4);
        assert_eq!(found.len(), 1);
        let xs: Vec<f64> = found[0].polygon.exterior.iter().map(|p| p.0).collect();
        let west = xs.iter().copied().fold(f64::INFINITY, f64::min);
        let east = xs.iter().copied().fold(0.0, f64::max);
        assert!((west - 1.75).abs() < 1e-6 && (east - 4.0).abs() < 1e-12, "{west} {east}");
    }

    #[test]
    fn the_edge_and_gaps_are_followed() {
        // All above: the scene's edge, with corners cut by an eighth of a pixel each.
        let found = lines(&[1.0; 12], 4);
        assert!((area(&found[0].polygon) - (12.0 - 4.0 / 8.0)).abs() < 1e-12);
        let mut field = [1.0; 25];
        field[12] = f32::NAN;
        let found = lines(&field, 5);
        assert_eq!(found[0].polygon.holes.len(), 1);
        assert_eq!(found[0].polygon.holes[0].len(), 5);
    }

    #[test]
    fn saddles_follow_the_mean() {
        assert_eq!(lines(&[0.9, 0.4, 0.4, 0.9], 2).len(), 1);
        assert_eq!(lines(&[0.6, 0.1, 0.1, 0.6], 2).len(), 2);
        assert_eq!(lines(&[0.4, 0.9, 0.9, 0.4], 2).len(), 1);
        assert_eq!(lines(&[0.1, 0.6, 0.6, 0.1], 2).len(), 2);
        assert_eq!(lines(&[f32::NAN, 0.9, 0.9, 0.4], 2).len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn rings_part_what_is_above_from_the_rest(
            width in 1usize..20,
            draws in prop::collection::vec(0u8..24, 0..400),
        ) {
            // Values at the level itself and gaps are common.
            let of = |draw: u8| if draw < 21 { f32::from(draw) / 20.0 } else { f32::NAN };
            let height = draws.len() / width;
            let field: Vec<f32> = draws[..width * height].iter().map(|&d| of(d)).collect();
            let found = lines(&field, width);
            let mut points = HashSet::new();
            let mut pixels = 0;
            for region in &found {
                pixels += region.pixels;
                assert!(encloses_left(&region.polygon.exterior));
                assert!(region.polygon.holes.iter().all(|hole| !encloses_left(hole)));
                for ring in region.polygon.rings() {
                    assert!(ring.len() >= 5 && ring.first() == ring.last());
                    for point in &ring[1..] {
                        assert!(points.insert((point.0.to_bits(), point.1.to_bits())), "two lines meet");
                    }
                }
            }
            assert_eq!(pixels, field.iter().filter(|&&value| value > 0.5).count() as u64);
            for (index, &value) in field.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let centre = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5 + 1e-9);
                let within = found.iter().filter(|region| holds(&region.polygon, centre)).count();
                assert_eq!(within, usize::from(value > 0.5), "{centre:?}");
            }
            // Joined diagonals make no more regions than 4-connected pixels do.
            let classes: Vec<u8> = field.iter().map(|&value| u8::from(value > 0.5)).collect();
            let regions = Regions::find(&classes, width, height, 1).expect("the shape is right");
            assert!(found.len() <= regions.polygons.len());
        }
    }
}
