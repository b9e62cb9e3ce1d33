//! `glavitu change`: two maps of one place, compared.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueHint};

use crate::atomic_file::check_replaceable;
use crate::cli::assumed_crs::parse_crs;
use crate::cli::output_file::{check_writable, short_name, write_folder};
use crate::cli::print_line;
use crate::error::Error;
use crate::evaluate::change::{Change, Day, FILES, Files, Row};
use crate::report::{REPORT_FILE, changed};

/// Compare the ice of two dates.
///
/// Areas before and after, what was lost, gained and kept, the change per year and in per cent: in all and, with --reference, glacier by glacier. Maps are
/// outlines.tif or probability.tif of `glavitu predict`, or polygons. What lies on another grid than the first raster is brought to it: classes by the nearest pixel,
/// confidences and elevations bilinearly. Without --reference, glaciers are those of the first map if it is
/// polygons with identifiers. Pixels without data at either date do not count.
///
/// With --confidence, uncertainties come from a block bootstrap. A pixel mapped with the calibrated confidence k is wrong with the probability 1 - k. From
/// the N blocks of 3.2 km that have pixels of a glacier, N are drawn with replacement, and in each of them the errors of its pixels at both dates are
/// drawn (their sum, from a normal distribution with its mean and variance); that 1000 times. The columns before_std_km2, after_std_km2 and change_std_km2
/// are standard deviations, change_low_km2 and change_high_km2 the 2.5th and 97.5th percentile around the mapped change (not below -before_km2: no
/// more can be lost than was there), and change_shift_km2 is the change that the confidences foresee on top of the mapped one. Confidences that are not calibrated say nothing of this kind: there
/// are no uncertainties then. Nor has a glacier one with a pixel of known classes without a confidence, and then the total has none.
///
/// Rasters are held in memory: about 16 bytes a pixel.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu change 2000/outlines.tif 2020/outlines.tif --dates 2000-08-01,2020-08-01 -o change
  glavitu change 2000/outlines.tif 2020/outlines.tif --reference rgi.gpkg --confidence 2000/confidence.tif 2020/confidence.tif -o change
  glavitu change 2000/outlines.tif 2020/outlines.tif --reference rgi.gpkg --report -o change
  glavitu change inventory_2000.gpkg inventory_2020.gpkg --grid scene.tif --json -o change")]
pub struct ChangeArgs {
    /// The earlier map
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    before: PathBuf,
    /// The later map
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    after: PathBuf,
    /// The days of both, as YYYY-MM-DD,YYYY-MM-DD [default: the attribute src_date of polygons]
    #[arg(long, value_name = "DAY,DAY")]
    dates: Option<String>,
    /// Outlines of known glaciers with identifiers
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    reference: Option<PathBuf>,
    /// The attribute with the identifiers [default: rgi_id, RGIId, glims_id, glac_id or glacier_id]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// Elevations, by which ice outside the reference is shared
    #[arg(long, value_name = "FILE.tif", requires = "reference", value_hint = ValueHint::FilePath)]
    dem: Option<PathBuf>,
    /// confidence.tif of the earlier and of the later map, calibrated
    #[arg(long, value_name = "FILE.tif", num_args = 2, value_hint = ValueHint::FilePath)]
    confidence: Vec<PathBuf>,
    /// A raster on whose grid polygons are compared, if there is no other
    #[arg(long, value_name = "FILE.tif", value_hint = ValueHint::FilePath)]
    grid: Option<PathBuf>,
    /// The CRS of files that name none, or none that is known, as EPSG:CODE
    #[arg(long, value_name = "EPSG:CODE")]
    assume_crs: Option<String>,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write report.html too: map, bars and table of the glaciers, how it was made; one file that any browser opens
    #[arg(long)]
    report: bool,
    /// Print change.json to standard output
    #[arg(long)]
    json: bool,
    /// A folder for change.json, change.csv (a line for each glacier and the total), change.gpkg (polygons lost, gained and stable) and change.png; it is made if
    /// it does not exist
    #[arg(short, long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    output: PathBuf,
}

/// The file with all numbers.
const REPORT: &str = "change.json";

