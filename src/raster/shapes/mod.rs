//! Polygons in and out: GeoJSON, GeoPackage, FlatGeobuf and Shapefile; onto the pixels of a grid.
//!
//! [`Shapes`] are polygons alone, [`Features`] have attributes. [`ShapeWriter`] writes them. Files are untrusted: every count is held against the bytes that are there before memory
//! is asked for.

mod dbase;
pub mod features;
mod flatbuffer;
mod flatgeobuf;
mod flatgeobuf_write;
mod geojson;
mod geojson_write;
mod geopackage;
pub(crate) mod placement;
mod shapefile;
mod shapefile_write;
pub mod style;
pub mod writer;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::raster::crs::Crs;
pub use crate::raster::geopackage::{Column, ColumnType, Value};
use crate::raster::grid::Grid;
use crate::raster::polygons::Ring;
use crate::raster::rasterise::burn_rows;
pub use features::{Feature, Features};
use placement::Placement;
pub use style::write_style;
pub use writer::{Layer, ShapeWriter, check_extension, names_of};

/// The polygons of a file.
#[derive(Debug, Clone)]
pub struct Shapes {
    path: PathBuf,
    /// The rings of each polygon in coordinates of the CRS; what is inside is told by the even-odd rule.
    pub polygons: Vec<Vec<Ring<f64>>>,
    /// The coordinate reference system; `None` where the file names none. Its `proj` is empty where it is not known.
    pub crs: Option<Crs>,
}

/// What kinds of files hold polygons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 7946 and the older GeoJSON 2008, which may name a CRS.
    GeoJson,
    /// OGC 12-128.
    GeoPackage,
    /// ESRI Shapefile: the `.shp` with its `.prj` beside it.
    Shapefile,
    /// FlatGeobuf, version 3.
    FlatGeobuf,
}

impl Format {
    /// Tells the format from a file's first bytes; `None` for anything else, such as a raster.
    ///
    /// # Errors
    /// The file cannot be read or is no file.
    pub fn detect(path: &Path) -> Result<Option<Self>> {
        let fail = |e| Error::io("read", path, e);
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            let remedy = "give the path of one file";
            return Err(Error::bad_file(path, "a folder, device or pipe", "a raster or a file of polygons", remedy));
        }
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)).map_err(fail)?;
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
        Ok(if start.starts_with(b"SQLite format 3\0") {
            Some(Self::GeoPackage)
        } else if start.starts_with(&shapefile::FILE_CODE.to_be_bytes()) {
            Some(Self::Shapefile)
        } else if start.starts_with(&flatgeobuf::MAGIC[..7]) {
            Some(Self::FlatGeobuf)
        } else if text.starts_with(b"{") {
            Some(Self::GeoJson)
        } else {
            None
        })
    }
}

