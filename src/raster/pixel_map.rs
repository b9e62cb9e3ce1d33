//! Where the pixels of one grid lie in another: through longitude and latitude, exact at the nodes of a mesh that is as fine as it must be.
//!
//! A projection costs about a microsecond and a scene has hundreds of millions of pixels, so positions between the nodes are bilinear. The
//! mesh belongs to the grid and not to the window that is read: a pixel's position does not depend on how a raster is read.

use rayon::prelude::*;

use crate::error::Result;
use crate::raster::crs::Transformer;
use crate::raster::grid::{Grid, Window};

/// Pixels along a side of the coarsest cell of the mesh.
pub(crate) const CELL: usize = 64;

/// How far an interpolated position may be off, in pixels of the source (or of the target, where those are larger).
const TOLERANCE: f64 = 0.01;

/// A position in pixels: column, row.
type Position = (f64, f64);

/// What stands for a position that there is not.
const NOWHERE: Position = (f64::NAN, f64::NAN);

/// Takes pixel positions of one grid (the target) to those of another (the source).
#[derive(Debug)]
pub struct PixelMap {
    target: Grid,
    source: Grid,
    /// Target to longitude and latitude, then to the source; `None` where both have one CRS.
    through: Option<(Transformer, Transformer)>,
    /// The longitude in the middle of a geographic source: others are taken to within half a turn of it.
    middle: Option<f64>,
}

impl PixelMap {
    /// Prepares the way from `target` to `source`. Where neither names a CRS, coordinates are taken as they are.
    ///
    /// # Errors
    /// The CRSs differ and the definition of one is not known or not supported.
    pub fn new(target: &Grid, source: &Grid) -> Result<Self> {
        let through = match (&target.crs, &source.crs) {
            (Some(a), Some(b)) if !a.is_same(b) => {
                Some((Transformer::to_longitude_latitude(a)?, Transformer::from_longitude_latitude(b)?))
            }
            _ => None,
        };
        let is_geographic = source.crs.as_ref().is_some_and(|crs| crs.geographic);
        let middle = is_geographic.then(|| source.position(source.width as f64 / 2.0, source.height as f64 / 2.0).0);
        Ok(Self { target: target.clone(), source: source.clone(), through, middle })
    }

    /// Whether no projection lies between the two grids.
    #[must_use]
    pub fn is_affine(&self) -> bool {
        self.through.is_none()
    }

    /// The position in the source of a position in the target; `None` outside a projection's domain.
    #[must_use]
    pub fn exact(&self, col: f64, row: f64) -> Option<(f64, f64)> {
        let (x, y) = self.target.position(col, row);
        let (mut x, y) = match &self.through {
            None => (x, y),
            Some((to_degrees, to_source)) => {
                let (longitude, latitude) = to_degrees.apply(x, y).ok()?;
                to_source.apply(longitude, latitude).ok()?
            }
        };
        if let Some(middle) = self.middle {
            x += 360.0 * ((middle - x) / 360.0).round();
        }
        let (col, row) = self.source.pixel_at(x, y);
        (col.is_finite() && row.is_finite()).then_some((col, row))
    }

    /// Positions in the source of the pixel centres of a window of the target, row by row; NaN where there are none.
    #[must_use]
    pub fn positions(&self, window: Window) -> Vec<(f64, f64)> {
        let mut positions = vec![NOWHERE; window.height * window.width];
        if positions.is_empty() {
            return positions;
        }
        if self.is_affine() {
            positions.par_chunks_mut(window.width).enumerate().for_each(|(row, line)| {
                for (col, position) in line.iter_mut().enumerate() {
                    let (col, row) = ((window.col + col) as f64 + 0.5, (window.row + row) as f64 + 0.5);
                    *position = self.exact(col, row).unwrap_or(NOWHERE);
                }
            });
            return positions;
        }
        let rows = window.row / CELL..(window.row + window.height).div_ceil(CELL);
        for cell_row in rows {
            let cells: Vec<_> = (window.col / CELL..(window.col + window.width).div_ceil(CELL))
                .into_par_iter()
                .map(|cell_col| self.cell(cell_col * CELL, cell_row * CELL, window))
                .collect();
            for (part, values) in cells {
                for (row, line) in values.chunks_exact(part.width).enumerate() {
                    let start = (part.row + row - window.row) * window.width + part.col - window.col;
                    positions[start..start + part.width].copy_from_slice(line);
                }
            }
        }
        positions
    }

