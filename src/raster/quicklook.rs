//! A picture of a mapped scene: SWIR1, NIR and red as red, green and blue (snow and ice cyan, rock brown, vegetation green), outlines,
//! places of low confidence, a legend.
//!
//! Rows stream in ([`Quicklook::add_rows`]) and are averaged on the way, so memory is bounded by the picture (at most [`LARGEST`] pixels a
//! side, 20 bytes each). Small scenes are enlarged by whole numbers, so that every pixel and line is crisp.

use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::raster::lettering;
use crate::raster::polygons::Polygon;

/// Longest side of the scene's picture, in pixels.
pub const LARGEST: usize = 2048;
/// Scenes with sides shorter than this are enlarged, to at most twice this.
const SMALLEST: usize = 512;

const LINE: Rgb<u8> = Rgb([255, 225, 0]);
const CASING: Rgb<u8> = Rgb([20, 16, 28]);
const DOUBT: Rgb<u8> = Rgb([255, 0, 140]);
/// How strongly low confidence colours the ground: on thin diagonal lines, and between them, where the ground's own colours must be seen.
const DOUBT_OPACITY: [f32; 2] = [0.55, 0.06];
/// From one line of the hatch to the next along a row, and how much of that is line, in pixels of the picture.
const HATCH: (u32, u32) = (9, 2);
const PAPER: Rgb<u8> = Rgb([24, 26, 30]);
const INK: Rgb<u8> = Rgb([232, 232, 228]);
const GAP: [Rgb<u8>; 2] = [Rgb([52, 52, 54]), Rgb([92, 92, 94])];
/// Least range of a band, as a part of the widest band's: snow is dark in SWIR1, and stretched on its own all rock would be glaring red.
const LEAST_RANGE: f32 = 0.75;
const GAMMA: f32 = 0.65;
/// Half the width of lines and of lines with their casing, in pixels of the picture.
const HALF_LINE: u32 = 1;
const HALF_CASING: u32 = 2;
/// Space around things in the legend.
const MARGIN: u32 = 8;

/// A scene's picture, being gathered.
#[derive(Debug, Clone)]
pub struct Quicklook {
    width: usize,
    height: usize,
    threshold: f32,
    /// Scene pixels per gathered pixel, along each side.
    factor: usize,
    rows_added: usize,
    cells_wide: usize,
    cells: Vec<Cell>,
    has_confidence: bool,
}

/// What becomes one pixel of the picture.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sums: [f32; 3],
    valid: u32,
    doubtful: u32,
}

/// What is written around the picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caption<'a> {
    /// The line on top (ASCII letters are drawn as capitals); none if empty.
    pub title: &'a str,
    /// Side of a scene pixel in metres, for the scale bar.
    pub pixel_m: Option<f64>,
}

/// A class of pixels to be coloured, for [`Quicklook::draw_marks`].
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// The class.
    pub value: u8,
    /// Red, green and blue.
    pub colour: [u8; 3],
    /// How much of the ground the colour hides: 0 nothing, 1 all.
    pub opacity: f32,
    /// What the legend calls it.
    pub name: &'a str,
}

/// How many pixels of each part of a picture have each mark.
#[derive(Debug, Clone)]
pub struct MarkCounts {
    counts: Vec<u32>,
    pixels: usize,
}

impl Quicklook {
    /// A picture of a scene of `height` x `width` pixels; pixels with a confidence below `threshold` are hatched (none for 0).
    ///
    /// # Errors
    /// The scene has no pixels.
    pub fn new(height: usize, width: usize, threshold: f32) -> Result<Self> {
        if height == 0 || width == 0 {
            return Err(Error::bad_argument(
                format!("a scene of {width} x {height} pixels"),
                "at least one pixel",
                "check the input rasters",
            ));
        }
        let factor = height.max(width).div_ceil(LARGEST);
        let cells_wide = width.div_ceil(factor);
        Ok(Self {
            width,
            height,
            threshold,
            factor,
            rows_added: 0,
            cells_wide,
            cells: vec![Cell::default(); cells_wide * height.div_ceil(factor)],
            has_confidence: false,
        })
    }

