//! From the files of a scene to the sources of its channels, all on one grid.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::infer::assumed_crs::crs_of;
use crate::model::Feature;
use crate::raster::inspect::{Examined, Finding, Role, Sample, Severity, between, findings};
use crate::raster::source::{infinite, read_finite};
use crate::raster::{Crs, Grid, Quantity, RasterFile, Resampling, Source, TargetGrid, Warp, Window, check_same_grid};

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

    /// The features that files are given for.
    #[must_use]
    pub fn features(&self) -> Vec<Feature> {
        Feature::ALL.into_iter().filter(|feature| self.has(*feature)).collect()
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

/// In what unit backscatter is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SarUnit {
    /// Linear power, as the network has it.
    #[default]
    Linear,
    /// 10 log10 of it.
    Decibels,
}

/// How a scene's files are to be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SceneOptions {
    /// Stands in for the CRS of rasters that name none or an unknown one, or one without an EPSG code that puts them in the same place.
    pub assumed_crs: Option<Crs>,
    /// The scene's grid; that of the optical file with the smallest pixels where it is not given.
    pub grid: Option<TargetGrid>,
    /// The unit of `co_pol_sar` and `cross_pol_sar`.
    pub sar_unit: SarUnit,
    /// Reflectance = stored value * scale + offset, instead of the scale in the optical files' metadata.
    pub reflectance_scale: Option<f64>,
    /// As `reflectance_scale`.
    pub reflectance_offset: Option<f64>,
    /// A stored value that means no data in the optical files, besides their own.
    pub optical_nodata: Option<f64>,
}

/// A feature and its channels.
pub(super) type FeatureSources = (Feature, Vec<Source>);

/// Opens all files and brings them to one grid.
pub(super) fn open_sources(
    files: &SceneFiles,
    features: &[Feature],
    options: &SceneOptions,
) -> Result<(Grid, Vec<FeatureSources>)> {
    let listed = |features: &[Feature]| features.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ");
    if let Some(extra) = Feature::ALL.into_iter().find(|f| files.has(*f) && !features.contains(f)) {
        return Err(Error::bad_argument(
            format!("{} for a model that takes {}", option(extra), listed(features)),
            "rasters of the model's features only",
            format!("leave {} out, or use a model trained with {extra}", option(extra)),
        ));
    }
    let opener = Opener { options };
    let mut opened = Vec::new();
    for &feature in features {
        let rasters = match feature {
            Feature::Dem => opener.dem(files)?,
            _ => opener.feature(feature, files.bands(feature))?,
        };
        opened.push((feature, rasters));
    }
    let (name, grid) = scene_grid(&opened, options)?;
    check_contents(&opened)?;
    let mut sources = Vec::new();
    for (feature, rasters) in opened {
        let mut channels = Vec::new();
        for raster in rasters {
            let warp = raster.warp(&name, &grid)?;
            for &(band, quantity) in &raster.channels {
                let source = Source::new(raster.file.clone(), raster.grid.clone(), band, quantity);
                channels.push(match &warp {
                    Some(warp) => source.warped(warp.clone()),
                    None => source,
                });
            }
        }
        sources.push((feature, channels));
    }
    Ok((grid, sources))
}

/// The grid of a scene, and the file or text it comes from.
fn scene_grid(opened: &[(Feature, Vec<Raster>)], options: &SceneOptions) -> Result<(PathBuf, Grid)> {
    let optical = opened.iter().filter(|(feature, _)| *feature == Feature::Optical).flat_map(|(_, rasters)| rasters);
    let any = opened.iter().flat_map(|(_, rasters)| rasters);
    let mut finest: Option<&Raster> = None;
    for raster in optical {
        let size = |raster: &Raster| raster.grid.ground_pixel_m().unwrap_or(f64::INFINITY);
        // Of equal ones the first; projections make small differences.
        if finest.is_none_or(|finest| size(raster) < 0.99 * size(finest)) {
            finest = Some(raster);
        }
    }
    let Some(reference) = finest.or_else(|| any.into_iter().next()) else {
        return Err(Error::bad_argument("no rasters", "those of the model's features", "give them"));
    };
    let path = reference.file.path();
    Ok(match &options.grid {
        None => (path.to_path_buf(), reference.grid.clone()),
        Some(target) => {
            let grid = target.resolve((path, &reference.grid), options.assumed_crs.as_ref())?;
            let name = match target {
                TargetGrid::File(path) => path.clone(),
                TargetGrid::Pixels { .. } => PathBuf::from("--grid"),
            };
            (name, grid)
        }
    })
}

