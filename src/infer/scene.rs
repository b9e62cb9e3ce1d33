//! A scene's rasters, ready to be cut into tiles of network input.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::infer::normalise::normalise;
use crate::infer::tiles::{TileWindow, Tiling};
use crate::model::{Feature, Normalisation};
use crate::raster::{Crs, Grid, RasterFile, check_same_grid, fill_gaps, slope_degrees};

/// The files of a scene. What a feature needs comes as one file with all its bands or as one file per band, in band order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SceneFiles {
    /// Blue, green, red, NIR, SWIR1, SWIR2.
    pub optical: Vec<PathBuf>,
    /// Elevation in metres.
    pub elevation: Option<PathBuf>,
    /// Slope in degrees; derived from the elevation where it is not given.
    pub slope: Option<PathBuf>,
    /// Co-polarised backscatter, linear: ascending, descending.
    pub co_pol_sar: Vec<PathBuf>,
    /// Cross-polarised backscatter, linear: ascending, descending.
    pub cross_pol_sar: Vec<PathBuf>,
    /// Interferometric coherence: ascending, descending.
    pub in_sar: Vec<PathBuf>,
    /// Brightness temperature in kelvin.
    pub thermal: Vec<PathBuf>,
}

impl SceneFiles {
    /// The files of a feature that is not the DEM.
    fn bands(&self, feature: Feature) -> &[PathBuf] {
        match feature {
            Feature::Optical => &self.optical,
            Feature::Dem => &[],
            Feature::CoPolSar => &self.co_pol_sar,
            Feature::CrossPolSar => &self.cross_pol_sar,
            Feature::InSar => &self.in_sar,
            Feature::Thermal => &self.thermal,
        }
    }

    fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::Dem => self.elevation.is_some() || self.slope.is_some(),
            _ => !self.bands(feature).is_empty(),
        }
    }

    /// All files, in the order of the features.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.optical
            .iter()
            .chain(&self.elevation)
            .chain(&self.slope)
            .chain(&self.co_pol_sar)
            .chain(&self.cross_pol_sar)
            .chain(&self.in_sar)
            .chain(&self.thermal)
    }
}

/// The command-line option that gives a feature.
fn option(feature: Feature) -> &'static str {
    match feature {
        Feature::Optical => "--optical",
        Feature::Dem => "--elevation",
        Feature::CoPolSar => "--co-pol-sar",
        Feature::CrossPolSar => "--cross-pol-sar",
        Feature::InSar => "--in-sar",
        Feature::Thermal => "--thermal",
    }
}

/// A scene in memory: physical values of every channel the model takes.
#[derive(Debug, Clone)]
pub struct Scene {
    grid: Grid,
    features: Vec<(Feature, Vec<Vec<f32>>)>,
    valid: Vec<bool>,
}

impl Scene {
    /// Reads what a model with `features` takes. `assumed_crs` stands in for rasters that name none.
    ///
    /// Pixels with a gap in any raster are not valid. For computing, gaps of optical bands are left to the normalisation (0), all others
    /// are filled from their neighbourhood.
    ///
    /// # Errors
    /// A raster is missing, unreadable, has another number of bands, another grid, no CRS or no data, or is one the model does not take.
    pub fn read(files: &SceneFiles, features: &[Feature], assumed_crs: Option<&Crs>) -> Result<Self> {
        let listed = |features: &[Feature]| features.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        if let Some(extra) = Feature::ALL.into_iter().find(|f| files.has(*f) && !features.contains(f)) {
            return Err(Error::bad_argument(
                format!("{} for a model that takes {}", option(extra), listed(features)),
                "rasters of the model's features only",
                format!("leave {} out, or use a model trained with {extra}", option(extra)),
            ));
        }
        let mut reader = Reader { grid: None, assumed_crs };
        let mut read = Vec::new();
        for &feature in features {
            let channels = match feature {
                Feature::Dem => reader.dem(files)?,
                _ => reader.feature(feature, files.bands(feature))?,
            };
            read.push((feature, channels));
        }
        let Some((_, grid)) = reader.grid else {
            return Err(Error::bad_argument("no rasters", "those of the model's features", "give them"));
        };
        let mut valid = vec![true; grid.len()];
        for channel in read.iter().flat_map(|(_, channels)| channels) {
            for (valid, value) in valid.iter_mut().zip(channel) {
                *valid &= !value.is_nan();
            }
        }
        if !valid.contains(&true) {
            return Err(Error::bad_argument(
                "no pixel that has data in every raster",
                "rasters that overlap",
                "check nodata values and extents",
            ));
        }
        for (feature, channels) in &mut read {
            if *feature != Feature::Optical {
                for channel in channels {
                    fill_gaps(channel, grid.width, grid.height);
                }
            }
        }
        Ok(Self { grid, features: read, valid })
    }

