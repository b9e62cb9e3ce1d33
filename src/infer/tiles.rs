//! How a scene is cut into overlapping square tiles: the published tiling (Maslov et al. 2025), for any tile size.
//!
//! A side of `n` pixels is padded to `tile * (n / tile + 1)` (integer division), with `(padded - n) / 2` pixels before it. Windows of `tile`
//! pixels follow at a stride of half a tile. What lies outside the scene is 0 after normalisation.

use crate::error::{Error, Result};
use crate::raster::Window;

/// A square window, placed relative to the scene; it may begin before the scene and end after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileWindow {
    /// First row; negative in the padding above the scene.
    pub row: i64,
    /// First column; negative in the padding left of the scene.
    pub col: i64,
    /// Rows and columns.
    pub size: usize,
}

/// The part of a [`TileWindow`] that lies on the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// First row in the tile.
    pub tile_row: usize,
    /// First column in the tile.
    pub tile_col: usize,
    /// The same row in the scene.
    pub scene_row: usize,
    /// The same column in the scene.
    pub scene_col: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// One side of the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    length: usize,
    before: usize,
    windows: usize,
}

impl Side {
    /// The windows that touch the `length` pixels from `from` on.
    fn part(self, tile: usize, from: usize, length: usize) -> Self {
        let (half, from) = (tile / 2, from + self.before);
        let first = if from < tile { 0 } else { (from - tile) / half + 1 };
        let end = (from + length).div_ceil(half).min(self.windows);
        Self { length, before: from - first * half, windows: end - first }
    }
}

/// The tiling of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    tile: usize,
    rows: Side,
    cols: Side,
}

impl Tiling {
    /// Tiles of `tile` x `tile` pixels for a scene of `height` x `width` pixels, which may be smaller than a tile.
    ///
    /// # Errors
    /// The scene is empty or absurdly large, or the tile is odd or 0.
    pub fn new(height: usize, width: usize, tile: usize) -> Result<Self> {
        if tile == 0 || !tile.is_multiple_of(2) {
            return Err(Error::bad_argument(
                format!("a tile of {tile} pixels"),
                "an even number above 0",
                "use the tile size that the model was trained with",
            ));
        }
        let side = |length: usize| {
            // Signed positions must not overflow.
            let padded = (length / tile).checked_add(1)?.checked_mul(tile)?;
            i64::try_from(padded).ok()?;
            let windows = (padded - tile) / (tile / 2) + 1;
            (length > 0).then_some(Side { length, before: (padded - length) / 2, windows })
        };
        match (side(height), side(width)) {
            (Some(rows), Some(cols)) => Ok(Self { tile, rows, cols }),
            _ => Err(Error::bad_argument(
                format!("a scene of {width} x {height} pixels"),
                "at least one pixel",
                "check the input rasters",
            )),
        }
    }

    /// The windows that touch a part of the scene, as a tiling of that part: the same windows, placed relative to it. So a part is mapped as it is
    /// in a map of the whole scene.
    #[must_use]
    pub fn part(&self, part: Window) -> Self {
        let tile = self.tile;
        let rows = self.rows.part(tile, part.row, part.height);
        Self { tile, rows, cols: self.cols.part(tile, part.col, part.width) }
    }

    /// Rows of the scene.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.rows.length
    }

    /// Columns of the scene.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.cols.length
    }

    /// Rows and columns of a tile.
    #[must_use]
    pub const fn tile(&self) -> usize {
        self.tile
    }

    /// Rows and columns of the grid of windows.
    #[must_use]
    pub const fn grid(&self) -> (usize, usize) {
        (self.rows.windows, self.cols.windows)
    }

    /// Number of windows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.windows * self.cols.windows
    }

    /// Never: a tiling has at least one window.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First row of a row of windows, relative to the scene.
    pub(crate) fn window_row(&self, index: usize) -> i64 {
        start(self.rows, self.tile, index)
    }

    /// First column of a column of windows, relative to the scene.
    pub(crate) fn window_col(&self, index: usize) -> i64 {
        start(self.cols, self.tile, index)
    }

    /// Row and column in the grid of windows; `None` for a window of another tiling.
    pub(crate) fn position(&self, window: TileWindow) -> Option<(usize, usize)> {
        let index = |side: Side, first: i64| {
            let from_padding = usize::try_from(first.checked_add(i64::try_from(side.before).ok()?)?).ok()?;
            let (index, rest) = (from_padding / (self.tile / 2), from_padding % (self.tile / 2));
            (rest == 0 && index < side.windows).then_some(index)
        };
        if window.size != self.tile {
            return None;
        }
        Some((index(self.rows, window.row)?, index(self.cols, window.col)?))
    }

    /// All windows, row by row from the north-west.
    pub fn windows(&self) -> impl Iterator<Item = TileWindow> + use<> {
        let tiling = *self;
        (0..self.rows.windows).flat_map(move |row| {
            (0..tiling.cols.windows).map(move |col| TileWindow {
                row: tiling.window_row(row),
                col: tiling.window_col(col),
                size: tiling.tile,
            })
        })
    }

    /// The part of a window that lies on the scene; `None` if there is none.
    #[must_use]
    pub fn overlap(&self, window: TileWindow) -> Option<Overlap> {
        let (tile_row, scene_row, height) = overlap(window.row, window.size, self.rows.length)?;
        let (tile_col, scene_col, width) = overlap(window.col, window.size, self.cols.length)?;
        Some(Overlap { tile_row, tile_col, scene_row, scene_col, height, width })
    }
}

