//! `glavitu evaluate`: how well a prediction agrees with a reference.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::atomic_file::check_replaceable;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::device_args::DeviceArgs;
use crate::cli::evaluate_outlines::{self, OutlineJob};
use crate::cli::evaluate_reliability::Reliabilities;
use crate::cli::evaluate_tiles::{self, TileJob};
use crate::cli::output_file::{check_writable, short_name, write_folder};
use crate::cli::print_line;
use crate::dataset::sampling::Unlabelled;
use crate::error::Error;
use crate::evaluate::experts::SPACING_M;
use crate::evaluate::groups::{GroupBy, TrainedOn};
use crate::evaluate::scene::{Background, FILES, Files};
use crate::evaluate::table::{fixed, signed};
use crate::evaluate::{Confusion, Evaluation};
use crate::report::{REPORT_FILE, evaluated};

/// Compare predictions with references: scenes, tile files, outlines of experts.
///
/// A scene (--predicted, --reference): accuracy, precision, recall, F1 and intersection over union (IoU) of the glaciers, and both areas. Pixels without a
/// prediction do not count; pixels without a label do not either, or count as other ground with --unlabelled background. Prediction and reference are GeoTIFFs
/// (1 glacier, 0 other, 255 or nodata unknown; a prediction may also be probability.tif, cut at 0.5) or polygons: GeoJSON,
/// GeoPackage with one layer of them, FlatGeobuf, or a Shapefile (.shp with its .prj). Rasters share one grid. Polygons are brought to the raster's CRS;
/// pixels whose centre lies inside are glacier, all others are not.
///
/// Tile files (--model, --dataset): the same scores of a model by tile and by --group-by, with mean and sample standard deviation (n - 1) of the groups'
/// IoUs. Patches lie side by side; what fills none is left over. A model that takes regions meets every patch twice: told the region, and not told. With
/// --trained-on, the gap between groups it was trained on and others.
///
/// Outlines (--distances): areas and boundaries of glaciers against those of one expert or more, as vectors. Signed and absolute area deviations; mean, median,
/// root mean square, 95th percentile and largest (Hausdorff) distance between the boundaries in metres, both ways, along edges and not only at vertices; PoLiS
/// (Avbelj et al. 2015). Glaciers are those of the first reference; other outlines belong to them by identifier, or to the one with which they share most ground. A
/// raster is split by them as `glavitu inventory` does, which holds it in memory, and glaciers that it does not show whole are left out. With several references, a prediction is within the experts' spread if its mean distance from them
/// is at most the largest mean distance between two of them.
///
/// Evaluations (--compare): generalisation gaps. The first evaluation.json is known ground, such as the regions (or the model) of the training; the
/// others are held against it, by --group-by's groups that both have. -o FOLDER keeps them as gaps.csv and evaluation.json, --report as a page.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu evaluate --predicted result/outlines.tif --reference truth.tif
  glavitu evaluate --predicted result/outlines.tif --reference rgi.gpkg --valid study_area.geojson
  glavitu evaluate --predicted result/outlines.tif --reference rgi.shp --background scene.tif -o evaluation
  glavitu evaluate --predicted mine.gpkg --reference rgi.geojson --grid scene.tif --json
  glavitu evaluate --predicted result/outlines.tif --reference rgi.gpkg --background scene.tif --report -o evaluation

  glavitu evaluate --predicted result/outlines.tif --reference rgi.gpkg --confidence result/confidence.tif --report -o evaluation
  glavitu evaluate --model model.safetensors --dataset test.hdf5
  glavitu evaluate --model model.safetensors --dataset test.hdf5 --calibration model.json --report -o evaluation
  glavitu evaluate --model model.safetensors --dataset test.hdf5 --group-by region,sensor,year -o evaluation
  glavitu evaluate --model model.safetensors --dataset test.hdf5 --group-by sensor --trained-on region=ALP,SC

  glavitu evaluate --predicted result/outlines.tif --reference rgi.gpkg --distances
  glavitu evaluate --predicted mine.gpkg --reference anna.gpkg ben.gpkg chris.gpkg --distances --id-column glac_id -o experts

  glavitu evaluate --compare all_regions/evaluation.json without_ALP/evaluation.json without_NZ/evaluation.json
  glavitu evaluate --compare all_regions/evaluation.json without_ALP/evaluation.json --report -o gaps")]
