//! Class rows in, outlines out: the regions of a class, as a raster comes in row by row.
//!
//! Outlines are those of [`crate::raster::polygons::Regions`], and valid in the same sense, but nothing is kept per pixel: memory is some bytes
//! per column and the boundaries of the outlines that have not been taken. See `raster/boundary.rs` for the method. Whether the boundary
//! crosses over where pixels meet as a chequerboard depends on whether both belong to one region, which may turn out many rows later. So
//! boundaries are cut at such corners, and put together when the region is complete.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::raster::boundary::{Complete, Meeting, Sweep, TOO_MANY, Trace, assemble};
use crate::raster::polygons::{Polygon, Statistics, signed_area};

/// One 4-connected region of the class.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Its boundary along pixel edges, in pixel corners (column, row) of the whole raster.
    pub polygon: Polygon<u32>,
    /// Its number of pixels.
    pub pixels: u64,
    /// Statistics of the values that came with its pixels.
    pub values: Statistics,
}

/// Finds the outlines of a class in a raster whose rows come from the north to the south.
#[derive(Debug)]
pub struct Outliner {
    width: usize,
    class: u8,
    row: u32,
    sweep: Sweep<(u32, u32)>,
}

impl Outliner {
    /// For rows of `width` pixels; outlines regions of `class`.
    #[must_use]
    pub fn new(width: usize, class: u8) -> Self {
        Self::starting_at(width, class, 0)
    }

    /// As [`Outliner::new`], for a class that rows before `row` do not have.
    #[must_use]
    pub fn starting_at(width: usize, class: u8, row: u32) -> Self {
        // A wider raster is refused with its first row, before anything is made of its size.
        let sweep = Sweep::new(if width < TOO_MANY { width } else { 0 });
        Self { width, class, row, sweep }
    }

    /// Adds whole rows: their classes and a value for each pixel (a confidence, say; NaN counts for nothing). No values at all are fine.
    ///
    /// # Errors
    /// The lengths are not whole rows, or there are too many rows.
    pub fn add_rows(&mut self, classes: &[u8], values: &[f32]) -> Result<()> {
        let class = self.class;
        self.add_rows_where(classes.len(), |index| classes[index] == class, values)
    }

    /// Adds whole rows of `pixels` pixels, row by row, of which those are in the class for which `inside` is true.
    ///
    /// # Errors
    /// As [`Outliner::add_rows`].
    pub fn add_rows_where(&mut self, pixels: usize, inside: impl Fn(usize) -> bool, values: &[f32]) -> Result<()> {
        let rows = check_rows(self.width, self.row, pixels, values.len())?;
        for row in 0..rows {
            let start = row * self.width;
            let values = if values.is_empty() { values } else { &values[start..start + self.width] };
            self.sweep.add_row(&Corners { row: self.row }, |col| inside(start + col), values);
            self.row += 1;
        }
        Ok(())
    }

    /// The outlines that are complete: no later row can touch them. Each comes out once.
    pub fn take_complete(&mut self) -> Vec<Outline> {
        self.sweep.take_complete().into_iter().map(outline).collect()
    }

    /// The outlines that did not come out before, in the order of their first pixel.
    ///
    /// # Errors
    /// None that is not a defect.
    pub fn finish(mut self) -> Result<Vec<Outline>> {
        self.sweep.end(&Corners { row: self.row });
        let mut rest = self.take_complete();
        rest.sort_by_key(|outline| reading_order(&outline.polygon));
        Ok(rest)
    }
}

/// Where the first pixel of a polygon is: (row, column).
pub fn reading_order(polygon: &Polygon<u32>) -> Option<(u32, u32)> {
    polygon.exterior.first().map(|&(col, row)| (row, col))
}

