//! `glavitu convert`: polygons from one format to another.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde_json::json;

use crate::atomic_file::StagedFiles;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::raster::shapes::features::{plain_columns, plain_name};
use crate::raster::shapes::writer::check_extension;
use crate::raster::shapes::{Features, Layer, ShapeWriter, write_style};

/// Convert polygons from one format to another, with their attributes.
///
/// Reads GeoPackage, GeoJSON, FlatGeobuf and Shapefile (told by content). Writes what the name of the output says: .gpkg, .geojson or .json (brought to
/// longitude and latitude, EPSG:4326), .fgb, or .shp with its .shx, .dbf, .prj and .cpg.
///
/// Names of attributes keep letters, digits and underscores; those of a Shapefile are cut to ten characters. Dates become text.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu convert outlines.gpkg outlines.shp
  glavitu convert rgi.shp rgi.fgb --style
  glavitu convert old.shp map.geojson --assume-crs EPSG:32611 --json")]
pub struct ConvertArgs {
    /// The polygons
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// The file to write: .gpkg, .geojson, .json, .fgb or .shp
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// The CRS of a file that names none, or none that is known, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// Write a style for QGIS beside the output (.qml): yellow outlines in a dark casing
    #[arg(long)]
    style: bool,
    /// Print what was converted as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `glavitu convert`.
///
/// # Errors
/// Input that cannot be read, or an output that cannot be written; nothing is written then.
pub fn run(args: &ConvertArgs) -> Result<()> {
    check_extension(&args.output)?;
    check_output(&args.output, &[&args.input])?;
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let features = Features::open(&args.input)?;
    let known = features.crs.as_ref().filter(|crs| !crs.proj.is_empty() || assumed.is_none());
    let crs = known.or(assumed.as_ref());
    let columns = plain_columns(&features.columns);
    let stem = args.output.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let description = format!("converted by glavitu {}", env!("CARGO_PKG_VERSION"));
    let layer = Layer { name: &plain_name(&stem), description: &description, crs, columns: &columns };
    let mut writer = ShapeWriter::create(&args.output, &layer)?;
    for feature in &features.features {
        writer.add(&feature.polygons, &feature.values)?;
    }
    let mut staged = StagedFiles::new();
    writer.finish(&mut staged)?;
    if args.style {
        write_style(&args.output, &mut staged)?;
    }
    staged.publish()?;
    let polygons: usize = features.features.iter().map(|feature| feature.polygons.len()).sum();
    if args.json {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return print_line(json!({
            "file": args.output,
            "features": features.features.len(),
            "polygons": polygons,
            "attributes": names,
            "crs": crs.map(|crs| crs.name.clone()),
            "epsg": crs.and_then(|crs| crs.epsg),
        }));
    }
    print_line(format_args!("{}: {} features, {polygons} polygons", args.output.display(), features.features.len()))
}
