//! Areas and perimeters of polygons on the Earth.
//!
//! The area on the WGS 84 ellipsoid is that of the geodesic polygon (Karney 2013, doi 10.1007/s00190-012-0578-z). A straight line of a map
//! is not a geodesic, so edges longer than [`LONGEST_EDGE_M`] are divided on the map first. What remains is the sagitta of 1 km: below 1e-6
//! of the area in UTM zones, and below 1e-4 of the area of a single square kilometre in degrees at 80 degrees latitude.

use std::sync::OnceLock;

use geographiclib_rs::{Geodesic, PolygonArea, Winding};

use crate::error::Result;
use crate::raster::crs::Transformer;
use crate::raster::polygons::{Polygon, Ring};

/// Edges are divided until no part is longer than this, in metres.
pub const LONGEST_EDGE_M: f64 = 1000.0;

/// A polygon's area, with the surface it was measured on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Area {
    /// On the WGS 84 ellipsoid, in km2.
    Ellipsoidal(f64),
    /// In the plane of the map, in km2 if the map's unit is the metre. Projections distort areas: by up to 0.2 % within a UTM zone, by
    /// several per cent in polar stereographic maps, without bound in Mercator's. Only where the CRS is not known.
    Planar(f64),
}

impl Area {
    /// The number, in km2.
    #[must_use]
    pub fn km2(self) -> f64 {
        match self {
            Self::Ellipsoidal(km2) | Self::Planar(km2) => km2,
        }
    }
}

/// Area of a polygon in map coordinates: on the ellipsoid where there is a transformation to it, else in the plane.
///
/// # Errors
/// A vertex lies outside the projection's domain.
pub fn area(polygon: &Polygon<f64>, to_ellipsoid: Option<&Transformer>) -> Result<Area> {
    match to_ellipsoid {
        Some(transformer) => ellipsoidal_km2(polygon, |x, y| transformer.apply(x, y)).map(Area::Ellipsoidal),
        None => Ok(Area::Planar(planar_km2(polygon))),
    }
}

/// What is measured of a polygon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Its area.
    pub area: Area,
    /// The length of its exterior and its holes in km, on the same surface: of geodesics no longer than [`LONGEST_EDGE_M`] on the ellipsoid.
    pub perimeter_km: f64,
}

/// Area and perimeter of a polygon in map coordinates, as [`area`] measures them.
///
/// # Errors
/// As [`area`].
pub fn size(polygon: &Polygon<f64>, to_ellipsoid: Option<&Transformer>) -> Result<Size> {
    let Some(transformer) = to_ellipsoid else {
        let length = |ring: &Ring<f64>| ring.windows(2).map(|e| (e[1].0 - e[0].0).hypot(e[1].1 - e[0].1)).sum::<f64>();
        let perimeter_km = polygon.rings().map(length).sum::<f64>() / 1e3;
        return Ok(Size { area: Area::Planar(planar_km2(polygon)), perimeter_km });
    };
    let mut longitude_latitude = |x, y| transformer.apply(x, y);
    let (mut m, mut m2) = ring_size(&polygon.exterior, &mut longitude_latitude)?;
    for hole in &polygon.holes {
        let (length, within) = ring_size(hole, &mut longitude_latitude)?;
        m += length;
        m2 -= within;
    }
    Ok(Size { area: Area::Ellipsoidal(m2 / 1e6), perimeter_km: m / 1e3 })
}

/// Ellipsoidal area in km2 of a polygon whose edges are straight on the map; `longitude_latitude` takes map coordinates to degrees (WGS 84).
///
/// Rings may run either way; the areas of the holes are subtracted.
///
/// # Errors
/// What `longitude_latitude` returns.
pub fn ellipsoidal_km2(
    polygon: &Polygon<f64>,
    mut longitude_latitude: impl FnMut(f64, f64) -> Result<(f64, f64)>,
) -> Result<f64> {
    let (_, mut m2) = ring_size(&polygon.exterior, &mut longitude_latitude)?;
    for hole in &polygon.holes {
        m2 -= ring_size(hole, &mut longitude_latitude)?.1;
    }
    Ok(m2 / 1e6)
}

/// Area in the plane: square units of the map divided by 1e6.
#[must_use]
pub fn planar_km2(polygon: &Polygon<f64>) -> f64 {
    let square = |ring: &Ring<f64>| {
        let Some(&(ox, oy)) = ring.first() else { return 0.0 };
        // Relative to the first vertex: map coordinates are large and polygons small.
        ring.windows(2).map(|e| (e[0].0 - ox) * (e[1].1 - oy) - (e[1].0 - ox) * (e[0].1 - oy)).sum::<f64>().abs() / 2.0
    };
    (square(&polygon.exterior) - polygon.holes.iter().map(square).sum::<f64>()) / 1e6
}

