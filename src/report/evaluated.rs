//! The reports of evaluations: of a scene, of tile files, of outlines; and of the gaps between evaluations.

use std::path::Path;

use image::RgbImage;
use serde_json::Value as Json;

use crate::error::Result;
use crate::evaluate::experts::{ExpertSpread, GlacierDeviation, OutlineComparison, TotalDeviation};
use crate::evaluate::gap::{ALL, GapRow};
use crate::evaluate::groups::{Group, PassScores, RegionInput, Scores, TileEvaluation};
use crate::evaluate::scene::{Evaluation, outcome};
use crate::evaluate::table::{fixed, signed};
use crate::report::bars::Bars;
use crate::report::map::MapView;
use crate::report::picture::{self, ClassStyle};
use crate::report::table::{Cell, Column, Table};
use crate::report::{Block, Figure, Report, or_undefined};

/// Glaciers and groups as bars.
const MOST_BARS: usize = 25;
/// Rows of a table.
const MOST_ROWS: usize = 1000;

/// A reliability diagram with what it is of.
#[derive(Debug, Clone)]
pub struct Diagram {
    /// The SVG file's text.
    pub svg: String,
    /// What it shows.
    pub caption: String,
}

/// Makes the report of a scene. `errors` is the raster of outcomes, `run` what stands in `evaluation.json`.
///
/// # Errors
/// The raster cannot be read.
pub fn scene(
    evaluation: &Evaluation,
    title: &str,
    (errors, imagery): (&Path, &RgbImage),
    diagram: Option<Diagram>,
    run: &Json,
) -> Result<Report> {
    let (counts, areas, grid) = (evaluation.confusion(), evaluation.areas(), evaluation.grid());
    let lead = format!("{} x {} pixels, {} of them counted", grid.width, grid.height, counts.total());
    let mut report = Report::new("Accuracy of a map", title, lead);
    let surface = if areas.on_ellipsoid { "on the ellipsoid" } else { "in the plane" };
    let mut figures = score_figures(&Scores::from(*counts));
    figures.push(Figure::new("Area, predicted", format!("{} km²", fixed(areas.predicted_km2, 2)), surface));
    figures.push(Figure::new("Area, reference", format!("{} km²", fixed(areas.reference_km2, 2)), surface));
    let difference = areas
        .difference_percent()
        .map_or_else(|| "undefined".to_owned(), |percent| format!("{} %", signed(percent, 1)));
    figures.push(Figure::new("Difference", difference, "predicted against reference"));
    let mut blocks = vec![Block::Figures(figures)];
    let left_out = evaluation.not_counted().describe();
    if !left_out.is_empty() {
        blocks.push(Block::Text(format!("Pixels not counted: {}.", left_out.join(", "))));
    }
    report.section("In short", blocks);

    let style =
        |value: u8, colour, opacity, name| ClassStyle { value: f32::from(value), colour, opacity, name, is_on: true };
    let styles = [
        style(outcome::TRUE_POSITIVE, [70, 160, 255], 0.45, "Found (true positive)"),
        style(outcome::FALSE_POSITIVE, [235, 30, 30], 0.9, "Too much (false positive)"),
        style(outcome::FALSE_NEGATIVE, [255, 210, 0], 0.9, "Missed (false negative)"),
    ];
    let mut layers =
        vec![picture::imagery(imagery, "Ground", "The scene under the errors; grey if no --background was given")?];
    layers.extend(picture::classes(errors, &styles)?);
    let map = MapView {
        size: (grid.width, grid.height),
        pixel_m: grid.ground_pixel_m(),
        layers,
        caption: "Where the map and the reference agree and where not. Chequered ground does not count.".into(),
    };
    report.section("Map", vec![Block::Map(Box::new(map))]);

    let row =
        |name: &str, ice: u64, other: u64| vec![Cell::text(name), Cell::number(ice as f64), Cell::number(other as f64)];
    let columns =
        vec![Column::text("reference"), Column::number("predicted glacier", 0), Column::number("predicted other", 0)];
    let rows = vec![row("glacier", counts.tp, counts.fn_), row("other", counts.fp, counts.tn)];
    report.section(
        "Confusion matrix",
        vec![Block::Table(Table::new("Pixels by reference and prediction", columns, rows))],
    );
    if !evaluation.groups().is_empty() {
        let columns = ["group by", "group"].map(Column::text).into_iter();
        let columns = columns.chain([
            Column::number("found (pixels)", 0),
            Column::number("missed (pixels)", 0),
            Column::number("recall", 3),
        ]);
        let rows = evaluation.groups().iter().map(|group| {
            vec![
                Cell::text(&group.by),
                Cell::text(group.group.as_deref().unwrap_or("not told")),
                Cell::number(group.found as f64),
                Cell::number(group.missed as f64),
                Cell::maybe(group.recall()),
            ]
        });
        let table = Table::new("What was found of each kind of glacier", columns.collect(), rows.collect());
        report.section("Kinds of glaciers", vec![Block::Table(table)]);
    }
    reliability(&mut report, diagram);
    how(&mut report, run);
    Ok(report)
}

