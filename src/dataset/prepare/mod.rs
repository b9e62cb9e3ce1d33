//! Scenes and outlines made into tiles to train on.
//!
//! Scenes are read as for mapping ([`crate::infer::scene`]), cut into tiles ([`Cut`]), labelled with the polygons of an inventory, given a region
//! ([`Regions`]) and dealt out to training, validation and test ([`Split`]). One tile is in memory at a time, and a row of tiles of labels: scenes may be
//! of any size.

mod output;
pub(crate) mod region;
mod sheet;
mod split;
pub(crate) mod tile;
mod tiling;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use output::TileFormat;
pub use region::{RegionName, RegionPolygons, RegionTable, Regions};
pub use split::{Block, Part, Shares, Split};
pub use tile::Counts;
pub use tiling::Cut;

use crate::atomic_file::StagedFiles;
use crate::dataset::tile_folder::edges_in_degrees;
use crate::error::{Error, Result};
use crate::infer::scene::{Scene, SceneFiles};
use crate::model::{Feature, Normalisation};
use crate::raster::quicklook::write_png;
use crate::raster::{Crs, Grid, PixelShapes, Shapes, Window};
use output::Output;
use sheet::Sheet;
use split::Dealer;
use tile::Tile;

/// The file that says what went where.
pub const REPORT: &str = "prepare.json";
/// The picture of the tiles.
pub const SHEET: &str = "contact_sheet.png";

/// A scene to be cut into tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneToPrepare {
    /// Its name.
    pub id: String,
    /// Its rasters.
    pub files: SceneFiles,
    /// The region of all its tiles, where it is told.
    pub region: Option<String>,
    /// What all its tiles say beside that, such as `sensor` and `date`.
    pub attributes: BTreeMap<String, String>,
}

/// Polygons that label pixels.
#[derive(Debug)]
pub struct Labels<'a> {
    /// Glaciers.
    pub inventory: &'a [Shapes],
    /// Where nothing is known.
    pub ignored: &'a [Shapes],
    /// Stands in for CRSs that are not known.
    pub assumed_crs: Option<&'a Crs>,
}

/// How tiles are made.
#[derive(Debug)]
pub struct Settings {
    /// How scenes are cut.
    pub cut: Cut,
    /// How tiles are dealt out.
    pub split: Split,
    /// Where regions come from.
    pub regions: Regions,
    /// Tiles with less glacier than this part of their labelled pixels are left out.
    pub min_glacier: f64,
    /// The statistics that normalise the rasters.
    pub normalisation: Normalisation,
    /// What is written.
    pub format: TileFormat,
}

impl Settings {
    /// Refuses what no scene can have.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<()> {
        self.cut.check()?;
        self.split.check()?;
        self.normalisation.validate()?;
        if !(0.0..=1.0).contains(&self.min_glacier) {
            let found = format!("--min-glacier {}", self.min_glacier);
            return Err(Error::bad_argument(found, "a part from 0 to 1", "give 0.01 for one pixel in a hundred, say"));
        }
        Ok(())
    }
}

/// What became of all scenes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each scene.
    pub scenes: Vec<SceneReport>,
    /// Each file that has tiles.
    pub files: BTreeMap<Part, FileReport>,
    /// Each tile.
    pub tiles: Vec<TileReport>,
}

/// What became of a scene.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SceneReport {
    /// Its name.
    pub id: String,
    /// Its features.
    pub features: Vec<Feature>,
    /// Rows and columns.
    pub size: [usize; 2],
    /// Tiles that were written.
    pub tiles: usize,
    /// Tiles in which no pixel has data in every raster, or all that have are to be ignored.
    pub without_labels: usize,
    /// Tiles with less glacier than asked for.
    pub with_little_glacier: usize,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    /// The file or folder.
    pub path: PathBuf,
    /// All of it.
    #[serde(flatten)]
    pub all: Balance,
    /// By region.
    pub regions: BTreeMap<String, Balance>,
}

