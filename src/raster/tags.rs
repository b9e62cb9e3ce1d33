//! What the tags of one TIFF image say: layout of the blocks, sample type, georeference, bands. Everything is checked here, once,
//! before any pixel is read: the files are untrusted.

use tiff_core::{Compression, TagValue};
use tiff_reader::Ifd;

use crate::raster::gdal_metadata;
use crate::raster::geo_keys::GeoKeys;
use crate::raster::read::{Band, SampleType};

const NEW_SUBFILE_TYPE: u16 = 254;
const PHOTOMETRIC_YCBCR: u16 = 6;
const MODEL_PIXEL_SCALE: u16 = 33550;
const MODEL_TIEPOINT: u16 = 33922;
const MODEL_TRANSFORMATION: u16 = 34264;
const GEO_KEY_DIRECTORY: u16 = 34735;
const GEO_DOUBLE_PARAMS: u16 = 34736;
const GEO_ASCII_PARAMS: u16 = 34737;
const GDAL_METADATA: u16 = 42112;
const GDAL_NODATA: u16 = 42113;

/// The most bytes that one decoded strip or tile may have.
pub(crate) const MAX_BLOCK_BYTES: usize = 512 << 20;

/// The most bands a file may have. Hyperspectral scenes have hundreds.
const MAX_BANDS: usize = 10_000;

/// Why a file is refused: what was found, what was expected, what to do.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) found: String,
    pub(crate) expected: String,
    pub(crate) remedy: String,
}

impl Refusal {
    fn new(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), remedy: remedy.into() }
    }
}

type Checked<T> = Result<T, Refusal>;

/// The strips or tiles of an image.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Columns of a block; the image's width for strips.
    pub(crate) width: usize,
    /// Rows of a block.
    pub(crate) height: usize,
    /// Blocks side by side.
    pub(crate) across: usize,
    /// Blocks of one plane.
    pub(crate) per_plane: usize,
    /// Whether each band has its own blocks.
    pub(crate) planar: bool,
    /// Blocks the file leaves out ("sparse"), which stand for nodata; empty if there are none.
    pub(crate) absent: Vec<bool>,
}

/// Layout and sample type of an image.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bands: usize,
    pub(crate) sample_type: SampleType,
    pub(crate) blocks: Blocks,
}

/// The full-resolution image: the first that is not marked as an overview or a mask.
pub(crate) fn main_image(ifds: &[Ifd]) -> usize {
    let reduced =
        |ifd: &Ifd| ifd.tag(NEW_SUBFILE_TYPE).and_then(|tag| tag.value.as_u64()).is_some_and(|flags| flags & 5 != 0);
    ifds.iter().position(|ifd| !reduced(ifd)).unwrap_or(0)
}

/// The mask of the full-resolution image `main`, whose pixels are 0 where it has no data: GDAL's internal mask.
pub(crate) fn mask_image(ifds: &[Ifd], main: usize) -> Option<usize> {
    let flags = |ifd: &Ifd| ifd.tag(NEW_SUBFILE_TYPE).and_then(|tag| tag.value.as_u64()).unwrap_or(0);
    let size = |ifd: &Ifd| (ifd.width(), ifd.height());
    let main = size(ifds.get(main)?);
    // Masks of overviews are marked as reduced too.
    ifds.iter().position(|ifd| flags(ifd) & 5 == 4 && size(ifd) == main)
}

