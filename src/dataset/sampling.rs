//! Which tiles to take, and where in them: random and consecutive patches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dataset::noise::Random;
use crate::dataset::tile_file::{TileArray, TileFile, TileInfo, TileWindow};
use crate::error::{Error, Result};
use crate::model::{Feature, Location};

/// What pixels without a label, (0, 0), become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlabelled {
    /// They stay (0, 0): they carry no loss and count in no measure.
    #[default]
    Ignore,
    /// They become (1, 0), other ground, as the published evaluation counts them.
    Background,
}

/// What to take from the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Regions to take; empty for all.
    pub regions: Vec<String>,
    /// Subregions to take; empty for all.
    pub subregions: Vec<String>,
    /// Regions to leave out.
    pub exclude_regions: Vec<String>,
    /// Sensors to take, by the tiles' attribute `sensor`; empty for all. Tiles that do not tell theirs are left out then.
    pub sensors: Vec<String>,
    /// Sensors to leave out.
    pub exclude_sensors: Vec<String>,
    /// The features of the model, in its order. Tiles without one of them are left out.
    pub features: Vec<Feature>,
    /// Side of a patch in pixels.
    pub tile: usize,
    /// The location input of the model.
    pub location: Location,
    /// What unlabelled pixels become.
    pub unlabelled: Unlabelled,
}

impl Selection {
    /// All regions, published tile size, no location input, no loss for unlabelled pixels.
    #[must_use]
    pub fn new(features: Vec<Feature>) -> Self {
        Self {
            regions: Vec::new(),
            subregions: Vec::new(),
            exclude_regions: Vec::new(),
            sensors: Vec::new(),
            exclude_sensors: Vec::new(),
            features,
            tile: 384,
            location: Location::None,
            unlabelled: Unlabelled::Ignore,
        }
    }

    fn takes(&self, tile: &TileInfo) -> bool {
        let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        let sensor = tile.attribute("sensor");
        let is_any = |sensors: &[String]| sensor.is_some_and(|own| sensors.iter().any(|name| name == own));
        named(&self.regions, &tile.region)
            && named(&self.subregions, &tile.subregion)
            && !self.exclude_regions.contains(&tile.region)
            && (self.sensors.is_empty() || is_any(&self.sensors))
            && !is_any(&self.exclude_sensors)
    }

    /// What was asked for, in words.
    fn describe(&self) -> String {
        let parts = [
            ("", &self.regions),
            ("", &self.subregions),
            ("other than ", &self.exclude_regions),
            ("of the sensors ", &self.sensors),
            ("not of the sensors ", &self.exclude_sensors),
        ];
        let named = parts.into_iter().filter(|(_, names)| !names.is_empty());
        named.map(|(before, names)| format!("{before}{}", names.join(", "))).collect::<Vec<_>>().join(", ")
    }
}

/// A patch: where its pixels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Its tile's number in [`TileSet::tiles`].
    pub tile: usize,
    /// The first row.
    pub row: usize,
    /// The first column.
    pub col: usize,
}

/// The tiles of one or more files that pass a selection.
#[derive(Debug)]
pub struct TileSet {
    files: Vec<TileFile>,
    selection: Selection,
    tiles: Vec<TileInfo>,
    /// For each tile, its file and its number there.
    sources: Vec<(usize, usize)>,
    /// For each tile, how many consecutive patches lie in it and all tiles before.
    patches_until: Vec<usize>,
}

impl TileSet {
    /// Opens the files and chooses the tiles that have a chosen region and subregion, all features, and labels.
    ///
    /// # Errors
    /// A file that cannot be read ([`TileFile::open`]); no tile passes, with what there is; a tile is smaller than the patch or, where
    /// the model takes coordinates, has no place.
    pub fn open(files: &[PathBuf], selection: &Selection) -> Result<Self> {
        Self::from_files(files.iter().map(TileFile::open).collect::<Result<_>>()?, selection)
    }

