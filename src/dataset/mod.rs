//! Data to train and try the network on: tile files and generated glaciers.

mod hdf5_write;
mod noise;
pub mod synthetic;
pub mod tile_writer;
