//! `glavitu inspect`: what rasters are, and what is wrong with them.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::cli::assumed_crs::parse_crs;
use crate::cli::print_line;
use crate::error::Error;
use crate::raster::inspect::{Examined, Finding, Role, Sample, Sensor, Severity, between, findings, guess};
use crate::raster::{Crs, Grid, RasterFile};

/// Show what rasters are and what is wrong with them, each with what to do about it.
///
/// Values are physical (scale and offset of the file applied) and come from all pixels of small rasters, from windows spread over large ones.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu inspect scene.tif dem.tif
  glavitu inspect B02.tif B03.tif B04.tif B05.tif B06.tif B07.tif
  glavitu inspect *.tif --json")]
pub struct InspectArgs {
    /// Rasters
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// The CRS of rasters that name none or an unknown one, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// One file, looked at.
struct Looked {
    file: RasterFile,
    sample: Sample,
    sensor: Option<Sensor>,
    role: Option<Role>,
    findings: Vec<Finding>,
}

/// Runs `glavitu inspect`.
///
/// # Errors
/// A file cannot be read (the others are still shown), or the output cannot be written.
pub fn run(args: &InspectArgs) -> Result<()> {
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let looked: Vec<_> = args.files.iter().map(|path| look(path, assumed.as_ref())).collect();
    let whole: Vec<_> = looked.iter().flatten().collect();
    let rasters: Vec<_> = whole.iter().map(|l| (Examined { file: &l.file, sample: &l.sample }, l.role)).collect();
    let together = between(&rasters);
    if args.json {
        let files: Vec<Value> = args
            .files
            .iter()
            .zip(&looked)
            .map(|(path, result)| match result {
                Ok(looked) => looked.json(),
                Err(error) => json!({ "file": path, "error": error.to_string() }),
            })
            .collect();
        let together: Vec<_> = together.iter().map(finding_json).collect();
        print_line(serde_json::to_string_pretty(&json!({ "files": files, "together": together }))?)?;
    } else {
        let mut blocks: Vec<String> = whole.iter().map(|looked| looked.text()).collect();
        if !together.is_empty() {
            blocks.push(format!("Together\n{}", together.iter().map(finding_text).collect::<Vec<_>>().join("\n")));
        }
        if !blocks.is_empty() {
            print_line(blocks.join("\n\n"))?;
        }
    }
    let mut errors = looked.into_iter().filter_map(std::result::Result::err);
    let Some(first) = errors.next() else { return Ok(()) };
    for other in errors {
        tracing::error!("{other}");
    }
    Err(first.into())
}

fn look(path: &std::path::Path, assumed: Option<&Crs>) -> Result<Looked, Error> {
    let file = RasterFile::open(path)?;
    let sample = Sample::read(&file)?;
    let sensor = guess(&file);
    // Six bands are what the network takes of an optical scene.
    let role = sensor.as_ref().map(|sensor| sensor.role).or((file.bands().len() == 6).then_some(Role::Optical));
    let mut findings = findings(Examined { file: &file, sample: &sample }, role);
    if assumed.is_some() {
        findings.retain(|finding| !matches!(finding.kind, "no_crs" | "unknown_crs"));
    }
    Ok(Looked { file, sample, sensor, role, findings })
}

impl Looked {
    fn json(&self) -> Value {
        let grid = self.file.grid();
        let (width_m, crs) = (grid.ground_pixel_m(), grid.crs.as_ref());
        let bands: Vec<Value> = self
            .file
            .bands()
            .iter()
            .enumerate()
            .map(|(number, band)| {
                let s = self.sample.statistics(number);
                // JSON has no NaN: what is not known is null.
                let value = |of: fn(&crate::raster::inspect::Statistics) -> f32| {
                    s.as_ref().map(of).filter(|value| value.is_finite())
                };
                json!({
                    "description": band.description,
                    "type": band.sample_type.to_string(),
                    "nodata": band.nodata.map(|nodata| nodata.to_string()),
                    "scale": band.scale,
                    "offset": band.offset,
                    "nodata_share": s.map(|s| s.nodata_share()),
                    "least": value(|s| s.least),
                    "low": value(|s| s.low),
                    "median": value(|s| s.median),
                    "high": value(|s| s.high),
                    "greatest": value(|s| s.greatest),
                })
            })
            .collect();
        json!({
            "file": self.file.path(),
            "sensor": self.sensor.as_ref().map(|sensor| &sensor.name),
            "role": self.role.map(Role::name),
            "width": grid.width,
            "height": grid.height,
            "transform": grid.transform,
            "pixel_m": width_m,
            "crs": crs.map(|crs| &crs.name),
            "epsg": crs.and_then(|crs| crs.epsg),
            "area_or_point": area_or_point(grid),
            "whole": self.sample.is_whole,
            "bands": bands,
            "findings": self.findings.iter().map(finding_json).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let grid = self.file.grid();
        let mut lines = vec![self.file.path().display().to_string()];
        let what = match (&self.sensor, self.role) {
            (Some(sensor), _) => sensor.name.clone(),
            (None, Some(role)) => role.name().to_owned(),
            (None, None) => "unknown".to_owned(),
        };
        let count = self.file.bands().len();
        let stored = self.file.bands().first().map_or_else(String::new, |band| band.sample_type.to_string());
        let s = if count == 1 { "" } else { "s" };
        lines.push(format!(
            "  {what}; {count} band{s} of {stored}, {} x {} pixels of {}",
            grid.width,
            grid.height,
            pixel(grid)
        ));
        lines.push(format!("  {}; pixels are {}s", crs_name(grid), area_or_point(grid)));
        let share = if self.sample.is_whole { "all pixels" } else { "a sample of pixels" };
        lines.push(format!(
            "  {:<18} {:>9} {:>11} {:>11} {:>11} {:>11} {:>11}  ({share})",
            "band", "no data", "least", "2 %", "median", "98 %", "greatest"
        ));
        for (number, band) in self.file.bands().iter().enumerate() {
            let Some(s) = self.sample.statistics(number) else {
                lines.push(format!("  and {} more", count - number));
                break;
            };
            let name = band.description.as_deref().unwrap_or_default();
            let scale = if (band.scale, band.offset) == (1.0, 0.0) {
                String::new()
            } else {
                format!("  = stored * {} + {}", band.scale, band.offset)
            };
            lines.push(format!(
                "  {:<18} {:>7.1} % {:>11} {:>11} {:>11} {:>11} {:>11}{scale}",
                format!("{} {name}", number + 1),
                s.nodata_share() * 100.0,
                number_text(s.least),
                number_text(s.low),
                number_text(s.median),
                number_text(s.high),
                number_text(s.greatest),
            ));
        }
        lines.extend(self.findings.iter().map(finding_text));
        if self.findings.iter().all(|finding| finding.severity == Severity::Note) {
            lines.push("  nothing wrong was found".to_owned());
        }
        lines.join("\n")
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "severity": finding.severity.name(),
        "message": finding.message,
        "fix": finding.fix,
    })
}

fn finding_text(finding: &Finding) -> String {
    format!("  {}: {}\n    fix: {}", finding.severity.name(), finding.message, finding.fix)
}

fn number_text(value: f32) -> String {
    let size = value.abs();
    match () {
        () if value.is_nan() => "-".to_owned(),
        () if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        () if size < 10.0 => format!("{value:.4}"),
        () => format!("{value:.2}"),
    }
}

fn area_or_point(grid: &Grid) -> &'static str {
    if grid.crs.as_ref().is_some_and(|crs| crs.keys.pixel_is_point()) { "point" } else { "area" }
}

fn crs_name(grid: &Grid) -> String {
    match &grid.crs {
        None => "no CRS".to_owned(),
        Some(Crs { epsg: Some(code), name, .. }) => format!("EPSG:{code} ({name})"),
        Some(crs) => crs.name.clone(),
    }
}

/// The pixels' sides in the CRS's unit and their mean on the ground.
fn pixel(grid: &Grid) -> String {
    let t = &grid.transform;
    let (x, y) = (t[0].hypot(t[3]), t[1].hypot(t[4]));
    let unit = match &grid.crs {
        None => "units",
        Some(crs) if crs.geographic => "degrees",
        Some(crs) => match crs.metres_per_unit() {
            Some(1.0) => "m",
            Some(size) if (0.30..0.31).contains(&size) => "feet",
            _ => "units",
        },
    };
    let ground =
        grid.ground_pixel_m().filter(|_| unit != "m").map_or_else(String::new, |m| format!(", about {m:.4} m"));
    let size = if (x - y).abs() <= 1e-9 * x { format!("{x}") } else { format!("{x} x {y}") };
    format!("{size} {unit}{ground}")
}
