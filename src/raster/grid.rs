//! The georeferenced pixel grid that rasters of one scene share.

use std::path::Path;

use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::terrain::metres_per_degree;

/// A raster's pixels on the Earth.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Affine transform of pixel corners, `x = t[0] * col + t[1] * row + t[2]`, `y = t[3] * col + t[4] * row + t[5]`,
    /// in units of the CRS (the order of rasterio's `Affine`).
    pub transform: [f64; 6],
    /// The coordinate reference system; `None` where the file names none.
    pub crs: Option<Crs>,
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub row: usize,
    /// First column.
    pub col: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Grid {
    /// Coordinates of a pixel position; (0, 0) is the outer corner of the first pixel, (0.5, 0.5) its centre.
    #[must_use]
    pub fn position(&self, col: f64, row: f64) -> (f64, f64) {
        let t = &self.transform;
        (t[0] * col + t[1] * row + t[2], t[3] * col + t[4] * row + t[5])
    }

    /// The pixel position (column, row) of map coordinates; the inverse of [`Grid::position`].
    #[must_use]
    pub fn pixel_at(&self, x: f64, y: f64) -> (f64, f64) {
        let t = &self.transform;
        let (dx, dy) = (x - t[2], y - t[5]);
        let determinant = t[0] * t[4] - t[1] * t[3];
        ((t[4] * dx - t[1] * dy) / determinant, (t[0] * dy - t[3] * dx) / determinant)
    }

    /// The mean side of a pixel in metres, where the CRS tells.
    #[must_use]
    pub fn pixel_m(&self) -> Option<f64> {
        let t = &self.transform;
        let side = (t[0] * t[4] - t[1] * t[3]).abs().sqrt();
        self.crs.as_ref()?.metres_per_unit().map(|metres| side * metres)
    }

    /// The mean side of the middle pixel on the ground, in metres; degrees are measured on the WGS 84 ellipsoid. `None` without a CRS.
    #[must_use]
    pub fn ground_pixel_m(&self) -> Option<f64> {
        if !self.crs.as_ref()?.geographic {
            return self.pixel_m();
        }
        let t = &self.transform;
        let (_, latitude) = self.position(self.width as f64 / 2.0, self.height as f64 / 2.0);
        let (x, y) = metres_per_degree(latitude);
        Some(((t[0] * t[4] - t[1] * t[3]).abs() * x * y).sqrt())
    }

    /// The whole raster as a window.
    #[must_use]
    pub fn window(&self) -> Window {
        Window { row: 0, col: 0, height: self.height, width: self.width }
    }

    /// The grid of a window.
    #[must_use]
    pub fn part(&self, window: Window) -> Self {
        let mut transform = self.transform;
        #[expect(clippy::cast_precision_loss, reason = "rasters have fewer than 2^52 columns and rows")]
        let (x, y) = self.position(window.col as f64, window.row as f64);
        (transform[2], transform[5]) = (x, y);
        Self { width: window.width, height: window.height, transform, crs: self.crs.clone() }
    }

    /// Number of pixels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.width * self.height
    }

    /// Whether the grid has no pixels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How far two grids may be apart, in pixels, and still be the same.
const TOLERANCE: f64 = 0.01;

