//! Polygons as a GeoPackage 1.3 (OGC 12-128r17): one feature table with attributes, the CRS and a spatial index.
//!
//! The file is one SQLite database; everything is written in one transaction with the journal in memory, so that no side files appear.
//! It must not be half-written: use it inside [`crate::atomic_file`].

use std::path::{Path, PathBuf};

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, ToSql, params, params_from_iter};

use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::polygons::Polygon;

/// Type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// 64-bit integer.
    Integer,
    /// 64-bit float.
    Real,
    /// UTF-8 text.
    Text,
}

/// An attribute of the feature table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Letters, digits and underscores, beginning with a letter; not `fid` or `geom`.
    pub name: String,
    /// The type of its values.
    pub kind: ColumnType,
}

impl Column {
    /// A column by name and type.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), kind }
    }
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For a [`ColumnType::Integer`].
    Integer(i64),
    /// For a [`ColumnType::Real`]; NaN is stored as NULL, as SQLite has no NaN.
    Real(f64),
    /// For a [`ColumnType::Text`].
    Text(String),
    /// No value, in any column.
    Null,
}

impl Value {
    fn fits(&self, kind: ColumnType) -> bool {
        matches!(
            (self, kind),
            (Self::Integer(_), ColumnType::Integer)
                | (Self::Real(_), ColumnType::Real)
                | (Self::Text(_), ColumnType::Text)
                | (Self::Null, _)
        )
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Integer(value) => value.to_sql(),
            Self::Real(value) => value.to_sql(),
            Self::Text(value) => value.to_sql(),
            Self::Null => Ok(ToSqlOutput::from(rusqlite::types::Null)),
        }
    }
}

/// A row of `gpkg_spatial_ref_sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SpatialReference {
    id: i32,
    name: String,
    organization: String,
    organization_id: i32,
    definition: String,
}

/// First number for systems of no authority; EPSG codes are below it.
const FIRST_OWN_ID: i32 = 100_000;

impl SpatialReference {
    /// EPSG codes keep their number. Without a code the definition is what counts; without either the plane is "undefined" (-1), or 0 for
    /// degrees, which the standard provides for.
    fn of(crs: Option<&Crs>, wkt: Option<&str>) -> Self {
        let Some(crs) = crs else { return Self::undefined(false) };
        let given = wkt.filter(|text| !text.is_empty()).map(str::to_owned);
        let definition = given.or_else(|| (!crs.proj.is_empty()).then(|| wkt_around_proj(crs)));
        match (crs.epsg.and_then(|code| i32::try_from(code).ok()), definition) {
            (Some(code), definition) => Self {
                id: code,
                name: crs.name.clone(),
                organization: "EPSG".into(),
                organization_id: code,
                definition: definition.unwrap_or_else(|| "undefined".into()),
            },
            (None, Some(definition)) => Self {
                id: FIRST_OWN_ID,
                name: crs.name.clone(),
                organization: "NONE".into(),
                organization_id: FIRST_OWN_ID,
                definition,
            },
            (None, None) => Self::undefined(crs.geographic),
        }
    }

    fn undefined(geographic: bool) -> Self {
        let (id, name) = if geographic { (0, "Undefined geographic SRS") } else { (-1, "Undefined Cartesian SRS") };
        Self { id, name: name.into(), organization: "NONE".into(), organization_id: id, definition: "undefined".into() }
    }

    fn wgs84() -> Self {
        let definition = concat!(
            r#"GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],"#,
            r#"AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],"#,
            r#"UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4326"]]"#
        );
        Self {
            id: 4326,
            name: "WGS 84".into(),
            organization: "EPSG".into(),
            organization_id: 4326,
            definition: definition.into(),
        }
    }
}