/// Makes the report of a model on tile files.
#[must_use]
pub fn tiles(found: &TileEvaluation, title: &str, diagram: Option<Diagram>, run: &Json) -> Report {
    let side = found.patch_side;
    let lead = format!("{} tiles, {} patches of {side} x {side} pixels", found.tiles, found.patches);
    let mut report = Report::new("Accuracy of a model", title, lead);
    for pass in &found.passes {
        let told = match pass.region_input {
            RegionInput::None => "",
            RegionInput::Known => ", told the region",
            RegionInput::Unknown => ", not told the region",
        };
        let mut figures = score_figures(&pass.overall);
        for mean in &pass.means {
            figures.push(Figure::new(
                format!("Mean IoU by {}", mean.by),
                or_undefined(mean.mean_iou, 3, ""),
                format!("± {} over {} groups", or_undefined(mean.standard_deviation, 3, ""), mean.groups),
            ));
        }
        for gap in &pass.gaps {
            figures.push(Figure::new(
                format!("Gap by {} ({})", gap.by, gap.kind),
                gap.gap.map_or_else(|| "undefined".to_owned(), |gap| signed(gap, 3)),
                format!(
                    "mean IoU {} seen, {} unseen",
                    or_undefined(gap.seen.mean_iou, 3, ""),
                    or_undefined(gap.unseen.mean_iou, 3, "")
                ),
            ));
        }
        report.section(format!("In short{told}"), vec![Block::Figures(figures)]);
        report.section(format!("Groups{told}"), group_blocks(pass));
    }
    reliability(&mut report, diagram);
    if let Some(pass) = found.passes.first() {
        report.section("Tiles", vec![Block::Table(tile_table(pass))]);
    }
    how(&mut report, run);
    report
}

fn group_blocks(pass: &PassScores) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut by: Vec<&str> = pass.groups.iter().map(|group| group.by.as_str()).collect();
    by.dedup();
    let name = |group: &Group| group.group.clone().unwrap_or_else(|| "not told".into());
    for by in by {
        let groups: Vec<&Group> = pass.groups.iter().filter(|group| group.by == by).collect();
        let bars = groups.iter().take(MOST_BARS).map(|group| (name(group), group.scores.iou)).collect();
        blocks.push(Block::Bars(Bars {
            title: format!("IoU of glacier by {by}"),
            unit: String::new(),
            bars,
            full: Some(1.0),
            decimals: 3,
        }));
        let columns = [Column::text(by), Column::number("tiles", 0)].into_iter().chain(score_columns()).collect();
        let rows = groups.iter().map(|group| {
            [Cell::text(name(group)), Cell::number(group.tiles as f64)]
                .into_iter()
                .chain(score_cells(&group.scores))
                .collect()
        });
        blocks.push(Block::Table(Table::new(format!("Scores by {by}"), columns, rows.collect())));
    }
    blocks
}

