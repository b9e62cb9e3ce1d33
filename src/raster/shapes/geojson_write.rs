//! GeoJSON out (RFC 7946): longitude and latitude on WGS 84, seven decimals (1 cm), exteriors counter-clockwise, one feature per line.
//!
//! Where a straight line of the map is not straight in degrees, edges are divided, always at the same points of an edge whichever way it runs, so that
//! neighbours keep their common boundary. Polygons across the antimeridian have longitudes beyond 180 degrees instead of being cut there (section
//! 3.1.9 asks for a cut, which readers do not need and other programs undo with difficulty).

use std::io::{BufWriter, Write};
use std::path::Path;

use super::writer::{Layer, twice_area};
use crate::atomic_file::{GrowingFile, StagedFiles};
use crate::error::{Error, Result};
use crate::raster::area::{LONGEST_EDGE_M, rough_distance_m};
use crate::raster::crs::Transformer;
use crate::raster::geopackage::{Value, envelope};
use crate::raster::polygons::{Polygon, Ring};

/// A GeoJSON file being written.
#[derive(Debug)]
pub(super) struct GeoJsonWriter {
    file: BufWriter<GrowingFile>,
    to_earth: Transformer,
    /// Whether the map's lines are straight in degrees.
    is_geographic: bool,
    names: Vec<String>,
    is_first: bool,
}

