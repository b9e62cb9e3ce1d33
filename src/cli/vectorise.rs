//! `glavitu vectorise`: a raster of classes to polygons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::atomic_file::StagedFiles;
use crate::cli::output_file::{check_output, check_writable};
use crate::cli::print_line;
use crate::error::Error;
use crate::infer::outlines::{OutlineLayer, OutlineSettings, OutlineSummary, finish_layers};
use crate::raster::shapes::check_extension;
use crate::raster::{Grid, RasterFile, Window, check_same_grid};

/// Outline the classes of a raster as polygons.
///
/// Pixels of one class that share an edge become one polygon, with holes. Every polygon has its area and perimeter (on the WGS 84 ellipsoid where the CRS
/// is known) and its number of pixels, and its mean and minimum confidence if there is a raster of it. Pixels without data belong to no class.
///
/// The raster is read row by row: its size does not matter, only the length of the outlines does.
///
/// --simplify leaves out corners as long as no boundary moves by more than that. Neighbours stay flush, nothing overlaps. Areas and perimeters are those of
/// the simplified polygons.
///
/// --iso-line draws the line where the probability passes 0.5, between the centres of pixels, instead of the edges of pixels. The class raster
/// then only says where there are data: where a median filter changed classes, the line follows the probability.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu vectorise result/outlines.tif --class 1 --confidence result/confidence.tif -o glaciers.gpkg
  glavitu vectorise landcover.tif --simplify 20 -o landcover.gpkg
  glavitu vectorise result/outlines.tif --class 1 --iso-line --probability result/probability.tif --min-area 0.01 -o smooth.gpkg")]
