//! What both executors offer.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, Source, TensorId};
use crate::plan::{Placement, Plan};

/// Named arrays, in the layout of the graph's tensors of the same name.
pub type Arrays = HashMap<String, Vec<f32>>;

/// Where an executor finds weights by name.
pub trait ArraySource {
    /// The array of this name, if there is one.
    fn array(&self, name: &str) -> Option<&[f32]>;
}

impl ArraySource for Arrays {
    fn array(&self, name: &str) -> Option<&[f32]> {
        self.get(name).map(Vec::as_slice)
    }
}

/// Whose clock a time is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The device's timestamps.
    Device,
    /// This program's clock; on a GPU with the time of a round trip in every piece.
    Wall,
}

/// A run taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Whose clock it was.
    pub clock: Clock,
    /// Its pieces, in the order they ran.
    pub pieces: Vec<Piece>,
}

/// A dispatch on a GPU, a step on the CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Index of the node in the plan's graph.
    pub node: usize,
    /// The kernel; none on the CPU.
    pub kernel: Option<&'static str>,
    /// Its time.
    pub seconds: f64,
}

/// A planned graph on a device, ready to run as often as wanted.
pub trait Executor {
    /// Uploads the weights and prepares what depends on them alone. To be called before the first run.
    ///
    /// # Errors
    /// A weight is missing or has the wrong size, or the device fails.
    fn load(&mut self, weights: &dyn ArraySource) -> Result<()>;

    /// Runs the graph once; gives its outputs by name.
    ///
    /// # Errors
    /// An input is missing or has the wrong size, or the device fails.
    fn run(&mut self, inputs: &dyn ArraySource) -> Result<Arrays>;

    /// Runs the graph once as [`Executor::run`] does, with the same results, and times every piece of it. The whole takes longer.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn profile(&mut self, inputs: &dyn ArraySource) -> Result<(Arrays, Profile)>;

    /// The present value of a parameter, or of a vector of parameters, by name.
    ///
    /// # Errors
    /// There is no such parameter, or the device fails.
    fn read(&mut self, name: &str) -> Result<Vec<f32>>;

    /// The plan it runs.
    fn plan(&self) -> &Plan;

    /// Bytes it holds on its device for weights and tensors; what [`Plan::peak_bytes`] foresees.
    fn allocated_bytes(&self) -> u64;

    /// The device in words.
    fn device(&self) -> String;
}

/// The array for the tensor `name` of `graph`, checked.
///
/// # Errors
/// It is missing or has the wrong size.
pub(crate) fn array_for<'a>(
    graph: &Graph,
    source: Source,
    name: &str,
    arrays: &'a dyn ArraySource,
) -> Result<&'a [f32]> {
    let kind = if source == Source::Input { "input" } else { "weight" };
    let shape = graph.sources(source).find(|(_, t)| t.name == name).map(|(_, t)| &t.shape);
    match (arrays.array(name), shape) {
        (Some(array), Some(shape)) if array.len() == shape.elements() => Ok(array),
        (found, shape) => Err(Error::bad_argument(
            found.map_or_else(|| format!("no {kind} '{name}'"), |a| format!("{} values in {kind} '{name}'", a.len())),
            shape.map_or_else(|| "a name the model has".to_owned(), |s| format!("{} values ({s})", s.elements())),
            "give arrays that match the model",
        )),
    }
}

/// The parameter, or vector of parameters, of this name.
///
/// # Errors
/// There is none, or it was needed only while loading.
pub(crate) fn parameter_named(plan: &Plan, name: &str) -> Result<TensorId> {
    let graph = &plan.graph;
    let mut kept = graph.sources(Source::Parameter).chain(graph.sources(Source::Packed));
    let (id, _) = kept.find(|(_, t)| t.name == name).ok_or_else(|| {
        Error::bad_argument(format!("no parameter '{name}'"), "a parameter of the graph", "name one the model has")
    })?;
    match plan.placements[id.index()] {
        Placement::Slot(_) => Err(Error::bad_argument(
            format!("parameter '{name}', which was only needed while loading"),
            "a parameter that runs read",
            "take it from what was loaded",
        )),
        _ => Ok(id),
    }
}
