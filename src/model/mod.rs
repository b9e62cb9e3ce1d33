//! The network's configuration and its weights.
//!
//! - [`Feature`], [`Normalisation`]: what goes in.
//! - [`ModelConfig`]: every size of the network.
//! - [`parameters()`](parameters::parameters): the name and shape of every parameter.
//! - [`Weights`]: the project's weight file; [`keras`] imports the published ones.
//! - [`arrays`]: plain named arrays, for inputs and outputs of a forward pass.

pub mod arrays;
pub mod config;
pub mod feature;
pub mod keras;
mod keras_order;
pub mod network;
pub mod normalisation;
pub mod parameters;
pub mod weights;

pub use config::{Location, ModelConfig};
pub use feature::Feature;
pub use normalisation::{MinMax, Normalisation};
pub use parameters::{ParameterSpec, parameters};
pub use weights::{Tensor, Weights};
