//! Polygons out: GeoPackage, GeoJSON, FlatGeobuf or Shapefile, by the name of the file.
//!
//! Features go to the disk as they come. Exteriors run counter-clockwise with north up and holes clockwise, however they were given (a Shapefile has
//! it the other way round, as its standard asks).

use std::borrow::Cow;
use std::path::Path;

use super::flatgeobuf_write::FlatGeobufWriter;
use super::geojson_write::GeoJsonWriter;
use super::shapefile_write::ShapefileWriter;
use crate::atomic_file::{GrowingFile, StagedFiles};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::geopackage;
use crate::raster::geopackage::{Column, Value, check_values};
use crate::raster::polygons::{Polygon, Ring};

/// What a file of polygons is called and holds.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Name of the layer: letters, digits and underscores, beginning with a letter. A Shapefile has no other name than its file's.
    pub name: &'a str,
    /// One line on where the features come from (model, weights, settings); GeoPackage and FlatGeobuf keep it.
    pub description: &'a str,
    /// The CRS of the polygons.
    pub crs: Option<&'a Crs>,
    /// The attributes: letters, digits and underscores, beginning with a letter; not `fid` or `geom`.
    pub columns: &'a [Column],
}

/// The formats that can be written, as a message lists them.
pub const WRITTEN: &str = ".gpkg, .geojson, .json, .fgb or .shp";

/// Checks that the format of a file's name can be written, before any work is done.
///
/// # Errors
/// The name ends otherwise than in [`WRITTEN`].
pub fn check_extension(target: &Path) -> Result<()> {
    Kind::of(target).map(drop)
}

/// The names of all files that a file of polygons of this name, with its style, consists of.
#[must_use]
pub fn names_of(name: &str) -> Vec<String> {
    let path = Path::new(name);
    let is_shapefile = matches!(Kind::of(path), Ok(Kind::Shapefile));
    let parts: &[&str] = if is_shapefile { &["qml", "shx", "dbf", "prj", "cpg"] } else { &["qml"] };
    let beside = parts.iter().map(|part| path.with_extension(part).to_string_lossy().into_owned());
    std::iter::once(name.to_owned()).chain(beside).collect()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    GeoPackage,
    GeoJson,
    FlatGeobuf,
    Shapefile,
}

impl Kind {
    fn of(target: &Path) -> Result<Self> {
        let extension = target.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "gpkg" => Ok(Self::GeoPackage),
            "geojson" | "json" => Ok(Self::GeoJson),
            "fgb" => Ok(Self::FlatGeobuf),
            "shp" => Ok(Self::Shapefile),
            _ => {
                let found =
                    if extension.is_empty() { "no extension".into() } else { format!("the extension .{extension}") };
                Err(Error::bad_file(target, found, format!("a name that ends in {WRITTEN}"), "rename the output"))
            }
        }
    }
}

/// A file of polygons being written. Nothing appears before the [`StagedFiles`] it is finished into are published.
#[derive(Debug)]
pub struct ShapeWriter {
    columns: Vec<Column>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    GeoPackage(GrowingFile, Box<geopackage::Writer>),
    GeoJson(Box<GeoJsonWriter>),
    FlatGeobuf(Box<FlatGeobufWriter>),
    Shapefile(Box<ShapefileWriter>),
}

impl ShapeWriter {
    /// Begins a file; the extension of `target` is its format: `.gpkg`, `.geojson` or `.json`, `.fgb`, `.shp` (with `.shx`, `.dbf`, `.prj` and
    /// `.cpg` beside it).
    ///
    /// GeoPackage and FlatGeobuf declare their features as MultiPolygon. GeoJSON is longitude and latitude on WGS 84 (RFC 7946), and polygons are
    /// brought there.
    ///
    /// # Errors
    /// Another extension; a folder that cannot be written; a name that is no plain identifier; GeoJSON of a CRS that is not known.
    pub fn create(target: &Path, layer: &Layer<'_>) -> Result<Self> {
        let kind = Kind::of(target)?;
        geopackage::check_names(layer.name, layer.columns)?;
        let format = match kind {
            Kind::GeoPackage => {
                let file = GrowingFile::create(target)?;
                let wkt = layer.crs.map(Crs::wkt);
                let table = geopackage::Layer {
                    table: layer.name,
                    description: layer.description,
                    crs: layer.crs,
                    wkt: wkt.as_deref(),
                    columns: layer.columns,
                };
                let writer = geopackage::Writer::create_multi(file.path(), &table)?;
                Format::GeoPackage(file, Box::new(writer))
            }
            Kind::GeoJson => Format::GeoJson(Box::new(GeoJsonWriter::create(target, layer)?)),
            Kind::FlatGeobuf => Format::FlatGeobuf(Box::new(FlatGeobufWriter::create(target, layer)?)),
            Kind::Shapefile => Format::Shapefile(Box::new(ShapefileWriter::create(target, layer)?)),
        };
        Ok(Self { columns: layer.columns.to_vec(), format })
    }

