//! GeoTIFF out: bands on the grid of an input, with the input's georeference.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use rayon::prelude::*;
use tiff_core::{ByteOrder, Compression, ExtraSample, PlanarConfiguration, Predictor, Tag, TagValue};
use tiff_writer::compress::{BlockEncodingOptions, compress_block};
use tiff_writer::{Error as TiffWriteError, ImageBuilder, TiffWriteSample, TiffWriter, WriteOptions};

use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::gdal_metadata::{self, Item};
use crate::raster::geo_keys::GeoKeys;
use crate::raster::grid::Grid;

/// Rows and columns of a tile.
const TILE: usize = 256;

/// Tiles compressed at once: enough for the cores, little in memory.
const BATCH: usize = 64;

/// What a raster says about itself (GDAL_METADATA).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The band's name.
    pub description: Option<String>,
    /// Names and values for the whole file, such as model, weights hash, device and precision.
    pub items: Vec<(String, String)>,
}

/// Writes bytes (classes) as a one-band GeoTIFF: deflate, tiles of 256 x 256, the grid's transform and GeoTIFF keys as they were read.
///
/// `values` has `grid.height` rows of `grid.width` bytes. An existing file is overwritten; to write whole files or none, use
/// [`crate::atomic_file::StagedFiles`].
///
/// # Errors
/// The number of values is not the grid's, the raster is empty or too large for TIFF, or the file cannot be written.
pub fn write_bytes(path: impl AsRef<Path>, grid: &Grid, values: &[u8], nodata: u8, metadata: &Metadata) -> Result<()> {
    let mut seen = [false; 256];
    for value in values {
        seen[usize::from(*value)] = true;
    }
    // Differences help where bytes vary gradually. A few classes compress better as they are.
    let gradual = seen.iter().filter(|seen| **seen).count() > 16;
    let predictor = if gradual { Predictor::Horizontal } else { Predictor::None };
    write(path.as_ref(), grid, &[values], (nodata, &nodata.to_string()), predictor, &items(metadata))
}

/// Writes floats (confidences) as a one-band GeoTIFF with NaN as nodata; otherwise as [`write_bytes`].
///
/// # Errors
/// As [`write_bytes`].
pub fn write_floats(path: impl AsRef<Path>, grid: &Grid, values: &[f32], metadata: &Metadata) -> Result<()> {
    write(path.as_ref(), grid, &[values], (f32::NAN, "nan"), Predictor::FloatingPoint, &items(metadata))
}

/// Writes several bands of floats, each with its name, one plane after the other; otherwise as [`write_floats`].
///
/// # Errors
/// As [`write_bytes`]; also if there are no bands or more than 65535.
pub fn write_bands(
    path: impl AsRef<Path>,
    grid: &Grid,
    bands: &[(&str, &[f32])],
    metadata: &[(String, String)],
) -> Result<()> {
    let mut items = file_items(metadata);
    items.extend(bands.iter().enumerate().map(|(band, (name, _))| description(band, name)));
    let values: Vec<&[f32]> = bands.iter().map(|(_, values)| *values).collect();
    write(path.as_ref(), grid, &values, (f32::NAN, "nan"), Predictor::FloatingPoint, &items)
}

/// Writes one band of unsigned 16-bit integers, 0 without data, as satellite products are; otherwise as [`write_bytes`].
///
/// # Errors
/// As [`write_bytes`].
pub fn write_digital_numbers(path: impl AsRef<Path>, grid: &Grid, values: &[u16], metadata: &Metadata) -> Result<()> {
    write(path.as_ref(), grid, &[values], (0, "0"), Predictor::Horizontal, &items(metadata))
}