/// Runs `glavitu change`.
///
/// # Errors
/// Input that does not fit or cannot be read, or a folder that cannot be written; nothing is written then.
pub fn run(args: &ChangeArgs) -> Result<()> {
    check_outputs(args)?;
    let dates = args.dates.as_deref().map(parse_dates).transpose()?;
    let assumed = args.assume_crs.as_deref().map(parse_crs).transpose()?;
    let confidence = match args.confidence.as_slice() {
        [before, after] => Some([before.as_path(), after.as_path()]),
        _ => None,
    };
    let change = Change::new(&Files {
        before: &args.before,
        after: &args.after,
        reference: args.reference.as_deref(),
        id_column: args.id_column.as_deref(),
        elevation: args.dem.as_deref(),
        confidence,
        grid: args.grid.as_deref(),
        assumed_crs: assumed.as_ref(),
        dates,
        seed: args.seed,
    })?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let description =
        format!("glavitu {}; before={}; after={}", env!("CARGO_PKG_VERSION"), name(&args.before), name(&args.after));
    let report = change.summary();
    write_folder(&args.output, |staged| {
        change.stage(&args.output, &description, staged)?;
        staged.stage_bytes(args.output.join(REPORT), format!("{report:#}\n").as_bytes())?;
        if args.report {
            let title = format!("{} and {}", short_name(&args.before), short_name(&args.after));
            let page = changed::report(&change, &title, &inputs(args))?.html();
            staged.stage_bytes(args.output.join(REPORT_FILE), page.as_bytes())?;
        }
        Ok(())
    })?;
    if args.json {
        return print_line(format_args!("{report:#}"));
    }
    for row in change.rows.iter().take(MOST_LINES).chain([&change.total]) {
        print_line(line(row, change.years()))?;
    }
    if let Some(more) = change.rows.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        print_line(format_args!("{more} more glaciers in {}", args.output.join(FILES[0]).display()))?;
    }
    print_line(format_args!("See {}", args.output.join(FILES[2]).display()))
}

/// What a report tells of the run.
fn inputs(args: &ChangeArgs) -> serde_json::Value {
    serde_json::json!({
        "program": format!("glavitu {}", env!("CARGO_PKG_VERSION")),
        "before": args.before,
        "after": args.after,
        "reference": args.reference,
        "dem": args.dem,
        "confidence": args.confidence,
        "grid": args.grid,
        "assume_crs": args.assume_crs,
        "seed": args.seed,
    })
}

/// Glaciers on the screen.
const MOST_LINES: usize = 30;

fn line(row: &Row, years: Option<f64>) -> String {
    let sure = row.spreads.map_or(String::new(), |spreads| format!(" {}", spreads.change));
    let percent = row.change_percent().map_or(String::new(), |percent| format!(" ({percent:+.1} %)"));
    let yearly = years.map_or(String::new(), |years| format!(", {:+.4} km2 a year", row.change_km2() / years));
    format!(
        "{}: {:.3} km2 before, {:.3} after, change {:+.3}{sure}{percent}{yearly}",
        row.id,
        row.before_km2,
        row.after_km2,
        row.change_km2()
    )
}

fn parse_dates(text: &str) -> Result<[Day; 2], Error> {
    match text.split(',').collect::<Vec<_>>().as_slice() {
        [before, after] => Ok([Day::parse(before)?, Day::parse(after)?]),
        parts => Err(Error::bad_argument(
            format!("{} dates in --dates {text}", parts.len()),
            "two, with a comma between them",
            "give --dates 2000-08-01,2020-08-01, say",
        )),
    }
}

/// Refuses a folder that cannot be written, and one in which an output would replace an input.
fn check_outputs(args: &ChangeArgs) -> Result<(), Error> {
    check_writable(&args.output)?;
    let read: Vec<PathBuf> = [&args.before, &args.after]
        .into_iter()
        .chain(&args.reference)
        .chain(&args.dem)
        .chain(&args.confidence)
        .chain(&args.grid)
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    for name in FILES.into_iter().chain([REPORT]).chain(args.report.then_some(REPORT_FILE)) {
        let output = args.output.join(name);
        check_replaceable(&output)?;
        if output.canonicalize().is_ok_and(|output| read.contains(&output)) {
            return Err(Error::bad_file(
                output,
                "a file that is read",
                "another file to write",
                "choose another folder",
            ));
        }
    }
    Ok(())
}
