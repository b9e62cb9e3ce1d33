//! `log.csv` and `timing.csv`: one row per epoch.
//!
//! What is learnt and how long it took are kept apart: two runs with one seed then have the same `log.csv`, byte for byte.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file::StagedFiles;
use crate::error::Result;
use crate::evaluate::table::csv_of;

/// File name of the log.
pub const LOG: &str = "log.csv";
/// File name of the times.
pub const TIMING: &str = "timing.csv";

/// Means over the steps of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// All that is minimised.
    pub total: f64,
    /// The deep-supervision head's part, weighted.
    pub deep_supervision: f64,
    /// The output head's part.
    pub output: f64,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Validation {
    /// The loss, without label smoothing.
    pub losses: Losses,
    /// IoU of glacier over all labelled pixels; none where there is no glacier and none was found.
    pub iou: Option<f64>,
    /// IoU where the region was given, for models with a region vector.
    pub iou_known: Option<f64>,
    /// IoU where the region was `unknown`, for models with a region vector.
    pub iou_unknown: Option<f64>,
    /// IoU per region.
    pub regions: Vec<(String, Option<f64>)>,
}

/// What is known at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Steps since the beginning.
    pub steps: u64,
    /// The rate of the epoch's first step.
    pub learning_rate: f64,
    /// Losses of the training patches, labels smoothed, while the weights were changing.
    pub train: Losses,
    /// IoU of the training patches.
    pub train_iou: Option<f64>,
    /// What validation found.
    pub validation: Validation,
    /// Time that the training steps took. Not in the log.
    pub training_seconds: f64,
    /// Time that validation took. Not in the log.
    pub validation_seconds: f64,
    /// Patches learnt from per second. Not in the log.
    pub samples_per_second: f64,
}

/// Writes both files of all epochs so far.
///
/// They are written whole: after an interruption they never hold half a row, or rows of epochs that are computed again.
///
/// # Errors
/// The folder cannot be written.
pub fn write_logs(folder: &Path, rows: &[EpochRow], has_regions: bool) -> Result<()> {
    let mut staged = StagedFiles::new();
    staged.stage_bytes(folder.join(LOG), log(rows, has_regions).as_bytes())?;
    staged.stage_bytes(folder.join(TIMING), timing(rows).as_bytes())?;
    staged.publish()
}

/// Numbers have the shortest form that reads back as the same number. What does not exist is an empty field.
fn log(rows: &[EpochRow], has_regions: bool) -> String {
    let mut names: Vec<String> = [
        "epoch",
        "steps",
        "learning_rate",
        "train_loss",
        "train_loss_deep_supervision",
        "train_loss_output",
        "train_iou",
        "validation_loss",
        "validation_loss_deep_supervision",
        "validation_loss_output",
        "validation_iou",
    ]
    .map(str::to_owned)
    .to_vec();
    if has_regions {
        names.extend(["validation_iou_known", "validation_iou_unknown"].map(str::to_owned));
    }
    let regions = rows.first().into_iter().flat_map(|row| &row.validation.regions);
    names.extend(regions.map(|(region, _)| format!("validation_iou_{region}")));
    let or_empty = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    let records = rows.iter().map(|row| {
        let (train, validation) = (&row.train, &row.validation);
        let mut fields = vec![row.epoch.to_string(), row.steps.to_string(), row.learning_rate.to_string()];
        fields.extend([train.total, train.deep_supervision, train.output].map(|v| v.to_string()));
        fields.push(or_empty(row.train_iou));
        let losses = &validation.losses;
        fields.extend([losses.total, losses.deep_supervision, losses.output].map(|v| v.to_string()));
        fields.push(or_empty(validation.iou));
        if has_regions {
            fields.extend([validation.iou_known, validation.iou_unknown].map(or_empty));
        }
        fields.extend(validation.regions.iter().map(|(_, iou)| or_empty(*iou)));
        fields
    });
    csv_of(std::iter::once(names).chain(records))
}

fn timing(rows: &[EpochRow]) -> String {
    let mut text = "epoch,training_seconds,validation_seconds,samples_per_second\n".to_owned();
    for row in rows {
        let _ = writeln!(
            text,
            "{},{:.3},{:.3},{:.3}",
            row.epoch, row.training_seconds, row.validation_seconds, row.samples_per_second
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_gaps() {
        let row = EpochRow {
            epoch: 1,
            steps: 12,
            learning_rate: 5e-4,
            train: Losses { total: 0.1 + 0.2, deep_supervision: 0.1, output: 0.2 },
            train_iou: Some(0.5),
            validation: Validation {
                losses: Losses { total: 1e-7, deep_supervision: 0.0, output: 1e-7 },
                iou: None,
                iou_known: Some(0.25),
                iou_unknown: None,
                regions: vec![("ALP".into(), Some(0.75)), ("A,\"B\"".into(), None)],
            },
            training_seconds: 1.23456,
            validation_seconds: 0.5,
            samples_per_second: 77.0,
        };
        let folder = tempfile::tempdir().expect("a folder");
        write_logs(folder.path(), &[row.clone(), row], true).expect("written");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).expect("there");
        let text = read(LOG);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let tail = ",validation_iou,validation_iou_known,validation_iou_unknown,validation_iou_ALP,\"validation_iou_A,\"\"B\"\"\"";
        assert!(lines[0].ends_with(tail), "{}", lines[0]);
        assert_eq!(lines[1], "1,12,0.0005,0.30000000000000004,0.1,0.2,0.5,0.0000001,0,0.0000001,,0.25,,0.75,");
        assert_eq!(lines[1], lines[2]);
        assert_eq!(read(TIMING).lines().nth(1), Some("1,1.235,0.500,77.000"));
        assert!(log(&[], false).ends_with("validation_iou\n"));
    }
}
