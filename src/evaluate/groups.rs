//! Scores of a model on tile files: by tile, and by whatever tiles have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset::sampling::{Patch, TileSet, Unlabelled};
use crate::dataset::tile_file::TileInfo;
use crate::error::{Error, Result};
use crate::evaluate::confusion::Confusion;
use crate::evaluate::tile_pass::PatchPrediction;

/// Attributes that tell a date or a year, the usual one first.
const DATES: [&str; 5] = ["year", "date", "acquisition_date", "acq_date", "src_date"];

/// Counts and the scores made of them; see [`crate::evaluate::confusion`] for the formulas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The counts.
    pub confusion: Confusion,
    /// The part of all pixels that has the right class.
    pub accuracy: Option<f64>,
    /// The part of the predicted glaciers that is glacier.
    pub precision: Option<f64>,
    /// The part of the glaciers that was predicted.
    pub recall: Option<f64>,
    /// The harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// Intersection over union of the glaciers.
    pub iou: Option<f64>,
}

impl From<Confusion> for Scores {
    fn from(c: Confusion) -> Self {
        Self {
            confusion: c,
            accuracy: c.accuracy(),
            precision: c.precision(),
            recall: c.recall(),
            f1: c.f1(),
            iou: c.iou(),
        }
    }
}

/// What tiles are grouped by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupBy {
    /// The region.
    Region,
    /// The subregion.
    Subregion,
    /// The year: the attribute `year`, or the first four digits of `date`, `acquisition_date`, `acq_date` or `src_date`.
    Year,
    /// An attribute of the tiles, such as `sensor`, whatever the case of its name.
    Attribute(String),
}

impl FromStr for GroupBy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "" => {
                let expected = "region, subregion, sensor, year or an attribute of the tiles";
                return Err(Error::bad_argument("an empty name to group by", expected, "name one"));
            }
            "region" => Self::Region,
            "subregion" => Self::Subregion,
            "year" => Self::Year,
            other => Self::Attribute(other.to_owned()),
        })
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Region => "region",
            Self::Subregion => "subregion",
            Self::Year => "year",
            Self::Attribute(name) => name,
        })
    }
}

impl GroupBy {
    /// The group of a tile; `None` where it does not tell.
    #[must_use]
    pub fn of(&self, tile: &TileInfo) -> Option<String> {
        match self {
            Self::Region => Some(tile.region.clone()),
            Self::Subregion => Some(tile.subregion.clone()),
            Self::Year => DATES.iter().find_map(|name| year_of(tile.attribute(name)?)),
            Self::Attribute(name) => tile.attribute(name).map(str::to_owned),
        }
    }

    /// What kind of generalisation a gap between such groups is: `spatial`, `temporal`, `cross-sensor` or `other`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Region | Self::Subregion => "spatial",
            Self::Year => "temporal",
            Self::Attribute(name) if name.eq_ignore_ascii_case("sensor") => "cross-sensor",
            Self::Attribute(name) if DATES.iter().any(|date| name.eq_ignore_ascii_case(date)) => "temporal",
            Self::Attribute(_) => "other",
        }
    }
}

/// The year at the beginning of a date.
fn year_of(date: &str) -> Option<String> {
    let year = date.get(..4)?;
    let ends = date[4..].chars().next().is_none_or(|c| !c.is_ascii_digit() || date.len() == 8);
    (year.bytes().all(|b| b.is_ascii_digit()) && ends).then(|| year.to_owned())
}

/// What the model was told of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionInput {
    /// It takes no region.
    None,
    /// The tile's region.
    Known,
    /// That the region is unknown; also for a region that the model does not know.
    Unknown,
}

impl RegionInput {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// The scores of one tile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TileScores {
    /// Its name.
    pub tile: String,
    /// Its region.
    pub region: String,
    /// Its subregion.
    pub subregion: String,
    /// What else the file says of it.
    pub attributes: BTreeMap<String, String>,
    /// Its scores.
    pub scores: Scores,
}

/// The scores of all tiles of a group, pixels counted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What it is grouped by.
    pub by: String,
    /// The group; `None` for tiles that do not tell.
    pub group: Option<String>,
    /// Its tiles.
    pub tiles: usize,
    /// Its scores.
    pub scores: Scores,
}

