//! Generalisation gaps between evaluations: how much worse a model is where, when or with what it was not trained.
//!
//! The first evaluation is the one that counts as known ground, the others are held against it. Two uses:
//!
//! - One model on two sets of tiles: what it was trained for, and something else. The rows `all` are the gap.
//! - Two models on the same tiles, the second trained without a region (or sensor): the row of that region is the gap.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::evaluate::groups::{GroupBy, PassScores, RegionInput};
use crate::model::arrays::read_file;

/// A larger evaluation file is none.
const LARGEST_FILE: u64 = 1 << 30;

/// What `by` is in rows of all pixels together.
pub const ALL: &str = "all";

/// An IoU in both evaluations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapRow {
    /// The evaluation that is held against the first.
    pub file: PathBuf,
    /// What the model was told of the region; `none` for scenes.
    pub region_input: RegionInput,
    /// What is grouped by, `all` for all pixels together.
    pub by: String,
    /// `spatial`, `temporal`, `cross-sensor` or `other`.
    pub kind: String,
    /// The group; `None` for all pixels together.
    pub group: Option<String>,
    /// IoU in the first evaluation.
    pub iou_in: Option<f64>,
    /// IoU in this one; `None` where it has no such group.
    pub iou_out: Option<f64>,
    /// The first less this one.
    pub gap: Option<f64>,
}

/// An IoU of an evaluation.
struct Entry {
    region_input: RegionInput,
    by: String,
    group: Option<String>,
    iou: Option<f64>,
}

/// Holds every further evaluation against the first. Groups that only one of the two has are left out.
///
/// # Errors
/// A file cannot be read or is no `evaluation.json`, or there are fewer than two.
pub fn compare(files: &[PathBuf]) -> Result<Vec<GapRow>> {
    let Some((first, others)) = files.split_first().filter(|(_, others)| !others.is_empty()) else {
        let expected = "at least two: known ground first, then what is held against it";
        return Err(Error::bad_argument(format!("{} evaluations", files.len()), expected, "name more files"));
    };
    let known = read(first)?;
    let mut rows = Vec::new();
    for file in others {
        for other in read(file)? {
            let same =
                |own: &&Entry| own.region_input == other.region_input && own.by == other.by && own.group == other.group;
            let Some(own) = known.iter().find(same) else { continue };
            rows.push(GapRow {
                file: file.clone(),
                region_input: other.region_input,
                kind: other.by.parse::<GroupBy>().map_or("other", |by| by.kind()).to_owned(),
                by: other.by,
                group: other.group,
                iou_in: own.iou,
                iou_out: other.iou,
                gap: own.iou.zip(other.iou).map(|(own, other)| own - other),
            });
        }
    }
    if rows.is_empty() {
        return Err(Error::bad_argument(
            "evaluations that have nothing in common",
            "the same kind of model in all, so that IoUs belong together",
            "make them with the same --group-by, of models that both take regions or both do not",
        ));
    }
    Ok(rows)
}

fn read(path: &Path) -> Result<Vec<Entry>> {
    let wrong = |found: String| {
        let remedy = "make one with `glavitu evaluate -o FOLDER` or with --json";
        Error::bad_file(path, found, "an evaluation.json of glavitu", remedy)
    };
    let file: Json = serde_json::from_slice(&read_file(path, LARGEST_FILE)?).map_err(|e| wrong(e.to_string()))?;
    let Some(passes) = file.get("passes") else {
        let Some(iou) = file.get("iou").filter(|_| file.get("confusion").is_some()) else {
            return Err(wrong("JSON without scores".into()));
        };
        return Ok(vec![Entry { region_input: RegionInput::None, by: ALL.into(), group: None, iou: iou.as_f64() }]);
    };
    let passes = Vec::<PassScores>::deserialize(passes).map_err(|e| wrong(e.to_string()))?;
    let mut entries = Vec::new();
    for pass in passes {
        let region_input = pass.region_input;
        entries.push(Entry { region_input, by: ALL.into(), group: None, iou: pass.overall.iou });
        let groups = pass.groups.into_iter().filter(|group| group.group.is_some());
        entries.extend(groups.map(|g| Entry { region_input, by: g.by, group: g.group, iou: g.scores.iou }));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    #[test]
    fn scenes_have_one_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = |iou: &str| format!(r#"{{"iou": {iou}, "confusion": {{"tp": 1, "fp": 0, "fn": 0, "tn": 0}}}}"#);
        let a = scene(folder.path(), "a.json", &text("0.75"));
        let b = scene(folder.path(), "b.json", &text("0.5"));
        let rows = compare(&[a.clone(), b]).expect("two evaluations");
        assert_eq!((rows.len(), rows[0].gap, rows[0].by.as_str()), (1, Some(0.25), ALL));
        let none = scene(folder.path(), "none.json", &text("null"));
        assert_eq!(compare(&[a.clone(), none]).expect("two evaluations")[0].gap, None);
        for bad in ["", "[]", "{}", r#"{"passes": 3}"#, r#"{"iou": 0.5}"#] {
            let bad = scene(folder.path(), "bad.json", bad);
            assert!(compare(&[a.clone(), bad]).is_err());
        }
        assert!(compare(&[a]).is_err());
    }
}
