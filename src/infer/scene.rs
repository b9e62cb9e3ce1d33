//! A scene's rasters, read window by window and cut into tiles of network input.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::infer::normalise::normalise;
use crate::infer::scene_sources::open_sources;
pub use crate::infer::scene_sources::{SarUnit, SceneFiles, SceneOptions};
use crate::infer::tiles::{Overlap, TileWindow, Tiling};
use crate::model::{Feature, Normalisation};
use crate::raster::{Crs, Grid, Source, Window, fill_gaps};

/// A scene: what a model takes of it, on one grid. Nothing is held; [`Scene::read`] reads any window.
#[derive(Debug)]
pub struct Scene {
    grid: Grid,
    features: Vec<(Feature, Vec<Source>)>,
}

impl Scene {
    /// Opens what a model with `features` takes. `assumed_crs` stands in for rasters that name none.
    ///
    /// # Errors
    /// As [`Scene::open_with`].
    pub fn open(files: &SceneFiles, features: &[Feature], assumed_crs: Option<&Crs>) -> Result<Self> {
        Self::open_with(files, features, &SceneOptions { assumed_crs: assumed_crs.cloned(), ..SceneOptions::default() })
    }

    /// Opens what a model with `features` takes. Rasters on other grids than the scene's are read through a change of grid.
    ///
    /// # Errors
    /// A raster is missing, unreadable, has another number of bands, no CRS, no data or no ground in common with the grid, holds what would
    /// make the result nonsense, or is one the model does not take.
    pub fn open_with(files: &SceneFiles, features: &[Feature], options: &SceneOptions) -> Result<Self> {
        let (grid, features) = open_sources(files, features, options)?;
        Ok(Self { grid, features })
    }

    /// The common grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Reads all channels of a window inside the grid.
    ///
    /// # Errors
    /// The window reaches outside, a file is damaged, or a value is infinite.
    pub fn read(&self, window: Window) -> Result<SceneWindow> {
        let mut valid = vec![true; window.height * window.width];
        let mut features = Vec::with_capacity(self.features.len());
        for (feature, channels) in &self.features {
            let mut read = Vec::with_capacity(channels.len());
            for channel in channels {
                let values = channel.read(window)?;
                for (valid, value) in valid.iter_mut().zip(&values) {
                    *valid &= !value.is_nan();
                }
                read.push(values);
            }
            features.push((*feature, read));
        }
        Ok(SceneWindow { window, features, valid })
    }

    /// Reads what a tile shows of the scene.
    ///
    /// # Errors
    /// As [`Scene::read`].
    pub fn read_tile(&self, tiling: &Tiling, tile: TileWindow) -> Result<SceneWindow> {
        let window = tiling.overlap(tile).map_or(Window { row: 0, col: 0, height: 0, width: 0 }, |shared| Window {
            row: shared.scene_row,
            col: shared.scene_col,
            height: shared.height,
            width: shared.width,
        });
        self.read(window)
    }
}

/// A window of a scene in memory: physical values of every channel the model takes, NaN where there are none.
#[derive(Debug, Clone)]
pub struct SceneWindow {
    window: Window,
    features: Vec<(Feature, Vec<Vec<f32>>)>,
    valid: Vec<bool>,
}

impl SceneWindow {
    /// Which part of the scene it is.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Whether each pixel has data in every raster, row by row.
    #[must_use]
    pub fn valid(&self) -> &[bool] {
        &self.valid
    }

    /// Physical values of one channel, row by row; NaN in gaps.
    #[must_use]
    pub fn channel(&self, feature: Feature, channel: usize) -> Option<&[f32]> {
        let (_, channels) = self.features.iter().find(|(f, _)| *f == feature)?;
        channels.get(channel).map(Vec::as_slice)
    }

    /// How many pixels of a tile have data in every raster.
    #[must_use]
    pub fn valid_pixels(&self, tiling: &Tiling, tile: TileWindow) -> usize {
        let Some(shared) = tiling.overlap(tile) else { return 0 };
        (0..shared.height)
            .filter_map(|row| self.valid.get(self.line(&shared, row)))
            .map(|line| line.iter().filter(|valid| **valid).count())
            .sum()
    }

    /// Writes the normalised input of one tile, (tile, tile, channels), to `out`; 0 outside the scene.
    ///
    /// For computing, gaps of optical bands are left to the normalisation (0), all others are filled from what the tile has around them:
    /// what a tile holds does not depend on how the scene is read.
    ///
    /// # Errors
    /// The tile's part of the scene is not in this window, or a value is not finite.
    pub fn fill_tile(
        &self,
        feature: Feature,
        normalisation: &Normalisation,
        tiling: &Tiling,
        tile: TileWindow,
        out: &mut [f32],
    ) -> Result<()> {
        out.fill(0.0);
        let count = feature.channels();
        let (Some((_, channels)), Some(shared)) =
            (self.features.iter().find(|(f, _)| *f == feature), tiling.overlap(tile))
        else {
            return Ok(());
        };
        let end = self.window.row + self.window.height;
        let right = self.window.col + self.window.width;
        if shared.scene_row < self.window.row
            || shared.scene_col < self.window.col
            || shared.scene_row + shared.height > end
            || shared.scene_col + shared.width > right
        {
            return Err(Error::bad_argument(
                format!("a tile at row {}, column {} of a window {:?}", tile.row, tile.col, self.window),
                "a window that holds the tile's part of the scene",
                "this is a defect of the program; please report it",
            ));
        }
        let mut pixels = vec![0.0; shared.height * shared.width * count];
        for (c, channel) in channels.iter().enumerate() {
            let mut values = Vec::with_capacity(shared.height * shared.width);
            for row in 0..shared.height {
                values.extend_from_slice(&channel[self.line(&shared, row)]);
            }
            if feature != Feature::Optical {
                fill_gaps(&mut values, shared.width, shared.height);
            }
            for (pixel, value) in pixels.chunks_exact_mut(count).zip(values) {
                pixel[c] = value;
            }
        }
        normalise(feature, normalisation, &mut pixels)?;
        for (row, line) in pixels.chunks_exact(shared.width * count).enumerate() {
            let to = ((shared.tile_row + row) * tile.size + shared.tile_col) * count;
            out[to..to + line.len()].copy_from_slice(line);
        }
        Ok(())
    }

    /// Where a row of a tile's part of the scene lies in this window.
    fn line(&self, shared: &Overlap, row: usize) -> Range<usize> {
        let from = (shared.scene_row + row - self.window.row) * self.window.width + shared.scene_col - self.window.col;
        from..from + shared.width
    }
}
