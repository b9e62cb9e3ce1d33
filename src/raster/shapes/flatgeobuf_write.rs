//! FlatGeobuf out (flatgeobuf.org, version 3): a header, a packed Hilbert R-tree over the features' bounding boxes, the features.
//!
//! The tree stands before the features and is packed along a Hilbert curve (Kamel and Faloutsos 1993), so features are spooled to a temporary file
//! and written in the curve's order at the end; meanwhile each takes 56 bytes of memory.

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::flatbuffer::{Field, Table, size_prefixed};
use super::flatgeobuf::{MAGIC, MULTI_POLYGON, NODE_SIZE, POLYGON, levels, slot};
use super::writer::Layer;
use crate::atomic_file::{GrowingFile, StagedFiles};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::geopackage::{Column, ColumnType, Value, envelope};
use crate::raster::polygons::Polygon;

/// A FlatGeobuf file being written.
#[derive(Debug)]
pub(super) struct FlatGeobufWriter {
    target: PathBuf,
    name: String,
    description: String,
    crs: Option<Crs>,
    columns: Vec<Column>,
    /// In the folder of the target: it gets as large as that.
    spool: BufWriter<std::fs::File>,
    features: Vec<Spooled>,
    bytes: u64,
}

/// A feature in the spool.
#[derive(Debug, Clone, Copy)]
struct Spooled {
    item: Item,
    length: u32,
}

/// A node of the tree.
#[derive(Debug, Clone, Copy)]
struct Item {
    /// min x, max x, min y, max y.
    envelope: [f64; 4],
    /// Where a feature begins, or the number of a node's first child.
    offset: u64,
}

/// Meets nothing, and adds nothing to a node.
const NOWHERE: [f64; 4] = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];

fn joined(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [a[0].min(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].max(b[3])]
}

impl Item {
    fn bytes(&self) -> Vec<u8> {
        let [x0, x1, y0, y1] = self.envelope;
        let mut bytes: Vec<u8> = [x0, y0, x1, y1].iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.extend(self.offset.to_le_bytes());
        bytes
    }
}

