//! Tile folders: training tiles as GeoTIFFs, an alternative to tile files that any GIS opens.
//!
//! A folder has one folder per tile, which has a GeoTIFF for each array: `optical.tif` (six bands), `dem.tif` (elevation in metres, slope in degrees),
//! `co_pol_sar.tif`, `cross_pol_sar.tif`, `in_sar.tif`, `thermal.tif`, in physical values, and `outlines.tif` (one band: 1 glacier, 0 other, 255 or nodata
//! not labelled). They hold the tile's own pixels; `tile.json` gives region and subregion, how much padding is put around on reading, and any other `attributes`
//! (texts and numbers by name). Without it the
//! region is `unknown`, there is no padding, and the place is the rasters' own. `normalisation.json` beside the tiles has the statistics to normalise
//! with; without it they are the published ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::prepare::region::{UNKNOWN, apart};
use super::prepare::tile::interleaved;
use super::tile_file::{MOST_ATTRIBUTES, TileArray, TileBox, TileInfo, TileWindow, is_kept};
use super::tile_writer::TileHeader;
use crate::error::{Error, Result};
use crate::infer::normalise::normalise;
use crate::model::{Feature, Normalisation};
use crate::raster::source::read_finite;
use crate::raster::{Grid, RasterFile, Transformer, Window, fill_gaps};

/// What a tile's folder says of it.
pub(crate) const SIDECAR: &str = "tile.json";
/// The statistics of a folder of tiles.
pub(crate) const STATISTICS: &str = "normalisation.json";
/// Larger ones of these small files are none.
const LARGEST_BYTES: u64 = 1 << 20;
/// The largest side of a tile.
const LARGEST_SIDE: usize = 1 << 20;

/// `tile.json`: the attributes of a tile in a tile file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sidecar {
    region: String,
    subregion: Option<String>,
    tile_name: Option<String>,
    epsg: Option<u32>,
    height: Option<usize>,
    width: Option<usize>,
    original_height: Option<usize>,
    original_width: Option<usize>,
    padding_height: Option<usize>,
    padding_width: Option<usize>,
    xmin: Option<f64>,
    xmax: Option<f64>,
    ymin: Option<f64>,
    ymax: Option<f64>,
    /// Texts and numbers by which results may be grouped, such as `sensor` and `date`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, serde_json::Value>,
}

impl Sidecar {
    /// What a tile file would say.
    pub(crate) fn of(header: &TileHeader, attributes: &BTreeMap<String, String>) -> Self {
        Self {
            region: header.region.clone(),
            subregion: Some(header.subregion.clone()),
            tile_name: Some(header.name.clone()),
            epsg: Some(4326),
            height: Some(header.height),
            width: Some(header.width),
            original_height: Some(header.original_height),
            original_width: Some(header.original_width),
            padding_height: Some(header.padding_height),
            padding_width: Some(header.padding_width),
            xmin: Some(header.xmin),
            xmax: Some(header.xmax),
            ymin: Some(header.ymin),
            ymax: Some(header.ymax),
            attributes: attributes.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
        }
    }

