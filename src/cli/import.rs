//! `glavitu import`: published weights and calibrators become files of this project.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::output_file::check_output;
use crate::cli::print_line;
use crate::evaluate::calibration::MONOTONE_TOLERANCE;
use crate::evaluate::calibration_pickle::import_calibrator;
use crate::model::keras::{LocationKind, import_keras};
use crate::model::parameters::count;
use crate::model::{Feature, parameters};

/// Import published weights or calibrators.
///
/// Nothing in an imported file is executed: HDF5 files and pickles are read as data.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Import Keras weights (*_weights.h5) of the published network
    #[command(after_long_help = "\
Examples:
  glavitu import keras global_weights.h5 --features optical,dem -o global.safetensors
  glavitu import keras regions_weights.h5 --features optical,dem --location regions -o regions.safetensors
  glavitu import keras own_weights.h5 --features optical --location regions --regions alps,andes -o own.safetensors")]
    Keras(KerasArgs),
    /// Import a scikit-learn calibrator (*.pickle)
    #[command(after_long_help = "\
Examples:
  glavitu import calibration global_softmax.pickle -o global.json
  glavitu import calibration region_softmax.pickle --monotone -o region.json")]
    Calibration(CalibrationArgs),
}

#[derive(Debug, Args)]
struct KerasArgs {
    /// The Keras weight file
    #[arg(value_name = "WEIGHTS.h5")]
    input: PathBuf,
    /// The features the model was trained with, in its order: optical, dem, co_pol_sar, cross_pol_sar, in_sar, thermal
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    features: Vec<Feature>,
    /// What the model's location input means; otherwise told by its length
    #[arg(long, value_enum)]
    location: Option<LocationOption>,
    /// Names of the model's regions in its order, if not the published ones; 'unknown' comes last and may be left out
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// The weight file to write
    #[arg(short, long, value_name = "MODEL.safetensors")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LocationOption {
    /// A one-hot vector over regions
    Regions,
    /// Sines and cosines of latitude and longitude
    Coordinates,
}

#[derive(Debug, Args)]
struct CalibrationArgs {
    /// The pickled calibrator
    #[arg(value_name = "CALIBRATOR.pickle")]
    input: PathBuf,
    /// Write the closest calibrator that never falls as confidence grows
    #[arg(long)]
    monotone: bool,
    /// The calibrator file to write
    #[arg(short, long, value_name = "CALIBRATOR.json")]
    output: PathBuf,
}

/// Runs `glavitu import`.
///
/// # Errors
/// The input is not what it must be, or the output cannot be written.
pub fn run(args: ImportArgs) -> Result<()> {
    match args.what {
        What::Keras(args) => keras(args),
        What::Calibration(args) => calibration(&args),
    }
}

fn keras(args: KerasArgs) -> Result<()> {
    check_output(&args.output, &[&args.input])?;
    let location = match (args.location, args.regions) {
        (Some(LocationOption::Coordinates), Some(_)) => {
            return Err(crate::Error::bad_argument(
                "--regions with --location coordinates",
                "one or the other",
                "leave out --regions",
            )
            .into());
        }
        (Some(LocationOption::Coordinates), None) => LocationKind::Coordinates,
        (None, None) => LocationKind::Guess,
        (_, regions) => LocationKind::Regions(regions),
    };
    let weights = import_keras(&args.input, &args.features, &location)?;
    weights.save(&args.output)?;
    print_line(format_args!(
        "{}: {} parameters, SHA-256 {}",
        args.output.display(),
        count(&parameters(weights.config())).0,
        weights.parameters_sha256()
    ))
}

fn calibration(args: &CalibrationArgs) -> Result<()> {
    check_output(&args.output, &[&args.input])?;
    let mut calibrator = import_calibrator(&args.input)?;
    let fall = calibrator.largest_fall();
    if args.monotone {
        calibrator = calibrator.monotone();
    } else if fall > MONOTONE_TOLERANCE {
        tracing::warn!(
            "{}: calibrated confidence falls by up to {fall:.4} as raw confidence grows; \
             import with --monotone for one that never falls",
            args.input.display()
        );
    }
    calibrator.save(&args.output)?;
    print_line(format_args!(
        "{}: {} with {} points, SHA-256 {}",
        args.output.display(),
        calibrator.kind(),
        calibrator.points(),
        calibrator.sha256()
    ))
}
