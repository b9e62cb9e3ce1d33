//! Data to train and try the network on.
//!
//! - [`synthetic`]: generated glaciers, as scenes and as tile files.
//! - [`tile_writer`]: tile files in the published layout, written.
//! - [`tile_file`], [`sampling`], [`augmentation`], [`batches`]: tile files, what is taken from them, how it is varied, and batches
//!   for training.

pub mod augmentation;
pub mod batches;
mod hdf5_write;
pub(crate) mod noise;
pub mod sampling;
pub mod synthetic;
pub mod tile_file;
pub mod tile_writer;
