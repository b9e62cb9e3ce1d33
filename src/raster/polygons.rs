//! Class raster to polygons along pixel edges.
//!
//! Regions are 4-connected: pixels that share only a corner belong to different polygons. All positions are pixel corners, (column, row), rows
//! counted downwards. [`Polygon::to_map`] takes them to the coordinates of a [`Grid`].
//!
//! Boundaries are walked with the region on one side. Where four pixels meet as a chequerboard there is a choice of turn: if both pixels
//! belong to one region (joined elsewhere) the walk crosses over, so that the outer boundary and the enclosed gap become two rings that touch
//! in a point; else it stays with its own pixel. Then no ring meets a vertex twice, and a shell with its holes is valid in the sense of
//! OGC 06-103r4 (section 6.1.11): rings touch in points only, and the interior is connected because the region is.
//!
//! Time is O(pixels). Memory is 5 bytes per pixel (labels and visited edges) beside the polygons.

use crate::error::{Error, Result};
use crate::raster::grid::Grid;

/// A closed ring: the first vertex is repeated as the last.
pub type Ring<T> = Vec<(T, T)>;

/// A polygon with holes. `Polygon<u32>` is in pixel corners, `Polygon<f64>` in map coordinates.
///
/// Seen with north up, the exterior runs counter-clockwise and holes run clockwise (OGC 06-103r4).
#[derive(Debug, Clone, PartialEq)]
pub struct Polygon<T> {
    /// The outer boundary.
    pub exterior: Ring<T>,
    /// The boundaries of the holes.
    pub holes: Vec<Ring<T>>,
}

impl<T> Polygon<T> {
    /// Exterior first, then the holes.
    pub fn rings(&self) -> impl Iterator<Item = &Ring<T>> {
        std::iter::once(&self.exterior).chain(&self.holes)
    }
}

impl Polygon<u32> {
    /// Map coordinates of the polygon. On a grid that mirrors (rows going north, say) rings are reversed, so that the orientation holds.
    #[must_use]
    pub fn to_map(&self, grid: &Grid) -> Polygon<f64> {
        let map = |ring: &Ring<u32>| {
            let mut ring: Ring<f64> =
                ring.iter().map(|&(col, row)| grid.position(f64::from(col), f64::from(row))).collect();
            if grid.is_mirrored() {
                ring.reverse();
            }
            ring
        };
        Polygon { exterior: map(&self.exterior), holes: self.holes.iter().map(map).collect() }
    }
}

/// Area that a ring encloses in pixels: positive for exteriors, negative for holes.
#[must_use]
pub fn signed_area(ring: &[(u32, u32)]) -> i64 {
    // Products of two corners of a raster of 2^32 pixels a side do not fit into 64 bits.
    let twice: i128 = ring
        .windows(2)
        .map(|edge| {
            let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
            i128::from(x1) * i128::from(y0) - i128::from(x0) * i128::from(y1)
        })
        .sum();
    i64::try_from(twice / 2).unwrap_or(if twice > 0 { i64::MAX } else { i64::MIN })
}

/// Pixel statistics of one polygon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Pixels with a value that is not NaN.
    pub count: u64,
    /// Their mean; NaN if there are none.
    pub mean: f64,
    /// Their minimum; NaN if there are none.
    pub minimum: f64,
}

/// All 4-connected regions of one class.
#[derive(Debug, Clone)]
pub struct Regions {
    /// Polygon number + 1 of every pixel, row by row; 0 outside the class.
    pub labels: Vec<u32>,
    /// The polygons in the order of their first pixel.
    pub polygons: Vec<Polygon<u32>>,
    /// Pixels of each polygon.
    pub pixels: Vec<u64>,
}

