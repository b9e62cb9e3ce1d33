//! Static graphs of operators over NHWC tensors. No device in sight.

pub mod launch;
pub mod operator;
pub mod shape;

use std::collections::HashMap;
use std::sync::Arc;

pub use launch::{Binding, Caps, Kernel, Launch, ParamBlock, Params, extent};
pub use operator::{Cost, Operator, Shapes};
pub use shape::Shape;

use crate::error::{Error, Result};

/// Index of a tensor in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(usize);

impl TensorId {
    /// The index into [`Graph::tensors`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a tensor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Given by the caller at every run.
    Input,
    /// A weight, given once.
    Parameter,
    /// An output of the node of this index.
    Node(usize),
}

/// A tensor of a graph.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// A readable name, unique among inputs and parameters.
    pub name: String,
    /// Its extents.
    pub shape: Shape,
    /// Its origin.
    pub source: Source,
}

/// One application of an operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// The scope it was made in and the operator's name, as in `unet.encoder1.conv1/conv2d`.
    pub name: String,
    /// The operator.
    pub operator: Arc<dyn Operator>,
    /// The tensors it reads.
    pub inputs: Vec<TensorId>,
    /// The tensors it makes.
    pub outputs: Vec<TensorId>,
}

/// A graph in the order it was built, which is an order it can run in.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    outputs: Vec<(String, TensorId)>,
    scope: String,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the part of the model that the following nodes belong to.
    pub fn set_scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Adds a tensor that the caller gives at every run.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> TensorId {
        self.tensor(name.into(), shape.into(), Source::Input)
    }

    /// Adds a weight.
    pub fn parameter(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> TensorId {
        self.tensor(name.into(), shape.into(), Source::Parameter)
    }

    /// Applies an operator with one output.
    ///
    /// # Errors
    /// The shapes do not fit the operator.
    pub fn apply(&mut self, operator: impl Operator, inputs: &[TensorId]) -> Result<TensorId> {
        let outputs = self.apply_shared(Arc::new(operator), inputs)?;
        Ok(outputs[0])
    }

    /// Applies an operator and gives all its outputs.
    ///
    /// # Errors
    /// The shapes do not fit the operator.
    pub fn apply_shared(&mut self, operator: Arc<dyn Operator>, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        let shapes: Vec<Shape> = inputs.iter().map(|&t| self.shape(t).clone()).collect();
        let made = operator.shapes(&shapes)?;
        if made.is_empty() || made.iter().any(|s| s.elements() == 0) {
            return Err(Error::shape(operator.name(), format!("{made:?}"), "outputs with at least one element"));
        }
        let index = self.nodes.len();
        let name = if self.scope.is_empty() {
            operator.name().to_owned()
        } else {
            format!("{}/{}", self.scope, operator.name())
        };
        let outputs: Vec<TensorId> =
            made.into_iter().map(|shape| self.tensor(name.clone(), shape, Source::Node(index))).collect();
        self.nodes.push(Node { name, operator, inputs: inputs.to_vec(), outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Names a tensor as a result of the graph.
    pub fn output(&mut self, name: impl Into<String>, tensor: TensorId) {
        self.outputs.push((name.into(), tensor));
    }

    /// All tensors.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The ids of all tensors, in order.
    pub fn ids(&self) -> impl Iterator<Item = TensorId> + use<> {
        (0..self.tensors.len()).map(TensorId)
    }

    /// All nodes, in an order they can run in.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The named results.
    #[must_use]
    pub fn outputs(&self) -> &[(String, TensorId)] {
        &self.outputs
    }

    /// A tensor's extents.
    #[must_use]
    pub fn shape(&self, tensor: TensorId) -> &Shape {
        &self.tensors[tensor.0].shape
    }

    /// The shapes of a node's inputs and outputs.
    #[must_use]
    pub fn shapes(&self, node: &Node) -> Shapes {
        let of = |ids: &[TensorId]| ids.iter().map(|&t| self.shape(t).clone()).collect();
        Shapes { inputs: of(&node.inputs), outputs: of(&node.outputs) }
    }

    /// Inputs and parameters of one origin, in the order they were added.
    pub fn sources(&self, source: Source) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors.iter().enumerate().filter(move |(_, t)| t.source == source).map(|(i, t)| (TensorId(i), t))
    }

    /// The work of all nodes in the direct form.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.nodes.iter().fold(Cost::default(), |sum, node| {
            let cost = node.operator.cost(&self.shapes(node));
            Cost { flop: sum.flop + cost.flop, bytes: sum.bytes + cost.bytes }
        })
    }

    /// Runs the graph with every operator's f64 definition: slow, exact, for tests.
    ///
    /// # Errors
    /// An input or parameter is missing or has the wrong size.
    pub fn evaluate_reference(&self, values: &HashMap<String, Vec<f64>>) -> Result<HashMap<String, Vec<f64>>> {
        let mut tensors: Vec<Vec<f64>> = vec![Vec::new(); self.tensors.len()];
        for (slot, tensor) in tensors.iter_mut().zip(&self.tensors) {
            if !matches!(tensor.source, Source::Node(_)) {
                let value =
                    values.get(&tensor.name).filter(|v| v.len() == tensor.shape.elements()).ok_or_else(|| {
                        Error::bad_argument(
                            format!("no value of shape {} for {}", tensor.shape, tensor.name),
                            "a value for every input and parameter",
                            "add it",
                        )
                    })?;
                slot.clone_from(value);
            }
        }
        for node in &self.nodes {
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|t| tensors[t.0].as_slice()).collect();
            let outputs = node.operator.reference(&self.shapes(node), &inputs);
            for (id, value) in node.outputs.iter().zip(outputs) {
                tensors[id.0] = value;
            }
        }
        Ok(self.outputs.iter().map(|(name, id)| (name.clone(), tensors[id.0].clone())).collect())
    }

    fn tensor(&mut self, name: String, shape: Shape, source: Source) -> TensorId {
        self.tensors.push(Tensor { name, shape, source });
        TensorId(self.tensors.len() - 1)
    }
}
