//! A prediction of a scene against a reference, pixel by pixel. Scenes may have any size: they are read row by row, and read again for the files.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::atomic_file::StagedFiles;
use crate::dataset::sampling::Unlabelled;
use crate::error::{Error, Result};
use crate::evaluate::confusion::Confusion;
use crate::evaluate::layer::{GLACIER, Kind, OTHER, Source, UNKNOWN, with_crs};
use crate::evaluate::layer_rows::{AttributeShapes, LayerRows, windows};
use crate::raster::area::{Area, area};
use crate::raster::cog::{CogSettings, CogWriter, Overview};
use crate::raster::outliner::{Outline, Outliner, reading_order};
use crate::raster::quicklook::{Caption, Mark, Quicklook, write_png};
use crate::raster::{Crs, Grid, Metadata, RasterFile, Transformer, Window, check_same_grid};

/// Names of the files that [`Evaluation::stage`] makes.
pub const FILES: [&str; 2] = ["errors.tif", "errors.png"];

/// What is compared. Rasters share one grid; polygons are put on it.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Classes, probabilities or polygons.
    pub predicted: &'a Path,
    /// Classes or polygons.
    pub reference: &'a Path,
    /// A raster or polygons outside of which nothing counts.
    pub valid: Option<&'a Path>,
    /// A raster whose grid is that of the comparison, needed where all others are polygons.
    pub grid: Option<&'a Path>,
    /// Stands in for a CRS that a file does not name or that is not known.
    pub assumed_crs: Option<&'a Crs>,
    /// What pixels without a label in the reference become.
    pub unlabelled: Unlabelled,
    /// Attributes of the reference's polygons by which what was found is divided.
    pub group_by: &'a [String],
}

/// Pixels that do not count, each under the first reason that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotCounted {
    /// Outside the valid area.
    pub not_valid: u64,
    /// Without data in the prediction.
    pub not_predicted: u64,
    /// Without a label in the reference.
    pub not_labelled: u64,
}

/// Areas of the counted pixels in km2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Areas {
    /// Predicted as glacier.
    pub predicted_km2: f64,
    /// Glacier in the reference.
    pub reference_km2: f64,
    /// Measured on the WGS 84 ellipsoid; else in the plane of the map, whose CRS is not known.
    pub on_ellipsoid: bool,
}

/// What was found of the reference's polygons of one kind. Pixels that were predicted wrongly lie in no polygon and belong to no kind, so there are
/// no precision and no IoU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGroup {
    /// The attribute.
    pub by: String,
    /// Its value; `None` for polygons without one.
    pub group: Option<String>,
    /// Counted pixels in such polygons that were predicted as glacier.
    pub found: u64,
    /// Those that were not.
    pub missed: u64,
}

impl ReferenceGroup {
    /// The part that was found; `None` where no pixel counts.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        Confusion { tp: self.found, fn_: self.missed, ..Confusion::default() }.recall()
    }
}

/// The outcome for a pixel, as `errors.tif` holds it.
pub mod outcome {
    /// No glacier, as predicted.
    pub const TRUE_NEGATIVE: u8 = 0;
    /// A glacier, as predicted.
    pub const TRUE_POSITIVE: u8 = 1;
    /// Predicted, but no glacier.
    pub const FALSE_POSITIVE: u8 = 2;
    /// A glacier that was not predicted.
    pub const FALSE_NEGATIVE: u8 = 3;
    /// Not valid, not predicted or not labelled.
    pub const NOT_COUNTED: u8 = 255;
}

const MARKS: [Mark<'_>; 3] = [
    Mark { value: outcome::TRUE_POSITIVE, colour: [70, 160, 255], opacity: 0.35, name: "Found" },
    Mark { value: outcome::FALSE_POSITIVE, colour: [235, 30, 30], opacity: 0.85, name: "Too much" },
    Mark { value: outcome::FALSE_NEGATIVE, colour: [255, 210, 0], opacity: 0.85, name: "Missed" },
];

/// What is done with the outcomes of some rows, of which so many do not count.
type Visit<'a> = dyn FnMut(Window, &[u8], NotCounted) -> Result<()> + 'a;

