//! GlaViTU: glacier mapping from satellite scenes with a convolution-transformer network.
//!
//! What is where, from the top down; a module uses only those below it:
//!
//! - [`cli`]: the subcommands of the program `glavitu`.
//! - [`mod@bench`]: benchmarks, and the machine's limits.
//! - [`report`]: results as a page for people.
//! - [`train`]: training and its settings.
//! - [`infer`]: scene, tiles, blending, classes, confidence.
//! - [`dataset`]: tile files and generated glaciers.
//! - [`evaluate`]: how good a prediction is; confidence calibration.
//! - [`model`]: the network, its configuration and its weights.
//! - [`raster`]: GeoTIFF, grids, terrain, polygons.
//! - [`device`], [`tuning_file`]: which executor and which kernel variants to use.
//! - [`gpu`], [`cpu`]: the two executors; [`executor`] is what they have in common.
//! - [`plan`]: fusion, liveness and memory slots.
//! - [`autograd`]: gradients as a transformation of the graph.
//! - [`ops`]: one file per operator, and their registry.
//! - [`graph`]: tensors, nodes, shapes; what an operator is.
//! - [`numeric`]: numeric blocks that the operators' CPU code shares.
//! - [`atomic_file`], [`svg`], [`error`]: files that appear whole; what drawings share; the error type.

pub mod atomic_file;
pub mod autograd;
pub mod bench;
pub mod cli;
pub mod cpu;
pub mod dataset;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod executor;
pub mod gpu;
pub mod graph;
pub mod infer;
pub mod model;
pub mod numeric;
pub mod ops;
pub mod plan;
pub mod raster;
pub mod report;
pub mod svg;
pub mod train;
pub mod tuning_file;

pub use error::{Error, Result};
