//! What calibrators are fitted to: confidences, and whether the class was right, pixel by pixel.
//!
//! Any source can be gone through more than once and in memory that does not grow: a model's predictions for tile files wait in a temporary file
//! ([`SampleSpool`]), rasters are read by rows, tables line by line.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::evaluate::layer::{Source, UNKNOWN, with_crs};
use crate::evaluate::layer_rows::LayerRows;
use crate::evaluate::temperature::{confidence_of_logit, logit_of_confidence, logit_of_probability};
use crate::evaluate::tile_pass::{PatchPrediction, TilePass};
use crate::model::Weights;
use crate::raster::{Crs, Grid, RasterFile, Window, check_same_grid};

/// Rows of rasters that are read at a time.
const ROWS: usize = 64;

/// One pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    claim: Claim,
    /// Whether the class is that of the label.
    pub correct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Claim {
    /// The probability of glacier.
    Probability(f64),
    Confidence(f64),
}

impl Sample {
    /// A pixel of a confidence from 0 to 1.
    #[must_use]
    pub fn of_confidence(confidence: f64, correct: bool) -> Self {
        Self { claim: Claim::Confidence(confidence), correct }
    }

    /// A pixel of a probability of glacier, from 0 to 1.
    #[must_use]
    pub fn of_probability(glacier: f64, correct: bool) -> Self {
        Self { claim: Claim::Probability(glacier), correct }
    }

    /// Its confidence, 1 - entropy / ln 2 of the probabilities clipped to [1e-6, 1 - 1e-6].
    #[must_use]
    pub fn confidence(&self) -> f64 {
        match self.claim {
            Claim::Probability(p) => confidence_of_logit(logit_of_probability(p)),
            Claim::Confidence(c) => c,
        }
    }

    /// The logit of its class; see [`crate::evaluate::temperature`].
    #[must_use]
    pub fn logit(&self) -> f64 {
        match self.claim {
            Claim::Probability(p) => logit_of_probability(p),
            Claim::Confidence(c) => logit_of_confidence(c),
        }
    }
}

/// Predictions with labels in a temporary file, four bytes a pixel.
#[derive(Debug)]
pub struct SampleSpool {
    file: BufWriter<File>,
    samples: u64,
}

impl SampleSpool {
    /// An empty one, in the system's folder of temporary files.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(|e| Error::io("create a file in", std::env::temp_dir(), e))?;
        Ok(Self { file: BufWriter::new(file), samples: 0 })
    }

    /// Adds the labelled pixels of a patch. Both slices are (pixels, 2), as of [`PatchPrediction`]; (0, 0) marks a pixel without a label.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, probabilities: &[f32], target: &[f32]) -> Result<()> {
        for (p, t) in probabilities.as_chunks::<2>().0.iter().zip(target.as_chunks::<2>().0) {
            if *t == [0.0, 0.0] {
                continue;
            }
            let correct = (p[1] > p[0]) == (t[1] > t[0]);
            // The sign of a probability is free to tell.
            let signed = if correct { p[1].abs() } else { -p[1].abs() };
            self.file.write_all(&signed.to_le_bytes()).map_err(|e| Error::io("write", std::env::temp_dir(), e))?;
            self.samples += 1;
        }
        Ok(())
    }

    /// How many pixels there are.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Calls `each` for every pixel, in the order they came.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn each(&mut self, each: &mut dyn FnMut(&Sample)) -> Result<()> {
        let failed = |e| Error::io("read", std::env::temp_dir(), e);
        self.file.flush().map_err(failed)?;
        let file = self.file.get_mut();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 16, &mut *file);
        let mut bytes = [0_u8; 4];
        for _ in 0..self.samples {
            reader.read_exact(&mut bytes).map_err(failed)?;
            let signed = f32::from_le_bytes(bytes);
            each(&Sample::of_probability(f64::from(signed.abs()), signed.is_sign_positive()));
        }
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(())
    }
}

/// Runs a model over tiles and keeps what it says of every labelled pixel: in the first spool, or in the second if `is_held_out` says so of the tile's
/// number. A model with regions meets every patch twice; the first meeting counts, with the tile's region where the model knows it.
///
/// # Errors
/// As [`TilePass::run`], a full disk, or what `progress` returns.
pub fn spool_tiles(
    pass: &mut TilePass,
    weights: &Weights,
    is_held_out: &dyn Fn(usize) -> bool,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<[SampleSpool; 2]> {
    let mut spools = [SampleSpool::new()?, SampleSpool::new()?];
    let mut before = None;
    let mut add = |patch: &PatchPrediction<'_>| {
        // The second meeting follows the first.
        if before == Some(patch.patch) {
            return Ok(());
        }
        before = Some(patch.patch);
        let [fitted, held_out] = &mut spools;
        let spool = if is_held_out(patch.patch.tile) { held_out } else { fitted };
        spool.add(patch.probabilities, patch.target)
    };
    pass.run(weights, &mut |batch| batch.patches().try_for_each(|patch| add(&patch)), progress)?;
    Ok(spools)
}