/// The layers, to be gone through as often as needed.
#[derive(Debug)]
struct Layers {
    grid: Grid,
    predicted: LayerRows,
    reference: LayerRows,
    valid: Option<LayerRows>,
    unlabelled: Unlabelled,
}

/// How a prediction agrees with a reference.
#[derive(Debug)]
pub struct Evaluation {
    layers: Layers,
    /// The file whose grid it is.
    grid_of: PathBuf,
    confusion: Confusion,
    not_counted: NotCounted,
    areas: Areas,
    groups: Vec<ReferenceGroup>,
}

impl Evaluation {
    /// Reads and compares.
    ///
    /// # Errors
    /// A file cannot be read or has no classes, rasters have different grids, polygons cannot be put on the grid or all lie beside it, there is no grid,
    /// no pixel counts, or the reference has no attribute to group by.
    pub fn new(files: &Files<'_>) -> Result<Self> {
        let assumed = files.assumed_crs;
        let predicted = Source::open(files.predicted)?;
        let reference = Source::open(files.reference)?;
        let valid = files.valid.map(Source::open).transpose()?;
        let given = files.grid.map(RasterFile::open).transpose()?;

        // The first raster's grid is everyone's.
        let of = |path: Option<&Path>, source: Option<&Source>| Some((path?.to_path_buf(), source?.grid(assumed)?));
        let grids: Vec<(PathBuf, Grid)> = [
            of(Some(files.predicted), Some(&predicted)),
            of(Some(files.reference), Some(&reference)),
            of(files.valid, valid.as_ref()),
            given.as_ref().map(|file| (file.path().to_path_buf(), with_crs(file.grid(), assumed))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let Some((first, grid)) = grids.first() else {
            return Err(Error::bad_argument(
                "polygons only",
                "a raster, on whose pixels they are compared",
                "give --grid with a raster of the scene, or --distances to compare them as vectors",
            ));
        };
        for (path, other) in &grids[1..] {
            check_same_grid((first, grid), (path, other))?;
        }
        if let (Some(by), Source::Raster(file)) = (files.group_by.first(), &reference) {
            let found = format!("a raster, to be grouped by {by}");
            let remedy = "give the outlines as polygons, or leave out --group-by";
            return Err(Error::bad_file(file.path(), found, "polygons with attributes", remedy));
        }
        let attribute = |by: &String| AttributeShapes::read(files.reference, by, grid, assumed);
        let attributes: Vec<AttributeShapes> = files.group_by.iter().map(attribute).collect::<Result<_>>()?;
        let mut layers = Layers {
            grid: grid.clone(),
            predicted: LayerRows::predicted(predicted, grid, assumed)?,
            reference: LayerRows::reference(reference, grid, assumed)?,
            valid: valid.map(|source| LayerRows::valid(source, grid, assumed)).transpose()?,
            unlabelled: files.unlabelled,
        };
        let mut groups: Vec<ReferenceGroup> = attributes
            .iter()
            .flat_map(|attribute| attribute.groups.iter().map(|(group, _)| (attribute.by.clone(), group.clone())))
            .map(|(by, group)| ReferenceGroup { by, group, found: 0, missed: 0 })
            .collect();
        let (mut confusion, mut not_counted) = (Confusion::default(), NotCounted::default());
        let mut measured = [OutlineAreas::new(grid)?, OutlineAreas::new(grid)?];
        layers.each(&mut |window, outcomes, not| {
            not_counted += not;
            for outcome in outcomes {
                match *outcome {
                    outcome::TRUE_NEGATIVE => confusion.tn += 1,
                    outcome::TRUE_POSITIVE => confusion.tp += 1,
                    outcome::FALSE_POSITIVE => confusion.fp += 1,
                    outcome::FALSE_NEGATIVE => confusion.fn_ += 1,
                    _ => {}
                }
            }
            let shapes = attributes.iter().flat_map(|attribute| &attribute.groups);
            for (group, (_, shapes)) in groups.iter_mut().zip(shapes) {
                let mut mask = vec![false; outcomes.len()];
                shapes.burn_rows(window.row, &mut mask);
                for (outcome, _) in outcomes.iter().zip(&mask).filter(|(_, inside)| **inside) {
                    group.found += u64::from(*outcome == outcome::TRUE_POSITIVE);
                    group.missed += u64::from(*outcome == outcome::FALSE_NEGATIVE);
                }
            }
            let [predicted, reference] = &mut measured;
            predicted.add(grid, outcomes, [outcome::TRUE_POSITIVE, outcome::FALSE_POSITIVE])?;
            reference.add(grid, outcomes, [outcome::TRUE_POSITIVE, outcome::FALSE_NEGATIVE])
        })?;
        layers.predicted.warn(false);
        layers.reference.warn(true);
        if confusion.total() == 0 {
            return Err(Error::bad_argument(
                format!("no pixel that counts ({})", not_counted.describe().join(", ")),
                "pixels that are predicted, labelled and in the valid area",
                "check that the files are of one place, and their nodata values",
            ));
        }
        let [predicted, reference] = measured;
        let on_ellipsoid = predicted.transformer.is_some();
        let (predicted_km2, reference_km2) = (predicted.finish(grid)?, reference.finish(grid)?);
        let areas = Areas { predicted_km2, reference_km2, on_ellipsoid };
        Ok(Self { layers, grid_of: first.clone(), confusion, not_counted, areas, groups })
    }

    /// The counts, and with them the scores.
    #[must_use]
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// How many pixels do not count, and why.
    #[must_use]
    pub fn not_counted(&self) -> &NotCounted {
        &self.not_counted
    }

    /// Predicted and reference area.
    #[must_use]
    pub fn areas(&self) -> &Areas {
        &self.areas
    }

    /// What was found of each kind of polygons.
    #[must_use]
    pub fn groups(&self) -> &[ReferenceGroup] {
        &self.groups
    }

    /// What the prediction and the reference were made of.
    #[must_use]
    pub fn kinds(&self) -> (Kind, Kind) {
        (self.layers.predicted.kind(), self.layers.reference.kind())
    }

    /// The common grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.layers.grid
    }

    /// All numbers. Scores that are not defined, such as the IoU without any glacier, are null.
    #[must_use]
    pub fn summary(&self) -> Json {
        let (c, n, a, grid) = (&self.confusion, &self.not_counted, &self.areas, &self.layers.grid);
        let groups: Vec<Json> = self
            .groups
            .iter()
            .map(|group| {
                json!({
                    "by": group.by,
                    "group": group.group,
                    "found": group.found,
                    "missed": group.missed,
                    "recall": group.recall(),
                })
            })
            .collect();
        json!({
            "iou": c.iou(),
            "f1": c.f1(),
            "precision": c.precision(),
            "recall": c.recall(),
            "accuracy": c.accuracy(),
            "counted_pixels": c.total(),
            "confusion": c,
            "unlabelled": self.layers.unlabelled,
            "not_counted": {
                "outside_valid_area": n.not_valid,
                "no_prediction": n.not_predicted,
                "not_labelled": n.not_labelled,
            },
            "area_km2": {
                "predicted": a.predicted_km2,
                "reference": a.reference_km2,
                "difference": a.predicted_km2 - a.reference_km2,
                "difference_percent": a.difference_percent(),
                "surface": if a.on_ellipsoid { "WGS 84 ellipsoid" } else { "plane" },
            },
            "reference_groups": groups,
            "grid": {
                "width": grid.width,
                "height": grid.height,
                "transform": grid.transform,
                "crs": grid.crs.as_ref().map(|crs| crs.name.clone()),
                "epsg": grid.crs.as_ref().and_then(|crs| crs.epsg),
            },
        })
    }

    /// Stages `errors.tif` (0 true negative, 1 true positive, 2 false positive, 3 false negative, 255 not counted), cloud-optimised, and `errors.png` for
    /// `folder`, which exists. The layers are read once more.
    ///
    /// The picture lies over `background`, or over grey; what lies under it is returned.
    ///
    /// # Errors
    /// A layer or the background cannot be read, or a file cannot be written.
    pub fn stage(
        &mut self,
        folder: &Path,
        background: Option<&Background>,
        staged: &mut StagedFiles,
    ) -> Result<RgbImage> {
        let metadata = Metadata {
            description: Some("0 true negative, 1 true positive, 2 false positive, 3 false negative".into()),
            items: vec![("GLAVITU_VERSION".into(), env!("CARGO_PKG_VERSION").into())],
        };
        let settings =
            CogSettings { nodata: outcome::NOT_COUNTED, overview: Overview::Mode, scale: None, metadata: &metadata };
        let grid = self.layers.grid.clone();
        let mut raster = CogWriter::create(folder, &grid, &settings)?;
        let mut picture = Quicklook::new(grid.height, grid.width, 0.0)?;
        let mut counts = picture.mark_counts(&MARKS);
        self.layers.each(&mut |window, outcomes, _| {
            raster.add_rows(outcomes)?;
            let mut bands = match background {
                Some(background) => background.read(window)?,
                None => [(); 3].map(|()| vec![0.5; outcomes.len()]),
            };
            // What does not count is shown as a gap.
            for band in &mut bands {
                for (value, _) in band.iter_mut().zip(outcomes).filter(|(_, o)| **o == outcome::NOT_COUNTED) {
                    *value = f32::NAN;
                }
            }
            picture.add_rows([&bands[0], &bands[1], &bands[2]], None)?;
            picture.count_marks(&mut counts, outcomes, &MARKS)
        })?;
        staged.stage(folder.join(FILES[0]), |path| raster.finish(path))?;
        let score =
            |name: &str, value: Option<f64>| value.map_or(String::new(), |value| format!("{name} {value:.3}  "));
        let c = &self.confusion;
        let title =
            format!("{}{}{}", score("IoU", c.iou()), score("Precision", c.precision()), score("Recall", c.recall()));
        let caption = Caption { title: title.trim_end(), pixel_m: grid.pixel_m() };
        let drawn = picture.draw_mark_counts(&counts, &MARKS, &caption);
        staged.stage(folder.join(FILES[1]), |path| write_png(&drawn, path))?;
        Ok(picture.picture())
    }
}

impl Layers {
    /// Calls `visit` with windows of whole rows from the north, the outcomes of their pixels, and how many do not count.
    fn each(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let block = self.predicted.block_rows().max(self.reference.block_rows());
        for window in windows(&self.grid, block) {
            let predicted = self.predicted.read(window)?;
            let reference = self.reference.read(window)?;
            let valid = self.valid.as_mut().map(|valid| valid.read(window)).transpose()?;
            let mut not = NotCounted::default();
            let outcomes: Vec<u8> = predicted
                .iter()
                .zip(&reference)
                .enumerate()
                .map(|(i, (&predicted, &reference))| {
                    let reference = match self.unlabelled {
                        Unlabelled::Background if reference == UNKNOWN => OTHER,
                        _ => reference,
                    };
                    let reason = if valid.as_ref().is_some_and(|valid| valid.get(i) != Some(&1)) {
                        &mut not.not_valid
                    } else if predicted == UNKNOWN {
                        &mut not.not_predicted
                    } else if reference == UNKNOWN {
                        &mut not.not_labelled
                    } else {
                        return match (predicted == GLACIER, reference == GLACIER) {
                            (false, false) => outcome::TRUE_NEGATIVE,
                            (true, true) => outcome::TRUE_POSITIVE,
                            (true, false) => outcome::FALSE_POSITIVE,
                            (false, true) => outcome::FALSE_NEGATIVE,
                        };
                    };
                    *reason += 1;
                    outcome::NOT_COUNTED
                })
                .collect();
            visit(window, &outcomes, not)?;
        }
        Ok(())
    }
}

impl NotCounted {
    /// Numbers with their reasons; none for reasons that do not occur.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        [
            (self.not_valid, "outside the valid area"),
            (self.not_predicted, "without a prediction"),
            (self.not_labelled, "not labelled"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} {reason}"))
        .collect()
    }
}

