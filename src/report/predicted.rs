//! The report of a mapped scene, from its folder of results.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value as Json;

use crate::error::Result;
use crate::infer::products::{CLASSES_FILE, CONFIDENCE_FILE, PROBABILITY_FILE};
use crate::infer::uncertainty::{ENTROPY_FILE, MUTUAL_INFORMATION_FILE, STANDARD_DEVIATION_FILE};
use crate::raster::RasterFile;
use crate::raster::geopackage::Value;
use crate::raster::shapes::{Features, Format};
use crate::report::bars::Bars;
use crate::report::map::MapView;
use crate::report::table::Table;
use crate::report::{Block, Figure, Report, picture};

/// Outlines in the table, the largest.
const MOST_OUTLINES: usize = 500;
/// Bars of the outlines' areas.
const MOST_BARS: usize = 15;

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct Predicted<'a> {
    /// The folder of results, with all of its files.
    pub folder: &'a Path,
    /// What stands in `run.json`.
    pub run: &'a Json,
    /// The scene's picture.
    pub imagery: &'a RgbImage,
}

/// Makes the report.
///
/// # Errors
/// A file of the results cannot be read.
pub fn report(predicted: &Predicted<'_>) -> Result<Report> {
    let Predicted { folder, run, imagery } = *predicted;
    let grid = RasterFile::open(folder.join(CLASSES_FILE))?.grid().clone();
    // Files without polygons are no files of polygons to their readers.
    let has_outlines = run["result"]["outlines"].as_u64().is_some_and(|count| count > 0);
    // Other files in the folder may be of an earlier run.
    let names: Vec<&str> = run["files"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let features = first_polygons(folder, names.iter().copied().filter(|_| has_outlines))?
        .map(|path| Features::open(&path))
        .transpose()?;

    let name = run["id"].as_str().map_or_else(
        || folder.file_name().map_or_else(|| "scene".to_owned(), |name| name.to_string_lossy().into_owned()),
        str::to_owned,
    );
    let crs = run["grid"]["crs"].as_str().unwrap_or("no CRS");
    let date = run["date"].as_str().map_or_else(String::new, |date| format!("{date}, "));
    let pixel = grid.ground_pixel_m().map_or_else(String::new, |m| format!(" of {m:.1} m"));
    let lead = format!("{date}{} x {} pixels{pixel}, {crs}", grid.width, grid.height);
    let mut report = Report::new("Glacier map", name, lead);

    report.section("In short", vec![Block::Figures(figures(run)), Block::Text(calibration_note(run))]);

    let mut layers = vec![picture::imagery(
        imagery,
        "Imagery",
        "The scene: SWIR1, NIR and red as red, green and blue; grey where there are no optical bands",
    )?];
    for (file, name, description, range) in RAMPS {
        if names.contains(&file) {
            layers.push(picture::ramp(&folder.join(file), name, description, range)?);
        }
    }
    if let Some(features) = &features {
        let shapes = features.on_grid(|_| true, &grid, grid.crs.as_ref())?;
        layers.push(picture::outlines(&shapes, &grid, "Glacier outlines", picture::OUTLINE));
    }
    let map = MapView {
        size: (grid.width, grid.height),
        pixel_m: grid.ground_pixel_m(),
        layers,
        caption: "Snow and ice are blue, rock brown, vegetation green. Chequered ground has no data.".into(),
    };
    report.section("Map", vec![Block::Map(Box::new(map))]);

    let blocks = match &features {
        Some(features) => outline_blocks(features),
        None => vec![Block::Text("No glacier was found.".into())],
    };
    report.section("Outlines", blocks);
    report.how_it_was_made(vec![Block::Details {
        summary: "Model, settings, inputs, times (run.json)".into(),
        value: run.clone(),
    }]);
    report.sign_off();
    Ok(report)
}

/// Files, names, what they show, and the ends of their ramps.
const RAMPS: [(&str, &str, &str, [f32; 2]); 5] = [
    (PROBABILITY_FILE, "Probability of glacier", "Probability of glacier, 0 to 1", [0.0, 1.0]),
    (CONFIDENCE_FILE, "Confidence", "Confidence of the class, 0 to 1", [0.0, 1.0]),
    (ENTROPY_FILE, "Predictive entropy", "Entropy of the mean probability in bits, 0 to 1", [0.0, 1.0]),
    (MUTUAL_INFORMATION_FILE, "Disagreement", "Mutual information of the members in bits, 0 to 0.25", [0.0, 0.25]),
    (
        STANDARD_DEVIATION_FILE,
        "Standard deviation",
        "Standard deviation of the members' probabilities, 0 to 0.5",
        [0.0, 0.5],
    ),
];

fn figures(run: &Json) -> Vec<Figure> {
    let result = &run["result"];
    let number = |name: &str| result[name].as_f64();
    let mut figures = vec![Figure::new(
        "Glacier area",
        super::or_undefined(number("glacier_area_km2"), 2, " km²"),
        result["area_surface"].as_str().map_or_else(String::new, |surface| format!("on the {surface}")),
    )];
    figures.push(Figure::new("Outlines", result["outlines"].to_string(), String::new()));
    figures.push(Figure::new("Mean confidence", super::or_undefined(number("mean_confidence"), 3, ""), String::new()));
    let threshold = number("confidence_threshold").unwrap_or_default();
    figures.push(Figure::new(
        "Doubtful",
        super::or_undefined(number("share_below_confidence_threshold").map(|share| 100.0 * share), 1, " %"),
        format!("of the pixels have a confidence below {threshold}"),
    ));
    if let Some(total) = run["seconds"]["total"].as_f64() {
        figures.push(Figure::new("Time", format!("{total:.1} s"), run["device"].as_str().unwrap_or_default()));
    }
    figures
}

fn calibration_note(run: &Json) -> String {
    if run["calibration"].is_null() {
        "The confidence is not calibrated: it ranks pixels, but 0.9 does not mean that nine of ten are right. See glavitu calibrate.".into()
    } else {
        "The confidence is calibrated: of pixels with 0.9, about nine of ten should have the right class, on ground like that of the calibration.".into()
    }
}

/// The first file of polygons among the results.
fn first_polygons<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<Option<PathBuf>> {
    for name in names.filter(|name| !name.starts_with("confidence_bands")) {
        let path = folder.join(name);
        if path.is_file() && Format::detect(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The largest outlines as bars and as a table with all attributes.
fn outline_blocks(Features { columns, features, .. }: &Features) -> Vec<Block> {
    let area = columns.iter().position(|column| column.name == "area_km2");
    let area_of = |values: &[Value]| match area.and_then(|area| values.get(area)) {
        Some(Value::Real(value)) => *value,
        _ => 0.0,
    };
    let id = columns.iter().position(|column| column.name == "glacier_id");
    let name_of = |number: usize, values: &[Value]| match id.and_then(|id| values.get(id)) {
        Some(Value::Integer(id)) => format!("glacier {id}"),
        _ => format!("outline {}", number + 1),
    };
    let mut order: Vec<usize> = (0..features.len()).collect();
    order.sort_by(|a, b| area_of(&features[*b].values).total_cmp(&area_of(&features[*a].values)));
    let all = features.len();
    let caption = if all > MOST_OUTLINES {
        format!("The {MOST_OUTLINES} largest of {all} outlines")
    } else {
        format!("All {all} outlines")
    };
    let mut blocks = Vec::new();
    if area.is_some() && all > 1 {
        let bars = order.iter().take(MOST_BARS);
        let bars = bars.map(|n| (name_of(*n, &features[*n].values), Some(area_of(&features[*n].values))));
        blocks.push(Block::Bars(Bars {
            title: "The largest outlines".into(),
            unit: "km²".into(),
            bars: bars.collect(),
            full: None,
            decimals: 2,
        }));
    }
    let rows = order.iter().take(MOST_OUTLINES).map(|n| features[*n].values.as_slice());
    blocks.push(Block::Table(Table::of_values(caption, columns, rows)));
    blocks
}
