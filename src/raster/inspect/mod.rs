//! What a raster is, and what is wrong with it.
//!
//! [`Sample`] reads a part of the pixels, [`sensor::guess`] tells from names where a raster comes from, [`findings`] compares both with what
//! the network expects, and [`between`] compares files with each other.

pub mod checks;
mod fill;
pub mod sample;
pub mod sensor;

pub use checks::{Examined, Finding, Role, Severity, between, findings};
pub use sample::{Sample, Statistics};
pub use sensor::{Sensor, guess};