    /// [`TileSet::open`] for open files.
    ///
    /// # Errors
    /// As [`TileSet::open`].
    pub fn from_files(files: Vec<TileFile>, selection: &Selection) -> Result<Self> {
        let side = selection.tile;
        if side == 0 || selection.features.is_empty() {
            return Err(Error::bad_argument(
                format!("patches of {side} pixels with {} features", selection.features.len()),
                "at least one pixel and one feature",
                "correct the selection",
            ));
        }
        let (mut tiles, mut sources) = (Vec::new(), Vec::new());
        for (f, file) in files.iter().enumerate() {
            for (t, tile) in file.tiles().iter().enumerate() {
                let complete = tile.labelled && selection.features.iter().all(|x| tile.features.contains(x));
                if !complete || !selection.takes(tile) {
                    continue;
                }
                if tile.height < side || tile.width < side {
                    return Err(Error::bad_file(
                        file.path(),
                        format!("tile {} of {} x {} pixels", tile.name, tile.height, tile.width),
                        format!("at least {side} x {side}"),
                        "choose a smaller patch, or leave the tile out",
                    ));
                }
                if selection.location == Location::Coordinates {
                    tile.latitude_longitude(0.0, 0.0)?;
                    tile.latitude_longitude(as_f64(tile.height), as_f64(tile.width))?;
                }
                tiles.push(tile.clone());
                sources.push((f, t));
            }
        }
        if tiles.is_empty() {
            return Err(nothing_chosen(&files, selection));
        }
        warn_of_unused_names(&tiles, selection);
        let patches_until = tiles
            .iter()
            .scan(0_usize, |sum, tile| {
                *sum += (tile.height / side) * (tile.width / side);
                Some(*sum)
            })
            .collect();
        Ok(Self { files, selection: selection.clone(), tiles, sources, patches_until })
    }

    /// The chosen tiles: files in the order given, tiles sorted by name in each.
    #[must_use]
    pub fn tiles(&self) -> &[TileInfo] {
        &self.tiles
    }