pub struct EvaluateArgs {
    /// The prediction: outlines.tif or probability.tif of `glavitu predict`, or polygons
    #[arg(long, value_name = "FILE", required_unless_present_any = ["model", "dataset", "compare"], requires = "reference", value_hint = ValueHint::FilePath)]
    predicted: Option<PathBuf>,
    /// What is held for true: a raster of classes, or polygons; with --distances, the outlines of one expert each
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "predicted", value_hint = ValueHint::FilePath)]
    reference: Vec<PathBuf>,
    /// confidence.tif of the prediction: how reliable is it?
    #[arg(long, value_name = "FILE.tif", requires = "predicted", conflicts_with = "distances", value_hint = ValueHint::FilePath)]
    confidence: Option<PathBuf>,
    /// A model to try on tile files
    #[arg(long, value_name = "MODEL.safetensors", requires = "dataset", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// Tile files (HDF5) or folders of GeoTIFF tiles, with labels
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model",
          conflicts_with_all = ["predicted", "reference", "valid", "grid", "assume_crs", "background"], value_hint = ValueHint::FilePath)]
    dataset: Vec<PathBuf>,
    /// A calibrator of that model's confidence: how reliable does it make it?
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    calibration: Option<PathBuf>,
    /// Group tiles by region, subregion, year (of their attribute year or date), sensor or any other attribute [default: region]; or a reference's polygons
    /// by an attribute, such as term_type: the recall of each of its values (what was predicted wrongly lies in none)
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["compare", "distances"])]
    group_by: Vec<GroupBy>,
    /// What the model was trained on, as region=ALP,SC or sensor=Sentinel-2; prints the gap to all else (may be repeated)
    #[arg(long, value_name = "NAME=LIST", requires = "dataset")]
    trained_on: Vec<TrainedOn>,
    /// Hold evaluations (evaluation.json) against the first of them; -o FOLDER keeps the gaps
    #[arg(long, value_name = "FILE.json", num_args = 2..,
          conflicts_with_all = ["predicted", "dataset", "valid", "grid", "background", "assume_crs", "unlabelled"], value_hint = ValueHint::FilePath)]
    compare: Vec<PathBuf>,
    /// Compare outlines as vectors, glacier by glacier
    #[arg(long, requires = "predicted", conflicts_with_all = ["valid", "grid", "background", "unlabelled"])]
    distances: bool,
    /// Metres between the points along outlines at which distances are taken, at most
    #[arg(long, value_name = "M", default_value_t = SPACING_M, requires = "distances")]
    spacing: f64,
    /// The attribute with the glaciers' identifiers [default: rgi_id, RGIId, glims_id, glac_id or glacier_id, if there is one;
    /// running numbers, as of `glavitu predict`, are none unless they are named]
    #[arg(long, value_name = "NAME", requires = "distances")]
    id_column: Option<String>,
    /// What pixels without a label become: ignored, or counted as other ground as the published evaluation does
    #[arg(long, value_enum, default_value = "ignore")]
    unlabelled: UnlabelledOption,
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
    /// Write report.html too: map of errors, bars and tables; one file that any browser opens
    #[arg(long, requires = "output")]
    report: bool,
    /// Print evaluation.json to standard output
    #[arg(long)]
    json: bool,
    /// A folder for evaluation.json and, of a scene, errors.tif (0 true negative, 1 true positive, 2 false positive, 3 false negative, 255 not counted) and
    /// errors.png; of tile files, tiles.csv and groups.csv; of outlines, glaciers.csv and spread.csv; of evaluations, gaps.csv. It is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
}

