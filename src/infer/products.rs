//! The files that a prediction becomes: a second pass over the probabilities, row by row.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::error::{Error, Result};
use crate::evaluate::CalibrationCurve;
use crate::infer::extent::Extent;
use crate::infer::outlines::{OutlineLayer, OutlineSettings, OutlineSummary};
use crate::infer::postprocess::{GLACIER, MedianRows, NODATA, OTHER, classify, confidences};
use crate::infer::scene::Scene;
use crate::infer::spool::Spool;
pub use crate::infer::uncertainty_rasters::MeanUncertainty;
use crate::infer::uncertainty_rasters::{self, UncertaintyRasters};
use crate::model::Feature;
use crate::raster::cog::{CogSettings, CogWriter, Overview};
use crate::raster::quicklook::{Caption, Quicklook, write_png};
use crate::raster::shapes::names_of;
use crate::raster::{Grid, Metadata, Window};

/// Pixels of lower calibrated confidence are hatched in the quicklook, unless another threshold is asked for.
pub const CONFIDENCE_THRESHOLD: f32 = 0.95;

/// The classes.
pub const CLASSES_FILE: &str = "outlines.tif";
/// The probability of glacier.
pub const PROBABILITY_FILE: &str = "probability.tif";
/// The confidence.
pub const CONFIDENCE_FILE: &str = "confidence.tif";
/// The picture.
pub const QUICKLOOK_FILE: &str = "quicklook.png";
/// Polygons of low confidence.
pub const CONFIDENCE_BANDS_FILE: &str = "confidence_bands.gpkg";
/// The outlines, unless other names are asked for.
pub const OUTLINES_FILE: &str = "outlines.gpkg";

/// Rows that are worked on at a time.
const ROWS: usize = 128;
/// Columns that are read at a time for the picture.
const COLUMNS: usize = 4096;

/// How probabilities are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbabilityType {
    /// 0 to 1; NaN without data.
    #[default]
    Float32,
    /// Steps of 0.00002 (GDAL scale); 65535 without data.
    Uint16,
    /// Steps of 0.004 (GDAL scale); 255 without data.
    Uint8,
}

impl ProbabilityType {
    /// Its name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Uint16 => "uint16",
            Self::Uint8 => "uint8",
        }
    }
}

/// What is made of the probabilities.
#[derive(Debug, Clone)]
pub struct ProductSettings<'a> {
    /// Side of the median filter over the classes in pixels; 1 for none.
    pub smoothing: usize,
    /// Maps the confidence.
    pub calibration: Option<&'a CalibrationCurve>,
    /// How probabilities are stored.
    pub probability_type: ProbabilityType,
    /// How outlines are drawn.
    pub outlines: OutlineSettings,
    /// Names of the files of outlines.
    pub outline_names: Vec<String>,
    /// Whether there are polygons of low confidence.
    pub confidence_bands: bool,
    /// Lower confidence is low.
    pub confidence_threshold: f32,
    /// Whether there are rasters of uncertainty, for which the spool has the members' channels.
    pub uncertainty: bool,
}

impl Default for ProductSettings<'_> {
    fn default() -> Self {
        Self {
            smoothing: 1,
            calibration: None,
            probability_type: ProbabilityType::default(),
            outlines: OutlineSettings::default(),
            outline_names: vec![OUTLINES_FILE.to_owned()],
            confidence_bands: false,
            confidence_threshold: CONFIDENCE_THRESHOLD,
            uncertainty: false,
        }
    }
}

impl ProductSettings<'_> {
    /// Names of all files that are made.
    pub fn names(&self) -> Vec<String> {
        let bands = self.confidence_bands.then_some(CONFIDENCE_BANDS_FILE);
        let outlines = bands.into_iter().chain(self.outline_names.iter().map(String::as_str)).flat_map(names_of);
        let rasters = [CLASSES_FILE, PROBABILITY_FILE, CONFIDENCE_FILE, QUICKLOOK_FILE].map(str::to_owned);
        let uncertainty = uncertainty_rasters::names().filter(|_| self.uncertainty).map(str::to_owned);
        let mut names: Vec<String> = rasters.into_iter().chain(uncertainty).chain(outlines).collect();
        // Files of one stem share their style.
        let is_style = |name: &String| name.ends_with(".qml");
        let mut styles: Vec<String> = names.extract_if(.., |name| is_style(name)).collect();
        styles.sort_unstable();
        styles.dedup();
        names.extend(styles);
        names
    }
}

