//! Calibration of confidence: from what the network claims to how often it is right.
//!
//! A calibrator is a function f of the raw confidence c in 0..=1, in one of four forms:
//!
//! - *Kernel*: f(c) = sum over i of a_i exp(-gamma |c - x_i|), clipped to 0..=1. This is kernel ridge regression with the
//!   Laplacian kernel, as the published calibrators use it (Maslov et al., Nat. Commun. 16, 43, 2025).
//! - *Table*: linear between values at equal steps of c from 0 to 1. [`Calibrator::monotone`] makes one.
//! - *Points*: linear between values at any c, level below the first and above the last. [`crate::evaluate::isotonic`] makes one.
//! - *Temperature*: with the logit z of the class of confidence c, f(c) = 1 / (1 + exp(-z / T)). [`crate::evaluate::temperature`] makes one.
//!
//! [`crate::evaluate::kernel_ridge`] makes a kernel. Points whose values do not fall, and every temperature, never lower the order of confidences: for
//! c1 <= c2, [`Calibrator::predict`] and [`CalibrationCurve::value`] give f(c1) <= f(c2), not only up to rounding.
//!
//! # File
//! JSON with the fields
//!
//! | field | value |
//! |---|---|
//! | `format` | `glavitu-calibrator` |
//! | `format_version` | 1; 2 if the kind is points or temperature |
//! | `curve` | `{"kind": "kernel", "gamma": g, "points": [x...], "coefficients": [a...]}`, `{"kind": "table", "values": [f...]}`, `{"kind": "points", "points": [x...], "values": [f...]}` or `{"kind": "temperature", "temperature": t}` |
//! | `origin` | where it comes from, for people; ends with ", model " and the hash of its parameters if a model is known ([`Calibrator::model_sha256`]) |
//! | `sha256` | see [`Calibrator::sha256`]; checked on reading |

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};
use crate::evaluate::isotonic::isotonic;
use crate::evaluate::temperature::{LARGEST_LOGIT, confidence_of_logit, logit_of_confidence, sigmoid};
use crate::model::arrays::{describe, read_file};

const FORMAT: &str = "glavitu-calibrator";
/// Comes before the hash of a model's parameters in an origin.
pub const MODEL: &str = ", model ";
/// The first version, of kernels and tables, and the present one.
const FORMAT_VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// The largest calibrator file that is read.
const LARGEST_FILE: u64 = 64 << 20;
/// The most points or values a calibrator may have.
const MOST_POINTS: usize = 1_000_000;
/// Steps of the grid on which monotony is judged and made.
const GRID: u32 = 2000;
/// Points that a temperature becomes for rasters: dense where confidence is small, so that they are within 1e-7 of it.
const TEMPERATURE_POINTS: u32 = 1 << 14;
/// A calibrator counts as monotone if it never falls by more than this below an earlier value.
pub const MONOTONE_TOLERANCE: f64 = 1e-3;

/// The form of a calibrator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Form {
    Kernel { gamma: f64, points: Vec<f64>, coefficients: Vec<f64> },
    Table { values: Vec<f64> },
    Points { points: Vec<f64>, values: Vec<f64> },
    Temperature { temperature: f64 },
}

/// A function from raw to calibrated confidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrator {
    form: Form,
    origin: String,
}

#[derive(Serialize, Deserialize)]
struct CalibratorFile {
    format: String,
    format_version: u32,
    curve: Form,
    origin: String,
    sha256: String,
}

impl Calibrator {
    /// A calibrator of the kernel form. The points are sorted, each with its coefficient.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if the numbers of points and coefficients differ, there are none, one is not finite, or
    /// gamma is not positive.
    pub fn from_kernel(
        gamma: f64,
        points: Vec<f64>,
        coefficients: Vec<f64>,
        origin: impl Into<String>,
    ) -> Result<Self> {
        if points.len() != coefficients.len() {
            return Err(bad(
                format!("{} points and {} coefficients", points.len(), coefficients.len()),
                "as many of each",
            ));
        }
        if !(gamma.is_finite() && gamma > 0.0) {
            return Err(bad(format!("gamma {gamma}"), "a positive number"));
        }
        check_values("points", &points, 1)?;
        check_values("coefficients", &coefficients, 1)?;
        let mut pairs: Vec<_> = points.into_iter().zip(coefficients).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (points, coefficients) = pairs.into_iter().unzip();
        Ok(Self { form: Form::Kernel { gamma, points, coefficients }, origin: origin.into() })
    }

