//! `glavitu prepare`: scenes and outlines to tiles to train on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::atomic_file::check_replaceable;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_writable;
use crate::cli::print_line;
use crate::cli::scene_args::SceneArgs;
use crate::dataset::prepare::{
    Balance, Cut, Labels, Part, REPORT, RegionName, RegionPolygons, RegionTable, Regions, Report, SHEET,
    SceneToPrepare, Settings, Shares, Split, TileFormat, prepare,
};
use crate::dataset::tile_folder::read_statistics;
use crate::error::Error;
use crate::infer::manifest::{is_date, read_manifest};
use crate::model::Normalisation;
use crate::raster::shapes::{Features, Format};
use crate::raster::{Crs, Shapes};

/// Make tiles to train on from scenes and glacier outlines.
///
/// Scenes are read as `glavitu predict` reads them, and cut into tiles. Pixels with their centre in a polygon of the inventory are glacier, others other ground;
/// pixels that lack data in any raster or lie in polygons of --ignore have no label. Tiles without labels are left out.
///
/// Writes to the output folder: train.hdf5, validation.hdf5 and test.hdf5 in the published layout, which `glavitu train` reads; contact_sheet.png (the tiles
/// with their outlines, framed by file); and prepare.json (settings, every tile, glacier pixels by file and region). All appear at the end, or none.
///
/// With --format geotiff the tiles are folders instead: train/NAME/optical.tif, dem.tif, ..., outlines.tif (1 glacier, 0 other, 255 no label) and tile.json,
/// in physical values and without padding, for any GIS. `glavitu train --train FOLDER/train` normalises and pads them as it reads.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Regions: without an option, the first-order region of RGI 7 at the tile's centre, from a table of approximate boxes, under the name that the published models
know (ALP, AN, AWA, CA, GR, HMA, LL, NZ, SA, SC, SVAL; others RGI03, ...), with the RGI code as subregion. RGI codes in --region-attribute become these names, too.

Splits: tile by tile neighbours go to different files, and a model is judged by ground next to what it has seen. --split-blocks 25 gives whole blocks of 25 km
to one file.

Examples:
  glavitu prepare --optical scene.tif --elevation dem.tif --inventory rgi.shp -o tiles
  glavitu prepare --optical B02.tif B03.tif B04.tif B05.tif B06.tif B07.tif --elevation dem.tif --inventory rgi.gpkg \\
      --region ALP --split 0.8,0.2,0 --split-blocks 10 -o tiles
  glavitu prepare --manifest scenes.csv --inventory rgi.gpkg --ignore clouds.geojson --region-attribute o1region \\
      --subregion-attribute o2region --min-glacier 0.01 --compress -o tiles
  glavitu prepare --optical scene.tif --elevation dem.tif --inventory rgi.shp --format geotiff -o tiles
  glavitu train --train tiles/train.hdf5 --validation tiles/validation.hdf5 -o run

A manifest is a list of scenes as for `glavitu predict`; its column `output` is not needed, and `region`, `date` and `sensor` count more than the options.")]
pub struct PrepareArgs {
    #[command(flatten)]
    scene: SceneArgs,
    /// Many scenes instead of one: a CSV or JSON (see `glavitu predict --help`)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["optical", "elevation", "slope", "co_pol_sar", "cross_pol_sar", "in_sar", "thermal"])]
    manifest: Option<PathBuf>,
    /// Glacier outlines: Shapefile, GeoPackage, GeoJSON or FlatGeobuf, in any CRS
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, value_hint = ValueHint::FilePath)]
    inventory: Vec<PathBuf>,
    /// Polygons in which nothing is known: no label there
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    ignore: Vec<PathBuf>,
    /// Side of a stored tile, padding included; 768 holds four patches of 384 pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 768)]
    tile_size: usize,
    /// Pixels of 0 around each tile, at the least; smaller tiles are filled up with more
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    padding: usize,
    /// Pixels that neighbouring tiles have in common
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    overlap: usize,
    /// The region of all tiles
    #[arg(long, value_name = "NAME", conflicts_with_all = ["region_attribute", "region_layer"])]
    region: Option<String>,
    /// The subregion of all tiles; the region if not given
    #[arg(long, value_name = "NAME", requires = "region")]
    subregion: Option<String>,
    /// The region is this attribute of the polygon at the tile's centre or nearest to it, of --region-layer or else of the inventory
    #[arg(long, value_name = "COLUMN")]
    region_attribute: Option<String>,
    /// The subregion likewise; as the region's attribute if not given
    #[arg(long, value_name = "COLUMN", requires = "region_attribute")]
    subregion_attribute: Option<String>,
    /// When the scene was taken; the tiles get it as an attribute, by which `glavitu evaluate --group-by year` groups
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,
    /// What took the scene, such as "Landsat 8"; the tiles get it as an attribute
    #[arg(long, value_name = "NAME")]
    sensor: Option<String>,
    /// Polygons of regions
    #[arg(long, value_name = "FILE", requires = "region_attribute", value_hint = ValueHint::FilePath)]
    region_layer: Option<PathBuf>,
    /// Shares of training, validation and test
    #[arg(long, value_name = "SHARES", default_value = "0.7,0.15,0.15", allow_hyphen_values = true)]
    split: Shares,
    /// Split by blocks of this size instead of by tiles
    #[arg(long, value_name = "KM", allow_negative_numbers = true)]
    split_blocks: Option<f64>,
    /// Another number, another split
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave out tiles with less glacier than this part of their labelled pixels
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    min_glacier: f64,
    /// Normalise with these statistics instead of the published ones (JSON as datasets/normalisation.json)
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    statistics: Option<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value = "hdf5")]
    format: FormatOption,
    /// Compress HDF5 files without loss; the published files are not compressed
    #[arg(long)]
    compress: bool,
    /// Print prepare.json to standard output
    #[arg(long)]
    json: bool,
    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

