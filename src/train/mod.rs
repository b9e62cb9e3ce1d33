//! Training: the published recipe and its variations.
//!
//! - [`settings`]: everything that decides how a model is trained, and the five strategies.
//! - [`objective`]: what is minimised, and how. [`graph`](mod@graph) and [`step`]: one step on a device.
//! - [`run`](mod@run): the loop over epochs; [`validation`] judges the weights after each.
//! - [`schedule`]: the learning rate. [`initialisation`]: the first weights.
//! - [`region`]: bias optimisation.
//! - [`checkpoint`]: what a run needs to continue. [`log_file`], [`tensorboard`], [`curves`]: what it leaves for people.

pub mod checkpoint;
pub mod curves;
pub mod graph;
pub mod initialisation;
pub mod log_file;
pub mod objective;
pub mod region;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod step;
pub mod tensorboard;
pub mod validation;

pub use objective::{AdamSettings, Objective};
pub use step::{StepLosses, TrainingState, TrainingStep};
