//! GeoTIFF in: any window of any band as physical values.
//!
//! Formats: TIFF 6.0 and BigTIFF, GeoTIFF 1.1 (OGC 19-008r4), GDAL's tags for nodata, scale, offset and band names. Files are
//! untrusted: all tags are checked when a file is opened, and no buffer is larger than the checked size of a block.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use tiff_reader::{OpenOptions, TiffError, TiffFile};

use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::grid::{Grid, Window};
use crate::raster::tags::{self, Blocks, Layout, MAX_BLOCK_BYTES};

/// How a file stores its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleType {
    /// Unsigned 8-bit integers (fewer bits count as these).
    UInt8,
    /// Signed 8-bit integers.
    Int8,
    /// Unsigned 16-bit integers (9 to 15 bits count as these).
    UInt16,
    /// Signed 16-bit integers.
    Int16,
    /// Unsigned 32-bit integers.
    UInt32,
    /// Signed 32-bit integers.
    Int32,
    /// IEEE 754 single precision.
    Float32,
    /// IEEE 754 double precision.
    Float64,
}

impl SampleType {
    /// Bytes of one sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::UInt8 | Self::Int8 => 1,
            Self::UInt16 | Self::Int16 => 2,
            Self::UInt32 | Self::Int32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// Whether samples are integers.
    #[must_use]
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::Float32 | Self::Float64)
    }

    /// Whether a sample can have this value; floats are rounded.
    fn holds(self, value: f64) -> bool {
        let (least, greatest) = match self {
            Self::UInt8 => (0.0, f64::from(u8::MAX)),
            Self::Int8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
            Self::UInt16 => (0.0, f64::from(u16::MAX)),
            Self::Int16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Self::UInt32 => (0.0, f64::from(u32::MAX)),
            Self::Int32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Self::Float32 | Self::Float64 => return true,
        };
        (least..=greatest).contains(&value) && value.fract() == 0.0
    }
}

impl fmt::Display for SampleType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UInt8 => "uint8",
            Self::Int8 => "int8",
            Self::UInt16 => "uint16",
            Self::Int16 => "int16",
            Self::UInt32 => "uint32",
            Self::Int32 => "int32",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        })
    }
}

/// One band of a raster file.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    /// How the samples are stored.
    pub sample_type: SampleType,
    /// The raw value that means "no data".
    pub nodata: Option<f64>,
    /// Physical value = raw value * scale + offset.
    pub scale: f64,
    /// See [`Band::scale`].
    pub offset: f64,
    /// The band's name, such as `B02` or `Blue`.
    pub description: Option<String>,
}

/// An open GeoTIFF file. Reading takes `&self`, so threads can share it; decoded blocks are cached (64 MiB).
pub struct RasterFile {
    path: PathBuf,
    tiff: TiffFile,
    image: usize,
    mask: Option<usize>,
    grid: Grid,
    bands: Vec<Band>,
    /// A raw value that means "no data" besides that of the bands.
    other_nodata: Option<f64>,
    blocks: Blocks,
}

impl fmt::Debug for RasterFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RasterFile")
            .field("path", &self.path)
            .field("grid", &self.grid)
            .field("bands", &self.bands)
            .finish_non_exhaustive()
    }
}

