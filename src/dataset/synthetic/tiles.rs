//! Files of generated tiles in the published layout.

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use super::preview::{self, Colours};
use super::region::{self, Region};
use super::{SIDES, Tile, narrow, tile_seed};
use crate::atomic_file::write_atomically;
use crate::dataset::tile_writer::{TileHeader, TileWriter};
use crate::error::{Error, Result};
use crate::model::{Feature, Normalisation};
use crate::raster::quicklook::write_png;

/// The most tiles of one file.
pub const LARGEST_COUNT: usize = 100_000;
/// The most tiles on a contact sheet.
const SHOWN: usize = 132;
/// Tiles that are made at once may take this many bytes.
const MEMORY: usize = 2 << 30;

/// A file of generated tiles to be written. Tile `i` is of the region `i` modulo the number of regions and depends on nothing but `seed`
/// and `i`, its size and its region; the features decide what is written, not what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileFile {
    /// Number of tiles.
    pub tiles: usize,
    /// Another number, other tiles.
    pub seed: u64,
    /// Pixels along each side.
    pub side: usize,
    /// Names of the regions; all for none.
    pub regions: Vec<String>,
    /// What is written.
    pub features: Vec<Feature>,
    /// Whether arrays are compressed without loss. The published files are not.
    pub is_compressed: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Number of tiles.
    pub tiles: usize,
    /// Pixels along each side.
    pub size: usize,
    /// The seed.
    pub seed: u64,
    /// The arrays beside the outlines.
    pub features: Vec<Feature>,
    /// By name.
    pub regions: BTreeMap<String, RegionSummary>,
}

/// The tiles of one region.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RegionSummary {
    /// Number of tiles.
    pub tiles: usize,
    /// Part of all pixels that is glacier.
    pub glacier_share: f64,
    /// Part of the glaciers that is under debris.
    pub debris_share: f64,
    /// Part of all pixels that is lake or sea.
    pub water_share: f64,
    /// Part of all pixels in the mountains' shadow.
    pub shadow_share: f64,
    /// Part of all pixels that has no label.
    pub unlabelled_share: f64,
}

/// A tile, ready to be written.
struct Made {
    region: String,
    header: TileHeader,
    arrays: Vec<(&'static str, usize, Vec<f64>)>,
    picture: Option<[RgbImage; 2]>,
    shares: [f64; 5],
}

impl TileFile {
    /// Generates and writes the tiles to `path`, whole or not at all, and a contact sheet of the first of them to `preview`: false colours
    /// with the outlines in yellow, and true colours. `done` is called after each tile.
    ///
    /// Each group is named `<subregion>-<tile>-0`, so that names are unique within a file.
    ///
    /// # Errors
    /// No tiles or too many, a size outside [`SIDES`], an unknown region, no feature or one twice; or a file cannot be written.
    pub fn write(&self, path: &Path, preview: Option<&Path>, done: impl Fn() + Sync) -> Result<Summary> {
        let regions = self.check()?;
        let normalisation = Normalisation::default();
        let mut writer = if self.is_compressed { TileWriter::compressed(path)? } else { TileWriter::create(path)? };
        let mut pictures = Vec::new();
        let mut sums: BTreeMap<String, [f64; 6]> = BTreeMap::new();
        let tile_bytes = self.side * self.side * 8 * 60;
        let at_once = (2 * rayon::current_num_threads()).min(MEMORY / tile_bytes).max(1);
        let all: Vec<usize> = (0..self.tiles).collect();
        for batch in all.chunks(at_once) {
            let made = batch.par_iter().map(|&index| {
                let made = self.make(&regions, index, preview.is_some(), &normalisation);
                done();
                made
            });
            for made in made.collect::<Result<Vec<_>>>()? {
                let arrays: Vec<(&str, usize, &[f64])> =
                    made.arrays.iter().map(|(name, channels, values)| (*name, *channels, values.as_slice())).collect();
                writer.add(&made.header, &arrays)?;
                pictures.extend(made.picture.into_iter().flatten());
                let sum = sums.entry(made.region).or_default();
                sum[0] += 1.0;
                sum.iter_mut().skip(1).zip(made.shares).for_each(|(sum, share)| *sum += share);
            }
        }
        if let Some(preview) = preview {
            write_atomically(preview, |path| write_png(&preview::sheet(&pictures, 6), path))?;
        }
        writer.finish()?;
        let regions = sums.into_iter().map(|(name, sum)| (name, RegionSummary::of(sum))).collect();
        Ok(Summary { tiles: self.tiles, size: self.side, seed: self.seed, features: self.features.clone(), regions })
    }

