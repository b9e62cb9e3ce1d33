//! HDF5 files written piece by piece, with nothing kept of what is written.
//!
//! The subset that tile files need: groups with scalar attributes, and float64 arrays, contiguous or in chunks with shuffle and gzip. The
//! structures are the oldest that the format has (version 0 superblock, version 1 object headers, symbol tables), because every reader knows
//! them and the HDF5 library still writes them by default. Layouts follow The HDF Group, *HDF5 File Format Specification Version 3.0*; its
//! sections are named below.

use std::io::{self, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rayon::prelude::*;

/// An address that leads nowhere.
const UNDEFINED: u64 = u64::MAX;
/// Half the entries of a symbol table node, of a group's tree node and of a chunk tree node: the library's defaults. The first two stand in
/// the superblock; the third cannot be chosen in version 0.
const SYMBOLS_K: u16 = 4;
const GROUP_K: u16 = 16;
const CHUNK_K: u16 = 32;
/// The library refuses smaller global heap collections.
const SMALLEST_COLLECTION: usize = 4096;
/// Chunks stay below this, so that one fits the library's default cache.
const LARGEST_CHUNK: usize = 1 << 20;
const LARGEST_CHUNK_SIDE: usize = 128;
/// Values turned into bytes at a time.
const BLOCK: usize = 1 << 13;
const GZIP_LEVEL: u32 = 4;

/// Message types (section IV.A.2).
mod message {
    pub(super) const DATASPACE: u16 = 0x01;
    pub(super) const DATATYPE: u16 = 0x03;
    pub(super) const FILL_VALUE: u16 = 0x05;
    pub(super) const LAYOUT: u16 = 0x08;
    pub(super) const FILTERS: u16 = 0x0b;
    pub(super) const ATTRIBUTE: u16 = 0x0c;
    pub(super) const SYMBOL_TABLE: u16 = 0x11;
}

/// Datatypes (section IV.A.2.d): little-endian int64 and IEEE float64, and UTF-8 text of any length.
const INTEGER: &[u8] = &[0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0];
const REAL: &[u8] = &[0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 0xff, 3, 0, 0];
const TEXT: &[u8] = &[0x19, 1, 1, 0, 16, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0];

/// The value of a scalar attribute.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    /// UTF-8 text of variable length.
    Text(&'a str),
    /// An int64.
    Integer(i64),
    /// A float64.
    Real(f64),
}

/// How arrays are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// As they are, in one piece.
    Contiguous,
    /// In chunks, bytes shuffled, then gzip.
    Compressed,
}

/// Writes an HDF5 file from front to back. Objects are written before what leads to them; the root group last.
///
/// Until [`Hdf5Writer::finish`] the file starts with zeros, and no reader takes it for HDF5.
#[derive(Debug)]
pub(super) struct Hdf5Writer<W> {
    sink: W,
    /// Where the next block goes, from the start of the file.
    position: u64,
}

/// Where a group's parts lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Its object header, by which a parent links to it.
    pub(super) header: u64,
    tree: u64,
    heap: u64,
}

impl<W: Write + Seek> Hdf5Writer<W> {
    /// Starts a file at the beginning of `sink`.
    pub(super) fn new(sink: W) -> io::Result<Self> {
        let mut writer = Self { sink, position: 0 };
        let placeholder = writer.superblock(Group { header: 0, tree: 0, heap: 0 }).0.len();
        writer.put(&vec![0; placeholder])?;
        Ok(writer)
    }

