//! ESRI Shapefile (ESRI White Paper, July 1998): the polygons of a `.shp`, the CRS in the `.prj` and the attributes in the `.dbf` beside it.
//!
//! The crate `shapefile` asks for as much memory as a file claims to need; the geometry is a short format.

use std::path::Path;

use super::dbase::Table;
use super::flatgeobuf::Sink;
use super::writer::twice_area;
use super::{Found, damaged, wrong_geometry};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::geopackage::Column;
use crate::raster::polygons::Ring;

/// The first four bytes, big-endian.
pub(super) const FILE_CODE: u32 = 9994;

const HEADER_BYTES: usize = 100;
const RECORD_HEADER_BYTES: usize = 8;

pub(super) fn read(path: &Path) -> Result<Found> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    Ok((polygons(path, &bytes)?, crs(path)?))
}

/// Passes every feature with its attributes to `sink`; gives the columns and the CRS.
pub(super) fn parse(path: &Path, sink: Sink<'_>) -> Result<(Vec<Column>, Option<Crs>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let table = Table::beside(path)?;
    let mut number = 0;
    records(path, &bytes, &mut |rings| {
        let row = number;
        number += 1;
        let values = match &table {
            None => Vec::new(),
            Some(table) if row >= table.count() => {
                return Err(damaged(path, format!("more features than the {} rows of its .dbf", table.count())));
            }
            Some(table) => match table.row(row) {
                Some(values) => values,
                // Deleted.
                None => return Ok(()),
            },
        };
        let polygons = grouped(rings).ok_or_else(|| damaged(path, "a feature with too many rings in each other"))?;
        sink(polygons, values)
    })?;
    Ok((table.map(|table| table.columns).unwrap_or_default(), crs(path)?))
}

/// The rings of every feature as polygons: each hole goes to the smallest exterior around it. Exteriors run clockwise, holes counter-clockwise; a hole
/// in nothing is a polygon of its own, as programs that do not care about directions mean it. `None` for work that no honest file makes.
fn grouped(rings: Vec<Ring<f64>>) -> Option<Vec<Vec<Ring<f64>>>> {
    if rings.len() < 2 {
        return Some(if rings.is_empty() { Vec::new() } else { vec![rings] });
    }
    let (mut exteriors, mut holes): (Vec<Ring<f64>>, Vec<Ring<f64>>) =
        rings.into_iter().partition(|ring| twice_area(ring) <= 0.0);
    if exteriors.is_empty() {
        return Some(holes.into_iter().map(|ring| vec![ring]).collect());
    }
    if exteriors.len() == 1 {
        exteriors.append(&mut holes);
        return Some(vec![exteriors]);
    }
    let boxes: Vec<[f64; 4]> = exteriors.iter().map(bounds).collect();
    let areas: Vec<f64> = exteriors.iter().map(|ring| -twice_area(ring)).collect();
    let mut polygons: Vec<Vec<Ring<f64>>> = exteriors.into_iter().map(|ring| vec![ring]).collect();
    let mut alone = Vec::new();
    let mut work = 0_usize;
    for hole in holes {
        let own = bounds(&hole);
        work = work.checked_add(boxes.len())?;
        let around = |i: &usize| {
            let b = &boxes[*i];
            b[0] <= own[0] && b[1] >= own[1] && b[2] <= own[2] && b[3] >= own[3]
        };
        let mut candidates: Vec<usize> = (0..boxes.len()).filter(around).collect();
        if candidates.len() > 1 {
            candidates.sort_by(|a, b| areas[*a].total_cmp(&areas[*b]));
            work = candidates.iter().try_fold(work, |work, i| work.checked_add(polygons[*i][0].len()))?;
            candidates.retain(|i| encloses(&polygons[*i][0], &hole));
        }
        if work > MOST_WORK {
            return None;
        }
        match candidates.first() {
            Some(exterior) => polygons[*exterior].push(hole),
            None => alone.push(vec![hole]),
        }
    }
    polygons.append(&mut alone);
    Some(polygons)
}

/// Comparisons for one feature: some seconds.
const MOST_WORK: usize = 2_000_000_000;

/// min x, max x, min y, max y.
fn bounds(ring: &Ring<f64>) -> [f64; 4] {
    ring.iter().fold([f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY], |b, v| {
        [b[0].min(v.0), b[1].max(v.0), b[2].min(v.1), b[3].max(v.1)]
    })
}

/// Whether a ring that does not cross another lies in it: the middle of its first edge does, which may touch at a vertex.
fn encloses(ring: &Ring<f64>, inner: &Ring<f64>) -> bool {
    let [a, b, ..] = inner.as_slice() else { return false };
    let (x, y) = (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1));
    let crossings = ring.windows(2).filter(|edge| {
        let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
        (y0 > y) != (y1 > y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    });
    crossings.count() % 2 == 1
}

