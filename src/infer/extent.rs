//! Which part of a scene is mapped: all of it, a window, or an area of interest.

use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::infer::scene::{Scene, SceneWindow};
use crate::infer::tiles::{TileWindow, Tiling};
use crate::raster::shapes::Format;
use crate::raster::{Crs, Grid, PixelShapes, Shapes, Window};

/// The part of a scene that is mapped: a window, and polygons outside of which there are no data.
#[derive(Debug, Clone)]
pub struct Extent {
    window: Window,
    /// In pixels of the whole scene's grid as far as columns go; see [`Extent::read`].
    shapes: Option<PixelShapes>,
    scene_width: usize,
}

/// `ROW,COL,HEIGHT,WIDTH` in pixels of the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelWindow(pub Window);

impl FromStr for PixelWindow {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Vec<usize> = text.split(',').map_while(|part| part.trim().parse().ok()).collect();
        match numbers[..] {
            [row, col, height, width] if text.split(',').count() == 4 && height > 0 && width > 0 => {
                Ok(Self(Window { row, col, height, width }))
            }
            _ => Err("expected ROW,COL,HEIGHT,WIDTH in pixels of the scene, as in 0,0,512,512".into()),
        }
    }
}

impl Extent {
    /// The whole scene on `grid`, or what a window and the polygons of a file leave of it.
    ///
    /// `assumed` stands in for CRSs that are not known.
    ///
    /// # Errors
    /// The window reaches outside the scene, the polygons cannot be read or placed, or nothing is left.
    pub fn new(grid: &Grid, window: Option<Window>, aoi: Option<&Path>, assumed: Option<&Crs>) -> Result<Self> {
        let mut extent = Self { window: grid.window(), shapes: None, scene_width: grid.width };
        if let Some(window) = window {
            let end = |from: usize, length: usize| from.saturating_add(length);
            if end(window.row, window.height) > grid.height || end(window.col, window.width) > grid.width {
                let Window { row, col, height, width } = window;
                return Err(Error::bad_argument(
                    format!("--window {row},{col},{height},{width}"),
                    format!("a window inside the scene's {} rows and {} columns", grid.height, grid.width),
                    "give ROW,COL,HEIGHT,WIDTH in pixels",
                ));
            }
            extent.window = window;
        }
        let Some(path) = aoi else { return Ok(extent) };
        let Some(format) = Format::detect(path)? else {
            let remedy = "convert it with ogr2ogr";
            return Err(Error::bad_file(
                path,
                "a file of another kind",
                "polygons in a GeoJSON, GeoPackage or Shapefile",
                remedy,
            ));
        };
        let shapes = Shapes::read(path, format)?.on_grid(grid, assumed)?;
        let bounds = shapes.bounds().and_then(|[left, top, right, bottom]| {
            let (row, height) = common(top, bottom, extent.window.row, extent.window.height)?;
            let (col, width) = common(left, right, extent.window.col, extent.window.width)?;
            Some(Window { row, col, height, width })
        });
        let Some(bounds) = bounds else {
            let scene = if window.is_some() { "--window" } else { "the scene" };
            return Err(Error::bad_file(
                path,
                format!("no polygon on {scene}"),
                "an area of interest that overlaps it",
                "check the polygons' place and CRS",
            ));
        };
        (extent.window, extent.shapes) = (bounds, Some(shapes));
        Ok(extent)
    }

    /// The smallest window that holds the extent, in pixels of the scene.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// A part of the extent in pixels of the scene.
    #[must_use]
    pub fn window_in_scene(&self, part: Window) -> Window {
        Window { row: self.window.row + part.row, col: self.window.col + part.col, ..part }
    }

    /// Reads a window of the scene, which may reach beyond the extent; and tells of each pixel of a part of the extent inside it whether it has data in every
    /// raster and lies inside the polygons.
    ///
    /// # Errors
    /// As [`Scene::read`].
    pub fn read(&self, scene: &Scene, window: Window, part: Window) -> Result<(SceneWindow, Vec<bool>)> {
        let read = scene.read(window)?;
        let own = self.window_in_scene(part);
        let (top, left) = (own.row.saturating_sub(window.row), own.col.saturating_sub(window.col));
        let lines = read.valid().chunks_exact(window.width.max(1)).skip(top).take(part.height);
        let mut valid: Vec<bool> = lines.flat_map(|line| &line[left..left + part.width]).copied().collect();
        self.mask(part, &mut valid);
        Ok((read, valid))
    }

    /// Where a window that is placed relative to the extent lies in the scene.
    #[must_use]
    pub fn in_scene(&self, window: TileWindow) -> TileWindow {
        TileWindow {
            row: window.row.saturating_add_unsigned(self.window.row as u64),
            col: window.col.saturating_add_unsigned(self.window.col as u64),
            size: window.size,
        }
    }

