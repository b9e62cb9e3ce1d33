//! The network, its configuration and its weights.

pub mod feature;
pub mod normalisation;
