//! Terrain: slope of an elevation model.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::raster::grid::Grid;

/// Slope in degrees (0 to 90) of each pixel of an elevation model in metres, by Horn's 3 x 3 differences.
///
/// B. K. P. Horn, "Hill shading and the reflectance map", Proceedings of the IEEE 69 (1), 1981. `elevation` has `grid.height` rows of
/// `grid.width` values. Distances are metres on the ground: coordinates in feet are converted, and degrees are measured on the WGS 84
/// ellipsoid at each row's latitude. The pixels of `grid` may be rotated, sheared or flipped.
///
/// NaN elevations give NaN. A neighbour that is missing (outside, or NaN) is put in line with its opposite through the centre; where
/// both miss, a diagonal lies in the plane of the nearest side neighbours, and a side neighbour at the centre's height. So the slope
/// of a plane is exact everywhere, corners too.
///
/// # Errors
/// The number of values is not the grid's number of pixels, or the transform is degenerate.
pub fn slope_degrees(elevation: &[f32], grid: &Grid) -> Result<Vec<f32>> {
    if elevation.len() != grid.len() {
        return Err(Error::shape(
            "slope",
            format!("{} elevations", elevation.len()),
            format!("{} x {} pixels", grid.width, grid.height),
        ));
    }
    let t = &grid.transform;
    let determinant = t[0] * t[4] - t[1] * t[3];
    if !determinant.is_finite() || determinant == 0.0 {
        return Err(Error::bad_argument(
            format!("the degenerate georeference {t:?}"),
            "pixels with an area",
            "check the elevation file's georeference",
        ));
    }
    let mut slope = vec![0.0_f32; elevation.len()];
    if grid.is_empty() {
        return Ok(slope);
    }
    slope.par_chunks_mut(grid.width).enumerate().for_each(|(row, line)| {
        for (col, value) in line.iter_mut().enumerate() {
            // Rows of a rotated geographic grid cross latitudes, so the metric belongs to the pixel.
            let metric = Metric::at(grid, col, row);
            *value = match differences(elevation, grid, col, row) {
                Some((along_cols, along_rows)) => metric.slope(along_cols, along_rows),
                None => f32::NAN,
            };
        }
    });
    Ok(slope)
}

/// The metric tensor of the pixel vectors in metres: squared lengths `e` and `g`, inner product `f`.
struct Metric {
    e: f64,
    f: f64,
    g: f64,
}

impl Metric {
    fn at(grid: &Grid, col: usize, row: usize) -> Self {
        let t = &grid.transform;
        let (mx, my) = match &grid.crs {
            Some(crs) if crs.geographic => metres_per_degree(grid.position(col as f64 + 0.5, row as f64 + 0.5).1),
            Some(crs) => {
                let size = crs.metres_per_unit().unwrap_or(1.0);
                (size, size)
            }
            None => (1.0, 1.0),
        };
        let (cx, cy, rx, ry) = (t[0] * mx, t[3] * my, t[1] * mx, t[4] * my);
        Self { e: cx * cx + cy * cy, f: cx * rx + cy * ry, g: rx * rx + ry * ry }
    }

    /// Slope in degrees from height differences per column and per row.
    fn slope(&self, along_cols: f64, along_rows: f64) -> f32 {
        let (a, b) = (along_cols, along_rows);
        let squared = (self.g * a * a - 2.0 * self.f * a * b + self.e * b * b) / (self.e * self.g - self.f * self.f);
        #[expect(clippy::cast_possible_truncation, reason = "degrees in single precision are exact to 1e-5")]
        let degrees = squared.max(0.0).sqrt().atan().to_degrees() as f32;
        degrees
    }
}

/// Metres per degree of longitude and of latitude on the WGS 84 ellipsoid at a latitude in degrees.
pub(crate) fn metres_per_degree(latitude: f64) -> (f64, f64) {
    const A: f64 = 6_378_137.0;
    const F: f64 = 1.0 / 298.257_223_563;
    let e2 = F * (2.0 - F);
    // At a pole a degree of longitude has no length; a thousandth of a degree beside it the slope is still finite.
    let (sin, cos) = latitude.clamp(-89.999, 89.999).to_radians().sin_cos();
    let w = (1.0 - e2 * sin * sin).sqrt();
    let prime_vertical = A / w;
    let meridional = A * (1.0 - e2) / (w * w * w);
    ((prime_vertical * cos).to_radians(), meridional.to_radians())
}