    /// Writes an array, last index fastest, and returns the address of its object header. The product of `shape` is the number of values.
    pub(super) fn dataset(&mut self, shape: [usize; 3], values: &[f64], storage: Storage) -> io::Result<u64> {
        let mut space = Block::new();
        space.u8(1).u8(narrow(shape.len())?).zeros(6);
        for extent in shape {
            space.u64(wide(extent));
        }
        let mut fill = Block::new();
        // Allocated late or chunk by chunk, written if one is set, the default.
        fill.u8(2).u8(if storage == Storage::Contiguous { 2 } else { 3 }).u8(2).u8(1).u32(0);
        let mut messages =
            vec![(message::DATASPACE, space), (message::DATATYPE, Block::from(REAL)), (message::FILL_VALUE, fill)];
        let mut layout = Block::new();
        match storage {
            Storage::Contiguous => {
                let address = self.values(values)?;
                layout.u8(3).u8(1).u64(address).u64(wide(values.len()) * 8);
            }
            Storage::Compressed => {
                let side = chunk_side(shape[2]);
                let chunk = [side.min(shape[0]), side.min(shape[1]), shape[2]];
                let tree = self.chunks(shape, chunk, values)?;
                layout.u8(3).u8(2).u8(4).u64(tree);
                for extent in chunk {
                    layout.u32(narrow(extent)?);
                }
                layout.u32(8);
                messages.push((message::FILTERS, filters()));
            }
        }
        messages.push((message::LAYOUT, layout));
        self.object(&messages)
    }

    /// Writes a group: `links` are names and object headers in ascending order of the names' bytes.
    pub(super) fn group<'a>(
        &mut self,
        links: impl ExactSizeIterator<Item = (&'a str, u64)>,
        attributes: &[(&str, Attribute<'_>)],
    ) -> io::Result<Group> {
        // The names lie in the local heap, after the empty name that comes before all others.
        let mut names = Block::new();
        names.zeros(8);
        let per_node = usize::from(2 * SYMBOLS_K);
        let mut nodes = Vec::with_capacity(links.len().div_ceil(per_node));
        let mut keys = vec![Block::of_u64(0)];
        let mut links = links.peekable();
        while links.peek().is_some() {
            let mut entries = Block::new();
            let (mut count, mut last) = (0, 0);
            for (name, header) in links.by_ref().take(per_node) {
                last = wide(names.0.len());
                names.bytes(name.as_bytes()).u8(0).pad();
                entries.u64(last).u64(header).zeros(24);
                count += 1;
            }
            let mut node = Block::new();
            node.bytes(b"SNOD").u8(1).u8(0).u16(count).bytes(&entries.0).zeros(40 * (per_node - usize::from(count)));
            nodes.push(self.put(&node.0)?);
            keys.push(Block::of_u64(last));
        }
        let tree = self.tree(0, GROUP_K, keys, nodes)?;
        let mut heap = Block::new();
        // 1 stands for no free block in the library, though the specification has the undefined address.
        let data = self.position + 32;
        heap.bytes(b"HEAP").zeros(4).u64(wide(names.0.len())).u64(1).u64(data).bytes(&names.0);
        let heap = self.put(&heap.0)?;

        let mut table = Block::new();
        table.u64(tree).u64(heap);
        let mut messages = vec![(message::SYMBOL_TABLE, table)];
        messages.extend(self.attributes(attributes)?.into_iter().map(|m| (message::ATTRIBUTE, m)));
        Ok(Group { header: self.object(&messages)?, tree, heap })
    }

    /// Makes `root` the root group and returns the sink, flushed.
    pub(super) fn finish(mut self, root: Group) -> io::Result<W> {
        let superblock = self.superblock(root);
        self.sink.seek(SeekFrom::Start(0))?;
        self.sink.write_all(&superblock.0)?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Section II.A, version 0.
    fn superblock(&self, root: Group) -> Block {
        let mut block = Block::new();
        block.bytes(b"\x89HDF\r\n\x1a\n").zeros(5).u8(8).u8(8).u8(0).u16(SYMBOLS_K).u16(GROUP_K).u32(0);
        block.u64(0).u64(UNDEFINED).u64(self.position).u64(UNDEFINED);
        // The root group's symbol table entry, with its parts cached.
        block.u64(0).u64(root.header).u32(1).u32(0).u64(root.tree).u64(root.heap);
        block
    }

    /// Appends a block, filled up to a multiple of eight bytes; returns its address.
    fn put(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let address = self.position;
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        self.sink.write_all(bytes)?;
        self.sink.write_all(&[0; 8][..padding])?;
        self.position += wide(bytes.len() + padding);
        Ok(address)
    }

    fn values(&mut self, values: &[f64]) -> io::Result<u64> {
        let address = self.position;
        let mut bytes = Vec::with_capacity(8 * BLOCK.min(values.len()));
        for block in values.chunks(BLOCK) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|v| v.to_le_bytes()));
            self.put(&bytes)?;
        }
        Ok(address)
    }

