//! `glavitu inventory`: mapped ice, glacier by glacier.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde_json::Value;

use crate::atomic_file::StagedFiles;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::error::Error;
use crate::evaluate::Calibrator;
use crate::evaluate::area_interval::{BLOCK_M, IntervalSettings, RESAMPLES};
use crate::evaluate::doubt::Doubt;
use crate::evaluate::inventory::{Files, Inventory};
use crate::raster::shapes::writer::check_extension;

/// Split mapped ice by the glaciers of an inventory.
///
/// Writes a row for each glacier (and in the table, last, one for the total): its identifier, its area and that of the reference, what was lost and gained, and the confidence. Ice inside a reference
/// outline is that glacier's. Ice outside goes to the glacier whose outline it hangs together with: with --dem through a watershed that is flooded from
/// the outlines, so that divides follow crests; without, to the nearest along the ice. Ice that touches no outline is a glacier new-1, new-2, ... (numbers that
/// the reference has itself are left out).
/// Glaciers with no ice left are listed with area 0; those the map does not show are not listed, but counted.
///
/// Areas are on the WGS 84 ellipsoid. seen_km2 is the part of the reference outline where the map has data, so that area_km2 = seen_km2 - lost_km2 +
/// gained_km2. Neighbours share their divides.
///
/// With calibrated confidences (or --probability), every glacier and the total get an interval of the area. A pixel of a glacier's ground, or around it, is ice with the
/// probability p that its class and confidence make; the expected area is the sum of p times the pixel's area (area_expected_km2). In each block of
/// 3.2 km all errors are taken to be one and blocks to be independent: area_low_km2 and area_high_km2 are the 2.5th and 97.5th percentile of 10000 areas drawn so, area_std_km2
/// their standard deviation. Errors that hang together over more than a block are further off: give a larger --block-size for them. Pixels below
/// 1 % count as no ice, above 99 % as ice. area_inner_km2 and area_outer_km2 are the areas if no pixel of a confidence below 0.95 is ice, and if all of
/// them are: bounds that leave no error to chance. --bounds writes their outlines. The total is of all pixels of the map, possible ice of no glacier included; it
/// is told how much that is. A glacier that has or touches a pixel of the map without a probability has no interval, and then the total has none.
///
/// Elevations and confidences on other grids are brought to that of the outlines. Rasters are held in memory: about 16 bytes a pixel (6.4 GB for 20000 x 20000), 24 with intervals.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu inventory --outlines result/outlines.tif --reference rgi.gpkg -o glaciers.gpkg
  glavitu inventory --outlines result/outlines.tif --reference rgi.shp --dem dem.tif --confidence result/confidence.tif -o glaciers.gpkg
  glavitu inventory --outlines result/outlines.tif --reference rgi.gpkg --probability result/probability.tif --calibration model.json --bounds bounds.gpkg -o glaciers.gpkg
  glavitu inventory --outlines mine.gpkg --grid scene.tif --reference glims.geojson --id-column anlys_id -o glaciers.geojson --json")]
