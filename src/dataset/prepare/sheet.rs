//! Contact sheets: small pictures of prepared tiles with their outlines, framed in the colour of their file.

use image::{Rgb, RgbImage};

use super::split::Part;
use super::tile::{GLACIER, Tile, UNLABELLED};
use super::tiling::Cut;
use crate::model::Feature;
use crate::raster::lettering;

/// The most tiles that are shown.
const SHOWN: usize = 104;
/// Side of a tile's picture, in pixels.
const SIDE: u32 = 160;
/// Width of its frame.
const FRAME: u32 = 4;
const GAP: u32 = 4;
const COLUMNS: u32 = 13;
const MARGIN: u32 = 10;
const SCALE: u32 = 2;
const PAPER: Rgb<u8> = Rgb([24, 26, 30]);
const INK: Rgb<u8> = Rgb([232, 232, 228]);
const OUTLINE: Rgb<u8> = Rgb([255, 225, 0]);
const HIDDEN: Rgb<u8> = Rgb([255, 0, 140]);
const PADDING: Rgb<u8> = Rgb([52, 52, 54]);

/// The colour of a file: blue, orange and green of the palette of Okabe and Ito (2008), which colour-blind readers tell apart.
fn colour(part: Part) -> Rgb<u8> {
    match part {
        Part::Train => Rgb([86, 180, 233]),
        Part::Validation => Rgb([230, 159, 0]),
        Part::Test => Rgb([0, 158, 115]),
    }
}

/// Pictures of tiles, gathered as the tiles come. Of many, every second, fourth, ... tile is kept, so that all places are shown and memory is bounded.
#[derive(Debug)]
pub(super) struct Sheet {
    pictures: Vec<(Part, RgbImage)>,
    /// Every so many tiles are kept.
    step: usize,
    seen: usize,
    counts: [usize; 3],
}

impl Sheet {
    pub(super) fn new() -> Self {
        Self { pictures: Vec::new(), step: 1, seen: 0, counts: [0; 3] }
    }

    pub(super) fn add(&mut self, part: Part, tile: &Tile, cut: &Cut) {
        self.counts[part as usize] += 1;
        if self.seen.is_multiple_of(self.step) {
            if self.pictures.len() == SHOWN {
                let mut index = 0;
                self.pictures.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.step *= 2;
            }
            // The tile in hand is one of those kept, since the limit is even.
            self.pictures.push((part, picture(tile, cut)));
        }
        self.seen += 1;
    }

    /// The sheet: train, validation, test, each in the order of its tiles.
    pub(super) fn draw(mut self) -> RgbImage {
        self.pictures.sort_by_key(|(part, _)| *part);
        let cell = SIDE + 2 * FRAME + GAP;
        let count = u32::try_from(self.pictures.len()).unwrap_or(u32::MAX).max(1);
        let columns = count.clamp(3, COLUMNS);
        let top = 2 * MARGIN + SCALE * lettering::HEIGHT;
        let mut sheet = RgbImage::from_pixel(columns * cell + GAP, top + count.div_ceil(columns) * cell + GAP, PAPER);
        let mut x = MARGIN;
        for part in Part::ALL {
            let side = SCALE * lettering::HEIGHT;
            fill(&mut sheet, (x, MARGIN), side, colour(part));
            let text = format!("{} {}", part.name(), self.counts[part as usize]);
            lettering::draw(&mut sheet, &text, x + side + MARGIN, MARGIN, SCALE, INK);
            x += side + 3 * MARGIN + lettering::length(&text, SCALE);
        }
        for (at, (part, picture)) in (0_u32..).zip(&self.pictures) {
            let (x, y) = (GAP + at % columns * cell, top + at / columns * cell);
            fill(&mut sheet, (x, y), SIDE + 2 * FRAME, colour(*part));
            image::imageops::replace(&mut sheet, picture, i64::from(x + FRAME), i64::from(y + FRAME));
        }
        sheet
    }
}

fn fill(picture: &mut RgbImage, (x, y): (u32, u32), side: u32, colour: Rgb<u8>) {
    for (row, col) in (0..side).flat_map(|row| (0..side).map(move |col| (row, col))) {
        if let Some(pixel) = picture.get_pixel_mut_checked(x + col, y + row) {
            *pixel = colour;
        }
    }
}