impl Regions {
    /// Finds the regions where `classes` (row by row, `height * width`) equals `class`.
    ///
    /// # Errors
    /// The slice's length is not `width * height`, or there are 2^32 - 1 pixels or more.
    pub fn find(classes: &[u8], width: usize, height: usize, class: u8) -> Result<Self> {
        check_length(classes.len(), width, height)?;
        let side = |n: usize| u32::try_from(n).ok().filter(|&n| n < u32::MAX);
        if side(classes.len()).is_none() || side(width).is_none() || side(height).is_none() {
            return Err(Error::bad_argument(
                format!("a class raster of {width} x {height} pixels"),
                "fewer than 4294967295 pixels",
                "split the scene",
            ));
        }
        let (labels, pixels) = label(classes, width, class);
        let polygons = trace(&labels, width, height, pixels.len());
        Ok(Self { labels, polygons, pixels })
    }

    /// Count, mean and minimum of `values` (one per pixel, row by row; NaN is skipped) per polygon.
    ///
    /// # Errors
    /// There are not as many values as pixels.
    pub fn statistics(&self, values: &[f32]) -> Result<Vec<Statistics>> {
        check_length(values.len(), self.labels.len(), 1)?;
        let empty = Statistics { count: 0, mean: 0.0, minimum: f64::INFINITY };
        let mut all = vec![empty; self.polygons.len()];
        for (&label, &value) in self.labels.iter().zip(values) {
            if label > 0 && !value.is_nan() {
                let own = &mut all[label as usize - 1];
                own.count += 1;
                own.mean += f64::from(value);
                own.minimum = own.minimum.min(f64::from(value));
            }
        }
        for own in &mut all {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^32")]
            let count = own.count as f64;
            own.mean /= count; // 0 / 0 gives the NaN that is promised
            if own.count == 0 {
                own.minimum = f64::NAN;
            }
        }
        Ok(all)
    }
}

fn check_length(found: usize, width: usize, height: usize) -> Result<()> {
    if width.checked_mul(height) == Some(found) {
        return Ok(());
    }
    Err(Error::bad_argument(format!("{found} values"), format!("{width} x {height}"), "pass rasters of one grid"))
}

/// Labels (1, 2, ... in the order of first pixels, 0 outside) and pixel counts; union-find over one scan.
#[expect(clippy::cast_possible_truncation, reason = "Regions::find bounds the number of pixels by u32")]
fn label(classes: &[u8], width: usize, class: u8) -> (Vec<u32>, Vec<u64>) {
    let mut labels = vec![0u32; classes.len()];
    // Parent of each provisional label. A root is the smallest of its set, so roots keep the order of first pixels.
    let mut parent = vec![0u32];
    for i in 0..classes.len() {
        if classes[i] != class {
            continue;
        }
        let up = if i >= width { labels[i - width] } else { 0 };
        let left = if i % width > 0 { labels[i - 1] } else { 0 };
        labels[i] = match (up, left) {
            (0, 0) => {
                parent.push(parent.len() as u32);
                parent.len() as u32 - 1
            }
            (0, one) | (one, 0) => one,
            (a, b) => {
                let (a, b) = (root(&mut parent, a), root(&mut parent, b));
                parent[a.max(b) as usize] = a.min(b);
                a.min(b)
            }
        };
    }
    let mut number = vec![0u32; parent.len()];
    let mut pixels = Vec::new();
    for provisional in 1..parent.len() {
        let first = root(&mut parent, provisional as u32) as usize;
        if first == provisional {
            pixels.push(0);
            number[provisional] = pixels.len() as u32;
        } else {
            number[provisional] = number[first];
        }
    }
    for label in &mut labels {
        *label = number[*label as usize];
        if *label > 0 {
            pixels[*label as usize - 1] += 1;
        }
    }
    (labels, pixels)
}

/// The root of a set, halving paths on the way.
fn root(parent: &mut [u32], mut of: u32) -> u32 {
    while parent[of as usize] != of {
        parent[of as usize] = parent[parent[of as usize] as usize];
        of = parent[of as usize];
    }
    of
}

/// Steps of a walk along pixel edges, counter-clockwise with north up: each entry is the left turn of the one before.
const STEPS: [(isize, isize); 4] = [(-1, 0), (0, 1), (1, 0), (0, -1)]; // (column, row): west, south, east, north

