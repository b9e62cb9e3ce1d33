//! Contact sheets: small pictures of tiles with their true outlines.

use image::{Rgb, RgbImage};

use super::Tile;

/// Longest side of a tile's picture.
const LARGEST: usize = 384;
/// Space between pictures.
const GAP: u32 = 4;
const OUTLINE: [u8; 3] = [255, 225, 0];
const HIDDEN: [u8; 3] = [255, 0, 140];

/// Which bands become red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// SWIR1, NIR and green: ice is cyan, rock brown, plants green.
    False,
    /// Red, green and blue.
    True,
}

/// The picture of one tile.
pub(super) fn picture(tile: &Tile, colours: Colours, has_outlines: bool) -> RgbImage {
    let step = tile.side.div_ceil(LARGEST);
    let shown = tile.side.div_ceil(step);
    #[expect(clippy::cast_possible_truncation, reason = "at most LARGEST")]
    let size = shown as u32;
    let bands = match colours {
        Colours::False => [4, 3, 1],
        Colours::True => [2, 1, 0],
    };
    // Rock must be seen beside snow.
    let stretch = |value: f32| (value.max(0.0) / 0.85).min(1.0).powf(0.6);
    RgbImage::from_fn(size, size, |x, y| {
        let (col, row) = (x as usize * step, y as usize * step);
        let i = row * tile.side + col;
        let is_edge =
            |c: usize, r: usize| c < tile.side && r < tile.side && tile.glacier[r * tile.side + c] != tile.glacier[i];
        if has_outlines
            && tile.glacier[i]
            && (is_edge(col + step, row)
                || is_edge(col, row + step)
                || col >= step && is_edge(col - step, row)
                || row >= step && is_edge(col, row - step))
        {
            return Rgb(OUTLINE);
        }
        if has_outlines && tile.hidden[i] && (col / step + row / step).is_multiple_of(4) {
            return Rgb(HIDDEN);
        }
        Rgb(bands.map(|band| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
            let byte = (255.0 * stretch(tile.optical[band][i])) as u8;
            byte
        }))
    })
}

/// Pictures in rows of `columns`, on a dark ground.
pub(super) fn sheet(pictures: &[RgbImage], columns: u32) -> RgbImage {
    let Some(first) = pictures.first() else { return RgbImage::new(1, 1) };
    let (width, height) = (first.width() + GAP, first.height() + GAP);
    let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    let columns = columns.clamp(1, count);
    let mut sheet =
        RgbImage::from_pixel(columns * width + GAP, count.div_ceil(columns) * height + GAP, Rgb([24, 26, 30]));
    for (at, picture) in (0_u32..).zip(pictures) {
        let (x, y) = (GAP + at % columns * width, GAP + at / columns * height);
        image::imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    sheet
}
