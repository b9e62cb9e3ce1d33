//! GeoJSON (RFC 7946), and the `crs` member of its forerunner of 2008 that GDAL still writes.
//!
//! The crate `geojson` would keep every property in memory; where geometries alone are wanted, serde skips the rest.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::features::{common_type, fitted};
use super::flatgeobuf::Sink;
use super::{Found, damaged, wrong_geometry};
use crate::error::{self, Error};
use crate::raster::crs::Crs;
use crate::raster::geopackage::{Column, ColumnType, Value as Attribute};
use crate::raster::polygons::Ring;

/// Any object of a GeoJSON text. Members of other kinds of objects are absent.
/// `P` is what is kept of the properties.
#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de> + Default"))]
struct Object<P> {
    #[serde(rename = "type")]
    kind: String,
    /// Absent is RFC 7946's WGS 84; `null` is "unknown" by the rules of 2008.
    #[serde(default, deserialize_with = "present")]
    crs: Option<Value>,
    features: Option<Vec<Object<P>>>,
    geometry: Option<Box<Object<P>>>,
    geometries: Option<Vec<Object<P>>>,
    coordinates: Option<Nested>,
    #[serde(default)]
    properties: P,
}

/// The properties of a feature, in the file's order.
#[derive(Default)]
struct Properties(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object or null")
            }

            fn visit_unit<E>(self) -> Result<Properties, E> {
                Ok(Properties::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Properties(pairs))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Numbers in lists in lists.
enum Nested {
    Number(f64),
    List(Vec<Nested>),
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Nested;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number or a list")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Nested, E> {
                Ok(Nested::Number(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Nested, E> {
                Ok(Nested::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Nested, E> {
                Ok(Nested::Number(value as f64))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nested, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Nested::List(items))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Nested {
    fn list(&self) -> Option<&[Nested]> {
        match self {
            Self::List(items) => Some(items),
            Self::Number(_) => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::List(_) => None,
        }
    }

    /// The rings of a polygon; `None` where the nesting is not that of one.
    fn polygon(&self) -> Option<Vec<Ring<f64>>> {
        let vertex = |vertex: &Nested| {
            let vertex = vertex.list()?;
            Some((vertex.first()?.number()?, vertex.get(1)?.number()?))
        };
        self.list()?.iter().map(|ring| ring.list()?.iter().map(vertex).collect()).collect()
    }
}

pub(super) fn read(path: &Path) -> error::Result<Found> {
    let root = root::<IgnoredAny>(path)?;
    let mut polygons = Vec::new();
    collect(path, &root, &mut polygons)?;
    Ok((polygons, crs(path, root.crs.as_ref())?))
}

fn root<P: DeserializeOwned + Default>(path: &Path) -> error::Result<Object<P>> {
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    serde_json::from_slice(text).map_err(|e| damaged(path, format!("text that is not GeoJSON ({e})")))
}

/// More properties than this are not those of one kind of feature.
const MOST_COLUMNS: usize = 1000;

/// Passes every feature with its properties to `sink`; gives the columns and the CRS. A geometry by itself is a feature without properties.
pub(super) fn parse(path: &Path, sink: Sink<'_>) -> error::Result<(Vec<Column>, Option<Crs>)> {
    let root = root::<Properties>(path)?;
    let crs = crs(path, root.crs.as_ref())?;
    let mut features = Vec::new();
    flatten(path, root, &mut features)?;
    let mut columns: Vec<Column> = Vec::new();
    // The types seen in each column; none yet for one of nulls.
    let mut kinds: Vec<Option<ColumnType>> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (name, value) in features.iter().flat_map(|(_, properties)| &properties.0) {
        let column = match numbers.get(name) {
            Some(column) => *column,
            None if columns.len() == MOST_COLUMNS => {
                return Err(damaged(path, format!("features with more than {MOST_COLUMNS} different properties")));
            }
            None => {
                numbers.insert(name.clone(), columns.len());
                columns.push(Column::new(name, ColumnType::Text));
                kinds.push(None);
                columns.len() - 1
            }
        };
        let kind = match value {
            Value::Null => continue,
            Value::Bool(_) => ColumnType::Integer,
            Value::Number(number) if number.is_i64() => ColumnType::Integer,
            Value::Number(_) => ColumnType::Real,
            _ => ColumnType::Text,
        };
        if let Some(known) = kinds.get_mut(column) {
            *known = Some(known.map_or(kind, |known| common_type(known, kind)));
        }
    }
    for (column, kind) in columns.iter_mut().zip(kinds) {
        column.kind = kind.unwrap_or(ColumnType::Text);
    }
    for (object, properties) in features {
        let mut values = vec![Attribute::Null; columns.len()];
        for (name, value) in properties.0 {
            let place = numbers.get(&name).and_then(|number| Some((values.get_mut(*number)?, columns.get(*number)?)));
            if let Some((place, column)) = place {
                *place = fitted(attribute(value), column.kind);
            }
        }
        let mut polygons = Vec::new();
        if let Some(object) = object {
            collect(path, &object, &mut polygons)?;
        }
        sink(polygons, values)?;
    }
    Ok((columns, crs))
}

/// A geometry, and what is known of it.
type Flat = (Option<Box<Object<Properties>>>, Properties);

/// The features below an object.
fn flatten(path: &Path, mut object: Object<Properties>, features: &mut Vec<Flat>) -> error::Result<()> {
    match object.kind.as_str() {
        "FeatureCollection" => {
            let all = object.features.take().ok_or_else(|| damaged(path, "a FeatureCollection without features"))?;
            all.into_iter().try_for_each(|feature| flatten(path, feature, features))
        }
        "Feature" => {
            features.push((object.geometry.take(), object.properties));
            Ok(())
        }
        _ => {
            features.push((Some(Box::new(object)), Properties::default()));
            Ok(())
        }
    }
}

/// A property as an attribute; lists and objects as their text.
fn attribute(value: Value) -> Attribute {
    match value {
        Value::Null => Attribute::Null,
        Value::Bool(value) => Attribute::Integer(i64::from(value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Attribute::Integer(value),
            (None, Some(value)) => Attribute::Real(value),
            (None, None) => Attribute::Null,
        },
        Value::String(text) => Attribute::Text(text),
        other => Attribute::Text(other.to_string()),
    }
}

/// Gathers all polygons below an object. The parser has bounded the depth.
fn collect<P>(path: &Path, object: &Object<P>, polygons: &mut Vec<Vec<Ring<f64>>>) -> error::Result<()> {
    let wrong = || damaged(path, format!("a {} whose coordinates are not those of one", object.kind));
    match object.kind.as_str() {
        "FeatureCollection" => {
            let features =
                object.features.as_ref().ok_or_else(|| damaged(path, "a FeatureCollection without features"))?;
            features.iter().try_for_each(|feature| collect(path, feature, polygons))
        }
        // A feature need not have a place.
        "Feature" => object.geometry.as_ref().map_or(Ok(()), |geometry| collect(path, geometry, polygons)),
        "GeometryCollection" => {
            object.geometries.iter().flatten().try_for_each(|geometry| collect(path, geometry, polygons))
        }
        "Polygon" => {
            let rings = object.coordinates.as_ref().and_then(Nested::polygon).ok_or_else(wrong)?;
            if !rings.is_empty() {
                polygons.push(rings);
            }
            Ok(())
        }
        "MultiPolygon" => {
            let parts = object.coordinates.as_ref().and_then(Nested::list).ok_or_else(wrong)?;
            for part in parts {
                polygons.push(part.polygon().ok_or_else(wrong)?);
            }
            Ok(())
        }
        other => Err(wrong_geometry(path, other)),
    }
}

/// The CRS of the file: longitude and latitude on WGS 84 if it names none.
fn crs(path: &Path, member: Option<&Value>) -> error::Result<Option<Crs>> {
    let Some(member) = member else { return Crs::from_epsg(4326).map(Some) };
    if member.is_null() {
        return Ok(None);
    }
    // urn:ogc:def:crs:OGC:1.3:CRS84, urn:ogc:def:crs:EPSG::32611, EPSG:32611. Coordinates are x, y in any of them, as GDAL has it.
    let name = member["properties"]["name"].as_str().unwrap_or_default();
    let code = if name.to_ascii_uppercase().ends_with("CRS84") {
        Some(4326)
    } else if name.to_ascii_uppercase().contains("EPSG") {
        name.rsplit([':', '/']).next().and_then(|code| code.parse().ok())
    } else {
        None
    };
    match code.map(Crs::from_epsg) {
        Some(Ok(crs)) => Ok(Some(crs)),
        _ => Err(Error::bad_file(
            path,
            format!("the crs {member}"),
            "one with an EPSG code",
            "convert the file with ogr2ogr -t_srs EPSG:4326",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> error::Result<Found> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("the disk has room");
        read(file.path())
    }

    const RING: &str = "[[0,0],[4,0.5,100.0],[4,4],[0,4],[0,0]]";

    #[test]
    fn all_kinds_of_objects() {
        let polygon = format!(r#"{{"type":"Polygon","coordinates":[{RING},{RING}]}}"#);
        let multi = format!(r#"{{"type":"MultiPolygon","coordinates":[[{RING}],[{RING}]]}}"#);
        let (found, crs) = read_text(&polygon).expect("a polygon");
        assert_eq!((found.len(), found[0].len(), found[0][0][1]), (1, 2, (4.0, 0.5)));
        assert_eq!(crs.and_then(|crs| crs.epsg), Some(4326));
        let text = format!(
            "\u{feff} {{\"type\":\"FeatureCollection\",\"name\":\"x\",\"features\":[\
             {{\"type\":\"Feature\",\"properties\":{{\"type\":\"Point\",\"a\":[1,\"b\"]}},\"geometry\":{polygon}}},\
             {{\"type\":\"Feature\",\"properties\":null,\"geometry\":null}},\
             {{\"type\":\"Feature\",\"geometry\":{{\"type\":\"GeometryCollection\",\"geometries\":[{multi}]}}}}]}}"
        );
        assert_eq!(read_text(&text).expect("a collection").0.len(), 3);
    }

    #[test]
    fn systems() {
        let with = |crs: &str| read_text(&format!(r#"{{"type":"Polygon","coordinates":[{RING}],"crs":{crs}}}"#));
        let named = |name: &str| with(&format!(r#"{{"type":"name","properties":{{"name":"{name}"}}}}"#));
        for (name, code) in [
            ("urn:ogc:def:crs:OGC:1.3:CRS84", 4326),
            ("urn:ogc:def:crs:EPSG::32611", 32611),
            ("EPSG:3413", 3413),
            ("http://www.opengis.net/def/crs/EPSG/0/32612", 32612),
        ] {
            assert_eq!(named(name).expect("a polygon").1.and_then(|crs| crs.epsg), Some(code), "{name}");
        }
        assert!(with("null").expect("a polygon").1.is_none());
        assert!(named("EPSG:1").is_err() && named("ESRI:102001").is_err() && with("7").is_err());
    }

    #[test]
    fn refuses() {
        for text in [
            "{",
            "{}",
            r#"{"type":"Polygon"}"#,
            r#"{"type":"Polygon","coordinates":[[0,0],[1,1]]}"#,
            r#"{"type":"Polygon","coordinates":[[["a",0]]]}"#,
            r#"{"type":"FeatureCollection"}"#,
            r#"{"type":"Point","coordinates":[0,0]}"#,
            r#"{"type":"Topology"}"#,
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
        let deep = format!(r#"{{"type":"Polygon","coordinates":{}"#, "[".repeat(100_000));
        assert!(read_text(&deep).is_err());
    }
}