impl FlatGeobufWriter {
    pub(super) fn create(target: &Path, layer: &Layer<'_>) -> Result<Self> {
        if layer.columns.len() > usize::from(u16::MAX) {
            let found = format!("{} attributes", layer.columns.len());
            return Err(Error::bad_file(target, found, "at most 65535", "leave some out"));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let spool = tempfile::tempfile_in(folder).map_err(|e| Error::io("create a file in", folder, e))?;
        Ok(Self {
            target: target.to_path_buf(),
            name: layer.name.to_owned(),
            description: layer.description.to_owned(),
            crs: layer.crs.cloned(),
            columns: layer.columns.to_vec(),
            spool: BufWriter::with_capacity(1 << 18, spool),
            features: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn add(&mut self, polygons: &[Polygon<f64>], values: &[Value]) -> Result<()> {
        let envelope = if polygons.is_empty() { NOWHERE } else { envelope(polygons)? };
        let feature = feature(polygons, values)
            .and_then(|feature| size_prefixed(&feature))
            .and_then(|bytes| Some((u32::try_from(bytes.len()).ok()?, bytes)));
        let Some((length, bytes)) = feature else {
            let remedy = "choose a name that ends in .gpkg";
            return Err(Error::bad_file(&self.target, "a feature of more than 2 GiB", "a smaller one", remedy));
        };
        self.spool.write_all(&bytes).map_err(|e| Error::io("write", &self.target, e))?;
        self.features.push(Spooled { item: Item { envelope, offset: self.bytes }, length });
        self.bytes += u64::from(length);
        Ok(())
    }

    pub(super) fn finish(mut self, staged: &mut StagedFiles) -> Result<()> {
        let extent = self.features.iter().fold(NOWHERE, |extent, spooled| joined(extent, spooled.item.envelope));
        // The order of equal keys stays that of arrival.
        self.features.sort_by_key(|spooled| std::cmp::Reverse(curve_position(spooled.item.envelope, extent)));
        let target = self.target.clone();
        let fail = |e| Error::io("write", &target, e);
        let mut file = BufWriter::with_capacity(1 << 18, GrowingFile::create(&target)?);
        file.write_all(MAGIC).map_err(fail)?;
        let header = size_prefixed(&self.header(extent)).ok_or_else(|| {
            Error::bad_file(&target, "a header of more than 2 GiB", "a smaller one", "shorten the description")
        })?;
        file.write_all(&header).map_err(fail)?;
        for node in tree(&self.features) {
            file.write_all(&node.bytes()).map_err(fail)?;
        }
        let mut spool = self.spool.into_inner().map_err(|e| fail(e.into_error()))?;
        let mut bytes = Vec::new();
        for Spooled { item, length } in &self.features {
            bytes.resize(*length as usize, 0);
            spool.seek(SeekFrom::Start(item.offset)).and_then(|_| spool.read_exact(&mut bytes)).map_err(fail)?;
            file.write_all(&bytes).map_err(fail)?;
        }
        staged.add(file.into_inner().map_err(|e| fail(e.into_error()))?)
    }

    fn header(&self, extent: [f64; 4]) -> Table {
        let columns = self.columns.iter().map(|column| {
            let kind = match column.kind {
                ColumnType::Integer => slot::LONG,
                ColumnType::Real => slot::DOUBLE,
                ColumnType::Text => slot::STRING,
            };
            Table(vec![(slot::COLUMN_NAME, Field::Text(column.name.clone())), (slot::COLUMN_TYPE, Field::Byte(kind))])
        });
        let mut header = vec![
            (slot::NAME, Field::Text(self.name.clone())),
            (slot::GEOMETRY_TYPE, Field::Byte(MULTI_POLYGON)),
            (slot::COLUMNS, Field::Tables(columns.collect())),
            (slot::FEATURES_COUNT, Field::Long(self.features.len() as u64)),
            // No tree over nothing.
            (slot::INDEX_NODE_SIZE, Field::Short(if self.features.is_empty() { 0 } else { NODE_SIZE })),
            (slot::DESCRIPTION, Field::Text(self.description.clone())),
        ];
        if extent[0] <= extent[1] {
            let [x0, x1, y0, y1] = extent;
            header.push((slot::ENVELOPE, Field::Doubles(vec![x0, y0, x1, y1])));
        }
        if let Some(crs) = &self.crs {
            let mut fields =
                vec![(slot::CRS_NAME, Field::Text(crs.name.clone())), (slot::CRS_WKT, Field::Text(crs.wkt()))];
            if let Some(code) = crs.epsg.and_then(|code| i32::try_from(code).ok()) {
                fields.extend([(slot::CRS_ORG, Field::Text("EPSG".into())), (slot::CRS_CODE, Field::Int(code))]);
            }
            header.push((slot::CRS, Field::Table(Table(fields))));
        }
        Table(header)
    }
}

/// A feature's table; `None` if it has too many vertices or too long a text.
fn feature(polygons: &[Polygon<f64>], values: &[Value]) -> Option<Table> {
    let part = |polygon: &Polygon<f64>| {
        let mut end = 0;
        let ends = polygon.rings().map(|ring| {
            end += ring.len();
            u32::try_from(end).ok()
        });
        let ends = ends.collect::<Option<Vec<u32>>>()?;
        let xy = polygon.rings().flatten().flat_map(|&(x, y)| [x, y]).collect();
        Some(Table(vec![
            (slot::ENDS, Field::Uints(ends)),
            (slot::XY, Field::Doubles(xy)),
            (slot::TYPE, Field::Byte(POLYGON)),
        ]))
    };
    let mut fields = Vec::new();
    if !polygons.is_empty() {
        let parts = polygons.iter().map(part).collect::<Option<Vec<Table>>>()?;
        let geometry = Table(vec![(slot::TYPE, Field::Byte(MULTI_POLYGON)), (slot::PARTS, Field::Tables(parts))]);
        fields.push((slot::GEOMETRY, Field::Table(geometry)));
    }
    let mut properties = Vec::new();
    for (column, value) in values.iter().enumerate() {
        let column = u16::try_from(column).ok()?.to_le_bytes();
        match value {
            Value::Integer(value) => properties.extend(column.into_iter().chain(value.to_le_bytes())),
            Value::Real(value) if !value.is_nan() => properties.extend(column.into_iter().chain(value.to_le_bytes())),
            Value::Text(text) => {
                properties.extend(column.into_iter().chain(u32::try_from(text.len()).ok()?.to_le_bytes()));
                properties.extend(text.bytes());
            }
            // Values that are not there are not written.
            Value::Real(_) | Value::Null => {}
        }
    }
    if !properties.is_empty() {
        fields.push((slot::PROPERTIES, Field::Bytes(properties)));
    }
    Some(Table(fields))
}

/// The nodes of the tree, the root first, the features' last, in the order of the features.
fn tree(features: &[Spooled]) -> Vec<Item> {
    let Some(levels) = levels(features.len(), usize::from(NODE_SIZE)) else { return Vec::new() };
    let Some(&(first_leaf, _)) = levels.first() else { return Vec::new() };
    let empty = Item { envelope: NOWHERE, offset: 0 };
    let mut nodes = vec![empty; first_leaf];
    let mut offset = 0;
    for spooled in features {
        nodes.push(Item { envelope: spooled.item.envelope, offset });
        offset += u64::from(spooled.length);
    }
    for pair in levels.windows(2) {
        let ((from, to), (parent, _)) = (pair[0], pair[1]);
        for (number, first) in (from..to).step_by(usize::from(NODE_SIZE)).enumerate() {
            let children = &nodes[first..to.min(first + usize::from(NODE_SIZE))];
            let envelope = children.iter().fold(NOWHERE, |envelope, child| joined(envelope, child.envelope));
            nodes[parent + number] = Item { envelope, offset: first as u64 };
        }
    }
    nodes
}

/// Where the middle of a box lies on a Hilbert curve through 65536 x 65536 cells of the extent.
fn curve_position([x0, x1, y0, y1]: [f64; 4], extent: [f64; 4]) -> u32 {
    const SIDE: u32 = 1 << 16;
    let cell = |middle: f64, low: f64, high: f64| {
        let share = if high > low { (middle - low) / (high - low) } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the side first; NaN becomes 0"
        )]
        let cell = (share * f64::from(SIDE - 1)).clamp(0.0, f64::from(SIDE - 1)) as u32;
        cell
    };
    let mut x = cell(f64::midpoint(x0, x1), extent[0], extent[1]);
    let mut y = cell(f64::midpoint(y0, y1), extent[2], extent[3]);
    let mut position = 0;
    let mut half = SIDE / 2;
    while half > 0 {
        let (right, upper) = (u32::from(x & half > 0), u32::from(y & half > 0));
        position += half * half * ((3 * right) ^ upper);
        // The curve in each quadrant is the whole one, turned.
        if upper == 0 {
            if right == 1 {
                (x, y) = (SIDE - 1 - x, SIDE - 1 - y);
            }
            (x, y) = (y, x);
        }
        half /= 2;
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_visits_neighbours() {
        // Of 4 x 4 boxes in the order of the curve, each touches the one before.
        let at = |x: f64, y: f64| curve_position([x, x, y, y], [0.0, 3.0, 0.0, 3.0]);
        let mut cells: Vec<(u32, i32, i32)> =
            (0..16).map(|i| (at(f64::from(i % 4), f64::from(i / 4)), i % 4, i / 4)).collect();
        cells.sort_unstable();
        for pair in cells.windows(2) {
            assert_eq!((pair[0].1 - pair[1].1).abs() + (pair[0].2 - pair[1].2).abs(), 1, "{cells:?}");
        }
    }

    #[test]
    fn every_node_holds_its_children() {
        for count in [1_u32, 2, 15, 16, 17, 256, 257, 5000] {
            let features: Vec<Spooled> = (0..count)
                .map(|i| {
                    let (x, y) = (f64::from(i % 70), f64::from(i / 70));
                    Spooled { item: Item { envelope: [x, x + 1.0, y, y + 1.0], offset: 0 }, length: 10 }
                })
                .collect();
            let nodes = tree(&features);
            let levels = levels(features.len(), 16).expect("small");
            assert_eq!(levels.last().map(|level| level.0), Some(0));
            assert_eq!(nodes[0].envelope, features.iter().fold(NOWHERE, |e, f| joined(e, f.item.envelope)));
            for pair in levels.windows(2) {
                let ((_, end), (parent, parents_end)) = (pair[0], pair[1]);
                for node in &nodes[parent..parents_end] {
                    let first = usize::try_from(node.offset).expect("small");
                    let children = nodes[first..end.min(first + 16)].iter();
                    assert_eq!(node.envelope, children.fold(NOWHERE, |e, child| joined(e, child.envelope)));
                }
            }
            assert_eq!(nodes.last().map(|leaf| leaf.offset), Some(u64::from(count - 1) * 10));
        }
    }
}