/// Says what is wrong with the rasters; refuses what would make the result nonsense.
fn check_contents(opened: &[(Feature, Vec<Raster>)]) -> Result<()> {
    let rasters: Vec<&Raster> = opened.iter().flat_map(|(_, rasters)| rasters).collect();
    let mut said = Vec::new();
    for raster in &rasters {
        let path = raster.file.path();
        for finding in findings(raster.examined(), Some(raster.role)) {
            // A CRS may have been assumed, and what has no data was looked at whole.
            let is_placed = raster.grid.crs.as_ref().is_some_and(|crs| !crs.proj.is_empty());
            if matches!(finding.kind, "no_crs" | "all_nodata") || (finding.kind == "unknown_crs" && is_placed) {
                continue;
            }
            let is_fatal = finding.severity == Severity::Error
                || (finding.kind == "all_zero" && raster.role == Role::Optical && raster.has_zero_band()?);
            if is_fatal {
                return Err(Error::bad_file(path, finding.message, raster.role.expected(), finding.fix));
            }
            said.push((Some(path), finding));
        }
    }
    let together: Vec<_> = rasters.iter().map(|raster| (raster.examined(), Some(raster.role))).collect();
    said.extend(between(&together).into_iter().map(|finding| (None, finding)));
    for (path, Finding { severity, message, fix, .. }) in said {
        let place = path.map_or_else(String::new, |path| format!("{}: ", path.display()));
        if severity == Severity::Note {
            tracing::info!("{place}{message}; {fix}");
        } else {
            tracing::warn!("{place}{message}; {fix}");
        }
    }
    Ok(())
}

/// An open file, and what is taken of it.
struct Raster {
    file: Arc<RasterFile>,
    /// The file's grid, with a CRS.
    grid: Grid,
    sample: Sample,
    role: Role,
    channels: Vec<(usize, Quantity)>,
}

impl Raster {
    fn examined(&self) -> Examined<'_> {
        Examined { file: &self.file, sample: &self.sample }
    }

    /// Whether every pixel of a band is 0, and not only those of the sample.
    fn has_zero_band(&self) -> Result<bool> {
        for band in 0..self.sample.bands.len() {
            let is_zero = self.sample.statistics(band).is_some_and(|s| s.known > 0 && s.zeros == s.known);
            if is_zero
                && (self.sample.is_whole || !any_pixel(&self.file, band, |value| value != 0.0 && !value.is_nan())?)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The way to a scene's grid; `None` where the file is on it.
    fn warp(&self, name: &Path, target: &Grid) -> Result<Option<Arc<Warp>>> {
        let path = self.file.path();
        let Err(difference) = check_same_grid((name, target), (path, &self.grid)) else { return Ok(None) };
        let warp = Warp::new(&self.grid, target, Resampling::Bilinear).map_err(|error| match error {
            Error::BadArgument { found, expected, remedy } => Error::bad_file(path, found, expected, remedy),
            other => other,
        })?;
        if !warp.overlaps() {
            return Err(Error::bad_file(
                path,
                "a raster of another place",
                format!("one that shares ground with the grid of {}", name.display()),
                "give rasters of the same place, and check the CRS of both with glavitu inspect",
            ));
        }
        if let Error::BadFile { found, expected, .. } = difference {
            let how = if warp.keeps_values() { "cut to" } else { "warped to" };
            tracing::info!("{}: {how} {expected}, from {found}", path.display());
        }
        Ok(Some(Arc::new(warp)))
    }
}

/// Opens rasters and checks what is in them.
struct Opener<'a> {
    options: &'a SceneOptions,
}