    /// The windows of a scene's tiling that touch the extent, placed relative to it.
    ///
    /// # Errors
    /// As [`Tiling::new`].
    pub fn tiling(&self, scene: &Grid, tile: usize) -> Result<Tiling> {
        Ok(Tiling::new(scene.height, scene.width, tile)?.part(self.window))
    }

    /// Clears the marks of the pixels of a part that lie outside the polygons.
    fn mask(&self, part: Window, valid: &mut [bool]) {
        let Some(shapes) = &self.shapes else { return };
        // Burnt at the scene's full width, so that pixels do not depend on the window.
        let mut mask = vec![false; part.height * self.scene_width];
        shapes.burn_rows(self.window.row + part.row, &mut mask);
        let left = self.window.col + part.col;
        for (valid, mask) in valid.chunks_exact_mut(part.width.max(1)).zip(mask.chunks_exact(self.scene_width)) {
            for (valid, inside) in valid.iter_mut().zip(&mask[left..]) {
                *valid &= inside;
            }
        }
    }
}

/// Whole pixels from `low` to `high` that lie in `length` pixels from `first` on: the first of them and their number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped first"
)]
fn common(low: f64, high: f64, first: usize, length: usize) -> Option<(usize, usize)> {
    let end = first + length;
    let within = |position: f64| position.clamp(first as f64, end as f64) as usize;
    let (from, to) = (within(low.floor()), within(high.ceil()));
    (from < to).then_some((from, to - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let transform = [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0];
        Grid { width: 40, height: 30, transform, crs: Crs::from_epsg(32611).ok() }
    }

    fn aoi(folder: &Path, x: (f64, f64), y: (f64, f64)) -> std::path::PathBuf {
        let ((x0, x1), (y0, y1)) = (x, y);
        let path = folder.join("aoi.geojson");
        let text = serde_json::json!({
            "type": "Polygon",
            "crs": {"type": "name", "properties": {"name": "EPSG:32611"}},
            "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]],
        });
        std::fs::write(&path, text.to_string()).expect("written");
        path
    }

    #[test]
    fn windows_in_words() {
        let window = Window { row: 1, col: 2, height: 3, width: 4 };
        assert_eq!("1,2, 3,4".parse(), Ok(PixelWindow(window)));
        for bad in ["", "1,2,3", "1,2,3,4,5", "1,2,0,4", "1,2,3,0", "-1,2,3,4", "a,b,c,d", "1,2,3,4,"] {
            assert!(bad.parse::<PixelWindow>().is_err(), "{bad}");
        }
        let extent = Extent::new(&grid(), Some(window), None, None).expect("inside");
        assert_eq!(extent.window(), window);
        assert_eq!(Extent::new(&grid(), None, None, None).expect("all").window(), grid().window());
        for row in [28, usize::MAX] {
            assert!(Extent::new(&grid(), Some(Window { row, ..window }), None, None).is_err());
        }
    }

    #[test]
    fn areas_of_interest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = aoi(folder.path(), (480_100.0, 480_280.0), (5_780_650.0, 5_780_800.0));
        let extent = Extent::new(&grid(), None, Some(&path), None).expect("on the scene");
        assert_eq!(extent.window(), Window { row: 3, col: 3, height: 6, width: 7 });
        let whole = Shapes::read(&path, Format::GeoJson).expect("a polygon").burn(&grid(), None).expect("on the scene");
        let mut valid = [true; 42];
        for (row, band) in [(0, 0..14), (2, 14..42)] {
            extent.mask(Window { row, col: 0, height: band.len() / 7, width: 7 }, &mut valid[band]);
        }
        let mut right = vec![true; 12];
        extent.mask(Window { row: 1, col: 4, height: 4, width: 3 }, &mut right);
        assert!(right.iter().enumerate().all(|(i, inside)| *inside == valid[(1 + i / 3) * 7 + 4 + i % 3]));
        for (i, valid) in valid.iter().enumerate() {
            assert_eq!(*valid, whole[(3 + i / 7) * 40 + 3 + i % 7], "{i}");
        }
        assert!(valid.contains(&true) && valid.contains(&false));
        let window = Window { row: 5, col: 0, height: 2, width: 5 };
        let both = Extent::new(&grid(), Some(window), Some(&path), None).expect("in common");
        assert_eq!(both.window(), Window { row: 5, col: 3, height: 2, width: 2 });
        let apart = Window { row: 20, ..window };
        assert!(Extent::new(&grid(), Some(apart), Some(&path), None).is_err());
        let far = aoi(folder.path(), (470_000.0, 470_100.0), (5_780_650.0, 5_780_800.0));
        let error = Extent::new(&grid(), None, Some(&far), None).expect_err("beside the scene").to_string();
        assert!(error.contains("no polygon on the scene"), "{error}");
        std::fs::write(&far, "not polygons").expect("written");
        assert!(Extent::new(&grid(), None, Some(&far), None).is_err());
    }
}