    /// Checks everything before any work begins.
    fn check(&self) -> Result<Vec<Region>> {
        if self.tiles == 0 || self.tiles > LARGEST_COUNT {
            return Err(Error::bad_argument(
                format!("{} tiles", self.tiles),
                format!("1 to {LARGEST_COUNT}"),
                "choose another number",
            ));
        }
        if !SIDES.contains(&self.side) {
            return Err(Error::bad_argument(
                format!("tiles of {} x {} pixels", self.side, self.side),
                format!("{} to {} pixels each way", SIDES.start(), SIDES.end()),
                "choose another size",
            ));
        }
        if self.features.is_empty() {
            return Err(Error::bad_argument("no features", "at least one", "name some, such as optical,dem"));
        }
        if let Some(twice) = (1..self.features.len()).find(|&i| self.features[..i].contains(&self.features[i])) {
            return Err(Error::bad_argument(
                format!("feature {} twice", self.features[twice]),
                "each feature once",
                "name it once",
            ));
        }
        region::chosen(&self.regions)
    }

    fn make(&self, regions: &[Region], index: usize, has_preview: bool, normalisation: &Normalisation) -> Result<Made> {
        let region = &regions[index % regions.len()];
        let tile = Tile::generate(region, self.side, None, &self.features, tile_seed(self.seed, index as u64))?;
        let picture = (has_preview && index < SHOWN).then(|| {
            [(Colours::False, true), (Colours::True, false)]
                .map(|(colours, has_outlines)| preview::picture(&tile, colours, has_outlines))
        });
        let mut arrays: Vec<(&'static str, usize, Vec<f64>)> = self
            .features
            .iter()
            .map(|&feature| (feature.name(), feature.channels(), normalised(&tile, feature, normalisation)))
            .collect();
        arrays.push(("outlines", 2, outlines(&tile)));
        let pixels = (self.side * self.side) as f64;
        let share =
            |chosen: &dyn Fn(usize) -> bool| (0..tile.glacier.len()).filter(|i| chosen(*i)).count() as f64 / pixels;
        let debris: f64 = tile.debris.iter().zip(&tile.glacier).filter(|(_, g)| **g).map(|(d, _)| f64::from(*d)).sum();
        // Debris as a part of the tile here; of the glaciers in the summary.
        let shares = [
            tile.glacier_share(),
            debris / pixels,
            share(&|i| tile.water[i]),
            share(&|i| tile.sunlight[i] < 0.02),
            share(&|i| tile.hidden[i]),
        ];
        Ok(Made { region: region.name.clone(), header: self.header(region, &tile, index), arrays, picture, shares })
    }

    fn header(&self, region: &Region, tile: &Tile, index: usize) -> TileHeader {
        let (latitude, longitude) = tile.conditions.centre;
        let half = self.side as f64 * tile.conditions.pixel / 2.0;
        // Metres per degree on a sphere; made-up land needs no more.
        let up = half / 111_195.0;
        let along = up / libm::cos(latitude.to_radians());
        let subregion = tile.conditions.subregion.clone();
        TileHeader {
            name: format!("{subregion}-{index}-0"),
            region: region.name.clone(),
            subregion,
            height: self.side,
            width: self.side,
            original_height: self.side,
            original_width: self.side,
            padding_height: 0,
            padding_width: 0,
            xmin: longitude - along,
            xmax: longitude + along,
            ymin: latitude - up,
            ymax: latitude + up,
        }
    }
}

impl RegionSummary {
    fn of([tiles, glacier, debris, water, shadow, unlabelled]: [f64; 6]) -> Self {
        Self {
            tiles: super::cells::index(tiles),
            glacier_share: glacier / tiles,
            debris_share: if glacier > 0.0 { debris / glacier } else { 0.0 },
            water_share: water / tiles,
            shadow_share: shadow / tiles,
            unlabelled_share: unlabelled / tiles,
        }
    }
}

/// A feature as the published files hold it: min-max normalised, channels fastest.
fn normalised(tile: &Tile, feature: Feature, normalisation: &Normalisation) -> Vec<f64> {
    let channels = tile.channels(feature);
    let ranges = normalisation.of(feature);
    let is_backscatter = matches!(feature, Feature::CoPolSar | Feature::CrossPolSar);
    (0..tile.side * tile.side)
        .flat_map(|pixel| {
            channels.iter().zip(&ranges).map(move |(channel, (min, max))| {
                let raw = f64::from(channel[pixel]);
                let raw = if raw.is_nan() { 0.0 } else { raw };
                let raw = if is_backscatter { libm::log10(raw + 1e-6) } else { raw };
                // No reader computes with more digits, and fewer compress better.
                f64::from(narrow((raw - min) / (max - min)))
            })
        })
        .collect()
}

/// One-hot labels: other, glacier; neither where nobody can say.
fn outlines(tile: &Tile) -> Vec<f64> {
    let labels = tile.glacier.iter().zip(&tile.hidden);
    labels
        .flat_map(|(glacier, hidden)| match (hidden, glacier) {
            (true, _) => [0.0, 0.0],
            (false, false) => [1.0, 0.0],
            (false, true) => [0.0, 1.0],
        })
        .collect()
}
