//! Cloud-optimised GeoTIFF out, row by row.
//!
//! One band in tiles with overviews, each half of the one before, down to one that fits a tile. All directories come first, then the pixels of the
//! smallest overview, and those of the full resolution last: the layout of GDAL's COG driver (without its optional ghost area) and of OGC 21-026.
//! Rows come in from the north; compressed tiles wait in anonymous temporary files until the end, when their sizes are known. So memory is
//! that of two rows of tiles, and the file is BigTIFF only where it must be.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tiff_core::{ByteOrder, Compression, Predictor, Tag, TagValue};
use tiff_writer::compress::{BlockEncodingOptions, compress_block};
use tiff_writer::{Error as TiffWriteError, TiffWriteSample};

use crate::error::{Error, Result};
use crate::raster::gdal_metadata::{self, Item};
use crate::raster::grid::Grid;
use crate::raster::write::{Metadata, georeference_tags, items};

/// Largest side of a tile, and of the smallest overview.
pub const TILE: usize = 512;

/// Sides of tiles are multiples of this (TIFF 6.0, section 15).
const TILE_STEP: usize = 16;

/// How up to four pixels become one pixel of the next overview. Pixels without data do not count unless there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overview {
    /// The most frequent value; of several, the one that comes first in row order. For classes.
    Mode,
    /// The mean, rounded for integers.
    Average,
}

/// What a cloud-optimised GeoTIFF says beside its pixels.
#[derive(Debug, Clone)]
pub struct CogSettings<'a, T> {
    /// The sample that means "no data".
    pub nodata: T,
    /// How overviews are made.
    pub overview: Overview,
    /// Physical value = sample * scale; none where samples are physical.
    pub scale: Option<f64>,
    /// Band name and what else is to be known.
    pub metadata: &'a Metadata,
}

/// A type of samples.
pub trait CogSample: TiffWriteSample + std::fmt::Debug {
    /// What helps compression before deflate.
    #[doc(hidden)]
    fn predictor(overview: Overview) -> Predictor;

    /// Equality in which NaN is NaN.
    fn same(self, other: Self) -> bool;

    /// The mean of one to four samples.
    fn mean(samples: &[Self]) -> Self;

    /// The sample as GDAL's nodata text.
    fn text(self) -> String;
}

macro_rules! integer_samples {
    ($($type:ty),*) => { $(
        impl CogSample for $type {
            fn predictor(overview: Overview) -> Predictor {
                // Differences help where values vary gradually. A few classes compress better as they are.
                if overview == Overview::Mode { Predictor::None } else { Predictor::Horizontal }
            }

            fn same(self, other: Self) -> bool {
                self == other
            }

            fn mean(samples: &[Self]) -> Self {
                let sum: u32 = samples.iter().map(|sample| u32::from(*sample)).sum();
                let count = u32::try_from(samples.len()).unwrap_or(1).max(1);
                Self::try_from((sum + count / 2) / count).unwrap_or(Self::MAX)
            }

            fn text(self) -> String {
                self.to_string()
            }
        }
    )* };
}

integer_samples!(u8, u16);

impl CogSample for f32 {
    fn predictor(_: Overview) -> Predictor {
        Predictor::FloatingPoint
    }

