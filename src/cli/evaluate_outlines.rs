//! `glavitu evaluate --distances`: outlines against those of experts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::cli::evaluate::{REPORT, check_folder};
use crate::cli::output_file::write_folder;
use crate::cli::print_line;
use crate::evaluate::distance::Distances;
use crate::evaluate::experts::{Files, Matching, OutlineComparison};
use crate::evaluate::table::{csv_of, fixed, signed};
use crate::raster::Crs;
use crate::report::{REPORT_FILE, evaluated};

/// Output files.
const FILES: [&str; 4] = [REPORT, "glaciers.csv", "spread.csv", REPORT_FILE];
/// Longer tables are for files.
const MOST_ROWS: usize = 30;

/// What is compared.
#[derive(Debug)]
pub(super) struct OutlineJob<'a> {
    pub(super) predicted: &'a Path,
    pub(super) references: &'a [PathBuf],
    pub(super) id_column: Option<&'a str>,
    pub(super) assumed_crs: Option<&'a Crs>,
    pub(super) spacing: f64,
    pub(super) output: Option<&'a Path>,
    pub(super) report: bool,
    pub(super) as_json: bool,
}

/// Compares outlines.
///
/// # Errors
/// Files that cannot be read or do not belong together, or a folder that cannot be written; nothing is written then.
pub(super) fn run(job: &OutlineJob<'_>) -> Result<()> {
    if let Some(folder) = job.output {
        let read: Vec<&Path> = job.references.iter().map(PathBuf::as_path).chain([job.predicted]).collect();
        check_folder(folder, &FILES[..3 + usize::from(job.report)], &read)?;
    }
    let found = OutlineComparison::new(&Files {
        predicted: job.predicted,
        references: job.references,
        id_column: job.id_column,
        assumed_crs: job.assumed_crs,
        spacing: job.spacing,
    })?;
    let report = report(job, &found)?;
    if let Some(folder) = job.output {
        write_folder(folder, |staged| {
            staged.stage_bytes(folder.join(FILES[0]), format!("{report:#}\n").as_bytes())?;
            staged.stage_bytes(folder.join(FILES[1]), glaciers_csv(&found).as_bytes())?;
            if job.report {
                let page = evaluated::outlines(&found, &job.predicted.display().to_string(), &report).html();
                staged.stage_bytes(folder.join(REPORT_FILE), page.as_bytes())?;
            }
            if job.references.len() < 2 {
                // One of an earlier run would be taken for a part of this.
                staged.remove(folder.join(FILES[2]));
                return Ok(());
            }
            staged.stage_bytes(folder.join(FILES[2]), spread_csv(&found).as_bytes())
        })?;
    }
    if job.as_json {
        return print_line(format_args!("{report:#}"));
    }
    print(job, &found)
}

fn report(job: &OutlineJob<'_>, found: &OutlineComparison) -> Result<Value> {
    let mut report = json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "kind": "outlines",
        "predicted": { "file": job.predicted },
        "references": job.references,
    });
    if let (Value::Object(report), Value::Object(numbers)) = (&mut report, serde_json::to_value(found)?) {
        report.extend(numbers);
    }
    Ok(report)
}

/// The names of the distances, in files and in tables.
const DISTANCES: [(&str, &str); 6] = [
    ("mean_m", "mean"),
    ("median_m", "median"),
    ("rms_m", "RMS"),
    ("percentile_95_m", "95 %"),
    ("hausdorff_m", "largest"),
    ("polis_m", "PoLiS"),
];

fn values(distances: Option<&Distances>) -> [Option<f64>; 6] {
    distances.map_or([None; 6], |distances| distances.values().map(Some))
}

