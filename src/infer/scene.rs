//! A scene's rasters, read window by window and cut into tiles of network input.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::infer::normalise::normalise;
use crate::infer::tiles::{Overlap, TileWindow, Tiling};
use crate::model::{Feature, Normalisation};
use crate::raster::{Crs, Grid, RasterFile, Window, check_same_grid, fill_gaps, slope_degrees};

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

/// A scene: what a model takes of it, on one grid. Nothing is held; [`Scene::read`] reads any window.
#[derive(Debug)]
pub struct Scene {
    grid: Grid,
    features: Vec<(Feature, Vec<Channel>)>,
}

/// Where one channel's values come from.
#[derive(Debug, Clone)]
enum Channel {
    /// A band of a file.
    Band { file: Arc<RasterFile>, band: usize },
    /// Derived from the elevation in a file's only band.
    Slope { elevation: Arc<RasterFile> },
}

impl Scene {
    /// Opens what a model with `features` takes. `assumed_crs` stands in for rasters that name none.
    ///
    /// # Errors
    /// A raster is missing, unreadable, has another number of bands, another grid, no CRS or no data, or is one the model does not take.
    pub fn open(files: &SceneFiles, features: &[Feature], assumed_crs: Option<&Crs>) -> Result<Self> {
        let listed = |features: &[Feature]| features.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
        if let Some(extra) = Feature::ALL.into_iter().find(|f| files.has(*f) && !features.contains(f)) {
            return Err(Error::bad_argument(
                format!("{} for a model that takes {}", option(extra), listed(features)),
                "rasters of the model's features only",
                format!("leave {} out, or use a model trained with {extra}", option(extra)),
            ));
        }
        let mut opener = Opener { grid: None, assumed_crs };
        let mut opened = Vec::new();
        for &feature in features {
            let channels = match feature {
                Feature::Dem => opener.dem(files)?,
                _ => opener.feature(feature, files.bands(feature))?,
            };
            opened.push((feature, channels));
        }
        let Some((_, grid)) = opener.grid else {
            return Err(Error::bad_argument("no rasters", "those of the model's features", "give them"));
        };
        Ok(Self { grid, features: opened })
    }

    /// The common grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Reads all channels of a window inside the grid.
    ///
    /// # Errors
    /// The window reaches outside, a file is damaged, or a value is infinite.
    pub fn read(&self, window: Window) -> Result<SceneWindow> {
        let mut valid = vec![true; window.height * window.width];
        let mut features = Vec::with_capacity(self.features.len());
        for (feature, channels) in &self.features {
            let mut read = Vec::with_capacity(channels.len());
            for channel in channels {
                let values = self.read_channel(channel, window)?;
                for (valid, value) in valid.iter_mut().zip(&values) {
                    *valid &= !value.is_nan();
                }
                read.push(values);
            }
            features.push((*feature, read));
        }
        Ok(SceneWindow { window, features, valid })
    }

    /// Reads what a tile shows of the scene.
    ///
    /// # Errors
    /// As [`Scene::read`].
    pub fn read_tile(&self, tiling: &Tiling, tile: TileWindow) -> Result<SceneWindow> {
        let window = tiling.overlap(tile).map_or(Window { row: 0, col: 0, height: 0, width: 0 }, |shared| Window {
            row: shared.scene_row,
            col: shared.scene_col,
            height: shared.height,
            width: shared.width,
        });
        self.read(window)
    }

    fn read_channel(&self, channel: &Channel, window: Window) -> Result<Vec<f32>> {
        match channel {
            Channel::Band { file, band } => read_finite(file, *band, window),
            Channel::Slope { elevation } => {
                // Slope needs the neighbours: one pixel more on each side that has one.
                let (top, left) = (window.row.min(1), window.col.min(1));
                let bottom = (window.row + window.height + 1).min(self.grid.height);
                let right = (window.col + window.width + 1).min(self.grid.width);
                let wider = Window {
                    row: window.row - top,
                    col: window.col - left,
                    height: bottom - (window.row - top),
                    width: right - (window.col - left),
                };
                let slope = slope_degrees(&read_finite(elevation, 0, wider)?, &self.grid.part(wider))?;
                let lines = slope.chunks_exact(wider.width).skip(top).take(window.height);
                Ok(lines.flat_map(|line| &line[left..left + window.width]).copied().collect())
            }
        }
    }
}

/// A window of a scene in memory: physical values of every channel the model takes, NaN where there are none.
#[derive(Debug, Clone)]
pub struct SceneWindow {
    window: Window,
    features: Vec<(Feature, Vec<Vec<f32>>)>,
    valid: Vec<bool>,
}

impl SceneWindow {
    /// Which part of the scene it is.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The same pixels, placed relative to a part of the scene that begins at a row and a column.
    #[must_use]
    pub fn relative_to(mut self, row: usize, col: usize) -> Self {
        self.window.row = self.window.row.saturating_sub(row);
        self.window.col = self.window.col.saturating_sub(col);
        self
    }

    /// Whether each pixel has data in every raster, row by row.
    #[must_use]
    pub fn valid(&self) -> &[bool] {
        &self.valid
    }

    /// Physical values of one channel, row by row; NaN in gaps.
    #[must_use]
    pub fn channel(&self, feature: Feature, channel: usize) -> Option<&[f32]> {
        let (_, channels) = self.features.iter().find(|(f, _)| *f == feature)?;
        channels.get(channel).map(Vec::as_slice)
    }

