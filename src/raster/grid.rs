//! The georeferenced pixel grid that rasters of one scene share.

use crate::raster::crs::Crs;

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

    /// The whole raster as a window.
    #[must_use]
    pub fn window(&self) -> Window {
        Window { row: 0, col: 0, height: self.height, width: self.width }
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