fn print(job: &OutlineJob<'_>, found: &OutlineComparison) -> Result<()> {
    let metres = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| fixed(value, 1));
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{} %", signed(value, 1)));
    let area = |value: f64| fixed(value, 3);
    let mut table = Table::new();
    let mut names = ["reference", "glacier", "predicted km2", "reference km2", "deviation"].map(str::to_owned).to_vec();
    names.extend(DISTANCES.iter().map(|(_, name)| format!("{name} m")));
    let columns = names.len();
    table.load_style(UTF8_FULL_CONDENSED).set_header(names);
    if found.glaciers.len() <= MOST_ROWS {
        for row in &found.glaciers {
            let label =
                row.name.as_ref().map_or_else(|| row.glacier_id.clone(), |name| format!("{} {name}", row.glacier_id));
            let mut cells = vec![row.expert.to_string(), label, area(row.predicted_km2), area(row.reference_km2)];
            cells.push(percent(row.area_deviation_percent));
            cells.extend(values(row.distances.as_ref()).map(metres));
            table.add_row(cells);
        }
    }
    for row in &found.totals {
        let label = format!("{} of {} together", row.predicted_glaciers, row.glaciers);
        let mut cells = vec![row.expert.to_string(), label, area(row.predicted_km2), area(row.reference_km2)];
        cells.push(percent(row.area_deviation_percent));
        cells.extend(values(row.distances.as_ref()).map(metres));
        table.add_row(cells);
    }
    for column in 2..columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    print_line(table)?;
    if found.glaciers.len() > MOST_ROWS {
        let rows = found.glaciers.len();
        print_line(format_args!("The {rows} rows of the single glaciers are {}.", place(job, FILES[1])))?;
    }
    for row in &found.totals {
        let share =
            row.absolute_deviation_percent.map_or_else(|| "-".to_owned(), |share| format!("{} %", fixed(share, 1)));
        print_line(format_args!(
            "Reference {} ({}): absolute area deviation {} km2 ({share}) summed over the glaciers.",
            row.expert,
            row.file.display(),
            fixed(row.absolute_deviation_km2, 3),
        ))?;
    }
    if !found.spread.is_empty() {
        let within = found.spread.iter().filter(|row| row.distance_within).count();
        let areas = found.spread.iter().filter(|row| row.area_within).count();
        print_line(format_args!(
            "Within the spread of the experts: distance {within}, area {areas} of {} glaciers that several drew.",
            found.spread.len()
        ))?;
        for row in found.spread.iter().take(MOST_ROWS) {
            let side = |within: bool| if within { "within" } else { "outside" };
            print_line(format_args!(
                "  {}: mean distance {} m ({}), experts {:.1} m, at most {:.1} m; area {:.3} km2 ({}), experts {:.3} +- {:.3} km2",
                row.glacier_id,
                metres(row.predicted_distance_m),
                side(row.distance_within),
                row.expert_distance_m,
                row.largest_expert_distance_m,
                row.predicted_km2,
                side(row.area_within),
                row.mean_area_km2,
                row.area_deviation_km2,
            ))?;
        }
        if let Some(more @ 1..) = found.spread.len().checked_sub(MOST_ROWS) {
            print_line(format_args!("  {more} more are {}.", place(job, FILES[2])))?;
        }
    }
    if found.apart > 0 {
        print_line(format_args!(
            "{} predicted outlines have the identifier of a glacier that lies elsewhere; are they the same glaciers?",
            found.apart
        ))?;
    }
    if found.unmatched_outlines > 0 {
        print_line(format_args!(
            "{} predicted outlines ({:.3} km2) belong to no glacier of the reference.",
            found.unmatched_outlines, found.unmatched_km2
        ))?;
    }
    if !found.not_whole.is_empty() {
        print_line(format_args!("{} glaciers are left out: the map does not show them whole.", found.not_whole.len()))?;
    }
    let how = match found.matching {
        Matching::Identifier => "by identifier",
        Matching::Overlap => "by the ground they share",
    };
    print_line(format_args!(
        "Glaciers were matched {how}. Distances in the plane: {}; points every {} m at most.",
        found.plane, found.spacing_m
    ))?;
    match job.output {
        Some(folder) => print_line(format_args!("See {}", folder.join(FILES[1]).display())),
        None => Ok(()),
    }
}

/// Where rows are that the terminal does not show.
fn place(job: &OutlineJob<'_>, name: &str) -> String {
    match job.output {
        Some(folder) => format!("in {}", folder.join(name).display()),
        None => format!("left out here; -o FOLDER writes all to {name}"),
    }
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn glaciers_csv(found: &OutlineComparison) -> String {
    let first = [
        "reference",
        "glacier_id",
        "name",
        "predicted_km2",
        "reference_km2",
        "area_deviation_km2",
        "absolute_area_deviation_km2",
        "area_deviation_percent",
    ];
    let names = first.into_iter().chain(DISTANCES.map(|(name, _)| name)).map(str::to_owned).collect();
    let fields = |areas: [f64; 3], percent: Option<f64>, distances: Option<&Distances>| {
        let [predicted, reference, deviation] = areas;
        let areas = [predicted, reference, deviation, deviation.abs()].map(|area| area.to_string());
        areas.into_iter().chain([number(percent)]).chain(values(distances).map(number)).collect::<Vec<_>>()
    };
    let rows = found.glaciers.iter().map(|row| {
        let mut cells = vec![row.expert.to_string(), row.glacier_id.clone(), row.name.clone().unwrap_or_default()];
        let areas = [row.predicted_km2, row.reference_km2, row.area_deviation_km2];
        cells.extend(fields(areas, row.area_deviation_percent, row.distances.as_ref()));
        cells
    });
    csv_of(std::iter::once(names).chain(rows))
}

fn spread_csv(found: &OutlineComparison) -> String {
    let names = [
        "glacier_id",
        "name",
        "experts",
        "mean_area_km2",
        "area_standard_deviation_km2",
        "least_area_km2",
        "largest_area_km2",
        "expert_distance_m",
        "largest_expert_distance_m",
        "predicted_km2",
        "predicted_distance_m",
        "distance_within",
        "area_within",
    ];
    let rows = found.spread.iter().map(|row| {
        vec![
            row.glacier_id.clone(),
            row.name.clone().unwrap_or_default(),
            row.experts.to_string(),
            row.mean_area_km2.to_string(),
            row.area_deviation_km2.to_string(),
            row.least_area_km2.to_string(),
            row.largest_area_km2.to_string(),
            row.expert_distance_m.to_string(),
            row.largest_expert_distance_m.to_string(),
            row.predicted_km2.to_string(),
            number(row.predicted_distance_m),
            row.distance_within.to_string(),
            row.area_within.to_string(),
        ]
    });
    csv_of(std::iter::once(names.map(str::to_owned).to_vec()).chain(rows))
}
