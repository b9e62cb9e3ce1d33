//! Tile files: the published training data (HDF5), read in windows. Folders of GeoTIFF tiles ([`super::tile_folder`]) open as one, too.
//!
//! A file has one group per tile, named `<subregion>-row-col`, with attributes (region, subregion, place, padding, and any others) and one array
//! (height, width, channels) per feature, plus `outlines`: glacier labels, one-hot over (other, glacier), (0, 0) where nothing is known.
//! Values are float64 or float32 and already normalised. Arrays are contiguous or in chunks, compressed or not.
//!
//! The published files have up to 243 GB, so opening reads descriptions only, and a window costs about its own bytes (or those of
//! the chunks it touches). The one cache holds up to 64 MiB of unpacked chunks per file.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5_reader::storage::DynStorage;
use hdf5_reader::{Attribute, BytesStorage, Dataset, Datatype, FileStorage, Hdf5File, OpenOptions};
use hdf5_reader::{SliceInfo, SliceInfoElem};

use super::tile_folder::TileFolder;
use crate::error::{Error, Result};
use crate::model::Feature;

/// Bytes of unpacked chunks kept per open file: neighbouring windows share chunks.
const CHUNK_CACHE: usize = 64 << 20;
/// The largest chunk that is unpacked. HDF5 tools make chunks of about 1 MB; a whole tile in one chunk still passes.
const LARGEST_CHUNK: usize = 256 << 20;
/// The largest side of a tile; it keeps products of sides far from overflow.
const LARGEST_SIDE: u64 = 1 << 20;
/// The most attributes of a tile beside the fixed ones, and the longest name and text in bytes; others are left out.
pub(crate) const MOST_ATTRIBUTES: usize = 64;
const LONGEST_ATTRIBUTE: usize = 200;
/// Attributes with a meaning of their own. `tile_name` repeats the name.
const FIXED: [&str; 14] = [
    "region",
    "subregion",
    "tile_name",
    "epsg",
    "height",
    "width",
    "original_height",
    "original_width",
    "padding_height",
    "padding_width",
    "xmin",
    "xmax",
    "ymin",
    "ymax",
];

/// An array of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileArray {
    /// The bands of a feature.
    Feature(Feature),
    /// The labels: (other, glacier), one-hot; (0, 0) where nothing is known.
    Outlines,
}

impl TileArray {
    /// The name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Feature(feature) => feature.name(),
            Self::Outlines => "outlines",
        }
    }

    /// Values per pixel.
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Self::Feature(feature) => feature.channels(),
            Self::Outlines => 2,
        }
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Feature::ALL.into_iter().map(Self::Feature).chain([Self::Outlines])
    }
}

/// The place of a tile on Earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TileBox {
    /// EPSG code of the coordinates; 4326 in the published files.
    pub epsg: f64,
    /// West, east, south and north edge of the part that is not padding.
    pub edges: [f64; 4],
}

/// What a file says about one tile.
#[derive(Debug, Clone, PartialEq)]
pub struct TileInfo {
    /// The group's name.
    pub name: String,
    /// The region, such as `ALP`.
    pub region: String,
    /// The subregion, such as `SC2`; the region where a file gives none.
    pub subregion: String,
    /// Rows of every array, padding included.
    pub height: usize,
    /// Columns of every array, padding included.
    pub width: usize,
    /// Rows and columns of padding above and left of the data.
    pub padding: (usize, usize),
    /// Rows and columns that are not padding.
    pub original: (usize, usize),
    /// The place on Earth, if the file gives it.
    pub place: Option<TileBox>,
    /// The features present, in the order of [`Feature::ALL`].
    pub features: Vec<Feature>,
    /// Whether the tile has labels.
    pub labelled: bool,
    /// All other texts and numbers that the file gives, such as `sensor` and `date`, as text. Long ones are left out, and those beyond the first 64.
    pub attributes: BTreeMap<String, String>,
}

