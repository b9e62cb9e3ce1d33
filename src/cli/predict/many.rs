//! Many scenes: those of a manifest, each on its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::atomic_file::{StagedFiles, check_replaceable};
use crate::cli::output_file::check_writable;
use crate::cli::predict::engine::Engine;
use crate::cli::predict::one::{Job, Mapped, check_folder, map};
use crate::cli::predict::{PredictArgs, REPORT, documents, identity, stop_if_interrupted};
use crate::cli::print_line;
use crate::error::Error;
use crate::infer::manifest::{ManifestScene, read_manifest};
use crate::infer::spool::Earlier;

/// What became of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Done,
    /// Done before, with the same model, files and settings, and all its files are there.
    Skipped,
    Failed,
    /// The run was interrupted first.
    NotReached,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
        }
    }
}

/// A line of the summary.
struct Line {
    id: String,
    output: PathBuf,
    status: Status,
    seconds: f64,
    outlines: Option<u64>,
    km2: Option<f64>,
    error: Option<String>,
}

/// Maps all scenes of a manifest, or those of one part of it.
pub(super) fn run(args: &PredictArgs, manifest: &Path) -> Result<()> {
    args.check()?;
    args.warn();
    check_writable(&args.output)?;
    let scenes = read_manifest(manifest)?;
    let scenes: Vec<ManifestScene> = match args.shard {
        Some(shard) => shard.take(scenes).collect(),
        None => scenes,
    };
    let part = args.shard.map(|shard| format!("-{}-of-{}", shard.part, shard.of)).unwrap_or_default();
    let summary = args.output.join(format!("summary{part}.json"));
    let table = args.output.join(format!("summary{part}.csv"));
    [&summary, &table].into_iter().try_for_each(|path| check_replaceable(path))?;
    let mut engine = Engine::open(args)?;
    fs::create_dir_all(&args.output).map_err(|e| Error::io("create", &args.output, e))?;

    let mut lines: Vec<Line> = scenes.iter().map(|scene| Line::not_reached(args, scene)).collect();
    let mut bad_input = true;
    let mut interrupted = Ok(());
    for (scene, line) in scenes.into_iter().zip(&mut lines) {
        interrupted = stop_if_interrupted();
        if interrupted.is_err() {
            break;
        }
        let start = Instant::now();
        let job = job(args, scene);
        match map_or_skip(args, &mut engine, &job) {
            Ok((status, report)) => {
                line.status = status;
                line.outlines = report["result"]["outlines"].as_u64();
                line.km2 = report["result"]["glacier_area_km2"].as_f64();
            }
            Err(error) => {
                let own = error.downcast_ref::<Error>();
                if matches!(own, Some(Error::Interrupted)) {
                    interrupted = Err(Error::Interrupted);
                    break;
                }
                bad_input &= own.is_some_and(Error::is_bad_input);
                tracing::warn!("{}: {error}", line.id);
                line.status = Status::Failed;
                line.error = Some(error.to_string());
            }
        }
        line.seconds = start.elapsed().as_secs_f64();
    }
    let json = as_json(&lines);
    let mut staged = StagedFiles::new();
    staged.stage_bytes(&summary, format!("{json:#}\n").as_bytes())?;
    staged.stage_bytes(&table, &as_csv(&lines)?)?;
    staged.publish()?;
    if args.json { print_line(format_args!("{json:#}")) } else { print_line(as_table(&lines)) }?;
    if interrupted.is_err() {
        return Err(Error::Paused { command: "predict --manifest ...", folder: args.output.clone() }.into());
    }
    let failed = lines.iter().filter(|line| line.status == Status::Failed).count();
    if failed > 0 {
        return Err(Error::ScenesFailed { failed, scenes: lines.len(), summary, bad_input }.into());
    }
    Ok(())
}

fn job(args: &PredictArgs, scene: ManifestScene) -> Job {
    Job {
        id: Some(scene.id),
        scene: args.scene.with_files(scene.files),
        region: scene.region.or_else(|| args.region.clone()),
        date: scene.date,
        output: args.output.join(scene.output),
        earlier: if args.resume { Earlier::Resume } else { Earlier::ResumeIfSame },
    }
}

/// Maps a scene unless it is done; gives its report.
fn map_or_skip(args: &PredictArgs, engine: &mut Engine<'_>, job: &Job) -> Result<(Status, Value)> {
    let earlier = fs::read(job.output.join(REPORT)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if let Some(report) = earlier
        && report["settings_sha256"] == identity::of_results(args, engine, job)
        && has_all_files(args, &job.output)
    {
        return Ok((Status::Skipped, report));
    }
    check_folder(args, &job.output)?;
    let Mapped { report, .. } = map(args, engine, job)?;
    Ok((Status::Done, report))
}

/// Whether no file of a scene was deleted or moved away.
fn has_all_files(args: &PredictArgs, folder: &Path) -> bool {
    // The `.prj` of a Shapefile is only there where the scene's CRS is known.
    let is_needed = |name: &&String| Path::new(name).extension().is_none_or(|extension| extension != "prj");
    args.products(None).names().iter().filter(is_needed).all(|name| folder.join(name).is_file())
        && documents(args).all(|name| folder.join(name).is_file())
}

impl Line {
    fn not_reached(args: &PredictArgs, scene: &ManifestScene) -> Self {
        Self {
            id: scene.id.clone(),
            output: args.output.join(&scene.output),
            status: Status::NotReached,
            seconds: 0.0,
            outlines: None,
            km2: None,
            error: None,
        }
    }
}

fn as_json(lines: &[Line]) -> Value {
    let count = |status| lines.iter().filter(|line| line.status == status).count();
    json!({
        "done": count(Status::Done),
        "skipped": count(Status::Skipped),
        "failed": count(Status::Failed),
        "not_reached": count(Status::NotReached),
        "scenes": lines.iter().map(|line| json!({
            "id": line.id,
            "status": line.status.name(),
            "output": line.output,
            "seconds": (line.seconds * 1e3).round() / 1e3,
            "outlines": line.outlines,
            "glacier_area_km2": line.km2,
            "error": line.error,
        })).collect::<Vec<_>>(),
    })
}

fn as_csv(lines: &[Line]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "status", "output", "seconds", "outlines", "glacier_area_km2", "error"])?;
    for line in lines {
        writer.write_record([
            &line.id,
            line.status.name(),
            &line.output.display().to_string(),
            &format!("{:.3}", line.seconds),
            &line.outlines.map(|n| n.to_string()).unwrap_or_default(),
            &line.km2.map(|n| n.to_string()).unwrap_or_default(),
            line.error.as_deref().unwrap_or_default(),
        ])?;
    }
    Ok(writer.into_inner()?)
}

fn as_table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["scene", "", "outlines", "km2", "s", "why"]);
    for line in lines {
        table.add_row([
            line.id.clone(),
            line.status.name().to_owned(),
            line.outlines.map(|n| n.to_string()).unwrap_or_default(),
            line.km2.map(|n| format!("{n:.2}")).unwrap_or_default(),
            format!("{:.1}", line.seconds),
            line.error.clone().unwrap_or_default(),
        ]);
    }
    for column in 2..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
