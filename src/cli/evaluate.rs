//! `glavitu evaluate`: how well a prediction agrees with a reference.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueHint};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::atomic_file::check_replaceable;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::device_args::DeviceArgs;
use crate::cli::evaluate_tiles;
use crate::cli::output_file::{check_writable, write_folder};
use crate::cli::print_line;
use crate::error::Error;
use crate::evaluate::scene::{FILES, Files, read_background};
use crate::evaluate::{Confusion, Evaluation};

/// Compare a prediction of a scene with a reference.
///
/// Prints intersection over union (IoU), F1, precision, recall and accuracy of the glaciers, and both areas. Pixels without a prediction or without a
/// label do not count.
///
/// Prediction and reference are GeoTIFFs (1 glacier, 0 other, 255 or nodata unknown; a prediction may also be probability.tif, cut at 0.5) or polygons: GeoJSON,
/// GeoPackage with one layer of them, or a Shapefile (.shp with its .prj). Rasters share one grid. Polygons are brought to the raster's CRS;
/// pixels whose centre lies inside are glacier, all others are not.
///
/// With --model and --dataset instead: the IoU of a model on tile files with labels, overall and by region.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu evaluate --predicted result/outlines.tif --reference truth.tif
  glavitu evaluate --predicted result/outlines.tif --reference rgi.gpkg --valid study_area.geojson
  glavitu evaluate --predicted result/outlines.tif --reference rgi.shp --background scene.tif -o evaluation
  glavitu evaluate --predicted mine.gpkg --reference rgi.geojson --grid scene.tif --json
  glavitu evaluate --model model.safetensors --dataset test.hdf5")]
pub struct EvaluateArgs {
    /// The prediction: outlines.tif or probability.tif of `glavitu predict`, or polygons
    #[arg(long, value_name = "FILE", required_unless_present = "dataset", requires = "reference", value_hint = ValueHint::FilePath)]
    predicted: Option<PathBuf>,
    /// What is held for true: a raster of classes, or polygons
    #[arg(long, value_name = "FILE", requires = "predicted", value_hint = ValueHint::FilePath)]
    reference: Option<PathBuf>,
    /// A model to try on tile files
    #[arg(long, value_name = "MODEL.safetensors", requires = "dataset", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// Tile files (HDF5) or folders of GeoTIFF tiles, with labels
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model",
          conflicts_with_all = ["predicted", "reference", "valid", "grid", "assume_crs", "background", "output"], value_hint = ValueHint::FilePath)]
    dataset: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Polygons outside of which nothing counts, or a raster that is 0 or nodata there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    valid: Option<PathBuf>,
    /// A raster on whose grid polygons are compared, if there is no other
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    grid: Option<PathBuf>,
    /// The CRS of files that name none, or none that is known, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// The scene under errors.png: six bands (blue, green, red, NIR, SWIR1, SWIR2), three (red, green, blue) or one, in one file or one file each
    #[arg(long, value_name = "FILE", num_args = 1..=6, requires = "output", value_hint = ValueHint::FilePath)]
    background: Vec<PathBuf>,
    /// Print evaluation.json to standard output
    #[arg(long)]
    json: bool,
    /// A folder for evaluation.json, errors.tif (0 true negative, 1 true positive, 2 false positive, 3 false negative, 255 not counted) and
    /// errors.png; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
}

/// The file with all numbers.
const REPORT: &str = "evaluation.json";

/// Runs `glavitu evaluate`.
///
/// # Errors
/// Input that does not fit or cannot be read, or a folder that cannot be written; nothing is written then.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    if let Some(model) = &args.model {
        return evaluate_tiles::run(model, &args.dataset, &args.device, args.json);
    }
    let (Some(predicted), Some(reference)) = (&args.predicted, &args.reference) else {
        let error = Error::bad_argument("no prediction", "--predicted and --reference", "name both files");
        return Err(error.into());
    };
    if let Some(folder) = &args.output {
        check_outputs(args, folder)?;
    }
    let assumed_crs = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let files = Files {
        predicted,
        reference,
        valid: args.valid.as_deref(),
        grid: args.grid.as_deref(),
        assumed_crs: assumed_crs.as_ref(),
    };
    let evaluation = Evaluation::new(&files)?;
    let report = report(args, &evaluation);
    if let Some(folder) = &args.output {
        let background = (!args.background.is_empty())
            .then(|| read_background(&args.background, &evaluation, files.assumed_crs))
            .transpose()?;
        write_folder(folder, |staged| {
            evaluation.stage(folder, background.as_ref(), staged)?;
            staged.stage_bytes(folder.join(REPORT), format!("{report:#}\n").as_bytes())
        })?;
    }
    if args.json {
        return print_line(format_args!("{report:#}"));
    }
    print_line(table(&evaluation))?;
    let left_out = evaluation.not_counted().describe();
    if !left_out.is_empty() {
        print_line(format_args!("Pixels not counted: {}.", left_out.join(", ")))?;
    }
    match &args.output {
        Some(folder) => print_line(format_args!("See {}", folder.join(FILES[1]).display())),
        None => Ok(()),
    }
}

/// Refuses a folder that cannot be written, and one in which an output would replace an input.
fn check_outputs(args: &EvaluateArgs, folder: &Path) -> Result<(), Error> {
    check_writable(folder)?;
    let read: Vec<PathBuf> = [args.predicted.as_ref(), args.reference.as_ref()]
        .into_iter()
        .flatten()
        .chain(&args.valid)
        .chain(&args.grid)
        .chain(&args.background)
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    for name in FILES.into_iter().chain([REPORT]) {
        let output = folder.join(name);
        check_replaceable(&output)?;
        if output.canonicalize().is_ok_and(|output| read.contains(&output)) {
            let remedy = "choose another folder";
            return Err(Error::bad_file(output, "a file that is read", "another file to write", remedy));
        }
    }
    Ok(())
}

fn report(args: &EvaluateArgs, evaluation: &Evaluation) -> Value {
    let (predicted, reference) = evaluation.kinds();
    let mut report = json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "predicted": { "file": args.predicted, "kind": predicted },
        "reference": { "file": args.reference, "kind": reference },
        "valid": args.valid,
        "assume_crs": args.assume_crs,
    });
    if let (Value::Object(report), Value::Object(numbers)) = (&mut report, evaluation.summary()) {
        report.extend(numbers);
    }
    report
}

fn table(evaluation: &Evaluation) -> Table {
    let (counts, areas): (&Confusion, _) = (evaluation.confusion(), evaluation.areas());
    let score = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.3}"));
    let surface = if areas.on_ellipsoid { "" } else { " (in the plane)" };
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    for (name, value) in [
        ("IoU", counts.iou()),
        ("F1", counts.f1()),
        ("Precision", counts.precision()),
        ("Recall", counts.recall()),
        ("Accuracy", counts.accuracy()),
    ] {
        table.add_row([name.to_owned(), score(value)]);
    }
    let difference =
        areas.difference_percent().map_or_else(|| "undefined".to_owned(), |percent| format!("{percent:+.1} %"));
    table.add_row([format!("Glacier area, predicted{surface}"), format!("{:.2} km2", areas.predicted_km2)]);
    table.add_row([format!("Glacier area, reference{surface}"), format!("{:.2} km2", areas.reference_km2)]);
    table.add_row(["Difference".to_owned(), difference]);
    table.add_row(["Pixels counted".to_owned(), counts.total().to_string()]);
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
}