/// `(fill, nodata)` is the value without data, as a sample and as text.
fn write<T: TiffWriteSample + Sync>(
    path: &Path,
    grid: &Grid,
    bands: &[&[T]],
    (fill, nodata): (T, &str),
    predictor: Predictor,
    items: &[Item],
) -> Result<()> {
    if let Some(wrong) = bands.iter().find(|values| values.len() != grid.len()) {
        let expected = format!("{} x {} pixels", grid.width, grid.height);
        return Err(Error::shape("write a raster", format!("{} values", wrong.len()), expected));
    }
    let Some(samples) = u16::try_from(bands.len()).ok().filter(|samples| *samples > 0) else {
        return Err(Error::shape("write a raster", format!("{} bands", bands.len()), "1 to 65535 bands"));
    };
    let size = |length: usize| u32::try_from(length).ok().filter(|length| *length > 0);
    let (Some(width), Some(height)) = (size(grid.width), size(grid.height)) else {
        return Err(Error::bad_argument(
            format!("a raster of {} x {} pixels", grid.width, grid.height),
            "1 to 4294967295 pixels each way",
            "choose another area",
        ));
    };
    let tiled = grid.width > TILE || grid.height > TILE;
    let mut image =
        ImageBuilder::new(width, height).sample_type::<T>().compression(Compression::Deflate).predictor(predictor);
    image = if tiled {
        let tile = u32::try_from(TILE).unwrap_or(256);
        image.tiles(tile, tile)
    } else {
        image.strips(height)
    };
    if samples > 1 {
        // One plane per band: a reader of one band touches no other.
        image = image
            .samples_per_pixel(samples)
            .planar_configuration(PlanarConfiguration::Planar)
            .extra_samples(vec![ExtraSample::Unspecified; usize::from(samples) - 1]);
    }
    for tag in georeference_tags(grid) {
        image = image.tag(tag);
    }
    if !items.is_empty() {
        image = image.tag(Tag::new(42112, TagValue::Ascii(gdal_metadata::format(items))));
    }
    image = image.tag(Tag::new(42113, TagValue::Ascii(nodata.to_string())));

    let fail = |error: TiffWriteError| match error {
        TiffWriteError::Io(source) => Error::io("write", path, source),
        other => Error::io("write", path, std::io::Error::other(other.to_string())),
    };
    let file = File::create(path).map_err(|e| Error::io("create", path, e))?;
    let mut writer = TiffWriter::new(BufWriter::new(file), WriteOptions::default()).map_err(fail)?;
    let handle = writer.add_image(image).map_err(fail)?;
    let (block_width, block_height) = if tiled { (TILE, TILE) } else { (grid.width, grid.height) };
    let across = grid.width.div_ceil(block_width);
    let per_band = across * grid.height.div_ceil(block_height);
    let count = per_band * bands.len();
    for start in (0..count).step_by(BATCH) {
        let batch: Vec<_> = (start..(start + BATCH).min(count))
            .into_par_iter()
            .map(|index| {
                let (band, place) = (index / per_band, index % per_band);
                let (left, top) = ((place % across) * block_width, (place / across) * block_height);
                let block = cut(bands[band], grid, left, top, (block_width, block_height), fill);
                let options = BlockEncodingOptions {
                    byte_order: ByteOrder::LittleEndian,
                    compression: Compression::Deflate,
                    predictor,
                    samples_per_pixel: 1,
                    row_width_pixels: block_width,
                    jpeg_options: None,
                    jpeg_sampling: None,
                    deflate_level: None,
                };
                compress_block(&block, options, index)
            })
            .collect();
        for (index, block) in (start..).zip(batch) {
            writer.write_block_raw(&handle, index, &block.map_err(fail)?).map_err(fail)?;
        }
    }
    let buffer = writer.finish().map_err(fail)?;
    // Dropping the buffer would swallow an error of its last write (disk full).
    buffer.into_inner().map_err(|e| Error::io("write", path, e.into_error()))?;
    Ok(())
}

/// One block of the raster; what reaches beyond its edge is filled.
fn cut<T: Copy>(
    values: &[T],
    grid: &Grid,
    left: usize,
    top: usize,
    (width, height): (usize, usize),
    fill: T,
) -> Vec<T> {
    let mut block = vec![fill; width * height];
    let inside = width.min(grid.width - left);
    for (row, line) in block.chunks_exact_mut(width).enumerate().take(grid.height - top) {
        let start = (top + row) * grid.width + left;
        line[..inside].copy_from_slice(&values[start..start + inside]);
    }
    block
}

/// The tags that place the grid: pixel scale and tie point where they suffice, else the matrix, and the GeoTIFF keys verbatim.
pub(super) fn georeference_tags(grid: &Grid) -> Vec<Tag> {
    let keys = grid.crs.as_ref().map_or_else(GeoKeys::default, keys_of);
    let t = &grid.transform;
    let mut tags = Vec::new();
    if grid.crs.is_some() || *t != [1.0, 0.0, 0.0, 0.0, 1.0, 0.0] {
        let shift = if keys.pixel_is_point() { 0.5 } else { 0.0 };
        let (x, y) = (t[2] + shift * (t[0] + t[1]), t[5] + shift * (t[3] + t[4]));
        if t[1] == 0.0 && t[3] == 0.0 && t[0] > 0.0 && t[4] < 0.0 {
            tags.push(Tag::new(33550, TagValue::Double(vec![t[0], -t[4], 0.0])));
            tags.push(Tag::new(33922, TagValue::Double(vec![0.0, 0.0, 0.0, x, y, 0.0])));
        } else {
            let matrix = vec![t[0], t[1], 0.0, x, t[3], t[4], 0.0, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
            tags.push(Tag::new(34264, TagValue::Double(matrix)));
        }
    }
    if !keys.directory.is_empty() {
        tags.push(Tag::new(34735, TagValue::Short(keys.directory)));
        if !keys.doubles.is_empty() {
            tags.push(Tag::new(34736, TagValue::Double(keys.doubles)));
        }
        if !keys.ascii.is_empty() {
            tags.push(Tag::new(34737, TagValue::Ascii(keys.ascii)));
        }
    }
    tags
}

/// The keys a CRS came with; for one made from a code alone, keys that name the code.
fn keys_of(crs: &Crs) -> GeoKeys {
    match (crs.keys.directory.is_empty(), crs.epsg.and_then(|code| u16::try_from(code).ok())) {
        (true, Some(code)) => GeoKeys::for_epsg(code, crs.geographic, &crs.name),
        _ => crs.keys.clone(),
    }
}

/// The items of a raster with one band.
pub(super) fn items(metadata: &Metadata) -> Vec<Item> {
    let mut items = file_items(&metadata.items);
    items.extend(metadata.description.iter().map(|name| description(0, name)));
    items
}

fn file_items(pairs: &[(String, String)]) -> Vec<Item> {
    pairs.iter().map(|(name, value)| Item { name: name.clone(), value: value.clone(), ..Item::default() }).collect()
}

/// The item that names a band.
fn description(band: usize, name: &str) -> Item {
    Item { name: "DESCRIPTION".into(), sample: Some(band), role: "description".into(), value: name.to_owned() }
}