    /// How many pixels of a tile have data in every raster.
    #[must_use]
    pub fn valid_pixels(&self, tiling: &Tiling, tile: TileWindow) -> usize {
        let Some(shared) = tiling.overlap(tile) else { return 0 };
        (0..shared.height)
            .filter_map(|row| self.valid.get(self.line(&shared, row)))
            .map(|line| line.iter().filter(|valid| **valid).count())
            .sum()
    }

    /// Writes the normalised input of one tile, (tile, tile, channels), to `out`; 0 outside the scene.
    ///
    /// For computing, gaps of optical bands are left to the normalisation (0), all others are filled from what the tile has around them:
    /// what a tile holds does not depend on how the scene is read.
    ///
    /// # Errors
    /// The tile's part of the scene is not in this window, or a value is not finite.
    pub fn fill_tile(
        &self,
        feature: Feature,
        normalisation: &Normalisation,
        tiling: &Tiling,
        tile: TileWindow,
        out: &mut [f32],
    ) -> Result<()> {
        out.fill(0.0);
        let count = feature.channels();
        let (Some((_, channels)), Some(shared)) =
            (self.features.iter().find(|(f, _)| *f == feature), tiling.overlap(tile))
        else {
            return Ok(());
        };
        let end = self.window.row + self.window.height;
        let right = self.window.col + self.window.width;
        if shared.scene_row < self.window.row
            || shared.scene_col < self.window.col
            || shared.scene_row + shared.height > end
            || shared.scene_col + shared.width > right
        {
            return Err(Error::bad_argument(
                format!("a tile at row {}, column {} of a window {:?}", tile.row, tile.col, self.window),
                "a window that holds the tile's part of the scene",
                "this is a defect of the program; please report it",
            ));
        }
        let mut pixels = vec![0.0; shared.height * shared.width * count];
        for (c, channel) in channels.iter().enumerate() {
            let mut values = Vec::with_capacity(shared.height * shared.width);
            for row in 0..shared.height {
                values.extend_from_slice(&channel[self.line(&shared, row)]);
            }
            if feature != Feature::Optical {
                fill_gaps(&mut values, shared.width, shared.height);
            }
            for (pixel, value) in pixels.chunks_exact_mut(count).zip(values) {
                pixel[c] = value;
            }
        }
        normalise(feature, normalisation, &mut pixels)?;
        for (row, line) in pixels.chunks_exact(shared.width * count).enumerate() {
            let to = ((shared.tile_row + row) * tile.size + shared.tile_col) * count;
            out[to..to + line.len()].copy_from_slice(line);
        }
        Ok(())
    }

    /// Where a row of a tile's part of the scene lies in this window.
    fn line(&self, shared: &Overlap, row: usize) -> Range<usize> {
        let from = (shared.scene_row + row - self.window.row) * self.window.width + shared.scene_col - self.window.col;
        from..from + shared.width
    }
}

/// Opens rasters and holds them to the grid of the first.
struct Opener<'a> {
    grid: Option<(PathBuf, Grid)>,
    assumed_crs: Option<&'a Crs>,
}

impl Opener<'_> {
    /// All bands of a feature.
    fn feature(&mut self, feature: Feature, paths: &[PathBuf]) -> Result<Vec<Channel>> {
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
            let file = Arc::new(self.open(path)?);
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
                let too_bright = survey(&file, band)?;
                if feature == Feature::Optical && too_bright {
                    tracing::warn!(
                        "{}: most values of band {} are above {BRIGHTEST}, expected reflectance from 0 to 1; \
                         give the file its scale, for example with gdal_edit.py -scale 0.0001",
                        path.display(),
                        band + 1
                    );
                }
                channels.push(Channel::Band { file: file.clone(), band });
            }
        }
        Ok(channels)
    }

    /// Elevation and slope.
    fn dem(&mut self, files: &SceneFiles) -> Result<Vec<Channel>> {
        let elevation = self.single_band("--elevation", files.elevation.as_deref())?;
        let slope = match &files.slope {
            Some(path) => Channel::Band { file: self.single_band("--slope", Some(path))?, band: 0 },
            None => Channel::Slope { elevation: elevation.clone() },
        };
        Ok(vec![Channel::Band { file: elevation, band: 0 }, slope])
    }

    fn single_band(&mut self, option: &str, path: Option<&Path>) -> Result<Arc<RasterFile>> {
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
        survey(&file, 0)?;
        Ok(Arc::new(file))
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

/// Rows read at a time when a whole band is looked at.
const SURVEY_ROWS: usize = 256;

/// Looks at a whole band; gives whether most of its values are above any reflectance.
fn survey(file: &RasterFile, band: usize) -> Result<bool> {
    let grid = file.grid();
    let (mut known, mut bright) = (0u64, 0u64);
    for row in (0..grid.height).step_by(SURVEY_ROWS) {
        let height = SURVEY_ROWS.min(grid.height - row);
        let values = read_finite(file, band, Window { row, col: 0, height, width: grid.width })?;
        known += values.iter().filter(|v| !v.is_nan()).count() as u64;
        bright += values.iter().filter(|v| **v > BRIGHTEST).count() as u64;
    }
    if known == 0 {
        return Err(Error::bad_file(
            file.path(),
            format!("no data in band {} (every pixel is nodata)", band + 1),
            "at least one pixel with data",
            "check the file and its nodata value",
        ));
    }
    Ok(bright * 2 > known)
}

fn read_finite(file: &RasterFile, band: usize, window: Window) -> Result<Vec<f32>> {
    let values = file.read_window(band, window)?;
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