/// Files that some settings make and others do not.
pub fn optional_files() -> impl Iterator<Item = &'static str> {
    uncertainty_rasters::names().chain([CONFIDENCE_BANDS_FILE])
}

/// What the files say of themselves.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Names and values: which model, device and settings made them.
    pub origin: &'a [(String, String)],
    /// What stands above the picture.
    pub title: &'a str,
}

/// What was found, in numbers.
#[derive(Debug, Clone)]
pub struct ProductSummary {
    /// Pixels with data in every raster, inside the extent.
    pub valid_pixels: u64,
    /// Glacier pixels.
    pub glacier_pixels: u64,
    /// The mean of all confidences.
    pub mean_confidence: f64,
    /// The share of valid pixels whose confidence is below the threshold.
    pub share_of_low_confidence: f64,
    /// See [`ProductSettings::confidence_threshold`].
    pub confidence_threshold: f32,
    /// Number of outlines.
    pub outlines: usize,
    /// Their area.
    pub glacier_area_km2: f64,
    /// The surface it was measured on.
    pub area_surface: &'static str,
    /// Polygons of low confidence, if they were asked for.
    pub confidence_bands: Option<usize>,
    /// The scene alone, for a report; its probability in grey where there are no optical bands.
    pub imagery: RgbImage,
    /// What the members say of each other, if there is more than one.
    pub uncertainty: Option<MeanUncertainty>,
}

impl ProductSummary {
    /// The numbers by name.
    #[must_use]
    pub fn json(&self) -> Json {
        let mut json = json!({
            "valid_pixels": self.valid_pixels,
            "glacier_pixels": self.glacier_pixels,
            "glacier_area_km2": self.glacier_area_km2,
            "area_surface": self.area_surface,
            "outlines": self.outlines,
            "mean_confidence": self.mean_confidence,
            "share_below_confidence_threshold": self.share_of_low_confidence,
            // Through text, as 0.95 is not 0.949999988 to a reader.
            "confidence_threshold":
                self.confidence_threshold.to_string().parse::<f64>().unwrap_or(f64::from(self.confidence_threshold)),
        });
        if let Some(bands) = self.confidence_bands {
            json["confidence_bands"] = json!(bands);
        }
        if let Some(uncertainty) = self.uncertainty {
            json["uncertainty"] = uncertainty.json();
        }
        json
    }
}

/// Rows of the spool, with what the picture shows of the scene there.
struct Rows {
    probability: Vec<f32>,
    /// The other channels of the spool.
    others: Vec<Vec<f32>>,
    valid: Vec<bool>,
    /// SWIR1, NIR, red; none for a model without optical bands, or where no pixel has data.
    picture: Option<[Vec<f32>; 3]>,
}