/// The number of whole rows in `pixels`, of a raster of which `before` rows are known.
pub(super) fn check_rows(width: usize, before: u32, pixels: usize, values: usize) -> Result<usize> {
    let rows = pixels.checked_div(width).unwrap_or(0);
    if rows.checked_mul(width) != Some(pixels) || (values != pixels && values != 0) {
        return Err(Error::bad_argument(
            format!("{pixels} classes with {values} values"),
            format!("whole rows of {width} pixels, a value for each or none"),
            "pass rasters of one grid",
        ));
    }
    if width >= TOO_MANY || rows.saturating_add(before as usize) >= TOO_MANY {
        return Err(Error::bad_argument(
            format!("a class raster of {width} columns and at least {} rows", rows.saturating_add(before as usize)),
            format!("fewer than {TOO_MANY} each way"),
            "split the scene",
        ));
    }
    Ok(rows)
}

/// Points at pixel corners where boundaries turn.
struct Corners {
    row: u32,
}

impl Trace for Corners {
    type Point = (u32, u32);

    #[expect(clippy::cast_possible_truncation, reason = "rows have fewer than 2^32 - 2 pixels")]
    fn corner(&self, col: usize) -> Option<(u32, u32)> {
        Some((col as u32, self.row))
    }

    fn below(&self, _col: usize) -> Option<(u32, u32)> {
        None
    }

    fn right(&self, _col: usize) -> Option<(u32, u32)> {
        None
    }

    fn meeting(&self, _col: usize) -> Meeting {
        Meeting::AsRegions
    }
}

fn outline(complete: Complete<(u32, u32)>) -> Outline {
    let Complete { pixels, values, mut rings, pieces } = complete;
    rings.extend(put_together(&pieces));
    // Rings begin where the top edge of their first pixel ends, as `Regions` has them.
    let key = |start: (u32, u32), end: (u32, u32)| (end.0 < start.0).then_some((end.1, end.0));
    let polygon = assemble(rings, key, |ring| signed_area(ring) > 0);
    Outline { polygon, pixels, values }
}