/// The value of `--unlabelled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UnlabelledOption {
    /// They do not count
    Ignore,
    /// They count as other ground
    Background,
}

impl UnlabelledOption {
    fn unlabelled(self) -> Unlabelled {
        match self {
            Self::Ignore => Unlabelled::Ignore,
            Self::Background => Unlabelled::Background,
        }
    }
}

/// What tells the folder of a map.
const MAP: &str = "run.json";

/// The file with all numbers.
pub(super) const REPORT: &str = "evaluation.json";

/// Runs `glavitu evaluate`.
///
/// # Errors
/// Input that does not fit or cannot be read, or a folder that cannot be written; nothing is written then.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    if args.calibration.is_some() && args.dataset.is_empty() {
        let remedy = "leave it out; of a scene, --confidence FILE.tif tells how reliable a confidence is";
        return Err(Error::bad_argument("--calibration without --dataset", "it with --dataset alone", remedy).into());
    }
    if !args.compare.is_empty() {
        return evaluate_tiles::run_compare(&args.compare, args.output.as_deref(), args.report, args.json);
    }
    if let Some(model) = &args.model {
        let by_region = || vec![GroupBy::Region];
        return evaluate_tiles::run(&TileJob {
            model,
            dataset: &args.dataset,
            group_by: if args.group_by.is_empty() { by_region() } else { args.group_by.clone() },
            trained_on: args.trained_on.clone(),
            unlabelled: args.unlabelled.unlabelled(),
            calibration: args.calibration.as_deref(),
            device: &args.device,
            output: args.output.as_deref(),
            report: args.report,
            as_json: args.json,
        });
    }
    let (Some(predicted), Some(reference)) = (&args.predicted, args.reference.first()) else {
        let error = Error::bad_argument("no prediction", "--predicted and --reference", "name both files");
        return Err(error.into());
    };
    let assumed_crs = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    if args.distances {
        return evaluate_outlines::run(&OutlineJob {
            predicted,
            references: &args.reference,
            id_column: args.id_column.as_deref(),
            assumed_crs: assumed_crs.as_ref(),
            spacing: args.spacing,
            output: args.output.as_deref(),
            report: args.report,
            as_json: args.json,
        });
    }
    if args.reference.len() > 1 {
        let remedy = "give one, or --distances to compare outlines with those of several experts";
        return Err(Error::bad_argument(format!("{} references", args.reference.len()), "one", remedy).into());
    }
    if let Some(folder) = &args.output {
        check_outputs(args, folder)?;
    }
    let group_by: Vec<String> = args.group_by.iter().map(ToString::to_string).collect();
    let files = Files {
        predicted,
        reference,
        valid: args.valid.as_deref(),
        grid: args.grid.as_deref(),
        assumed_crs: assumed_crs.as_ref(),
        unlabelled: args.unlabelled.unlabelled(),
        group_by: &group_by,
    };
    let mut evaluation = Evaluation::new(&files)?;
    let confidence = args.confidence.as_deref();
    let reliabilities = confidence
        .map(|confidence| Reliabilities::of_scene(confidence, predicted, reference, files.assumed_crs))
        .transpose()?;
    let report = report(args, &evaluation, reliabilities.as_ref());
    if let Some(folder) = &args.output {
        let background = (!args.background.is_empty())
            .then(|| Background::open(&args.background, &evaluation, files.assumed_crs))
            .transpose()?;
        let imagery = write_folder(folder, |staged| {
            let imagery = evaluation.stage(folder, background.as_ref(), staged)?;
            staged.stage_bytes(folder.join(REPORT), format!("{report:#}\n").as_bytes())?;
            Ok(imagery)
        })?;
        if args.report {
            let title = format!("{} against {}", short_name(predicted), short_name(reference));
            let errors = folder.join(FILES[0]);
            let diagram = reliabilities.as_ref().map(Reliabilities::diagram);
            let page = evaluated::scene(&evaluation, &title, (&errors, &imagery), diagram, &report)?;
            page.write(&folder.join(REPORT_FILE))?;
        }
    }
    if args.json {
        return print_line(format_args!("{report:#}"));
    }
    print_line(table(&evaluation))?;
    if !evaluation.groups().is_empty() {
        print_line(groups_table(&evaluation))?;
    }
    if let Some(reliabilities) = &reliabilities {
        reliabilities.print()?;
    }
    let left_out = evaluation.not_counted().describe();
    if !left_out.is_empty() {
        print_line(format_args!("Pixels not counted: {}.", left_out.join(", ")))?;
    }
    if args.unlabelled == UnlabelledOption::Background {
        print_line("Pixels without a label count as other ground.")?;
    }
    match &args.output {
        Some(folder) => print_line(format_args!("See {}", folder.join(FILES[1]).display())),
        None => Ok(()),
    }
}