/// The pixels that meet the vertex (0, 0) ahead of a walk in each direction: left and right of its line, as (column, row) offsets.
const AHEAD: [[(isize, isize); 2]; 4] = [
    [(-1, 0), (-1, -1)], // west: south-west pixel on the left
    [(0, 0), (-1, 0)],   // south: south-east on the left
    [(0, -1), (0, 0)],   // east: north-east on the left
    [(-1, -1), (0, -1)], // north: north-west on the left
];

/// Walks all boundaries of labels 1..=count.
fn trace(labels: &[u32], width: usize, height: usize, count: usize) -> Vec<Polygon<u32>> {
    let mut polygons = vec![Polygon { exterior: Vec::new(), holes: Vec::new() }; count];
    // Every ring has at least one edge on the top of a pixel of its region, and that is where rings are found.
    let mut walked = vec![false; labels.len()];
    for row in 0..height {
        for col in 0..width {
            let i = row * width + col;
            let label = labels[i];
            if label == 0 || walked[i] || (row > 0 && labels[i - width] == label) {
                continue;
            }
            let ring = walk(labels, width, height, (col, row), &mut walked);
            let polygon = &mut polygons[label as usize - 1];
            if signed_area(&ring) > 0 {
                polygon.exterior = ring;
            } else {
                polygon.holes.push(ring);
            }
        }
    }
    polygons
}

