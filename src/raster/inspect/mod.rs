//! What a raster is, and what is wrong with it.

pub mod sample;

pub use sample::{Sample, Statistics};
