//! `glavitu optimise-region`: the region vector that suits a scene.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::{Args, ValueHint};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::atomic_file::StagedFiles;
use crate::cli::device_args::DeviceArgs;
use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::cli::scene_args::SceneArgs;
use crate::error::Error;
use crate::model::Weights;
use crate::train::region::{RegionSearch, optimise_region};

/// Find the region vector with which a model is surest of a scene.
///
/// For a model with region encoding and a scene of a region it does not know, or of more than one. The vector is optimised on random patches
/// of the scene so that the predictions have the least entropy (bias optimisation); no outlines are needed. The file that is written goes into
/// `glavitu predict --region-vector`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu optimise-region --model regions.safetensors --optical scene.tif --elevation dem.tif -o region.json
  glavitu predict --model regions.safetensors --optical scene.tif --elevation dem.tif --region-vector region.json -o result")]
pub struct OptimiseRegionArgs {
    /// The model, trained with region encoding
    #[arg(long, value_name = "MODEL.safetensors", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    #[command(flatten)]
    scene: SceneArgs,
    /// The most epochs; the search ends earlier when the vector has come to rest
    #[arg(long, value_name = "N", default_value_t = 100)]
    epochs: usize,
    /// Random patches per epoch
    #[arg(long, value_name = "N", default_value_t = 64)]
    patches: usize,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-4)]
    lr: f64,
    /// Patches per step; more needs more memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Decides the patches
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print the file to standard output too
    #[arg(long)]
    json: bool,
    /// The file to write
    #[arg(short, long, value_name = "REGION.json", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// Set by Ctrl-C; looked at between steps.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs `glavitu optimise-region`.
///
/// # Errors
/// Input that does not fit, a device that fails, a file that cannot be written, or Ctrl-C; nothing is written then.
pub fn run(args: &OptimiseRegionArgs) -> Result<()> {
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    let files = args.scene.files();
    let inputs: Vec<_> = std::iter::once(&args.model).chain(files.all()).map(PathBuf::as_path).collect();
    check_output(&args.output, &inputs)?;
    let options = args.device.options_for_gradients()?;
    let weights = Weights::load(&args.model)?;
    let scene = args.scene.open(&weights.config().features)?;
    let search = RegionSearch {
        learning_rate: args.lr,
        epochs: args.epochs,
        patches: args.patches,
        batch: args.batch,
        seed: args.seed,
        ..RegionSearch::default()
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} steps  {elapsed_precise}, {eta_precise} left")
    {
        bar.set_style(style);
    }
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        if INTERRUPTED.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
    };
    let fit = optimise_region(&weights, &scene, &search, &args.device.device, &options, &mut progress)?;
    bar.finish_and_clear();
    let text = format!("{:#}\n", serde_json::to_value(&fit)?);
    let mut staged = StagedFiles::new();
    staged.stage_bytes(&args.output, text.as_bytes())?;
    staged.publish()?;
    if args.json {
        return print_line(text.trim_end());
    }
    if !fit.converged {
        tracing::warn!(
            "the vector was still changing after {} epochs; more --epochs or a higher --lr may help",
            fit.entropy.len()
        );
    }
    let mut named: Vec<(&String, &f64)> = fit.regions.iter().zip(&fit.vector).collect();
    named.sort_by(|a, b| b.1.total_cmp(a.1));
    let largest: Vec<String> = named.iter().take(3).map(|(name, share)| format!("{name} {share:.3}")).collect();
    let of = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    print_line(format_args!(
        "{} epochs, mean entropy {:.6} to {:.6}: {}, ...; see {}",
        fit.entropy.len(),
        of(fit.entropy.first()),
        of(fit.entropy.last()),
        largest.join(", "),
        args.output.display()
    ))
}