/// Calls `each` for every line of a CSV with the columns `confidence` (0 to 1) and `correct` (1 or 0, true or false); others are passed over.
///
/// # Errors
/// The file cannot be read, lacks a column, or a value is none of these.
pub fn read_sample_table(path: &Path, each: &mut dyn FnMut(&Sample)) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    read_samples(path, file, each)
}

/// [`read_sample_table`] of anything; `path` serves for messages only.
///
/// # Errors
/// As [`read_sample_table`].
pub fn read_samples(path: &Path, bytes: impl Read, each: &mut dyn FnMut(&Sample)) -> Result<()> {
    let expected = "a CSV with the columns confidence (0 to 1) and correct (1 or 0)";
    let wrong = |found: String| Error::bad_file(path, found, expected, "write one line for each pixel");
    let failed = |e: csv::Error| match e.kind() {
        csv::ErrorKind::Io(io) if io.kind() != ErrorKind::InvalidData => {
            Error::io("read", path, std::io::Error::new(io.kind(), io.to_string()))
        }
        _ => wrong(e.to_string()),
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(BufReader::new(bytes));
    let names = reader.byte_headers().map_err(failed)?.clone();
    let column = |name: &str| {
        // Spreadsheets begin files with a byte order mark.
        let is_it =
            |field: &[u8]| field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field).eq_ignore_ascii_case(name.as_bytes());
        names.iter().position(is_it).ok_or_else(|| wrong(format!("no column {name}")))
    };
    let (confidence, correct) = (column("confidence")?, column("correct")?);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let field = |column: usize| String::from_utf8_lossy(record.get(column).unwrap_or_default()).into_owned();
        let line = || record.position().map_or(0, csv::Position::line);
        let (c, right) = (field(confidence), field(correct));
        let value = c.parse::<f64>().ok().filter(|c| (0.0..=1.0).contains(c));
        let Some(value) = value else {
            return Err(wrong(format!("the confidence '{}' in line {}", shown(&c), line())));
        };
        let right = match right.to_ascii_lowercase().as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => return Err(wrong(format!("'{}' for correct in line {}", shown(&right), line()))),
        };
        each(&Sample::of_confidence(value, right));
    }
    Ok(())
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A mapped scene with its confidence, and the truth, on one grid.
#[derive(Debug)]
pub struct SceneSamples {
    confidence: RasterFile,
    grid: Grid,
    predicted: LayerRows,
    reference: LayerRows,
    without_confidence: u64,
}

impl SceneSamples {
    /// As [`SceneSamples::open`], but the confidence must not be calibrated.
    ///
    /// # Errors
    /// As there, or the confidence is calibrated already.
    pub fn open_raw(confidence: &Path, predicted: &Path, reference: &Path, assumed: Option<&Crs>) -> Result<Self> {
        let samples = Self::open(confidence, predicted, reference, assumed)?;
        let key = "GLAVITU_CALIBRATION_SHA256";
        if samples.confidence.items().iter().any(|(name, value)| name == key && value != "none") {
            let (found, expected) = ("confidence that is calibrated", "one band of raw confidence");
            let remedy = "run glavitu predict without --calibration";
            return Err(Error::bad_file(confidence, found, expected, remedy));
        }
        Ok(samples)
    }

    /// Opens confidence.tif of `glavitu predict`, the classes (or probabilities, or polygons) it belongs to, and the true classes or
    /// polygons. `assumed` stands in for a CRS that a file does not name or that is not known.
    ///
    /// # Errors
    /// A file cannot be read or is on another grid.
    pub fn open(confidence: &Path, predicted: &Path, reference: &Path, assumed: Option<&Crs>) -> Result<Self> {
        let file = RasterFile::open(confidence)?;
        let expected = "one band of confidence";
        if file.bands().len() != 1 {
            let found = format!("{} bands", file.bands().len());
            return Err(Error::bad_file(confidence, found, expected, "give confidence.tif of glavitu predict"));
        }
        let grid = with_crs(file.grid(), assumed);
        let open = |path: &Path| {
            let source = Source::open(path)?;
            if let Some(other) = source.grid(assumed) {
                check_same_grid((confidence, &grid), (path, &other))?;
            }
            Ok::<Source, Error>(source)
        };
        let predicted = LayerRows::predicted(open(predicted)?, &grid, assumed)?;
        let reference = LayerRows::reference(open(reference)?, &grid, assumed)?;
        Ok(Self { confidence: file, grid, predicted, reference, without_confidence: 0 })
    }

    /// How many pixels [`SceneSamples::each`] last met that have a class and a label and no confidence.
    #[must_use]
    pub fn without_confidence(&self) -> u64 {
        self.without_confidence
    }