impl Shapes {
    /// Reads all polygons of a file.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has other geometries than polygons, no polygons, or several layers of them.
    pub fn read(path: &Path, format: Format) -> Result<Self> {
        let (polygons, crs) = match format {
            Format::GeoJson => geojson::read(path)?,
            Format::GeoPackage => geopackage::read(path)?,
            Format::Shapefile => shapefile::read(path)?,
            Format::FlatGeobuf => flatgeobuf::read(path)?,
        };
        if let Some((x, y)) = polygons.iter().flatten().flatten().find(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return Err(damaged(path, format!("the vertex ({x}, {y})")));
        }
        if polygons.is_empty() {
            let remedy = "check that the file is the right one";
            return Err(Error::bad_file(path, "no polygons", "at least one polygon", remedy));
        }
        Ok(Self { path: path.to_path_buf(), polygons, crs })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which pixels of a grid have their centre in a polygon, row by row.
    #[cfg(test)]
    pub(crate) fn burn(&self, grid: &Grid, assumed: Option<&Crs>) -> Result<Vec<bool>> {
        let mut mask = vec![false; grid.len()];
        self.on_grid(grid, assumed)?.burn_rows(0, &mut mask);
        Ok(mask)
    }

    /// The polygons on the pixels of a grid, to be burnt row by row ([`PixelShapes::burn_rows`]). `assumed` stands in for a CRS that is not known, the
    /// file's or the grid's.
    ///
    /// Vertices are reprojected one by one, so edges are straight on the grid's map. Polygons far from the grid are left out before that:
    /// coordinates on the other side of the Earth have no place on most maps.
    ///
    /// # Errors
    /// A CRS is not known or not supported, or a vertex has no place on the map.
    pub fn on_grid(&self, grid: &Grid, assumed: Option<&Crs>) -> Result<PixelShapes> {
        let placement = Placement::new(&self.path, self.crs.as_ref(), grid, assumed)?;
        let mut polygons = Vec::new();
        for polygon in &self.polygons {
            if let Some(rings) = placement.pixels(polygon)? {
                polygons.push(rings);
            }
        }
        Ok(PixelShapes { width: grid.width, polygons })
    }
}

/// Polygons in pixel positions (column, row) of a grid.
#[derive(Debug, Clone)]
pub struct PixelShapes {
    width: usize,
    polygons: Vec<Vec<Ring<f64>>>,
}

impl PixelShapes {
    /// Sets the pixels of some rows, of which `start` is the first, whose centres lie in a polygon; others stay as they are.
    pub fn burn_rows(&self, start: usize, mask: &mut [bool]) {
        for rings in &self.polygons {
            burn_rows(rings, self.width, start, mask);
        }
    }

    /// How many polygons there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.polygons.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.polygons.is_empty()
    }

    /// The rings of all polygons.
    pub fn rings(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        self.polygons.iter().flatten().map(Vec::as_slice)
    }

    /// The least and the largest column and row of all vertices: left, top, right, bottom. `None` if there are none.
    #[must_use]
    pub fn bounds(&self) -> Option<[f64; 4]> {
        let mut vertices = self.polygons.iter().flatten().flatten();
        let &(x, y) = vertices.next()?;
        Some(vertices.fold([x, y, x, y], |[left, top, right, bottom], &(x, y)| {
            [left.min(x), top.min(y), right.max(x), bottom.max(y)]
        }))
    }
}

/// Polygons as the readers give them, with their CRS.
type Found = (Vec<Vec<Ring<f64>>>, Option<Crs>);

fn damaged(path: &Path, found: impl Into<String>) -> Error {
    Error::bad_file(path, found, "an undamaged file of polygons", "download or write it again")
}

fn wrong_geometry(path: &Path, found: &str) -> Error {
    let remedy = "keep the polygons only, for example with ogr2ogr -where \"OGR_GEOMETRY LIKE '%POLYGON'\"";
    Error::bad_file(path, format!("a geometry of type {found}"), "Polygon or MultiPolygon", remedy)
}

#[cfg(test)]
mod tests {
    use super::placement::apart;
    use super::*;
    use crate::raster::crs::Transformer;

    fn shapes(polygons: Vec<Vec<Ring<f64>>>, crs: Option<Crs>) -> Shapes {
        Shapes { path: "polygons".into(), polygons, crs }
    }

    fn epsg(code: u32) -> Crs {
        Crs::from_epsg(code).expect("a registered code")
    }

    fn grid(crs: Option<Crs>) -> Grid {
        Grid { width: 40, height: 30, transform: [30.0, 0.0, 480_000.0, 0.0, -30.0, 5_780_900.0], crs }
    }

    fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Ring<f64> {
        vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    }