impl GeoJsonWriter {
    pub(super) fn create(target: &Path, layer: &Layer<'_>) -> Result<Self> {
        let Some(crs) = layer.crs.filter(|crs| !crs.proj.is_empty()) else {
            return Err(Error::bad_file(
                target,
                "polygons without a known CRS",
                "a known CRS, since GeoJSON is in longitude and latitude",
                "choose a name that ends in .gpkg, or give --assume-crs EPSG:CODE",
            ));
        };
        let to_earth = Transformer::to_longitude_latitude(crs)?;
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 18, GrowingFile::create(target)?),
            to_earth,
            is_geographic: crs.geographic,
            names: layer.columns.iter().map(|column| text(&column.name)).collect(),
            is_first: true,
        };
        writer.put(&format!("{{\"type\":\"FeatureCollection\",\"name\":{},\"features\":[", text(layer.name)))?;
        Ok(writer)
    }

    pub(super) fn add(&mut self, polygons: &[Polygon<f64>], values: &[Value]) -> Result<()> {
        if !polygons.is_empty() {
            envelope(polygons)?;
        }
        let mut line = String::from(if self.is_first { "\n" } else { ",\n" });
        line += "{\"type\":\"Feature\",\"properties\":{";
        for (index, (name, value)) in self.names.iter().zip(values).enumerate() {
            if index > 0 {
                line.push(',');
            }
            line += name;
            line.push(':');
            match value {
                Value::Integer(value) => line += &value.to_string(),
                // JSON has no other numbers.
                Value::Real(value) if value.is_finite() => line += &serde_json::json!(value).to_string(),
                Value::Real(_) | Value::Null => line += "null",
                Value::Text(value) => line += &text(value),
            }
        }
        line += "},\"geometry\":";
        let mut placed = Vec::new();
        for polygon in polygons {
            placed.extend(self.place(polygon)?);
        }
        match placed.as_slice() {
            [] => line += "null",
            [polygon] => {
                line += "{\"type\":\"Polygon\",\"coordinates\":";
                push_polygon(&mut line, polygon);
                line.push('}');
            }
            several => {
                line += "{\"type\":\"MultiPolygon\",\"coordinates\":[";
                for (index, polygon) in several.iter().enumerate() {
                    if index > 0 {
                        line.push(',');
                    }
                    push_polygon(&mut line, polygon);
                }
                line += "]}";
            }
        }
        line.push('}');
        self.put(&line)?;
        self.is_first = false;
        Ok(())
    }

    pub(super) fn finish(mut self, staged: &mut StagedFiles) -> Result<()> {
        self.put("\n]}\n")?;
        let target = self.file.get_ref().target().to_path_buf();
        staged.add(self.file.into_inner().map_err(|e| Error::io("write", target, e.into_error()))?)
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io("write", self.file.get_ref().target(), e))
    }

    /// The rings of a polygon on the Earth, rounded; `None` for one that is smaller than the rounding.
    fn place(&self, polygon: &Polygon<f64>) -> Result<Option<Vec<Ring<f64>>>> {
        let mut rings = vec![self.ring(&polygon.exterior)?];
        let middle = middle_longitude(&rings[0]);
        for hole in &polygon.holes {
            let mut hole = self.ring(hole)?;
            // Beside its exterior, not once around the Earth from it.
            let turns = ((middle - middle_longitude(&hole)) / 360.0).round() * 360.0;
            hole.iter_mut().for_each(|vertex| vertex.0 += turns);
            rings.push(hole);
        }
        // West of 180 degrees where there is a choice.
        let turns = ((middle + 180.0) / 360.0).floor() * 360.0;
        for (number, ring) in rings.iter_mut().enumerate() {
            ring.iter_mut().for_each(|vertex| *vertex = (rounded(vertex.0 - turns), rounded(vertex.1)));
            ring.dedup();
            // A map with south up, or x and y exchanged, turns rings.
            if (twice_area(ring) < 0.0) != (number > 0) {
                ring.reverse();
            }
        }
        let exterior = rings.remove(0);
        if exterior.len() < 4 {
            return Ok(None);
        }
        Ok(Some(std::iter::once(exterior).chain(rings.into_iter().filter(|ring| ring.len() >= 4)).collect()))
    }

    /// A ring in degrees, its longitudes without jumps.
    fn ring(&self, ring: &Ring<f64>) -> Result<Ring<f64>> {
        let mut placed: Ring<f64> = Vec::with_capacity(ring.len());
        let Some(&first) = ring.first() else { return Ok(placed) };
        placed.push(self.to_earth.apply(first.0, first.1)?);
        for edge in ring.windows(2) {
            let last = self.to_earth.apply(edge[0].0, edge[0].1)?;
            let next = self.to_earth.apply(edge[1].0, edge[1].1)?;
            let parts = if self.is_geographic { 1.0 } else { (rough_distance_m(last, next) / LONGEST_EDGE_M).ceil() };
            let parts = parts.clamp(1.0, 1e4);
            // From the smaller end, so that a neighbour's edge, which runs the other way, gets the same points.
            let is_forward = edge[0] <= edge[1];
            let (from, to) = if is_forward { (edge[0], edge[1]) } else { (edge[1], edge[0]) };
            let mut part = 1.0;
            while part < parts {
                let t = if is_forward { part / parts } else { (parts - part) / parts };
                let point = self.to_earth.apply(from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1))?;
                push_near(&mut placed, point);
                part += 1.0;
            }
            push_near(&mut placed, next);
        }
        match (placed.first(), placed.last()) {
            (Some(first), Some(last)) if (first.0 - last.0).abs() > 180.0 => Err(Error::bad_argument(
                "a polygon around a pole",
                "one that longitudes and latitudes can draw",
                "choose an output whose name ends in .gpkg, .fgb or .shp",
            )),
            _ => Ok(placed),
        }
    }
}

/// Appends a vertex with the longitude that is nearest to the one before.
fn push_near(ring: &mut Ring<f64>, (longitude, latitude): (f64, f64)) {
    let before = ring.last().map_or(longitude, |vertex| vertex.0);
    ring.push((longitude + ((before - longitude) / 360.0).round() * 360.0, latitude));
}

fn middle_longitude(ring: &Ring<f64>) -> f64 {
    let range = ring.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v.0), b.max(v.0)));
    if range.0 <= range.1 { f64::midpoint(range.0, range.1) } else { 0.0 }
}

fn rounded(degrees: f64) -> f64 {
    // No minus before a zero.
    (degrees * 1e7).round() / 1e7 + 0.0
}

fn push_polygon(line: &mut String, rings: &[Ring<f64>]) {
    line.push('[');
    for (index, ring) in rings.iter().enumerate() {
        line.push_str(if index > 0 { ",[" } else { "[" });
        for (index, (x, y)) in ring.iter().enumerate() {
            line.push_str(if index > 0 { ",[" } else { "[" });
            line.push_str(&x.to_string());
            line.push(',');
            line.push_str(&y.to_string());
            line.push(']');
        }
        line.push(']');
    }
    line.push(']');
}

/// A JSON string.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
