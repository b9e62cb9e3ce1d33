//! `glavitu info`: what a weight file or a calibrator is.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

use crate::cli::print_line;
use crate::evaluate::Calibrator;
use crate::evaluate::calibration::MONOTONE_TOLERANCE;
use crate::model::parameters::count;
use crate::model::{Location, Weights, parameters};

/// Show what a model or calibrator file is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu info global.safetensors
  glavitu info global.json --json")]
pub struct InfoArgs {
    /// A weight file (.safetensors) or a calibrator (.json)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What is shown, in order.
type Rows = Vec<(&'static str, Value)>;

/// Runs `glavitu info`.
///
/// # Errors
/// The file is neither, or is damaged.
pub fn run(args: InfoArgs) -> Result<()> {
    let size = std::fs::metadata(&args.file).map_err(|e| crate::Error::io("read", &args.file, e))?.len();
    let is_calibrator = begins_as_json(&args.file).map_err(|e| crate::Error::io("read", &args.file, e))?;
    let info = if is_calibrator {
        calibrator_info(&Calibrator::load(&args.file)?, size)
    } else {
        model_info(&Weights::load(&args.file)?, size)
    };
    if args.json {
        let object: serde_json::Map<_, _> = info.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        print_line(serde_json::to_string_pretty(&object)?)
    } else {
        print_line(table(&args.file, &info))
    }
}

/// A calibrator is a JSON text; a weight file begins with a length.
fn begins_as_json(path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut first = [0_u8; 2];
    let read = std::fs::File::open(path)?.read(&mut first)?;
    Ok(matches!(first[..read], [b'{', b'\n' | b'\r' | b' ' | b'"' | b'}']))
}

fn model_info(weights: &Weights, size: u64) -> Rows {
    let config = weights.config();
    let (total, trainable) = count(&parameters(config));
    let features: Vec<Value> = config
        .features
        .iter()
        .map(|&feature| {
            let ranges: Vec<_> = weights.normalisation().of(feature).into_iter().map(|(a, b)| json!([a, b])).collect();
            json!({ "name": feature.name(), "channels": feature.channels(), "normalisation": ranges })
        })
        .collect();
    let (location, regions) = match &config.location {
        Location::None => ("none", None),
        Location::Coordinates => ("coordinates", None),
        Location::Regions(names) => ("regions", Some(names)),
    };
    vec![
        ("kind", json!("model")),
        ("features", json!(features)),
        ("location", json!(location)),
        ("regions", json!(regions)),
        ("filters", json!(config.filters)),
        ("embedding", json!(config.embedding)),
        ("mlp", json!(config.mlp)),
        ("blocks", json!(config.blocks)),
        ("heads", json!(config.heads)),
        ("patch", json!(config.patch)),
        ("unet_steps", json!(config.unet_steps)),
        ("tile", json!(config.tile)),
        ("dropout", json!(shortest(config.dropout))),
        ("parameters", json!(total)),
        ("trainable", json!(trainable)),
        ("origin", json!(weights.origin())),
        ("parameters_sha256", json!(weights.parameters_sha256())),
        ("file_bytes", json!(size)),
    ]
}

fn calibrator_info(calibrator: &Calibrator, size: u64) -> Rows {
    let values: Vec<f64> = (0..=10).map(|i| calibrator.predict(f64::from(i) / 10.0)).collect();
    let fall = calibrator.largest_fall();
    vec![
        ("kind", json!("calibrator")),
        ("form", json!(calibrator.kind())),
        ("gamma", json!(calibrator.gamma())),
        ("points", json!(calibrator.points())),
        ("temperature", json!(calibrator.temperature())),
        ("curve_at_tenths", json!(values)),
        ("largest_fall", json!(fall)),
        ("monotone", json!(fall <= MONOTONE_TOLERANCE)),
        ("origin", json!(calibrator.origin())),
        ("sha256", json!(calibrator.sha256())),
        ("file_bytes", json!(size)),
    ]
}

/// The same fields as the JSON, one per row.
fn table(path: &Path, info: &Rows) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["file", &path.display().to_string()]);
    for (key, value) in info {
        let text = match (*key, value) {
            (_, Value::Null) => continue,
            ("features", Value::Array(features)) => features.iter().map(feature_line).collect::<Vec<_>>().join("\n"),
            ("curve_at_tenths", Value::Array(values)) => curve_lines(values),
            (_, Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
            (_, Value::Bool(yes)) => if *yes { "yes" } else { "no" }.into(),
            _ => plain(value),
        };
        table.add_row([key.replace('_', " "), text]);
    }
    table
}

fn feature_line(feature: &Value) -> String {
    let ranges = feature["normalisation"].as_array().into_iter().flatten().map(|range| {
        let end = |i: usize| range[i].as_f64().unwrap_or(f64::NAN);
        format!("{:.6} to {:.6}", end(0), end(1))
    });
    format!(
        "{} ({} channels), normalised from\n  {}",
        plain(&feature["name"]),
        feature["channels"],
        ranges.collect::<Vec<_>>().join("\n  ")
    )
}

fn curve_lines(values: &[Value]) -> String {
    let line =
        |(i, value): (usize, &Value)| format!("{}.{} -> {:.4}", i / 10, i % 10, value.as_f64().unwrap_or(f64::NAN));
    values.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// The float64 with the same shortest decimal form: 0.1 and not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