    /// The part of a cell inside a window, and its positions.
    fn cell(&self, col: usize, row: usize, window: Window) -> (Window, Vec<Position>) {
        let (left, top) = (col.max(window.col), row.max(window.row));
        let right = (col + CELL).min(window.col + window.width);
        let bottom = (row + CELL).min(window.row + window.height);
        let part = Window { row: top, col: left, height: bottom - top, width: right - left };
        let mut values = vec![NOWHERE; part.height * part.width];
        let corners = [(0, 0), (CELL, 0), (0, CELL), (CELL, CELL)]
            .map(|(right, down)| self.exact((col + right) as f64, (row + down) as f64));
        self.fill(Square { col, row, side: CELL, corners }, part, &mut values);
        (part, values)
    }

    /// Fills the positions of a square's pixels inside `part`.
    fn fill(&self, square: Square, part: Window, values: &mut [Position]) {
        let Square { col, row, side, corners } = square;
        let cols = col.max(part.col)..(col + side).min(part.col + part.width);
        let rows = row.max(part.row)..(row + side).min(part.row + part.height);
        if cols.is_empty() || rows.is_empty() {
            return;
        }
        let at = |c: usize, r: usize| (r - part.row) * part.width + c - part.col;
        if side == 1 {
            values[at(col, row)] = self.exact(col as f64 + 0.5, row as f64 + 0.5).unwrap_or(NOWHERE);
            return;
        }
        let half = side / 2;
        // Above, left, centre, right, below.
        let between = [(half, 0), (0, half), (half, half), (side, half), (half, side)];
        let exact = between.map(|(right, down)| self.exact((col + right) as f64, (row + down) as f64));
        if let [Some(a), Some(b), Some(c), Some(d)] = corners {
            let patch = [a, b, c, d];
            let steps = [distance(a, b), distance(a, c)].map(|length| length / side as f64);
            // Where the source is much finer, its pixels are no measure.
            let tolerance = TOLERANCE * steps[0].min(steps[1]).max(1.0);
            let fits = between.iter().zip(&exact).all(|(&(right, down), exact)| {
                let (u, v) = (right as f64 / side as f64, down as f64 / side as f64);
                exact.is_some_and(|exact| distance(exact, interpolate(&patch, u, v)) <= tolerance)
            });
            if fits {
                for r in rows {
                    let v = (r - row) as f64 + 0.5;
                    for c in cols.clone() {
                        let u = (c - col) as f64 + 0.5;
                        values[at(c, r)] = interpolate(&patch, u / side as f64, v / side as f64);
                    }
                }
                return;
            }
        } else if corners.iter().chain(&exact).all(Option::is_none) {
            return;
        }
        let [north, west, middle, east, south] = exact;
        let [north_west, north_east, south_west, south_east] = corners;
        let quarters = [
            (0, 0, [north_west, north, west, middle]),
            (half, 0, [north, north_east, middle, east]),
            (0, half, [west, middle, south_west, south]),
            (half, half, [middle, east, south, south_east]),
        ];
        for (right, down, corners) in quarters {
            self.fill(Square { col: col + right, row: row + down, side: half, corners }, part, values);
        }
    }
}

/// A square of target pixels and the source positions of its corners: upper left, upper right, lower left, lower right.
struct Square {
    col: usize,
    row: usize,
    side: usize,
    corners: [Option<Position>; 4],
}

fn distance(a: Position, b: Position) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

