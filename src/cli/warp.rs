//! `glavitu warp`: a raster on another grid.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use serde_json::json;

use crate::atomic_file::StagedFiles;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::error::Error;
use crate::raster::{Quantity, RasterFile, Resampling, Source, TargetGrid, Warp, write_bands};

/// Bring a raster to another grid, as `glavitu predict` does while it reads.
///
/// Writes physical values of all bands as 32-bit floats, NaN where there are none. Bilinear values follow GDAL's: what has no data is left
/// out, and where the raster is finer than the grid, pixels are averaged. The result is made in memory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu warp dem.tif --grid scene.tif -o dem_on_scene.tif
  glavitu warp dem.tif --grid EPSG:32611@30 -o dem_utm.tif
  glavitu warp classes.tif --grid EPSG:32611@30@470000,5780000,490000,5800000 --method nearest -o classes_utm.tif")]
pub struct WarpArgs {
    /// The raster
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The grid: a raster, or EPSG:CODE@RESOLUTION[@XMIN,YMIN,XMAX,YMAX] in units of that CRS
    #[arg(long, value_name = "FILE|EPSG:CODE@RES", allow_hyphen_values = true)]
    grid: String,
    /// How values are made
    #[arg(long, value_enum, default_value = "bilinear")]
    method: Method,
    /// The CRS of rasters that name none, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// The raster to write
    #[arg(short, long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// How values between pixel centres are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// For continuous values
    Bilinear,
    /// For classes
    Nearest,
}

/// Runs `glavitu warp`.
///
/// # Errors
/// A raster cannot be read, the two share no ground, memory does not suffice, or the output cannot be written.
pub fn run(args: &WarpArgs) -> Result<()> {
    let target = TargetGrid::parse(&args.grid)?;
    let mut inputs = vec![args.file.as_path()];
    if let TargetGrid::File(path) = &target {
        inputs.push(path);
    }
    check_output(&args.output, &inputs)?;
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let file = std::sync::Arc::new(RasterFile::open(&args.file)?);
    let mut own = file.grid().clone();
    if own.crs.is_none() {
        own.crs.clone_from(&assumed);
    }
    if own.crs.is_none() {
        return Err(Error::bad_file(
            &args.file,
            "no coordinate reference system",
            "a georeferenced raster",
            "give --assume-crs EPSG:CODE",
        )
        .into());
    }
    let grid = target.resolve((&args.file, &own), assumed.as_ref())?;
    let method = match args.method {
        Method::Bilinear => Resampling::Bilinear,
        Method::Nearest => Resampling::Nearest,
    };
    let warp = std::sync::Arc::new(Warp::new(&own, &grid, method)?);
    if !warp.overlaps() {
        return Err(Error::bad_file(
            &args.file,
            "a raster of another place",
            format!("one that shares ground with the grid {}", args.grid),
            "check the CRS of both with glavitu inspect",
        )
        .into());
    }
    let mut bands = Vec::new();
    for (band, properties) in file.bands().iter().enumerate() {
        let source = Source::new(file.clone(), own.clone(), band, Quantity::Value).warped(warp.clone());
        let name = properties.description.clone().unwrap_or_else(|| format!("band {}", band + 1));
        bands.push((name, source.read(grid.window())?));
    }
    let written: Vec<(&str, &[f32])> = bands.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    let mut staged = StagedFiles::new();
    staged.stage(&args.output, |path| write_bands(path, &grid, &written, &[]))?;
    staged.publish()?;
    let known = written.first().map_or(0, |(_, values)| values.iter().filter(|value| !value.is_nan()).count());
    let share = known as f64 / grid.len().max(1) as f64;
    if args.json {
        let crs = grid.crs.as_ref();
        return print_line(serde_json::to_string_pretty(&json!({
            "file": args.output,
            "width": grid.width,
            "height": grid.height,
            "transform": grid.transform,
            "crs": crs.map(|crs| &crs.name),
            "epsg": crs.and_then(|crs| crs.epsg),
            "bands": written.len(),
            "data_share": share,
        }))?);
    }
    print_line(format_args!(
        "{} x {} pixels, {:.1} % with data; see {}",
        grid.width,
        grid.height,
        share * 100.0,
        args.output.display()
    ))
}