impl std::ops::AddAssign for NotCounted {
    fn add_assign(&mut self, other: Self) {
        self.not_valid += other.not_valid;
        self.not_predicted += other.not_predicted;
        self.not_labelled += other.not_labelled;
    }
}

impl Areas {
    /// How much more was predicted than there is, in % of the reference; `None` where the reference has no glacier.
    #[must_use]
    pub fn difference_percent(&self) -> Option<f64> {
        (self.reference_km2 > 0.0).then(|| 100.0 * (self.predicted_km2 - self.reference_km2) / self.reference_km2)
    }
}

/// The area of outlines of pixels that come row by row, measured as those of `glavitu predict` are.
struct OutlineAreas {
    outliner: Outliner,
    transformer: Option<Transformer>,
    /// Where each complete outline begins, and its area.
    areas: Vec<(Option<(u32, u32)>, f64)>,
}

impl OutlineAreas {
    fn new(grid: &Grid) -> Result<Self> {
        let known = grid.crs.as_ref().filter(|crs| !crs.proj.is_empty());
        let transformer = known.map(Transformer::to_longitude_latitude).transpose()?;
        Ok(Self { outliner: Outliner::new(grid.width, 1), transformer, areas: Vec::new() })
    }

    fn add(&mut self, grid: &Grid, outcomes: &[u8], glacier: [u8; 2]) -> Result<()> {
        let is_glacier = |i: usize| outcomes.get(i).is_some_and(|outcome| glacier.contains(outcome));
        self.outliner.add_rows_where(outcomes.len(), is_glacier, &[])?;
        let complete = self.outliner.take_complete();
        self.measure(grid, &complete)
    }