    /// An object header (section IV.A.1.a), all messages in it.
    fn object(&mut self, messages: &[(u16, Block)]) -> io::Result<u64> {
        let mut body = Block::new();
        for (kind, content) in messages {
            let padded = content.0.len().next_multiple_of(8);
            // The library marks what a dataset can never change as constant.
            let constant = matches!(*kind, message::DATATYPE | message::FILL_VALUE);
            body.u16(*kind).u16(narrow(padded)?).u8(u8::from(constant)).zeros(3).bytes(&content.0).pad();
        }
        let mut header = Block::new();
        header.u8(1).u8(0).u16(narrow(messages.len())?).u32(1).u32(narrow(body.0.len())?).zeros(4).bytes(&body.0);
        self.put(&header.0)
    }

    /// Attribute messages (section IV.A.2.m, version 1). Texts go into a global heap collection (section III.E).
    fn attributes(&mut self, attributes: &[(&str, Attribute<'_>)]) -> io::Result<Vec<Block>> {
        let mut collection = Block::new();
        let mut texts = 0_u16;
        let mut messages = Vec::with_capacity(attributes.len());
        for (name, value) in attributes {
            let mut data = Block::new();
            let datatype = match *value {
                Attribute::Integer(value) => {
                    data.bytes(&value.to_le_bytes());
                    INTEGER
                }
                Attribute::Real(value) => {
                    data.bytes(&value.to_le_bytes());
                    REAL
                }
                Attribute::Text(text) => {
                    texts += 1;
                    collection.u16(texts).zeros(6).u64(wide(text.len())).bytes(text.as_bytes()).pad();
                    // The collection is the next block of the file.
                    data.u32(narrow(text.len())?).u64(self.position).u32(u32::from(texts));
                    TEXT
                }
            };
            let mut message = Block::new();
            message.u8(1).u8(0).u16(narrow(name.len() + 1)?).u16(narrow(datatype.len())?).u16(8);
            message.bytes(name.as_bytes()).u8(0).pad().bytes(datatype).pad();
            // A scalar has no extents.
            message.u8(1).zeros(7).bytes(&data.0);
            messages.push(message);
        }
        if texts > 0 {
            let used = 16 + collection.0.len();
            let size = used.max(SMALLEST_COLLECTION);
            let mut heap = Block::new();
            heap.bytes(b"GCOL").u8(1).zeros(3).u64(wide(size)).bytes(&collection.0);
            if size - used >= 16 {
                // Object 0 is the free space, its own header included.
                heap.zeros(8).u64(wide(size - used)).zeros(size - used - 16);
            } else {
                heap.zeros(size - used);
            }
            self.put(&heap.0)?;
        }
        Ok(messages)
    }

    /// Writes the chunks of an array and the tree that leads to them.
    fn chunks(&mut self, shape: [usize; 3], chunk: [usize; 3], values: &[f64]) -> io::Result<u64> {
        let mut corners = Vec::new();
        for row in (0..shape[0]).step_by(chunk[0]) {
            corners.extend((0..shape[1]).step_by(chunk[1]).map(|column| [row, column]));
        }
        let compressed: Vec<Vec<u8>> = corners
            .par_iter()
            .map(|&corner| {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
                encoder.write_all(&shuffled(shape, chunk, corner, values))?;
                encoder.finish()
            })
            .collect::<io::Result<_>>()?;
        let mut keys = Vec::with_capacity(corners.len() + 1);
        let mut addresses = Vec::with_capacity(corners.len());
        for ([row, column], bytes) in corners.iter().zip(&compressed) {
            let mut key = Block::new();
            key.u32(narrow(bytes.len())?).u32(0).u64(wide(*row)).u64(wide(*column)).zeros(16);
            keys.push(key);
            addresses.push(self.put(bytes)?);
        }
        // The last key is beyond every chunk.
        let mut key = Block::new();
        key.u64(0);
        for (extent, chunk) in shape.into_iter().zip(chunk) {
            key.u64(wide(extent.next_multiple_of(chunk)));
        }
        key.u64(8);
        keys.push(key);
        self.tree(1, CHUNK_K, keys, addresses)
    }

    /// A tree (section III.A.1) over `children`, each between two of `keys`, built from the leaves up.
    fn tree(&mut self, kind: u8, k: u16, mut keys: Vec<Block>, mut children: Vec<u64>) -> io::Result<u64> {
        let fanout = usize::from(2 * k);
        let size = 24 + 8 * fanout + keys[0].0.len() * (fanout + 1);
        for level in 0_u8.. {
            // A group without links has one node without children.
            let count = children.len().div_ceil(fanout).max(1);
            let first = self.position;
            let address = |node: usize| first + wide(node * size);
            for node in 0..count {
                let range = node * fanout..children.len().min((node + 1) * fanout);
                let mut block = Block::new();
                block.bytes(b"TREE").u8(kind).u8(level).u16(narrow(range.len())?);
                block.u64(if node > 0 { address(node - 1) } else { UNDEFINED });
                block.u64(if node + 1 < count { address(node + 1) } else { UNDEFINED });
                for child in range.clone() {
                    block.bytes(&keys[child].0).u64(children[child]);
                }
                block.bytes(&keys[range.end].0);
                block.0.resize(size, 0);
                self.put(&block.0)?;
            }
            if count == 1 {
                return Ok(first);
            }
            let last = keys.pop();
            keys = keys.into_iter().step_by(fanout).chain(last).collect();
            children = (0..count).map(address).collect();
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "too many entries for one tree"))
    }
}

/// The side of square chunks over all channels.
fn chunk_side(channels: usize) -> usize {
    let mut side = LARGEST_CHUNK_SIDE;
    while side > 1 && side * side * 8 > LARGEST_CHUNK / channels.max(1) {
        side /= 2;
    }
    side
}

/// The filter pipeline message (section IV.A.2.l, version 1): shuffle, then gzip; both with their names, as the library writes them.
fn filters() -> Block {
    let mut block = Block::new();
    block.u8(1).u8(2).zeros(6);
    for (id, name, value) in [(2, b"shuffle\0", 8), (1, b"deflate\0", GZIP_LEVEL)] {
        block.u16(id).u16(8).u16(1).u16(1).bytes(name).u32(value).zeros(4);
    }
    block
}

/// The bytes of a chunk: the first of every value, then the second, and so on. What lies beyond the array is zero.
fn shuffled(shape: [usize; 3], chunk: [usize; 3], [row, column]: [usize; 2], values: &[f64]) -> Vec<u8> {
    let plane = chunk.iter().product::<usize>();
    let mut bytes = vec![0; 8 * plane];
    let run = chunk[1].min(shape[1] - column) * shape[2];
    for line in 0..chunk[0].min(shape[0] - row) {
        let start = ((row + line) * shape[1] + column) * shape[2];
        let source = &values[start..start + run];
        let target = line * chunk[1] * chunk[2];
        for (place, output) in bytes.chunks_exact_mut(plane).enumerate() {
            for (byte, value) in output[target..target + run].iter_mut().zip(source) {
                *byte = value.to_le_bytes()[place];
            }
        }
    }
    bytes
}

/// Bytes in the making, little-endian.
#[derive(Debug, Default)]
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self::default()
    }

    fn of_u64(value: u64) -> Self {
        Self(value.to_le_bytes().to_vec())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Zeros up to a multiple of eight bytes.
    fn pad(&mut self) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }
}

impl From<&[u8]> for Block {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

fn wide(number: usize) -> u64 {
    number as u64
}

/// A number in a field that may be too small for it.
fn narrow<T: TryFrom<usize>>(number: usize) -> io::Result<T> {
    T::try_from(number)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{number} does not fit an HDF5 field")))
}
