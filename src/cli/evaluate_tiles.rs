//! `glavitu evaluate --dataset` and `--compare`: how good a model is on tile files with labels, and where it is worse.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::device_args::DeviceArgs;
use crate::cli::evaluate::{REPORT, check_folder};
use crate::cli::evaluate_reliability::Reliabilities;
use crate::cli::output_file::write_folder;
use crate::cli::print_line;
use crate::dataset::sampling::{Selection, TileSet, Unlabelled};
use crate::evaluate::Calibrator;
use crate::evaluate::gap::{GapRow, compare};
use crate::evaluate::groups::{GroupBy, PassScores, RegionInput, Scores, TileCounter, TileEvaluation, TrainedOn};
use crate::evaluate::table::{csv_of, fixed};
use crate::evaluate::tile_pass::{PatchPrediction, TilePass};
use crate::model::network::inference_graph;
use crate::model::{Location, Weights};
use crate::report::{REPORT_FILE, evaluated};

/// Patches computed at a time, and threads that read them.
const BATCH: usize = 4;
const WORKERS: usize = 2;
/// Output files.
const FILES: [&str; 4] = [REPORT, "tiles.csv", "groups.csv", REPORT_FILE];
/// Those of gaps.
const GAP_FILES: [&str; 3] = [REPORT, "gaps.csv", REPORT_FILE];

/// What is evaluated, and how.
#[derive(Debug)]
pub(super) struct TileJob<'a> {
    pub(super) model: &'a Path,
    pub(super) dataset: &'a [PathBuf],
    pub(super) group_by: Vec<GroupBy>,
    pub(super) trained_on: Vec<TrainedOn>,
    pub(super) unlabelled: Unlabelled,
    pub(super) calibration: Option<&'a Path>,
    pub(super) device: &'a DeviceArgs,
    pub(super) output: Option<&'a Path>,
    pub(super) report: bool,
    pub(super) as_json: bool,
}

/// Scores of a model on tile files.
///
/// Patches lie side by side and do not overlap, as in the validation of a training run. A model with a region vector meets every patch twice: with its
/// region, and without.
///
/// # Errors
/// Files that do not fit the model, a device that fails, or a folder that cannot be written.
pub(super) fn run(job: &TileJob<'_>) -> Result<()> {
    if let Some(folder) = job.output {
        let read: Vec<&Path> =
            job.dataset.iter().map(PathBuf::as_path).chain([job.model]).chain(job.calibration).collect();
        check_folder(folder, &FILES[..3 + usize::from(job.report)], &read)?;
    }
    let weights = Weights::load(job.model)?;
    let config = weights.config();
    let selection = Selection {
        tile: config.tile,
        location: config.location.clone(),
        unlabelled: job.unlabelled,
        ..Selection::new(config.features.clone())
    };
    let tiles = Arc::new(TileSet::open(job.dataset, &selection)?);
    let calibrator = job.calibration.map(Calibrator::load).transpose()?;
    if let Some(calibrator) = &calibrator {
        calibrator.warn_of_other_model(&[weights.parameters_sha256()]);
    }
    let mut reliabilities = Reliabilities::new(calibrator.as_ref());
    let mut counter = TileCounter::new(matches!(config.location, Location::Regions(_)));
    // Groups that cannot be told are known before anything is computed.
    TileCounter::check(&tiles, &job.group_by, &job.trained_on)?;
    let batch = job.device.batch(BATCH, |batch| inference_graph(config, batch))?;
    let device = &job.device;
    let mut pass = TilePass::new(config, Arc::clone(&tiles), batch, WORKERS, &device.device, &device.options())?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} batches, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let count = tiles.tiles().len();
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        Ok(())
    };
    // A model that takes regions is judged by what it says when it is told the region, if it can be.
    let counts = |patch: &PatchPrediction<'_>| patch.location_known || !matches!(config.location, Location::Regions(_));
    let mut add = |patch: &PatchPrediction<'_>| {
        if counts(patch) {
            reliabilities.add_patch(patch.probabilities, patch.target);
        }
        counter.add(count, patch)
    };
    pass.run(&weights, &mut |batch| batch.patches().try_for_each(|patch| add(&patch)), &mut progress)?;
    bar.finish_and_clear();
    let found = counter.finish(&tiles, &job.group_by, &job.trained_on)?;
    let report = report(job, &weights, &found, &reliabilities)?;
    if let Some(folder) = job.output {
        write_folder(folder, |staged| {
            staged.stage_bytes(folder.join(FILES[0]), format!("{report:#}\n").as_bytes())?;
            staged.stage_bytes(folder.join(FILES[1]), tiles_csv(&found).as_bytes())?;
            staged.stage_bytes(folder.join(FILES[2]), groups_csv(&found).as_bytes())?;
            if job.report {
                let page =
                    evaluated::tiles(&found, &job.model.display().to_string(), Some(reliabilities.diagram()), &report);
                staged.stage_bytes(folder.join(REPORT_FILE), page.html().as_bytes())?;
            }
            Ok(())
        })?;
    }
    if job.as_json {
        return print_line(format_args!("{report:#}"));
    }
    for pass in &found.passes {
        print_pass(pass)?;
    }
    reliabilities.print()?;
    let unlabelled = match (found.unlabelled, found.unlabelled_pixels) {
        (Unlabelled::Background, _) => "Pixels without a label count as other ground.".to_owned(),
        (Unlabelled::Ignore, 0) => "Every pixel has a label.".to_owned(),
        (Unlabelled::Ignore, n) => format!("{n} pixels without a label do not count."),
    };
    let side = found.patch_side;
    print_line(format_args!(
        "{} tiles, {} patches of {side} x {side} pixels. {unlabelled}",
        found.tiles, found.patches
    ))?;
    match job.output {
        Some(folder) => print_line(format_args!("See {}", folder.join(FILES[2]).display())),
        None => Ok(()),
    }
}

