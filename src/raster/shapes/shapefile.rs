//! ESRI Shapefile (ESRI White Paper, July 1998): the polygons of a `.shp` and the CRS in the `.prj` beside it.
//!
//! The crate `shapefile` brings a reader of attribute tables along and asks for as much memory as a file claims to need; the geometry alone is a short
//! format.

use std::path::Path;

use super::{Found, damaged, wrong_geometry};
use crate::error::{Error, Result};
use crate::raster::crs::Crs;
use crate::raster::polygons::Ring;

/// The first four bytes, big-endian.
pub(super) const FILE_CODE: u32 = 9994;

const HEADER_BYTES: usize = 100;
const RECORD_HEADER_BYTES: usize = 8;

pub(super) fn read(path: &Path) -> Result<Found> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    Ok((polygons(path, &bytes)?, crs(path)?))
}

fn polygons(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<Ring<f64>>>> {
    let truncated = || damaged(path, format!("{} bytes, fewer than the file says it has", bytes.len()));
    // Lengths are big-endian and in units of two bytes, the geometry is little-endian.
    let words = |at: usize| bytes.get(at..)?.first_chunk().map(|b| (u32::from_be_bytes(*b) as usize).saturating_mul(2));
    let end = words(24).filter(|end| *end >= HEADER_BYTES).ok_or_else(truncated)?;
    let mut rest = bytes.get(HEADER_BYTES..end).ok_or_else(truncated)?;
    let mut polygons = Vec::new();
    while rest.len() >= RECORD_HEADER_BYTES {
        let at = bytes.len().min(end) - rest.len();
        let length = words(at + 4).ok_or_else(truncated)?;
        let record = rest.get(RECORD_HEADER_BYTES..).and_then(|rest| rest.get(..length)).ok_or_else(truncated)?;
        match number(record, 0) {
            // No geometry.
            Some(0) => {}
            // Polygons, alone, with heights, with measures: those come after x and y.
            Some(5 | 15 | 25) => {
                let rings = rings(record).ok_or_else(|| damaged(path, format!("a damaged polygon at byte {at}")))?;
                if !rings.is_empty() {
                    polygons.push(rings);
                }
            }
            Some(kind) => return Err(wrong_geometry(path, name(kind))),
            None => return Err(truncated()),
        }
        rest = &rest[RECORD_HEADER_BYTES + length..];
    }
    Ok(polygons)
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