/// Checks the layout tags against each other and against the file's length.
pub(crate) fn layout(ifd: &Ifd, file_length: u64) -> Checked<Layout> {
    let layout = ifd.raster_layout().map_err(|e| {
        Refusal::new(
            format!("a TIFF image that cannot be read ({e})"),
            "a consistent image of integers or floating-point numbers, all bands alike",
            "convert it with gdal_translate -ot Float32, or write it again if it is corrupt",
        )
    })?;
    let sample_type = sample_type(layout.sample_format, layout.bits_per_sample)?;
    check_compression(ifd)?;
    if layout.samples_per_pixel > MAX_BANDS {
        return Err(Refusal::new(
            format!("{} bands", layout.samples_per_pixel),
            format!("at most {MAX_BANDS}"),
            "check that the file is what it should be",
        ));
    }
    let (offsets, counts, width, height) = if ifd.is_tiled() {
        (ifd.tile_offsets(), ifd.tile_byte_counts(), ifd.tile_width(), ifd.tile_height())
    } else {
        // RowsPerStrip is often 2^32 - 1, which means one strip.
        let rows = ifd.rows_per_strip().min(ifd.height());
        (ifd.strip_offsets(), ifd.strip_byte_counts(), Some(ifd.width()), Some(rows))
    };
    let size = |value: Option<u32>| value.and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0);
    let (Some(offsets), Some(counts), Some(width), Some(height)) = (offsets, counts, size(width), size(height)) else {
        return Err(broken("a TIFF image without usable strip or tile tags"));
    };
    let planar = layout.planar_configuration == 2;
    let across = layout.width.div_ceil(width);
    let per_plane = across.saturating_mul(layout.height.div_ceil(height));
    let wanted = if planar { per_plane.saturating_mul(layout.samples_per_pixel) } else { per_plane };
    if offsets.len() != wanted || counts.len() != wanted {
        return Err(broken(format!(
            "an image of {} x {} pixels whose {wanted} strips or tiles have {} offsets and {} lengths",
            layout.width,
            layout.height,
            offsets.len(),
            counts.len()
        )));
    }
    let block_bytes = [width, height, layout.bytes_per_sample, if planar { 1 } else { layout.samples_per_pixel }]
        .iter()
        .try_fold(1_usize, |product, factor| product.checked_mul(*factor));
    if block_bytes.is_none_or(|bytes| bytes > MAX_BLOCK_BYTES) {
        return Err(Refusal::new(
            format!("strips or tiles of {width} x {height} pixels"),
            format!("at most {} MiB each", MAX_BLOCK_BYTES >> 20),
            "rewrite the file with gdal_translate -co TILED=YES -co COMPRESS=DEFLATE",
        ));
    }
    let end = offsets.iter().zip(&counts).map(|(offset, count)| offset.saturating_add(*count)).max().unwrap_or(0);
    if end > file_length {
        return Err(Refusal::new(
            format!("{file_length} bytes, where the pixels reach to byte {end}"),
            "the whole file",
            "the file is truncated or corrupt: download or copy it again",
        ));
    }
    let absent: Vec<bool> = offsets.iter().zip(&counts).map(|(offset, count)| *offset == 0 || *count == 0).collect();
    let absent = if absent.contains(&true) { absent } else { Vec::new() };
    Ok(Layout {
        width: layout.width,
        height: layout.height,
        bands: layout.samples_per_pixel,
        sample_type,
        blocks: Blocks { width, height, across, per_plane, planar, absent },
    })
}

fn broken(found: impl Into<String>) -> Refusal {
    Refusal::new(found, "a consistent TIFF file", "the file is corrupt or not a raster: download or write it again")
}

fn sample_type(format: u16, bits: u16) -> Checked<SampleType> {
    Ok(match (format, bits) {
        // Fewer bits arrive unpacked into whole bytes.
        (1, 1..=8) => SampleType::UInt8,
        (1, 9..=16) => SampleType::UInt16,
        (1, 32) => SampleType::UInt32,
        (2, 8) => SampleType::Int8,
        (2, 16) => SampleType::Int16,
        (2, 32) => SampleType::Int32,
        (3, 32) => SampleType::Float32,
        (3, 64) => SampleType::Float64,
        _ => {
            let kind = match format {
                1 => "unsigned integers",
                2 => "signed integers",
                _ => "floating-point numbers",
            };
            return Err(Refusal::new(
                format!("{bits}-bit {kind}"),
                "integers of up to 32 bits, or floating-point numbers of 32 or 64 bits",
                "convert the file with gdal_translate -ot Float32",
            ));
        }
    })
}

fn check_compression(ifd: &Ifd) -> Checked<()> {
    let compression = Compression::from_code(ifd.compression());
    let supported = [
        Compression::None,
        Compression::Lzw,
        Compression::Deflate,
        Compression::DeflateOld,
        Compression::PackBits,
        Compression::Zstd,
        Compression::Jpeg,
    ];
    if compression.is_none_or(|compression| !supported.contains(&compression)) {
        let name = compression.map_or("unknown", Compression::name);
        return Err(Refusal::new(
            format!("compression {} ({name})", ifd.compression()),
            "none, LZW, Deflate, Zstandard, PackBits or JPEG",
            "rewrite the file with gdal_translate -co COMPRESS=DEFLATE",
        ));
    }
    // JPEG streams are turned into red, green and blue; in other files the bands would be luma and chroma.
    if ifd.photometric_interpretation() == Some(PHOTOMETRIC_YCBCR) && compression != Some(Compression::Jpeg) {
        return Err(Refusal::new(
            "luma and chroma instead of bands (photometric YCbCr)",
            "one plane per band",
            "rewrite the file with gdal_translate -co PHOTOMETRIC=RGB",
        ));
    }
    Ok(())
}

fn doubles(ifd: &Ifd, code: u16) -> Option<&[f64]> {
    match &ifd.tag(code)?.value {
        TagValue::Double(values) => Some(values),
        _ => None,
    }
}