    /// What was asked for.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The regions of the chosen tiles, sorted.
    #[must_use]
    pub fn regions(&self) -> Vec<String> {
        self.tiles.iter().map(|t| t.region.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The number of consecutive patches that do not overlap.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.patches_until.last().copied().unwrap_or(0)
    }

    /// Batches of an epoch, as published: consecutive patches divided by the batch, rounded down, times 4. At least 1.
    #[must_use]
    pub fn steps_per_epoch(&self, batch: usize) -> usize {
        (self.patches() / batch.max(1)).saturating_mul(4).max(1)
    }

    /// Consecutive patch number `index`: tile by tile, row by row. Rows and columns left over at the lower and right edge belong to none.
    #[must_use]
    pub fn patch(&self, index: usize) -> Option<Patch> {
        let tile = self.patches_until.partition_point(|&until| until <= index);
        let info = self.tiles.get(tile)?;
        let before = if tile == 0 { 0 } else { self.patches_until[tile - 1] };
        let (side, across) = (self.selection.tile, info.width / self.selection.tile);
        let inside = index - before;
        Some(Patch { tile, row: inside / across * side, col: inside % across * side })
    }

    /// A random patch: a tile, each as likely, then a place in it, each as likely.
    pub(crate) fn random_patch(&self, random: &mut Random) -> Patch {
        let tile = random.below(self.tiles.len());
        let (info, side) = (&self.tiles[tile], self.selection.tile);
        Patch { tile, row: random.below(info.height - side + 1), col: random.below(info.width - side + 1) }
    }

    /// Reads one array of a patch, (side, side, channels).
    ///
    /// # Errors
    /// No such patch, or the file is damaged there.
    pub fn read(&self, patch: Patch, array: TileArray) -> Result<Vec<f32>> {
        let side = self.selection.tile;
        let window = TileWindow { row: patch.row, col: patch.col, height: side, width: side };
        let &(file, tile) = self.sources.get(patch.tile).ok_or_else(|| {
            Error::bad_argument(
                format!("tile number {}", patch.tile),
                format!("0 to {}", self.tiles.len() - 1),
                "choose a tile of the set",
            )
        })?;
        self.files[file].read_window(tile, array, window)
    }

    /// The labels of a patch, (side, side, 2): (other, glacier), with unlabelled pixels as the selection wants them.
    ///
    /// # Errors
    /// As [`TileSet::read`], or labels outside 0 to 1.
    pub fn read_target(&self, patch: Patch) -> Result<Vec<f32>> {
        let mut target = self.read(patch, TileArray::Outlines)?;
        if let Some(bad) = target.iter().find(|v| !(0.0..=1.0).contains(*v)) {
            let tile = &self.tiles[patch.tile].name;
            return Err(Error::bad_file(
                self.files[self.sources[patch.tile].0].path(),
                format!("the label {bad} in tile {tile}"),
                "labels from 0 to 1",
                "make the tile file again",
            ));
        }
        if self.selection.unlabelled == Unlabelled::Background {
            for pixel in target.as_chunks_mut::<2>().0 {
                if *pixel == [0.0, 0.0] {
                    *pixel = [1.0, 0.0];
                }
            }
        }
        Ok(target)
    }

    /// The location input of a patch, and whether it tells the region: one-hot by the region's place in the model's names, the last of which,
    /// `unknown`, also stands for regions that the model does not know; or sine and cosine of latitude and longitude (radians) of the
    /// patch's centre. Empty without a location input. Without region names it counts as told.
    ///
    /// # Errors
    /// The tile has no place in degrees.
    pub fn location(&self, patch: Patch) -> Result<(Vec<f32>, bool)> {
        let info = &self.tiles[patch.tile];
        match &self.selection.location {
            Location::None => Ok((Vec::new(), true)),
            Location::Regions(names) => {
                let last = names.len().saturating_sub(1);
                let index = names.iter().position(|name| *name == info.region).unwrap_or(last);
                Ok((one_hot(names.len(), index), index != last))
            }
            Location::Coordinates => {
                let centre = |first: usize| as_f64(first) + as_f64(self.selection.tile) / 2.0;
                let (latitude, longitude) = info.latitude_longitude(centre(patch.row), centre(patch.col))?;
                let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
                #[expect(clippy::cast_possible_truncation, reason = "the network works in f32")]
                let vector = [libm::sin(latitude), libm::cos(latitude), libm::sin(longitude), libm::cos(longitude)]
                    .map(|v| v as f32);
                Ok((vector.to_vec(), true))
            }
        }
    }
}

/// A vector of zeros with a one.
pub(crate) fn one_hot(length: usize, index: usize) -> Vec<f32> {
    (0..length).map(|i| if i == index { 1.0 } else { 0.0 }).collect()
}

#[expect(clippy::cast_precision_loss, reason = "sides of tiles are below 2^20")]
fn as_f64(pixels: usize) -> f64 {
    pixels as f64
}

/// Says which part of the selection no tile meets, and what there is.
fn nothing_chosen(files: &[TileFile], selection: &Selection) -> Error {
    let all: Vec<&TileInfo> = files.iter().flat_map(TileFile::tiles).collect();
    let counts = |names: &mut dyn Iterator<Item = String>| {
        let mut counts = BTreeMap::new();
        names.for_each(|name| *counts.entry(name).or_insert(0_usize) += 1);
        let list: Vec<_> = counts.iter().map(|(name, n)| format!("{name} ({n})")).collect();
        if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
    };
    let (found, expected, remedy) = if all.is_empty() {
        ("no tile file".to_owned(), "at least one".to_owned(), "name the tile files")
    } else if !all.iter().any(|t| selection.takes(t)) {
        let regions = counts(&mut all.iter().map(|t| t.region.clone()));
        let subregions = counts(&mut all.iter().map(|t| t.subregion.clone()));
        let by_sensor = !selection.sensors.is_empty() || !selection.exclude_sensors.is_empty();
        let sensors = if by_sensor {
            let told = all.iter().map(|t| t.attribute("sensor").unwrap_or("not told").to_owned());
            format!("; sensors {}", counts(&mut told.into_iter()))
        } else {
            String::new()
        };
        (
            format!("no tile in {}", selection.describe()),
            format!("regions (and number of tiles) {regions}; subregions {subregions}{sensors}"),
            "choose among these",
        )
    } else {
        let names: Vec<_> = selection.features.iter().map(|f| f.name()).collect();
        let there = all.iter().filter(|t| selection.takes(t)).flat_map(|t| {
            let labels = t.labelled.then(|| TileArray::Outlines.name().to_owned());
            t.features.iter().map(|f| f.name().to_owned()).chain(labels).collect::<Vec<_>>()
        });
        let there = counts(&mut there.into_iter());
        (
            format!("no tile with all of {} and outlines", names.join(", ")),
            format!("arrays (and number of tiles) {there}"),
            "choose features that the tiles have",
        )
    };
    match files {
        [file] => Error::bad_file(file.path(), found, expected, remedy),
        _ => Error::bad_argument(found, expected, remedy),
    }
}

/// A name that chooses nothing is likely a slip, but may be right: not every file has every subregion.
fn warn_of_unused_names(tiles: &[TileInfo], selection: &Selection) {
    for region in selection.regions.iter().filter(|r| !tiles.iter().any(|t| t.region == **r)) {
        tracing::warn!("no tile of region {region} is used");
    }
    for subregion in selection.subregions.iter().filter(|s| !tiles.iter().any(|t| t.subregion == **s)) {
        tracing::warn!("no tile of subregion {subregion} is used");
    }
    for sensor in selection.sensors.iter().filter(|s| !tiles.iter().any(|t| t.attribute("sensor") == Some(s))) {
        tracing::warn!("no tile of sensor {sensor} is used");
    }
}