impl TileInfo {
    /// An attribute, whatever the case of its name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Latitude and longitude, in degrees, of a position in pixels from the top left corner of the stored arrays.
    ///
    /// The file's box is that of the original pixels: in the published layout its sides are `original_height` and `original_width` pixels
    /// long, and the padding lies around it. So positions in the padding fall outside the box, at the same pixel size.
    ///
    /// # Errors
    /// The tile has no box, or one in another system than EPSG 4326.
    pub fn latitude_longitude(&self, row: f64, col: f64) -> Result<(f64, f64)> {
        let unplaced = |found: String| {
            Error::bad_argument(
                format!("tile {} with {found}", self.name),
                "xmin, xmax, ymin and ymax in degrees (EPSG 4326)",
                "train without coordinate encoding, or on files that say where their tiles lie",
            )
        };
        let place = self.place.ok_or_else(|| unplaced("no place".into()))?;
        if place.epsg != 4326.0 {
            return Err(unplaced(format!("coordinates of EPSG {}", place.epsg)));
        }
        let [west, east, south, north] = place.edges;
        #[expect(clippy::cast_precision_loss, reason = "sides are below 2^20")]
        let (top, left, rows, cols) =
            (self.padding.0 as f64, self.padding.1 as f64, self.original.0 as f64, self.original.1 as f64);
        let latitude = north - (row - top) * (north - south) / rows;
        let longitude = west + (col - left) * (east - west) / cols;
        if !(-90.0..=90.0).contains(&latitude) || !longitude.is_finite() {
            return Err(unplaced(format!("a pixel at latitude {latitude}, longitude {longitude}")));
        }
        Ok((latitude, longitude))
    }
}

/// A rectangle of pixels inside a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileWindow {
    /// The first row.
    pub row: usize,
    /// The first column.
    pub col: usize,
    /// The number of rows.
    pub height: usize,
    /// The number of columns.
    pub width: usize,
}

/// An open tile file. Windows can be read from several threads at once.
pub struct TileFile {
    path: PathBuf,
    tiles: Vec<TileInfo>,
    content: Content,
}

/// Where the arrays are.
enum Content {
    /// For each tile, the arrays it has.
    Hdf5(Vec<Vec<(TileArray, Stored)>>),
    /// GeoTIFFs.
    Folder(Box<TileFolder>),
}

/// An array in the file, with its type and shape checked.
struct Stored {
    dataset: Dataset,
    double: bool,
}

impl std::fmt::Debug for TileFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TileFile").field("path", &self.path).field("tiles", &self.tiles).finish_non_exhaustive()
    }
}

impl TileFile {
    /// Opens a file, or a folder of GeoTIFF tiles, and lists its tiles, sorted by name.
    ///
    /// # Errors
    /// The file cannot be read, is no HDF5 file, is cut short or damaged, or its groups are no tiles: a missing region, an array of another
    /// type or shape. A folder has no tiles, or rasters that form none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
        if file.metadata().map_err(|e| Error::io("read", path, e))?.is_dir() {
            let (tiles, folder) = TileFolder::open(path)?;
            return Ok(Self { path: path.to_path_buf(), tiles, content: Content::Folder(Box::new(folder)) });
        }
        let storage = FileStorage::from_file(file).map_err(|e| damaged(path, &e))?;
        Self::from_storage(path, Arc::new(storage))
    }

    /// [`TileFile::open`] for a file already in memory. `path` serves for messages only.
    ///
    /// # Errors
    /// As [`TileFile::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_storage(path.as_ref(), Arc::new(BytesStorage::new(bytes)))
    }

    fn from_storage(path: &Path, storage: DynStorage) -> Result<Self> {
        let size = storage.len();
        let options = OpenOptions::default().with_chunk_cache_bytes(CHUNK_CACHE).with_max_chunk_bytes(LARGEST_CHUNK);
        let file = Hdf5File::from_storage_with_options(storage, options).map_err(|e| damaged(path, &e))?;
        // The superblock says where the file must end. A copy cut short would otherwise fail hours into training.
        let end = file.superblock().eof_address;
        if end > size {
            return Err(damaged(path, &format!("{size} bytes of an HDF5 file of {end}")));
        }
        let mut groups = file.root_group().and_then(|root| root.groups()).map_err(|e| damaged(path, &e))?;
        groups.sort_by(|a, b| a.name().cmp(b.name()));
        let mut names = HashSet::new();
        let (mut tiles, mut arrays) = (Vec::new(), Vec::new());
        for group in &groups {
            if !names.insert(group.name().to_owned()) {
                return Err(damaged(path, &format!("two tiles named {}", group.name())));
            }
            let (info, stored) = Description { path, tile: group.name() }.read(group)?;
            tiles.push(info);
            arrays.push(stored);
        }
        if tiles.is_empty() {
            return Err(Error::bad_file(
                path,
                "an HDF5 file without groups",
                "one group per tile",
                "give a file of the published tile layout",
            ));
        }
        Ok(Self { path: path.to_path_buf(), tiles, content: Content::Hdf5(arrays) })
    }

    /// The tiles, sorted by name.
    #[must_use]
    pub fn tiles(&self) -> &[TileInfo] {
        &self.tiles
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a window of an array of tile number `tile`, rounded to f32: (height, width, channels), channels fastest.
    ///
    /// # Errors
    /// The tile or the array does not exist, the window leaves the tile, or the file is damaged there.
    pub fn read_window(&self, tile: usize, array: TileArray, window: TileWindow) -> Result<Vec<f32>> {
        let info = self.tiles.get(tile).ok_or_else(|| self.missing(tile, array))?;
        let inside = |first: usize, count: usize, side: usize| {
            count > 0 && first.checked_add(count).is_some_and(|end| end <= side)
        };
        if !inside(window.row, window.height, info.height) || !inside(window.col, window.width, info.width) {
            return Err(Error::bad_argument(
                format!("{window:?} of tile {}", info.name),
                format!("a window inside {} x {} pixels", info.height, info.width),
                "choose a smaller patch",
            ));
        }
        let stored = match &self.content {
            Content::Folder(folder) => {
                let is_there = match array {
                    TileArray::Feature(feature) => info.features.contains(&feature),
                    TileArray::Outlines => info.labelled,
                };
                if !is_there {
                    return Err(self.missing(tile, array));
                }
                return folder.read_window(tile, info, array, window);
            }
            Content::Hdf5(arrays) => {
                let stored = arrays.get(tile).and_then(|arrays| arrays.iter().find(|(a, _)| *a == array));
                stored.map(|(_, stored)| stored).ok_or_else(|| self.missing(tile, array))?
            }
        };
        let range = |first: usize, count: usize| SliceInfoElem::Slice {
            start: first as u64,
            end: (first + count) as u64,
            step: 1,
        };
        let selections =
            vec![range(window.row, window.height), range(window.col, window.width), range(0, array.channels())];
        let selection = SliceInfo { selections };
        let failed = |e: hdf5_reader::error::Error| self.unreadable(info, array, &e);
        let values: Vec<f32> = if stored.double {
            let values = stored.dataset.read_slice::<f64>(&selection).map_err(failed)?;
            values.into_raw_vec_and_offset().0.into_iter().map(narrow).collect()
        } else {
            stored.dataset.read_slice::<f32>(&selection).map_err(failed)?.into_raw_vec_and_offset().0
        };
        if values.len() != window.height * window.width * array.channels() {
            return Err(self.unreadable(info, array, &format!("{} values in a window", values.len())));
        }
        Ok(values)
    }

    fn missing(&self, tile: usize, array: TileArray) -> Error {
        let tile = self.tiles.get(tile).map_or_else(|| format!("number {tile}"), |t| t.name.clone());
        Error::bad_file(
            &self.path,
            format!("no {} in tile {tile}", array.name()),
            "a tile with this array",
            "leave the feature out, or choose other tiles",
        )
    }

    fn unreadable(&self, info: &TileInfo, array: TileArray, reason: &impl std::fmt::Display) -> Error {
        damaged(&self.path, &format!("unreadable {} of tile {}: {reason}", array.name(), info.name))
    }
}