fn text(ifd: &Ifd, code: u16) -> Option<&str> {
    match &ifd.tag(code)?.value {
        TagValue::Ascii(text) => Some(text),
        TagValue::Byte(bytes) | TagValue::Undefined(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// The GeoTIFF key tags.
pub(crate) fn geo_keys(ifd: &Ifd) -> GeoKeys {
    let directory = match ifd.tag(GEO_KEY_DIRECTORY).map(|tag| &tag.value) {
        Some(TagValue::Short(values)) => values.clone(),
        _ => Vec::new(),
    };
    GeoKeys {
        directory,
        doubles: doubles(ifd, GEO_DOUBLE_PARAMS).unwrap_or_default().to_vec(),
        // The decoder puts a three-byte mark for each byte that is not UTF-8 (Latin-1 names). One byte in its place keeps the
        // offsets of the directory right.
        ascii: text(ifd, GEO_ASCII_PARAMS).unwrap_or_default().replace('\u{fffd}', "?"),
    }
}

/// The affine transform of pixel corners, in the order of [`crate::raster::Grid::transform`]; the identity where the file has none.
///
/// Pixel scale and tie point win over the matrix, and tie points of `RasterPixelIsPoint` files mark pixel centres, as in GDAL.
pub(crate) fn transform(ifd: &Ifd, pixel_is_point: bool) -> Checked<[f64; 6]> {
    let shift = if pixel_is_point { 0.5 } else { 0.0 };
    let tie = doubles(ifd, MODEL_TIEPOINT).filter(|tie| tie.len() >= 6);
    let scale = doubles(ifd, MODEL_PIXEL_SCALE).filter(|scale| scale.len() >= 2 && scale[0] != 0.0 && scale[1] != 0.0);
    let matrix = doubles(ifd, MODEL_TRANSFORMATION).filter(|matrix| matrix.len() == 16);
    let t = if let (Some(scale), Some(tie)) = (scale, tie) {
        // A negative scale along y is an old writer's mistake and means north-up all the same.
        let (sx, sy) = (scale[0], scale[1].abs());
        [sx, 0.0, tie[3] - (tie[0] + shift) * sx, 0.0, -sy, tie[4] + (tie[1] + shift) * sy]
    } else if let Some(m) = matrix {
        let corner = |a: f64, b: f64, c: f64| c - shift * (a + b);
        [m[0], m[1], corner(m[0], m[1], m[3]), m[4], m[5], corner(m[4], m[5], m[7])]
    } else if tie.is_some_and(|tie| tie.len() > 6) {
        return Err(Refusal::new(
            "ground control points instead of a georeference",
            "a map-projected raster",
            "rectify the file with gdalwarp",
        ));
    } else {
        return Ok([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    };
    let determinant = t[0] * t[4] - t[1] * t[3];
    if !t.iter().all(|value| value.is_finite()) || !determinant.is_finite() || determinant == 0.0 {
        return Err(Refusal::new(
            format!("the degenerate georeference {t:?}"),
            "pixels with an area",
            "set the georeference again with gdal_edit.py -a_ullr",
        ));
    }
    Ok(t)
}

/// The bands: nodata, scale, offset and description of each.
pub(crate) fn bands(ifd: &Ifd, layout: &Layout) -> Checked<Vec<Band>> {
    let nodata = match text(ifd, GDAL_NODATA).map(|text| (text, gdal_metadata::parse_nodata(text))) {
        Some((text, None)) if !text.trim().is_empty() => {
            return Err(Refusal::new(
                format!("the nodata value '{text}'"),
                "a number",
                "set it again with gdal_edit.py -a_nodata",
            ));
        }
        Some((_, value)) => value,
        None => None,
    };
    let plain = Band { sample_type: layout.sample_type, nodata, scale: 1.0, offset: 0.0, description: None };
    let mut bands = vec![plain; layout.bands];
    for item in gdal_metadata::parse(text(ifd, GDAL_METADATA).unwrap_or_default()) {
        let Some(band) = item.sample.and_then(|sample| bands.get_mut(sample)) else { continue };
        let number = item.value.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        match (item.role.as_str(), number) {
            ("scale", Some(value)) => band.scale = value,
            ("offset", Some(value)) => band.offset = value,
            ("scale" | "offset", None) => {
                return Err(Refusal::new(
                    format!("the band {} '{}'", item.role, item.value),
                    "a number",
                    "set it again with gdal_edit.py -scale and -offset",
                ));
            }
            ("description", _) => band.description = Some(item.value).filter(|value| !value.is_empty()),
            _ => {}
        }
    }
    Ok(bands)
}

/// Names and values of the whole file in GDAL's metadata.
pub(crate) fn items(ifd: &Ifd) -> Vec<(String, String)> {
    gdal_metadata::parse(text(ifd, GDAL_METADATA).unwrap_or_default())
        .into_iter()
        .filter(|item| item.sample.is_none())
        .map(|item| (item.name, item.value))
        .collect()
}