/// Horn's weighted height differences per column and per row; `None` if the centre is NaN.
fn differences(elevation: &[f32], grid: &Grid, col: usize, row: usize) -> Option<(f64, f64)> {
    let centre = f64::from(elevation[row * grid.width + col]);
    if centre.is_nan() {
        return None;
    }
    let at = |dx: isize, dy: isize| {
        let (x, y) = (col.checked_add_signed(dx)?, row.checked_add_signed(dy)?);
        if x >= grid.width || y >= grid.height {
            return None;
        }
        // Heights relative to the centre keep all digits for the differences.
        Some(f64::from(elevation[y * grid.width + x]) - centre).filter(|height| !height.is_nan())
    };
    let or_opposite = |dx: isize, dy: isize| at(dx, dy).or_else(|| at(-dx, -dy).map(|opposite| -opposite));
    let (north, west) = (or_opposite(0, -1).unwrap_or(0.0), or_opposite(-1, 0).unwrap_or(0.0));
    let (south, east) = (or_opposite(0, 1).unwrap_or(0.0), or_opposite(1, 0).unwrap_or(0.0));
    let north_west = or_opposite(-1, -1).unwrap_or(north + west);
    let north_east = or_opposite(1, -1).unwrap_or(north + east);
    let south_west = or_opposite(-1, 1).unwrap_or(south + west);
    let south_east = or_opposite(1, 1).unwrap_or(south + east);
    let along_cols = (north_east + 2.0 * east + south_east) - (north_west + 2.0 * west + south_west);
    let along_rows = (south_west + 2.0 * south + south_east) - (north_west + 2.0 * north + north_east);
    Some((along_cols / 8.0, along_rows / 8.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::crs::Crs;

    #[test]
    fn degrees_have_their_published_lengths() {
        // Lengths of a degree on WGS 84, as geodesy tables give them.
        for (latitude, longitude_metres, latitude_metres) in
            [(0.0, 111_319.49, 110_574.27), (45.0, 78_846.81, 111_131.75), (60.0, 55_800.0, 111_412.27)]
        {
            let (x, y) = metres_per_degree(latitude);
            assert!((x - longitude_metres).abs() < 0.5, "{latitude}: {x}");
            assert!((y - latitude_metres).abs() < 0.5, "{latitude}: {y}");
        }
    }

    #[test]
    fn geographic_grids_are_measured_on_the_ellipsoid() {
        let step = 1e-3;
        let grid = Grid {
            width: 5,
            height: 5,
            transform: [step, 0.0, 10.0, 0.0, -step, 60.0],
            crs: Crs::from_epsg(4326).ok(),
        };
        let (x, _) = metres_per_degree(60.0 - 2.5 * step);
        #[expect(clippy::cast_possible_truncation, reason = "elevations are stored so")]
        let elevation: Vec<f32> = (0..25).map(|i| ((i % 5) as f64 * step * x) as f32).collect();
        let slope = slope_degrees(&elevation, &grid).unwrap_or_default();
        assert!((slope[12] - 45.0).abs() < 1e-3, "{}", slope[12]);
    }

    #[test]
    fn feet_are_converted() {
        // EPSG:2225 is in US survey feet.
        let grid = Grid {
            width: 3,
            height: 3,
            transform: [100.0, 0.0, 6e6, 0.0, -100.0, 2e6],
            crs: Crs::from_epsg(2225).ok(),
        };
        let metres = 100.0 * 1200.0 / 3937.0;
        let elevation: Vec<f32> = (0..9_u8).map(|i| f32::from(i % 3) * metres).collect();
        let slope = slope_degrees(&elevation, &grid).unwrap_or_default();
        assert!((slope[4] - 45.0).abs() < 1e-4, "{}", slope[4]);
    }

    #[test]
    fn isolated_and_missing_pixels() {
        let grid = Grid { width: 3, height: 3, transform: [1.0, 0.0, 0.0, 0.0, -1.0, 0.0], crs: None };
        let mut elevation = vec![f32::NAN; 9];
        elevation[4] = 7.0;
        let slope = slope_degrees(&elevation, &grid).unwrap_or_default();
        assert_eq!(slope[4], 0.0);
        assert!(slope[0].is_nan());
        assert!(slope_degrees(&elevation[1..], &grid).is_err());
    }
}
