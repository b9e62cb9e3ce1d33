//! Data to train and try the network on. So far: generated scenes.

mod landscape;
mod noise;
pub mod synthetic;