/// Refuses a folder that cannot be written, and one in which an output would replace an input.
fn check_outputs(args: &EvaluateArgs, folder: &Path) -> Result<(), Error> {
    let read: Vec<&Path> = args
        .predicted
        .iter()
        .chain(&args.reference)
        .chain(&args.valid)
        .chain(&args.grid)
        .chain(&args.background)
        .chain(&args.confidence)
        .map(PathBuf::as_path)
        .collect();
    let names = [FILES[0], FILES[1], REPORT, REPORT_FILE];
    check_folder(folder, &names[..3 + usize::from(args.report)], &read)
}

/// Refuses a folder that cannot be written, or in which one of the files would replace one that is read.
pub(super) fn check_folder(folder: &Path, names: &[&str], read: &[&Path]) -> Result<(), Error> {
    check_writable(folder)?;
    let is_map = folder.join(MAP).is_file() && folder.join(REPORT_FILE).is_file();
    if is_map && names.contains(&REPORT_FILE) {
        // The map's report has the same name, and may be signed.
        let (found, expected) = ("the report of a map", "a folder for that of the evaluation");
        return Err(Error::bad_file(folder, found, expected, "give --output another, such as one in it"));
    }
    let read: Vec<PathBuf> = read.iter().filter_map(|path| path.canonicalize().ok()).collect();
    for name in names {
        let output = folder.join(name);
        check_replaceable(&output)?;
        if output.canonicalize().is_ok_and(|output| read.contains(&output)) {
            let remedy = "choose another folder";
            return Err(Error::bad_file(output, "a file that is read", "another file to write", remedy));
        }
    }
    Ok(())
}

/// What was found of each kind of the reference's polygons.
fn groups_table(evaluation: &Evaluation) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["group by", "group", "pixels", "recall"]);
    for group in evaluation.groups() {
        let recall = group.recall().map_or_else(|| "-".to_owned(), |recall| format!("{recall:.3}"));
        let name = group.group.clone().unwrap_or_else(|| "not told".into());
        table.add_row([group.by.clone(), name, (group.found + group.missed).to_string(), recall]);
    }
    for column in 2..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn report(args: &EvaluateArgs, evaluation: &Evaluation, reliabilities: Option<&Reliabilities>) -> Value {
    let (predicted, reference) = evaluation.kinds();
    let mut report = json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "kind": "scene",
        "predicted": { "file": args.predicted, "kind": predicted },
        "reference": { "file": args.reference.first(), "kind": reference },
        "valid": args.valid,
        "assume_crs": args.assume_crs,
        "confidence": args.confidence,
        "reliability": reliabilities.map(Reliabilities::json),
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
    let difference = areas
        .difference_percent()
        .map_or_else(|| "undefined".to_owned(), |percent| format!("{} %", signed(percent, 1)));
    table.add_row([format!("Glacier area, predicted{surface}"), format!("{} km2", fixed(areas.predicted_km2, 2))]);
    table.add_row([format!("Glacier area, reference{surface}"), format!("{} km2", fixed(areas.reference_km2, 2))]);
    table.add_row(["Difference".to_owned(), difference]);
    table.add_row(["Pixels counted".to_owned(), counts.total().to_string()]);
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
}