/// The IoU of groups as the published results give that of regions: their mean, each group counting once, and the sample standard deviation
/// (divided by n - 1). Groups without any glacier have no IoU and do not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMean {
    /// What is grouped by.
    pub by: String,
    /// Groups that count.
    pub groups: usize,
    /// Their mean IoU.
    pub mean_iou: Option<f64>,
    /// The sample standard deviation; from two groups on.
    pub standard_deviation: Option<f64>,
}

/// Groups that were seen in training against those that were not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// What is grouped by.
    pub by: String,
    /// `spatial`, `temporal`, `cross-sensor` or `other`.
    pub kind: String,
    /// Groups that were seen.
    pub seen: GapSide,
    /// Groups that were not.
    pub unseen: GapSide,
    /// Mean IoU of the seen groups less that of the unseen ones.
    pub gap: Option<f64>,
}

/// One side of a [`Gap`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapSide {
    /// The groups.
    pub groups: Vec<String>,
    /// Mean IoU, each group counting once.
    pub mean_iou: Option<f64>,
    /// Scores of all pixels together.
    pub scores: Scores,
}

/// What a model was trained on, as `region=ALP,SC`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedOn {
    /// What the groups are.
    pub by: GroupBy,
    /// Those it was trained on.
    pub groups: BTreeSet<String>,
}

impl FromStr for TrainedOn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            let expected = "what was seen in training, as region=ALP,SC or sensor=Sentinel-2";
            Error::bad_argument(format!("'{text}'"), expected, "write NAME=VALUE,VALUE,...")
        };
        let (by, groups) = text.split_once('=').ok_or_else(refuse)?;
        let groups: BTreeSet<String> =
            groups.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        if groups.is_empty() || by.trim().is_empty() {
            return Err(refuse());
        }
        Ok(Self { by: by.parse()?, groups })
    }
}

/// All scores of one way to run the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassScores {
    /// What the model was told of the region.
    pub region_input: RegionInput,
    /// All pixels together.
    pub overall: Scores,
    /// Means over groups, one for each thing that is grouped by.
    pub means: Vec<GroupMean>,
    /// Seen against unseen groups, where it is known what the model was trained on.
    pub gaps: Vec<Gap>,
    /// The groups.
    pub groups: Vec<Group>,
    /// The tiles.
    pub tiles: Vec<TileScores>,
}

/// The scores of a model on tile files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TileEvaluation {
    /// What became of pixels without a label.
    pub unlabelled: Unlabelled,
    /// Pixels without a label, each once; they are counted as other under [`Unlabelled::Background`].
    pub unlabelled_pixels: u64,
    /// Tiles.
    pub tiles: usize,
    /// Patches that were computed; rows and columns of a tile that fill no patch are left over.
    pub patches: usize,
    /// The side of a patch in pixels.
    pub patch_side: usize,
    /// One, or two for a model that takes regions: told the region, and not told.
    pub passes: Vec<PassScores>,
}

/// Counts predictions tile by tile, as they come.
#[derive(Debug)]
pub struct TileCounter {
    has_regions: bool,
    /// By what the model was told, then by tile.
    counts: BTreeMap<RegionInput, Vec<Confusion>>,
    unlabelled_pixels: u64,
    last: Option<(Patch, bool)>,
}

impl TileCounter {
    /// Nothing counted yet. `has_regions` is whether the model takes a region vector.
    #[must_use]
    pub fn new(has_regions: bool) -> Self {
        Self { has_regions, counts: BTreeMap::new(), unlabelled_pixels: 0, last: None }
    }

    /// Counts a patch of `tiles` tiles.
    ///
    /// # Errors
    /// Probabilities and labels differ in number.
    pub fn add(&mut self, tiles: usize, patch: &PatchPrediction<'_>) -> Result<()> {
        let is_new = self.last.is_none_or(|(last, _)| last != patch.patch);
        // A region that the model does not know comes as unknown both times.
        if self.last.replace((patch.patch, patch.location_known)) == Some((patch.patch, patch.location_known)) {
            return Ok(());
        }
        let mut counts = Confusion::default();
        counts.add_labelled(patch.probabilities, patch.target)?;
        if is_new {
            self.unlabelled_pixels += (patch.target.len() / 2) as u64 - counts.total();
        }
        let told = match (self.has_regions, patch.location_known) {
            (false, _) => RegionInput::None,
            (true, true) => RegionInput::Known,
            (true, false) => RegionInput::Unknown,
        };
        let of_tiles = self.counts.entry(told).or_insert_with(|| vec![Confusion::default(); tiles]);
        if let Some(own) = of_tiles.get_mut(patch.patch.tile) {
            own.merge(&counts);
        }
        Ok(())
    }

