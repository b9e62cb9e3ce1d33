//! GlaViTU: glacier mapping from satellite scenes with a convolution-transformer network.
//!
//! What is where, from the top down; a module uses only those below it:
//!
//! - [`cli`]: the subcommands of the program `glavitu`.
//! - [`infer`]: scene, tiles, blending, classes, confidence.
//! - [`evaluate`]: confidence calibration.
//! - [`model`]: the network, its configuration and its weights.
//! - [`raster`]: GeoTIFF, grids, terrain, polygons.
//! - [`gpu`], [`cpu`]: the two executors.
//! - [`plan`]: fusion, liveness and memory slots.
//! - [`ops`]: one file per operator.
//! - [`graph`]: tensors, nodes, shapes.
//! - [`atomic_file`], [`error`]: files that appear whole; the error type.

pub mod atomic_file;
pub mod cli;
pub mod error;
pub mod evaluate;
pub mod model;
pub mod raster;

pub use error::{Error, Result};