    /// Appends a feature with one value per column. Several polygons make a MultiPolygon, none a feature without a place.
    ///
    /// # Errors
    /// The values do not match the columns, a coordinate is not finite or has no place on the Earth, a ring has fewer than three corners, the
    /// format's limits are reached, or the file cannot be written.
    pub fn add(&mut self, polygons: &[Polygon<f64>], values: &[Value]) -> Result<()> {
        check_values(&self.columns, values)?;
        let polygons = wound(polygons)?;
        match &mut self.format {
            Format::GeoPackage(_, writer) => writer.add_parts(&polygons, values),
            Format::GeoJson(writer) => writer.add(&polygons, values),
            Format::FlatGeobuf(writer) => writer.add(&polygons, values),
            Format::Shapefile(writer) => writer.add(&polygons, values),
        }
    }

    /// Completes the file, or files, and stages them.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self, staged: &mut StagedFiles) -> Result<()> {
        match self.format {
            Format::GeoPackage(file, writer) => {
                writer.finish()?;
                staged.add(file)
            }
            Format::GeoJson(writer) => writer.finish(staged),
            Format::FlatGeobuf(writer) => writer.finish(staged),
            Format::Shapefile(writer) => writer.finish(staged),
        }
    }
}

/// Twice the area that a ring encloses; positive counter-clockwise.
pub(super) fn twice_area(ring: &[(f64, f64)]) -> f64 {
    // From the first vertex: map coordinates are large and polygons small.
    let Some(&(ox, oy)) = ring.first() else { return 0.0 };
    ring.windows(2).map(|e| (e[0].0 - ox) * (e[1].1 - oy) - (e[1].0 - ox) * (e[0].1 - oy)).sum()
}