impl Opener<'_> {
    /// All bands of a feature.
    fn feature(&self, feature: Feature, paths: &[PathBuf]) -> Result<Vec<Raster>> {
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
        let role = match (feature, self.options.sar_unit) {
            (Feature::Optical, _) => Role::Optical,
            (Feature::Dem, _) => Role::Elevation,
            (Feature::CoPolSar | Feature::CrossPolSar, SarUnit::Linear) => Role::Backscatter,
            (Feature::CoPolSar | Feature::CrossPolSar, SarUnit::Decibels) => Role::Decibels,
            (Feature::InSar, _) => Role::Coherence,
            (Feature::Thermal, _) => Role::Thermal,
        };
        let quantity = if role == Role::Decibels { Quantity::Decibels } else { Quantity::Value };
        let mut rasters = Vec::new();
        for path in paths {
            let (mut file, grid) = self.open(path)?;
            if feature == Feature::Optical {
                file.set_scale(self.options.reflectance_scale, self.options.reflectance_offset)?;
                if let Some(nodata) = self.options.optical_nodata {
                    file.set_nodata(nodata)?;
                }
            }
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
            let sample = sample(&file)?;
            let channels = (0..bands).map(|band| (band, quantity)).collect();
            rasters.push(Raster { file: Arc::new(file), grid, sample, role, channels });
        }
        Ok(rasters)
    }

    /// Elevation and slope.
    fn dem(&self, files: &SceneFiles) -> Result<Vec<Raster>> {
        let mut elevation = self.single_band("--elevation", Role::Elevation, files.elevation.as_deref())?;
        let Some(path) = &files.slope else {
            elevation.channels.push((0, Quantity::Slope));
            return Ok(vec![elevation]);
        };
        Ok(vec![elevation, self.single_band("--slope", Role::Slope, Some(path))?])
    }

    fn single_band(&self, option: &str, role: Role, path: Option<&Path>) -> Result<Raster> {
        let Some(path) = path else {
            return Err(Error::bad_argument(
                format!("no {option}"),
                "an elevation raster, which the model takes",
                format!("give {option}, or use a model trained without dem"),
            ));
        };
        let (file, grid) = self.open(path)?;
        if file.bands().len() != 1 {
            let found = format!("{} bands for {option}", file.bands().len());
            return Err(Error::bad_file(path, found, "one band", "select it with gdal_translate -b"));
        }
        let sample = sample(&file)?;
        Ok(Raster { file: Arc::new(file), grid, sample, role, channels: vec![(0, Quantity::Value)] })
    }

    /// Opens a file; its grid has a CRS.
    fn open(&self, path: &Path) -> Result<(RasterFile, Grid)> {
        let file = RasterFile::open(path)?;
        let mut grid = file.grid().clone();
        grid.crs = crs_of(path, &grid, self.options.assumed_crs.as_ref());
        if grid.crs.is_none() {
            return Err(Error::bad_file(
                path,
                "no coordinate reference system",
                "a georeferenced raster",
                "give --assume-crs EPSG:CODE, or write one into the file with gdal_edit.py -a_srs EPSG:CODE",
            ));
        }
        Ok((file, grid))
    }
}

/// Rows read at a time when a whole band is looked at.
const SURVEY_ROWS: usize = 256;

/// Samples a file. Of a band without data in the sample, every pixel is looked at before the file is refused.
fn sample(file: &RasterFile) -> Result<Sample> {
    let sample = Sample::read(file)?;
    for band in 0..sample.bands.len() {
        let Some(statistics) = sample.statistics(band) else { continue };
        if statistics.infinite > 0 {
            return Err(infinite(file, band));
        }
        if statistics.known == 0 && (sample.is_whole || !any_pixel(file, band, |value| !value.is_nan())?) {
            return Err(Error::bad_file(
                file.path(),
                format!("no data in band {} (every pixel is nodata)", band + 1),
                "at least one pixel with data",
                "check the file and its nodata value",
            ));
        }
    }
    Ok(sample)
}

/// Whether any pixel of a band is so.
fn any_pixel(file: &RasterFile, band: usize, is_so: impl Fn(f32) -> bool) -> Result<bool> {
    let grid = file.grid();
    for row in (0..grid.height).step_by(SURVEY_ROWS) {
        let height = SURVEY_ROWS.min(grid.height - row);
        let values = read_finite(file, band, Window { row, col: 0, height, width: grid.width })?;
        if values.into_iter().any(&is_so) {
            return Ok(true);
        }
    }
    Ok(false)
}