/// How many tiles there are, and what is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Balance {
    /// Number of tiles.
    pub tiles: usize,
    /// Pixels by label.
    pub pixels: Counts,
    /// The part of the labelled pixels that is glacier.
    pub glacier_share: f64,
}

impl Balance {
    fn add(&mut self, pixels: Counts) {
        self.tiles += 1;
        self.pixels.add(pixels);
        self.glacier_share = self.pixels.glacier_share();
    }
}

/// Where a tile comes from and went to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TileReport {
    /// Its name.
    pub name: String,
    /// The scene.
    pub scene: String,
    /// Its file.
    pub part: Part,
    /// Its region.
    pub region: String,
    /// Its subregion.
    pub subregion: String,
    /// Row and column of its first pixel in the scene, rows and columns without padding.
    pub window: [usize; 4],
    /// West, east, south and north in degrees.
    pub edges: [f64; 4],
    /// Its block, where tiles are dealt out in blocks.
    pub block: Option<Block>,
    /// Pixels by label.
    pub pixels: Counts,
}

/// Opens a scene's rasters, given the features it has files for.
pub type OpenScene<'a> = dyn Fn(&SceneFiles, &[Feature]) -> Result<Scene> + 'a;
/// Told of tiles looked at and tiles known of; an error ends the work.
pub type Progress<'a> = dyn FnMut(usize, usize) -> Result<()> + 'a;

/// Makes tiles of all scenes in `folder`, which exists: the tile files, [`SHEET`] and [`REPORT`], the latter with what `about` says of the run in front.
/// All appear at the end, or none.
///
/// # Errors
/// A setting that cannot be, a scene that cannot be opened or read, an inventory that covers no pixel of any scene, no tile at all, a folder that cannot be
/// written, or what `progress` returns.
pub fn prepare(
    scenes: &[SceneToPrepare],
    labels: &Labels<'_>,
    settings: &Settings,
    folder: &Path,
    about: &serde_json::Value,
    open: &OpenScene<'_>,
    progress: &mut Progress<'_>,
) -> Result<Report> {
    settings.check()?;
    let mut work = Work {
        labels,
        settings,
        output: Output::new(folder, settings.format)?,
        dealer: Dealer::new(settings.split),
        sheet: Sheet::new(),
        report: Report { scenes: Vec::new(), files: BTreeMap::new(), tiles: Vec::new() },
        first_row: 0,
        has_glaciers: false,
        looked_at: 0,
        known: 0,
    };
    for scene in scenes {
        work.scene(scene, scenes.len() == 1, open, progress)?;
    }
    work.finish(folder, about)
}

/// The state of a run.
struct Work<'a> {
    labels: &'a Labels<'a>,
    settings: &'a Settings,
    output: Output,
    dealer: Dealer,
    sheet: Sheet,
    report: Report,
    /// The number of the next row of tiles: rows count on from scene to scene, so that names are unique.
    first_row: usize,
    /// Whether the inventory covers a pixel of any scene so far.
    has_glaciers: bool,
    looked_at: usize,
    known: usize,
}

/// A scene and its polygons on one grid.
struct Ground<'a> {
    scene: Scene,
    /// The scene's, with a CRS that is known.
    grid: Grid,
    features: &'a [Feature],
    inventory: Vec<PixelShapes>,
    ignored: Vec<PixelShapes>,
}