/// Classifies, filters, calibrates and outlines the probabilities in `spool`, which must be complete, and stages all files for `folder`.
///
/// The filter sees what the network says of filled gaps, as the published tool does; then gaps become nodata everywhere. `progress` is told the
/// rows done; its error ends the work.
///
/// # Errors
/// No pixel has data, an even filter, outlines outside their projection's domain, a full disk, or what `progress` returns.
#[expect(clippy::too_many_arguments, reason = "what is read, what is made of it, where it goes")]
pub fn stage_products(
    spool: &mut Spool,
    scene: &Scene,
    extent: &Extent,
    settings: &ProductSettings<'_>,
    labels: &Labels<'_>,
    folder: &Path,
    staged: &mut StagedFiles,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<ProductSummary> {
    let grid = scene.grid().part(extent.window());
    let mut products = Products::new(&grid, spool.folder(), settings, labels)?;
    thread::scope(|scope| {
        // One is read while one is used.
        let (rows, next_rows) = sync_channel(0);
        scope.spawn(move || read(spool, scene, extent, &rows));
        let mut done = 0;
        for rows in next_rows {
            let rows = rows?;
            done += rows.valid.len() / grid.width.max(1);
            products.add(rows)?;
            progress(done)?;
        }
        Ok(())
    })?;
    products.stage(folder, staged)
}

/// Reads all rows, until an error or until nobody wants them.
fn read(spool: &mut Spool, scene: &Scene, extent: &Extent, rows: &SyncSender<Result<Rows>>) {
    let (height, _) = spool.size();
    for first in (0..height).step_by(ROWS) {
        let mut band = || {
            let count = ROWS.min(height - first);
            let (mut others, valid) = spool.read_channels(first, count)?;
            let probability = if others.is_empty() { Vec::new() } else { others.remove(0) };
            let picture = if valid.contains(&true) { read_picture(scene, extent, first, count)? } else { None };
            Ok(Rows { probability, others, valid, picture })
        };
        let band = band();
        let failed = band.is_err();
        if rows.send(band).is_err() || failed {
            return;
        }
    }
}

/// SWIR1, NIR and red of some rows; `None` for a model without optical bands.
fn read_picture(scene: &Scene, extent: &Extent, first: usize, rows: usize) -> Result<Option<[Vec<f32>; 3]>> {
    let width = extent.window().width;
    let mut bands = [(); 3].map(|()| vec![f32::NAN; rows * width]);
    // All channels come with these three, so they are read in parts.
    for col in (0..width).step_by(COLUMNS) {
        let part = Window { row: first, col, height: rows, width: COLUMNS.min(width - col) };
        let read = scene.read(extent.window_in_scene(part))?;
        for (band, channel) in bands.iter_mut().zip([4, 3, 2]) {
            let Some(values) = read.channel(Feature::Optical, channel) else { return Ok(None) };
            for (row, values) in band.chunks_exact_mut(width).zip(values.chunks_exact(part.width)) {
                row[col..col + part.width].copy_from_slice(values);
            }
        }
    }
    Ok(Some(bands))
}

/// All files under way.
struct Products<'a> {
    grid: &'a Grid,
    settings: &'a ProductSettings<'a>,
    labels: &'a Labels<'a>,
    median: MedianRows,
    /// Rows that wait for their classes.
    waiting: Waiting,
    classes: CogWriter<u8>,
    probability: ProbabilityWriter,
    confidence: CogWriter<f32>,
    outlines: OutlineLayer,
    bands: Option<OutlineLayer>,
    uncertainty: Option<UncertaintyRasters>,
    picture: Quicklook,
    counts: Counts,
}

#[derive(Default)]
struct Waiting {
    probability: Vec<f32>,
    confidence: Vec<f32>,
}

#[derive(Default)]
struct Counts {
    valid: u64,
    glacier: u64,
    low: u64,
    confidence: f64,
}

/// `probability.tif` in one of its types.
enum ProbabilityWriter {
    Float32(CogWriter<f32>),
    Uint16(CogWriter<u16>),
    Uint8(CogWriter<u8>),
}

/// Samples for a probability of 1.
const UINT16_ONE: f32 = 50_000.0;
const UINT8_ONE: f32 = 250.0;