    fn same(self, other: Self) -> bool {
        self == other || self.is_nan() && other.is_nan()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean of at most four f32")]
    fn mean(samples: &[Self]) -> Self {
        (samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / samples.len() as f64) as Self
    }

    fn text(self) -> String {
        if self.is_nan() { "nan".into() } else { self.to_string() }
    }
}

/// A cloud-optimised GeoTIFF of one band whose rows are coming in.
#[derive(Debug)]
pub struct CogWriter<T> {
    grid: Grid,
    nodata: T,
    overview: Overview,
    items: Vec<Item>,
    scratch: PathBuf,
    /// Full resolution first.
    levels: Vec<Level<T>>,
}

/// One resolution.
#[derive(Debug)]
struct Level<T> {
    width: usize,
    height: usize,
    tile: usize,
    /// Rows of the row of tiles that is not complete yet.
    rows: Vec<T>,
    rows_added: usize,
    /// The upper row of a pair of which the lower one is to come.
    upper: Option<Vec<T>>,
    /// The compressed tiles, one after the other, and their sizes in bytes.
    blocks: BufWriter<File>,
    sizes: Vec<u32>,
    /// A compressed tile without data; there may be many.
    blank: Option<Vec<u8>>,
}

impl<T: CogSample> CogWriter<T> {
    /// A raster on `grid`. Temporary files lie in the folder `scratch`; nothing remains of them, even if the program is killed.
    ///
    /// # Errors
    /// The raster is empty or too large for TIFF, or the folder cannot be written to.
    pub fn create(scratch: &Path, grid: &Grid, settings: &CogSettings<'_, T>) -> Result<Self> {
        let size = |length: usize| u32::try_from(length).is_ok_and(|length| length > 0 && length <= u32::MAX / 2);
        if !size(grid.width) || !size(grid.height) {
            return Err(Error::bad_argument(
                format!("a raster of {} x {} pixels", grid.width, grid.height),
                "1 to 2147483647 pixels each way",
                "choose another area",
            ));
        }
        let largest = grid.width.max(grid.height);
        let tile = TILE.min(largest.next_multiple_of(TILE_STEP));
        let mut levels = Vec::new();
        let (mut width, mut height) = (grid.width, grid.height);
        loop {
            let blocks = tempfile::tempfile_in(scratch).map_err(|e| Error::io("create a file in", scratch, e))?;
            levels.push(Level {
                width,
                height,
                tile,
                rows: Vec::new(),
                rows_added: 0,
                upper: None,
                blocks: BufWriter::new(blocks),
                sizes: Vec::new(),
                blank: None,
            });
            if width.max(height) <= TILE {
                break;
            }
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
        }
        let mut items = items(settings.metadata);
        if let Some(scale) = settings.scale {
            let number = |name: &str, role: &str, value: f64| Item {
                name: name.into(),
                sample: Some(0),
                role: role.into(),
                value: value.to_string(),
            };
            items.extend([number("OFFSET", "offset", 0.0), number("SCALE", "scale", scale)]);
        }
        let (nodata, overview) = (settings.nodata, settings.overview);
        Ok(Self { grid: grid.clone(), nodata, overview, items, scratch: scratch.to_path_buf(), levels })
    }

    /// Adds whole rows, from the north.
    ///
    /// # Errors
    /// The values are not whole rows, there are too many, or the disk is full.
    pub fn add_rows(&mut self, values: &[T]) -> Result<()> {
        let Some(first) = self.levels.first() else { return Ok(()) };
        let rows = values.len() / first.width;
        if !values.len().is_multiple_of(first.width) || rows > first.height - first.rows_added {
            return Err(Error::shape(
                "write a raster",
                format!("{} values after {} rows", values.len(), first.rows_added),
                format!("rows of {} values, {} in all", first.width, first.height),
            ));
        }
        let mut given: Option<Vec<T>> = None;
        let (nodata, overview) = (self.nodata, self.overview);
        let deepest = self.levels.len() - 1;
        for (depth, level) in self.levels.iter_mut().enumerate() {
            let rows = given.as_deref().unwrap_or(values);
            let halved = if depth < deepest { level.halve(rows, nodata, overview) } else { Vec::new() };
            level.add(rows, nodata, overview).map_err(|e| Error::io("write to the folder", &self.scratch, e))?;
            given = Some(halved);
        }
        Ok(())
    }

    /// Writes the file to `path`; use it inside [`crate::atomic_file`].
    ///
    /// # Errors
    /// Rows are missing, or the file cannot be written.
    pub fn finish(self, path: &Path) -> Result<()> {
        // What a classic TIFF file can address.
        self.finish_within(path, u64::from(u32::MAX))
    }