impl Work<'_> {
    fn scene(
        &mut self,
        given: &SceneToPrepare,
        is_only: bool,
        open: &OpenScene<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let features = given.files.features();
        if features.is_empty() {
            let remedy = "give --optical and --elevation, say";
            return Err(Error::bad_argument(
                format!("no rasters for the scene {}", given.id),
                "those of a scene",
                remedy,
            ));
        }
        let scene = open(&given.files, &features)?;
        let grid = known_grid(&scene, given, self.labels.assumed_crs)?;
        let on_grid = |files: &[Shapes]| {
            files.iter().map(|shapes| shapes.on_grid(&grid, self.labels.assumed_crs)).collect::<Result<Vec<_>>>()
        };
        let (inventory, ignored) = (on_grid(self.labels.inventory)?, on_grid(self.labels.ignored)?);
        let ground = Ground { scene, grid, features: &features, inventory, ignored };
        if ground.has_glacier(self.settings.cut.side) {
            self.has_glaciers = true;
        } else if is_only {
            return Err(self.no_glaciers());
        } else {
            tracing::warn!("{}: no polygon of the inventory covers the centre of a pixel", given.id);
        }
        let (rows, cols) = (self.settings.cut.parts(ground.grid.height), self.settings.cut.parts(ground.grid.width));
        self.known += rows.len() * cols.len();
        self.report.scenes.push(SceneReport {
            id: given.id.clone(),
            features: features.clone(),
            size: [ground.grid.height, ground.grid.width],
            tiles: 0,
            without_labels: 0,
            with_little_glacier: 0,
        });
        for (number, &(row, height)) in rows.iter().enumerate() {
            let glacier = burnt(&ground.inventory, ground.grid.width, row, height)?;
            let hidden = burnt(&ground.ignored, ground.grid.width, row, height)?;
            for (column, &(col, width)) in cols.iter().enumerate() {
                progress(self.looked_at, self.known)?;
                self.looked_at += 1;
                let window = Window { row, col, height, width };
                let part = |mask: &[bool]| {
                    let lines = mask.chunks_exact(ground.grid.width);
                    lines.flat_map(|line| line.iter().skip(col).take(width)).copied().collect::<Vec<bool>>()
                };
                let read = ground.scene.read(window)?;
                let tile = Tile::new(&read, ground.features, &part(&glacier), &part(&hidden));
                self.tile(given, &ground, &tile, (self.first_row + number, column))?;
            }
        }
        self.first_row += rows.len();
        progress(self.looked_at, self.known)
    }

    /// Writes a tile, or leaves it out.
    fn tile(
        &mut self,
        given: &SceneToPrepare,
        ground: &Ground<'_>,
        tile: &Tile,
        (row, column): (usize, usize),
    ) -> Result<()> {
        let Some(scene) = self.report.scenes.last_mut() else { return Ok(()) };
        let pixels = tile.counts;
        if tile.valid == 0 || pixels.glacier + pixels.other == 0 {
            scene.without_labels += 1;
            return Ok(());
        }
        if pixels.glacier_share() < self.settings.min_glacier {
            scene.with_little_glacier += 1;
            return Ok(());
        }
        scene.tiles += 1;
        let grid = ground.grid.part(tile.window);
        let edges = edges_in_degrees(&grid)?;
        let (longitude, latitude) = (f64::midpoint(edges[0], edges[1]), f64::midpoint(edges[2], edges[3]));
        let name = match &given.region {
            Some(region) => RegionName { region: region.clone(), subregion: region.clone() },
            None => self.settings.regions.of(longitude, latitude),
        };
        let (part, block) = self.dealer.deal(longitude, latitude);
        // A folder may be called so.
        let plain: String = name
            .subregion
            .chars()
            .map(|c| if c.is_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
            .collect();
        let tile_name = format!("{plain}-{row}-{column}");
        let header =
            tile.header(tile_name.clone(), name.region.clone(), name.subregion.clone(), edges, &self.settings.cut);
        self.output.add(part, tile, (&header, &given.attributes), &grid, &self.settings.normalisation)?;
        self.sheet.add(part, tile, &self.settings.cut);
        let path = self.output.target(part);
        let file = self.report.files.entry(part).or_insert_with(|| FileReport {
            path,
            all: Balance::default(),
            regions: BTreeMap::new(),
        });
        file.all.add(pixels);
        file.regions.entry(name.region.clone()).or_default().add(pixels);
        let Window { row, col, height, width } = tile.window;
        self.report.tiles.push(TileReport {
            name: tile_name,
            scene: given.id.clone(),
            part,
            region: name.region,
            subregion: name.subregion,
            window: [row, col, height, width],
            edges,
            block,
            pixels,
        });
        Ok(())
    }

    /// The inventory is of another place.
    fn no_glaciers(&self) -> Error {
        let found = "no polygon that covers the centre of a pixel of the scene";
        let remedy = "check the place and the CRS of polygons and rasters";
        let expected = "an inventory that overlaps it";
        match self.labels.inventory.first() {
            Some(shapes) => Error::bad_file(shapes.path(), found, expected, remedy),
            None => Error::bad_argument("no inventory", expected, "give --inventory"),
        }
    }

    fn finish(self, folder: &Path, about: &serde_json::Value) -> Result<Report> {
        if !self.has_glaciers {
            return Err(self.no_glaciers());
        }
        if self.report.tiles.is_empty() {
            let sum = |count: fn(&SceneReport) -> usize| self.report.scenes.iter().map(count).sum::<usize>();
            let found = format!(
                "no tile to write: {} without labelled pixels, {} with too little glacier",
                sum(|scene| scene.without_labels),
                sum(|scene| scene.with_little_glacier)
            );
            let remedy = "give a lower --min-glacier, or rasters that have data in common";
            return Err(Error::bad_argument(found, "at least one tile", remedy));
        }
        for (part, share) in Part::ALL.into_iter().zip(self.settings.split.shares.0) {
            if share > 0.0 && !self.report.files.contains_key(&part) {
                tracing::warn!("too few tiles or blocks: none for {}, which is not written", part.name());
            }
        }
        let unknown = self.report.tiles.iter().filter(|tile| tile.region == region::UNKNOWN).count();
        if unknown > 0 {
            tracing::warn!("{unknown} tiles lie in no region of the table and are called unknown; give --region");
        }
        let mut text = about.clone();
        if let (Some(object), Ok(serde_json::Value::Object(report))) =
            (text.as_object_mut(), serde_json::to_value(&self.report))
        {
            object.extend(report);
        }
        let mut staged = StagedFiles::new();
        staged.stage_bytes(folder.join(REPORT), format!("{text:#}\n").as_bytes())?;
        let sheet = self.sheet.draw();
        staged.stage(folder.join(SHEET), |path| write_png(&sheet, path))?;
        self.output.publish(staged)?;
        Ok(self.report)
    }
}

