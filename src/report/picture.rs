//! Rasters and polygons as layers of a map.
//!
//! A raster of any size is read a few rows at a time and averaged to at most [`LARGEST`] pixels a side.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use crate::error::{Error, Result};
use crate::raster::{Grid, PixelShapes, RasterFile, Window};
use crate::report::map::{Drawing, Key, Layer};

/// Longest side of a layer in pixels: what a screen shows, twice.
pub const LARGEST: usize = 1600;
/// Pictures of fewer pixels a side show their pixels as squares.
const CRISP: usize = 700;
/// Values of a raster held at a time.
const STRIP: usize = 4 << 20;
/// Letters of a path; longer ones are drawn more coarsely.
const LONGEST_PATH: usize = 6 << 20;
/// The view box of a path has so many units to a pixel of the layers.
const UNITS: f64 = 10.0;
/// Outlines on a map.
pub const OUTLINE: &str = "#ffe100";

/// Cividis (Nuñez, Anderton & Renslow 2018), at equal steps: a ramp that looks the same with any colour vision.
const CIVIDIS: [[u8; 3]; 7] =
    [[0, 32, 77], [37, 60, 108], [86, 92, 108], [124, 123, 120], [164, 154, 119], [209, 189, 101], [255, 234, 70]];

/// A class of a raster as a layer.
#[derive(Debug, Clone, Copy)]
pub struct ClassStyle<'a> {
    /// The class.
    pub value: f32,
    /// Red, green and blue.
    pub colour: [u8; 3],
    /// How much of the ground it hides: 0 nothing, 1 all.
    pub opacity: f32,
    /// The layer's name.
    pub name: &'a str,
    /// Whether it is shown at first.
    pub is_on: bool,
}

/// Means of a band.
#[derive(Debug, Clone)]
struct Reduced {
    width: usize,
    factor: usize,
    wide: usize,
    high: usize,
    /// What was summed up, and over how many pixels.
    cells: Vec<(f32, u32)>,
}

/// Calls `each` with the number of a pixel and its value, for every pixel of a file's first band.
fn read(path: &Path, each: &mut dyn FnMut(usize, f32)) -> Result<()> {
    let file = RasterFile::open(path)?;
    let Grid { width, height, .. } = *file.grid();
    let rows_at_once = (STRIP / width.max(1)).max(1);
    for row in (0..height).step_by(rows_at_once) {
        let rows = rows_at_once.min(height - row);
        let values = file.read_window(0, Window { row, col: 0, height: rows, width })?;
        values.into_iter().enumerate().for_each(|(i, value)| each(row * width + i, value));
    }
    Ok(())
}

/// The scene itself, as [`crate::raster::quicklook::Quicklook`] draws it.
///
/// # Errors
/// The picture cannot be encoded.
pub fn imagery(picture: &RgbImage, name: &str, description: &str) -> Result<Layer> {
    let (wide, high) = picture.dimensions();
    let longest = wide.max(high).max(1);
    let limit = u32::try_from(LARGEST).unwrap_or(u32::MAX);
    let smaller = if longest > limit {
        let scaled = |side: u32| (u64::from(side) * u64::from(limit) / u64::from(longest)).max(1);
        let side = |side| u32::try_from(scaled(side)).unwrap_or(1);
        image::imageops::thumbnail(picture, side(wide), side(high))
    } else {
        picture.clone()
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 88).encode_image(&smaller).map_err(|e| cannot_encode(&e))?;
    Ok(Layer {
        name: name.into(),
        description: description.into(),
        is_on: true,
        fades: false,
        key: Key::None,
        drawing: Drawing::Picture { uri: uri("image/jpeg", &bytes), is_crisp: false },
    })
}

/// A raster from 0 to 1, such as a confidence, in the colours of a ramp from `low` to `high`.
///
/// # Errors
/// The file cannot be read.
pub fn ramp(path: &Path, name: &str, description: &str, [low, high]: [f32; 2]) -> Result<Layer> {
    let mut reduced = Reduced::of(RasterFile::open(path)?.grid());
    read(path, &mut |i, value| reduced.add(i, value))?;
    let uri = reduced.png(|cell| {
        let mean = cell.0 / cell.1 as f32;
        let at = ((mean - low) / (high - low)).clamp(0.0, 1.0);
        let [r, g, b] = colour_at(at);
        Rgba([r, g, b, 255])
    })?;
    let hex = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
    Ok(Layer {
        name: name.into(),
        description: description.into(),
        is_on: false,
        fades: true,
        key: Key::Ramp(CIVIDIS.map(hex).to_vec(), low.to_string(), high.to_string()),
        drawing: Drawing::Picture { uri, is_crisp: reduced.is_crisp() },
    })
}