    /// Completes what the rasters say.
    ///
    /// # Errors
    /// What was found and expected, where sizes do not fit.
    fn apply(self, info: &mut TileInfo) -> std::result::Result<(), (String, String)> {
        let own = info.original;
        let told = (self.original_height.unwrap_or(own.0), self.original_width.unwrap_or(own.1));
        if told != own {
            return Err((format!("an original size of {told:?}"), format!("that of the rasters, {own:?}")));
        }
        info.padding = (self.padding_height.unwrap_or(0), self.padding_width.unwrap_or(0));
        (info.height, info.width) = (self.height.unwrap_or(own.0), self.width.unwrap_or(own.1));
        let fits = |padding: usize, own: usize, side: usize| {
            side <= LARGEST_SIDE && padding.checked_add(own).is_some_and(|end| end <= side)
        };
        if !fits(info.padding.0, own.0, info.height) || !fits(info.padding.1, own.1, info.width) {
            let found = format!("{:?} pixels with a padding of {:?}", (info.height, info.width), info.padding);
            return Err((found, format!("room for {own:?} pixels of the rasters, at most {LARGEST_SIDE} each way")));
        }
        if self.region.is_empty() {
            return Err(("an empty region".into(), "a name".into()));
        }
        info.subregion = self.subregion.filter(|name| !name.is_empty()).unwrap_or_else(|| self.region.clone());
        info.region = self.region;
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => Some(text.trim().to_owned()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        info.attributes = self
            .attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .filter(|(name, value)| is_kept(name, value))
            .take(MOST_ATTRIBUTES)
            .collect();
        if let (Some(west), Some(east), Some(south), Some(north)) = (self.xmin, self.xmax, self.ymin, self.ymax) {
            info.place =
                Some(TileBox { epsg: f64::from(self.epsg.unwrap_or(4326)), edges: [west, east, south, north] });
        }
        Ok(())
    }
}

/// An open folder of tiles. Files are opened as windows are read, so that any number of tiles may be there.
#[derive(Debug)]
pub(crate) struct TileFolder {
    normalisation: Normalisation,
    tiles: Vec<PathBuf>,
}

impl TileFolder {
    /// Opens a folder and lists its tiles, sorted by name.
    ///
    /// # Errors
    /// There is no tile, or a tile's rasters are no GeoTIFFs, have other bands or sizes than they must, or do not fit what `tile.json` says.
    pub(crate) fn open(folder: &Path) -> Result<(Vec<TileInfo>, Self)> {
        let fail = |e| Error::io("read", folder, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let hidden = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
            if !hidden && entry.path().is_dir() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        let (mut infos, mut tiles) = (Vec::new(), Vec::new());
        for name in names {
            let path = folder.join(&name);
            infos.push(describe(&path, &name.to_string_lossy())?);
            tiles.push(path);
        }
        if tiles.is_empty() {
            let expected = "a tile file (HDF5), or a folder with a folder of GeoTIFFs for each tile";
            return Err(Error::bad_file(
                folder,
                "a folder without tiles",
                expected,
                "give the file itself, or such a folder",
            ));
        }
        let path = folder.join(STATISTICS);
        let normalisation = if path.exists() { read_statistics(&path)? } else { Normalisation::default() };
        Ok((infos, Self { normalisation, tiles }))
    }

    /// Reads a window of an array of tile number `tile`, normalised: (height, width, channels), channels fastest; 0 in the padding. The window lies inside
    /// the tile. Gaps in rasters other than optical ones are filled from the window.
    ///
    /// # Errors
    /// There is no such tile, or a raster is damaged or has other values than it may.
    pub(crate) fn read_window(
        &self,
        tile: usize,
        info: &TileInfo,
        array: TileArray,
        window: TileWindow,
    ) -> Result<Vec<f32>> {
        let channels = array.channels();
        let mut out = vec![0.0; window.height * window.width * channels];
        let rows = common(window.row, window.height, info.padding.0, info.original.0);
        let cols = common(window.col, window.width, info.padding.1, info.original.1);
        let (Some((top, height)), Some((left, width)), Some(folder)) = (rows, cols, self.tiles.get(tile)) else {
            return Ok(out);
        };
        let path = raster_path(folder, array);
        let file = RasterFile::open(&path)?;
        check_bands(&file, array)?;
        let own = Window { row: top - info.padding.0, col: left - info.padding.1, height, width };
        let pixels = match array {
            TileArray::Feature(feature) => self.feature(&file, feature, own)?,
            TileArray::Outlines => labels(&path, &file.read_window(0, own)?)?,
        };
        for (row, line) in pixels.chunks_exact(width * channels).enumerate() {
            let to = ((top - window.row + row) * window.width + left - window.col) * channels;
            out[to..to + line.len()].copy_from_slice(line);
        }
        Ok(out)
    }

    fn feature(&self, file: &RasterFile, feature: Feature, window: Window) -> Result<Vec<f32>> {
        let mut channels = Vec::with_capacity(feature.channels());
        for band in 0..feature.channels() {
            let mut values = read_finite(file, band, window)?;
            if feature != Feature::Optical {
                fill_gaps(&mut values, window.width, window.height);
            }
            channels.push(values);
        }
        let mut pixels = interleaved(&channels, window.height * window.width);
        normalise(feature, &self.normalisation, &mut pixels)?;
        Ok(pixels)
    }
}

/// Reads statistics of every raster from a JSON file.
///
/// # Errors
/// The file cannot be read or has other content.
pub fn read_statistics(path: &Path) -> Result<Normalisation> {
    let expected = "statistics as in datasets/normalisation.json";
    let remedy = "give minima and maxima of optical, elevation, slope, co_pol_sar, cross_pol_sar, in_sar and thermal";
    let wrong = |found: String| Error::bad_file(path, found, expected, remedy);
    let statistics: Normalisation = serde_json::from_slice(&read_small(path)?).map_err(|e| wrong(e.to_string()))?;
    match statistics.validate() {
        Err(Error::BadArgument { found, .. }) => Err(wrong(found)),
        other => other.map(|()| statistics),
    }
}

/// The file of an array.
pub(crate) fn raster_path(folder: &Path, array: TileArray) -> PathBuf {
    folder.join(format!("{}.tif", array.name()))
}

/// What the rasters of a tile and its `tile.json` say.
fn describe(folder: &Path, name: &str) -> Result<TileInfo> {
    let mut info = TileInfo {
        name: name.to_owned(),
        region: UNKNOWN.into(),
        subregion: UNKNOWN.into(),
        height: 0,
        width: 0,
        padding: (0, 0),
        original: (0, 0),
        place: None,
        features: Vec::new(),
        labelled: false,
        attributes: BTreeMap::new(),
    };
    let mut grid: Option<Grid> = None;
    for array in TileArray::all() {
        let path = raster_path(folder, array);
        if !path.exists() {
            continue;
        }
        let file = RasterFile::open(&path)?;
        check_bands(&file, array)?;
        let found = (file.grid().height, file.grid().width);
        let first = grid.get_or_insert_with(|| file.grid().clone());
        if found != (first.height, first.width) || found.0.max(found.1) > LARGEST_SIDE {
            let expected = format!(
                "{} x {}, as the tile's other rasters, and at most {LARGEST_SIDE} each way",
                first.width, first.height
            );
            let found = format!("{} x {} pixels", found.1, found.0);
            return Err(Error::bad_file(&path, found, expected, "cut the rasters of a tile alike"));
        }
        match array {
            TileArray::Feature(feature) => info.features.push(feature),
            TileArray::Outlines => info.labelled = true,
        }
    }
    let Some(grid) = grid else {
        let remedy = "move it away, or give the folder that holds the tiles' folders";
        return Err(Error::bad_file(
            folder,
            "a folder without rasters of a tile",
            "optical.tif, dem.tif, ..., outlines.tif",
            remedy,
        ));
    };
    info.original = (grid.height, grid.width);
    (info.height, info.width) = info.original;
    let path = folder.join(SIDECAR);
    if path.exists() {
        let wrong = |found: String, expected: String| {
            Error::bad_file(&path, found, expected, "correct the file, or remove it for a tile without padding")
        };
        let sidecar = parse(&read_small(&path)?).map_err(|found| wrong(found, "the attributes of a tile".into()))?;
        sidecar.apply(&mut info).map_err(|(found, expected)| wrong(found, expected))?;
    }
    if info.place.is_none() {
        // Only coordinate encoding needs it, and says so.
        info.place = edges_in_degrees(&grid).ok().map(|edges| TileBox { epsg: 4326.0, edges });
    }
    Ok(info)
}

/// Reads `tile.json`.
fn parse(bytes: &[u8]) -> std::result::Result<Sidecar, String> {
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let fail = |e| Error::io("read", path, e);
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::bad_file(path, "a folder, device or pipe", "a JSON file", "give the path of one file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(Error::bad_file(path, "more than 1 MiB", "a small JSON file", "give the right file"));
    }
    Ok(bytes)
}

fn check_bands(file: &RasterFile, array: TileArray) -> Result<()> {
    let expected = if array == TileArray::Outlines { 1 } else { array.channels() };
    if file.bands().len() != expected {
        let found = format!("{} bands", file.bands().len());
        let expected = format!("{expected} for {}", array.name());
        return Err(Error::bad_file(file.path(), found, expected, "select the bands with gdal_translate -b"));
    }
    Ok(())
}

/// One-hot labels of classes.
fn labels(path: &Path, classes: &[f32]) -> Result<Vec<f32>> {
    let mut labels = Vec::with_capacity(2 * classes.len());
    for class in classes {
        labels.extend(if *class == 1.0 {
            [0.0, 1.0]
        } else if *class == 0.0 {
            [1.0, 0.0]
        } else if class.is_nan() || *class == 255.0 {
            [0.0, 0.0]
        } else {
            let expected = "1 for glacier, 0 for other, and 255 or nodata for no label";
            return Err(Error::bad_file(path, format!("the value {class}"), expected, "reclassify the raster"));
        });
    }
    Ok(labels)
}

/// The pixels that two ranges, each a first and a number, have in common.
fn common(first: usize, count: usize, other: usize, others: usize) -> Option<(usize, usize)> {
    let (from, to) = (first.max(other), (first + count).min(other + others));
    (from < to).then(|| (from, to - from))
}

/// West, east, south and north edge of a grid in degrees; longitudes are continuous across the date line.
///
/// # Errors
/// The CRS is not known, or a corner has no place on the Earth.
pub(crate) fn edges_in_degrees(grid: &Grid) -> Result<[f64; 4]> {
    let Some(crs) = &grid.crs else {
        let remedy = "write one with gdal_edit.py -a_srs EPSG:CODE";
        return Err(Error::bad_argument("a raster without a CRS", "a georeferenced raster", remedy));
    };
    let to_degrees = Transformer::to_longitude_latitude(crs)?;
    let (width, height) = (grid.width as f64, grid.height as f64);
    let at = |col: f64, row: f64| {
        let (x, y) = grid.position(col * width, row * height);
        to_degrees.apply(x, y)
    };
    let middle = at(0.5, 0.5)?.0;
    let mut edges = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
    // Sides are curved in degrees.
    for step in 0..=8 {
        let along = f64::from(step) / 8.0;
        for (col, row) in [(along, 0.0), (along, 1.0), (0.0, along), (1.0, along)] {
            let (longitude, latitude) = at(col, row)?;
            let longitude = middle + apart(longitude, middle);
            edges = [edges[0].min(longitude), edges[1].max(longitude), edges[2].min(latitude), edges[3].max(latitude)];
        }
    }
    Ok(edges)
}

#[cfg(test)]
#[path = "tile_folder_tests.rs"]
mod tests;