impl RasterFile {
    /// Opens a GeoTIFF file and checks its tags. Of a file with several images (overviews, masks), the full-resolution one is read.
    ///
    /// A file without georeference has the identity as its transform and no CRS.
    ///
    /// # Errors
    /// The file cannot be opened, is not a TIFF file, is truncated or contradicts itself, or has a sample type, compression or
    /// georeference that is not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let metadata = fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        // Opening a pipe would wait for a writer.
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(Error::bad_file(path, found, "a GeoTIFF file", "give the path of a .tif file"));
        }
        if metadata.len() == 0 {
            let remedy = "download or write it again";
            return Err(Error::bad_file(path, "an empty file", "a GeoTIFF file", remedy));
        }
        let tiff = TiffFile::open_with_options(path, open_options()).map_err(|e| open_error(path, e))?;
        let image = tags::main_image(tiff.ifds());
        let ifd = tiff.ifd(image).map_err(|e| open_error(path, e))?;
        let refuse = |refusal: tags::Refusal| Error::bad_file(path, refusal.found, refusal.expected, refusal.remedy);
        let layout = tags::layout(ifd, metadata.len()).map_err(refuse)?;
        let bands = tags::bands(ifd, &layout).map_err(refuse)?;
        let mask = tags::mask_image(tiff.ifds(), image);
        if let Some(mask) = mask {
            let ifd = tiff.ifd(mask).map_err(|e| open_error(path, e))?;
            let Layout { bands, sample_type, .. } = tags::layout(ifd, metadata.len()).map_err(refuse)?;
            if bands != 1 || sample_type != SampleType::UInt8 {
                let found = format!("a mask of {bands} bands of {sample_type}");
                return Err(Error::bad_file(path, found, "one band of 1 or 8 bits", "write the file again"));
            }
        }
        let keys = tags::geo_keys(ifd);
        let transform = tags::transform(ifd, keys.pixel_is_point()).map_err(refuse)?;
        let Layout { width, height, blocks, .. } = layout;
        let grid = Grid { width, height, transform, crs: Crs::from_geo_keys(keys) };
        Ok(Self { path: path.to_path_buf(), tiff, image, mask, grid, bands, other_nodata: None, blocks })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size, position and CRS.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The bands, in the file's order.
    #[must_use]
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Replaces scale and offset of all bands, each where it is given: for files whose metadata are missing or wrong.
    ///
    /// # Errors
    /// The scale is 0, or one of the two is not finite.
    pub fn set_scale(&mut self, scale: Option<f64>, offset: Option<f64>) -> Result<()> {
        if scale.is_some_and(|scale| !scale.is_finite() || scale == 0.0) || offset.is_some_and(|o| !o.is_finite()) {
            let show = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
            return Err(Error::bad_argument(
                format!("scale {} and offset {}", show(scale), show(offset)),
                "finite numbers, and a scale that is not 0",
                "give 0.0001 and 0, say",
            ));
        }
        for band in &mut self.bands {
            band.scale = scale.unwrap_or(band.scale);
            band.offset = offset.unwrap_or(band.offset);
        }
        Ok(())
    }

    /// Makes a raw value mean "no data" in all bands, besides the file's own: for files that do not mark their fill.
    ///
    /// # Errors
    /// A band's samples cannot hold the value.
    pub fn set_nodata(&mut self, value: f64) -> Result<()> {
        if let Some(band) = self.bands.iter().find(|band| !band.sample_type.holds(value)) {
            return Err(Error::bad_argument(
                format!("the nodata value {value} for {}, whose samples are {}", self.path.display(), band.sample_type),
                "a value as it is stored, before scale and offset",
                "give 0, say",
            ));
        }
        // Where the file has none, the band shows the new one.
        for band in &mut self.bands {
            band.nodata = band.nodata.or(Some(value));
        }
        self.other_nodata = Some(value);
        Ok(())
    }

    /// Names and values that the file says of itself (GDAL_METADATA), such as `SENSOR`.
    #[must_use]
    pub fn items(&self) -> Vec<(String, String)> {
        self.tiff.ifd(self.image).map(tags::items).unwrap_or_default()
    }

    /// Columns and rows of a strip or tile: what is read at once at the least.
    #[must_use]
    pub fn block_size(&self) -> (usize, usize) {
        (self.blocks.width, self.blocks.height)
    }

    /// Physical values (raw * scale + offset) of a window of one band (from 0), row by row; NaN where the file has no data:
    /// the nodata value, that of [`RasterFile::set_nodata`], or 0 in its mask.
    ///
    /// Only the strips or tiles that the window touches are read.
    ///
    /// # Errors
    /// There is no such band, the window reaches outside, memory does not suffice, or the pixels are damaged.
    pub fn read_window(&self, band: usize, window: Window) -> Result<Vec<f32>> {
        let Some(properties) = self.bands.get(band) else {
            return Err(Error::bad_file(
                &self.path,
                format!("{} bands", self.bands.len()),
                format!("a band {}", band + 1),
                "choose one of its bands",
            ));
        };
        let inside =
            |start: usize, length: usize, size: usize| start.checked_add(length).is_some_and(|end| end <= size);
        let Grid { width, height, .. } = self.grid;
        if !inside(window.row, window.height, height) || !inside(window.col, window.width, width) {
            return Err(Error::bad_argument(
                format!("a window of {} x {} pixels at ({}, {})", window.width, window.height, window.col, window.row),
                format!("one inside the {width} x {height} pixels of {}", self.path.display()),
                "choose a smaller window",
            ));
        }
        let mut values = Vec::new();
        // The product cannot overflow: width and height came from 32-bit tags.
        values.try_reserve_exact(window.width * window.height).map_err(|_| {
            Error::bad_argument(
                format!("a window of {} x {} pixels", window.width, window.height),
                "one that fits into memory",
                "read it in smaller windows",
            )
        })?;
        if window.width == 0 || window.height == 0 {
            return Ok(values);
        }
        // Raw bytes are decoded a few rows of blocks at a time, to hold little besides the result.
        let row_bytes = window.width * properties.sample_type.bytes();
        let rows_at_once = ((16 << 20) / row_bytes / self.blocks.height).max(1) * self.blocks.height;
        let end = window.row + window.height;
        let mut row = window.row;
        while row < end {
            let next =
                ((row / rows_at_once + 1) * rows_at_once).min(end).min(row + (MAX_BLOCK_BYTES / row_bytes).max(1));
            let raw = self
                .tiff
                .read_band_window_bytes(self.image, band, row, window.col, next - row, window.width)
                .map_err(|e| self.read_error(&e))?;
            append_physical(&mut values, &raw, properties, self.other_nodata);
            if let Some(mask) = self.mask {
                let shown = self
                    .tiff
                    .read_band_window_bytes(mask, 0, row, window.col, next - row, window.width)
                    .map_err(|e| self.read_error(&e))?;
                let rows = (row - window.row) * window.width;
                for (value, _) in values[rows..].iter_mut().zip(&shown).filter(|(_, shown)| **shown == 0) {
                    *value = f32::NAN;
                }
            }
            row = next;
        }
        if properties.nodata.is_some() {
            self.blank_absent_blocks(&mut values, band, window);
        }
        Ok(values)
    }

    /// Puts NaN where the file leaves blocks out, which the decoder fills with zeros.
    fn blank_absent_blocks(&self, values: &mut [f32], band: usize, window: Window) {
        let blocks = &self.blocks;
        if blocks.absent.is_empty() {
            return;
        }
        let plane = if blocks.planar { band * blocks.per_plane } else { 0 };
        let rows = window.row / blocks.height..(window.row + window.height).div_ceil(blocks.height);
        let cols = window.col / blocks.width..(window.col + window.width).div_ceil(blocks.width);
        for block_row in rows {
            for block_col in cols.clone() {
                if !blocks.absent[plane + block_row * blocks.across + block_col] {
                    continue;
                }
                let top = (block_row * blocks.height).max(window.row) - window.row;
                let bottom = ((block_row + 1) * blocks.height).min(window.row + window.height) - window.row;
                let left = (block_col * blocks.width).max(window.col) - window.col;
                let right = ((block_col + 1) * blocks.width).min(window.col + window.width) - window.col;
                for row in top..bottom {
                    values[row * window.width + left..row * window.width + right].fill(f32::NAN);
                }
            }
        }
    }

    fn read_error(&self, error: &TiffError) -> Error {
        Error::bad_file(
            &self.path,
            format!("pixels that cannot be decoded ({error})"),
            "an undamaged file",
            "download or write it again",
        )
    }
}

