//! Data to train and try the network on.
//!
//! - [`synthetic`]: generated glaciers, as scenes and as tile files.
//! - [`tile_writer`]: tile files in the published layout, written.
//! - [`prepare`]: scenes and outlines made into tiles. It reads scenes as the mapping does (`infer::scene`); nothing of `infer` uses this.
//! - [`tile_folder`]: tiles as GeoTIFFs.
//! - [`tile_file`], [`sampling`], [`augmentation`], [`batches`]: tile files, what is taken from them, how it is varied, and batches
//!   for training.

pub mod augmentation;
pub mod batches;
mod hdf5_write;
pub(crate) mod noise;
pub mod prepare;
pub mod sampling;
pub mod synthetic;
pub mod tile_file;
pub mod tile_folder;
pub mod tile_writer;
