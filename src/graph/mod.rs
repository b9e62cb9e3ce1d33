//! Static graphs of operators over NHWC tensors. No device in sight.

pub mod launch;
pub mod operator;
mod reference;
mod schedule;
pub mod shape;
pub mod storage;
pub mod tile;
pub mod tuning;

use std::sync::Arc;

pub use launch::{Binding, Caps, Kernel, Launch, ParamBlock, Params, SharedFile, extent};
pub use operator::{Cost, Operator, Shapes};
pub use shape::Shape;
pub use storage::{NodeStorage, Storage};
pub use tile::Tile;
pub use tuning::Tuning;

use crate::error::{Error, Result};

/// Floats to which every tensor in memory is aligned: 256 bytes, the strictest offset alignment of WebGPU.
pub const ALIGNMENT: usize = 64;

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
    /// Made of others that lie in it; see [`Graph::pack`].
    Packed,
    /// A piece of another; see [`Graph::unpack`].
    View,
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
    /// The tensor whose memory it is a piece of, and from which float on.
    pub within: Option<(TensorId, usize)>,
    /// How its elements lie in memory.
    pub storage: Storage,
}

impl Tensor {
    /// The memory it takes, in units of four bytes.
    #[must_use]
    pub fn floats(&self) -> usize {
        self.storage.floats(self.shape.elements())
    }
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
    /// The storage that its kernels run on.
    pub storage: Storage,
}

