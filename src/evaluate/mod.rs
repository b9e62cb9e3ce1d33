//! Scores and confidence calibration.
//!
//! - [`calibration`]: the calibrator, its file, its fast form for rasters.
//! - [`calibration_pickle`]: import of published calibrators without running them.
//! - [`confusion`]: counts of right and wrong pixels.

pub mod calibration;
pub mod calibration_pickle;
pub mod confusion;
mod pickle;

pub use calibration::{CalibrationCurve, Calibrator};