    /// The common grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Whether each pixel has data in every raster, row by row.
    #[must_use]
    pub fn valid(&self) -> &[bool] {
        &self.valid
    }

    /// Physical values of one channel, row by row; NaN only in gaps of optical bands.
    #[must_use]
    pub fn channel(&self, feature: Feature, channel: usize) -> Option<&[f32]> {
        let (_, channels) = self.features.iter().find(|(f, _)| *f == feature)?;
        channels.get(channel).map(Vec::as_slice)
    }

    /// Writes the normalised input of one tile, (tile, tile, channels), to `out`; 0 outside the scene.
    ///
    /// # Errors
    /// The scene lacks the feature, or a value is not finite.
    pub fn fill_tile(
        &self,
        feature: Feature,
        normalisation: &Normalisation,
        tiling: &Tiling,
        window: TileWindow,
        out: &mut [f32],
    ) -> Result<()> {
        out.fill(0.0);
        let count = feature.channels();
        let (Some((_, channels)), Some(shared)) =
            (self.features.iter().find(|(f, _)| *f == feature), tiling.overlap(window))
        else {
            return Ok(());
        };
        let mut row = vec![0.0; shared.width * count];
        for r in 0..shared.height {
            let from = (shared.scene_row + r) * self.grid.width + shared.scene_col;
            for (c, channel) in channels.iter().enumerate() {
                for (pixel, &value) in row.chunks_exact_mut(count).zip(&channel[from..from + shared.width]) {
                    pixel[c] = value;
                }
            }
            normalise(feature, normalisation, &mut row)?;
            let to = ((shared.tile_row + r) * window.size + shared.tile_col) * count;
            out[to..to + row.len()].copy_from_slice(&row);
        }
        Ok(())
    }
}

/// Reads rasters and holds them to the grid of the first.
struct Reader<'a> {
    grid: Option<(PathBuf, Grid)>,
    assumed_crs: Option<&'a Crs>,
}

