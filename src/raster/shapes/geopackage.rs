//! Polygons of a GeoPackage (OGC 12-128r17): SQLite tables with geometries in a header and well-known binary (OGC 06-103r4, section 8).

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::features::fitted;
use super::flatgeobuf::Sink;
use super::{Found, damaged, wrong_geometry};
use crate::error::{self, Error};
use crate::raster::crs::Crs;
use crate::raster::geopackage::{Column, ColumnType, Value};
use crate::raster::polygons::Ring;

pub(super) fn read(path: &Path) -> error::Result<Found> {
    let mut polygons = Vec::new();
    let (_, crs) = parse(path, false, &mut |parts, _| {
        polygons.extend(parts);
        Ok(())
    })?;
    Ok((polygons, crs))
}

/// Passes every feature to `sink`, with its attributes if they are wanted; gives the columns and the CRS.
pub(super) fn parse(path: &Path, with_values: bool, sink: Sink<'_>) -> error::Result<(Vec<Column>, Option<Crs>)> {
    let fail = |e: rusqlite::Error| damaged(path, format!("a database that cannot be read as a GeoPackage ({e})"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags).map_err(fail)?;
    // The schema is the file's author's: its views and triggers may call nothing that acts.
    database.pragma_update(None, "trusted_schema", false).map_err(fail)?;
    let mut layers = database
        .prepare(
            "SELECT c.table_name, g.column_name, g.srs_id, upper(g.geometry_type_name)
             FROM gpkg_contents c JOIN gpkg_geometry_columns g ON g.table_name = c.table_name
             WHERE c.data_type = 'features' ORDER BY c.table_name",
        )
        .map_err(fail)?;
    let found: Vec<(String, String, i64, String)> = layers
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .and_then(Iterator::collect)
        .map_err(fail)?;
    let may_hold = |kind: &str| matches!(kind, "POLYGON" | "MULTIPOLYGON" | "GEOMETRY" | "GEOMETRYCOLLECTION");
    let [(table, column, srs, _)] = &*found.iter().filter(|layer| may_hold(&layer.3)).collect::<Vec<_>>() else {
        let names: Vec<String> =
            found.iter().map(|layer| format!("{} ({})", layer.0, layer.3.to_lowercase())).collect();
        let found = if names.is_empty() { "no layers".to_owned() } else { format!("layers {}", names.join(", ")) };
        return Err(Error::bad_file(
            path,
            found,
            "one layer of polygons",
            "extract it with ogr2ogr polygons.gpkg file.gpkg LAYER",
        ));
    };
    let columns = if with_values { columns(&database, table, column).map_err(fail)? } else { Vec::new() };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> =
        std::iter::once(column).chain(columns.iter().map(|c| &c.name)).map(|n| quoted(n)).collect();
    let query = format!("SELECT {} FROM {}", names.join(", "), quoted(table));
    let mut features = database.prepare(&query).map_err(fail)?;
    let mut rows = features.query([]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let mut polygons = Vec::new();
        match row.get_ref(0).map_err(fail)? {
            ValueRef::Null => {}
            ValueRef::Blob(bytes) => geometry(bytes, &mut polygons).map_err(|wrong| match wrong {
                Wrong::Kind(name) => wrong_geometry(path, name),
                Wrong::Damaged => damaged(path, "a damaged geometry"),
            })?,
            other => return Err(damaged(path, format!("a geometry stored as {}", other.data_type()))),
        }
        let value = |(number, column): (usize, &Column)| {
            let value = match row.get_ref(number + 1)? {
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Real(value) => Value::Real(value),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Null | ValueRef::Blob(_) => Value::Null,
            };
            Ok(fitted(value, column.kind))
        };
        let values: rusqlite::Result<Vec<Value>> = columns.iter().enumerate().map(value).collect();
        sink(polygons, values.map_err(fail)?)?;
    }
    Ok((columns, crs(&database, *srs).map_err(fail)?))
}

/// The attributes of a layer: all but its geometry, its key and binary ones, with the types that SQLite makes of their declarations.
fn columns(database: &Connection, table: &str, geometry: &str) -> rusqlite::Result<Vec<Column>> {
    let mut query = database.prepare("SELECT name, upper(type), pk FROM pragma_table_info(?)")?;
    let found: rusqlite::Result<Vec<(String, String, i64)>> =
        query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect();
    let has = |kind: &str, parts: &[&str]| parts.iter().any(|part| kind.contains(part));
    let attributes = found?
        .into_iter()
        .filter(|(name, kind, key)| !name.eq_ignore_ascii_case(geometry) && *key == 0 && !has(kind, &["BLOB"]));
    let column = |(name, kind, _): (String, String, i64)| {
        let kind = if has(&kind, &["INT", "BOOL"]) {
            ColumnType::Integer
        } else if has(&kind, &["REAL", "FLOA", "DOUB"]) {
            ColumnType::Real
        } else {
            ColumnType::Text
        };
        Column { name, kind }
    };
    Ok(attributes.map(column).collect())
}

/// The reference system of a layer. -1 and 0 stand for unknown ones.
fn crs(database: &Connection, srs: i64) -> rusqlite::Result<Option<Crs>> {
    if srs <= 0 {
        return Ok(None);
    }
    let query = "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?";
    let found: Option<(String, i64, String)> =
        database.query_row(query, [srs], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    Ok(found.map(|(organization, code, definition)| {
        let code = u32::try_from(code).ok().filter(|_| organization.eq_ignore_ascii_case("EPSG"));
        code.and_then(|code| Crs::from_epsg(code).ok()).unwrap_or_else(|| Crs::from_wkt(&definition))
    }))
}

/// Why a geometry is refused.
#[derive(Debug, PartialEq)]
enum Wrong {
    Kind(&'static str),
    Damaged,
}

/// Header (clause 2.1.3): `GP`, version, flags, SRS, envelope.
fn geometry(bytes: &[u8], polygons: &mut Vec<Vec<Ring<f64>>>) -> Result<(), Wrong> {
    const EMPTY: u8 = 1 << 4;
    const EXTENDED: u8 = 1 << 5;
    let [b'G', b'P', _, flags, ..] = *bytes else { return Err(Wrong::Damaged) };
    if flags & EXTENDED != 0 {
        return Err(Wrong::Kind("an extension"));
    }
    if flags & EMPTY != 0 {
        return Ok(());
    }
    let envelope = match flags >> 1 & 7 {
        0 => 0,
        1 => 32,
        2 | 3 => 48,
        4 => 64,
        _ => return Err(Wrong::Damaged),
    };
    let mut binary = Binary { rest: bytes.get(8 + envelope..).ok_or(Wrong::Damaged)?, little: true };
    binary.geometry(polygons, 0)
}

/// Deeper collections of collections occur in attacks only.
const MAX_DEPTH: usize = 8;

/// Well-known binary, being read.
struct Binary<'a> {
    rest: &'a [u8],
    little: bool,
}

impl Binary<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Wrong::Damaged)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, Wrong> {
        let bytes = self.take()?;
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn float(&mut self) -> Result<f64, Wrong> {
        let bytes = self.take()?;
        Ok(if self.little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) })
    }

    /// How many items follow, of at least some bytes each.
    fn count(&mut self, item_bytes: usize) -> Result<usize, Wrong> {
        let count = self.number()? as usize;
        if count > self.rest.len() / item_bytes { Err(Wrong::Damaged) } else { Ok(count) }
    }

    fn geometry(&mut self, polygons: &mut Vec<Vec<Ring<f64>>>, depth: usize) -> Result<(), Wrong> {
        self.little = match self.take::<1>()? {
            [0] => false,
            [1] => true,
            _ => return Err(Wrong::Damaged),
        };
        // Thousands tell of heights and measures; other programs set the upper bits instead.
        let code = self.number()?;
        let kind = code & 0x0fff_ffff;
        let more = usize::from(kind / 1000 == 3) + usize::from(kind >= 1000);
        let coordinates = 2 + more.max(usize::from(code >> 31 == 1) + usize::from(code >> 30 & 1 == 1));
        match kind % 1000 {
            3 => {
                let rings = self.count(4)?;
                let rings = (0..rings).map(|_| self.ring(coordinates)).collect::<Result<Vec<_>, _>>()?;
                if !rings.is_empty() {
                    polygons.push(rings);
                }
                Ok(())
            }
            6 | 7 if depth < MAX_DEPTH => {
                let parts = self.count(5)?;
                (0..parts).try_for_each(|_| self.geometry(polygons, depth + 1))
            }
            1 | 4 => Err(Wrong::Kind("Point")),
            2 | 5 => Err(Wrong::Kind("LineString")),
            8..=14 => Err(Wrong::Kind("curve")),
            _ => Err(Wrong::Damaged),
        }
    }

    fn ring(&mut self, coordinates: usize) -> Result<Ring<f64>, Wrong> {
        let count = self.count(8 * coordinates)?;
        let mut ring = Vec::with_capacity(count);
        for _ in 0..count {
            ring.push((self.float()?, self.float()?));
            for _ in 2..coordinates {
                self.float()?;
            }
        }
        Ok(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::geopackage::{Layer, Writer};
    use crate::raster::polygons::Polygon;

    fn written(crs: Option<&Crs>) -> Found {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gpkg");
        let layer = Layer { table: "glaciers", description: "", crs, wkt: None, columns: &[] };
        let mut writer = Writer::create(&path, &layer).expect("a new file");
        let square = |x: f64, side: f64| vec![(x, x), (x + side, x), (x + side, x + side), (x, x + side), (x, x)];
        writer.add(&Polygon { exterior: square(0.0, 9.0), holes: vec![square(2.0, 1.0)] }, &[]).expect("written");
        writer.add(&Polygon { exterior: square(20.0, 3.0), holes: vec![] }, &[]).expect("written");
        writer.finish().expect("the disk has room");
        read(&path).expect("our own file")
    }

    #[test]
    fn our_own_files() {
        let utm = Crs::from_epsg(32611).expect("a registered code");
        let (polygons, crs) = written(Some(&utm));
        assert_eq!(polygons.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(polygons[0][1][2], (3.0, 3.0));
        assert_eq!(crs.and_then(|crs| crs.epsg), Some(32611));
        assert!(written(None).1.is_none());
        // A CRS without a code comes back by its definition.
        let own = Crs { epsg: None, ..utm };
        assert_eq!(written(Some(&own)).1.map(|crs| crs.proj), Some(own.proj));
    }

    fn parse(bytes: &[u8]) -> Result<Vec<Vec<Ring<f64>>>, Wrong> {
        let mut polygons = Vec::new();
        geometry(bytes, &mut polygons).map(|()| polygons)
    }

    /// A triangle with heights in a collection, big-endian.
    fn with_heights() -> Vec<u8> {
        let mut bytes = b"GP\0\0\0\0\0\0".to_vec();
        bytes.extend([0, 0, 0, 3, 0xee, 0, 0, 0, 1]); // 1006: MultiPolygon Z
        bytes.extend([0, 0, 0, 3, 0xeb, 0, 0, 0, 1, 0, 0, 0, 4]); // 1003: Polygon Z
        for value in [0.0, 0.0, 7.0, 4.0, 0.0, 7.0, 0.0, 4.0, 7.0, 0.0, 0.0, 7.0_f64] {
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn heights_and_byte_orders() {
        let expected = vec![vec![vec![(0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (0.0, 0.0)]]];
        assert_eq!(parse(&with_heights()), Ok(expected.clone()));
        // The same with the other mark of heights.
        let mut extended = with_heights();
        extended.splice(18..22, 0x8000_0003_u32.to_be_bytes());
        assert_eq!(parse(&extended), Ok(expected));
        assert_eq!(parse(b"GP\0\x11\0\0\0\0"), Ok(vec![]));
    }

    #[test]
    fn damage_is_refused() {
        let whole = with_heights();
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Err(Wrong::Damaged), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] = 0xff;
            let _ = parse(&bad);
        }
        let mut deep = b"GP\0\x01\0\0\0\0".to_vec();
        deep.extend([1, 7, 0, 0, 0, 1, 0, 0, 0].repeat(1000));
        assert_eq!(parse(&deep), Err(Wrong::Damaged));
        let mut point = b"GP\0\x01\0\0\0\0".to_vec();
        point.extend([1, 1, 0, 0, 0]);
        point.extend([0; 16]);
        assert_eq!(parse(&point), Err(Wrong::Kind("Point")));
    }

    #[test]
    fn other_databases_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("other.db");
        let database = Connection::open(&path).expect("a database");
        database.execute_batch("CREATE TABLE a (b)").expect("a table");
        drop(database);
        assert!(read(&path).is_err());
        std::fs::write(&path, b"SQLite format 3\0 and nothing").expect("the disk has room");
        assert!(read(&path).is_err());
    }
}