/// Building the series of the ellipsoid takes longer than an edge.
fn wgs84() -> &'static Geodesic {
    static WGS84: OnceLock<Geodesic> = OnceLock::new();
    WGS84.get_or_init(Geodesic::wgs84)
}

/// Length in m and area in m2.
fn ring_size(
    ring: &Ring<f64>,
    longitude_latitude: &mut impl FnMut(f64, f64) -> Result<(f64, f64)>,
) -> Result<(f64, f64)> {
    let Some(&(x, y)) = ring.first() else { return Ok((0.0, 0.0)) };
    let mut measured = PolygonArea::new(wgs84(), Winding::CounterClockwise);
    let mut last = longitude_latitude(x, y)?;
    for edge in ring.windows(2) {
        let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
        measured.add_point(last.1, last.0);
        let next = longitude_latitude(x1, y1)?;
        // Divided on the map, where the edge is straight; the length on the Earth tells how often, whatever the map's unit.
        let parts = (rough_distance_m(last, next) / LONGEST_EDGE_M).ceil().clamp(1.0, 1e6);
        let mut part = 1.0;
        while part < parts {
            let t = part / parts;
            let (longitude, latitude) = longitude_latitude(x0 + t * (x1 - x0), y0 + t * (y1 - y0))?;
            measured.add_point(latitude, longitude);
            part += 1.0;
        }
        last = next;
    }
    // Signed, so that a ring that runs clockwise is not taken for the rest of the Earth.
    let (length, area, _) = measured.compute(true);
    Ok((length, area.abs()))
}