fn tile_table(pass: &PassScores) -> Table {
    let columns = ["tile", "region", "subregion"].map(Column::text).into_iter().chain(score_columns()).collect();
    let mut worst: Vec<_> = pass.tiles.iter().collect();
    worst.sort_by(|a, b| a.scores.iou.unwrap_or(2.0).total_cmp(&b.scores.iou.unwrap_or(2.0)));
    let rows = worst.iter().take(MOST_ROWS).map(|tile| {
        [&tile.tile, &tile.region, &tile.subregion]
            .map(Cell::text)
            .into_iter()
            .chain(score_cells(&tile.scores))
            .collect()
    });
    let caption = match pass.tiles.len() {
        all @ ..=MOST_ROWS => format!("Tiles, the lowest IoU first ({all} in all)"),
        all => format!("Tiles, the {MOST_ROWS} lowest IoUs of {all}; all are in tiles.csv"),
    };
    Table::new(caption, columns, rows.collect())
}

/// Makes the report of outlines against those of experts.
#[must_use]
pub fn outlines(found: &OutlineComparison, title: &str, run: &Json) -> Report {
    let lead = format!("Distances in the plane: {}; points every {} m at most", found.plane, found.spacing_m);
    let mut report = Report::new("Outlines against experts", title, lead);
    let stem = |file: &Path| file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let mut figures = Vec::new();
    for TotalDeviation { file, area_deviation_percent, absolute_deviation_percent, distances, .. } in &found.totals {
        let own = stem(file);
        // Files of one name in several folders are told by their folders.
        let is_unique = found.totals.iter().filter(|other| stem(&other.file) == own).count() < 2;
        let expert = if is_unique { own } else { file.display().to_string() };
        let percent = |value: Option<f64>| {
            value.map_or_else(|| "undefined".to_owned(), |value| format!("{} %", signed(value, 1)))
        };
        figures.push(Figure::new(
            format!("Area against {expert}"),
            percent(*area_deviation_percent),
            format!(
                "{} of the area deviates in the one or the other direction",
                or_undefined(*absolute_deviation_percent, 1, " %")
            ),
        ));
        figures.push(Figure::new(
            format!("Mean distance from {expert}"),
            or_undefined(distances.as_ref().map(|d| d.mean_m), 1, " m"),
            distances.as_ref().map_or_else(String::new, |d| format!("95 % within {:.1} m", d.percentile_95_m)),
        ));
    }
    if !found.spread.is_empty() {
        let within = found.spread.iter().filter(|row| row.distance_within).count();
        figures.push(Figure::new(
            "Within the experts' spread",
            format!("{within} of {}", found.spread.len()),
            "glaciers that several drew, by mean distance",
        ));
    }
    let mut blocks: Vec<Block> = found.crossing.iter().map(|one| Block::Note(one.describe())).collect();
    if found.apart > 0 {
        blocks.push(Block::Note(format!(
            "{} predicted outlines have the identifier of a glacier that lies elsewhere; are they the same glaciers?",
            found.apart
        )));
    }
    blocks.push(Block::Figures(figures));
    report.section("In short", blocks);
    if !found.spread.is_empty() {
        report.section("Experts among themselves", spread_blocks(&found.spread));
    }
    report.section("Glaciers", deviation_blocks(&found.glaciers, &found.totals));
    how(&mut report, run);
    report
}

fn spread_blocks(spread: &[ExpertSpread]) -> Vec<Block> {
    let columns = vec![
        Column::text("glacier"),
        Column::number("experts", 0),
        Column::number("mean distance, prediction (m)", 1),
        Column::number("mean distance, experts (m)", 1),
        Column::number("largest of the experts (m)", 1),
        Column::text("distance"),
        Column::number("area, prediction (km²)", 3),
        Column::number("area, experts (km²)", 3),
        Column::number("standard deviation (km²)", 3),
        Column::text("area"),
    ];
    let side = |within: bool| Cell::text(if within { "within" } else { "outside" });
    let rows = spread.iter().take(MOST_ROWS).map(|row| {
        vec![
            Cell::text(row.name.as_ref().unwrap_or(&row.glacier_id)),
            Cell::number(row.experts as f64),
            Cell::maybe(row.predicted_distance_m),
            Cell::number(row.expert_distance_m),
            Cell::number(row.largest_expert_distance_m),
            side(row.distance_within),
            Cell::number(row.predicted_km2),
            Cell::number(row.mean_area_km2),
            Cell::number(row.area_deviation_km2),
            side(row.area_within),
        ]
    });
    let more = match spread.len() {
        ..=MOST_ROWS => String::new(),
        all => format!(": the first {MOST_ROWS} of {all} glaciers; all are in spread.csv"),
    };
    let caption = format!("The prediction beside the spread of the experts{more}");
    vec![Block::Table(Table::new(caption, columns, rows.collect()))]
}