    /// Adds the next rows from the north: SWIR1, NIR and red reflectance and, if known, confidence, each row by row. NaN in any of them marks
    /// a pixel without data.
    ///
    /// # Errors
    /// The slices are not whole rows of one number, or there are more rows than the scene has.
    pub fn add_rows(&mut self, swir1_nir_red: [&[f32]; 3], confidence: Option<&[f32]>) -> Result<()> {
        let count = swir1_nir_red[0].len();
        let is_even = swir1_nir_red.iter().chain(confidence.iter()).all(|slice| slice.len() == count);
        let rows = count / self.width;
        if !is_even || !count.is_multiple_of(self.width) || rows > self.height - self.rows_added {
            return Err(Error::bad_argument(
                format!("{count} pixels after {} rows", self.rows_added),
                format!("whole rows of {} pixels, {} rows in all", self.width, self.height),
                "pass rasters of one grid",
            ));
        }
        self.has_confidence |= confidence.is_some();
        for i in 0..count {
            let values = swir1_nir_red.map(|band| band[i]);
            let confidence = confidence.map_or(1.0, |c| c[i]);
            if confidence.is_nan() || !values.iter().all(|v| v.is_finite()) {
                continue;
            }
            let (row, col) = (self.rows_added + i / self.width, i % self.width);
            let cell = &mut self.cells[row / self.factor * self.cells_wide + col / self.factor];
            for (sum, value) in cell.sums.iter_mut().zip(values) {
                *sum += value;
            }
            cell.valid += 1;
            cell.doubtful += u32::from(confidence < self.threshold);
        }
        self.rows_added += rows;
        Ok(())
    }

    /// The scene alone, in its colours; places without data are a chequerboard.
    #[must_use]
    pub fn picture(&self) -> RgbImage {
        self.ground(|colour, _, _| colour)
    }

    /// Draws the picture with outlines in pixel corners of the scene.
    ///
    /// Each band is stretched from its 2nd to its 98th percentile over pixels with data, or further up where a band has little range, with a gamma that
    /// opens up the dark ground beside the snow. Edges on the scene's border are not drawn: the glacier does not end there.
    #[must_use]
    pub fn draw(&self, outlines: &[Polygon<u32>], caption: &Caption<'_>) -> RgbImage {
        let mut scene = self.ground(|colour, place, cell| doubtful(colour, place, self.cells[cell].doubt()));
        // All casings first: where lines run close together, the bright ones must stay whole.
        // In a reduced scene outlines are dense, so lines lose one pixel.
        let thinner = u32::from(self.factor > 1);
        for (half, colour) in [(HALF_CASING, CASING), (HALF_LINE, LINE)] {
            for ring in outlines.iter().flat_map(Polygon::rings) {
                for edge in ring.windows(2) {
                    self.draw_edge(&mut scene, (edge[0], edge[1]), (half - thinner, half), colour);
                }
            }
        }
        let mut items = vec![Item { symbol: Symbol::Outline, text: "Glacier outline".into() }];
        if self.has_confidence && self.threshold > 0.0 {
            items.push(Item { symbol: Symbol::Doubt, text: format!("Confidence < {}", self.threshold) });
        }
        self.frame(&scene, caption, items, "No data")
    }