    /// Finds out whether [`TileCounter::finish`] will succeed, before anything is computed.
    ///
    /// # Errors
    /// As [`TileCounter::finish`].
    pub fn check(tiles: &TileSet, group_by: &[GroupBy], trained_on: &[TrainedOn]) -> Result<()> {
        let counts = vec![Confusion::default(); tiles.tiles().len()];
        let counter = Self { counts: BTreeMap::from([(RegionInput::None, counts)]), ..Self::new(false) };
        counter.finish(tiles, group_by, trained_on).map(drop)
    }

    /// The scores. `trained_on` are groups of which the model has learnt.
    ///
    /// # Errors
    /// No tile tells what is grouped by, or none of the groups that the model was trained on, or all, are there.
    pub fn finish(&self, tiles: &TileSet, group_by: &[GroupBy], trained_on: &[TrainedOn]) -> Result<TileEvaluation> {
        let infos = tiles.tiles();
        let mut wanted: Vec<&GroupBy> = Vec::new();
        for by in group_by.iter().chain(trained_on.iter().map(|trained| &trained.by)) {
            check_told(by, infos)?;
            if !wanted.contains(&by) {
                wanted.push(by);
            }
        }
        let passes = self.counts.iter().map(|(told, counts)| pass_scores(*told, infos, counts, &wanted, trained_on));
        Ok(TileEvaluation {
            unlabelled: tiles.selection().unlabelled,
            unlabelled_pixels: self.unlabelled_pixels,
            tiles: infos.len(),
            patches: tiles.patches(),
            patch_side: tiles.selection().tile,
            passes: passes.collect::<Result<_>>()?,
        })
    }
}

fn check_told(by: &GroupBy, tiles: &[TileInfo]) -> Result<()> {
    if tiles.iter().any(|tile| by.of(tile).is_some()) {
        return Ok(());
    }
    let names: BTreeSet<&str> = tiles.iter().flat_map(|tile| tile.attributes.keys()).map(String::as_str).collect();
    let list: Vec<&str> = ["region", "subregion"].into_iter().chain(names).collect();
    Err(Error::bad_argument(
        format!("no tile that tells its {by}"),
        format!("one of {}", list.join(", ")),
        "choose another --group-by, or add the attribute to the tile files",
    ))
}