/// Layers of the classes of a raster file, a layer each. NaN is no class.
///
/// # Errors
/// The file cannot be read.
pub fn classes(path: &Path, styles: &[ClassStyle<'_>]) -> Result<Vec<Layer>> {
    let grid = RasterFile::open(path)?.grid().clone();
    class_layers(&grid, styles, |each| read(path, each))
}

/// Layers of classes on a grid, a layer each; `unknown` is no class.
///
/// # Errors
/// A picture cannot be encoded.
pub fn classes_in_memory(grid: &Grid, values: &[u8], unknown: u8, styles: &[ClassStyle<'_>]) -> Result<Vec<Layer>> {
    class_layers(grid, styles, |each| {
        let known = values.iter().enumerate().filter(|(_, value)| **value != unknown);
        known.for_each(|(i, value)| each(i, f32::from(*value)));
        Ok(())
    })
}

fn class_layers(
    grid: &Grid,
    styles: &[ClassStyle<'_>],
    visit: impl FnOnce(&mut dyn FnMut(usize, f32)) -> Result<()>,
) -> Result<Vec<Layer>> {
    let mut classes = vec![Reduced::of(grid); styles.len()];
    #[expect(clippy::float_cmp, reason = "classes are small whole numbers")]
    visit(&mut |i, value| {
        for (reduced, style) in classes.iter_mut().zip(styles) {
            reduced.add(i, if value.is_nan() { value } else { f32::from(u8::from(value == style.value)) });
        }
    })?;
    let layer = |(style, reduced): (&ClassStyle<'_>, &Reduced)| {
        let [r, g, b] = style.colour;
        let uri = reduced.png(|cell| {
            // Few pixels of a cell must be seen, too.
            let share = cell.0 / cell.1 as f32;
            Rgba([r, g, b, byte(style.opacity * if share > 0.0 { share.max(0.25) } else { 0.0 })])
        })?;
        Ok(Layer {
            name: style.name.into(),
            description: format!("Places of the class {}", style.name),
            is_on: style.is_on,
            fades: false,
            key: Key::Patch(format!("#{r:02x}{g:02x}{b:02x}")),
            drawing: Drawing::Picture { uri, is_crisp: reduced.is_crisp() },
        })
    };
    styles.iter().zip(&classes).map(layer).collect()
}

/// Polygons as lines over a map of `grid`.
#[must_use]
pub fn outlines(shapes: &PixelShapes, grid: &Grid, name: &str, colour: &str) -> Layer {
    let rings: Vec<&[(f64, f64)]> = shapes.rings().collect();
    let factor = (grid.width.max(grid.height) as f64 / LARGEST as f64).max(0.05);
    let mut tolerance = 0.25 * factor;
    let mut data = path_data(&rings, factor, tolerance);
    while data.len() > LONGEST_PATH {
        tolerance *= 2.0;
        data = path_data(&rings, factor, tolerance);
    }
    let extent = |side: usize| unit(side as f64 / factor).max(1);
    let extent = (extent(grid.width).unsigned_abs(), extent(grid.height).unsigned_abs());
    Layer {
        name: name.into(),
        description: format!("{name}: lines around {} polygons", shapes.len()),
        is_on: true,
        fades: false,
        key: Key::Line(colour.into()),
        drawing: Drawing::Path { data, extent, colour: colour.into() },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "places on a picture of at most 32,000 units, or far outside, where they are clamped"
)]
fn unit(pixels: f64) -> i32 {
    (pixels * UNITS).round().clamp(-1e6, 1e6) as i32
}

/// An SVG path of rings in scene pixels. Vertices nearer than `tolerance` pixels to the last one are left out, and rings of which nothing is left.
fn path_data(rings: &[&[(f64, f64)]], factor: f64, tolerance: f64) -> String {
    let mut data = String::new();
    let mut kept: Vec<(i32, i32)> = Vec::new();
    for ring in rings {
        kept.clear();
        let mut last: Option<(f64, f64)> = None;
        for &(x, y) in *ring {
            if last.is_some_and(|(a, b)| (x - a).hypot(y - b) < tolerance) {
                continue;
            }
            last = Some((x, y));
            let point = (unit(x / factor), unit(y / factor));
            // The middle of three on one line says nothing.
            if let [.., a, b] = kept[..]
                && cross(a, b, point) == 0
            {
                kept.pop();
            }
            kept.push(point);
        }
        if kept.len() < 4 {
            continue;
        }
        let mut before = kept[0];
        // Writing to a string cannot fail.
        let _ = write!(data, "M{} {}", before.0, before.1);
        for &(x, y) in &kept[1..] {
            let _ = match (x - before.0, y - before.1) {
                (0, 0) => Ok(()),
                (dx, 0) => write!(data, "h{dx}"),
                (0, dy) => write!(data, "v{dy}"),
                (dx, dy) => write!(data, "l{dx} {dy}"),
            };
            before = (x, y);
        }
        data.push('z');
    }
    data
}

fn cross(a: (i32, i32), b: (i32, i32), c: (i32, i32)) -> i64 {
    let d = |from: i32, to: i32| i64::from(to) - i64::from(from);
    d(a.0, b.0) * d(b.1, c.1) - d(a.1, b.1) * d(b.0, c.0)
}

impl Reduced {
    fn of(grid: &Grid) -> Self {
        let Grid { width, height, .. } = *grid;
        let factor = width.max(height).div_ceil(LARGEST).max(1);
        let (wide, high) = (width.div_ceil(factor), height.div_ceil(factor));
        Self { width, factor, wide, high, cells: vec![(0.0, 0); wide * high] }
    }

    /// Adds a pixel; NaN is left out.
    fn add(&mut self, pixel: usize, value: f32) {
        let place = pixel / self.width / self.factor * self.wide + pixel % self.width / self.factor;
        if let Some(cell) = self.cells.get_mut(place).filter(|_| !value.is_nan()) {
            cell.0 += value;
            cell.1 += 1;
        }
    }

    fn is_crisp(&self) -> bool {
        self.wide.max(self.high) < CRISP
    }

    /// A picture, transparent where nothing is known.
    fn png(&self, colour: impl Fn(&(f32, u32)) -> Rgba<u8>) -> Result<String> {
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut picture = RgbaImage::new(side(self.wide), side(self.high));
        for (pixel, cell) in picture.pixels_mut().zip(&self.cells) {
            if cell.1 > 0 {
                *pixel = colour(cell);
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).map_err(|e| cannot_encode(&e))?;
        Ok(uri("image/png", bytes.get_ref()))
    }
}

fn uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

fn cannot_encode(error: &image::ImageError) -> Error {
    Error::bad_argument(format!("a picture that cannot be encoded ({error})"), "a picture", "please report this defect")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn byte(part: f32) -> u8 {
    (part * 255.0).round().clamp(0.0, 255.0) as u8
}

/// The ramp's colour at 0 to 1.
fn colour_at(at: f32) -> [u8; 3] {
    let position = at.clamp(0.0, 1.0) * (CIVIDIS.len() - 1) as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 6")]
    let below = (position as usize).min(CIVIDIS.len() - 2);
    let t = position - below as f32;
    let (Rgb(a), Rgb(b)) = (Rgb(CIVIDIS[below]), Rgb(CIVIDIS[below + 1]));
    [0, 1, 2].map(|i| byte((f32::from(a[i]) * (1.0 - t) + f32::from(b[i]) * t) / 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_begin_and_end_with_their_colours() {
        assert_eq!((colour_at(0.0), colour_at(1.0)), (CIVIDIS[0], CIVIDIS[6]));
        assert_eq!(colour_at(0.5), CIVIDIS[3]);
        assert_eq!((colour_at(-1.0), colour_at(7.0)), (CIVIDIS[0], CIVIDIS[6]));
    }

    #[test]
    fn paths_are_short_and_closed() {
        let square = [(0.0, 0.0), (4.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0), (0.0, 0.0)];
        let speck = [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1), (0.0, 0.0)];
        assert_eq!(path_data(&[&square, &speck], 1.0, 0.25), "M0 0h80v80h-80v-80z");
        assert_eq!(path_data(&[&square], 2.0, 0.25), "M0 0h40v40h-40v-40z");
        let far = [(0.0, 0.0), (f64::MAX, 0.0), (f64::NAN, 5.0), (0.0, 9.0), (0.0, 0.0)];
        assert!(path_data(&[&far], 1.0, 0.25).starts_with("M0 0"));
    }
}