/// Limits on what a file's tags can make the decoder allocate.
fn open_options() -> OpenOptions {
    let mut options =
        OpenOptions { decode_output_bytes: MAX_BLOCK_BYTES, block_cache_slots: 8192, ..OpenOptions::default() };
    // A scene of 2^16 x 2^16 pixels in tiles of 256 has 65,536 tiles: 0.5 MiB of offsets.
    options.parse_budgets.max_ifds = 256;
    options.parse_budgets.max_ifd_entries = 4096;
    options.parse_budgets.max_tag_value_bytes = 64 << 20;
    options.parse_budgets.max_metadata_value_bytes = 128 << 20;
    options
}

fn open_error(path: &Path, error: TiffError) -> Error {
    match error {
        TiffError::Io(source, _) => Error::io("read", path, source),
        TiffError::InvalidMagic | TiffError::UnsupportedVersion(_) => Error::bad_file(
            path,
            "a file that is not a TIFF file",
            "a GeoTIFF file",
            "convert it with gdal_translate, or check the path",
        ),
        error => Error::bad_file(
            path,
            format!("a TIFF file whose tags cannot be read ({error})"),
            "a whole GeoTIFF file",
            "the file is truncated or corrupt: download or write it again",
        ),
    }
}

/// Decodes raw samples in the machine's byte order and appends their physical values.
fn append_physical(values: &mut Vec<f32>, raw: &[u8], band: &Band, other: Option<f64>) {
    let marks = [band.nodata, other];
    match band.sample_type {
        SampleType::UInt8 => append(values, raw, band, marks, |[b]: [u8; 1]| f64::from(b)),
        SampleType::Int8 => append(values, raw, band, marks, |b| f64::from(i8::from_ne_bytes(b))),
        SampleType::UInt16 => append(values, raw, band, marks, |b| f64::from(u16::from_ne_bytes(b))),
        SampleType::Int16 => append(values, raw, band, marks, |b| f64::from(i16::from_ne_bytes(b))),
        SampleType::UInt32 => append(values, raw, band, marks, |b| f64::from(u32::from_ne_bytes(b))),
        SampleType::Int32 => append(values, raw, band, marks, |b| f64::from(i32::from_ne_bytes(b))),
        SampleType::Float32 => {
            // The tag's decimal text may have more digits than a sample can hold.
            #[expect(clippy::cast_possible_truncation, reason = "rounding to the samples' precision is the purpose")]
            let marks = marks.map(|mark| mark.map(|value| f64::from(value as f32)));
            append(values, raw, band, marks, |b| f64::from(f32::from_ne_bytes(b)));
        }
        SampleType::Float64 => append(values, raw, band, marks, f64::from_ne_bytes),
    }
}