/// WKT 1 that carries a PROJ string in the extension node GDAL reads first; the rest of it says as little as the grammar allows.
fn wkt_around_proj(crs: &Crs) -> String {
    let quoted = |text: &str| text.replace('"', "'");
    let (name, proj) = (quoted(&crs.name), quoted(&crs.proj));
    let datum = r#"DATUM["unknown",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]"#;
    let extension = format!(r#"EXTENSION["PROJ4","{proj}"]"#);
    if crs.geographic {
        format!(r#"GEOGCS["{name}",{datum},{extension}]"#)
    } else {
        format!(r#"PROJCS["{name}",GEOGCS["unknown",{datum}],PROJECTION["custom_proj4"],UNIT["metre",1],{extension}]"#)
    }
}

/// What a feature table is called and holds.
#[derive(Debug, Clone)]
pub struct Layer<'a> {
    /// Table name: letters, digits and underscores, beginning with a letter.
    pub table: &'a str,
    /// One line on where the features come from (model, weights, settings); kept in `gpkg_contents`.
    pub description: &'a str,
    /// The CRS of the polygons.
    pub crs: Option<&'a Crs>,
    /// The CRS as well-known text (WKT 1). Where it is `None` the definition is a frame around the PROJ string that GDAL and QGIS understand
    /// and others may not, so pass it for a CRS without an EPSG code.
    pub wkt: Option<&'a str>,
    /// The attributes.
    pub columns: &'a [Column],
}

/// What the geometries of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GeometryType {
    Polygon,
    MultiPolygon,
}

impl GeometryType {
    fn name(self) -> &'static str {
        match self {
            Self::Polygon => "POLYGON",
            Self::MultiPolygon => "MULTIPOLYGON",
        }
    }
}

/// A GeoPackage being written. Nothing is valid before [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    file: PathBuf,
    table: String,
    columns: Vec<Column>,
    srs_id: i32,
    geometry_type: GeometryType,
    insert: String,
    index: String,
    extent: Option<[f64; 4]>,
}

impl Writer {
    /// Begins a GeoPackage at `path`, which must not exist or be empty.
    ///
    /// # Errors
    /// The file is not empty or cannot be written; a name is not a plain identifier or comes twice.
    pub fn create(path: impl AsRef<Path>, layer: &Layer<'_>) -> Result<Self> {
        Self::with_type(path.as_ref(), layer, GeometryType::Polygon)
    }

    /// Begins a GeoPackage whose features have any number of polygons each ([`Writer::add_parts`]).
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create_multi(path: impl AsRef<Path>, layer: &Layer<'_>) -> Result<Self> {
        Self::with_type(path.as_ref(), layer, GeometryType::MultiPolygon)
    }

    fn with_type(path: &Path, layer: &Layer<'_>, geometry_type: GeometryType) -> Result<Self> {
        check_names(layer.table, layer.columns)?;
        if std::fs::metadata(path).is_ok_and(|found| found.len() > 0) {
            return Err(Error::bad_file(path, "a file with content", "a new file", "choose another name"));
        }
        let fail = |e| sql_error(path, e);
        let connection = Connection::open(path).map_err(fail)?;
        let srs = SpatialReference::of(layer.crs, layer.wkt);
        begin(&connection, layer, &srs, geometry_type).map_err(fail)?;
        let mut names = String::from("\"geom\"");
        let mut places = String::from("?");
        for column in layer.columns {
            names += &format!(", \"{}\"", column.name);
            places += ", ?";
        }
        let table = layer.table;
        Ok(Self {
            connection,
            file: path.to_path_buf(),
            insert: format!("INSERT INTO \"{table}\" ({names}) VALUES ({places})"),
            index: format!("INSERT INTO \"rtree_{table}_geom\" VALUES (?, ?, ?, ?, ?)"),
            table: table.into(),
            columns: layer.columns.to_vec(),
            srs_id: srs.id,
            geometry_type,
            extent: None,
        })
    }

    /// Appends a polygon with one value per column.
    ///
    /// # Errors
    /// The values do not match the columns, a coordinate is not finite, or the file cannot be written.
    pub fn add(&mut self, polygon: &Polygon<f64>, values: &[Value]) -> Result<()> {
        self.add_parts(std::slice::from_ref(polygon), values)
    }