    fn finish_within(self, path: &Path, classic_limit: u64) -> Result<()> {
        if let Some(level) = self.levels.iter().find(|level| level.rows_added != level.height) {
            let found = format!("{} rows", level.rows_added);
            return Err(Error::shape("write a raster", found, format!("{} rows", level.height)));
        }
        let fail = |e: io::Error| Error::io("write", path, e);
        let pixels: u64 = self.levels.iter().map(|level| level.bytes()).sum();
        let is_big = directories_size(&self.directories(false, 0), false) + pixels > classic_limit;
        let header = directories_size(&self.directories(is_big, 0), is_big);
        let directories = self.directories(is_big, header);
        let mut out = BufWriter::new(File::create(path).map_err(|e| Error::io("create", path, e))?);
        out.write_all(&encode(&directories, is_big)).map_err(fail)?;
        for level in self.levels.into_iter().rev() {
            let mut blocks = level.blocks.into_inner().map_err(|e| fail(e.into_error()))?;
            blocks.seek(SeekFrom::Start(0)).map_err(fail)?;
            io::copy(&mut BufReader::with_capacity(1 << 20, blocks), &mut out).map_err(fail)?;
        }
        // Dropping the buffer would swallow an error of its last write (disk full).
        out.into_inner().map_err(|e| fail(e.into_error()))?;
        Ok(())
    }

    /// The tags of every level, the pixels beginning at byte `start`.
    fn directories(&self, is_big: bool, start: u64) -> Vec<Vec<Tag>> {
        let mut starts = vec![start; self.levels.len()];
        for (at, level) in self.levels.iter().enumerate().rev().take(self.levels.len().saturating_sub(1)) {
            starts[at - 1] = starts[at] + level.bytes();
        }
        let number = |value: usize| TagValue::Long(vec![u32::try_from(value).unwrap_or(u32::MAX)]);
        let short = |value: u16| TagValue::Short(vec![value]);
        let predictor = match T::predictor(self.overview) {
            Predictor::None => 1,
            Predictor::Horizontal => 2,
            Predictor::FloatingPoint => 3,
        };
        let of_level = |(depth, (level, start)): (usize, (&Level<T>, u64))| {
            let mut at = start;
            let offsets = level.sizes.iter().map(|size| {
                let offset = at;
                at += u64::from(*size);
                offset
            });
            let offsets = if is_big {
                TagValue::Long8(offsets.collect())
            } else {
                TagValue::Long(offsets.map(|offset| u32::try_from(offset).unwrap_or(u32::MAX)).collect())
            };
            let mut tags = vec![
                Tag::new(254, TagValue::Long(vec![u32::from(depth > 0)])),
                Tag::new(256, number(level.width)),
                Tag::new(257, number(level.height)),
                Tag::new(258, short(T::BITS_PER_SAMPLE)),
                Tag::new(259, short(8)),
                Tag::new(262, short(1)),
                Tag::new(277, short(1)),
                Tag::new(284, short(1)),
                Tag::new(317, short(predictor)),
                Tag::new(322, number(level.tile)),
                Tag::new(323, number(level.tile)),
                Tag::new(324, offsets),
                Tag::new(325, TagValue::Long(level.sizes.clone())),
                Tag::new(339, short(T::SAMPLE_FORMAT)),
                Tag::new(42113, TagValue::Ascii(self.nodata.text())),
            ];
            if depth == 0 {
                tags.extend(georeference_tags(&self.grid));
                if !self.items.is_empty() {
                    tags.push(Tag::new(42112, TagValue::Ascii(gdal_metadata::format(&self.items))));
                }
            }
            tags.sort_by_key(|tag| tag.code);
            tags
        };
        self.levels.iter().zip(starts).enumerate().map(of_level).collect()
    }
}

impl<T: CogSample> Level<T> {
    /// Bytes of all its tiles.
    fn bytes(&self) -> u64 {
        self.sizes.iter().map(|size| u64::from(*size)).sum()
    }

