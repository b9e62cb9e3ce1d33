//! FlatGeobuf in (flatgeobuf.org, version 3): header and features; the spatial index between them is passed over.

use std::path::Path;

use super::flatbuffer::View;
use super::{Found, damaged, wrong_geometry};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::geopackage::{Column, ColumnType, Value};
use crate::raster::polygons::Ring;

/// The first eight bytes: `fgb`, the major version, `fgb`, the patch level. Readers take any patch level.
pub(super) const MAGIC: &[u8; 8] = b"fgb\x03fgb\x00";
pub(super) const POLYGON: u8 = 3;
pub(super) const MULTI_POLYGON: u8 = 6;
/// Children of a node in the files that we write.
pub(super) const NODE_SIZE: u16 = 16;
/// Bytes of a node: the box and an offset.
const NODE_BYTES: usize = 40;

/// Numbers of fields in the schemas `header.fbs` and `feature.fbs`, and of the types of columns.
pub(super) mod slot {
    pub(in crate::raster::shapes) const NAME: usize = 0;
    pub(in crate::raster::shapes) const ENVELOPE: usize = 1;
    pub(in crate::raster::shapes) const GEOMETRY_TYPE: usize = 2;
    pub(in crate::raster::shapes) const COLUMNS: usize = 7;
    pub(in crate::raster::shapes) const FEATURES_COUNT: usize = 8;
    pub(in crate::raster::shapes) const INDEX_NODE_SIZE: usize = 9;
    pub(in crate::raster::shapes) const CRS: usize = 10;
    pub(in crate::raster::shapes) const DESCRIPTION: usize = 12;

    pub(in crate::raster::shapes) const COLUMN_NAME: usize = 0;
    pub(in crate::raster::shapes) const COLUMN_TYPE: usize = 1;

    pub(in crate::raster::shapes) const CRS_ORG: usize = 0;
    pub(in crate::raster::shapes) const CRS_CODE: usize = 1;
    pub(in crate::raster::shapes) const CRS_NAME: usize = 2;
    pub(in crate::raster::shapes) const CRS_WKT: usize = 4;

    pub(in crate::raster::shapes) const GEOMETRY: usize = 0;
    pub(in crate::raster::shapes) const PROPERTIES: usize = 1;

    pub(in crate::raster::shapes) const ENDS: usize = 0;
    pub(in crate::raster::shapes) const XY: usize = 1;
    pub(in crate::raster::shapes) const TYPE: usize = 6;
    pub(in crate::raster::shapes) const PARTS: usize = 7;

    pub(in crate::raster::shapes) const LONG: u8 = 7;
    pub(in crate::raster::shapes) const DOUBLE: u8 = 10;
    pub(in crate::raster::shapes) const STRING: u8 = 11;
}

/// Where the levels of a packed tree begin and end among its nodes, that of the features first; the root is node 0. `None` for numbers that no file has.
pub(super) fn levels(features: usize, node_size: usize) -> Option<Vec<(usize, usize)>> {
    if features == 0 || node_size < 2 {
        return None;
    }
    let mut counts = vec![features];
    let mut count = features;
    loop {
        count = count.div_ceil(node_size);
        counts.push(count);
        if count == 1 {
            break;
        }
    }
    let mut end = counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count))?;
    let place = |count: &usize| {
        let level = (end - count, end);
        end = level.0;
        level
    };
    Some(counts.iter().map(place).collect())
}

pub(super) fn read(path: &Path) -> Result<Found> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let mut polygons = Vec::new();
    let (_, crs) = parse(path, &bytes, &mut |parts, _| {
        polygons.extend(parts);
        Ok(())
    })?;
    Ok((polygons, crs))
}

/// What is read for each feature: its polygons, and its values in the order of the columns.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Vec<Vec<Ring<f64>>>, Vec<Value>) -> Result<()>;