impl Report {
    /// The regions of all files, sorted.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<&str> {
        self.files.values().flat_map(|file| file.regions.keys()).map(String::as_str).collect()
    }
}

impl Ground<'_> {
    /// Whether the inventory covers the centre of a pixel.
    fn has_glacier(&self, rows: usize) -> bool {
        let rows = rows.max(1);
        (0..self.grid.height).step_by(rows).any(|row| {
            let height = rows.min(self.grid.height - row);
            burnt(&self.inventory, self.grid.width, row, height).is_ok_and(|mask| mask.contains(&true))
        })
    }
}

/// Which pixels of some whole rows have their centre in a polygon.
fn burnt(shapes: &[PixelShapes], width: usize, row: usize, height: usize) -> Result<Vec<bool>> {
    let mut mask = Vec::new();
    mask.try_reserve_exact(width * height).map_err(|_| {
        let found = format!("{height} rows of {width} pixels");
        Error::bad_argument(found, "a row of tiles that fits into memory", "give a smaller --tile-size")
    })?;
    mask.resize(width * height, false);
    shapes.iter().for_each(|shapes| shapes.burn_rows(row, &mut mask));
    Ok(mask)
}

/// The scene's grid with a CRS that is known: tiles must have a place in degrees.
fn known_grid(scene: &Scene, given: &SceneToPrepare, assumed: Option<&Crs>) -> Result<Grid> {
    let crs = scene.grid().crs.as_ref().filter(|crs| !crs.proj.is_empty()).or(assumed);
    match (crs, given.files.all().next()) {
        (Some(crs), _) => Ok(Grid { crs: Some(crs.clone()), ..scene.grid().clone() }),
        (None, Some(path)) => Err(Error::bad_file(
            path,
            "a CRS whose definition is not known",
            "one that places tiles on the Earth",
            "give --assume-crs EPSG:CODE, or gdal_edit.py -a_srs EPSG:CODE",
        )),
        (None, None) => Err(Error::bad_argument("no rasters", "those of a scene", "give them")),
    }
}
