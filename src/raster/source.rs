//! A band of a file as a physical quantity, on the file's grid or on any other.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::raster::grid::{Grid, Window};
use crate::raster::read::RasterFile;
use crate::raster::terrain::slope_degrees;
use crate::raster::warp::Warp;

/// What is made of a band's values before they are brought to another grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// The values themselves.
    Value,
    /// Backscatter in decibels, made linear: the mean of two pixels is the mean of their powers.
    Decibels,
    /// The slope in degrees of elevations in metres, on their own grid.
    Slope,
}

/// One band on one grid. Reading takes `&self`, so threads can share it.
#[derive(Debug, Clone)]
pub struct Source {
    file: Arc<RasterFile>,
    /// The file's grid, with the CRS it was given where it names none.
    grid: Grid,
    band: usize,
    quantity: Quantity,
    warp: Option<Arc<Warp>>,
}

impl Source {
    /// A band (from 0) of a file whose pixels lie on `grid`: the file's own, which may lack a CRS there.
    #[must_use]
    pub fn new(file: Arc<RasterFile>, grid: Grid, band: usize, quantity: Quantity) -> Self {
        Self { file, grid, band, quantity, warp: None }
    }

    /// The same band, read through a change of grid.
    #[must_use]
    pub fn warped(self, warp: Arc<Warp>) -> Self {
        Self { warp: Some(warp), ..self }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &RasterFile {
        &self.file
    }

    /// The band, from 0.
    #[must_use]
    pub fn band(&self) -> usize {
        self.band
    }

    /// What is made of its values.
    #[must_use]
    pub fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// Values of a window of the grid it is read on, row by row; NaN where there are none.
    ///
    /// # Errors
    /// The window reaches outside, the file is damaged, or a value is infinite.
    pub fn read(&self, window: Window) -> Result<Vec<f32>> {
        match &self.warp {
            Some(warp) => warp.read(window, |window| self.read_own(window)),
            None => self.read_own(window),
        }
    }

    /// Values of a window of the file's own grid.
    fn read_own(&self, window: Window) -> Result<Vec<f32>> {
        match self.quantity {
            Quantity::Value => read_finite(&self.file, self.band, window),
            Quantity::Decibels => {
                let mut values = read_finite(&self.file, self.band, window)?;
                values.iter_mut().for_each(|value| *value = 10.0_f32.powf(*value / 10.0));
                Ok(values)
            }
            Quantity::Slope => self.read_slope(window),
        }
    }

    /// Slope needs the neighbours: one pixel more on each side that has one.
    fn read_slope(&self, window: Window) -> Result<Vec<f32>> {
        if window.height == 0 || window.width == 0 {
            return read_finite(&self.file, self.band, window);
        }
        let (top, left) = (window.row.min(1), window.col.min(1));
        let bottom = window.row.saturating_add(window.height).saturating_add(1).min(self.grid.height);
        let right = window.col.saturating_add(window.width).saturating_add(1).min(self.grid.width);
        let wider = Window {
            row: window.row - top,
            col: window.col - left,
            height: bottom.saturating_sub(window.row - top),
            width: right.saturating_sub(window.col - left),
        };
        let slope = slope_degrees(&read_finite(&self.file, self.band, wider)?, &self.grid.part(wider))?;
        let lines = slope.chunks_exact(wider.width.max(1)).skip(top).take(window.height);
        Ok(lines.flat_map(|line| line.iter().skip(left).take(window.width)).copied().collect())
    }
}

/// Values of a window of one band, all of them finite or NaN.
///
/// # Errors
/// As [`RasterFile::read_window`]; also if a value is infinite.
pub fn read_finite(file: &RasterFile, band: usize, window: Window) -> Result<Vec<f32>> {
    let values = file.read_window(band, window)?;
    if values.iter().any(|v| v.is_infinite()) {
        return Err(infinite(file, band));
    }
    Ok(values)
}

/// What is wrong with a band that holds infinite values.
pub(crate) fn infinite(file: &RasterFile, band: usize) -> Error {
    Error::bad_file(
        file.path(),
        format!("infinite values in band {}", band + 1),
        "finite values",
        "mark such pixels with the file's nodata value",
    )
}