/// Closed rings, exteriors counter-clockwise and holes clockwise. What is so already is not copied.
fn wound(polygons: &[Polygon<f64>]) -> Result<Cow<'_, [Polygon<f64>]>> {
    let mut is_wound = true;
    for polygon in polygons {
        for (number, ring) in polygon.rings().enumerate() {
            if ring.len() < 3 || (ring.len() == 3 && ring.first() == ring.last()) {
                return Err(Error::bad_argument(
                    format!("a ring of {} vertices", ring.len()),
                    "three corners at least",
                    "leave the polygon out",
                ));
            }
            let is_right = if number == 0 { twice_area(ring) >= 0.0 } else { twice_area(ring) <= 0.0 };
            is_wound &= is_right && ring.first() == ring.last();
        }
    }
    if is_wound {
        return Ok(Cow::Borrowed(polygons));
    }
    let turned = |ring: &Ring<f64>, hole: bool| {
        let mut ring = ring.clone();
        if let Some(&first) = ring.first()
            && ring.last() != Some(&first)
        {
            ring.push(first);
        }
        if (twice_area(&ring) < 0.0) != hole {
            ring.reverse();
        }
        ring
    };
    let turned = polygons.iter().map(|polygon| Polygon {
        exterior: turned(&polygon.exterior, false),
        holes: polygon.holes.iter().map(|hole| turned(hole, true)).collect(),
    });
    Ok(Cow::Owned(turned.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::geopackage::ColumnType;
    use crate::raster::shapes::{Format as Read, Shapes};

    fn square(x: f64, y: f64, side: f64) -> Ring<f64> {
        vec![(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
    }

    /// Two polygons, one with a hole that runs the wrong way, in one feature; one polygon in another; a feature without a place.
    fn write(target: &Path, crs: Option<&Crs>) -> Result<()> {
        let columns = [Column::new("name", ColumnType::Text), Column::new("area_km2", ColumnType::Real)];
        let layer = Layer { name: "glaciers", description: "made by a test", crs, columns: &columns };
        let mut writer = ShapeWriter::create(target, &layer)?;
        let pierced = Polygon {
            exterior: square(480_000.0, 5_780_000.0, 3000.0),
            holes: vec![square(480_500.0, 5_780_500.0, 1000.0)],
        };
        let plain = |x: f64| {
            let mut exterior = square(x, 5_780_000.0, 1000.0);
            exterior.reverse();
            Polygon { exterior, holes: vec![] }
        };
        writer.add(&[pierced, plain(490_000.0)], &[Value::Text("Å \"one\"".into()), Value::Real(9.0)])?;
        writer.add(&[plain(500_000.0)], &[Value::Null, Value::Null])?;
        writer.add(&[], &[Value::Text("gone".into()), Value::Real(f64::NAN)])?;
        assert!(writer.add(&[], &[Value::Null]).is_err());
        let flat = Polygon { exterior: vec![(0.0, 0.0), (1.0, 1.0), (0.0, 0.0)], holes: vec![] };
        assert!(writer.add(&[flat], &[Value::Null, Value::Null]).is_err());
        let mut staged = StagedFiles::new();
        writer.finish(&mut staged)?;
        staged.publish()
    }

    #[test]
    fn every_format_reads_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let utm = Crs::from_epsg(32611).expect("a registered code");
        let formats = [
            ("a.gpkg", Read::GeoPackage),
            ("b.fgb", Read::FlatGeobuf),
            ("c.shp", Read::Shapefile),
            ("d.geojson", Read::GeoJson),
        ];
        std::fs::write(folder.path().join("c.qix"), "old").expect("the disk has room");
        for (name, format) in formats {
            let path = folder.path().join(name);
            write(&path, Some(&utm)).expect(name);
            assert_eq!(Read::detect(&path).expect("a file"), Some(format));
            let shapes = Shapes::read(&path, format).expect(name);
            let crs = shapes.crs.expect("a CRS");
            if format == Read::GeoJson {
                // On the Earth, with points on the long edges.
                assert_eq!((crs.epsg, shapes.polygons.len(), shapes.polygons[0].len()), (Some(4326), 3, 2));
                assert_eq!(shapes.polygons[0][0].len(), 4 * 3 + 1);
                assert!(shapes.polygons.iter().all(|rings| twice_area(&rings[0]) > 0.0));
                continue;
            }
            let there = crs.longitude_latitude(480_000.0, 5_780_000.0).expect("on the map");
            let here = utm.longitude_latitude(480_000.0, 5_780_000.0).expect("on the map");
            assert!((there.0 - here.0).abs() < 1e-9 && (there.1 - here.1).abs() < 1e-9, "{name}");
            let areas: f64 = shapes.polygons.iter().flatten().map(|ring| twice_area(ring) / 2e6).sum();
            let rings: usize = shapes.polygons.iter().map(Vec::len).sum();
            let sign = if format == Read::Shapefile { -1.0 } else { 1.0 };
            assert_eq!((rings, areas), (4, sign * 10.0), "{name}");
        }
        assert!(!folder.path().join("c.qix").exists(), "an index of another file");
        for extension in ["shx", "dbf", "prj", "cpg"] {
            assert!(folder.path().join("c").with_extension(extension).exists(), "{extension}");
        }
        let left = std::fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 3 + 5, "temporary files remain");
    }

    #[test]
    fn refuses() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = write(&folder.path().join("a.kml"), None).expect_err("not a format").to_string();
        assert!(error.contains(".kml") && error.contains(WRITTEN), "{error}");
        let error = write(&folder.path().join("a.geojson"), None).expect_err("no CRS").to_string();
        assert!(error.contains("without a known CRS"), "{error}");
        write(&folder.path().join("a.fgb"), None).expect("needs no CRS");
        write(&folder.path().join("a.shp"), None).expect("needs no CRS");
        assert!(!folder.path().join("a.prj").exists());
    }

    #[test]
    fn across_the_antimeridian_and_around_a_pole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let polar = Crs::from_epsg(3413).expect("a registered code");
        let at = |name: &str, ring: Ring<f64>| {
            let path = folder.path().join(name);
            let layer = Layer { name: "a", description: "", crs: Some(&polar), columns: &[] };
            let mut writer = ShapeWriter::create(&path, &layer)?;
            writer.add(&[Polygon { exterior: ring, holes: vec![] }], &[])?;
            let mut staged = StagedFiles::new();
            writer.finish(&mut staged)?;
            staged.publish()?;
            Shapes::read(&path, Read::GeoJson).map(|shapes| shapes.polygons[0][0].clone())
        };
        // 180 degrees is opposite to 0, which is 45 degrees right of the map's lower middle.
        let ring = at("a.geojson", square(-1_000_000.0, 980_000.0, 40_000.0)).expect("across the date line");
        let widest = ring.windows(2).map(|e| (e[0].0 - e[1].0).abs()).fold(0.0, f64::max);
        assert!(widest < 1.0 && ring.iter().any(|v| v.0 > 180.0) && ring.iter().any(|v| v.0 < 180.0), "{ring:?}");
        let error = at("b.geojson", square(-5e4, -5e4, 1e5)).expect_err("no such polygon").to_string();
        assert!(error.contains("around a pole") && !folder.path().join("b.geojson").exists(), "{error}");
    }
}