fn deviation_blocks(glaciers: &[GlacierDeviation], totals: &[TotalDeviation]) -> Vec<Block> {
    let name = |row: &GlacierDeviation| row.name.clone().unwrap_or_else(|| row.glacier_id.clone());
    let several = totals.len() > 1;
    let label = |row: &GlacierDeviation| if several { format!("{} ({})", name(row), row.expert) } else { name(row) };
    let mut order: Vec<&GlacierDeviation> = glaciers.iter().collect();
    order.sort_by(|a, b| b.area_deviation_km2.abs().total_cmp(&a.area_deviation_km2.abs()));
    let bars = order.iter().take(MOST_BARS).map(|row| (label(row), Some(row.area_deviation_km2))).collect();
    let title = match order.len() {
        ..=MOST_BARS => "Area deviation, the largest first".to_owned(),
        all => format!("Area deviation, the {MOST_BARS} largest of {all}"),
    };
    let bars = Bars { title, unit: "km²".into(), bars, full: None, decimals: 3 };
    let columns = [Column::number("reference", 0), Column::text("glacier")].into_iter();
    let columns = columns.chain([
        Column::number("predicted (km²)", 3),
        Column::number("reference (km²)", 3),
        Column::number("deviation (km²)", 3),
        Column::number("deviation (%)", 1),
        Column::number("mean (m)", 1),
        Column::number("median (m)", 1),
        Column::number("RMS (m)", 1),
        Column::number("95 % (m)", 1),
        Column::number("Hausdorff (m)", 1),
        Column::number("PoLiS (m)", 1),
    ]);
    let rows = order.iter().take(MOST_ROWS).map(|row| {
        let first = [
            Cell::number(row.expert as f64),
            Cell::text(name(row)),
            Cell::number(row.predicted_km2),
            Cell::number(row.reference_km2),
            Cell::number(row.area_deviation_km2),
            Cell::maybe(row.area_deviation_percent),
        ];
        let metres = row.distances.as_ref().map_or([None; 6], |distances| distances.values().map(Some));
        first.into_iter().chain(metres.map(Cell::maybe)).collect()
    });
    let caption = match order.len() {
        ..=MOST_ROWS => "Deviations glacier by glacier".to_owned(),
        all => format!(
            "Deviations glacier by glacier: the {MOST_ROWS} largest deviations of {all}; all are in glaciers.csv"
        ),
    };
    let table = Table::new(caption, columns.collect(), rows.collect());
    if glaciers.is_empty() { vec![Block::Table(table)] } else { vec![Block::Bars(bars), Block::Table(table)] }
}