    /// What the next rows of this level become in the next one.
    fn halve(&mut self, rows: &[T], nodata: T, overview: Overview) -> Vec<T> {
        let width = self.width;
        let mut halved = Vec::with_capacity((rows.len() / width / 2 + 1) * width.div_ceil(2));
        for (row, number) in rows.chunks_exact(width).zip(self.rows_added + 1..) {
            match self.upper.take() {
                Some(upper) => merge(&upper, Some(row), nodata, overview, &mut halved),
                None if number == self.height => merge(row, None, nodata, overview, &mut halved),
                None => self.upper = Some(row.to_vec()),
            }
        }
        halved
    }

    /// Compresses the rows of tiles that the next rows complete.
    fn add(&mut self, mut rows: &[T], nodata: T, overview: Overview) -> io::Result<()> {
        while !rows.is_empty() {
            let room = self.tile - self.rows.len() / self.width;
            let (now, later) = rows.split_at(rows.len().min(room * self.width));
            self.rows.extend_from_slice(now);
            self.rows_added += now.len() / self.width;
            rows = later;
            if self.rows.len() == self.tile * self.width || self.rows_added == self.height {
                self.compress(nodata, overview)?;
                self.rows.clear();
            }
        }
        Ok(())
    }

    fn compress(&mut self, nodata: T, overview: Overview) -> io::Result<()> {
        let (width, tile) = (self.width, self.tile);
        let options = BlockEncodingOptions {
            byte_order: ByteOrder::LittleEndian,
            compression: Compression::Deflate,
            predictor: T::predictor(overview),
            samples_per_pixel: 1,
            row_width_pixels: tile,
            jpeg_options: None,
            jpeg_sampling: None,
            deflate_level: None,
        };
        let other = |error: TiffWriteError| match error {
            TiffWriteError::Io(source) => source,
            other => io::Error::other(other.to_string()),
        };
        if self.blank.is_none() {
            self.blank = Some(compress_block(&vec![nodata; tile * tile], options, 0).map_err(other)?);
        }
        let blank = self.blank.as_deref().unwrap_or_default();
        let rows = &self.rows;
        // Some at a time: enough for the cores, little in memory.
        let lefts: Vec<usize> = (0..width).step_by(tile).collect();
        for lefts in lefts.chunks(64) {
            let compressed: Vec<_> = lefts
                .par_iter()
                .map(|&left| {
                    let inside = tile.min(width - left);
                    let parts = rows.chunks_exact(width).map(|row| &row[left..left + inside]);
                    if parts.clone().flatten().all(|sample| sample.same(nodata)) {
                        return Ok(blank.to_vec());
                    }
                    let mut block = vec![nodata; tile * tile];
                    for (line, part) in block.chunks_exact_mut(tile).zip(parts) {
                        line[..inside].copy_from_slice(part);
                    }
                    compress_block(&block, options, 0)
                })
                .collect();
            for block in compressed {
                let block = block.map_err(other)?;
                self.blocks.write_all(&block)?;
                self.sizes.push(u32::try_from(block.len()).map_err(io::Error::other)?);
            }
        }
        Ok(())
    }
}

/// Appends a row of half the width, made of two rows or of the last one alone.
fn merge<T: CogSample>(upper: &[T], lower: Option<&[T]>, nodata: T, overview: Overview, out: &mut Vec<T>) {
    for left in (0..upper.len()).step_by(2) {
        let right = (left + 2).min(upper.len());
        let mut samples = [nodata; 4];
        let mut count = 0;
        for sample in upper[left..right].iter().chain(lower.into_iter().flat_map(|row| &row[left..right])) {
            if !sample.same(nodata) {
                samples[count] = *sample;
                count += 1;
            }
        }
        let samples = &samples[..count];
        out.push(match (samples, overview) {
            ([], _) => nodata,
            (_, Overview::Average) => T::mean(samples),
            (_, Overview::Mode) => mode(samples).unwrap_or(nodata),
        });
    }
}

/// The most frequent sample; the first of several.
fn mode<T: CogSample>(samples: &[T]) -> Option<T> {
    let count = |of: T| samples.iter().filter(|sample| sample.same(of)).count();
    // The last of equals is what `max_by_key` takes.
    samples.iter().rev().copied().max_by_key(|sample| count(*sample))
}

/// TIFF type code and bytes of a value.
fn encoded(value: &TagValue) -> (u16, u64, Vec<u8>) {
    fn bytes<const N: usize, V: Copy>(values: &[V], encode: impl Fn(V) -> [u8; N]) -> (u64, Vec<u8>) {
        (values.len() as u64, values.iter().flat_map(|value| encode(*value)).collect())
    }
    let code = value.tag_type().to_code();
    let (count, bytes) = match value {
        TagValue::Byte(values) | TagValue::Undefined(values) => bytes(values, |v| [v]),
        TagValue::Ascii(text) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.push(0);
            (bytes.len() as u64, bytes)
        }
        TagValue::Short(values) => bytes(values, u16::to_le_bytes),
        TagValue::Long(values) => bytes(values, u32::to_le_bytes),
        TagValue::Double(values) => bytes(values, f64::to_le_bytes),
        TagValue::Long8(values) => bytes(values, u64::to_le_bytes),
        // No other kinds are made here.
        _ => (0, Vec::new()),
    };
    (code, count, bytes)
}