/// A stored tile: SWIR1, NIR and red, or the first channel in grey; outlines yellow, what has no label hatched, padding dark.
fn picture(tile: &Tile, cut: &Cut) -> RgbImage {
    let (height, width) = (tile.window.height, tile.window.width);
    let optical = tile.features.iter().find(|(feature, _)| *feature == Feature::Optical);
    let bands: Vec<(&[f32], (f32, f32))> = match (optical, tile.features.first()) {
        // One stretch for all, so that tiles can be compared.
        (Some((_, channels)), _) => {
            [4, 3, 2].iter().filter_map(|band| channels.get(*band)).map(|band| (band.as_slice(), (0.0, 0.85))).collect()
        }
        (None, Some((_, channels))) => channels.iter().take(1).map(|band| (band.as_slice(), range(band))).collect(),
        (None, None) => Vec::new(),
    };
    let own = |x: u32, y: u32| {
        let at = |place: u32| place as usize * cut.side / SIDE as usize;
        let (row, col) = (at(y).checked_sub(cut.before(height))?, at(x).checked_sub(cut.before(width))?);
        (row < height && col < width).then_some(row * width + col)
    };
    let label = |x: u32, y: u32| own(x, y).and_then(|i| tile.labels.get(i)).copied();
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let Some(i) = own(x, y) else { return PADDING };
        let here = label(x, y);
        let differs = |neighbour: Option<u8>| neighbour.is_some_and(|label| label != GLACIER);
        if here == Some(GLACIER)
            && (differs(label(x + 1, y))
                || differs(label(x, y + 1))
                || x > 0 && differs(label(x - 1, y))
                || y > 0 && differs(label(x, y - 1)))
        {
            return OUTLINE;
        }
        if here == Some(UNLABELLED) && (x + y) % 6 == 0 {
            return HIDDEN;
        }
        let channel = |band: usize| {
            let Some((values, (low, high))) = bands.get(band).or(bands.first()) else { return 0 };
            let value = values.get(i).copied().unwrap_or(*low);
            let share = ((value - low) / (high - low)).clamp(0.0, 1.0).powf(0.6);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255, 0 for NaN")]
            let byte = (255.0 * share) as u8;
            byte
        };
        Rgb([channel(0), channel(1), channel(2)])
    })
}

/// The least and the largest value, apart from each other.
fn range(values: &[f32]) -> (f32, f32) {
    let (low, high) =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    if high > low { (low, high) } else { (low - 0.5, low + 0.5) }
}

#[cfg(test)]
mod tests {
    use super::super::tile::{Counts, OTHER};
    use super::*;
    use crate::raster::Window;

    fn tile() -> Tile {
        let labels = (0..100).map(|i| if i % 10 < 5 { GLACIER } else { OTHER }).collect();
        let band = vec![0.2; 100];
        Tile {
            window: Window { row: 0, col: 0, height: 10, width: 10 },
            features: vec![(Feature::Optical, vec![band; 6])],
            labels,
            counts: Counts::default(),
            valid: 100,
        }
    }

    #[test]
    fn outlines_and_padding() {
        let picture = picture(&tile(), &Cut { side: 20, padding: 0, overlap: 0 });
        assert_eq!(*picture.get_pixel(10, 80), PADDING);
        // The glacier ends between columns 5 and 6 of the tile's own, at 10 of 20 stored.
        assert_eq!(
            (*picture.get_pixel(79, 80), picture.get_pixel(81, 80) == picture.get_pixel(100, 100)),
            (OUTLINE, true)
        );
        // No line where the tile ends.
        assert_ne!(*picture.get_pixel(41, 80), OUTLINE);
    }

    #[test]
    fn many_tiles_are_thinned_out() {
        let mut sheet = Sheet::new();
        let cut = Cut { side: 10, padding: 0, overlap: 0 };
        for i in 0..500 {
            sheet.add(if i % 5 == 0 { Part::Test } else { Part::Train }, &tile(), &cut);
        }
        assert!((SHOWN / 2..=SHOWN).contains(&sheet.pictures.len()), "{}", sheet.pictures.len());
        assert_eq!((sheet.step, sheet.counts), (8, [400, 0, 100]));
        let drawn = sheet.draw();
        assert!(drawn.width() < 2400 && drawn.pixels().any(|pixel| *pixel == colour(Part::Test)));
        assert!(Sheet::new().draw().width() > 100);
    }
}
