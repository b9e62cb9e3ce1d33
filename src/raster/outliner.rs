//! Class rows in, outlines out: the regions of a class, as a raster comes in row by row.

use crate::error::Result;
use crate::raster::polygons::{Polygon, Regions, Statistics};

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
    classes: Vec<u8>,
    values: Vec<f32>,
}

impl Outliner {
    /// For rows of `width` pixels; outlines regions of `class`.
    #[must_use]
    pub fn new(width: usize, class: u8) -> Self {
        Self { width, class, classes: Vec::new(), values: Vec::new() }
    }

    /// Adds whole rows: their classes and a value for each pixel (a confidence, say; NaN counts for nothing).
    ///
    /// # Errors
    /// The lengths are not whole rows, or there are too many rows.
    pub fn add_rows(&mut self, classes: &[u8], values: &[f32]) -> Result<()> {
        self.classes.extend_from_slice(classes);
        self.values.extend_from_slice(values);
        Ok(())
    }

    /// The outlines that are complete: no later row can touch them. Each comes out once.
    pub fn take_complete(&mut self) -> Vec<Outline> {
        Vec::new()
    }

    /// The outlines that did not come out before.
    ///
    /// # Errors
    /// None that is not a defect.
    pub fn finish(self) -> Result<Vec<Outline>> {
        let height = self.classes.len() / self.width.max(1);
        let regions = Regions::find(&self.classes, self.width, height, self.class)?;
        let statistics = regions.statistics(&self.values)?;
        let all = regions.polygons.into_iter().zip(regions.pixels).zip(statistics);
        Ok(all.map(|((polygon, pixels), values)| Outline { polygon, pixels, values }).collect())
    }
}