impl ProbabilityWriter {
    fn create(scratch: &Path, grid: &Grid, kind: ProbabilityType, metadata: &Metadata) -> Result<Self> {
        let overview = Overview::Average;
        Ok(match kind {
            ProbabilityType::Float32 => {
                let settings = CogSettings { nodata: f32::NAN, overview, scale: None, metadata };
                Self::Float32(CogWriter::create(scratch, grid, &settings)?)
            }
            ProbabilityType::Uint16 => {
                let settings = CogSettings { nodata: u16::MAX, overview, scale: Some(2e-5), metadata };
                Self::Uint16(CogWriter::create(scratch, grid, &settings)?)
            }
            ProbabilityType::Uint8 => {
                let settings = CogSettings { nodata: u8::MAX, overview, scale: Some(4e-3), metadata };
                Self::Uint8(CogWriter::create(scratch, grid, &settings)?)
            }
        })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "probabilities are from 0 to 1")]
    fn add_rows(&mut self, probability: &[f32]) -> Result<()> {
        match self {
            Self::Float32(writer) => writer.add_rows(probability),
            Self::Uint16(writer) => {
                let sample = |p: &f32| if p.is_nan() { u16::MAX } else { (p * UINT16_ONE).round() as u16 };
                writer.add_rows(&probability.iter().map(sample).collect::<Vec<_>>())
            }
            Self::Uint8(writer) => {
                let sample = |p: &f32| if p.is_nan() { u8::MAX } else { (p * UINT8_ONE).round() as u8 };
                writer.add_rows(&probability.iter().map(sample).collect::<Vec<_>>())
            }
        }
    }

    fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::Float32(writer) => writer.finish(path),
            Self::Uint16(writer) => writer.finish(path),
            Self::Uint8(writer) => writer.finish(path),
        }
    }
}

impl<'a> Products<'a> {
    fn new(grid: &'a Grid, scratch: &Path, settings: &'a ProductSettings<'a>, labels: &'a Labels<'a>) -> Result<Self> {
        let metadata = |name: &str| Metadata { description: Some(name.to_owned()), items: labels.origin.to_vec() };
        let bands = settings.confidence_bands.then(|| OutlineLayer::new(grid, &OutlineSettings::default(), GLACIER));
        let bands = bands.transpose()?.map(OutlineLayer::without_pixel_polygons);
        let uncertainty = settings.uncertainty.then(|| UncertaintyRasters::create(scratch, grid, labels.origin));
        // What is not calibrated is a measure, but no chance of being right: after focal loss it is low nearly everywhere.
        let hatched = if settings.calibration.is_some() { settings.confidence_threshold } else { 0.0 };
        Ok(Self {
            grid,
            settings,
            labels,
            median: MedianRows::new(grid.height, grid.width, settings.smoothing)?,
            waiting: Waiting::default(),
            classes: CogWriter::create(
                scratch,
                grid,
                &CogSettings {
                    nodata: NODATA,
                    overview: Overview::Mode,
                    scale: None,
                    metadata: &metadata("glacier (1), other (0)"),
                },
            )?,
            probability: ProbabilityWriter::create(
                scratch,
                grid,
                settings.probability_type,
                &metadata("probability of glacier"),
            )?,
            confidence: CogWriter::create(
                scratch,
                grid,
                &CogSettings {
                    nodata: f32::NAN,
                    overview: Overview::Average,
                    scale: None,
                    metadata: &metadata("confidence"),
                },
            )?,
            outlines: OutlineLayer::new(grid, &settings.outlines, GLACIER)?,
            bands,
            uncertainty: uncertainty.transpose()?,
            picture: Quicklook::new(grid.height, grid.width, hatched)?,
            counts: Counts::default(),
        })
    }