/// Makes the report of gaps: evaluations held against the `first`.
#[must_use]
pub fn gaps(rows: &[GapRow], first: &Path, run: &Json) -> Report {
    let mut files: Vec<&Path> = rows.iter().map(|row| row.file.as_path()).collect();
    files.dedup();
    // Each is called evaluation.json, most of the time.
    let short = |file: &Path| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && file.ends_with("evaluation.json") => {
            folder.display().to_string()
        }
        _ => file.display().to_string(),
    };
    let lead =
        format!("{} against {}", files.iter().map(|file| short(file)).collect::<Vec<_>>().join(", "), short(first));
    let mut report = Report::new("Generalisation gaps", short(first), lead);
    let told = |input: RegionInput| match input {
        RegionInput::None => "",
        RegionInput::Known => ", told the region",
        RegionInput::Unknown => ", not told the region",
    };
    let figures = rows.iter().filter(|row| row.by == ALL).map(|row| {
        Figure::new(
            format!("Gap of {}{}", short(&row.file), told(row.region_input)),
            row.gap.map_or_else(|| "undefined".to_owned(), |gap| signed(gap, 3)),
            format!("IoU {} first, {} here", or_undefined(row.iou_in, 3, ""), or_undefined(row.iou_out, 3, "")),
        )
    });
    report.section("In short", vec![Block::Figures(figures.collect())]);
    let mut sets: Vec<(&str, RegionInput)> = Vec::new();
    for set in rows.iter().map(|row| (row.by.as_str(), row.region_input)) {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    let several = files.len() > 1;
    let label = |row: &GapRow| match (&row.group, several) {
        (Some(group), true) => format!("{group}: {}", short(&row.file)),
        (Some(group), false) => group.clone(),
        (None, _) => short(&row.file),
    };
    let mut blocks = Vec::new();
    for (by, input) in sets {
        let mut own: Vec<&GapRow> = rows.iter().filter(|row| row.by == by && row.region_input == input).collect();
        own.sort_by(|a, b| b.gap.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.gap.unwrap_or(f64::NEG_INFINITY)));
        let of = if by == ALL { "all pixels".to_owned() } else { format!("groups by {by}") };
        let most = if own.len() > MOST_BARS {
            format!("the {MOST_BARS} largest of {}", own.len())
        } else {
            "the largest first".into()
        };
        blocks.push(Block::Bars(Bars {
            title: format!("Gap of IoU, {of}{}: {most}", told(input)),
            unit: String::new(),
            bars: own.iter().take(MOST_BARS).map(|row| (label(row), row.gap)).collect(),
            full: None,
            decimals: 3,
        }));
    }
    let columns = ["evaluation", "region input", "group by", "kind", "group"].map(Column::text).into_iter();
    let columns = columns.chain(["IoU first", "IoU here", "gap"].map(|name| Column::number(name, 3)));
    let mut order: Vec<&GapRow> = rows.iter().collect();
    let caption = match order.len() {
        ..=MOST_ROWS => "Gaps: the IoU of the first evaluation less that of the other".to_owned(),
        all => {
            order.sort_by(|a, b| b.gap.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.gap.unwrap_or(f64::NEG_INFINITY)));
            format!("Gaps: the {MOST_ROWS} largest of {all}; all are in gaps.csv")
        }
    };
    let cells = order.iter().take(MOST_ROWS).map(|row| {
        let words =
            [&short(&row.file), row.region_input.name(), &row.by, &row.kind, row.group.as_deref().unwrap_or("")];
        words.into_iter().map(Cell::text).chain([row.iou_in, row.iou_out, row.gap].map(Cell::maybe)).collect()
    });
    blocks.push(Block::Table(Table::new(caption, columns.collect(), cells.collect())));
    report.section("Gaps", blocks);
    how(&mut report, run);
    report
}

fn score_figures(scores: &Scores) -> Vec<Figure> {
    let figure = |name: &str, value: Option<f64>, what: &str| Figure::new(name, or_undefined(value, 3, ""), what);
    vec![
        figure("IoU", scores.iou, "of predicted and true ice together, the part that is both"),
        figure("Precision", scores.precision, "of the predicted ice, the part that is ice"),
        figure("Recall", scores.recall, "of the ice, the part that was found"),
        figure("F1", scores.f1, "harmonic mean of the two"),
        figure("Accuracy", scores.accuracy, "of all pixels, the part that is right"),
    ]
}

fn score_columns() -> impl Iterator<Item = Column> {
    ["IoU", "F1", "precision", "recall", "accuracy"].into_iter().map(|name| Column::number(name, 3))
}

fn score_cells(scores: &Scores) -> impl Iterator<Item = Cell> {
    [scores.iou, scores.f1, scores.precision, scores.recall, scores.accuracy].into_iter().map(Cell::maybe)
}

fn reliability(report: &mut Report, diagram: Option<Diagram>) {
    if let Some(Diagram { svg, caption }) = diagram {
        report.section("Reliability of the confidence", vec![Block::Drawing { svg, caption }]);
    }
}

fn how(report: &mut Report, run: &Json) {
    report
        .how_it_was_made(vec![Block::Details { summary: "All numbers (evaluation.json)".into(), value: run.clone() }]);
}