/// A graph in the order it was built, which is an order it can run in.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    outputs: Vec<(String, TensorId)>,
    assignments: Vec<(TensorId, TensorId)>,
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

    /// Adds a weight that is stored in this way.
    pub(crate) fn parameter_of(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        storage: Storage,
    ) -> TensorId {
        let id = self.parameter(name, shape);
        self.tensors[id.0].storage = storage;
        id
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
        self.apply_on(operator, inputs, Storage::F32, &[])
    }

    /// The same with the storage that its kernels run on, and that of each output; floats where none is given.
    ///
    /// # Errors
    /// The shapes do not fit the operator.
    pub(crate) fn apply_on(
        &mut self,
        operator: Arc<dyn Operator>,
        inputs: &[TensorId],
        storage: Storage,
        made_as: &[Storage],
    ) -> Result<Vec<TensorId>> {
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
        for (output, &storage) in outputs.iter().zip(made_as) {
            self.tensors[output.0].storage = storage;
        }
        self.nodes.push(Node { name, operator, inputs: inputs.to_vec(), outputs: outputs.clone(), storage });
        Ok(outputs)
    }

    /// The node that makes a tensor.
    #[must_use]
    pub fn maker(&self, tensor: TensorId) -> Option<&Node> {
        match self.tensors[tensor.0].source {
            Source::Node(node) => Some(&self.nodes[node]),
            _ => None,
        }
    }

    /// Gives the node of index `node` another operator and other inputs, which earlier nodes make, for the same outputs.
    ///
    /// # Errors
    /// The shapes do not fit the operator, or its outputs' differ from those there were.
    pub fn replace(&mut self, node: usize, operator: Arc<dyn Operator>, inputs: Vec<TensorId>) -> Result<()> {
        let kept: Vec<Option<TensorId>> = self.nodes[node].outputs.iter().copied().map(Some).collect();
        self.replace_outputs(node, operator, inputs, &kept).map(|_| ())
    }

    /// The same with other outputs: each one that there was, or a new one. Those left out are made by no node any more.
    ///
    /// # Errors
    /// As [`Graph::replace`].
    pub fn replace_outputs(
        &mut self,
        node: usize,
        operator: Arc<dyn Operator>,
        inputs: Vec<TensorId>,
        outputs: &[Option<TensorId>],
    ) -> Result<Vec<TensorId>> {
        let shapes: Vec<Shape> = inputs.iter().map(|&t| self.shape(t).clone()).collect();
        let made = operator.shapes(&shapes)?;
        let differs = |(shape, output): (&Shape, &Option<TensorId>)| output.is_some_and(|t| self.shape(t) != shape);
        if made.len() != outputs.len() || made.iter().zip(outputs).any(differs) {
            return Err(Error::shape(operator.name(), format!("outputs {made:?}"), "those that it replaces"));
        }
        let (prefix, name) = (self.nodes[node].name.rsplit_once('/').map_or("", |(scope, _)| scope), operator.name());
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let outputs: Vec<TensorId> = made
            .into_iter()
            .zip(outputs)
            .map(|(shape, output)| output.unwrap_or_else(|| self.tensor(name.clone(), shape, Source::Node(node))))
            .collect();
        let storage = self.nodes[node].storage;
        self.nodes[node] = Node { name, operator, inputs, outputs: outputs.clone(), storage };
        Ok(outputs)
    }

    /// Gives every operator that has one its direct form; see [`Operator::exact`].
    pub fn make_exact(&mut self) {
        for node in &mut self.nodes {
            if let Some(exact) = node.operator.exact() {
                node.operator = exact;
            }
        }
    }

    /// Names a tensor as a result of the graph.
    pub fn output(&mut self, name: impl Into<String>, tensor: TensorId) {
        self.outputs.push((name.into(), tensor));
    }

    /// One vector in whose memory `parts` lie one after another, each aligned to [`ALIGNMENT`] floats; zero between them.
    ///
    /// The parts are parameters, or results of nodes, which then write straight into it. So the optimiser sees all
    /// parameters as one tensor, and all their gradients as another.
    ///
    /// # Errors
    /// A part that lies in another vector already, or is neither a parameter nor made by a node.
    pub fn pack(&mut self, name: impl Into<String>, parts: &[TensorId]) -> Result<TensorId> {
        let name = name.into();
        let offsets = offsets(parts.iter().map(|&part| self.shape(part)));
        let whole = self.tensor(name.clone(), Shape::from([offsets.1]), Source::Packed);
        for (&part, offset) in parts.iter().zip(offsets.0) {
            let tensor = &mut self.tensors[part.0];
            if tensor.within.is_some() || !matches!(tensor.source, Source::Parameter | Source::Node(_)) {
                return Err(Error::bad_argument(
                    format!("{} as a part of {name}", tensor.name),
                    "parameters or results of nodes that lie in no other vector",
                    "pack each tensor once",
                ));
            }
            tensor.within = Some((whole, offset));
        }
        Ok(whole)
    }

    /// The pieces of a vector, laid out as [`Graph::pack`] does it; the inverse of it for a vector of nodes.
    ///
    /// # Errors
    /// The shapes do not fill the vector.
    pub fn unpack(&mut self, whole: TensorId, shapes: &[Shape]) -> Result<Vec<TensorId>> {
        let (offsets, length) = offsets(shapes.iter());
        if self.shape(whole)[..] != [length] {
            return Err(Error::bad_argument(
                format!("pieces of {length} floats in all"),
                format!("a vector of {}", self.shape(whole)),
                "give the shapes that were packed",
            ));
        }
        let name = self.tensors[whole.0].name.clone();
        let mut parts = Vec::with_capacity(shapes.len());
        for (shape, offset) in shapes.iter().zip(offsets) {
            let part = self.tensor(name.clone(), shape.clone(), Source::View);
            self.tensors[part.0].within = Some((whole, offset));
            parts.push(part);
        }
        Ok(parts)
    }

    /// After every run, `parameter` (or a vector of parameters) takes the value of `value`.
    ///
    /// # Errors
    /// Shapes that differ, or a target that is no parameter.
    pub fn assign(&mut self, parameter: TensorId, value: TensorId) -> Result<()> {
        let target = &self.tensors[parameter.0];
        let fits = target.shape == self.tensors[value.0].shape;
        if !fits || !matches!(target.source, Source::Parameter | Source::Packed) {
            return Err(Error::bad_argument(
                format!("{} for {}", self.tensors[value.0].shape, target.name),
                "a parameter and a value of its shape",
                "assign tensors of one shape",
            ));
        }
        self.assignments.push((parameter, value));
        Ok(())
    }

    /// What is assigned after every run: parameter and value.
    #[must_use]
    pub fn assignments(&self) -> &[(TensorId, TensorId)] {
        &self.assignments
    }

    /// The tensors that lie in `whole`, in order.
    pub fn parts(&self, whole: TensorId) -> impl Iterator<Item = (TensorId, usize)> {
        let within = move |(id, t): (usize, &Tensor)| match t.within {
            Some((of, offset)) if of == whole => Some((TensorId(id), offset)),
            _ => None,
        };
        self.tensors.iter().enumerate().filter_map(within)
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

    /// The storage of a node's inputs and outputs.
    #[must_use]
    pub fn storage(&self, node: &Node) -> NodeStorage {
        let of = |ids: &[TensorId]| ids.iter().map(|&t| self.tensors[t.0].storage).collect();
        NodeStorage { inputs: of(&node.inputs), outputs: of(&node.outputs) }
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

    fn tensor(&mut self, name: String, shape: Shape, source: Source) -> TensorId {
        self.tensors.push(Tensor { name, shape, source, within: None, storage: Storage::F32 });
        TensorId(self.tensors.len() - 1)
    }
}

/// Where tensors of these shapes lie one after another, aligned, and the length of the whole.
fn offsets<'a>(shapes: impl Iterator<Item = &'a Shape>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let starts = shapes.map(|shape| {
        let start = end;
        end += shape.elements().next_multiple_of(ALIGNMENT);
        start
    });
    (starts.collect(), end)
}
