//! How reliable a confidence is, beside the scores of `glavitu evaluate`.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::print_line;
use crate::error::Result;
use crate::evaluate::calibration_samples::{Sample, SceneSamples};
use crate::evaluate::confusion::is_labelled;
use crate::evaluate::reliability_diagram::reliability_svg;
use crate::evaluate::{CalibrationCurve, Calibrator, Reliability};
use crate::raster::Crs;
use crate::report::evaluated::Diagram;

/// Confidences and whether they were right: as they are, and calibrated if there is a calibrator.
pub(super) struct Reliabilities {
    as_given: Reliability,
    calibrated: Option<(CalibrationCurve, Reliability)>,
    /// Pixels of a scene with a class and a label, and without a confidence; they do not count.
    without_confidence: Option<u64>,
}

impl Reliabilities {
    pub(super) fn new(calibrator: Option<&Calibrator>) -> Self {
        let calibrated = calibrator.map(|calibrator| (calibrator.curve(), Reliability::new()));
        Self { as_given: Reliability::new(), calibrated, without_confidence: None }
    }

    /// The confidence raster of a scene, as it is.
    pub(super) fn of_scene(
        confidence: &Path,
        predicted: &Path,
        reference: &Path,
        assumed: Option<&Crs>,
    ) -> Result<Self> {
        let mut found = Self::new(None);
        let mut samples = SceneSamples::open(confidence, predicted, reference, assumed)?;
        samples.each(&mut |sample| found.add(sample))?;
        found.without_confidence = Some(samples.without_confidence());
        Ok(found)
    }

    /// Adds the labelled pixels of a patch, (pixels, 2) each.
    pub(super) fn add_patch(&mut self, probabilities: &[f32], target: &[f32]) {
        let pairs = probabilities.as_chunks::<2>().0.iter().zip(target.as_chunks::<2>().0);
        for (p, t) in pairs.filter(|(_, t)| is_labelled(t)) {
            self.add(&Sample::of_probability(f64::from(p[1]), (p[1] > p[0]) == (t[1] > t[0])));
        }
    }

    fn add(&mut self, sample: &Sample) {
        let confidence = sample.confidence();
        self.as_given.add(confidence, sample.correct);
        if let Some((curve, calibrated)) = &mut self.calibrated {
            calibrated.add(curve.value(confidence), sample.correct);
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "as_given": self.as_given.measures(),
            "calibrated": self.calibrated.as_ref().map(|(_, reliability)| reliability.measures()),
        });
        if let Some(pixels) = self.without_confidence {
            json["pixels_without_confidence"] = pixels.into();
        }
        json
    }

    pub(super) fn diagram(&self) -> Diagram {
        let mut curves = vec![("as given", &self.as_given)];
        curves.extend(self.calibrated.iter().map(|(_, reliability)| ("calibrated", reliability)));
        let caption =
            "How often pixels of each confidence have the right class; on the dashed line, as often as they claim"
                .into();
        Diagram { svg: reliability_svg(&curves), caption }
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let calibrated = self.calibrated.iter().map(|(_, reliability)| ("Calibrated confidence", reliability));
        for (name, reliability) in [("Confidence", &self.as_given)].into_iter().chain(calibrated) {
            let m = reliability.measures();
            let number =
                |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.4}"));
            print_line(format_args!(
                "{name}: mean {}, accuracy {}; expected calibration error {} (15 bins), {} (100 bins); Brier score {}.",
                number(m.mean_confidence),
                number(m.accuracy),
                number(m.ece_15),
                number(m.ece_100),
                number(m.brier)
            ))?;
        }
        if let Some(pixels) = self.without_confidence.filter(|pixels| *pixels > 0) {
            let counted = self.as_given.samples();
            print_line(format_args!(
                "{pixels} pixels with a class and a label have no confidence and do not count there; {counted} do."
            ))?;
        }
        Ok(())
    }
}
