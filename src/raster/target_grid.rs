//! The grid that rasters are brought to, as a user names it: `FILE` or `EPSG:CODE@RESOLUTION[@xmin,ymin,xmax,ymax]`.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::raster::crs::{Crs, Transformer};
use crate::raster::grid::Grid;
use crate::raster::read::RasterFile;

/// The most pixels along a side.
const MOST_PIXELS: f64 = 1e6;

/// A grid to bring rasters to.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetGrid {
    /// That of a raster.
    File(PathBuf),
    /// Square pixels in a CRS.
    Pixels {
        /// The CRS.
        crs: Crs,
        /// Side of a pixel in units of the CRS.
        resolution: f64,
        /// xmin, ymin, xmax, ymax in units of the CRS; what the source covers, where not given.
        bounds: Option<[f64; 4]>,
    },
}

impl TargetGrid {
    /// Reads the text of an option.
    ///
    /// # Errors
    /// It begins with `EPSG:` and has no known code, no resolution above 0, or bounds without an area.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(rest) = text.get(..5).filter(|start| start.eq_ignore_ascii_case("EPSG:")).and_then(|_| text.get(5..))
        else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        let wrong = |expected: &str| {
            Error::bad_argument(
                format!("the grid {text}"),
                expected,
                "give a raster, or EPSG:32611@30, or EPSG:32611@30@470000,5780000,490000,5800000",
            )
        };
        let mut parts = rest.split('@');
        let code = parts.next().and_then(|code| code.parse().ok());
        let crs = Crs::from_epsg(code.ok_or_else(|| wrong("EPSG:CODE@RESOLUTION"))?)?;
        let resolution = parts.next().and_then(|number| number.parse::<f64>().ok());
        let resolution = resolution
            .filter(|size| size.is_finite() && *size > 0.0)
            .ok_or_else(|| wrong("a pixel size above 0 after the code, in units of the CRS"))?;
        let bounds = parts.next().map(|list| parse_bounds(list).ok_or_else(|| wrong("bounds xmin,ymin,xmax,ymax")));
        if parts.next().is_some() {
            return Err(wrong("EPSG:CODE@RESOLUTION@BOUNDS and no more"));
        }
        Ok(Self::Pixels { crs, resolution, bounds: bounds.transpose()? })
    }

    /// The grid for a raster on `source`, whose file is `path`. `assumed_crs` stands in for a file that names no CRS.
    ///
    /// # Errors
    /// The file cannot be read or names no CRS, the source's CRS is not known, or the grid would be too large.
    pub fn resolve(&self, source: (&Path, &Grid), assumed_crs: Option<&Crs>) -> Result<Grid> {
        match self {
            Self::File(path) => {
                let mut grid = RasterFile::open(path)?.grid().clone();
                if grid.crs.is_none() {
                    grid.crs = assumed_crs.cloned();
                }
                if grid.crs.is_none() {
                    return Err(Error::bad_file(
                        path,
                        "no coordinate reference system",
                        "a georeferenced raster",
                        "give --assume-crs EPSG:CODE, or name the grid as EPSG:CODE@RESOLUTION",
                    ));
                }
                Ok(grid)
            }
            Self::Pixels { crs, resolution, bounds } => match bounds {
                Some(bounds) => pixels(crs, *resolution, *bounds, false),
                None => pixels(crs, *resolution, extent(source, crs)?, true),
            },
        }
    }
}

fn parse_bounds(text: &str) -> Option<[f64; 4]> {
    let numbers: Vec<f64> = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let bounds: [f64; 4] = numbers.try_into().ok()?;
    let [xmin, ymin, xmax, ymax] = bounds;
    (bounds.iter().all(|value| value.is_finite()) && xmin < xmax && ymin < ymax).then_some(bounds)
}

/// North-up pixels that cover bounds. Snapped, edges are multiples of the resolution, so that grids of neighbouring scenes agree.
fn pixels(crs: &Crs, resolution: f64, [xmin, ymin, xmax, ymax]: [f64; 4], snapped: bool) -> Result<Grid> {
    // What is a multiple but for rounding stays one.
    let down = |value: f64| if snapped { (value / resolution + 1e-6).floor() * resolution } else { value };
    let up = |value: f64| if snapped { (value / resolution - 1e-6).ceil() * resolution } else { value };
    let (left, top) = (down(xmin), up(ymax));
    let columns = ((up(xmax) - left) / resolution).round().max(1.0);
    let rows = ((top - down(ymin)) / resolution).round().max(1.0);
    if !(columns <= MOST_PIXELS && rows <= MOST_PIXELS) {
        return Err(Error::bad_argument(
            format!("a grid of {columns} x {rows} pixels"),
            format!("at most {MOST_PIXELS} each way"),
            "the resolution is in units of the CRS (degrees for EPSG:4326): give a larger one",
        ));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 1 to a million")]
    let (width, height) = (columns as usize, rows as usize);
    Ok(Grid { width, height, transform: [resolution, 0.0, left, 0.0, -resolution, top], crs: Some(crs.clone()) })
}

/// Bounds in `crs` of what a raster covers.
fn extent((path, source): (&Path, &Grid), crs: &Crs) -> Result<[f64; 4]> {
    const STEPS: u16 = 64;
    let Some(own) = &source.crs else {
        return Err(Error::bad_file(
            path,
            "no coordinate reference system",
            "a georeferenced raster",
            "give --assume-crs EPSG:CODE",
        ));
    };
    let (width, height) = (source.width as f64, source.height as f64);
    let same = own.is_same(crs);
    let to_degrees = if same { None } else { Some(Transformer::to_longitude_latitude(own)?) };
    let to_target = if same { None } else { Some(Transformer::from_longitude_latitude(crs)?) };
    let through = |col: f64, row: f64| {
        let (x, y) = source.position(col, row);
        match (&to_degrees, &to_target) {
            (Some(to_degrees), Some(to_target)) => {
                let (longitude, latitude) = to_degrees.apply(x, y).ok()?;
                to_target.apply(longitude, latitude).ok()
            }
            _ => Some((x, y)),
        }
    };
    let middle = if crs.geographic && !same { through(width / 2.0, height / 2.0) } else { None };
    let mut bounds = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    // Far curves of a projection bulge, so the inside counts too.
    for row in 0..=STEPS {
        for col in 0..=STEPS {
            let part = |step: u16, size: f64| size * f64::from(step) / f64::from(STEPS);
            let Some((mut x, y)) = through(part(col, width), part(row, height)) else { continue };
            if let Some((middle, _)) = middle {
                x += 360.0 * ((middle - x) / 360.0).round();
            }
            bounds = [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x), bounds[3].max(y)];
        }
    }
    if crs.geographic
        && !same
        && let Some(pole) = pole_inside(source, own)
    {
        bounds = [-180.0, bounds[1].min(pole), 180.0, bounds[3].max(pole)];
    }
    if bounds.iter().all(|value| value.is_finite()) {
        return Ok(bounds);
    }
    Err(Error::bad_file(
        path,
        "a place on the Earth that the grid's CRS cannot show",
        format!("one inside the domain of {}", crs.name),
        "choose another CRS for the grid, or check the file's georeference",
    ))
}

