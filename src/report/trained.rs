//! The report of a training run.

use serde_json::json;

use crate::report::bars::Bars;
use crate::report::table::{Cell, Column, Table};
use crate::report::{Block, Figure, Report, or_undefined};
use crate::train::curves;
use crate::train::log_file::EpochRow;
use crate::train::run::Summary;

/// Makes the report of a run. `settings` is its configuration, as TOML.
#[must_use]
pub fn report(title: &str, settings: &str, summary: &Summary) -> Report {
    let outlook = &summary.outlook;
    let lead = format!(
        "{} parameters, {} training tiles, {} validation tiles, {}",
        outlook.parameters, outlook.train_tiles, outlook.validation_tiles, outlook.device
    );
    let mut report = Report::new("Training run", title, lead);
    let seconds: f64 = summary.rows.iter().map(|row| row.training_seconds + row.validation_seconds).sum();
    let best =
        |best: Option<crate::train::checkpoint::Best>| best.map_or_else(String::new, |b| format!("epoch {}", b.epoch));
    report.section(
        "In short",
        vec![Block::Figures(vec![
            Figure::new(
                "Best validation IoU",
                or_undefined(summary.best_iou.map(|b| b.value), 4, ""),
                best(summary.best_iou),
            ),
            Figure::new(
                "Lowest validation loss",
                or_undefined(summary.best_loss.map(|b| b.value), 5, ""),
                best(summary.best_loss),
            ),
            Figure::new("Epochs", summary.epochs.to_string(), format!("{} steps", summary.steps)),
            Figure::new("Time", duration(seconds), "training and validation"),
        ])],
    );
    report.section(
        "Curves",
        vec![Block::Drawing {
            svg: curves::draw(&summary.rows),
            caption: "Loss, IoU of glacier and learning rate over the epochs, in training and validation".into(),
        }],
    );
    let chosen = summary.best_iou.and_then(|best| summary.rows.iter().find(|row| row.epoch == best.epoch));
    if let Some(row) = chosen.filter(|row| !row.validation.regions.is_empty()) {
        report.section("Regions", vec![regions(row)]);
    }
    report.section("Epochs", vec![Block::Table(epochs(&summary.rows))]);
    report.how_it_was_made(vec![
        Block::Text("All settings; glavitu train --config takes them:".into()),
        Block::Code(settings.to_owned()),
        Block::Details { summary: "What there was to train with".into(), value: json!(outlook) },
    ]);
    report
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 60.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.1} s"),
    }
}

fn regions(row: &EpochRow) -> Block {
    Block::Bars(Bars {
        title: format!("Validation IoU of glacier by region, epoch {}", row.epoch),
        unit: String::new(),
        bars: row.validation.regions.clone(),
        full: Some(1.0),
        decimals: 3,
    })
}

fn epochs(rows: &[EpochRow]) -> Table {
    let columns = vec![
        Column::number("epoch", 0),
        Column::number("learning rate", 6),
        Column::number("training loss", 5),
        Column::number("validation loss", 5),
        Column::number("training IoU", 4),
        Column::number("validation IoU", 4),
        Column::number("samples a second", 1),
    ];
    let cells = |row: &EpochRow| {
        vec![
            Cell::number(row.epoch as f64),
            Cell::number(row.learning_rate),
            Cell::number(row.train.total),
            Cell::number(row.validation.losses.total),
            Cell::maybe(row.train_iou),
            Cell::maybe(row.validation.iou),
            Cell::number(row.samples_per_second),
        ]
    };
    Table::new("All epochs", columns, rows.iter().map(cells).collect())
}