/// Checks that two rasters have the same size, pixel size, position and CRS.
///
/// # Errors
/// A [`Error::BadFile`] about `a`'s file or `b`'s, saying all that differs.
pub fn check_same_grid(a: (&Path, &Grid), b: (&Path, &Grid)) -> Result<()> {
    let ((path_a, grid_a), (path_b, grid_b)) = (a, b);
    let mut found = Vec::new();
    let mut expected = Vec::new();
    if (grid_a.width, grid_a.height) != (grid_b.width, grid_b.height) {
        found.push(format!("{} x {} pixels", grid_b.width, grid_b.height));
        expected.push(format!("{} x {}", grid_a.width, grid_a.height));
    }
    let (ta, tb) = (&grid_a.transform, &grid_b.transform);
    // What a difference in the pixel vectors amounts to at the far corner decides, not the difference itself.
    let extent = grid_a.width.max(grid_a.height).max(1) as f64;
    let pixel = pixel_size(ta);
    let vectors_differ = [0, 1, 3, 4].iter().any(|&i| {
        let size = if i % 3 == 0 { pixel.0 } else { pixel.1 };
        (ta[i] - tb[i]).abs() * extent > TOLERANCE * size || !(ta[i] - tb[i]).is_finite()
    });
    if vectors_differ {
        found.push(format!("pixels of {}", describe_pixels(tb)));
        expected.push(describe_pixels(ta));
    } else {
        let (cols, rows) = grid_a.pixel_at(tb[2], tb[5]);
        if !(cols.abs() <= TOLERANCE && rows.abs() <= TOLERANCE) {
            // Rounded first, for no -0.00.
            let [cols, rows] = [cols, rows].map(|n| (n * 100.0).round() / 100.0 + 0.0);
            found.push(format!("an origin {cols:.2} pixels right and {rows:.2} pixels down"));
            expected.push("the same origin".into());
        }
    }
    let same_crs = match (&grid_a.crs, &grid_b.crs) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    if !same_crs {
        found.push(format!("CRS {}", describe_crs(grid_b.crs.as_ref())));
        expected.push(format!("CRS {}", describe_crs(grid_a.crs.as_ref())));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::bad_file(
        path_b,
        found.join(", "),
        format!("the grid of {} ({})", path_a.display(), expected.join(", ")),
        "warp one of them onto the other's grid with gdalwarp -te ... -tr ... -t_srs ...",
    ))
}

/// Lengths of the pixel vectors along columns and rows, in units of the CRS.
fn pixel_size(t: &[f64; 6]) -> (f64, f64) {
    (t[0].hypot(t[3]), t[1].hypot(t[4]))
}

fn describe_pixels(t: &[f64; 6]) -> String {
    if t[1] == 0.0 && t[3] == 0.0 {
        format!("{} x {}", t[0], t[4])
    } else {
        format!("({}, {}) x ({}, {})", t[0], t[3], t[1], t[4])
    }
}

fn describe_crs(crs: Option<&Crs>) -> String {
    match crs {
        None => "not given".into(),
        Some(Crs { epsg: Some(code), name, .. }) => format!("EPSG:{code} ({name})"),
        Some(crs) => crs.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid { width: 10, height: 20, transform: [30.0, 0.0, 5e5, 0.0, -30.0, 6e6], crs: Crs::from_epsg(32611).ok() }
    }

    fn compare(other: &Grid) -> String {
        match check_same_grid((Path::new("a.tif"), &grid()), (Path::new("b.tif"), other)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn positions_and_pixels() {
        for transform in [[30.0, 0.0, 5e5, 0.0, -30.0, 6e6], [20.0, 5.0, 5e5, 4.0, -25.0, 6e6]] {
            let grid = Grid { transform, ..grid() };
            let (x, y) = grid.position(3.25, 7.5);
            let (col, row) = grid.pixel_at(x, y);
            assert!((col - 3.25).abs() < 1e-9 && (row - 7.5).abs() < 1e-9, "{col} {row}");
        }
    }

    #[test]
    fn differences_are_named() {
        assert_eq!(compare(&grid()), "");
        let mut nearly = grid();
        nearly.transform[2] += 0.2;
        assert_eq!(compare(&nearly), "");
        let mut other = grid();
        other.transform[2] += 45.0;
        other.transform[5] -= 30.0;
        assert!(compare(&other).contains("1.50 pixels right and 1.00 pixels down"), "{}", compare(&other));
        let other = Grid { width: 11, ..grid() };
        assert!(compare(&other).contains("found 11 x 20 pixels"), "{}", compare(&other));
        let mut other = grid();
        other.transform[0] = 15.0;
        assert!(compare(&other).contains("pixels of 15 x -30"), "{}", compare(&other));
        let other = Grid { crs: Crs::from_epsg(32612).ok(), ..grid() };
        assert!(compare(&other).contains("EPSG:32612 (WGS 84 / UTM zone 12N)"), "{}", compare(&other));
        let other = Grid { crs: None, ..grid() };
        assert!(compare(&other).contains("CRS not given"), "{}", compare(&other));
        let other = Grid { transform: [f64::NAN; 6], ..grid() };
        assert!(!compare(&other).is_empty());
    }
}
