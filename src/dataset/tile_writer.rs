//! Tile files: HDF5 files of normalised training tiles in the layout of the published dataset.
//!
//! One group per tile, named `<subregion>-row-col`, with the tile's place and sizes as attributes and its arrays, (height, width, channels) in
//! float64, as datasets: the features that the tile has, and `outlines`, the one-hot labels.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::hdf5_write::{Attribute, Hdf5Writer, Storage};
use crate::atomic_file::GrowingFile;
use crate::error::{Error, Result};

/// Coordinates are longitudes and latitudes on WGS 84.
const EPSG: i64 = 4326;
const BUFFER: usize = 1 << 20;

/// What a tile file says about a tile.
#[derive(Debug, Clone, PartialEq)]
pub struct TileHeader {
    /// The tile's name, `<subregion>-row-col`: the group's name and the attribute `tile_name`.
    pub name: String,
    /// The region's code.
    pub region: String,
    /// The subregion's code; the region's where a region is not divided.
    pub subregion: String,
    /// Rows stored, padding included.
    pub height: usize,
    /// Columns stored, padding included.
    pub width: usize,
    /// Rows before padding.
    pub original_height: usize,
    /// Columns before padding.
    pub original_width: usize,
    /// Rows of padding before the first original row.
    pub padding_height: usize,
    /// Columns of padding before the first original column.
    pub padding_width: usize,
    /// Western edge in degrees.
    pub xmin: f64,
    /// Eastern edge in degrees.
    pub xmax: f64,
    /// Southern edge in degrees.
    pub ymin: f64,
    /// Northern edge in degrees.
    pub ymax: f64,
}

/// Writes a tile file, one tile after another.
///
/// Memory does not grow with the tiles, but for their names and places. The file appears at [`TileWriter::finish`]; a writer dropped before
/// leaves nothing behind.
#[derive(Debug)]
pub struct TileWriter {
    file: Hdf5Writer<BufWriter<GrowingFile>>,
    storage: Storage,
    target: PathBuf,
    /// The groups' object headers by name. HDF5 wants them in this order, that of the names' bytes.
    tiles: BTreeMap<String, u64>,
    /// A write has failed: the file ends somewhere in a tile.
    broken: bool,
}

