//! Confidence calibration.
//!
//! - [`calibration`]: the calibrator, its file, its fast form for rasters.
//! - [`calibration_pickle`]: import of published calibrators without running them.

pub mod calibration;
pub mod calibration_pickle;
mod pickle;

pub use calibration::{CalibrationCurve, Calibrator};
