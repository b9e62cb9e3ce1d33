//! The report of two maps, compared.

use serde_json::Value as Json;

use crate::error::Result;
use crate::evaluate::change::{Change, Row, kind};
use crate::report::bars::Bars;
use crate::report::map::MapView;
use crate::report::picture::{ClassStyle, classes_in_memory};
use crate::report::table::{Cell, Table};
use crate::report::{Block, Figure, Report};

/// Bars of the glaciers that changed most.
const MOST_BARS: usize = 20;

/// Makes the report of a change; `run` is what else is to be told of the run.
///
/// # Errors
/// A picture cannot be encoded.
pub fn report(change: &Change, title: &str, run: &Json) -> Result<Report> {
    let dates = change.dates.map_or_else(|| "two dates".to_owned(), |[a, b]| format!("{a} to {b}"));
    let years = change.years().map_or_else(String::new, |years| format!(", {years:.1} years"));
    let mut report = Report::new("Glacier change", title, format!("{dates}{years}"));
    report.section("In short", vec![Block::Figures(figures(change))]);

    let grid = change.grid();
    let style =
        |value: u8, colour, opacity, name| ClassStyle { value: f32::from(value), colour, opacity, name, is_on: true };
    let styles = [
        style(kind::NO_ICE, [150, 150, 150], 1.0, "Ground without ice"),
        style(kind::STABLE, [70, 160, 255], 0.75, "Ice at both dates"),
        style(kind::LOST, [235, 30, 30], 0.95, "Lost"),
        style(kind::GAINED, [255, 210, 0], 0.95, "Gained"),
    ];
    let map = MapView {
        size: (grid.width, grid.height),
        pixel_m: grid.ground_pixel_m(),
        layers: classes_in_memory(grid, change.kinds(), kind::UNKNOWN, &styles)?,
        caption: "Ice at both dates, lost and gained. Chequered ground has no data at one date or both.".into(),
    };
    report.section("Map", vec![Block::Map(Box::new(map))]);

    report.section("Glaciers", glaciers(change));
    report.how_it_was_made(vec![Block::Details { summary: "Inputs and settings".into(), value: run.clone() }]);
    report.sign_off();
    Ok(report)
}

fn figures(change: &Change) -> Vec<Figure> {
    let total = &change.total;
    let sure = total.change_bounds_km2().map_or_else(
        || "no uncertainty: give the calibrated confidence of both maps".to_owned(),
        |[low, high]| format!("95 % interval {low:+.2} to {high:+.2} km²"),
    );
    let percent = total.change_percent().map_or_else(|| "undefined".to_owned(), |percent| format!("{percent:+.1} %"));
    let yearly = change
        .years()
        .zip(total.change_percent())
        .map_or_else(String::new, |(years, percent)| format!("{:+.2} % a year", percent / years));
    vec![
        Figure::new("Before", format!("{:.2} km²", total.before_km2), ""),
        Figure::new("After", format!("{:.2} km²", total.after_km2), ""),
        Figure::new("Change", format!("{:+.2} km²", total.change_km2()), sure),
        Figure::new("In per cent", percent, yearly),
        Figure::new("Lost", format!("{:.2} km²", total.lost_km2), ""),
        Figure::new("Gained", format!("{:.2} km²", total.gained_km2), ""),
    ]
}

fn glaciers(change: &Change) -> Vec<Block> {
    let mut order: Vec<&Row> = change.rows.iter().collect();
    order.sort_by(|a, b| b.change_km2().abs().total_cmp(&a.change_km2().abs()));
    let name = |row: &Row| row.name.clone().unwrap_or_else(|| row.id.clone());
    let bars = order.iter().take(MOST_BARS).map(|row| (name(row), Some(row.change_km2())));
    let bars = Bars {
        title: "Change of the glaciers that changed most".into(),
        unit: "km²".into(),
        bars: bars.collect(),
        full: None,
        decimals: 3,
    };
    let (columns, rows, total) = change.table();
    let table = Table::of_values(format!("All {} glaciers", rows.len()), &columns, rows.iter().map(Vec::as_slice))
        .with_total(total.iter().map(Cell::of).collect())
        .without_empty_columns();
    if rows.is_empty() { vec![Block::Table(table)] } else { vec![Block::Bars(bars), Block::Table(table)] }
}