/// The value of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatOption {
    /// Three files in the published layout
    Hdf5,
    /// Three folders with a folder of GeoTIFFs for each tile
    Geotiff,
}

/// Set by Ctrl-C; looked at between tiles.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu prepare`.
///
/// # Errors
/// Options or files that do not fit, a folder that cannot be written, or Ctrl-C; nothing is written then.
pub fn run(args: &PrepareArgs) -> Result<()> {
    // A second Ctrl-C ends the program at once.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    check_outputs(args)?;
    let assumed = args.scene.assume_crs.as_deref().map(parse_crs).transpose()?;
    let settings = settings(args, assumed.as_ref())?;
    settings.check()?;
    if args.overlap > 0 && args.split_blocks.is_none() {
        tracing::warn!(
            "tiles overlap, so that files of the split have ground in common; give --split-blocks to keep most of it apart"
        );
    }
    let scenes = scenes(args)?;
    let (inventory, ignored) = (polygons(&args.inventory)?, polygons(&args.ignore)?);
    let labels = Labels { inventory: &inventory, ignored: &ignored, assumed_crs: assumed.as_ref() };
    let about = about(args, &settings);

    let is_new = !args.output.exists();
    fs::create_dir_all(&args.output).map_err(|e| Error::io("create", &args.output, e))?;
    let bar = progress_bar();
    let result = prepare(
        &scenes,
        &labels,
        &settings,
        &args.output,
        &about,
        &|files, features| args.scene.with_files(files.clone()).open(features),
        &mut |done, known| {
            bar.set_length(known as u64);
            bar.set_position(done as u64);
            if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
        },
    );
    bar.finish_and_clear();
    if result.is_err() && is_new {
        // Only an empty folder can be removed so.
        let _ = fs::remove_dir(&args.output);
    }
    let report = result?;
    if args.json {
        let path = args.output.join(REPORT);
        let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        return print_line(text.trim_end());
    }
    print_line(table(&report))?;
    print_line(summary(&report, &args.output))
}

/// Refuses outputs that cannot be, and one that would replace an input.
fn check_outputs(args: &PrepareArgs) -> Result<(), Error> {
    check_writable(&args.output)?;
    if args.compress && args.format == FormatOption::Geotiff {
        let remedy = "leave --compress out: GeoTIFFs are always compressed";
        return Err(Error::bad_argument("--compress with --format geotiff", "--compress for HDF5 files", remedy));
    }
    let inputs: Vec<PathBuf> = args
        .inventory
        .iter()
        .chain(&args.ignore)
        .chain(&args.region_layer)
        .chain(&args.statistics)
        .chain(&args.manifest)
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    for name in [REPORT, SHEET, "train.hdf5", "validation.hdf5", "test.hdf5"] {
        let output = args.output.join(name);
        check_replaceable(&output)?;
        if output.canonicalize().is_ok_and(|output| inputs.contains(&output)) {
            let remedy = "choose another folder";
            return Err(Error::bad_file(output, "a file that is read", "another file to write", remedy));
        }
    }
    Ok(())
}

fn settings(args: &PrepareArgs, assumed: Option<&Crs>) -> Result<Settings, Error> {
    let normalisation = match &args.statistics {
        Some(path) => read_statistics(path)?,
        None => Normalisation::default(),
    };
    if normalisation != Normalisation::default() {
        tracing::warn!(
            "models trained on these tiles by `glavitu train` name the published statistics, not those of --statistics"
        );
    }
    Ok(Settings {
        cut: Cut { side: args.tile_size, padding: args.padding, overlap: args.overlap },
        split: Split { shares: args.split, blocks_km: args.split_blocks, seed: args.seed },
        regions: regions(args, assumed)?,
        min_glacier: args.min_glacier,
        normalisation,
        format: match args.format {
            FormatOption::Hdf5 => TileFormat::Hdf5 { is_compressed: args.compress },
            FormatOption::Geotiff => TileFormat::GeoTiff,
        },
    })
}