/// All numbers. `iou` and `regions` at the top are those of the first pass.
fn report(
    job: &TileJob<'_>,
    weights: &Weights,
    found: &TileEvaluation,
    reliabilities: &Reliabilities,
) -> Result<Value> {
    let mut report = json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "kind": "tiles",
        "model": job.model,
        "parameters_sha256": weights.parameters_sha256(),
        "dataset": job.dataset,
        "iou": found.passes.first().and_then(|pass| pass.overall.iou),
        "regions": regions(found),
        "calibration": job.calibration,
        "reliability": reliabilities.json(),
    });
    if let (Value::Object(report), Value::Object(numbers)) = (&mut report, serde_json::to_value(found)?) {
        report.extend(numbers);
    }
    Ok(report)
}

/// IoU by region of the first pass.
fn regions(found: &TileEvaluation) -> Value {
    let mut sums = std::collections::BTreeMap::<&str, crate::evaluate::Confusion>::new();
    for tile in found.passes.iter().take(1).flat_map(|pass| &pass.tiles) {
        sums.entry(&tile.region).or_default().merge(&tile.scores.confusion);
    }
    sums.into_iter()
        .map(|(region, counts)| (region.to_owned(), json!(counts.iou())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| fixed(value, 3))
}

fn columns(scores: &Scores) -> [Option<f64>; 5] {
    [scores.iou, scores.f1, scores.precision, scores.recall, scores.accuracy]
}

fn print_pass(pass: &PassScores) -> Result<()> {
    match pass.region_input {
        RegionInput::None => {}
        RegionInput::Known => print_line("With the region of each tile:")?,
        RegionInput::Unknown => print_line("With the region unknown:")?,
    }
    let mut table = Table::new();
    let names = ["group by", "group", "tiles", "IoU", "F1", "precision", "recall", "accuracy"];
    table.load_style(UTF8_FULL_CONDENSED).set_header(names);
    let row = |by: &str, group: &str, tiles: usize, scores: &Scores| {
        let mut row = vec![by.to_owned(), group.to_owned(), tiles.to_string()];
        row.extend(columns(scores).map(score));
        row
    };
    for group in &pass.groups {
        table.add_row(row(&group.by, group.group.as_deref().unwrap_or("not told"), group.tiles, &group.scores));
    }
    table.add_row(row("all", "", pass.tiles.len(), &pass.overall));
    for column in 2..names.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print_line(table)?;
    for mean in pass.means.iter().filter(|mean| mean.groups > 1) {
        let (by, n) = (&mean.by, mean.groups);
        let (mean, deviation) = (score(mean.mean_iou), score(mean.standard_deviation));
        print_line(format_args!(
            "IoU by {by}: mean {mean}, sample standard deviation {deviation} ({n} with glaciers)."
        ))?;
    }
    for gap in &pass.gaps {
        print_line(format_args!(
            "{} gap by {}: IoU {} where it was trained, {} elsewhere ({}), gap {}.",
            gap.kind,
            gap.by,
            score(gap.seen.mean_iou),
            score(gap.unseen.mean_iou),
            gap.unseen.groups.join(", "),
            score(gap.gap),
        ))?;
    }
    Ok(())
}

/// Names and values of the columns of scores.
const SCORE_COLUMNS: [&str; 9] = ["tp", "fp", "fn", "tn", "accuracy", "precision", "recall", "f1", "iou"];

fn score_fields(scores: &Scores) -> Vec<String> {
    let c = &scores.confusion;
    let counts = [c.tp, c.fp, c.fn_, c.tn].map(|count| count.to_string());
    let values = [scores.accuracy, scores.precision, scores.recall, scores.f1, scores.iou]
        .map(|value| value.map(|value| value.to_string()).unwrap_or_default());
    counts.into_iter().chain(values).collect()
}

fn header(first: &[&str]) -> Vec<String> {
    first.iter().chain(&SCORE_COLUMNS).map(|name| (*name).to_owned()).collect()
}

fn groups_csv(found: &TileEvaluation) -> String {
    let mut rows = vec![header(&["region_input", "group_by", "group", "tiles"])];
    for pass in &found.passes {
        let mut add = |by: &str, group: &str, tiles: usize, scores: &Scores| {
            let mut row = vec![pass.region_input.name().to_owned(), by.to_owned(), group.to_owned(), tiles.to_string()];
            row.extend(score_fields(scores));
            rows.push(row);
        };
        pass.groups.iter().for_each(|g| add(&g.by, g.group.as_deref().unwrap_or(""), g.tiles, &g.scores));
        add("all", "", pass.tiles.len(), &pass.overall);
    }
    csv_of(rows)
}

fn tiles_csv(found: &TileEvaluation) -> String {
    let attributes: std::collections::BTreeSet<&String> =
        found.passes.iter().flat_map(|pass| &pass.tiles).flat_map(|tile| tile.attributes.keys()).collect();
    let mut names = header(&["region_input", "tile", "region", "subregion"]);
    names.extend(attributes.iter().map(|name| (*name).clone()));
    let mut rows = vec![names];
    for pass in &found.passes {
        for tile in &pass.tiles {
            let mut row = vec![
                pass.region_input.name().to_owned(),
                tile.tile.clone(),
                tile.region.clone(),
                tile.subregion.clone(),
            ];
            row.extend(score_fields(&tile.scores));
            row.extend(attributes.iter().map(|name| tile.attributes.get(*name).cloned().unwrap_or_default()));
            rows.push(row);
        }
    }
    csv_of(rows)
}

fn gaps_csv(rows: &[GapRow]) -> String {
    let names = ["evaluation", "region_input", "group_by", "kind", "group", "iou_first", "iou_here", "gap"];
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let fields = rows.iter().map(|row| {
        let mut fields = vec![row.file.display().to_string(), row.region_input.name().to_owned()];
        fields.extend([row.by.clone(), row.kind.clone(), row.group.clone().unwrap_or_default()]);
        fields.extend([row.iou_in, row.iou_out, row.gap].map(number));
        fields
    });
    csv_of(std::iter::once(names.map(str::to_owned).to_vec()).chain(fields))
}

/// Gaps between evaluations.
///
/// # Errors
/// A file cannot be read or is no evaluation, or the folder cannot be written.
pub(super) fn run_compare(files: &[PathBuf], output: Option<&Path>, report: bool, as_json: bool) -> Result<()> {
    if let Some(folder) = output {
        let read: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        check_folder(folder, &GAP_FILES, &read)?;
    }
    let rows = compare(files)?;
    let found = json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "kind": "gaps",
        "compared_with": files.first(),
        "rows": rows,
    });
    if let Some(folder) = output {
        write_folder(folder, |staged| {
            staged.stage_bytes(folder.join(GAP_FILES[0]), format!("{found:#}\n").as_bytes())?;
            staged.stage_bytes(folder.join(GAP_FILES[1]), gaps_csv(&rows).as_bytes())?;
            if report {
                let first = files.first().map_or_else(|| Path::new(""), PathBuf::as_path);
                let page = evaluated::gaps(&rows, first, &found).html();
                staged.stage_bytes(folder.join(GAP_FILES[2]), page.as_bytes())?;
            }
            Ok(())
        })?;
    }
    if as_json {
        return print_line(format_args!("{found:#}"));
    }
    let mut table = Table::new();
    let names = ["evaluation", "region input", "group by", "kind", "group", "IoU first", "IoU here", "gap"];
    table.load_style(UTF8_FULL_CONDENSED).set_header(names);
    for GapRow { file, region_input, by, kind, group, iou_in, iou_out, gap } in rows {
        let file = file.display().to_string();
        let group = group.unwrap_or_default();
        table.add_row([file, region_input.name().into(), by, kind, group, score(iou_in), score(iou_out), score(gap)]);
    }
    for column in 5..names.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print_line(table)?;
    match output {
        Some(folder) => print_line(format_args!("See {}", folder.join(GAP_FILES[1]).display())),
        None => Ok(()),
    }
}
