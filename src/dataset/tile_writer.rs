//! Tile files: HDF5 files of normalised training tiles in the layout of the published dataset.
//!
//! One group per tile, named `<subregion>-row-col`, with the tile's place and sizes as attributes and its arrays, (height, width, channels) in
//! float64, as datasets: the features that the tile has, and `outlines`, the one-hot labels.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::hdf5_write::{Attribute, Hdf5Writer, Storage};
use crate::atomic_file::{GrowingFile, StagedFiles};
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
        self.add_with(header, &BTreeMap::new(), arrays)
    }

    /// [`TileWriter::add`] with more attributes: texts by name, such as `sensor` and `date`.
    ///
    /// # Errors
    /// As [`TileWriter::add`]; also for an attribute without a name, with one that the header has, or with a NUL.
    pub fn add_with(
        &mut self,
        header: &TileHeader,
        more: &BTreeMap<String, String>,
        arrays: &[(&str, usize, &[f64])],
    ) -> Result<()> {
        self.check_unbroken()?;
        self.check_header(header)?;
        let mut sorted = arrays.to_vec();
        sorted.sort_unstable_by_key(|&(name, ..)| name);
        self.check_arrays(header, &sorted)?;
        let mut attributes = attributes(header).map_err(|e| self.refusal(header, e.0, e.1))?;
        for (name, value) in more {
            let is_there = attributes.iter().any(|(own, _)| own == name);
            if is_there || name.is_empty() || name.contains('\0') || value.contains('\0') {
                let expected = "another name, and text without NUL".into();
                return Err(self.refusal(header, format!("the attribute {name:?}"), expected));
            }
            attributes.push((name, Attribute::Text(value)));
        }
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
    pub fn finish(self) -> Result<()> {
        self.complete()?.publish()
    }

    /// Completes the file and stages it, to appear together with others.
    ///
    /// # Errors
    /// The disk is full, or an earlier write has failed.
    pub fn stage(self, staged: &mut StagedFiles) -> Result<()> {
        staged.add(self.complete()?)
    }

    fn complete(mut self) -> Result<GrowingFile> {
        self.check_unbroken()?;
        let failed = |e| Error::io("write", &self.target, e);
        let links = self.tiles.iter().map(|(name, &address)| (name.as_str(), address));
        let root = self.file.group(links, &[]).map_err(failed)?;
        let buffer = self.file.finish(root).map_err(failed)?;
        buffer.into_inner().map_err(|e| failed(e.into_error()))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use hdf5_reader::group::Group;
    use hdf5_reader::{Datatype, Hdf5File, SliceInfo, SliceInfoElem, StringEncoding};

    use super::{TileHeader, TileWriter};

    type Arrays = Vec<(&'static str, usize, Vec<f64>)>;

    fn header(name: &str, height: usize, width: usize) -> TileHeader {
        TileHeader {
            name: name.into(),
            region: "SC".into(),
            subregion: "SC2".into(),
            height,
            width,
            original_height: height - 3,
            original_width: width,
            padding_height: 1,
            padding_width: 0,
            xmin: 7.4,
            xmax: 7.410_1,
            ymin: -60.5,
            ymax: f64::NAN,
        }
    }

    /// Values that repeat nowhere, and those that a lossy writer would change.
    fn arrays(height: usize, width: usize, channels: &[(&'static str, usize)]) -> Arrays {
        let mut next = 0_u32;
        let mut value = || {
            next += 1;
            match next % 97 {
                5 => f64::NAN,
                6 => -0.0,
                7 => f64::MIN_POSITIVE / 8.0,
                8 => f64::NEG_INFINITY,
                _ => f64::from(next) * 0.1,
            }
        };
        channels.iter().map(|&(name, n)| (name, n, (0..height * width * n).map(|_| value()).collect())).collect()
    }

    fn add(writer: &mut TileWriter, header: &TileHeader, arrays: &Arrays) {
        let borrowed: Vec<_> = arrays.iter().map(|(name, channels, values)| (*name, *channels, &values[..])).collect();
        writer.add(header, &borrowed).expect("a tile");
    }

    fn same(found: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = f64>) -> bool {
        found.into_iter().map(f64::to_bits).eq(expected.into_iter().map(f64::to_bits))
    }

    /// Every attribute and every bit of every array, as another implementation reads them.
    fn check(group: &Group, header: &TileHeader, arrays: &Arrays) {
        let attribute = |name: &str| group.attribute(name).expect(name);
        for (name, text) in [("region", &header.region), ("subregion", &header.subregion), ("tile_name", &header.name)]
        {
            assert_eq!(&attribute(name).read_string().expect(name), text);
            let variable = matches!(attribute(name).datatype, Datatype::VarLen { encoding: StringEncoding::Utf8, .. });
            assert!(variable, "{name}: {:?}", attribute(name).datatype);
        }
        let sizes = [
            ("epsg", 4326),
            ("height", header.height),
            ("width", header.width),
            ("original_height", header.original_height),
            ("original_width", header.original_width),
            ("padding_height", header.padding_height),
            ("padding_width", header.padding_width),
        ];
        for (name, size) in sizes {
            assert!(matches!(attribute(name).datatype, Datatype::FixedPoint { size: 8, signed: true, .. }));
            assert_eq!(usize::try_from(attribute(name).read_scalar::<i64>().expect(name)), Ok(size), "{name}");
        }
        for (name, degrees) in
            [("xmin", header.xmin), ("xmax", header.xmax), ("ymin", header.ymin), ("ymax", header.ymax)]
        {
            assert!(same([attribute(name).read_scalar::<f64>().expect(name)], [degrees]), "{name}");
        }
        assert_eq!(group.attributes().expect("attributes").len(), 14);

        assert_eq!(group.datasets().expect("datasets").len(), arrays.len());
        for (name, channels, values) in arrays {
            let dataset = group.dataset(name).expect(name);
            assert_eq!(dataset.shape(), [header.height as u64, header.width as u64, *channels as u64]);
            assert!(same(dataset.read_array::<f64>().expect(name), values.iter().copied()), "{name}");
        }
    }

    fn write(path: &Path, compressed: bool, tiles: &[(TileHeader, Arrays)]) {
        let mut writer = if compressed { TileWriter::compressed(path) } else { TileWriter::create(path) }.expect("new");
        for (header, arrays) in tiles {
            add(&mut writer, header, arrays);
        }
        writer.finish().expect("finished");
    }

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("train.hdf5");
        // More arrays than a symbol table node holds; chunks that end beyond the array in rows, columns and both; a single pixel column.
        let many = ["i", "h", "g", "f", "e", "d", "c", "b", "a"].map(|name| (name, 1));
        let tiles = vec![
            (header("SC2-59-84", 131, 137), arrays(131, 137, &[("optical", 6), ("dem", 2), ("outlines", 2)])),
            (header("SC2-1-1", 70, 65), arrays(70, 65, &[("wide", 40)])),
            (header("SC2-é-2", 5, 4), arrays(5, 4, &many)),
            (header("ALP-0-0", 4, 1), arrays(4, 1, &[])),
        ];
        for compressed in [false, true] {
            write(&path, compressed, &tiles);
            let file = Hdf5File::open(&path).expect("an HDF5 file");
            let root = file.root_group().expect("a root group");
            assert_eq!(root.groups().expect("groups").len(), tiles.len());
            for (header, arrays) in &tiles {
                check(&root.group(&header.name).expect("a tile"), header, arrays);
            }
            let chunks = root.group("SC2-59-84").and_then(|g| g.dataset("optical")).expect("optical").chunks();
            assert_eq!(chunks, compressed.then(|| vec![128, 128, 6]));
        }
    }

    #[test]
    fn a_window_of_a_file_with_many_chunks() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tall.hdf5");
        // 71 chunks: more than one tree node holds.
        let (rows, tiles) = (9000, vec![(header("T-0-0", 9000, 1), arrays(9000, 1, &[("dem", 1)]))]);
        write(&path, true, &tiles);
        let file = Hdf5File::open(&path).expect("an HDF5 file");
        check(&file.group("T-0-0").expect("a tile"), &tiles[0].0, &tiles[0].1);
        let index = |start, end| SliceInfoElem::Slice { start, end, step: 1 };
        let window = SliceInfo { selections: vec![index(8000, rows), index(0, 1), index(0, 1)] };
        let dataset = file.dataset("T-0-0/dem").expect("a dataset");
        let found = dataset.read_slice::<f64>(&window).expect("a window");
        assert!(same(found, tiles[0].1[0].2[8000..].iter().copied()));
    }

    #[test]
    fn three_hundred_tiles_in_any_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("many.hdf5");
        // 300 leaves two levels of tree over the symbol table nodes.
        let tiles: Vec<_> = (0..300)
            .map(|i| {
                let height = 4 + i % 3;
                (header(&format!("R-{}-{i}", i * 77 % 300), height, 2), arrays(height, 2, &[("dem", 1 + i % 2)]))
            })
            .collect();
        for compressed in [false, true] {
            write(&path, compressed, &tiles);
            let file = Hdf5File::open(&path).expect("an HDF5 file");
            let root = file.root_group().expect("a root group");
            let (names, _) = root.member_names().expect("names");
            assert_eq!(names.len(), tiles.len());
            assert!(names.is_sorted());
            for (header, arrays) in &tiles {
                check(&root.group(&header.name).expect("a tile"), header, arrays);
            }
        }
    }

    #[test]
    fn a_file_without_tiles() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("empty.hdf5");
        write(&path, false, &[]);
        let file = Hdf5File::open(&path).expect("an HDF5 file");
        assert!(file.root_group().and_then(|root| root.groups()).expect("groups").is_empty());
    }

    #[test]
    fn refusals_leave_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("refused.hdf5");
        let mut writer = TileWriter::create(&path).expect("new");
        let good = header("A-1-2", 4, 2);
        let values = [0.5; 16];
        let expected = vec![("dem", 2, values.to_vec())];
        add(&mut writer, &good, &expected);

        let mut refuse = |change: fn(&mut TileHeader), arrays: &[(&str, usize, &[f64])], part: &str| {
            let mut header = header("B-1-2", 4, 2);
            change(&mut header);
            let error = writer.add(&header, arrays).expect_err(part);
            assert!(error.is_bad_input());
            assert!(error.to_string().contains(part), "{error}");
        };
        refuse(|h| h.name = "A-1-2".into(), &[("dem", 2, &values)], "second tile");
        for change in [
            (|h| h.name = "A/1".into()) as fn(&mut TileHeader),
            |h| h.name = ".".into(),
            |h| h.name = "A\0".into(),
            |h| h.name = String::new(),
        ] {
            refuse(change, &[("dem", 2, &values)], "the name");
        }
        refuse(|h| h.region.clear(), &[("dem", 2, &values)], "the region");
        refuse(|h| h.subregion.push('\0'), &[("dem", 2, &values)], "the subregion");
        refuse(|h| h.padding_height = 4, &[("dem", 2, &values)], "original rows");
        refuse(|h| h.padding_width = usize::MAX, &[("dem", 2, &values)], "original columns");
        refuse(|h| h.original_width = 0, &[("dem", 2, &values)], "original columns");
        refuse(|_| {}, &[("dem", 2, &values[1..])], "15 values");
        refuse(|_| {}, &[("dem", usize::MAX, &values)], "16 values");
        refuse(|_| {}, &[("dem", 0, &[])], "at least one channel");
        refuse(|_| {}, &[("dem", 2, &values), ("a", 2, &values), ("dem", 2, &values)], "two arrays");
        refuse(|_| {}, &[("in/sar", 2, &values)], "in/sar");

        add(&mut writer, &header("C-1-2", 4, 2), &expected);
        writer.finish().expect("finished");
        let file = Hdf5File::open(&path).expect("an HDF5 file");
        let (names, _) = file.root_group().and_then(|root| root.member_names()).expect("names");
        assert_eq!(names, ["A-1-2", "C-1-2"]);
        check(&file.group("A-1-2").expect("a tile"), &good, &expected);
    }

    #[test]
    fn the_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tiles.hdf5");
        fs::write(&path, "what was there").expect("written");
        let expected = arrays(4, 2, &[("dem", 2)]);

        let mut writer = TileWriter::create(&path).expect("new");
        add(&mut writer, &header("A-1-2", 4, 2), &expected);
        drop(writer);
        assert_eq!(fs::read_to_string(&path).expect("read"), "what was there");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

        let mut writer = TileWriter::create(&path).expect("new");
        add(&mut writer, &header("A-1-2", 4, 2), &expected);
        assert_eq!(fs::read_to_string(&path).expect("read"), "what was there");
        writer.finish().expect("finished");
        assert!(Hdf5File::open(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

        let refused = TileWriter::create(folder.path()).expect_err("a folder");
        assert!(refused.to_string().contains("a folder"), "{refused}");
        assert!(TileWriter::create(&folder.path().join("nowhere/tiles.hdf5")).is_err());
    }
}