/// `nodata` and `other` are raw values that mean "no data".
fn append<const BYTES: usize>(
    values: &mut Vec<f32>,
    raw: &[u8],
    band: &Band,
    [nodata, other]: [Option<f64>; 2],
    decode: impl Fn([u8; BYTES]) -> f64,
) {
    let (scale, offset) = (band.scale, band.offset);
    let (samples, _) = raw.as_chunks::<BYTES>();
    values.extend(samples.iter().map(|bytes| {
        let raw = decode(*bytes);
        if Some(raw) == nodata || Some(raw) == other {
            return f32::NAN;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the network computes in single precision")]
        let physical = (raw * scale + offset) as f32;
        physical
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_nodata_values_are_left_out() {
        let raw: Vec<u8> = [0_i16, 5, -9999, 7].into_iter().flat_map(i16::to_ne_bytes).collect();
        let band =
            Band { sample_type: SampleType::Int16, nodata: Some(-9999.0), scale: 0.5, offset: -1.0, description: None };
        let known = |other: Option<f64>| {
            let mut values = Vec::new();
            append_physical(&mut values, &raw, &band, other);
            values.into_iter().map(|v| (!v.is_nan()).then_some(v)).collect::<Vec<_>>()
        };
        assert_eq!(known(None), [Some(-1.0), Some(1.5), None, Some(2.5)]);
        assert_eq!(known(Some(0.0)), [None, Some(1.5), None, Some(2.5)]);
    }

    #[test]
    fn values_that_samples_can_have() {
        assert!(SampleType::UInt16.holds(0.0) && SampleType::Float32.holds(f64::NAN));
        assert!(SampleType::Int16.holds(-32_768.0) && !SampleType::Int16.holds(32_768.0));
        assert!(!SampleType::UInt8.holds(-1.0) && !SampleType::UInt8.holds(0.5) && !SampleType::UInt8.holds(f64::NAN));
    }
}