/// Passes every feature to `sink`; gives the columns and the CRS.
pub(super) fn parse(path: &Path, bytes: &[u8], sink: Sink<'_>) -> Result<(Vec<Column>, Option<Crs>)> {
    let bad = |found: &str| damaged(path, found.to_owned());
    let rest = bytes.get(8..).ok_or_else(|| bad("a file that ends in its first bytes"))?;
    let (header, mut rest) = split(rest).ok_or_else(|| bad("a damaged header"))?;
    let mut budget = header.len();
    let header = View::root(header).ok_or_else(|| bad("a damaged header"))?;
    let declared = header.byte(slot::GEOMETRY_TYPE).unwrap_or(0);
    let columns = columns(&header, &mut budget).ok_or_else(|| bad("a damaged list of attributes"))?;
    let count = header.long(slot::FEATURES_COUNT).unwrap_or(0);
    let node_size = usize::from(header.short(slot::INDEX_NODE_SIZE).unwrap_or(NODE_SIZE));
    if node_size > 0 && count > 0 {
        let nodes = usize::try_from(count)
            .ok()
            .and_then(|count| levels(count, node_size))
            .and_then(|levels| Some(levels.first()?.1));
        let index = nodes.and_then(|nodes| nodes.checked_mul(NODE_BYTES));
        rest = index.and_then(|index| rest.get(index..)).ok_or_else(|| bad("a file that ends in its spatial index"))?;
    }
    while !rest.is_empty() {
        let (feature, tail) = split(rest).ok_or_else(|| bad("a file that ends in a feature"))?;
        // Parts may point to the same vertices; honest ones do not, so what is copied is less than the feature.
        let mut budget = feature.len();
        let feature = View::root(feature).ok_or_else(|| bad("a damaged feature"))?;
        let mut polygons = Vec::new();
        if let Some(geometry) = feature.table(slot::GEOMETRY) {
            gather(&geometry, declared, &mut budget, &mut polygons).map_err(|wrong| match wrong {
                Wrong::Kind(name) => wrong_geometry(path, name),
                Wrong::Damaged => bad("a damaged geometry"),
            })?;
        }
        let properties = feature.bytes(slot::PROPERTIES).unwrap_or_default();
        let values = values(properties, &columns).ok_or_else(|| bad("damaged attributes"))?;
        sink(polygons, values)?;
        rest = tail;
    }
    let columns = columns.into_iter().map(|(column, _)| column).collect();
    Ok((columns, header.table(slot::CRS).and_then(|crs| reference_system(&crs))))
}

/// Splits off a buffer with its length in front.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Columns with their types in the file.
fn columns(header: &View<'_>, budget: &mut usize) -> Option<Vec<(Column, u8)>> {
    let Some(tables) = header.tables(slot::COLUMNS) else { return Some(Vec::new()) };
    let mut column = |table: &View<'_>| {
        let kind = table.byte(slot::COLUMN_TYPE).unwrap_or(0);
        let ours = match kind {
            0..=slot::LONG | 8 => ColumnType::Integer,
            9 | slot::DOUBLE => ColumnType::Real,
            _ => ColumnType::Text,
        };
        let name = table.text(slot::COLUMN_NAME)?;
        // Several may point to one name.
        *budget = budget.checked_sub(name.len())?;
        Some((Column::new(name, ours), kind))
    };
    tables.iter().map(&mut column).collect()
}