    /// Appends a feature of several polygons, or none, with one value per column.
    ///
    /// # Errors
    /// As [`Writer::add`]; also a layer of single polygons gets another number of them.
    pub fn add_parts(&mut self, polygons: &[Polygon<f64>], values: &[Value]) -> Result<()> {
        check_values(&self.columns, values)?;
        let envelope = if polygons.is_empty() { None } else { Some(envelope(polygons)?) };
        let geometry = match (self.geometry_type, polygons) {
            (GeometryType::Polygon, [polygon]) => encode(self.srs_id, envelope, |bytes| encode_polygon(bytes, polygon)),
            (GeometryType::MultiPolygon, _) => encode(self.srs_id, envelope, |bytes| encode_parts(bytes, polygons)),
            (GeometryType::Polygon, _) => Err(Error::bad_argument(
                format!("a feature of {} polygons", polygons.len()),
                "one polygon in a layer of single polygons",
                "make a layer of type MultiPolygon",
            )),
        }?;
        let fail = |e| sql_error(&self.file, e);
        let mut insert = self.connection.prepare_cached(&self.insert).map_err(fail)?;
        let geometry: &dyn ToSql = &geometry;
        let row = std::iter::once(geometry).chain(values.iter().map(|value| value as &dyn ToSql));
        let id = insert.insert(params_from_iter(row)).map_err(fail)?;
        let Some(envelope) = envelope else { return Ok(()) };
        let [x0, x1, y0, y1] = envelope;
        let mut index = self.connection.prepare_cached(&self.index).map_err(fail)?;
        index.execute(params![id, x0, x1, y0, y1]).map_err(fail)?;
        let [a0, a1, b0, b1] = self.extent.unwrap_or(envelope);
        self.extent = Some([a0.min(x0), a1.max(x1), b0.min(y0), b1.max(y1)]);
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<()> {
        let fail = |e| sql_error(&self.file, e);
        if let Some([x0, x1, y0, y1]) = self.extent {
            self.connection
                .execute(
                    "UPDATE gpkg_contents SET min_x = ?, max_x = ?, min_y = ?, max_y = ? WHERE table_name = ?",
                    params![x0, x1, y0, y1, self.table],
                )
                .map_err(fail)?;
        }
        // The triggers call functions that only spatial programs have, so they come after our own rows.
        self.connection.execute_batch(&index_triggers(&self.table)).map_err(fail)?;
        self.connection.execute_batch("COMMIT").map_err(fail)?;
        self.connection.close().map_err(|(_, e)| sql_error(&self.file, e))
    }
}

/// Checks that there is a value of the right type for each column.
pub(crate) fn check_values(columns: &[Column], values: &[Value]) -> Result<()> {
    if values.len() == columns.len() && values.iter().zip(columns).all(|(value, column)| value.fits(column.kind)) {
        return Ok(());
    }
    Err(Error::bad_argument(
        format!("attribute values {values:?}"),
        format!("one for each of {columns:?}"),
        "pass values of the columns' types",
    ))
}

fn sql_error(file: &Path, error: rusqlite::Error) -> Error {
    Error::io("write", file, std::io::Error::other(error))
}

/// Checks that names can stand in a database, and in the other formats as well.
pub(crate) fn check_names(layer: &str, columns: &[Column]) -> Result<()> {
    let is_plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_reserved = |name: &str| {
        let lower = name.to_ascii_lowercase();
        ["gpkg_", "sqlite_", "rtree_"].iter().any(|prefix| lower.starts_with(prefix))
    };
    if !is_plain(layer) || is_reserved(layer) {
        return Err(Error::bad_argument(
            format!("layer name '{}'", layer),
            "letters, digits and underscores, beginning with a letter and not with gpkg_, rtree_ or sqlite_",
            "rename the layer",
        ));
    }
    // SQLite's column names do not know case.
    let mut taken = vec!["fid".to_owned(), "geom".to_owned()];
    for column in columns {
        let lower = column.name.to_ascii_lowercase();
        if !is_plain(&column.name) || taken.contains(&lower) {
            return Err(Error::bad_argument(
                format!("attribute name '{}'", column.name),
                "letters, digits and underscores, beginning with a letter; each once; not fid or geom",
                "rename the attribute",
            ));
        }
        taken.push(lower);
    }
    Ok(())
}

/// Header, tables and metadata (OGC 12-128r17, clauses 1.1.1, 1.1.2, 1.1.3, 2.1, annex F.3).
fn begin(
    connection: &Connection,
    layer: &Layer<'_>,
    srs: &SpatialReference,
    geometry_type: GeometryType,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    connection.pragma_update(None, "application_id", 0x4750_4B47)?; // "GPKG"
    connection.pragma_update(None, "user_version", 10_300)?; // 1.3.0
    connection.execute_batch(
        "BEGIN;
        CREATE TABLE gpkg_spatial_ref_sys (
            srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
            organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
        CREATE TABLE gpkg_contents (
            table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
            last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
            min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
            CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
        CREATE TABLE gpkg_geometry_columns (
            table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
            z TINYINT NOT NULL, m TINYINT NOT NULL,
            CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
            CONSTRAINT uk_gc_table_name UNIQUE (table_name),
            CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
            CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
        CREATE TABLE gpkg_extensions (
            table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL, scope TEXT NOT NULL,
            CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name));",
    )?;
    // The three obligatory systems first; the layer's own may be one of them.
    let mut systems =
        vec![SpatialReference::wgs84(), SpatialReference::undefined(false), SpatialReference::undefined(true)];
    if systems.iter().all(|system| system.id != srs.id) {
        systems.push(srs.clone());
    }
    for system in systems {
        connection.execute(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
            params![system.name, system.id, system.organization, system.organization_id, system.definition],
        )?;
    }
    let table = layer.table;
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id) VALUES (?1, 'features', ?1, ?2, ?3)",
        params![table, layer.description, srs.id],
    )?;
    connection.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)",
        params![table, geometry_type.name(), srs.id],
    )?;
    connection.execute(
        "INSERT INTO gpkg_extensions VALUES (?, 'geom', 'gpkg_rtree_index', 'http://www.geopackage.org/spec130/#extension_rtree', 'write-only')",
        params![table],
    )?;
    let mut columns = String::new();
    for column in layer.columns {
        let kind = match column.kind {
            ColumnType::Integer => "INTEGER",
            ColumnType::Real => "REAL",
            ColumnType::Text => "TEXT",
        };
        columns += &format!(", \"{}\" {kind}", column.name);
    }
    connection.execute_batch(&format!(
        "CREATE TABLE \"{table}\" (\"fid\" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \"geom\" {}{columns});
        CREATE VIRTUAL TABLE \"rtree_{table}_geom\" USING rtree(id, minx, maxx, miny, maxy);",
        geometry_type.name()
    ))
}

