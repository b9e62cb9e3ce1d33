//! `glavitu inventory`: mapped ice, glacier by glacier.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde_json::Value;

use crate::atomic_file::StagedFiles;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::evaluate::inventory::{Files, Inventory};
use crate::raster::shapes::writer::check_extension;

/// Split mapped ice by the glaciers of an inventory.
///
/// Writes a row for each glacier: its identifier, its area and that of the reference, what was lost and gained, and the confidence. Ice inside a reference
/// outline is that glacier's. Ice outside goes to the glacier whose outline it hangs together with: with --dem through a watershed that is flooded from
/// the outlines, so that divides follow crests; without, to the nearest along the ice. Ice that touches no outline is a glacier new-1, new-2, ... (numbers that
/// the reference has itself are left out).
/// Glaciers with no ice left are listed with area 0; those the map does not show are not listed, but counted.
///
/// Areas are on the WGS 84 ellipsoid. seen_km2 is the part of the reference outline where the map has data, so that area_km2 = seen_km2 - lost_km2 +
/// gained_km2. Neighbours share their divides.
///
/// Elevations and confidences on other grids are brought to that of the outlines. Rasters are held in memory: about 16 bytes a pixel (6.4 GB for 20000 x 20000).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu inventory --outlines result/outlines.tif --reference rgi.gpkg -o glaciers.gpkg
  glavitu inventory --outlines result/outlines.tif --reference rgi.shp --dem dem.tif --confidence result/confidence.tif -o glaciers.gpkg
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
    /// confidence.tif of `glavitu predict`
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    confidence: Option<PathBuf>,
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
    let read =
        [Some(&args.outlines), Some(&args.reference), args.dem.as_ref(), args.confidence.as_ref(), args.grid.as_ref()];
    let read: Vec<&std::path::Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
    let table = args.output.with_extension("csv");
    check_output(&args.output, &read)?;
    check_output(&table, &read)?;
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let inventory = Inventory::new(&Files {
        outlines: &args.outlines,
        reference: &args.reference,
        id_column: args.id_column.as_deref(),
        elevation: args.dem.as_deref(),
        confidence: args.confidence.as_deref(),
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
    print_line(format_args!("See {} and {}", args.output.display(), table.display()))
}