fn interpolate(corners: &[Position; 4], u: f64, v: f64) -> Position {
    let [a, b, c, d] = corners;
    let mix = |a: f64, b: f64, c: f64, d: f64| (a * (1.0 - u) + b * u) * (1.0 - v) + (c * (1.0 - u) + d * u) * v;
    (mix(a.0, b.0, c.0, d.0), mix(a.1, b.1, c.1, d.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::crs::Crs;

    fn grid(epsg: u32, width: usize, height: usize, transform: [f64; 6]) -> Grid {
        Grid { width, height, transform, crs: Some(Crs::from_epsg(epsg).expect("a registered code")) }
    }

    /// The farthest that a position is from the exact one, where both are inside the source.
    fn worst(target: &Grid, source: &Grid) -> f64 {
        let map = PixelMap::new(target, source).expect("known systems");
        let positions = map.positions(target.window());
        let mut worst = 0.0_f64;
        for row in (0..target.height).step_by(7) {
            for col in (0..target.width).step_by(5) {
                let found = positions[row * target.width + col];
                let exact = map.exact(col as f64 + 0.5, row as f64 + 0.5).unwrap_or(NOWHERE);
                assert_eq!(found.0.is_nan(), exact.0.is_nan(), "{col} {row}");
                if !exact.0.is_nan() {
                    worst = worst.max(distance(found, exact));
                }
            }
        }
        worst
    }

    #[test]
    fn positions_are_within_the_tolerance() {
        let utm = grid(32632, 500, 400, [30.0, 0.0, 4e5, 0.0, -30.0, 5.2e6]);
        let degrees = grid(4326, 900, 900, [1.0 / 3600.0, 0.0, 7.5, 0.0, -1.0 / 3600.0, 47.0]);
        assert!(worst(&utm, &degrees) < 1.5 * TOLERANCE);
        assert!(worst(&degrees, &utm) < 1.5 * TOLERANCE);
        // A rotated grid at the pole, where longitudes turn.
        let polar = grid(3413, 200, 200, [80.0, 60.0, -14_000.0, 60.0, -80.0, 2_000.0]);
        let arctic = grid(4326, 3600, 200, [0.1, 0.0, -180.0, 0.0, -0.01, 90.0]);
        assert!(worst(&polar, &arctic) < 1.5 * TOLERANCE);
    }

    #[test]
    fn longitudes_turn_towards_the_source() {
        let source = grid(4326, 200, 100, [0.1, 0.0, 170.0, 0.0, -0.1, 10.0]);
        let target = grid(4326, 200, 100, [0.1, 0.0, -190.0, 0.0, -0.1, 10.0]);
        let map = PixelMap::new(&target, &source).expect("one system");
        let (col, row) = map.exact(3.5, 4.5).expect("a position");
        assert!((col - 3.5).abs() < 1e-6 && (row - 4.5).abs() < 1e-6, "{col} {row}");
        // UTM zone 1 begins at the antimeridian; its west lies at longitudes near +180.
        let utm = grid(32601, 100, 100, [1000.0, 0.0, 240_000.0, 0.0, -1000.0, 600_000.0]);
        let map = PixelMap::new(&utm, &source).expect("known systems");
        let (west, _) = map.exact(0.5, 50.5).expect("a position");
        let (east, _) = map.exact(99.5, 50.5).expect("a position");
        assert!((0.0..200.0).contains(&west) && east > west && east - west < 20.0, "{west} {east}");
    }

    #[test]
    fn windows_do_not_matter() {
        let utm = grid(32632, 300, 200, [30.0, 0.0, 4e5, 0.0, -30.0, 5.2e6]);
        let degrees = grid(4326, 900, 900, [1.0 / 3600.0, 0.0, 7.5, 0.0, -1.0 / 3600.0, 47.0]);
        let map = PixelMap::new(&utm, &degrees).expect("known systems");
        let whole = map.positions(utm.window());
        let window = Window { row: 61, col: 100, height: 70, width: 33 };
        for (row, line) in map.positions(window).chunks_exact(window.width).enumerate() {
            let start = (window.row + row) * 300 + window.col;
            assert_eq!(line, &whole[start..start + window.width]);
        }
    }
}