/// Keeps the index current when another program edits the layer (annex F.3 names these triggers and what they do).
fn index_triggers(table: &str) -> String {
    let index = format!("\"rtree_{table}_geom\"");
    let box_of_new =
        "NEW.\"fid\", ST_MinX(NEW.\"geom\"), ST_MaxX(NEW.\"geom\"), ST_MinY(NEW.\"geom\"), ST_MaxY(NEW.\"geom\")";
    let has_new = "NEW.\"geom\" NOT NULL AND NOT ST_IsEmpty(NEW.\"geom\")";
    let has_none = "(NEW.\"geom\" ISNULL OR ST_IsEmpty(NEW.\"geom\"))";
    let trigger = |name: &str, event: &str, condition: &str, action: String| {
        format!(
            "CREATE TRIGGER \"rtree_{table}_geom_{name}\" AFTER {event} ON \"{table}\" WHEN ({condition}) BEGIN {action} END;\n"
        )
    };
    let put = format!("INSERT OR REPLACE INTO {index} VALUES ({box_of_new});");
    let drop_old = format!("DELETE FROM {index} WHERE id = OLD.\"fid\";");
    [
        trigger("insert", "INSERT", has_new, put.clone()),
        trigger("update1", "UPDATE OF \"geom\"", &format!("OLD.\"fid\" = NEW.\"fid\" AND {has_new}"), put.clone()),
        trigger(
            "update2",
            "UPDATE OF \"geom\"",
            &format!("OLD.\"fid\" = NEW.\"fid\" AND {has_none}"),
            drop_old.clone(),
        ),
        trigger("update3", "UPDATE", &format!("OLD.\"fid\" != NEW.\"fid\" AND {has_new}"), format!("{drop_old} {put}")),
        trigger(
            "update4",
            "UPDATE",
            &format!("OLD.\"fid\" != NEW.\"fid\" AND {has_none}"),
            format!("DELETE FROM {index} WHERE id IN (OLD.\"fid\", NEW.\"fid\");"),
        ),
        trigger("delete", "DELETE", "OLD.\"geom\" NOT NULL", drop_old),
    ]
    .concat()
}