/// Great-circle distance on a sphere (haversine formula): within 0.6 %.
pub(crate) fn rough_distance_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |d: f64| (d.to_radians() / 2.0).sin().powi(2);
    let h = half(b.1 - a.1) + a.1.to_radians().cos() * b.1.to_radians().cos() * half(b.0 - a.0);
    2.0 * 6_371_000.0 * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::crs::{Crs, GeoKeys};

    /// The area in a CRS, as products measure it.
    fn measured(polygon: &Polygon<f64>, crs: Option<&Crs>) -> Result<Area> {
        let known = crs.filter(|crs| !crs.proj.is_empty());
        area(polygon, known.map(Transformer::to_longitude_latitude).transpose()?.as_ref())
    }

    fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Ring<f64> {
        vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    }

    fn crs(proj: &str, geographic: bool) -> Crs {
        Crs { epsg: None, name: "test".into(), proj: proj.into(), geographic, keys: GeoKeys::default() }
    }

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found / expected - 1.0).abs() < relative, "{found} instead of {expected}");
    }

    /// The zone between two parallels has a closed form on the ellipsoid (authalic latitude; Snyder 1987, eq. 3-12).
    fn zone_km2(degrees: f64, south: f64, north: f64) -> f64 {
        let (a, f) = (6378.137_f64, 1.0_f64 / 298.257_223_563);
        let e: f64 = (f * (2.0 - f)).sqrt();
        let q = |latitude: f64| {
            let s = latitude.to_radians().sin();
            (1.0 - e * e) * (s / (1.0 - (e * s).powi(2)) - ((1.0 - e * s) / (1.0 + e * s)).ln() / (2.0 * e))
        };
        degrees.to_radians() * a * a / 2.0 * (q(north) - q(south))
    }

    #[test]
    fn degrees_follow_parallels() {
        let whole = Polygon { exterior: rectangle(10.0, 46.0, 12.0, 47.0), holes: vec![] };
        let geographic = crs("+proj=longlat +datum=WGS84 +no_defs", true);
        let found = measured(&whole, Some(&geographic)).expect("inside the domain");
        assert!(matches!(found, Area::Ellipsoidal(_)));
        close(found.km2(), zone_km2(2.0, 46.0, 47.0), 1e-6);
        let mut hole = rectangle(10.5, 46.2, 11.0, 46.4);
        hole.reverse();
        let pierced = Polygon { holes: vec![hole], ..whole };
        let found = measured(&pierced, Some(&geographic)).expect("inside the domain");
        close(found.km2(), zone_km2(2.0, 46.0, 47.0) - zone_km2(0.5, 46.2, 46.4), 1e-6);
    }

    #[test]
    fn around_the_pole_and_across_the_date_line() {
        let stereographic = crs("+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=0 +datum=WGS84 +units=m +no_defs", false);
        let around = Polygon { exterior: rectangle(-1e5, -1e5, 1e5, 1e5), holes: vec![] };
        let found = measured(&around, Some(&stereographic)).expect("inside the domain").km2();
        // Scale 0.9728 at the pole: 40,000 km2 of the map are 5.6 % more on the Earth.
        assert!((42_000.0..42_500.0).contains(&found), "{found}");
        let geographic = crs("+proj=longlat +datum=WGS84 +no_defs", true);
        let across = Polygon { exterior: rectangle(179.5, -50.0, 180.5, -49.0), holes: vec![] };
        close(
            measured(&across, Some(&geographic)).expect("inside the domain").km2(),
            zone_km2(1.0, -50.0, -49.0),
            1e-6,
        );
    }

    #[test]
    fn perimeters() {
        let geographic = crs("+proj=longlat +datum=WGS84 +no_defs", true);
        let to_ellipsoid = Transformer::to_longitude_latitude(&geographic).expect("a common CRS");
        let whole = Polygon { exterior: rectangle(10.0, -1.0, 12.0, 1.0), holes: vec![] };
        // Two meridian arcs from 1 S to 1 N and two parallels at 1 degree (Snyder 1987, eq. 3-21 and 4-21), in km.
        let (a, e2) = (6378.137_f64, 0.006_694_379_990_14_f64);
        let phi = 1.0_f64.to_radians();
        let series = (1.0 - e2 / 4.0 - 3.0 * e2 * e2 / 64.0) * phi
            - (3.0 * e2 / 8.0 + 3.0 * e2 * e2 / 32.0) * (2.0 * phi).sin()
            + 15.0 * e2 * e2 / 256.0 * (4.0 * phi).sin();
        let meridian = 2.0 * a * series;
        let parallel = 2.0 * phi * a * phi.cos() / (1.0 - e2 * phi.sin().powi(2)).sqrt();
        let found = size(&whole, Some(&to_ellipsoid)).expect("inside the domain");
        close(found.perimeter_km, 2.0 * (meridian + parallel), 1e-6);
        assert_eq!(found.area, area(&whole, Some(&to_ellipsoid)).expect("inside the domain"));
        // In the plane, holes count too.
        let square = Polygon { exterior: rectangle(0.0, 0.0, 3e3, 1e3), holes: vec![rectangle(0.0, 0.0, 1e3, 1e3)] };
        assert_eq!(size(&square, None).expect("needs no CRS"), Size { area: Area::Planar(2.0), perimeter_km: 12.0 });
    }

    #[test]
    fn utm() {
        let utm = crs("+proj=utm +zone=11 +datum=WGS84 +units=m +no_defs", false);
        // On the central meridian the scale is 0.9996.
        let square = Polygon { exterior: rectangle(490_000.0, 5_780_000.0, 510_000.0, 5_800_000.0), holes: vec![] };
        let found = measured(&square, Some(&utm)).expect("inside the domain").km2();
        close(found, 400.0 / 0.9996_f64.powi(2), 3e-6);
        // 20 m instead of 1 km between points changes nothing that matters.
        let far = rectangle(800_000.0, 5_780_000.0, 820_000.0, 5_800_000.0);
        let mut fine = Vec::new();
        for edge in far.windows(2) {
            for part in 0..1000 {
                let t = f64::from(part) / 1000.0;
                fine.push((edge[0].0 + t * (edge[1].0 - edge[0].0), edge[0].1 + t * (edge[1].1 - edge[0].1)));
            }
        }
        fine.push(far[0]);
        let coarse = measured(&Polygon { exterior: far, holes: vec![] }, Some(&utm)).expect("inside the domain").km2();
        let fine = measured(&Polygon { exterior: fine, holes: vec![] }, Some(&utm)).expect("inside the domain").km2();
        close(coarse, fine, 1e-8);
    }

    #[test]
    fn unknown_crs_is_planar() {
        let square =
            Polygon { exterior: rectangle(0.0, 0.0, 3000.0, 1000.0), holes: vec![rectangle(0.0, 0.0, 1e3, 1e3)] };
        assert_eq!(measured(&square, None).expect("needs no CRS"), Area::Planar(2.0));
        assert_eq!(measured(&square, Some(&crs("", false))).expect("needs no CRS"), Area::Planar(2.0));
    }
}