/// Walks the ring that runs west along the top edge of the pixel `start`; marks the top edges it passes.
#[expect(clippy::cast_possible_truncation, reason = "Regions::find bounds rows and columns by u32")]
fn walk(labels: &[u32], width: usize, height: usize, start: (usize, usize), walked: &mut [bool]) -> Ring<u32> {
    let label = labels[start.1 * width + start.0];
    let is_inside = |col: usize, row: usize, (dx, dy): (isize, isize)| match (
        col.checked_add_signed(dx),
        row.checked_add_signed(dy),
    ) {
        (Some(c), Some(r)) => c < width && r < height && labels[r * width + c] == label,
        _ => false,
    };
    let mut ring = Vec::new();
    let (mut col, mut row) = (start.0 + 1, start.1);
    let mut direction = 0;
    loop {
        if direction == 0 {
            // The pixel left of a step west has its top edge here.
            let i = row * width + col - 1;
            if walked[i] {
                break;
            }
            walked[i] = true;
        }
        col = col.wrapping_add_signed(STEPS[direction].0);
        row = row.wrapping_add_signed(STEPS[direction].1);
        let [left, right] = AHEAD[direction];
        let turned = match (is_inside(col, row, left), is_inside(col, row, right)) {
            (true, false) => direction,
            // Right ahead is inside: turn right. That covers the chequerboard of one region too (left outside, right inside); pixels
            // of another region are not inside, so the walk then stays with its own pixel.
            (_, true) => (direction + 3) % 4,
            (false, false) => (direction + 1) % 4,
        };
        if turned != direction {
            ring.push((col as u32, row as u32));
            direction = turned;
        }
    }
    // The start lies in the middle of a straight line or at a corner; only corners were kept, so closing is repeating the first.
    if let Some(&first) = ring.first() {
        ring.push(first);
    }
    ring
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn regions(rows: &[&str]) -> Regions {
        let classes: Vec<u8> = rows.iter().flat_map(|r| r.bytes().map(|b| u8::from(b == b'#'))).collect();
        let found = Regions::find(&classes, rows[0].len(), rows.len(), 1).expect("the shape is right");
        check(&found, &classes, rows[0].len());
        found
    }

    /// What must hold for every raster.
    fn check(found: &Regions, classes: &[u8], width: usize) {
        let mut total = 0;
        for (n, polygon) in found.polygons.iter().enumerate() {
            assert!(signed_area(&polygon.exterior) > 0);
            let mut own = 0;
            for ring in polygon.rings() {
                assert!(ring.len() >= 5);
                assert_eq!(ring.first(), ring.last());
                let distinct: HashSet<_> = ring[1..].iter().collect();
                assert_eq!(distinct.len(), ring.len() - 1, "a vertex is met twice");
                let corners = ring.iter().zip(ring[1..].iter().chain([&ring[1]])).map(|(a, b)| a.0 == b.0);
                assert!(corners.clone().zip(corners.skip(1)).all(|(a, b)| a != b), "not only corners");
                own += signed_area(ring);
            }
            assert!(polygon.holes.iter().all(|hole| signed_area(hole) < 0));
            assert_eq!(u64::try_from(own).ok(), Some(found.pixels[n]));
            total += found.pixels[n];
        }
        assert_eq!(total, classes.iter().filter(|&&c| c == 1).count() as u64);
        for (i, &label) in found.labels.iter().enumerate() {
            assert_eq!(label > 0, classes[i] == 1);
            if i % width > 0 && label > 0 && found.labels[i - 1] > 0 {
                assert_eq!(label, found.labels[i - 1]);
            }
        }
    }

    #[test]
    fn one_pixel() {
        let found = regions(&["...", ".#.", "..."]);
        assert_eq!(found.polygons[0].exterior, [(1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]);
    }

    #[test]
    fn nothing() {
        assert!(regions(&["...."]).polygons.is_empty());
        assert!(Regions::find(&[], 0, 0, 1).expect("an empty raster is fine").polygons.is_empty());
        assert!(Regions::find(&[1], 2, 1, 1).is_err());
    }

    #[test]
    fn nested_island() {
        let found = regions(&["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"]);
        assert_eq!(found.polygons.len(), 2);
        assert_eq!(found.polygons[0].holes.len(), 1);
        assert_eq!(found.polygons[1].holes, [vec![(3, 4), (3, 3), (4, 3), (4, 4), (3, 4)]]);
        assert_eq!(found.pixels, [24, 8]);
    }

    #[test]
    fn chequerboard_is_single_pixels() {
        let found = regions(&["#.#.", ".#.#", "#.#."]);
        assert_eq!(found.polygons.len(), 6);
    }

    #[test]
    fn gap_that_leaks_diagonally_is_a_hole() {
        let found = regions(&["###.", "#.##", "####"]);
        assert_eq!(found.polygons[0].holes.len(), 1);
        let found = regions(&["##.", "#.#", "###"]);
        assert_eq!((found.polygons.len(), found.polygons[0].holes.len()), (1, 1));
        // Two gaps that touch in a point are two holes.
        let found = regions(&["####", "#.##", "##.#", "####"]);
        assert_eq!(found.polygons[0].holes.len(), 2);
    }

    #[test]
    fn statistics_skip_nan() {
        let found = regions(&["##.#"]);
        let s = found.statistics(&[0.5, 1.0, 0.0, f32::NAN]).expect("the length is right");
        assert_eq!((s[0].count, s[0].mean, s[0].minimum), (2, 0.75, 0.5));
        assert!(s[1].count == 0 && s[1].mean.is_nan() && s[1].minimum.is_nan());
    }

    #[test]
    fn mirrored_grids_keep_the_orientation() {
        let polygon = regions(&["##"]).polygons.remove(0);
        for step in [-10.0, 10.0] {
            let grid = Grid { width: 2, height: 1, transform: [10.0, 0.0, 500.0, 0.0, step, 100.0], crs: None };
            let ring = polygon.to_map(&grid).exterior;
            let area: f64 = ring.windows(2).map(|e| e[0].0 * e[1].1 - e[1].0 * e[0].1).sum::<f64>() / 2.0;
            assert!((area - 200.0).abs() < 1e-9);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn random_rasters(width in 1usize..24, bytes in prop::collection::vec(0u8..2, 0..400)) {
            let height = bytes.len() / width;
            let classes = &bytes[..width * height];
            let found = Regions::find(classes, width, height, 1).expect("the shape is right");
            check(&found, classes, width);
        }
    }
}
