//! Hashes of what decides a result: whether an interrupted run may go on, and whether a scene is done.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cli::predict::PredictArgs;
use crate::cli::predict::engine::{Engine, Ready};
use crate::cli::predict::one::Job;
use crate::infer::extent::Extent;
use crate::raster::Grid;

/// Of everything that decides the probabilities, to the last bit.
pub(super) fn of_probabilities(
    args: &PredictArgs,
    engine: &Engine<'_>,
    job: &Job,
    ready: &Ready,
    (grid, extent, locations): (&Grid, &Extent, &[Vec<f32>]),
) -> String {
    let window = extent.window();
    hash(&json!({
        "what": inputs(args, engine, job),
        "locations": locations,
        "grid": [grid.width, grid.height],
        "transform": grid.transform,
        "crs": grid.crs.as_ref().map(|crs| (&crs.name, crs.epsg)),
        "window": [window.row, window.col, window.height, window.width],
        "device": ready.device(),
        "batch": ready.batch,
    }))
}

/// Of everything that decides the results, whatever the device.
pub(super) fn of_results(args: &PredictArgs, engine: &Engine<'_>, job: &Job) -> String {
    hash(&json!({
        "what": inputs(args, engine, job),
        "region": job.region,
        "region_vector": args.region_vector.as_deref().map(stamp),
        "date": job.date,
        "calibration": engine.calibrator.as_ref().map(|calibrator| calibrator.sha256()),
        "products": format!("{:?}", args.products(None)),
    }))
}

fn inputs(args: &PredictArgs, engine: &Engine<'_>, job: &Job) -> Value {
    let models = engine.models().iter().map(|model| {
        json!({
            "parameters": model.parameters_sha256(),
            "config": model.config(),
            "normalisation": model.normalisation(),
        })
    });
    let options = args.device.options();
    json!({
        "program": env!("CARGO_PKG_VERSION"),
        "models": models.collect::<Vec<_>>(),
        "members": args.members.json(&engine.dropout),
        "files": job.scene.files().all().map(|path| stamp(path)).collect::<Vec<_>>(),
        "has_slope": job.scene.files().slope.is_some(),
        "rasters": job.scene.settings(),
        "window": args.window.map(|window| format!("{:?}", window.0)),
        "aoi": args.aoi.as_deref().map(stamp),
        "exact": options.exact,
        "precision": options.precision.to_string(),
    })
}

/// Path, size and time of change.
fn stamp(path: &Path) -> Value {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let metadata = real.metadata().ok();
    let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!([real, metadata.map(|metadata| metadata.len()), since.map(|since| since.as_nanos().to_string())])
}

fn hash(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}
