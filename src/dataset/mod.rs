//! Data to train and try the network on. So far: generated scenes.

mod hdf5_write;
mod landscape;
mod noise;
pub mod synthetic;
pub mod tile_writer;