    #[test]
    fn the_same_from_any_crs() {
        let utm = rectangle(480_100.0, 5_780_100.0, 480_700.0, 5_780_500.0);
        let hole = rectangle(480_200.0, 5_780_200.0, 480_400.0, 5_780_300.0);
        let grid = grid(Some(epsg(32611)));
        let direct = shapes(vec![vec![utm.clone(), hole.clone()]], Some(epsg(32611))).burn(&grid, None).expect("burnt");
        // Centres at 480015 + 30 i: 20 x 13 pixels (columns 3 to 22, rows 13 to 26 less one), less 7 x 3 or 4 of the hole.
        let count = direct.iter().filter(|inside| **inside).count();
        let centres = |low: f64, high: f64, first: f64| {
            (0..40).filter(|&i| (low..high).contains(&(first + 30.0 * f64::from(i)))).count()
        };
        let expected = centres(480_100.0, 480_700.0, 480_015.0) * centres(5_780_100.0, 5_780_500.0, 5_780_015.0)
            - centres(480_200.0, 480_400.0, 480_015.0) * centres(5_780_200.0, 5_780_300.0, 5_780_015.0);
        assert_eq!(count, expected);
        for code in [4326, 32612, 3413] {
            let other = epsg(code);
            let back = Transformer::from_longitude_latitude(&other).expect("a common projection");
            let rings = [&utm, &hole].map(|ring| {
                let moved = ring.iter().map(|&(x, y)| {
                    let (longitude, latitude) = epsg(32611).longitude_latitude(x, y).expect("on the map");
                    back.apply(longitude, latitude).expect("on the map")
                });
                moved.collect::<Ring<f64>>()
            });
            let found = shapes(vec![rings.to_vec()], Some(other)).burn(&grid, None).expect("burnt");
            assert!(found == direct, "{code}");
        }
    }

    #[test]
    fn far_polygons_do_not_matter() {
        let here = rectangle(-117.292, 52.170, -117.288, 52.174);
        let grid = grid(Some(epsg(32611)));
        let alone = shapes(vec![vec![here.clone()]], Some(epsg(4326))).burn(&grid, None).expect("burnt");
        assert!(alone.contains(&true) && alone.contains(&false));
        // The other side of the Earth, which transverse Mercator cannot show.
        let far = rectangle(62.0, -50.0, 63.0, -49.0);
        let both = shapes(vec![vec![far], vec![here]], Some(epsg(4326))).burn(&grid, None).expect("burnt");
        assert!(both == alone);
        // Across the date line, with longitudes either way.
        let islands = Grid { transform: [0.1, 0.0, 178.0, 0.0, -0.1, 52.0], crs: Some(epsg(4326)), ..grid };
        let pacific = shapes(vec![vec![rectangle(179.0, 50.0, 181.0, 51.0)]], Some(epsg(4269)));
        assert_eq!(pacific.burn(&islands, None).expect("burnt").iter().filter(|inside| **inside).count(), 200);
        assert!(apart(-179.0, 179.0) - 2.0 < 1e-9 && apart(179.0, -179.0) + 2.0 < 1e-9);
    }

    #[test]
    fn unknown_systems() {
        let polygons = vec![vec![rectangle(480_100.0, 5_780_100.0, 480_700.0, 5_780_500.0)]];
        let without = shapes(polygons.clone(), None);
        assert!(without.burn(&grid(None), None).is_err());
        assert!(without.burn(&grid(Some(epsg(32611))), None).is_err());
        assert!(shapes(polygons.clone(), Some(epsg(32611))).burn(&grid(None), None).is_err());
        let assumed = epsg(32611);
        let expected = without.burn(&grid(None), Some(&assumed)).expect("burnt");
        assert!(expected.contains(&true));
        let local = Crs { epsg: None, proj: String::new(), ..epsg(32611) };
        assert!(
            shapes(polygons.clone(), Some(local.clone())).burn(&grid(Some(local)), Some(&assumed)).expect("burnt")
                == expected
        );
        // Metres where there should be degrees.
        let error = shapes(polygons, Some(epsg(4326)))
            .burn(&grid(Some(epsg(32611))), None)
            .expect_err("no latitude")
            .to_string();
        assert!(error.starts_with("polygons: found a point") && error.contains("latitude"), "{error}");
    }
}
