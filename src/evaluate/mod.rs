//! How good a prediction is, and confidence calibration.
//!
//! - [`confusion`]: counts of right and wrong pixels, and the scores made of them.
//! - [`layer`]: rasters and polygons as classes on a grid.
//! - [`scene`]: a prediction of a scene against a reference.
//! - [`tile_pass`]: a model's predictions for tile files; [`groups`]: their scores by tile, region, sensor, ...; [`gap`]: between evaluations.
//! - [`experts`]: outlines against those of experts; [`distance`]: how far outlines are apart.
//! - [`mod@reference`], [`territory`]: glaciers of an inventory, and which ice is whose.
//! - [`inventory`], [`change`]: maps glacier by glacier, of one date and of two; [`bootstrap`]: how sure the differences are; [`table`]: as text.
//! - [`reliability`]: how often what is claimed with a confidence is right; [`reliability_diagram`]: as a picture; [`calibration_samples`]: from where.
//! - [`calibration`]: the calibrator, its file, its fast form for rasters; [`kernel_ridge`], [`temperature`], [`isotonic`]: fitted in three ways.
//! - [`area_interval`]: between which areas the truth lies, from calibrated probabilities; [`doubt`]: that for the glaciers of a map.
//! - [`calibration_pickle`]: import of published calibrators without running them.

pub mod area_interval;
pub mod bootstrap;
mod boundary_index;
pub mod calibration;
pub mod calibration_pickle;
pub mod calibration_samples;
pub mod change;
mod change_doubt;
pub mod confusion;
pub mod distance;
pub mod doubt;
pub mod experts;
pub mod gap;
pub mod groups;
pub mod inventory;
pub mod isotonic;
pub mod kernel_ridge;
pub mod layer;
mod layer_rows;
mod outline_layer;
mod pickle;
pub mod reference;
pub mod reliability;
pub mod reliability_diagram;
pub mod scene;
mod self_crossing;
pub mod table;
pub mod temperature;
pub mod territory;
pub mod tile_pass;

pub use calibration::{CalibrationCurve, Calibrator};
pub use confusion::Confusion;
pub use reliability::Reliability;
pub use scene::Evaluation;