fn damaged(path: &Path, found: &impl std::fmt::Display) -> Error {
    Error::bad_file(path, found.to_string(), "a whole tile file (HDF5)", "give the right file, or copy it again")
}

#[expect(clippy::cast_possible_truncation, reason = "the network works in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Reads the description of one tile.
struct Description<'a> {
    path: &'a Path,
    tile: &'a str,
}

impl Description<'_> {
    fn wrong(&self, found: &impl std::fmt::Display, expected: impl Into<String>) -> Error {
        Error::bad_file(
            self.path,
            format!("tile {} with {found}", self.tile),
            expected,
            "give a file of the published tile layout, or copy it again if it is damaged",
        )
    }

    fn read(&self, group: &hdf5_reader::group::Group) -> Result<(TileInfo, Vec<(TileArray, Stored)>)> {
        let unreadable = |e: hdf5_reader::error::Error| self.wrong(&e, "a readable tile");
        let attributes = group.attributes().map_err(unreadable)?;
        let (_, names) = group.member_names().map_err(unreadable)?;
        let mut arrays = Vec::new();
        let mut size = None;
        for array in TileArray::all() {
            if !names.iter().any(|name| name == array.name()) {
                continue;
            }
            let (stored, sides) = self.check(array, group.dataset(array.name()).map_err(unreadable)?)?;
            if *size.get_or_insert(sides) != sides {
                return Err(self.wrong(&"arrays of different sizes", "one height and width for all"));
            }
            arrays.push((array, stored));
        }
        let (height, width) =
            size.ok_or_else(|| self.wrong(&"no known array", "features (optical, dem, ...) and outlines"))?;
        let text = Texts { description: self, attributes: &attributes };
        let region = text.string("region")?.ok_or_else(|| self.wrong(&"no region", "the attribute 'region'"))?;
        let subregion = text.string("subregion")?.unwrap_or_else(|| region.clone());
        let count = |name: &str, otherwise: usize| -> Result<usize> {
            match text.number(name)? {
                None => Ok(otherwise),
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just here")]
                Some(n) if n.fract() == 0.0 && (0.0..1e6).contains(&n) => Ok(n as usize),
                Some(n) => Err(self.wrong(&format!("{name} {n}"), "a number of pixels")),
            }
        };
        let padding = (count("padding_height", 0)?, count("padding_width", 0)?);
        let original = (count("original_height", height)?, count("original_width", width)?);
        let fits = |pad: usize, original: usize, side: usize| original > 0 && pad + original <= side;
        if !fits(padding.0, original.0, height) || !fits(padding.1, original.1, width) {
            return Err(self.wrong(
                &format!("{original:?} pixels after a padding of {padding:?} in {:?}", (height, width)),
                "original sizes and paddings that fit the stored size",
            ));
        }
        let edge = |name| text.number(name);
        let place = match (edge("xmin")?, edge("xmax")?, edge("ymin")?, edge("ymax")?) {
            (Some(west), Some(east), Some(south), Some(north)) => {
                Some(TileBox { epsg: text.number("epsg")?.unwrap_or(4326.0), edges: [west, east, south, north] })
            }
            _ => None,
        };
        let features = arrays
            .iter()
            .filter_map(|(array, _)| match array {
                TileArray::Feature(feature) => Some(*feature),
                TileArray::Outlines => None,
            })
            .collect();
        let labelled = arrays.iter().any(|(array, _)| *array == TileArray::Outlines);
        let name = self.tile.to_owned();
        let attributes = text.others();
        let info = TileInfo {
            name,
            region,
            subregion,
            height,
            width,
            padding,
            original,
            place,
            features,
            labelled,
            attributes,
        };
        Ok((info, arrays))
    }

    /// Checks type and shape; gives height and width.
    fn check(&self, array: TileArray, dataset: Dataset) -> Result<(Stored, (usize, usize))> {
        let double = match dataset.dtype() {
            Datatype::FloatingPoint { size: 8, .. } => true,
            Datatype::FloatingPoint { size: 4, .. } => false,
            _ => return Err(self.wrong(&format!("{} of another type", array.name()), "float64 or float32")),
        };
        let side = |n: u64| if (1..=LARGEST_SIDE).contains(&n) { usize::try_from(n).ok() } else { None };
        if let [height, width, channels] = *dataset.shape()
            && channels == array.channels() as u64
            && let (Some(height), Some(width)) = (side(height), side(width))
        {
            return Ok((Stored { dataset, double }, (height, width)));
        }
        Err(self.wrong(
            &format!("{} of shape {:?}", array.name(), dataset.shape()),
            format!("(height, width, {})", array.channels()),
        ))
    }
}