/// Bytes of an entry, of the count before the entries with the offset after them, of the file's header, and of a value that lies in its entry.
const fn sizes(is_big: bool) -> (u64, u64, u64, usize) {
    if is_big { (20, 16, 16, 8) } else { (12, 6, 8, 4) }
}

/// Bytes of the header and all directories with their values.
fn directories_size(directories: &[Vec<Tag>], is_big: bool) -> u64 {
    let (entry, around, header, inline) = sizes(is_big);
    let values = |tag: &Tag| {
        let length = encoded(&tag.value).2.len();
        if length > inline { length.next_multiple_of(8) as u64 } else { 0 }
    };
    let of = |tags: &Vec<Tag>| {
        (around + entry * tags.len() as u64).next_multiple_of(8) + tags.iter().map(values).sum::<u64>()
    };
    header + directories.iter().map(of).sum::<u64>()
}

/// The header and all directories, each followed by its long values.
#[expect(clippy::cast_possible_truncation, reason = "the caller chose the kind of file whose numbers hold the sizes")]
fn encode(directories: &[Vec<Tag>], is_big: bool) -> Vec<u8> {
    let (entry, around, header, inline) = sizes(is_big);
    let number = |out: &mut Vec<u8>, value: u64| {
        if is_big {
            out.extend(value.to_le_bytes());
        } else {
            out.extend((value as u32).to_le_bytes());
        }
    };
    let mut out = b"II".to_vec();
    if is_big {
        out.extend([43, 0, 8, 0, 0, 0]);
    } else {
        out.extend([42, 0]);
    }
    number(&mut out, header);
    for (position, tags) in directories.iter().enumerate() {
        let start = out.len() as u64;
        let mut values_at = start + (around + entry * tags.len() as u64).next_multiple_of(8);
        let mut values = Vec::new();
        if is_big {
            out.extend((tags.len() as u64).to_le_bytes());
        } else {
            out.extend((tags.len() as u16).to_le_bytes());
        }
        for tag in tags {
            let (kind, count, mut bytes) = encoded(&tag.value);
            out.extend(tag.code.to_le_bytes());
            out.extend(kind.to_le_bytes());
            number(&mut out, count);
            if bytes.len() > inline {
                number(&mut out, values_at);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                values_at += bytes.len() as u64;
                values.extend(bytes);
            } else {
                bytes.resize(inline, 0);
                out.extend(bytes);
            }
        }
        let next = if position + 1 < directories.len() { values_at } else { 0 };
        number(&mut out, next);
        out.resize((out.len() as u64 - start).next_multiple_of(8) as usize + start as usize, 0);
        out.extend(values);
    }
    out
}

#[cfg(test)]
#[path = "cog_tests.rs"]
mod tests;
