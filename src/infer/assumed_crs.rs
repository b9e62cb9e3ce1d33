//! Which CRS a raster gets where one is assumed for those that name none.

use std::path::Path;

use crate::raster::{Crs, Grid};

/// How far apart two CRSs may put a raster's centre, in metres, for one to stand in for the other: old datums are some hundred metres from
/// WGS 84.
const NEAR_M: f64 = 1000.0;

/// The mean radius of the Earth in metres (IUGG).
const RADIUS_M: f64 = 6_371_008.8;

/// The CRS to use for a raster on `grid`.
///
/// The assumed one stands in where the raster names none, where the definition of its own is not known, and where its own has no EPSG code and
/// both put the raster's centre in one place: outputs then carry the code.
pub(super) fn crs_of(path: &Path, grid: &Grid, assumed: Option<&Crs>) -> Option<Crs> {
    let (Some(own), Some(assumed)) = (&grid.crs, assumed) else { return grid.crs.as_ref().or(assumed).cloned() };
    if own.epsg.is_some() {
        return Some(own.clone());
    }
    if own.proj.is_empty() {
        return Some(assumed.clone());
    }
    let distance = distance_m(grid, own, assumed);
    if distance.is_some_and(|distance| distance <= NEAR_M) {
        return Some(assumed.clone());
    }
    let apart = distance.map_or_else(
        || "cannot place the raster".to_owned(),
        |distance| format!("puts its centre {:.1} km away", distance / 1000.0),
    );
    tracing::warn!(
        "{}: --assume-crs was not used for this file, whose CRS is {}: {} {apart}; leave the option out, or mend the file with \
         gdal_edit.py -a_srs EPSG:CODE",
        path.display(),
        own.name,
        assumed.name,
    );
    Some(own.clone())
}

/// How far apart two CRSs put the centre of a grid, on a sphere; `None` where one of them cannot tell.
#[expect(clippy::cast_precision_loss, reason = "rasters have fewer than 2^52 columns and rows")]
fn distance_m(grid: &Grid, one: &Crs, other: &Crs) -> Option<f64> {
    let (x, y) = grid.position(grid.width as f64 / 2.0, grid.height as f64 / 2.0);
    let place = |crs: &Crs| crs.longitude_latitude(x, y).ok().map(|(lon, lat)| (lon.to_radians(), lat.to_radians()));
    let ((lon_a, lat_a), (lon_b, lat_b)) = (place(one)?, place(other)?);
    // Haversines: exact for points close together.
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let part = half(lat_b - lat_a) + lat_a.cos() * lat_b.cos() * half(lon_b - lon_a);
    let distance = 2.0 * RADIUS_M * part.clamp(0.0, 1.0).sqrt().asin();
    distance.is_finite().then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(crs: Option<Crs>) -> Grid {
        Grid { width: 100, height: 100, transform: [30.0, 0.0, 470_000.0, 0.0, -30.0, 5_790_000.0], crs }
    }

    /// UTM zone 11 on the ellipsoid of WGS 84, without a code; `west` metres are taken off the false easting.
    fn unnamed(west: f64) -> Crs {
        Crs::from_wkt(&format!(
            "PROJCS[\"UTM Zone 11, Unknown datum\",GEOGCS[\"unknown\",DATUM[\"unknown\",SPHEROID[\"WGS84\",6378137,298.257223563]],\
             PRIMEM[\"Greenwich\",0],UNIT[\"degree\",0.0174532925199433]],PROJECTION[\"Transverse_Mercator\"],\
             PARAMETER[\"latitude_of_origin\",0],PARAMETER[\"central_meridian\",-117],PARAMETER[\"scale_factor\",0.9996],\
             PARAMETER[\"false_easting\",{}],PARAMETER[\"false_northing\",0],UNIT[\"metre\",1]]",
            500_000.0 - west
        ))
    }

    fn code(own: Option<Crs>, assumed: Option<u32>) -> Option<u32> {
        let assumed = assumed.map(|code| Crs::from_epsg(code).expect("a known code"));
        crs_of(Path::new("a.tif"), &grid(own), assumed.as_ref()).and_then(|crs| crs.epsg)
    }

    #[test]
    fn the_assumed_crs_stands_in_where_both_agree() {
        let own = unnamed(0.0);
        assert!(own.epsg.is_none() && !own.proj.is_empty(), "{own:?}");
        assert_eq!(code(Some(own.clone()), Some(32611)), Some(32611));
        assert_eq!(code(Some(unnamed(990.0)), Some(32611)), Some(32611));
        assert_eq!(code(Some(unnamed(1010.0)), Some(32611)), None);
        assert_eq!(code(Some(own.clone()), Some(32612)), None);
        assert_eq!(code(Some(own), None), None);
        // Metres are no degrees.
        assert_eq!(code(Some(unnamed(0.0)), Some(4326)), None);
        let named = Crs::from_epsg(32610).ok();
        assert_eq!(code(named, Some(32611)), Some(32610));
        assert_eq!((code(None, Some(32611)), code(None, None)), (Some(32611), None));
        let unknown = Crs { proj: String::new(), ..unnamed(0.0) };
        assert_eq!(code(Some(unknown), Some(32611)), Some(32611));
    }

    #[test]
    fn distances_on_the_ground() {
        let metres = distance_m(&grid(None), &unnamed(0.0), &unnamed(1000.0)).expect("both are known");
        // The scale of the projection is 0.9996 near the central meridian.
        assert!((metres - 1000.0).abs() < 5.0, "{metres}");
    }
}