    /// Draws the picture with classes (`height * width` of the scene, row by row) in colours over the ground. Classes without a mark stay as they are;
    /// gaps are called "not counted".
    ///
    /// # Errors
    /// There are not as many classes as pixels.
    pub fn draw_marks(&self, classes: &[u8], marks: &[Mark<'_>], caption: &Caption<'_>) -> Result<RgbImage> {
        if classes.len() != self.width * self.height {
            return Err(Error::shape(
                "draw a picture",
                format!("{} classes", classes.len()),
                format!("{} x {}", self.width, self.height),
            ));
        }
        let mut counts = self.mark_counts(marks);
        self.count_marks(&mut counts, classes, marks)?;
        Ok(self.draw_mark_counts(&counts, marks, caption))
    }

    /// No pixel counted yet, for [`Quicklook::count_marks`].
    #[must_use]
    pub fn mark_counts(&self, marks: &[Mark<'_>]) -> MarkCounts {
        MarkCounts { counts: vec![0; self.cells.len() * marks.len()], pixels: 0 }
    }

    /// Counts the classes of the next rows, so that no more than the picture is in memory.
    ///
    /// # Errors
    /// These are not whole rows, or more than the scene has.
    pub fn count_marks(&self, found: &mut MarkCounts, classes: &[u8], marks: &[Mark<'_>]) -> Result<()> {
        let all = self.width * self.height;
        if !classes.len().is_multiple_of(self.width) || classes.len() > all - found.pixels {
            return Err(Error::shape(
                "draw a picture",
                format!("{} classes after {}", classes.len(), found.pixels),
                format!("{} x {}", self.width, self.height),
            ));
        }
        // In a reduced scene a cell has several classes, each with its part of the cell.
        for (i, class) in (found.pixels..).zip(classes) {
            if let Some(mark) = marks.iter().position(|mark| mark.value == *class) {
                let cell = i / self.width / self.factor * self.cells_wide + i % self.width / self.factor;
                found.counts[cell * marks.len() + mark] += 1;
            }
        }
        found.pixels += classes.len();
        Ok(())
    }

    /// [`Quicklook::draw_marks`] of classes that were counted with the same marks.
    #[must_use]
    pub fn draw_mark_counts(&self, found: &MarkCounts, marks: &[Mark<'_>], caption: &Caption<'_>) -> RgbImage {
        let scene = self.ground(|colour, _, cell| {
            let counts = &found.counts[cell * marks.len()..][..marks.len()];
            let valid = self.cells[cell].valid.max(1) as f32;
            marks.iter().zip(counts).fold(colour, |under, (mark, count)| {
                mix(under, Rgb(mark.colour), mark.opacity * (*count as f32 / valid).min(1.0))
            })
        });
        let item =
            |mark: &Mark<'_>| Item { symbol: Symbol::Mark(Rgb(mark.colour), mark.opacity), text: mark.name.to_owned() };
        self.frame(&scene, caption, marks.iter().map(item).collect(), "Not counted")
    }

    /// The scene in its colours, which `change` may alter by place in the picture and number of the cell; gaps as a chequerboard.
    fn ground(&self, change: impl Fn(Rgb<u8>, (u32, u32), usize) -> Rgb<u8>) -> RgbImage {
        let up = self.enlargement();
        let (wide, high) = (self.cells_wide, self.cells.len() / self.cells_wide);
        let mut scene = RgbImage::new(narrow(wide * up), narrow(high * up));
        let stretch = self.stretch();
        for (x, y, pixel) in scene.enumerate_pixels_mut() {
            let cell = y as usize / up * wide + x as usize / up;
            *pixel = match self.cells[cell].colour(&stretch) {
                Some(colour) => change(colour, (x, y), cell),
                None => GAP[(x / 8 + y / 8) as usize % 2],
            };
        }
        scene
    }

    /// Picture pixels per cell.
    fn enlargement(&self) -> usize {
        let longest = self.width.max(self.height);
        if longest < SMALLEST { (2 * SMALLEST / longest).min(64) } else { 1 }
    }

    /// What becomes dark and bright in each band.
    fn stretch(&self) -> [(f32, f32); 3] {
        let own = [0, 1, 2].map(|band| self.percentiles(band));
        let widest = own.iter().map(|(low, high)| high - low).fold(0.0, f32::max);
        own.map(|(low, high)| {
            if high > low {
                (low, high.max(low + LEAST_RANGE * widest))
            } else {
                (low - 0.5, low + 0.5) // a flat band is shown in the middle
            }
        })
    }

    /// Values of one band below which 2 % and 98 % of the cells with data lie; zeros if there are none.
    fn percentiles(&self, band: usize) -> (f32, f32) {
        let mut values: Vec<f32> =
            self.cells.iter().filter(|cell| cell.valid > 0).map(|cell| cell.mean()[band]).collect();
        let Some(last) = values.len().checked_sub(1) else { return (0.0, 0.0) };
        let mut at = |part: usize| *values.select_nth_unstable_by(last * part / 100, f32::total_cmp).1;
        (at(2), at(98))
    }

    /// An axis-parallel line between two corners of scene pixels, reaching some pixels before and after its place.
    fn draw_edge(
        &self,
        picture: &mut RgbImage,
        (from, to): ((u32, u32), (u32, u32)),
        (before, after): (u32, u32),
        colour: Rgb<u8>,
    ) {
        let on_border = |a: u32, b: u32, end: usize| a == b && (a == 0 || a as usize == end);
        if on_border(from.0, to.0, self.width) || on_border(from.1, to.1, self.height) {
            return;
        }
        let place = |corner: u32| narrow(corner as usize * self.enlargement() / self.factor);
        let span = |a: u32, b: u32, end: u32| {
            let (a, b) = (place(a.min(b)), place(a.max(b)));
            a.saturating_sub(before)..(b + after).min(end)
        };
        for y in span(from.1, to.1, picture.height()) {
            for x in span(from.0, to.0, picture.width()) {
                picture.put_pixel(x, y, colour);
            }
        }
    }

    /// Title above and legend below: `items`, gaps under their name, and a scale bar.
    fn frame(&self, scene: &RgbImage, caption: &Caption<'_>, mut items: Vec<Item>, gaps: &str) -> RgbImage {
        let (wide, high) = scene.dimensions();
        let scale = if wide >= 640 { 2 } else { 1 };
        let line = lettering::HEIGHT * scale + MARGIN;
        if self.cells.iter().any(|cell| cell.valid == 0) {
            items.push(Item { symbol: Symbol::Gap, text: gaps.into() });
        }
        if let Some((km, length)) = caption.pixel_m.and_then(|m| self.scale_bar(m, wide)) {
            items.push(Item { symbol: Symbol::Bar(length), text: format!("{km} km") });
        }
        // Items follow each other and wrap.
        let symbol = 2 * lettering::HEIGHT * scale;
        let mut places = Vec::new();
        let (mut x, mut row) = (MARGIN, 0);
        for item in &items {
            let length = item.symbol_length(symbol) + MARGIN + lettering::length(&item.text, scale);
            if x > MARGIN && x + length + MARGIN > wide {
                (x, row) = (MARGIN, row + 1);
            }
            places.push((x, row));
            x += length + 3 * MARGIN;
        }
        let top = if caption.title.is_empty() { 0 } else { line + MARGIN };
        let mut picture = RgbImage::from_pixel(wide, top + high + (row + 1) * line + MARGIN, PAPER);
        image::imageops::replace(&mut picture, scene, 0, i64::from(top));
        if top > 0 {
            let fits = lettering::length(caption.title, scale) + 2 * MARGIN <= wide;
            lettering::draw(&mut picture, caption.title, MARGIN, MARGIN, if fits { scale } else { 1 }, INK);
        }
        for (item, (x, row)) in items.iter().zip(places) {
            let y = top + high + MARGIN + row * line;
            let length = item.symbol_length(symbol);
            item.draw_symbol(&mut picture, x, y, length, lettering::HEIGHT * scale);
            lettering::draw(&mut picture, &item.text, x + length + MARGIN, y, scale, INK);
        }
        picture
    }

    /// The longest round distance (km) that takes at most a quarter of the width, and its pixels.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive length of at most a quarter of the picture"
    )]
    fn scale_bar(&self, pixel_m: f64, wide: u32) -> Option<(f64, u32)> {
        let km_per_pixel = pixel_m / 1000.0 * self.factor as f64 / self.enlargement() as f64;
        if !(km_per_pixel.is_finite() && km_per_pixel > 0.0) {
            return None;
        }
        let fits = |km: f64| km / km_per_pixel <= f64::from(wide) / 4.0;
        let rounds = [1000.0, 500.0, 200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
        let km = rounds.into_iter().find(|&km| fits(km))?;
        Some((km, (km / km_per_pixel).round() as u32))
    }
}

impl Cell {
    #[expect(clippy::cast_precision_loss, reason = "a cell holds few pixels")]
    fn mean(&self) -> [f32; 3] {
        self.sums.map(|sum| sum / self.valid as f32)
    }

    #[expect(clippy::cast_precision_loss, reason = "a cell holds few pixels")]
    fn doubt(&self) -> f32 {
        self.doubtful as f32 / self.valid.max(1) as f32
    }

    /// The stretched colour; `None` without data.
    fn colour(&self, stretch: &[(f32, f32); 3]) -> Option<Rgb<u8>> {
        if self.valid == 0 {
            return None;
        }
        let mean = self.mean();
        Some(Rgb([0, 1, 2].map(|band| {
            let (low, high) = stretch[band];
            byte(255.0 * ((mean[band] - low) / (high - low)).clamp(0.0, 1.0).powf(GAMMA))
        })))
    }
}

/// A line of the legend.
struct Item {
    symbol: Symbol,
    text: String,
}

enum Symbol {
    Outline,
    Doubt,
    Gap,
    Mark(Rgb<u8>, f32),
    Bar(u32),
}

impl Item {
    fn symbol_length(&self, usual: u32) -> u32 {
        if let Symbol::Bar(length) = self.symbol { length } else { usual }
    }

    fn draw_symbol(&self, picture: &mut RgbImage, x: u32, y: u32, length: u32, height: u32) {
        let middle = height / 2;
        for dy in 0..height {
            let off = dy.abs_diff(middle);
            for dx in 0..length {
                let colour = match self.symbol {
                    // On grey, as the casing is almost the colour of the paper.
                    Symbol::Outline if off < HALF_LINE || dy + HALF_LINE == middle => LINE,
                    Symbol::Outline if off < HALF_CASING || dy + HALF_CASING == middle => CASING,
                    Symbol::Outline => Rgb([150, 160, 160]),
                    Symbol::Doubt => doubtful(Rgb([150, 160, 160]), (dx, dy), 1.0),
                    Symbol::Mark(colour, opacity) => mix(Rgb([150, 160, 160]), colour, opacity),
                    Symbol::Gap => GAP[(dx / 4 + dy / 4) as usize % 2],
                    Symbol::Bar(_) if off <= 1 || dx < 2 || dx + 2 >= length => INK,
                    Symbol::Bar(_) => PAPER,
                };
                if let Some(pixel) = picture.get_pixel_mut_checked(x + dx, y + dy) {
                    *pixel = colour;
                }
            }
        }
    }
}

/// The colour of a pixel of the picture where a part of the ground has low confidence. Lines run on from cell to cell.
fn doubtful(under: Rgb<u8>, (x, y): (u32, u32), part: f32) -> Rgb<u8> {
    let on_line = (x + y) % HATCH.0 < HATCH.1;
    mix(under, DOUBT, part * if on_line { DOUBT_OPACITY[0] } else { DOUBT_OPACITY[1] })
}

fn mix(under: Rgb<u8>, over: Rgb<u8>, opacity: f32) -> Rgb<u8> {
    let channel = |i: usize| byte(f32::from(under.0[i]) * (1.0 - opacity) + f32::from(over.0[i]) * opacity);
    Rgb([channel(0), channel(1), channel(2)])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..255 first")]
fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Sizes and positions in the picture; it has a few thousand pixels a side.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Writes a picture as PNG to `path`; use it inside [`crate::atomic_file`].
///
/// # Errors
/// The file cannot be written.
pub fn write_png(picture: &RgbImage, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    picture.save_with_format(path, ImageFormat::Png).map_err(|e| {
        let source = match e {
            image::ImageError::IoError(source) => source,
            other => std::io::Error::other(other),
        };
        Error::io("write", path, source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::polygons::Regions;

    #[test]
    fn small_scenes_are_enlarged() {
        let mut look = Quicklook::new(4, 4, 0.95).expect("a scene");
        let mut swir1: Vec<f32> = (0..16_u8).map(f32::from).collect();
        let flat = [0.5; 16];
        let mut confidence = [1.0; 16];
        (swir1[0], confidence[15]) = (f32::NAN, 0.5);
        look.add_rows([&swir1[..8], &flat[..8], &flat[..8]], Some(&confidence[..8])).expect("two rows");
        look.add_rows([&swir1[8..], &flat[8..], &flat[8..]], Some(&confidence[8..])).expect("two rows");
        assert!(look.add_rows([&flat[..4]; 3], None).is_err());
        let mut classes = [0; 16];
        classes[5] = 1;
        let regions = Regions::find(&classes, 4, 4, 1).expect("the shape is right");
        let picture = look.draw(&regions.polygons, &Caption { title: "", pixel_m: Some(30.0) });
        assert_eq!(picture.width(), 256);
        assert!(GAP.contains(picture.get_pixel(10, 10)));
        assert_eq!(*picture.get_pixel(64, 100), LINE);
        assert_eq!(*picture.get_pixel(63, 100), LINE);
        assert_eq!(*picture.get_pixel(65, 100), CASING);
        assert_eq!(picture.get_pixel(100, 20).0[1], 163);
        // A line of the hatch over magenta's missing green, and the ground between lines.
        assert!(picture.get_pixel(225, 225).0[1] < 110);
        assert!(picture.get_pixel(228, 225).0[1] > 140);
    }

    #[test]
    fn marks_colour_the_ground() {
        let mut look = Quicklook::new(4, 4, 0.0).expect("a scene");
        let mut flat = [0.5; 16];
        flat[3] = f32::NAN;
        look.add_rows([&flat; 3], None).expect("all rows");
        let mut classes = [0; 16];
        (classes[5], classes[3]) = (2, 2);
        let marks = [Mark { value: 2, colour: [255, 0, 0], opacity: 1.0, name: "Too much" }];
        let picture = look.draw_marks(&classes, &marks, &Caption::default()).expect("all classes");
        assert_eq!(*picture.get_pixel(100, 100), Rgb([255, 0, 0]));
        assert_eq!(picture.get_pixel(60, 100).0[1], 163);
        assert!(GAP.contains(picture.get_pixel(200, 10)));
        assert!(look.draw_marks(&classes[1..], &marks, &Caption::default()).is_err());
        // Three by three pixels to a cell, one of them marked.
        let mut wide = Quicklook::new(3, 4098, 0.0).expect("a scene");
        wide.add_rows([&vec![0.5; 3 * 4098]; 3], None).expect("all rows");
        let mut classes = vec![0; 3 * 4098];
        classes[4099] = 2;
        let picture = wide.draw_marks(&classes, &marks, &Caption::default()).expect("all classes");
        assert_eq!(picture.get_pixel(0, 0).0[1], 145);
        assert_eq!(picture.get_pixel(1, 0).0[1], 163);
    }

    #[test]
    fn large_scenes_are_averaged() {
        let mut look = Quicklook::new(2, 4097, 0.95).expect("a scene");
        assert_eq!(look.factor, 3);
        let mut band = vec![0.0; 2 * 4097];
        (band[0], band[1], band[4097]) = (3.0, f32::NAN, 2.0);
        look.add_rows([&band; 3], None).expect("two rows");
        assert_eq!((look.cells[0].mean()[0], look.cells[0].valid), (1.0, 5));
        let whole = Polygon { exterior: vec![(0, 0), (0, 2), (4097, 2), (4097, 0), (0, 0)], holes: vec![] };
        assert_eq!(look.draw(&[whole], &Caption::default()).width(), 1366);
    }

    #[test]
    fn refuses() {
        assert!(Quicklook::new(0, 3, 0.95).is_err());
        let mut look = Quicklook::new(2, 2, 0.95).expect("a scene");
        assert!(look.add_rows([&[0.0; 3]; 3], None).is_err());
        assert!(look.add_rows([&[0.0; 2], &[0.0; 2], &[0.0; 4]], None).is_err());
        // Nothing but gaps.
        look.add_rows([&[f32::NAN; 4]; 3], None).expect("two rows");
        assert!(look.draw(&[], &Caption { title: "Gaps only", pixel_m: Some(f64::NAN) }).width() > 0);
    }
}