impl Reader<'_> {
    /// All bands of a feature.
    fn feature(&mut self, feature: Feature, paths: &[PathBuf]) -> Result<Vec<Vec<f32>>> {
        let (expected, option) = (feature.channels(), option(feature));
        if paths.is_empty() {
            return Err(Error::bad_argument(
                format!("no {option}"),
                format!("rasters of {feature}, which the model takes"),
                format!("give {option}, or use a model trained without {feature}"),
            ));
        }
        // One file may stand for both orbits of a radar, but never for two colours.
        let repeated = (1..paths.len()).find(|&n| paths[..n].contains(&paths[n]));
        if feature == Feature::Optical
            && paths.len() == expected
            && let Some(path) = repeated.map(|n| &paths[n])
        {
            let remedy = "give each band's file once";
            return Err(Error::bad_file(
                path,
                format!("the same file twice for {option}"),
                "six different bands",
                remedy,
            ));
        }
        let mut channels = Vec::new();
        for path in paths {
            let file = self.open(path)?;
            let bands = file.bands().len();
            let fits = if paths.len() == 1 { bands == expected } else { bands == 1 && paths.len() == expected };
            if !fits {
                let order = if feature == Feature::Optical { " (blue, green, red, NIR, SWIR1, SWIR2)" } else { "" };
                let wanted = if expected == 1 {
                    "one file with one band".to_owned()
                } else {
                    format!("one file with {expected} bands or {expected} files with one band each{order}")
                };
                let s = if bands == 1 { "" } else { "s" };
                let found = match paths.len() {
                    1 => format!("{bands} band{s} for {option}"),
                    files => format!("{bands} band{s} in one of {files} files for {option}"),
                };
                return Err(Error::bad_file(
                    path,
                    found,
                    wanted,
                    "select the bands with gdal_translate -b or gdalbuildvrt",
                ));
            }
            for band in 0..bands {
                let values = read_band(&file, band)?;
                if feature == Feature::Optical && !are_reflectances(&values) {
                    tracing::warn!(
                        "{}: most values of band {} are above {BRIGHTEST}, expected reflectance from 0 to 1; \
                         give the file its scale, for example with gdal_edit.py -scale 0.0001",
                        path.display(),
                        band + 1
                    );
                }
                channels.push(values);
            }
        }
        Ok(channels)
    }

    /// Elevation and slope.
    fn dem(&mut self, files: &SceneFiles) -> Result<Vec<Vec<f32>>> {
        let elevation = self.feature_band("--elevation", files.elevation.as_deref())?;
        let slope = match (&files.slope, &self.grid) {
            (Some(path), _) => self.feature_band("--slope", Some(path))?,
            (None, Some((_, grid))) => slope_degrees(&elevation, grid)?,
            (None, None) => Vec::new(),
        };
        Ok(vec![elevation, slope])
    }

    fn feature_band(&mut self, option: &str, path: Option<&Path>) -> Result<Vec<f32>> {
        let Some(path) = path else {
            return Err(Error::bad_argument(
                format!("no {option}"),
                "an elevation raster, which the model takes",
                format!("give {option}, or use a model trained without dem"),
            ));
        };
        let file = self.open(path)?;
        if file.bands().len() != 1 {
            let found = format!("{} bands for {option}", file.bands().len());
            return Err(Error::bad_file(path, found, "one band", "select it with gdal_translate -b"));
        }
        read_band(&file, 0)
    }

    /// Opens a file and checks its grid against the first one's.
    fn open(&mut self, path: &Path) -> Result<RasterFile> {
        let file = RasterFile::open(path)?;
        let mut grid = file.grid().clone();
        if grid.crs.is_none() {
            grid.crs = self.assumed_crs.cloned();
        }
        if grid.crs.is_none() {
            return Err(Error::bad_file(
                path,
                "no coordinate reference system",
                "a georeferenced raster",
                "give --assume-crs EPSG:CODE, or write one into the file with gdal_edit.py -a_srs EPSG:CODE",
            ));
        }
        match &self.grid {
            None => self.grid = Some((path.to_path_buf(), grid)),
            Some((first, expected)) => check_same_grid((first, expected), (path, &grid))?,
        }
        Ok(file)
    }
}

/// No reflectance of the published training data is higher.
const BRIGHTEST: f32 = 3.0;

/// Whether values may be reflectances, rather than the integers they are stored as.
fn are_reflectances(values: &[f32]) -> bool {
    let known = values.iter().filter(|v| !v.is_nan()).count();
    values.iter().filter(|v| **v > BRIGHTEST).count() * 2 <= known
}

fn read_band(file: &RasterFile, band: usize) -> Result<Vec<f32>> {
    let values = file.read_window(band, file.grid().window())?;
    if values.iter().all(|v| v.is_nan()) {
        return Err(Error::bad_file(
            file.path(),
            format!("no data in band {} (every pixel is nodata)", band + 1),
            "at least one pixel with data",
            "check the file and its nodata value",
        ));
    }
    if let Some(value) = values.iter().find(|v| v.is_infinite()) {
        return Err(Error::bad_file(
            file.path(),
            format!("{value} in band {}", band + 1),
            "finite values",
            "mark such pixels with the file's nodata value",
        ));
    }
    Ok(values)
}