    /// A calibrator that is linear between `values` at equal steps of c from 0 to 1.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if there are fewer than two values or one is not finite.
    pub fn from_table(values: Vec<f64>, origin: impl Into<String>) -> Result<Self> {
        check_values("values", &values, 2)?;
        Ok(Self { form: Form::Table { values }, origin: origin.into() })
    }

    /// A calibrator that is linear between `values` at the confidences `points`, which rise from 0 or more to 1 or less.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if the numbers of points and values differ, there are none, one is not finite, or points do not rise or lie outside 0..=1.
    pub fn from_points(points: Vec<f64>, values: Vec<f64>, origin: impl Into<String>) -> Result<Self> {
        if points.len() != values.len() {
            return Err(bad(format!("{} points and {} values", points.len(), values.len()), "as many of each"));
        }
        check_values("points", &points, 1)?;
        check_values("values", &values, 1)?;
        let outside = points.iter().find(|x| !(0.0..=1.0).contains(*x));
        if let Some(x) = outside.or_else(|| points.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| &pair[1])) {
            return Err(bad(format!("the point {x}"), "points that rise, from 0 to 1"));
        }
        Ok(Self { form: Form::Points { points, values }, origin: origin.into() })
    }

    /// A calibrator that divides logits.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if the temperature is not between 1e-6 and 1e6.
    pub fn from_temperature(temperature: f64, origin: impl Into<String>) -> Result<Self> {
        if !(1e-6..=1e6).contains(&temperature) {
            return Err(bad(format!("the temperature {temperature}"), "one from 0.000001 to 1000000"));
        }
        Ok(Self { form: Form::Temperature { temperature }, origin: origin.into() })
    }

    /// Reads a calibrator file.
    ///
    /// # Errors
    /// The file cannot be read, is no calibrator of a known version, or does not match its hash.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(path, &read_file(path, LARGEST_FILE)?)
    }

    /// Reads a calibrator file's bytes. `path` serves for messages only.
    ///
    /// # Errors
    /// As [`Calibrator::load`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |found: String| {
            Error::bad_file(
                path,
                found,
                "a calibrator file of glavitu",
                "make one with `glavitu calibrate` or `glavitu import calibration`, or copy it again if it is damaged",
            )
        };
        let file: CalibratorFile =
            serde_json::from_slice(bytes).map_err(|e| refuse(format!("{} ({e})", describe(bytes))))?;
        if file.format != FORMAT || !FORMAT_VERSIONS.contains(&file.format_version) {
            return Err(refuse(format!("format {} version {}", file.format, file.format_version)));
        }
        let calibrator = match file.curve {
            Form::Kernel { gamma, points, coefficients } => Self::from_kernel(gamma, points, coefficients, file.origin),
            Form::Table { values } => Self::from_table(values, file.origin),
            Form::Points { points, values } => Self::from_points(points, values, file.origin),
            Form::Temperature { temperature } => Self::from_temperature(temperature, file.origin),
        }
        .map_err(|e| refuse(e.to_string()))?;
        let found = calibrator.sha256();
        if found != file.sha256 {
            return Err(refuse(format!("a curve with SHA-256 {found}, not {} as the file says", file.sha256)));
        }
        Ok(calibrator)
    }

    /// The text of the calibrator file.
    ///
    /// # Errors
    /// None that is known: all numbers are finite.
    pub fn to_json(&self) -> Result<String> {
        let file = CalibratorFile {
            format: FORMAT.into(),
            format_version: match self.form {
                Form::Kernel { .. } | Form::Table { .. } => *FORMAT_VERSIONS.start(),
                Form::Points { .. } | Form::Temperature { .. } => *FORMAT_VERSIONS.end(),
            },
            curve: self.form.clone(),
            origin: self.origin.clone(),
            sha256: self.sha256(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|e| bad(e.to_string(), "finite numbers"))?;
        Ok(text + "\n")
    }

    /// Writes the calibrator file, whole or not at all.
    ///
    /// # Errors
    /// The folder is missing or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = self.to_json()?;
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.is_dir()) {
            return Err(Error::bad_file(
                path,
                format!("no folder {}", folder.display()),
                "an existing folder",
                "make it first",
            ));
        }
        write_atomically(path, |temporary| std::fs::write(temporary, &text).map_err(|e| Error::io("write", path, e)))
    }

    /// The calibrated confidence, 0..=1, of the raw confidence `c`, summed term by term. NaN stays NaN.
    ///
    /// For whole rasters use [`Calibrator::curve`].
    #[must_use]
    pub fn predict(&self, c: f64) -> f64 {
        match &self.form {
            Form::Kernel { gamma, points, coefficients } => {
                let terms = points.iter().zip(coefficients).map(|(x, a)| a * (-gamma * (c - x).abs()).exp());
                terms.sum::<f64>().clamp(0.0, 1.0)
            }
            Form::Table { values } => interpolate(values, c).clamp(0.0, 1.0),
            Form::Points { points, values } => between_points(points, values, c).clamp(0.0, 1.0),
            Form::Temperature { temperature } => sigmoid(logit_of_confidence(c) / temperature),
        }
    }

    /// A precomputed form with the same values up to rounding (to 1e-7 for a temperature), in time independent of the number of points.
    #[must_use]
    pub fn curve(&self) -> CalibrationCurve {
        CalibrationCurve::new(&self.form)
    }

    /// The furthest that f falls below an earlier value, on a grid of c from 0 to 1 that includes every kernel point.
    #[must_use]
    pub fn largest_fall(&self) -> f64 {
        let mut grid: Vec<f64> = (0..=GRID).map(|i| f64::from(i) / f64::from(GRID)).collect();
        match &self.form {
            Form::Kernel { points, .. } => grid.extend(points.iter().filter(|x| (0.0..=1.0).contains(*x))),
            Form::Table { values } => grid.extend((0..values.len()).map(|i| i as f64 / (values.len() - 1) as f64)),
            Form::Points { points, .. } => grid.extend(points),
            Form::Temperature { .. } => {}
        }
        grid.sort_by(f64::total_cmp);
        let curve = self.curve();
        let mut highest = 0.0_f64;
        grid.into_iter().fold(0.0, |fall: f64, c| {
            let value = curve.value(c);
            highest = highest.max(value);
            fall.max(highest - value)
        })
    }

    /// Whether f falls nowhere by more than [`MONOTONE_TOLERANCE`].
    #[must_use]
    pub fn is_monotone(&self) -> bool {
        self.largest_fall() <= MONOTONE_TOLERANCE
    }

    /// The nondecreasing function closest to this one in the sense of least squares over c in 0..=1, as a table.
    ///
    /// Pool-adjacent-violators on a grid of step 1/2000 (Barlow et al., Statistical Inference under Order Restrictions,
    /// 1972). Every c weighs the same, as a calibrator does not say how many pixels were behind each of its points.
    #[must_use]
    pub fn monotone(&self) -> Self {
        let curve = self.curve();
        let values = (0..=GRID).map(|i| (curve.value(f64::from(i) / f64::from(GRID)), 1.0)).collect::<Vec<_>>();
        Self {
            form: Form::Table { values: isotonic(&values) },
            origin: format!("{}; made monotone by isotonic regression", self.origin),
        }
    }

    /// Where the calibrator comes from, for people.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The hash of the model's parameters ([`crate::model::Weights::parameters_sha256`]) whose confidence it was fitted to, if `glavitu calibrate` knew the
    /// model: `origin` ends with it then.
    #[must_use]
    pub fn model_sha256(&self) -> Option<&str> {
        let (_, after) = self.origin.rsplit_once(MODEL)?;
        let hash = after.get(..64)?;
        let is_whole = after.get(64..).is_some_and(|rest| rest.is_empty() || rest.starts_with(';'));
        (is_whole && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
    }

    /// Warns if it was fitted to another model than those with these hashes of parameters.
    pub fn warn_of_other_model(&self, models: &[&str]) {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        if let Some(own) = self.model_sha256().filter(|own| !models.contains(own)) {
            tracing::warn!(
                "the calibrator was fitted to the model with the parameters {}..., not to {}...: what it makes of this one's confidence is not known to be right; \
                 make one with `glavitu calibrate --model`",
                short(own),
                short(models.first().copied().unwrap_or_default())
            );
        }
    }

    /// The form: `kernel`, `table`, `points` or `temperature`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.form {
            Form::Kernel { .. } => "kernel",
            Form::Table { .. } => "table",
            Form::Points { .. } => "points",
            Form::Temperature { .. } => "temperature",
        }
    }

    /// The number of kernel points, table values or points; 1 for a temperature.
    #[must_use]
    pub fn points(&self) -> usize {
        match &self.form {
            Form::Kernel { points, .. } | Form::Points { points, .. } => points.len(),
            Form::Table { values } => values.len(),
            Form::Temperature { .. } => 1,
        }
    }

    /// The kernel's gamma, if of the kernel form.
    #[must_use]
    pub fn gamma(&self) -> Option<f64> {
        match self.form {
            Form::Kernel { gamma, .. } => Some(gamma),
            _ => None,
        }
    }

    /// The temperature, if of that form.
    #[must_use]
    pub fn temperature(&self) -> Option<f64> {
        match self.form {
            Form::Temperature { temperature } => Some(temperature),
            _ => None,
        }
    }

    /// SHA-256 of the curve, in hexadecimal: the kind in UTF-8 and a zero byte, then little-endian float64 values:
    /// gamma, points, coefficients of a kernel; the values of a table; points and values of points; the temperature.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.kind());
        hash.update([0]);
        let mut put = |values: &[f64]| {
            for value in values {
                hash.update(value.to_le_bytes());
            }
        };
        match &self.form {
            Form::Kernel { gamma, points, coefficients } => {
                put(&[*gamma]);
                put(points);
                put(coefficients);
            }
            Form::Table { values } => put(values),
            Form::Points { points, values } => {
                put(points);
                put(values);
            }
            Form::Temperature { temperature } => put(&[*temperature]),
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// A calibrator prepared for many values.
///
/// For the kernel, the sum over the points left of c decays as exp(-gamma (c - x)) and the sum right of it as
/// exp(-gamma (x - c)): with both sums known at every point, a value takes two exponentials. No exponent is positive,
/// so nothing overflows for any gamma. Agrees with [`Calibrator::predict`] to about 1e-12 for the published ones.
#[derive(Debug, Clone)]
pub struct CalibrationCurve(Prepared);

#[derive(Debug, Clone)]
enum Prepared {
    Kernel {
        gamma: f64,
        points: Vec<f64>,
        /// At point k: the sum over i <= k of a_i exp(-gamma (x_k - x_i)).
        left: Vec<f64>,
        /// At point k: the sum over i >= k of a_i exp(-gamma (x_i - x_k)).
        right: Vec<f64>,
    },
    Table(Vec<f64>),
    Points {
        points: Vec<f64>,
        values: Vec<f64>,
    },
}

impl CalibrationCurve {
    fn new(form: &Form) -> Self {
        match form {
            Form::Kernel { gamma, points, coefficients } => {
                let n = points.len();
                let (mut left, mut right) = (coefficients.clone(), coefficients.clone());
                for k in 1..n {
                    left[k] += left[k - 1] * (-gamma * (points[k] - points[k - 1])).exp();
                }
                for k in (0..n - 1).rev() {
                    right[k] += right[k + 1] * (-gamma * (points[k + 1] - points[k])).exp();
                }
                Self(Prepared::Kernel { gamma: *gamma, points: points.clone(), left, right })
            }
            Form::Table { values } => Self(Prepared::Table(values.clone())),
            Form::Points { points, values } => {
                Self(Prepared::Points { points: points.clone(), values: values.clone() })
            }
            Form::Temperature { temperature } => {
                // Confidence grows with the square of small logits, so their steps grow as well.
                let logit = |i: u32| LARGEST_LOGIT * (f64::from(i) / f64::from(TEMPERATURE_POINTS)).powi(2);
                let mut knots: Vec<(f64, f64)> = (0..=TEMPERATURE_POINTS)
                    .map(|i| (confidence_of_logit(logit(i)), sigmoid(logit(i) / temperature)))
                    .collect();
                // Rounding may put the least confidences out of order.
                knots.dedup_by(|next, before| next.0 <= before.0);
                let (points, values) = knots.into_iter().unzip();
                Self(Prepared::Points { points, values })
            }
        }
    }

    /// The calibrated confidence of `c`; see [`Calibrator::predict`].
    #[must_use]
    pub fn value(&self, c: f64) -> f64 {
        if c.is_nan() {
            return c;
        }
        match &self.0 {
            Prepared::Kernel { gamma, points, left, right } => {
                let next = points.partition_point(|x| *x <= c);
                let below = next.checked_sub(1).map_or(0.0, |k| left[k] * (-gamma * (c - points[k])).exp());
                let above = points.get(next).map_or(0.0, |x| right[next] * (-gamma * (x - c)).exp());
                (below + above).clamp(0.0, 1.0)
            }
            Prepared::Table(values) => interpolate(values, c).clamp(0.0, 1.0),
            Prepared::Points { points, values } => between_points(points, values, c).clamp(0.0, 1.0),
        }
    }

    /// Calibrates a raster or a part of one in place. NaN stays NaN.
    pub fn apply(&self, confidences: &mut [f32]) {
        for c in confidences {
            *c = narrow(self.value(f64::from(*c)));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding a value in 0..=1 to float32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Linear interpolation in values at equal steps from 0 to 1, constant outside.
fn interpolate(values: &[f64], c: f64) -> f64 {
    if c.is_nan() {
        return c;
    }
    let last = values.len() - 1;
    let position = c.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "position is in 0..=last")]
    let lower = (position.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let t = position - lower as f64;
    between(values[lower], values[upper], t)
}

/// Linear interpolation between values at rising points, level outside.
fn between_points(points: &[f64], values: &[f64], c: f64) -> f64 {
    if c.is_nan() {
        return c;
    }
    let next = points.partition_point(|x| *x <= c);
    let (Some(last), Some(before)) = (points.len().checked_sub(1), next.checked_sub(1)) else {
        return values.first().copied().unwrap_or(f64::NAN);
    };
    if before == last {
        return values[last];
    }
    between(values[before], values[next], (c - points[before]) / (points[next] - points[before]))
}

/// From `a` at t = 0 to `b` at t = 1. Written so that it never turns around, not even by rounding.
fn between(a: f64, b: f64, t: f64) -> f64 {
    let value = a + (b - a) * t;
    if a <= b { value.min(b) } else { value.max(b) }
}

fn bad(found: String, expected: &str) -> Error {
    Error::bad_argument(found, expected, "correct the calibrator")
}

fn check_values(what: &str, values: &[f64], least: usize) -> Result<()> {
    if !(least..=MOST_POINTS).contains(&values.len()) {
        return Err(bad(format!("{} {what}", values.len()), &format!("{least} to {MOST_POINTS}")));
    }
    match values.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(bad(format!("{value} among the {what}"), "finite numbers")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "calibration_tests.rs"]
mod tests;