fn polygons(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<Ring<f64>>>> {
    let mut polygons = Vec::new();
    records(path, bytes, &mut |rings| {
        if !rings.is_empty() {
            polygons.push(rings);
        }
        Ok(())
    })?;
    Ok(polygons)
}

/// Passes the rings of every record to `sink`, none for those without a geometry.
fn records(path: &Path, bytes: &[u8], sink: &mut dyn FnMut(Vec<Ring<f64>>) -> Result<()>) -> Result<()> {
    let truncated = || damaged(path, format!("{} bytes, fewer than the file says it has", bytes.len()));
    // Lengths are big-endian and in units of two bytes, the geometry is little-endian.
    let words = |at: usize| bytes.get(at..)?.first_chunk().map(|b| (u32::from_be_bytes(*b) as usize).saturating_mul(2));
    let end = words(24).filter(|end| *end >= HEADER_BYTES).ok_or_else(truncated)?;
    let mut rest = bytes.get(HEADER_BYTES..end).ok_or_else(truncated)?;
    while rest.len() >= RECORD_HEADER_BYTES {
        let at = bytes.len().min(end) - rest.len();
        let length = words(at + 4).ok_or_else(truncated)?;
        let record = rest.get(RECORD_HEADER_BYTES..).and_then(|rest| rest.get(..length)).ok_or_else(truncated)?;
        match number(record, 0) {
            // No geometry.
            Some(0) => sink(Vec::new())?,
            // Polygons, alone, with heights, with measures: those come after x and y.
            Some(5 | 15 | 25) => {
                sink(rings(record).ok_or_else(|| damaged(path, format!("a damaged polygon at byte {at}")))?)?;
            }
            Some(kind) => return Err(wrong_geometry(path, name(kind))),
            None => return Err(truncated()),
        }
        rest = &rest[RECORD_HEADER_BYTES + length..];
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

/// Type, bounding box, number of rings, number of vertices, first vertex of each ring, vertices.
fn rings(record: &[u8]) -> Option<Vec<Ring<f64>>> {
    let (ring_count, vertex_count) = (number(record, 36)? as usize, number(record, 40)? as usize);
    let vertices = record.get(44..)?.get(ring_count.checked_mul(4)?..)?.get(..vertex_count.checked_mul(16)?)?;
    let (vertices, _) = vertices.as_chunks::<16>();
    // The record has a start for each ring: that has been seen above.
    let start = |ring: usize| {
        if ring < ring_count { number(record, 44 + 4 * ring).map(|n| n as usize) } else { Some(vertex_count) }
    };
    let vertex = |bytes: &[u8; 16]| {
        let (x, y) = bytes.split_first_chunk::<8>()?;
        Some((f64::from_le_bytes(*x), f64::from_le_bytes(*y.first_chunk()?)))
    };
    (0..ring_count).map(|ring| vertices.get(start(ring)?..start(ring + 1)?)?.iter().map(vertex).collect()).collect()
}

fn name(kind: u32) -> &'static str {
    match kind {
        1 | 11 | 21 => "Point",
        3 | 13 | 23 => "PolyLine",
        8 | 18 | 28 => "MultiPoint",
        31 => "MultiPatch",
        _ => "unknown",
    }
}

fn crs(path: &Path) -> Result<Option<Crs>> {
    for extension in ["prj", "PRJ"] {
        let file = path.with_extension(extension);
        match std::fs::read(&file) {
            Ok(text) => return Ok(Some(Crs::from_wkt(&String::from_utf8_lossy(&text)))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", file, e)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one polygon of two rings.
    fn file(kind: u32) -> Vec<u8> {
        let ring = [(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (0.0, 0.0)];
        let mut record = kind.to_le_bytes().to_vec();
        record.extend([0; 32]);
        for n in [2_u32, 8, 0, 4] {
            record.extend(n.to_le_bytes());
        }
        for (x, y) in ring.iter().chain(&ring) {
            record.extend(f64::to_le_bytes(*x));
            record.extend(f64::to_le_bytes(*y));
        }
        let words = |bytes: usize| u32::try_from(bytes / 2).expect("small").to_be_bytes();
        let mut file = FILE_CODE.to_be_bytes().to_vec();
        file.extend([0; 20]);
        file.extend(words(HEADER_BYTES + RECORD_HEADER_BYTES + record.len()));
        file.resize(HEADER_BYTES, 0);
        file.extend(1_u32.to_be_bytes());
        file.extend(words(record.len()));
        file.extend(record);
        file
    }

    fn parse(bytes: &[u8]) -> Result<Vec<Vec<Ring<f64>>>> {
        polygons(Path::new("a.shp"), bytes)
    }

    #[test]
    fn rings_of_a_polygon() {
        for kind in [5, 15, 25] {
            let found = parse(&file(kind)).expect("a polygon");
            assert_eq!((found.len(), found[0].len(), found[0][1].len(), found[0][1][2]), (1, 2, 4, (4.0, 4.0)));
        }
        assert!(parse(&file(0)).expect("an empty feature").is_empty());
        assert!(parse(&file(3)).expect_err("lines").to_string().contains("PolyLine"));
    }

    #[test]
    fn holes_find_their_polygons() {
        let square = |x: f64, side: f64, is_hole: bool| {
            let mut ring = vec![(x, x), (x, x + side), (x + side, x + side), (x + side, x), (x, x)];
            if is_hole {
                ring.reverse();
            }
            ring
        };
        // A polygon with a hole, in that an island with a hole, and a polygon beside, in any order.
        let rings = vec![
            square(4.0, 1.0, true),
            square(0.0, 10.0, false),
            square(20.0, 4.0, false),
            square(3.0, 3.0, false),
            square(2.0, 6.0, true),
            square(21.0, 1.0, true),
        ];
        let sides = |polygon: &Vec<Ring<f64>>| polygon.iter().map(|ring| ring[2].0 - ring[0].0).collect::<Vec<_>>();
        let found = grouped(rings).expect("little work");
        assert_eq!(found.iter().map(sides).collect::<Vec<_>>(), [vec![10.0, 6.0], vec![4.0, 1.0], vec![3.0, 1.0]]);
        // Directions of no meaning.
        let found = grouped(vec![square(0.0, 1.0, true), square(5.0, 1.0, true)]).expect("little work");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn damage_is_refused() {
        let whole = file(5);
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 100..160 {
            for value in [0x7f, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                // Nothing but an answer is asked for.
                let _ = parse(&bad);
            }
        }
        let mut greedy = whole;
        greedy[144..148].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&greedy).is_err());
    }
}