impl TileWriter {
    /// Starts a file of contiguous arrays, as the published ones are.
    ///
    /// # Errors
    /// `path` is a folder, or its folder is not writable.
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_storage(path, Storage::Contiguous)
    }

    /// Starts a file of compressed arrays: chunks of at most 128 x 128 pixels, shuffle and gzip, lossless. Values that were rounded to
    /// float32 lose at least three bytes in eight.
    ///
    /// # Errors
    /// As [`TileWriter::create`].
    pub fn compressed(path: &Path) -> Result<Self> {
        Self::with_storage(path, Storage::Compressed)
    }

    fn with_storage(path: &Path, storage: Storage) -> Result<Self> {
        let sink = BufWriter::with_capacity(BUFFER, GrowingFile::create(path)?);
        let file = Hdf5Writer::new(sink).map_err(|e| Error::io("write", path, e))?;
        Ok(Self { file, storage, target: path.to_path_buf(), tiles: BTreeMap::new(), broken: false })
    }

    /// Writes one tile. `arrays` are names, numbers of channels and values of (height, width, channels), channels fastest, in any order;
    /// NaN is a value like any other.
    ///
    /// # Errors
    /// A name that is empty, has a `/` or a NUL, or is there already; sizes that do not fit each other (after which the writer goes on as
    /// if nothing had been added); or the disk is full.
    pub fn add(&mut self, header: &TileHeader, arrays: &[(&str, usize, &[f64])]) -> Result<()> {
        self.check_unbroken()?;
        self.check_header(header)?;
        let mut sorted = arrays.to_vec();
        sorted.sort_unstable_by_key(|&(name, ..)| name);
        self.check_arrays(header, &sorted)?;
        let attributes = attributes(header).map_err(|e| self.refusal(header, e.0, e.1))?;
        self.broken = true;
        let address = self.write(header, &attributes, &sorted).map_err(|e| Error::io("write", &self.target, e))?;
        self.broken = false;
        self.tiles.insert(header.name.clone(), address);
        Ok(())
    }

    /// Completes the file and lets it appear under its name. A file without tiles is one, too.
    ///
    /// # Errors
    /// The disk is full, an earlier write has failed, or the system refuses to rename the file.
    pub fn finish(mut self) -> Result<()> {
        self.check_unbroken()?;
        let failed = |e| Error::io("write", &self.target, e);
        let links = self.tiles.iter().map(|(name, &address)| (name.as_str(), address));
        let root = self.file.group(links, &[]).map_err(failed)?;
        let buffer = self.file.finish(root).map_err(failed)?;
        buffer.into_inner().map_err(|e| failed(e.into_error()))?.publish()
    }

    fn write(
        &mut self,
        header: &TileHeader,
        attributes: &[(&str, Attribute<'_>)],
        arrays: &[(&str, usize, &[f64])],
    ) -> std::io::Result<u64> {
        let mut links = Vec::with_capacity(arrays.len());
        for &(name, channels, values) in arrays {
            let shape = [header.height, header.width, channels];
            links.push((name, self.file.dataset(shape, values, self.storage)?));
        }
        Ok(self.file.group(links.into_iter(), attributes)?.header)
    }

    fn check_unbroken(&self) -> Result<()> {
        if self.broken {
            return Err(Error::bad_file(
                &self.target,
                "a file that an earlier failed write cut off",
                "a writer without failures",
                "make room on the disk and write the file anew",
            ));
        }
        Ok(())
    }

    fn check_header(&self, header: &TileHeader) -> Result<()> {
        for (what, text) in [("name", &header.name), ("region", &header.region), ("subregion", &header.subregion)] {
            if text.is_empty() || text.contains('\0') {
                return Err(self.refusal(header, format!("the {what} {text:?}"), "text without NUL".into()));
            }
        }
        self.check_link(header, &header.name)?;
        if self.tiles.contains_key(&header.name) {
            return Err(self.refusal(header, "a second tile of this name".into(), "a name for each tile".into()));
        }
        for (what, stored, original, padding) in [
            ("rows", header.height, header.original_height, header.padding_height),
            ("columns", header.width, header.original_width, header.padding_width),
        ] {
            if original == 0 || original.checked_add(padding).is_none_or(|end| end > stored) {
                return Err(self.refusal(
                    header,
                    format!("{original} original {what} after {padding} of padding"),
                    format!("at least one, within the {stored} stored"),
                ));
            }
        }
        Ok(())
    }

    /// `arrays` in the order of their names.
    fn check_arrays(&self, header: &TileHeader, arrays: &[(&str, usize, &[f64])]) -> Result<()> {
        for (index, &(name, channels, values)) in arrays.iter().enumerate() {
            self.check_link(header, name)?;
            if index > 0 && arrays[index - 1].0 == name {
                return Err(self.refusal(header, format!("two arrays '{name}'"), "a name for each array".into()));
            }
            let count = header.height.checked_mul(header.width).and_then(|n| n.checked_mul(channels));
            if channels == 0 || count != Some(values.len()) {
                return Err(self.refusal(
                    header,
                    format!("{} values in '{name}'", values.len()),
                    format!("{} x {} x {channels}, and at least one channel", header.height, header.width),
                ));
            }
        }
        Ok(())
    }

    /// A name that HDF5 can link by: `/` separates names, `.` is the group itself.
    fn check_link(&self, header: &TileHeader, name: &str) -> Result<()> {
        if name.is_empty() || name == "." || name.contains(['/', '\0']) {
            return Err(self.refusal(
                header,
                format!("the name {name:?}"),
                "a name without '/' and NUL, not '.'".into(),
            ));
        }
        Ok(())
    }

    fn refusal(&self, header: &TileHeader, found: String, expected: String) -> Error {
        Error::bad_file(
            &self.target,
            format!("for tile {:?} {found}", header.name),
            expected,
            "mend the tile or leave it out",
        )
    }
}

/// The attributes of a tile in the order of the published files; or what was found and expected if a size is beyond an int64.
fn attributes(header: &TileHeader) -> std::result::Result<Vec<(&'static str, Attribute<'_>)>, (String, String)> {
    let mut attributes = vec![
        ("region", Attribute::Text(&header.region)),
        ("subregion", Attribute::Text(&header.subregion)),
        ("tile_name", Attribute::Text(&header.name)),
        ("epsg", Attribute::Integer(EPSG)),
    ];
    for (name, size) in [
        ("height", header.height),
        ("width", header.width),
        ("original_height", header.original_height),
        ("original_width", header.original_width),
        ("padding_height", header.padding_height),
        ("padding_width", header.padding_width),
    ] {
        let size = i64::try_from(size).map_err(|_| (format!("{name} {size}"), "at most 2^63 - 1".to_owned()))?;
        attributes.push((name, Attribute::Integer(size)));
    }
    for (name, degrees) in [("xmin", header.xmin), ("xmax", header.xmax), ("ymin", header.ymin), ("ymax", header.ymax)]
    {
        attributes.push((name, Attribute::Real(degrees)));
    }
    Ok(attributes)
}
