//! How good a prediction is, and confidence calibration.
//!
//! - [`confusion`]: counts of right and wrong pixels, and the scores made of them.
//! - [`layer`]: rasters and polygons as classes on a grid.
//! - [`scene`]: a prediction of a scene against a reference.
//! - [`tile_pass`]: a model's predictions for tile files; [`groups`]: their scores by tile, region, sensor, ...; [`gap`]: between evaluations.
//! - [`experts`]: outlines against those of experts; [`distance`]: how far outlines are apart.
//! - [`mod@reference`], [`territory`]: glaciers of an inventory, and which ice is whose.
//! - [`inventory`], [`change`]: maps glacier by glacier, of one date and of two; [`bootstrap`]: how sure the differences are; [`table`]: as text.
//! - [`calibration`]: the calibrator, its file, its fast form for rasters.
//! - [`calibration_pickle`]: import of published calibrators without running them.

pub mod bootstrap;
mod boundary_index;
pub mod calibration;
pub mod calibration_pickle;
pub mod change;
pub mod confusion;
pub mod distance;
pub mod experts;
pub mod gap;
pub mod groups;
pub mod inventory;
pub mod layer;
mod layer_rows;
mod outline_layer;
mod pickle;
pub mod reference;
pub mod scene;
pub mod table;
pub mod territory;
pub mod tile_pass;

pub use calibration::{CalibrationCurve, Calibrator};
pub use confusion::Confusion;
pub use scene::Evaluation;