fn start(side: Side, tile: usize, index: usize) -> i64 {
    #[expect(clippy::cast_possible_wrap, reason = "Tiling::new checks that the padded side fits i64")]
    let (position, before) = ((index * (tile / 2)) as i64, side.before as i64);
    position - before
}

/// First position in the tile and in the scene, and the length, of what `size` pixels from `first` share with `0..length`.
fn overlap(first: i64, size: usize, length: usize) -> Option<(usize, usize, usize)> {
    let in_tile = if first < 0 { usize::try_from(first.unsigned_abs()).ok()? } else { 0 };
    let in_scene = usize::try_from(first.max(0)).ok()?;
    let shared = size.saturating_sub(in_tile).min(length.saturating_sub(in_scene));
    (shared > 0).then_some((in_tile, in_scene, shared))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_sizes() {
        let small = Tiling::new(205, 215, 384).expect("a scene");
        let windows: Vec<_> = small.windows().collect();
        assert_eq!(windows, [TileWindow { row: -89, col: -84, size: 384 }]);
        assert_eq!(
            small.overlap(windows[0]),
            Some(Overlap { tile_row: 89, tile_col: 84, scene_row: 0, scene_col: 0, height: 205, width: 215 })
        );
        // A scene of exactly one tile is padded to two.
        let exact = Tiling::new(384, 385, 384).expect("a scene");
        assert_eq!(exact.grid(), (3, 3));
        let starts: Vec<_> = exact.windows().map(|w| (w.row, w.col)).take(4).collect();
        assert_eq!(starts, [(-192, -191), (-192, 1), (-192, 193), (0, -191)]);
        assert_eq!(Tiling::new(1000, 64, 64).expect("a scene").grid(), (31, 3));
    }

    #[test]
    fn refuses() {
        for (height, width, tile) in [(0, 5, 64), (5, 0, 64), (5, 5, 0), (5, 5, 63), (usize::MAX, 5, 64)] {
            assert!(Tiling::new(height, width, tile).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn a_part_has_the_windows_that_touch_it(
            height in 1usize..200,
            width in 1usize..200,
            half in 1usize..40,
            corners in prop::array::uniform4(0.0..1.0f64),
        ) {
            let tiling = Tiling::new(height, width, 2 * half).expect("a scene");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
            let side = |a: f64, b: f64, length: usize| {
                let (a, b) = ((a * length as f64) as usize, (b * length as f64) as usize);
                (a.min(b), a.abs_diff(b) + 1)
            };
            let ((row, height), (col, width)) = (side(corners[0], corners[1], height), side(corners[2], corners[3], width));
            let part = tiling.part(Window { row, col, height, width });
            let meets = |first: i64, from: usize, length: usize| {
                first < (from + length) as i64 && first + 2 * half as i64 > from as i64
            };
            let expected: Vec<_> = tiling
                .windows()
                .filter(|window| meets(window.row, row, height) && meets(window.col, col, width))
                .map(|window| (window.row - row as i64, window.col - col as i64))
                .collect();
            prop_assert_eq!(part.windows().map(|window| (window.row, window.col)).collect::<Vec<_>>(), expected);
            prop_assert_eq!((part.height(), part.width()), (height, width));
        }

        #[test]
        fn every_pixel_is_covered(height in 1usize..200, width in 1usize..200, half in 1usize..40) {
            let tiling = Tiling::new(height, width, 2 * half).expect("a scene");
            let mut times = vec![0; height * width];
            for (n, window) in tiling.windows().enumerate() {
                let (row, col) = tiling.position(window).expect("its own window");
                prop_assert_eq!(row * tiling.grid().1 + col, n);
                let shared = tiling.overlap(window).expect("every window touches the scene");
                for r in 0..shared.height {
                    for c in 0..shared.width {
                        times[(shared.scene_row + r) * width + shared.scene_col + c] += 1;
                    }
                }
            }
            prop_assert!(times.iter().all(|&n| (1..=4).contains(&n)));
            prop_assert_eq!(tiling.windows().count(), tiling.len());
        }
    }
}
