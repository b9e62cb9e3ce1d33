//! Which tensors are stored as halves, and the casts between those and the others.

use std::collections::HashMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::graph::{Caps, Graph, Node, NodeStorage, Source, Storage, TensorId};
use crate::ops::Cast;

/// How weights and activations are stored on a GPU. Sums are f32 in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As floats.
    #[default]
    F32,
    /// As halves wherever the kernels allow it.
    F16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// Stores as halves what can be.
///
/// A node runs on halves if its kernels can ([`NodeStorage::of`]). In floats stay: tensors of few channels, and so the heads and their
/// softmax; and what is made once from the weights. Casts stand where the two meet. Inputs and results of the graph are floats;
/// a weight that only nodes on halves read is stored as halves.
///
/// # Errors
/// A graph that changes its weights, or launches that the device cannot take.
pub(super) fn halve(graph: &Graph, caps: &Caps, constant: &[bool]) -> Result<Graph> {
    if !graph.assignments().is_empty() || graph.tensors().iter().any(|t| t.within.is_some()) {
        return Err(Error::bad_argument(
            "precision f16 for training",
            "f32: small changes of a weight would be lost in a half",
            "leave out --precision f16",
        ));
    }
    let halved = |node: &Node| -> Result<Option<NodeStorage>> {
        if node.outputs.iter().all(|t| constant[t.index()]) {
            return Ok(None);
        }
        let shapes = graph.shapes(node);
        let launches = node.operator.launches(&shapes, &caps.on(Storage::F16))?;
        Ok(NodeStorage::of(&launches, &shapes, Storage::F16, caps))
    };
    let halved: Vec<Option<NodeStorage>> = graph.nodes().iter().map(halved).collect::<Result<_>>()?;
    let wants = wanted(graph, &halved);

    let mut copy = Copy { graph: Graph::new(), made: HashMap::new() };
    for (id, tensor) in graph.ids().zip(graph.tensors()) {
        let only_halves = wants[id.index()] == Some(Storage::F16);
        let (new, storage) = match tensor.source {
            Source::Input => (copy.graph.input(&tensor.name, tensor.shape.clone()), Storage::F32),
            Source::Parameter if only_halves => {
                (copy.graph.parameter_of(&tensor.name, tensor.shape.clone(), Storage::F16), Storage::F16)
            }
            Source::Parameter => (copy.graph.parameter(&tensor.name, tensor.shape.clone()), Storage::F32),
            Source::Node(_) | Source::Packed | Source::View => continue,
        };
        copy.made.insert((id, storage), new);
    }
    for (node, halved) in graph.nodes().iter().zip(&halved) {
        copy.graph.set_scope(node.name.rsplit_once('/').map_or("", |(scope, _)| scope));
        let (storage, of) = match halved {
            Some(of) => (Storage::F16, of.clone()),
            None => (Storage::F32, NodeStorage::floats(&graph.shapes(node))),
        };
        let inputs: Vec<TensorId> =
            node.inputs.iter().zip(&of.inputs).map(|(&t, &s)| copy.get(t, s)).collect::<Result<_>>()?;
        let outputs = copy.graph.apply_on(node.operator.clone(), &inputs, storage, &of.outputs)?;
        for ((&old, new), &made) in node.outputs.iter().zip(outputs).zip(&of.outputs) {
            copy.made.insert((old, made), new);
            // If all readers want it otherwise, it is cast at once and its memory is free again.
            if let Some(wanted) = wants[old.index()].filter(|&wanted| wanted != made) {
                copy.get(old, wanted)?;
            }
        }
    }
    for (name, tensor) in graph.outputs() {
        let output = copy.get(*tensor, Storage::F32)?;
        copy.graph.output(name, output);
    }
    Ok(copy.graph)
}

/// The storage that all readers of each tensor want; `None` where they differ or there are none.
fn wanted(graph: &Graph, halved: &[Option<NodeStorage>]) -> Vec<Option<Storage>> {
    let mut wants: Vec<Vec<Storage>> = vec![Vec::new(); graph.tensors().len()];
    for (node, halved) in graph.nodes().iter().zip(halved) {
        for (i, input) in node.inputs.iter().enumerate() {
            wants[input.index()].push(halved.as_ref().map_or(Storage::F32, |of| of.inputs[i]));
        }
    }
    for (_, id) in graph.outputs() {
        wants[id.index()].push(Storage::F32);
    }
    let same = |wants: Vec<Storage>| wants.first().copied().filter(|first| wants.iter().all(|other| other == first));
    wants.into_iter().map(same).collect()
}

/// The graph that is being made, and its tensors by those of the old one.
struct Copy {
    graph: Graph,
    made: HashMap<(TensorId, Storage), TensorId>,
}

impl Copy {
    /// The new tensor for an old one in a storage, cast if it has been made in the other only.
    fn get(&mut self, old: TensorId, storage: Storage) -> Result<TensorId> {
        if let Some(&made) = self.made.get(&(old, storage)) {
            return Ok(made);
        }
        let other = match storage {
            Storage::F32 => Storage::F16,
            Storage::F16 => Storage::F32,
        };
        let from = self.made.get(&(old, other)).copied().ok_or_else(|| {
            Error::bad_argument(
                "a tensor read before it is made",
                "nodes in the order they run",
                "build the graph in order",
            )
        })?;
        let cast =
            self.graph.apply_on(std::sync::Arc::new(Cast { to: storage }), &[from], Storage::F32, &[storage])?[0];
        self.made.insert((old, storage), cast);
        Ok(cast)
    }
}