    fn add(&mut self, rows: Rows) -> Result<()> {
        let Rows { mut probability, others, valid, picture } = rows;
        let classes = self.median.add_rows(&classify(&probability))?;
        for (p, _) in probability.iter_mut().zip(&valid).filter(|(_, valid)| !**valid) {
            *p = f32::NAN;
        }
        let mut confidence = vec![0.0; probability.len()];
        let width = self.grid.width.max(1);
        confidence.par_chunks_mut(width).zip(probability.par_chunks(width)).for_each(|(confidence, probability)| {
            confidence.copy_from_slice(&confidences(probability));
            if let Some(curve) = self.settings.calibration {
                curve.apply(confidence);
            }
        });
        for c in confidence.iter().filter(|c| !c.is_nan()) {
            self.counts.valid += 1;
            self.counts.low += u64::from(*c < self.settings.confidence_threshold);
            self.counts.confidence += f64::from(*c);
        }
        self.probability.add_rows(&probability)?;
        self.confidence.add_rows(&confidence)?;
        if let Some(uncertainty) = &mut self.uncertainty {
            let [variance, information] = others.as_slice() else {
                return Err(Error::shape("spool", format!("{} channels", others.len() + 1), "those of members"));
            };
            uncertainty.add_rows(&probability, [variance, information])?;
        }
        // A model without optical bands gets its probability in grey.
        let shown = match &picture {
            Some(bands) => [&bands[0][..], &bands[1], &bands[2]],
            None => [&probability[..]; 3],
        };
        self.picture.add_rows(shown, Some(&confidence))?;
        if let Some(bands) = &mut self.bands {
            let threshold = self.settings.confidence_threshold;
            let class = |c: &f32| match *c {
                c if c.is_nan() => NODATA,
                c if c < threshold => GLACIER,
                _ => OTHER,
            };
            bands.add_rows(&confidence.iter().map(class).collect::<Vec<_>>(), &confidence, &probability)?;
        }
        self.waiting.probability.append(&mut probability);
        self.waiting.confidence.append(&mut confidence);
        self.add_classes(classes)
    }

    /// Takes the next rows of filtered classes.
    fn add_classes(&mut self, mut classes: Vec<u8>) -> Result<()> {
        let count = classes.len();
        let probability: Vec<f32> = self.waiting.probability.drain(..count).collect();
        let confidence: Vec<f32> = self.waiting.confidence.drain(..count).collect();
        for (class, _) in classes.iter_mut().zip(&probability).filter(|(_, p)| p.is_nan()) {
            *class = NODATA;
        }
        self.counts.glacier += classes.iter().filter(|class| **class == GLACIER).count() as u64;
        self.classes.add_rows(&classes)?;
        self.outlines.add_rows(&classes, &confidence, &probability)
    }

    fn stage(self, folder: &Path, staged: &mut StagedFiles) -> Result<ProductSummary> {
        let counts = self.counts;
        if counts.valid == 0 {
            return Err(Error::bad_argument(
                "no pixel that has data in every raster",
                "rasters that overlap",
                "check nodata values and extents",
            ));
        }
        let origin = self.labels.origin.iter();
        let description = origin.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        staged.stage(folder.join(CLASSES_FILE), |path| self.classes.finish(path))?;
        staged.stage(folder.join(PROBABILITY_FILE), |path| self.probability.finish(path))?;
        staged.stage(folder.join(CONFIDENCE_FILE), |path| self.confidence.finish(path))?;
        let uncertainty = self.uncertainty.map(|rasters| rasters.stage(folder, staged)).transpose()?;
        let targets: Vec<PathBuf> = self.settings.outline_names.iter().map(|name| folder.join(name)).collect();
        let outlines: OutlineSummary = self.outlines.finish(&targets, &description, staged)?;
        let bands = match self.bands {
            Some(bands) => Some(bands.finish(&[folder.join(CONFIDENCE_BANDS_FILE)], &description, staged)?.count),
            None => None,
        };
        let caption = Caption { title: self.labels.title, pixel_m: self.grid.pixel_m() };
        staged.stage(folder.join(QUICKLOOK_FILE), |path| {
            write_png(&self.picture.draw(&outlines.pixel_polygons, &caption), path)
        })?;
        #[expect(clippy::cast_precision_loss, reason = "pixel counts are far below 2^52")]
        let (valid, low) = (counts.valid as f64, counts.low as f64);
        Ok(ProductSummary {
            valid_pixels: counts.valid,
            glacier_pixels: counts.glacier,
            mean_confidence: counts.confidence / valid,
            share_of_low_confidence: low / valid,
            confidence_threshold: self.settings.confidence_threshold,
            outlines: outlines.count,
            glacier_area_km2: outlines.area_km2,
            area_surface: outlines.surface,
            confidence_bands: bands,
            imagery: self.picture.picture(),
            uncertainty,
        })
    }
}