fn regions(args: &PrepareArgs, assumed: Option<&Crs>) -> Result<Regions, Error> {
    if let Some(region) = &args.region {
        let subregion = args.subregion.as_ref().unwrap_or(region);
        if region.is_empty() || subregion.is_empty() {
            return Err(Error::bad_argument("an empty name of a region", "a name", "give --region ALP, say"));
        }
        return Ok(Regions::Named(RegionName { region: region.clone(), subregion: subregion.clone() }));
    }
    let Some(column) = &args.region_attribute else { return Ok(Regions::Table(RegionTable::default())) };
    let files = args.region_layer.as_ref().map_or(args.inventory.as_slice(), std::slice::from_ref);
    let features = files.iter().map(|path| Features::open(path)).collect::<Result<Vec<_>, _>>()?;
    RegionPolygons::new(&features, column, args.subregion_attribute.as_deref(), assumed).map(Regions::Polygons)
}

fn scenes(args: &PrepareArgs) -> Result<Vec<SceneToPrepare>, Error> {
    if let Some(date) = args.date.as_deref().filter(|date| !is_date(date)) {
        return Err(Error::bad_argument(format!("--date {date}"), "a day as YYYY-MM-DD", "correct the date"));
    }
    // What the manifest tells counts more.
    let attributes = |date: Option<String>, sensor: Option<String>| -> BTreeMap<String, String> {
        let told = [("date", date.or(args.date.clone())), ("sensor", sensor.or(args.sensor.clone()))];
        told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    };
    match &args.manifest {
        None => Ok(vec![SceneToPrepare {
            id: "scene".into(),
            files: args.scene.files(),
            region: None,
            attributes: attributes(None, None),
        }]),
        Some(manifest) => Ok(read_manifest(manifest)?
            .into_iter()
            .map(|scene| SceneToPrepare {
                id: scene.id,
                files: scene.files,
                region: scene.region,
                attributes: attributes(scene.date, scene.sensor),
            })
            .collect()),
    }
}

fn polygons(paths: &[PathBuf]) -> Result<Vec<Shapes>, Error> {
    let read = |path: &PathBuf| match Format::detect(path)? {
        Some(format) => Shapes::read(path, format),
        None => Err(Error::bad_file(
            path,
            "none of the formats it may have",
            "polygons in a Shapefile (.shp), GeoPackage, GeoJSON or FlatGeobuf",
            "convert it with ogr2ogr",
        )),
    };
    paths.iter().map(read).collect()
}

/// What the report says of the run.
fn about(args: &PrepareArgs, settings: &Settings) -> Value {
    let mut settings = json!({
        "scene": args.scene.settings(),
        "manifest": args.manifest,
        "inventory": args.inventory,
        "ignore": args.ignore,
        "tile_size": args.tile_size,
        "padding": args.padding,
        "overlap": args.overlap,
        "region": args.region,
        "subregion": args.subregion,
        "region_attribute": args.region_attribute,
        "subregion_attribute": args.subregion_attribute,
        "region_layer": args.region_layer,
        "split": settings.split.shares,
        "split_blocks_km": args.split_blocks,
        "seed": args.seed,
        "min_glacier": args.min_glacier,
        "format": if args.format == FormatOption::Hdf5 { "hdf5" } else { "geotiff" },
        "statistics": settings.normalisation,
    });
    if args.manifest.is_none() {
        settings["files"] = args.scene.files().all().map(|path| json!(path)).collect();
    }
    json!({ "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")), "settings": settings })
}

/// Tiles and class balance of each file, and of each region in it where there are several.
fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["", "region", "tiles", "glacier", "glacier pixels", "other", "no label"]);
    let several = report.regions().len() > 1;
    let mut row = |name: &str, region: &str, balance: &Balance| {
        table.add_row([
            name.to_owned(),
            region.to_owned(),
            balance.tiles.to_string(),
            format!("{:.1} %", 100.0 * balance.glacier_share),
            balance.pixels.glacier.to_string(),
            balance.pixels.other.to_string(),
            balance.pixels.unlabelled.to_string(),
        ]);
    };
    for part in Part::ALL {
        let Some(file) = report.files.get(&part) else { continue };
        let only = file.regions.keys().next().filter(|_| !several).map_or("all", String::as_str);
        row(part.name(), only, &file.all);
        if several {
            file.regions.iter().for_each(|(region, balance)| row("", region, balance));
        }
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn summary(report: &Report, folder: &Path) -> String {
    let sum =
        |count: fn(&crate::dataset::prepare::SceneReport) -> usize| report.scenes.iter().map(count).sum::<usize>();
    let left_out: Vec<String> = [
        (sum(|scene| scene.without_labels), "without labelled pixels"),
        (sum(|scene| scene.with_little_glacier), "with too little glacier"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, why)| format!("{count} {why}"))
    .collect();
    let left_out = if left_out.is_empty() { String::new() } else { format!(", left out {}", left_out.join(", ")) };
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let (tiles, scenes) = (report.tiles.len(), report.scenes.len());
    format!("{tiles} tile{} of {scenes} scene{}{left_out}; see {}", s(tiles), s(scenes), folder.join(SHEET).display())
}

/// A bar on a terminal; nothing where standard error is piped.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} tiles  {elapsed_precise}, {eta_precise} left")
    {
        bar.set_style(style);
    }
    bar
}
