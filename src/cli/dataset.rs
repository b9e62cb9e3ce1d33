//! `glavitu dataset`: data to train and try the network on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::atomic_file::StagedFiles;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::dataset::synthetic::tiles::{Summary, TileFile};
use crate::dataset::synthetic::{SIDES, SyntheticScene};
use crate::error::Error;
use crate::model::Feature;

/// Make data to train and try the network on.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Synthetic(SyntheticArgs),
}

/// Generate made-up mountains with glaciers: tiles to train on, or one scene.
///
/// Without --scene: a tile file in the published HDF5 layout, tiles spread evenly over eleven glacier regions, with outlines. Without labels
/// are pixels under thick cloud and without data. With --scene: optical.tif (six bands of reflectance), elevation.tif, co_pol_sar.tif,
/// cross_pol_sar.tif, in_sar.tif, thermal.tif, truth.tif (1 glacier, 0 other) and outlines.gpkg on one UTM grid of 30 m pixels.
///
/// The same options give the same data on every machine. Made-up land does not show how well a model maps real glaciers.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu dataset synthetic -o train.hdf5 --tiles 440 --seed 1 --preview train.png
  glavitu dataset synthetic -o alps.hdf5 --tiles 50 --seed 2 --regions ALP,CA --features optical,dem
  glavitu dataset synthetic --scene -o scene
  glavitu dataset synthetic --scene --size 1024 --seed 7 --region HMA -o scene
  glavitu predict --model global.safetensors --optical scene/optical.tif --elevation scene/elevation.tif -o result")]
struct SyntheticArgs {
    /// Generate one scene as GeoTIFFs
    #[arg(long, conflicts_with_all = ["tiles", "regions", "features", "compress"])]
    scene: bool,
    /// With --scene: also write the optical bands as Sentinel-2 products have them, in a file each (..._B02.tif, B03, B04, B8A, B11, B12) of digital numbers
    /// with an offset
    #[arg(long, requires = "scene")]
    sentinel_2: bool,
    /// Number of tiles
    #[arg(long, value_name = "N", required_unless_present = "scene")]
    tiles: Option<usize>,
    /// Pixels along each side, 16 to 4096 [default: 384, and 512 for a scene]
    #[arg(long, value_name = "PIXELS",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(*SIDES.start() as u64..=*SIDES.end() as u64))]
    size: Option<usize>,
    /// Another number, other mountains
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Regions of the tiles, in turn [default: all eleven]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    regions: Vec<String>,
    /// What the tiles hold beside the outlines [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Vec<Feature>,
    /// Compress the tiles without loss (gzip and shuffle); the published files are not compressed
    #[arg(long)]
    compress: bool,
    /// Region of the scene [default: ALP]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Also write a picture: false colours (SWIR1, NIR, green) with the true outlines, and true colours, of up to 132 tiles
    #[arg(long, value_name = "PNG", value_hint = ValueHint::FilePath)]
    preview: Option<PathBuf>,
    /// Print what was generated as JSON
    #[arg(long)]
    json: bool,
    /// The tile file to write; with --scene the folder, which is made if it does not exist
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    output: PathBuf,
}

/// Runs `glavitu dataset`.
///
/// # Errors
/// An option makes no sense, or files cannot be written.
pub fn run(args: &DatasetArgs) -> Result<()> {
    let What::Synthetic(args) = &args.what;
    if let Some(preview) = &args.preview {
        check_output(preview, &[])?;
        if *preview == args.output {
            return Err(Error::bad_argument("one path for both --output and --preview", "two", "rename one").into());
        }
    }
    if args.scene { scene(args) } else { tiles(args) }
}

fn scene(args: &SyntheticArgs) -> Result<()> {
    let size = args.size.unwrap_or(512);
    let scene = SyntheticScene::generate(size, args.seed, args.region.as_deref().unwrap_or("ALP"))?;
    fs::create_dir_all(&args.output).map_err(|e| Error::io("create", &args.output, e))?;
    let mut staged = StagedFiles::new();
    scene.stage(&args.output, &mut staged)?;
    if args.sentinel_2 {
        scene.stage_sentinel_2(&args.output, &mut staged)?;
    }
    if let Some(preview) = &args.preview {
        scene.stage_preview(preview, &mut staged)?;
    }
    staged.publish()?;
    let summary = scene.summary();
    if args.json {
        return print_line(format_args!("{summary:#}"));
    }
    print_line(format_args!(
        "{size} x {size} pixels, {} to {} m, {:.2} km2 of glacier; see {}",
        summary["lowest_m"],
        summary["highest_m"],
        summary["glacier_area_km2"].as_f64().unwrap_or_default(),
        args.output.display()
    ))
}

fn tiles(args: &SyntheticArgs) -> Result<()> {
    if let Some(region) = &args.region {
        let found = format!("--region {region} without --scene");
        let remedy = format!("name the regions of tiles as --regions {region}");
        return Err(Error::bad_argument(found, "--region for a scene", remedy).into());
    }
    check_output(&args.output, &[])?;
    let file = TileFile {
        tiles: args.tiles.unwrap_or_default(),
        seed: args.seed,
        side: args.size.unwrap_or(384),
        regions: args.regions.clone(),
        features: if args.features.is_empty() { Feature::ALL.to_vec() } else { args.features.clone() },
        is_compressed: args.compress,
    };
    let bar = progress_bar(file.tiles);
    let summary = file.write(&args.output, args.preview.as_deref(), || bar.inc(1));
    bar.finish_and_clear();
    let summary = summary?;
    if args.json {
        return print_line(format_args!("{:#}", serde_json::to_value(&summary)?));
    }
    print_summary(&summary, &args.output)
}

fn print_summary(summary: &Summary, output: &Path) -> Result<()> {
    let names: Vec<&str> = summary.regions.keys().map(String::as_str).collect();
    let glacier: f64 = summary.regions.values().map(|r| r.glacier_share * r.tiles as f64).sum();
    print_line(format_args!(
        "{} tiles of {} x {} pixels of {}, {:.0} % glacier; see {}",
        summary.tiles,
        summary.size,
        summary.size,
        names.join(", "),
        100.0 * glacier / summary.tiles as f64,
        output.display()
    ))
}

/// A bar on a terminal; nothing where standard error is piped.
fn progress_bar(tiles: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(tiles as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} tiles  {elapsed_precise}, {eta_precise} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