/// min x, max x, min y, max y of the exteriors.
pub(crate) fn envelope(polygons: &[Polygon<f64>]) -> Result<[f64; 4]> {
    let mut found = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
    for &(x, y) in polygons.iter().flat_map(|polygon| &polygon.exterior) {
        found = [found[0].min(x), found[1].max(x), found[2].min(y), found[3].max(y)];
    }
    let mut all = polygons.iter().flat_map(Polygon::rings).flatten();
    if all.all(|&(x, y)| x.is_finite() && y.is_finite()) && found[0].is_finite() {
        return Ok(found);
    }
    Err(Error::bad_argument(
        "a polygon with coordinates that are not finite",
        "finite coordinates",
        "check the georeference",
    ))
}

/// `GeoPackageBinary` (clause 2.1.3): header with envelope, then little-endian WKB (OGC 06-103r4, section 8).
fn encode(
    srs_id: i32,
    envelope: Option<[f64; 4]>,
    geometry: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<Vec<u8>> {
    const VERSION_1: u8 = 0;
    const LITTLE_ENDIAN_ENVELOPE_XY: u8 = 0b0000_0011;
    const LITTLE_ENDIAN_EMPTY: u8 = 0b0001_0001;
    let mut bytes = b"GP".to_vec();
    bytes.extend([VERSION_1, if envelope.is_some() { LITTLE_ENDIAN_ENVELOPE_XY } else { LITTLE_ENDIAN_EMPTY }]);
    bytes.extend(srs_id.to_le_bytes());
    bytes.extend(envelope.iter().flatten().flat_map(|v| v.to_le_bytes()));
    geometry(&mut bytes)?;
    Ok(bytes)
}

fn encode_parts(bytes: &mut Vec<u8>, polygons: &[Polygon<f64>]) -> Result<()> {
    bytes.push(1); // little endian
    bytes.extend(6_u32.to_le_bytes()); // multipolygon
    bytes.extend(wkb_count(polygons.len())?);
    polygons.iter().try_for_each(|polygon| encode_polygon(bytes, polygon))
}

fn encode_polygon(bytes: &mut Vec<u8>, polygon: &Polygon<f64>) -> Result<()> {
    let vertices: usize = polygon.rings().map(Vec::len).sum();
    bytes.reserve(9 + 4 * (1 + polygon.holes.len()) + 16 * vertices);
    bytes.push(1); // little endian
    bytes.extend(3_u32.to_le_bytes()); // polygon
    bytes.extend(wkb_count(1 + polygon.holes.len())?);
    for ring in polygon.rings() {
        bytes.extend(wkb_count(ring.len())?);
        bytes.extend(ring.iter().flat_map(|&(x, y)| [x.to_le_bytes(), y.to_le_bytes()]).flatten());
    }
    Ok(())
}

fn wkb_count(n: usize) -> Result<[u8; 4]> {
    let count = u32::try_from(n)
        .map_err(|_| Error::bad_argument(format!("{n} vertices"), "fewer than 2^32", "split the scene"))?;
    Ok(count.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::crs::GeoKeys;

    fn square(x: f64, y: f64) -> Polygon<f64> {
        Polygon { exterior: vec![(x, y), (x + 10.0, y), (x + 10.0, y + 10.0), (x, y + 10.0), (x, y)], holes: vec![] }
    }

    fn crs(epsg: Option<u32>, proj: &str) -> Crs {
        Crs { epsg, name: "a name".into(), proj: proj.into(), geographic: false, keys: GeoKeys::default() }
    }

    fn layer<'a>(crs: Option<&'a Crs>, columns: &'a [Column]) -> Layer<'a> {
        Layer { table: "glaciers", description: "made by a test", crs, wkt: None, columns }
    }

    #[test]
    fn reads_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gpkg");
        let columns = [
            Column::new("area_km2", ColumnType::Real),
            Column::new("pixels", ColumnType::Integer),
            Column::new("model", ColumnType::Text),
        ];
        let utm = crs(Some(32611), "+proj=utm +zone=11 +datum=WGS84");
        let mut writer = Writer::create(&path, &layer(Some(&utm), &columns)).expect("a new file");
        let text = Value::Text("it's".into());
        writer.add(&square(0.0, 0.0), &[Value::Real(0.1), Value::Integer(7), text]).expect("matches");
        writer.add(&square(90.0, -30.0), &[Value::Real(f64::NAN), Value::Null, Value::Null]).expect("matches");
        assert!(writer.add(&square(0.0, 0.0), &[Value::Null]).is_err());
        assert!(writer.add(&square(0.0, 0.0), &[Value::Integer(1), Value::Null, Value::Null]).is_err());
        assert!(writer.add(&square(f64::NAN, 0.0), &[Value::Null, Value::Null, Value::Null]).is_err());
        writer.finish().expect("the disk has room");

        let names: Vec<_> =
            std::fs::read_dir(folder.path()).expect("exists").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(names, ["out.gpkg"], "side files remain");
        let db = Connection::open(&path).expect("a database");
        let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
        assert_eq!(one("PRAGMA application_id"), 0x4750_4B47);
        assert_eq!(one("PRAGMA user_version"), 10_300);
        assert_eq!(one("SELECT count(*) FROM gpkg_spatial_ref_sys"), 4);
        assert_eq!(one("SELECT srs_id FROM gpkg_contents"), 32611);
        assert_eq!(one("SELECT count(*) FROM gpkg_contents WHERE (min_x, min_y, max_x, max_y) = (0, -30, 100, 10)"), 1);
        assert_eq!(one("SELECT count(*) FROM glaciers WHERE area_km2 IS NULL"), 1);
        assert_eq!(one("SELECT id FROM rtree_glaciers_geom WHERE minx > 50"), 2);
        assert_eq!(one("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"), 6);
    }

    #[test]
    fn reference_systems() {
        assert_eq!(SpatialReference::of(None, None).id, -1);
        assert_eq!(SpatialReference::of(Some(&crs(None, "")), None).id, -1);
        let own = SpatialReference::of(Some(&crs(None, "+proj=aea")), Some("PROJCS[...]"));
        assert_eq!((own.id, own.definition.as_str()), (FIRST_OWN_ID, "PROJCS[...]"));
        let framed = SpatialReference::of(Some(&crs(None, "+proj=aea")), None);
        assert!(framed.id == FIRST_OWN_ID && framed.definition.contains(r#"EXTENSION["PROJ4","+proj=aea"]"#));
    }

    #[test]
    fn refuses() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.gpkg");
        for name in ["", "fid", "GEOM", "a b", "1a", "a\"; DROP"] {
            let columns = [Column::new(name, ColumnType::Real)];
            assert!(Writer::create(&path, &layer(None, &columns)).is_err(), "{name}");
        }
        std::fs::write(&path, "occupied").expect("the disk has room");
        assert!(Writer::create(&path, &layer(None, &[])).is_err());
    }
}