/// The latitude of the pole that lies inside a grid.
fn pole_inside(grid: &Grid, crs: &Crs) -> Option<f64> {
    let transformer = Transformer::from_longitude_latitude(crs).ok()?;
    [90.0, -90.0].into_iter().find(|&latitude| {
        transformer.apply(0.0, latitude).is_ok_and(|(x, y)| {
            let (col, row) = grid.pixel_at(x, y);
            !crs.geographic && (0.0..=grid.width as f64).contains(&col) && (0.0..=grid.height as f64).contains(&row)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(text: &str, source: &Grid) -> Result<Grid> {
        TargetGrid::parse(text)?.resolve((Path::new("a.tif"), source), None)
    }

    fn utm() -> Grid {
        Grid { width: 100, height: 50, transform: [30.0, 0.0, 4e5, 0.0, -30.0, 5.2e6], crs: Crs::from_epsg(32632).ok() }
    }

    #[test]
    fn grids_in_words() {
        let same = resolve("EPSG:32632@30", &utm()).expect("a grid");
        // Edges are multiples of 30 m.
        assert_eq!(
            (same.width, same.height, same.transform),
            (101, 51, [30.0, 0.0, 399_990.0, 0.0, -30.0, 5_200_020.0])
        );
        let bounded = resolve("epsg:32632@10@400000,5199000,400500,5199250", &utm()).expect("a grid");
        assert_eq!((bounded.width, bounded.height, bounded.transform[5]), (50, 25, 5_199_250.0));
        let degrees = resolve("EPSG:4326@0.001", &utm()).expect("a grid");
        assert!((35..=45).contains(&degrees.width) && (13..=18).contains(&degrees.height), "{degrees:?}");
        assert_eq!(TargetGrid::parse("folder/a@b.tif").ok(), Some(TargetGrid::File("folder/a@b.tif".into())));
        for (text, part) in [
            ("EPSG:@30", "CODE"),
            ("EPSG:32632", "pixel size"),
            ("EPSG:32632@0", "pixel size"),
            ("EPSG:32632@nan", "pixel size"),
            ("EPSG:32632@30@1,2,3", "xmin"),
            ("EPSG:32632@30@3,2,1,4", "xmin"),
            ("EPSG:32632@30@1,2,3,4@5", "no more"),
            ("EPSG:4326@1e-9", "larger"),
            ("EPSG:999999@30", "999999"),
        ] {
            let error = resolve(text, &utm()).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_grid_around_the_pole_reaches_it() {
        let source = Grid {
            width: 100,
            height: 100,
            transform: [1e4, 0.0, -5e5, 0.0, -1e4, 5e5],
            crs: Crs::from_epsg(3413).ok(),
        };
        let grid = resolve("EPSG:4326@0.5", &source).expect("a grid");
        assert_eq!((grid.width, grid.transform[2], grid.transform[5]), (720, -180.0, 90.0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(EPSG:)?[0-9@.,e-]{0,20}|\\PC{0,12}") {
            let _ = resolve(&text, &utm());
        }

        #[test]
        fn what_a_raster_covers_is_inside(
            x in 2e5..8e5_f64, y in 0.0..9e6_f64, size in 1.0..100.0_f64, side in 1..300_usize, code in 0..3_usize,
        ) {
            let source = Grid {
                width: side,
                height: side,
                transform: [size, 0.0, x, 0.0, -size, y],
                crs: Crs::from_epsg(32632).ok(),
            };
            let text = ["EPSG:32633@50", "EPSG:4326@0.001", "EPSG:3857@77"][code];
            let grid = resolve(text, &source).expect("a grid");
            let map = crate::raster::pixel_map::PixelMap::new(&source, &grid).expect("known systems");
            let (col, row) = map.exact(side as f64 / 3.0, side as f64 / 5.0).expect("on the map");
            prop_assert!((0.0..=grid.width as f64).contains(&col) && (0.0..=grid.height as f64).contains(&row));
        }
    }
}
