//! Data to train and try the network on.
//!
//! - [`synthetic`]: generated scenes.
//! - [`tile_file`], [`sampling`], [`augmentation`], [`batches`]: tile files, what is taken from them, how it is varied, and batches
//!   for training.

pub mod augmentation;
pub mod batches;
mod hdf5_write;
mod landscape;
mod noise;
pub mod sampling;
pub mod synthetic;
pub mod tile_file;
pub mod tile_writer;
