//! How good a prediction is, and confidence calibration.
//!
//! - [`confusion`]: counts of right and wrong pixels, and the scores made of them.
//! - [`layer`]: rasters and polygons as classes on a grid.
//! - [`scene`]: a prediction of a scene against a reference.
//! - [`calibration`]: the calibrator, its file, its fast form for rasters.
//! - [`calibration_pickle`]: import of published calibrators without running them.

pub mod calibration;
pub mod calibration_pickle;
pub mod confusion;
pub mod layer;
mod pickle;
pub mod scene;

pub use calibration::{CalibrationCurve, Calibrator};
pub use confusion::Confusion;
pub use scene::Evaluation;