fn pass_scores(
    region_input: RegionInput,
    infos: &[TileInfo],
    counts: &[Confusion],
    wanted: &[&GroupBy],
    trained_on: &[TrainedOn],
) -> Result<PassScores> {
    let (mut groups, mut means, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for by in wanted {
        let mut own: BTreeMap<Option<String>, (usize, Confusion)> = BTreeMap::new();
        for (tile, counts) in infos.iter().zip(counts) {
            let (tiles, sum) = own.entry(by.of(tile)).or_default();
            *tiles += 1;
            sum.merge(counts);
        }
        let own: Vec<Group> = own
            .into_iter()
            .map(|(group, (tiles, counts))| Group { by: by.to_string(), group, tiles, scores: counts.into() })
            .collect();
        means.push(group_mean(by, &own));
        for trained in trained_on.iter().filter(|trained| trained.by == **by) {
            gaps.push(gap(trained, &own)?);
        }
        groups.extend(own);
    }
    let tiles = infos.iter().zip(counts).map(|(tile, counts)| TileScores {
        tile: tile.name.clone(),
        region: tile.region.clone(),
        subregion: tile.subregion.clone(),
        attributes: tile.attributes.clone(),
        scores: (*counts).into(),
    });
    let overall = counts.iter().copied().sum::<Confusion>().into();
    Ok(PassScores { region_input, overall, means, gaps, groups, tiles: tiles.collect() })
}

fn group_mean(by: &GroupBy, groups: &[Group]) -> GroupMean {
    let ious: Vec<f64> = groups.iter().filter(|g| g.group.is_some()).filter_map(|group| group.scores.iou).collect();
    let (mean_iou, standard_deviation) = mean_and_deviation(&ious);
    GroupMean { by: by.to_string(), groups: ious.len(), mean_iou, standard_deviation }
}

/// The mean, and the sample standard deviation of two values or more.
#[must_use]
pub fn mean_and_deviation(values: &[f64]) -> (Option<f64>, Option<f64>) {
    #[expect(clippy::cast_precision_loss, reason = "few values")]
    let n = values.len() as f64;
    if values.is_empty() {
        return (None, None);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (Some(mean), (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

fn gap(trained: &TrainedOn, groups: &[Group]) -> Result<Gap> {
    let side = |is_seen: bool| {
        let own: Vec<(&String, &Group)> = groups
            .iter()
            .filter_map(|group| Some((group.group.as_ref()?, group)))
            .filter(|(name, _)| trained.groups.contains(*name) == is_seen)
            .collect();
        let ious: Vec<f64> = own.iter().filter_map(|(_, group)| group.scores.iou).collect();
        GapSide {
            groups: own.iter().map(|(name, _)| (*name).clone()).collect(),
            mean_iou: mean_and_deviation(&ious).0,
            scores: own.iter().map(|(_, group)| group.scores.confusion).sum::<Confusion>().into(),
        }
    };
    let (seen, unseen) = (side(true), side(false));
    if seen.groups.is_empty() || unseen.groups.is_empty() {
        let there: Vec<&str> = groups.iter().filter_map(|group| group.group.as_deref()).collect();
        let which = if seen.groups.is_empty() { "seen" } else { "unseen" };
        return Err(Error::bad_argument(
            format!("no {which} {} among {}", trained.by, there.join(", ")),
            "tiles of both kinds, for the gap between them",
            "correct --trained-on, or give tile files of both kinds",
        ));
    }
    Ok(Gap {
        by: trained.by.to_string(),
        kind: trained.by.kind().to_owned(),
        gap: seen.mean_iou.zip(unseen.mean_iou).map(|(seen, unseen)| seen - unseen),
        seen,
        unseen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years() {
        assert_eq!(year_of("2016-08-03").as_deref(), Some("2016"));
        assert_eq!(year_of("20160803").as_deref(), Some("2016"));
        assert_eq!(year_of("2016").as_deref(), Some("2016"));
        for none in ["", "16", "August 2016", "20161", "äöü1"] {
            assert_eq!(year_of(none), None, "{none}");
        }
    }

    #[test]
    fn names() {
        assert_eq!("sensor".parse::<GroupBy>().expect("a name").kind(), "cross-sensor");
        assert_eq!("region".parse::<GroupBy>().expect("a name"), GroupBy::Region);
        assert_eq!("date".parse::<GroupBy>().expect("a name").kind(), "temporal");
        assert!("".parse::<GroupBy>().is_err());
        let trained = "region=ALP, SC".parse::<TrainedOn>().expect("two regions");
        assert_eq!(trained.groups.into_iter().collect::<Vec<_>>(), ["ALP", "SC"]);
        for none in ["region", "region=", "=ALP", "region=,"] {
            assert!(none.parse::<TrainedOn>().is_err(), "{none}");
        }
    }

    #[test]
    fn deviation_of_a_sample() {
        assert_eq!(mean_and_deviation(&[]), (None, None));
        assert_eq!(mean_and_deviation(&[0.5]), (Some(0.5), None));
        let (mean, deviation) = mean_and_deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(mean, Some(5.0));
        assert!(deviation.is_some_and(|d| (d - (32.0_f64 / 7.0).sqrt()).abs() < 1e-15));
    }

    #[test]
    fn seen_against_unseen() {
        let group = |name: &str, tp, fp| Group {
            by: "region".into(),
            group: Some(name.into()),
            tiles: 1,
            scores: Confusion { tp, fp, fn_: 0, tn: 0 }.into(),
        };
        let groups = [group("ALP", 9, 1), group("HMA", 6, 4), group("SC", 7, 3)];
        let trained = "region=ALP,SC".parse().expect("two regions");
        let found = gap(&trained, &groups).expect("both kinds");
        assert!(found.gap.is_some_and(|gap| (gap - 0.2).abs() < 1e-15));
        assert_eq!((found.seen.scores.iou, found.kind.as_str()), (Some(0.8), "spatial"));
        assert!(gap(&"region=ALP,SC,HMA".parse().expect("all"), &groups).is_err());
        assert!(gap(&"region=NZ".parse().expect("none"), &groups).is_err());
    }
}