    fn measure(&mut self, grid: &Grid, outlines: &[Outline]) -> Result<()> {
        let transformer = self.transformer.as_ref();
        let areas = outlines.par_iter().map(|outline| {
            let km2 = area(&outline.polygon.to_map(grid), transformer).map(Area::km2)?;
            Ok::<_, Error>((reading_order(&outline.polygon), km2))
        });
        self.areas.extend(areas.collect::<Result<Vec<_>>>()?);
        Ok(())
    }

    /// The sum, in the order of the outlines: in any other it would differ in its last digits.
    fn finish(mut self, grid: &Grid) -> Result<f64> {
        let outliner = std::mem::replace(&mut self.outliner, Outliner::new(0, 1));
        let rest = outliner.finish()?;
        self.measure(grid, &rest)?;
        self.areas.sort_by_key(|(start, _)| *start);
        // From 0, as the sum of nothing is -0.
        Ok(self.areas.into_iter().fold(0.0, |sum, (_, km2)| sum + km2))
    }
}

/// The bands under a picture.
#[derive(Debug)]
pub struct Background {
    bands: [(RasterFile, usize); 3],
}

impl Background {
    /// Opens a scene: one file with six bands (SWIR1, NIR and red are shown), three, or one; or as many files of one band each.
    ///
    /// # Errors
    /// A file cannot be read, has another grid, or there is another number of bands.
    pub fn open(paths: &[PathBuf], evaluation: &Evaluation, assumed_crs: Option<&Crs>) -> Result<Self> {
        let mut bands = Vec::new();
        for path in paths {
            let file = RasterFile::open(path)?;
            let grid = with_crs(file.grid(), assumed_crs);
            check_same_grid((&evaluation.grid_of, &evaluation.layers.grid), (path, &grid))?;
            bands.extend((0..file.bands().len()).map(|band| (path, band)));
        }
        let chosen = match (bands.len(), paths.len()) {
            (6, 1 | 6) => [4, 3, 2],
            (3, 1 | 3) => [0, 1, 2],
            (1, 1) => [0, 0, 0],
            (count, _) => {
                return Err(Error::bad_argument(
                    format!("{count} bands in {} files for --background", paths.len()),
                    "six (blue, green, red, NIR, SWIR1, SWIR2), three (red, green, blue) or one, in one file or one file each",
                    "give the scene's optical raster",
                ));
            }
        };
        let open = |index: usize| {
            let (path, band) = bands[index];
            Ok::<_, Error>((RasterFile::open(path)?, band))
        };
        let [first, second, third] = chosen.map(open);
        Ok(Self { bands: [first?, second?, third?] })
    }

    fn read(&self, window: Window) -> Result<[Vec<f32>; 3]> {
        let [first, second, third] = self.bands.each_ref().map(|(file, band)| file.read_window(*band, window));
        Ok([first?, second?, third?])
    }
}