/// The attributes of one tile.
struct Texts<'a> {
    description: &'a Description<'a>,
    attributes: &'a [Attribute],
}

/// Whether an attribute is kept: it has no meaning of its own, and is short.
pub(crate) fn is_kept(name: &str, value: &str) -> bool {
    !name.is_empty()
        && !FIXED.contains(&name)
        && name.len() <= LONGEST_ATTRIBUTE
        && !value.is_empty()
        && value.len() <= LONGEST_ATTRIBUTE
}

impl Texts<'_> {
    /// Texts and numbers without a meaning of their own. What is neither, or cannot be read, is left out: nothing depends on it.
    fn others(&self) -> BTreeMap<String, String> {
        let value = |attribute: &Attribute| match attribute.datatype {
            Datatype::FixedPoint { .. } | Datatype::FloatingPoint { .. } => {
                attribute.read_as_f64().ok().filter(|value| value.is_finite()).map(|value| value.to_string())
            }
            _ => attribute.read_string().ok().map(|text| text.trim().to_owned()),
        };
        let one = |attribute: &&Attribute| attribute.num_elements().is_ok_and(|count| count == 1);
        self.attributes
            .iter()
            .filter(one)
            .filter_map(|attribute| Some((attribute.name.clone(), value(attribute)?)))
            .filter(|(name, value)| is_kept(name, value))
            .take(MOST_ATTRIBUTES)
            .collect()
    }

    fn string(&self, name: &str) -> Result<Option<String>> {
        let Some(attribute) = self.attributes.iter().find(|a| a.name == name) else { return Ok(None) };
        let text = attribute
            .read_string()
            .map_err(|e| self.description.wrong(&format!("attribute '{name}': {e}"), "a text"))?;
        Ok(Some(text))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(attribute) = self.attributes.iter().find(|a| a.name == name) else { return Ok(None) };
        match attribute.read_as_f64() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            Ok(value) => Err(self.description.wrong(&format!("{name} {value}"), "a finite number")),
            Err(e) => Err(self.description.wrong(&format!("attribute '{name}': {e}"), "a number")),
        }
    }
}

#[cfg(test)]
#[path = "tile_file_tests.rs"]
mod tests;