/// Pairs of a column's number and its value; columns without one are `Null`.
fn values(mut bytes: &[u8], columns: &[(Column, u8)]) -> Option<Vec<Value>> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*taken)
    }
    let mut values = vec![Value::Null; columns.len()];
    while !bytes.is_empty() {
        let column = usize::from(u16::from_le_bytes(take(&mut bytes)?));
        let (_, kind) = columns.get(column)?;
        let value = match kind {
            0 => Value::Integer(i64::from(i8::from_le_bytes(take(&mut bytes)?))),
            1 | 2 => Value::Integer(i64::from(u8::from_le_bytes(take(&mut bytes)?))),
            3 => Value::Integer(i64::from(i16::from_le_bytes(take(&mut bytes)?))),
            4 => Value::Integer(i64::from(u16::from_le_bytes(take(&mut bytes)?))),
            5 => Value::Integer(i64::from(i32::from_le_bytes(take(&mut bytes)?))),
            6 => Value::Integer(i64::from(u32::from_le_bytes(take(&mut bytes)?))),
            7 => Value::Integer(i64::from_le_bytes(take(&mut bytes)?)),
            8 => i64::try_from(u64::from_le_bytes(take(&mut bytes)?)).map_or(Value::Null, Value::Integer),
            9 => Value::Real(f64::from(f32::from_le_bytes(take(&mut bytes)?))),
            10 => Value::Real(f64::from_le_bytes(take(&mut bytes)?)),
            // Text, JSON, a date, or bytes of no meaning here.
            11..=14 => {
                let length = u32::from_le_bytes(take(&mut bytes)?) as usize;
                let (text, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                if *kind == 14 { Value::Null } else { Value::Text(String::from_utf8_lossy(text).into_owned()) }
            }
            _ => return None,
        };
        *values.get_mut(column)? = value;
    }
    Some(values)
}

enum Wrong {
    Kind(&'static str),
    Damaged,
}

/// Gathers the polygons of a geometry; `declared` is the file's type, 0 where each feature has its own.
fn gather(
    geometry: &View<'_>,
    declared: u8,
    budget: &mut usize,
    polygons: &mut Vec<Vec<Ring<f64>>>,
) -> std::result::Result<(), Wrong> {
    let kind = geometry.byte(slot::TYPE).filter(|kind| *kind != 0).unwrap_or(declared);
    match kind {
        POLYGON => {
            let rings = rings(geometry, budget).ok_or(Wrong::Damaged)?;
            if !rings.is_empty() {
                polygons.push(rings);
            }
            Ok(())
        }
        MULTI_POLYGON => {
            let Some(parts) = geometry.tables(slot::PARTS) else {
                // An empty one has no parts; one of a single part may have it inline.
                polygons.extend(rings(geometry, budget).filter(|rings| !rings.is_empty()));
                return Ok(());
            };
            for part in parts {
                polygons.push(rings(&part, budget).ok_or(Wrong::Damaged)?);
            }
            Ok(())
        }
        1 | 4 => Err(Wrong::Kind("Point")),
        2 | 5 => Err(Wrong::Kind("LineString")),
        7 => Err(Wrong::Kind("GeometryCollection")),
        8..=17 => Err(Wrong::Kind("curve or surface")),
        _ => Err(Wrong::Damaged),
    }
}

/// The rings of a polygon: vertices, and where rings end among them.
fn rings(geometry: &View<'_>, budget: &mut usize) -> Option<Vec<Ring<f64>>> {
    let Some(xy) = geometry.doubles(slot::XY) else { return Some(Vec::new()) };
    *budget = budget.checked_sub(8 * xy.len())?;
    let vertices: Ring<f64> = xy.as_chunks::<2>().0.iter().map(|&[x, y]| (x, y)).collect();
    // A polygon of one ring need not say where it ends.
    let Some(ends) = geometry.uints(slot::ENDS).filter(|ends| !ends.is_empty()) else { return Some(vec![vertices]) };
    *budget = budget.checked_sub(4 * ends.len())?;
    let mut start = 0;
    let ring = |end: &u32| {
        let ring = vertices.get(start..*end as usize)?.to_vec();
        start = *end as usize;
        Some(ring)
    };
    ends.iter().map(ring).collect()
}

fn reference_system(crs: &View<'_>) -> Option<Crs> {
    let code = crs.int(slot::CRS_CODE).and_then(|code| u32::try_from(code).ok()).filter(|code| *code > 0);
    let is_epsg = crs.text(slot::CRS_ORG).is_none_or(|org| org.eq_ignore_ascii_case("EPSG"));
    code.filter(|_| is_epsg)
        .and_then(|code| Crs::from_epsg(code).ok())
        .or_else(|| crs.text(slot::CRS_WKT).filter(|text| !text.is_empty()).map(Crs::from_wkt))
}