/// Rings of the pieces of one region. Where two pieces end and two begin, both pixels at that corner are the region's, and the boundary crosses
/// over: it turns right.
fn put_together(pieces: &[Vec<(u32, u32)>]) -> Vec<Vec<(u32, u32)>> {
    let mut starts: HashMap<(u32, u32), [Option<usize>; 2]> = HashMap::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        if let Some(&first) = piece.first() {
            let own = starts.entry(first).or_default();
            own[usize::from(own[0].is_some())] = Some(index);
        }
    }
    let next = |piece: &[(u32, u32)]| {
        let &[before, end] = piece.last_chunk::<2>()?;
        let candidates = starts.get(&end)?;
        let turns_right = |index: usize| {
            pieces[index].get(1).is_some_and(|&after| {
                let (dx, dy) = (i64::from(end.0) - i64::from(before.0), i64::from(end.1) - i64::from(before.1));
                let (ox, oy) = (i64::from(after.0) - i64::from(end.0), i64::from(after.1) - i64::from(end.1));
                // Rows count downwards, so a right turn is positive.
                dx.signum() * oy.signum() - dy.signum() * ox.signum() > 0
            })
        };
        match *candidates {
            [Some(a), Some(b)] => Some(if turns_right(a) { a } else { b }),
            [only, _] => only,
        }
    };
    let mut is_used = vec![false; pieces.len()];
    let mut rings = Vec::new();
    for first in 0..pieces.len() {
        let mut ring = Vec::new();
        let mut at = Some(first);
        while let Some(index) = at.filter(|&index| !is_used[index]) {
            is_used[index] = true;
            let piece = &pieces[index];
            ring.extend_from_slice(&piece[..piece.len() - 1]);
            at = next(piece);
        }
        if !ring.is_empty() {
            rings.push(ring);
        }
    }
    rings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raster::polygons::Regions;

    /// Outlines of rows that come `at_once`, taken as they are complete, in the order of first pixels.
    fn outlines(classes: &[u8], values: &[f32], width: usize, at_once: usize) -> Vec<Outline> {
        let mut outliner = Outliner::new(width, 1);
        let mut found = Vec::new();
        for (classes, values) in classes.chunks(width * at_once).zip(values.chunks(width * at_once)) {
            outliner.add_rows(classes, values).expect("whole rows");
            found.extend(outliner.take_complete());
        }
        found.extend(outliner.finish().expect("complete"));
        found.sort_by_key(|outline| reading_order(&outline.polygon));
        found
    }

    fn check(classes: &[u8], values: &[f32], width: usize, at_once: usize) {
        let found = outlines(classes, values, width, at_once);
        let expected = Regions::find(classes, width, classes.len() / width, 1).expect("the shape is right");
        let statistics = expected.statistics(values).expect("the length is right");
        assert_eq!(found.len(), expected.polygons.len());
        for (index, outline) in found.iter().enumerate() {
            assert_eq!(outline.polygon, expected.polygons[index]);
            assert_eq!(outline.pixels, expected.pixels[index]);
            assert_eq!(outline.values.count, statistics[index].count);
            if outline.values.count == 0 {
                assert!(outline.values.mean.is_nan() && outline.values.minimum.is_nan());
            } else {
                assert!((outline.values.mean - statistics[index].mean).abs() < 1e-12);
                assert_eq!(outline.values.minimum.to_bits(), statistics[index].minimum.to_bits());
            }
        }
    }

    fn check_text(rows: &[&str]) {
        let classes: Vec<u8> = rows.iter().flat_map(|r| r.bytes().map(|b| u8::from(b == b'#'))).collect();
        let values = vec![0.5; classes.len()];
        check(&classes, &values, rows[0].len(), 1);
    }

    #[test]
    fn known_shapes() {
        check_text(&["...", ".#.", "..."]);
        check_text(&["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"]);
        check_text(&["#.#.", ".#.#", "#.#."]);
        check_text(&["###.", "#.##", "####"]);
        check_text(&["##.", "#.#", "###"]);
        check_text(&["####", "#.##", "##.#", "####"]);
        // A spiral, whose ends join in the last row.
        check_text(&["#.#.#", "#.#.#", "#.#.#", "#####"]);
        // Diagonal neighbours that are joined far below.
        check_text(&["#....", "#.##.", "##..#", "#...#", "#####"]);
        check_text(&[".#..#", "#.#.#", "#...#", "#####"]);
    }

    #[test]
    fn complete_outlines_are_released() {
        let mut outliner = Outliner::new(3, 1);
        outliner.add_rows(&[1, 0, 1], &[]).expect("a row");
        assert!(outliner.take_complete().is_empty());
        outliner.add_rows(&[0, 0, 1], &[]).expect("a row");
        let complete = outliner.take_complete();
        assert_eq!(complete.len(), 1);
        assert_eq!(complete[0].polygon.exterior, [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]);
        assert!(outliner.take_complete().is_empty());
        assert_eq!(outliner.finish().expect("complete").len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Outliner::new(3, 1).add_rows(&[1, 0], &[]).is_err());
        assert!(Outliner::new(3, 1).add_rows(&[1, 0, 0], &[0.5]).is_err());
        assert!(Outliner::new(0, 1).add_rows(&[1], &[]).is_err());
        assert!(Outliner::new(usize::MAX, 1).add_rows(&[], &[]).is_err());
        assert!(Outliner::starting_at(1, 1, u32::MAX - 2).add_rows(&[1], &[]).is_err());
        assert!(Outliner::new(0, 1).finish().expect("complete").is_empty());
    }

    #[test]
    fn rows_far_down() {
        let first = u32::MAX - 10;
        let mut outliner = Outliner::starting_at(2, 1, first);
        outliner.add_rows(&[1, 1], &[]).expect("a row");
        let found = outliner.finish().expect("complete");
        assert_eq!(found[0].polygon.exterior[0], (0, first));
        assert_eq!(found[0].polygon.holes.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn equal_to_regions(
            width in 1usize..24,
            at_once in 1usize..5,
            density in 0.1f64..0.95,
            draws in prop::collection::vec((0.0f64..1.0, prop::num::f32::NORMAL | prop::num::f32::QUIET_NAN), 0..500),
        ) {
            let height = draws.len() / width;
            let classes: Vec<u8> = draws[..width * height].iter().map(|d| u8::from(d.0 < density)).collect();
            let values: Vec<f32> =
                draws[..width * height].iter().map(|d| if d.1.is_nan() { d.1 } else { d.1.signum() }).collect();
            check(&classes, &values, width, at_once);
        }
    }
}