    /// Calls `each` for every pixel that has a confidence, a class and a label.
    ///
    /// # Errors
    /// A file cannot be read, has other values, or no pixel with a class and a label has a confidence.
    pub fn each(&mut self, each: &mut dyn FnMut(&Sample)) -> Result<()> {
        let (mut with, mut without) = (0_u64, 0_u64);
        for row in (0..self.grid.height).step_by(ROWS) {
            let window = Window { row, col: 0, height: ROWS.min(self.grid.height - row), width: self.grid.width };
            let confidence = self.confidence.read_window(0, window)?;
            let (predicted, reference) = (self.predicted.read(window)?, self.reference.read(window)?);
            for ((c, predicted), reference) in confidence.iter().zip(predicted).zip(reference) {
                if predicted == UNKNOWN || reference == UNKNOWN {
                    continue;
                }
                if c.is_nan() {
                    without += 1;
                    continue;
                }
                with += 1;
                if !(0.0..=1.0).contains(c) {
                    let remedy = "give confidence.tif of glavitu predict";
                    let path = self.confidence.path();
                    return Err(Error::bad_file(path, format!("the value {c}"), "confidences from 0 to 1", remedy));
                }
                each(&Sample::of_confidence(f64::from(*c), predicted == reference));
            }
        }
        self.without_confidence = without;
        if with == 0 && without > 0 {
            let found = format!("no confidence for any of {without} pixels with a class and a label");
            let remedy = "check that the files belong together, and the nodata value";
            return Err(Error::bad_file(self.confidence.path(), found, "confidences from 0 to 1", remedy));
        }
        Ok(())
    }
}

/// Where samples come from, to be gone through as often as needed.
#[derive(Debug)]
pub enum Samples {
    /// What a model said of tiles.
    Spool(SampleSpool),
    /// Tables ([`read_sample_table`]).
    Tables(Vec<PathBuf>),
    /// A mapped scene.
    Scene(Box<SceneSamples>),
}

impl Samples {
    /// Calls `each` for every sample.
    ///
    /// # Errors
    /// A file cannot be read or is not what it must be.
    pub fn each(&mut self, each: &mut dyn FnMut(&Sample)) -> Result<()> {
        match self {
            Self::Spool(spool) => spool.each(each),
            Self::Tables(paths) => paths.iter().try_for_each(|path| read_sample_table(path, each)),
            Self::Scene(scene) => scene.each(each),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(f64, bool)>> {
        let mut found = Vec::new();
        read_samples(Path::new("s.csv"), text, &mut |sample| found.push((sample.confidence(), sample.correct)))?;
        Ok(found)
    }

    #[test]
    fn tables() {
        let text = "\u{feff}region, Correct ,confidence\nALP,1,0.5\nNZ, false ,1\n";
        assert_eq!(read(text.as_bytes()).expect("samples"), [(0.5, true), (1.0, false)]);
        for (text, expected) in [
            ("", "no column confidence"),
            ("confidence\n0.5\n", "no column correct"),
            ("confidence,correct\n1.5,1\n", "the confidence '1.5' in line 2"),
            ("confidence,correct\n0.5,1\nNaN,1\n", "the confidence 'NaN' in line 3"),
            ("confidence,correct\n0.5,yes\n", "'yes' for correct in line 2"),
            ("confidence,correct\n0.5\n", "found record with 1 fields"),
        ] {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(error.is_bad_input() && error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn predictions_wait_in_a_file() {
        let mut spool = SampleSpool::new().expect("a file");
        // Right, unlabelled, wrong, equal: class 0.
        let probabilities = [0.25, 0.75, 0.1, 0.9, 1.0, 0.0, 0.5, 0.5];
        spool.add(&probabilities, &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]).expect("written");
        for _ in 0..2 {
            let mut found = Vec::new();
            spool.each(&mut |sample| found.push(*sample)).expect("read");
            let expected = [(0.75, true), (0.0, false), (0.5, true)];
            assert_eq!(found, expected.map(|(p, correct)| Sample::of_probability(p, correct)));
        }
        spool.add(&[0.0, 1.0], &[0.0, 1.0]).expect("written");
        let mut count = 0;
        spool.each(&mut |_| count += 1).expect("read");
        assert_eq!((count, spool.samples()), (4, 4));
        let sample = Sample::of_probability(0.25, true);
        assert!((sample.confidence() - crate::infer::postprocess::confidence(0.25)).abs() < 1e-13);
        let same = Sample::of_confidence(sample.confidence(), true);
        assert!((sample.logit() - 3.0_f64.ln()).abs() < 1e-12 && (same.logit() - 3.0_f64.ln()).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_bytes_are_samples_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), head in any::<bool>()) {
            let mut text = if head { b"confidence,correct\n".to_vec() } else { Vec::new() };
            text.extend(bytes);
            match read(&text) {
                Ok(samples) => prop_assert!(samples.iter().all(|sample| (0.0..=1.0).contains(&sample.0))),
                Err(error) => prop_assert!(error.is_bad_input()),
            }
        }
    }
}