pub struct InventoryArgs {
    /// The mapped ice: outlines.tif or probability.tif of `glavitu predict`, or polygons
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    outlines: PathBuf,
    /// Outlines of known glaciers with identifiers: GeoPackage, GeoJSON, FlatGeobuf or Shapefile
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    reference: PathBuf,
    /// The attribute with the identifiers [default: rgi_id, RGIId, glims_id, glac_id or glacier_id]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// Elevations, by which ice outside the reference is shared
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    dem: Option<PathBuf>,
    /// confidence.tif of `glavitu predict`, calibrated
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath, conflicts_with = "probability")]
    confidence: Option<PathBuf>,
    /// probability.tif of `glavitu predict`: intervals from it, with --calibration; without, it is taken for calibrated, which that of `glavitu predict` is not
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    probability: Option<PathBuf>,
    /// A confidence calibrator (see `glavitu calibrate`)
    #[arg(long, value_name = "FILE.json", requires = "probability", value_hint = ValueHint::FilePath)]
    calibration: Option<PathBuf>,
    /// Side of the blocks in which errors are one, in metres
    #[arg(long, value_name = "METRES", default_value_t = BLOCK_M)]
    block_size: f64,
    /// How often areas are drawn
    #[arg(long, value_name = "N", default_value_t = RESAMPLES,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(100..=1_000_000))]
    resamples: usize,
    /// Seed of what is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Also write the least and the largest outlines of every glacier (.gpkg, .geojson, .json, .fgb or .shp), `bound` being inner or outer
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bounds: Option<PathBuf>,
    /// A raster on whose grid polygons are split
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    grid: Option<PathBuf>,
    /// The CRS of files that name none, or none that is known, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// The polygons to write (.gpkg, .geojson, .json, .fgb or .shp); a table (.csv) and a style for QGIS (.qml) go beside
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Print totals and rows as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `glavitu inventory`.
///
/// # Errors
/// Input that does not fit or cannot be read, or an output that cannot be written; nothing is written then.
pub fn run(args: &InventoryArgs) -> Result<()> {
    check_extension(&args.output)?;
    let rasters = [&args.dem, &args.confidence, &args.probability, &args.calibration, &args.grid].map(Option::as_ref);
    let read = [Some(&args.outlines), Some(&args.reference)].into_iter().chain(rasters);
    let read: Vec<&std::path::Path> = read.flatten().map(PathBuf::as_path).collect();
    let table = args.output.with_extension("csv");
    check_output(&args.output, &read)?;
    check_output(&table, &read)?;
    check_bounds(args, &read)?;
    if !(args.block_size.is_finite() && args.block_size > 0.0) {
        let found = format!("--block-size {}", args.block_size);
        return Err(Error::bad_argument(found, "metres, more than 0", "give 3200, say").into());
    }
    let calibrator = args.calibration.as_deref().map(Calibrator::load).transpose()?;
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let inventory = Inventory::new(&Files {
        outlines: &args.outlines,
        reference: &args.reference,
        id_column: args.id_column.as_deref(),
        elevation: args.dem.as_deref(),
        confidence: args.confidence.as_deref(),
        probability: args.probability.as_deref(),
        calibrator: calibrator.as_ref(),
        interval: IntervalSettings { block_m: args.block_size, resamples: args.resamples, seed: args.seed },
        bounds: args.bounds.is_some(),
        grid: args.grid.as_deref(),
        assumed_crs: assumed.as_ref(),
    })?;
    let name =
        |path: &std::path::Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let description = format!(
        "glavitu {}; outlines={}; reference={}; divides={}",
        env!("CARGO_PKG_VERSION"),
        name(&args.outlines),
        name(&args.reference),
        args.dem.as_ref().map_or("nearest along the ice".into(), |dem| format!("watershed of {}", name(dem))),
    );
    let mut staged = StagedFiles::new();
    inventory.stage(&args.output, &description, &mut staged)?;
    if let Some(bounds) = &args.bounds {
        inventory.stage_bounds(bounds, &description, &mut staged)?;
    }
    staged.publish()?;
    let summary = inventory.summary();
    if args.json {
        return print_line(format_args!("{summary:#}"));
    }
    let number = |key: &str| summary.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    print_line(format_args!(
        "{} glaciers of the reference ({} without ice, {} more not in the map), {} new ones",
        number("glaciers"),
        number("vanished_glaciers"),
        number("not_seen_glaciers"),
        number("new_glaciers"),
    ))?;
    print_line(format_args!(
        "Area {:.2} km2: {:.2} of the reference were seen, {:.2} lost, {:.2} gained",
        number("area_km2"),
        number("seen_km2"),
        number("lost_km2"),
        number("gained_km2"),
    ))?;
    if let Some(doubts) = &inventory.doubts {
        match &doubts.total {
            Some(Doubt { interval, inner_km2, outer_km2 }) => print_line(format_args!(
                "Expected area {:.2} km2, 95 % between {:.2} and {:.2}; {inner_km2:.2} without doubtful pixels, {outer_km2:.2} with all of them \
                 (of which {:.2} expected and {:.2} at most belong to no glacier)",
                interval.expected_km2,
                interval.low_km2,
                interval.high_km2,
                doubts.unowned_expected_km2,
                doubts.unowned_outer_km2,
            ))?,
            None => print_line("The total has no interval: probabilities or confidences are missing on glaciers")?,
        }
    }
    print_line(format_args!("See {} and {}", args.output.display(), table.display()))
}

/// Refuses a file of bounds that cannot be written, would replace another, or has nothing to be made of.
fn check_bounds(args: &InventoryArgs, read: &[&std::path::Path]) -> Result<()> {
    let Some(bounds) = &args.bounds else { return Ok(()) };
    check_extension(bounds)?;
    check_output(bounds, read)?;
    if bounds.with_extension("") == args.output.with_extension("") {
        return Err(Error::bad_argument("one name for --bounds and --output", "two", "rename one").into());
    }
    if args.confidence.is_none() && args.probability.is_none() {
        let expected = "--confidence or --probability";
        return Err(Error::bad_argument("--bounds alone", expected, "give calibrated confidences").into());
    }
    Ok(())
}