pub struct VectoriseArgs {
    /// One band of whole numbers from 0 to 255
    #[arg(value_name = "CLASSES.tif", value_hint = ValueHint::FilePath)]
    classes: PathBuf,
    /// Outline these classes only, such as 1 or 1,3; without it every class, with an attribute `class`
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    class: Vec<u8>,
    /// The confidence of every pixel, on the same grid
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    confidence: Option<PathBuf>,
    /// The probability of the class, on the same grid, for --iso-line
    #[arg(long, value_name = "FILE.tif", requires = "iso_line", value_hint = ValueHint::FilePath)]
    probability: Option<PathBuf>,
    /// Leave out polygons smaller than this
    #[arg(long, value_name = "KM2", default_value_t = 0.0)]
    min_area: f64,
    /// Simplify boundaries, none of which moves by more than this; 0 keeps every corner
    #[arg(long, value_name = "METRES", default_value_t = 0.0)]
    simplify: f64,
    /// Follow the probability of 0.5 instead of pixel edges; with one --class
    #[arg(long, requires_all = ["probability", "class"])]
    iso_line: bool,
    /// Print what was outlined as JSON
    #[arg(long)]
    json: bool,
    /// The polygons to write
    #[arg(short, long, value_name = "OUT.gpkg", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// Pixels that are read at once: 16 MiB of each raster.
const BAND_PIXELS: usize = 4 << 20;

/// The code of a pixel without data, beside the 256 classes.
const NO_CLASS: u16 = 256;

/// Runs `glavitu vectorise`.
///
/// # Errors
/// A raster cannot be read, has other values than classes or another grid, or the output cannot be written; nothing is written then.
pub fn run(args: &VectoriseArgs) -> Result<()> {
    let settings = OutlineSettings { min_area_km2: args.min_area, simplify_m: args.simplify, iso_line: args.iso_line };
    settings.check()?;
    if args.iso_line && args.class.len() != 1 {
        let found = format!("--iso-line with {} classes", args.class.len());
        let remedy = "a raster of probabilities is that of one class: name it with --class";
        return Err(Error::bad_argument(found, "one class", remedy).into());
    }
    check_extension(&args.output)?;
    let inputs: Vec<&Path> = [Some(&args.classes), args.confidence.as_ref(), args.probability.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    check_output(&args.output, &inputs)?;
    check_writable(args.output.parent().unwrap_or(Path::new(".")))?;
    let rasters = Rasters::open(args)?;
    let layers = rasters.outline(args, &settings)?;
    let description = description(args);
    let mut staged = StagedFiles::new();
    let names_class = args.class.len() != 1;
    let summary = if layers.is_empty() {
        // No data at all: a layer without polygons.
        let layer = layer(&rasters.grid, &settings, 0, 0, args)?;
        let mut summary =
            finish_layers(vec![layer], names_class, std::slice::from_ref(&args.output), &description, &mut staged)?;
        summary.classes.clear();
        summary
    } else {
        finish_layers(layers, names_class, std::slice::from_ref(&args.output), &description, &mut staged)?
    };
    staged.publish()?;
    announce(args, &summary)
}

/// The rasters of one grid.
struct Rasters {
    classes: RasterFile,
    confidence: Option<RasterFile>,
    probability: Option<RasterFile>,
    grid: Grid,
}

impl Rasters {
    fn open(args: &VectoriseArgs) -> Result<Self, Error> {
        let open = |path: &Path| {
            let file = RasterFile::open(path)?;
            if file.bands().len() == 1 {
                return Ok(file);
            }
            let found = format!("{} bands", file.bands().len());
            Err(Error::bad_file(path, found, "one band", "select it with gdal_translate -b"))
        };
        let classes = open(&args.classes)?;
        let grid = classes.grid().clone();
        let beside = |path: &Path| {
            let file = open(path)?;
            check_same_grid((&args.classes, &grid), (path, file.grid()))?;
            Ok(file)
        };
        let confidence = args.confidence.as_deref().map(beside).transpose()?;
        let probability = args.probability.as_deref().map(beside).transpose()?;
        Ok(Self { classes, confidence, probability, grid })
    }

    /// Reads all rows; the classes in ascending order.
    fn outline(&self, args: &VectoriseArgs, settings: &OutlineSettings) -> Result<Vec<OutlineLayer>, Error> {
        let grid = &self.grid;
        let mut layers = BTreeMap::new();
        for &class in &args.class {
            layers.insert(class, layer(grid, settings, class, 0, args)?);
        }
        let rows_at_once = (BAND_PIXELS / grid.width.max(1)).max(1);
        for row in (0..grid.height).step_by(rows_at_once) {
            let window = Window { row, col: 0, height: rows_at_once.min(grid.height - row), width: grid.width };
            let values = self.classes.read_window(0, window)?;
            let codes = self.codes(&values, row)?;
            drop(values);
            let read = |file: &Option<RasterFile>| {
                file.as_ref().map(|file| file.read_window(0, window)).transpose().map(Option::unwrap_or_default)
            };
            let confidence = read(&self.confidence)?;
            let mut probability = read(&self.probability)?;
            for (probability, code) in probability.iter_mut().zip(&codes) {
                if *code == NO_CLASS {
                    *probability = f32::NAN;
                }
            }
            if args.class.is_empty() {
                let mut is_there = [false; 257];
                for &code in &codes {
                    is_there[usize::from(code)] = true;
                }
                for class in 0..=u8::MAX {
                    if is_there[usize::from(class)] && !layers.contains_key(&class) {
                        layers.insert(class, layer(grid, settings, class, row, args)?);
                    }
                }
            }
            for (&class, layer) in &mut layers {
                let inside = |index: usize| codes[index] == u16::from(class);
                layer.add_rows_where(codes.len(), inside, &confidence, &probability)?;
            }
        }
        Ok(layers.into_values().collect())
    }

    /// Classes of rows from `row` on; [`NO_CLASS`] where there are no data.
    fn codes(&self, values: &[f32], row: usize) -> Result<Vec<u16>, Error> {
        let code = |(index, &value): (usize, &f32)| {
            if value.is_nan() {
                return Ok(NO_CLASS);
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked by the comparison below"
            )]
            let class = value as u8;
            if f32::from(class) == value {
                return Ok(u16::from(class));
            }
            let (row, col) = (row + index / self.grid.width, index % self.grid.width);
            Err(Error::bad_file(
                self.classes.path(),
                format!("the value {value} in row {row}, column {col}"),
                "classes: whole numbers from 0 to 255",
                "give a raster of classes, such as outlines.tif",
            ))
        };
        values.iter().enumerate().map(code).collect()
    }
}

fn layer(
    grid: &Grid,
    settings: &OutlineSettings,
    class: u8,
    row: usize,
    args: &VectoriseArgs,
) -> Result<OutlineLayer, Error> {
    let layer = OutlineLayer::starting_at(grid, settings, class, row)?.without_pixel_polygons();
    Ok(if args.confidence.is_none() { layer.without_confidence() } else { layer })
}

/// What the layer says of where it comes from.
fn description(args: &VectoriseArgs) -> String {
    let mut parts =
        vec![format!("program=glavitu {}", env!("CARGO_PKG_VERSION")), format!("classes={}", args.classes.display())];
    let files = [("confidence", &args.confidence), ("probability", &args.probability)];
    parts.extend(files.into_iter().filter_map(|(name, file)| Some(format!("{name}={}", file.as_ref()?.display()))));
    if args.iso_line {
        parts.push("iso_line=0.5".into());
    }
    let numbers = [("min_area_km2", args.min_area), ("simplify_m", args.simplify)];
    parts.extend(numbers.into_iter().filter(|(_, value)| *value > 0.0).map(|(name, value)| format!("{name}={value}")));
    parts.join("; ")
}

/// Says on standard output what was outlined: to people in a line, to programs as JSON.
fn announce(args: &VectoriseArgs, summary: &OutlineSummary) -> Result<()> {
    if args.json {
        return print_line(format_args!("{:#}", report(args, summary)));
    }
    print_line(format_args!("{} outlines, {:.2} km2; see {}", summary.count, summary.area_km2, args.output.display()))
}

fn report(args: &VectoriseArgs, summary: &OutlineSummary) -> Value {
    let classes: Vec<Value> = summary
        .classes
        .iter()
        .map(|class| json!({ "class": class.class, "outlines": class.count, "area_km2": class.area_km2 }))
        .collect();
    json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "input": args.classes,
        "output": args.output,
        "outlines": summary.count,
        "area_km2": summary.area_km2,
        "area_surface": summary.surface,
        "classes": classes,
    })
}
