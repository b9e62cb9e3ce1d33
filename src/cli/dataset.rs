//! `glavitu dataset`: data to train and try the network on.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueHint};

use crate::atomic_file::StagedFiles;
use crate::cli::print_line;
use crate::dataset::synthetic::{SIDES, SyntheticScene};
use crate::error::Error;

/// Make data to try the program on.
#[derive(Debug, Args)]
pub struct DatasetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Synthetic(SyntheticArgs),
}

/// Generate a scene of made-up mountains with glaciers.
///
/// Writes optical.tif (six bands of reflectance), elevation.tif and truth.tif (1 glacier, 0 other) on one UTM grid of 30 m pixels. The scene
/// is the same for the same size and seed. It shows that a program works; it does not show how well a model maps real glaciers.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu dataset synthetic --scene -o scene
  glavitu dataset synthetic --scene --size 1024 --seed 7 -o scene
  glavitu predict --model global.safetensors --optical scene/optical.tif --elevation scene/elevation.tif -o result")]
struct SyntheticArgs {
    /// Generate one scene as GeoTIFFs (the only kind so far)
    #[arg(long, required = true)]
    scene: bool,
    /// Pixels along each side, 16 to 4096
    #[arg(long, value_name = "PIXELS", default_value_t = 512,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(*SIDES.start() as u64..=*SIDES.end() as u64))]
    size: usize,
    /// Another number, another landscape
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print what was generated as JSON
    #[arg(long)]
    json: bool,
    /// The folder to write to; it is made if it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

/// Runs `glavitu dataset`.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &DatasetArgs) -> Result<()> {
    let What::Synthetic(args) = &args.what;
    fs::create_dir_all(&args.output).map_err(|e| Error::io("create", &args.output, e))?;
    let scene = SyntheticScene::generate(args.size, args.seed)?;
    let mut staged = StagedFiles::new();
    scene.stage(&args.output, &mut staged)?;
    staged.publish()?;
    let summary = scene.summary();
    if args.json {
        print_line(format_args!("{summary:#}"))
    } else {
        print_line(format_args!(
            "{} x {} pixels, {} to {} m, {:.2} km2 of glacier; see {}",
            args.size,
            args.size,
            summary["lowest_m"],
            summary["highest_m"],
            summary["glacier_area_km2"].as_f64().unwrap_or_default(),
            args.output.display()
        ))
    }
}
