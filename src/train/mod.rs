//! Training: what is minimised, one step, and the loop around it.

pub mod graph;
pub mod objective;
pub mod step;

pub use objective::{AdamSettings, Objective};
pub use step::{StepLosses, TrainingState, TrainingStep};
