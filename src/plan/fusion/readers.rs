//! Who reads what in a graph.

use crate::graph::{Graph, Node, Operator, TensorId};
use crate::plan::roles::needed;

/// The node with its operator, if that is of this type.
pub(super) fn as_operator<T: Operator>(node: &Node) -> Option<(&Node, &T)> {
    node.operator.as_any().downcast_ref().map(|operator| (node, operator))
}

/// Whether a node's operator is of this type.
pub(super) fn is<T: Operator>(node: &Node) -> bool {
    node.operator.as_any().is::<T>()
}

/// Which nodes read each tensor. Nodes that no result needs do not count.
pub(super) struct Readers<'a> {
    graph: &'a Graph,
    of_tensor: Vec<Vec<usize>>,
    needed: Vec<bool>,
    /// Whether a tensor is read from outside: as a result, an assigned value, or a part of a vector.
    outside: Vec<bool>,
}

impl<'a> Readers<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let needed = needed(graph);
        let mut readers =
            Self { graph, of_tensor: vec![Vec::new(); needed.len()], outside: vec![false; needed.len()], needed };
        for (index, node) in
            graph.nodes().iter().enumerate().filter(|(_, node)| readers.is_live(node)).collect::<Vec<_>>()
        {
            for input in &node.inputs {
                readers.of_tensor[input.index()].push(index);
            }
        }
        let results = graph.outputs().iter().map(|(_, tensor)| *tensor);
        for tensor in results.chain(graph.assignments().iter().map(|(_, value)| *value)) {
            readers.outside[tensor.index()] = true;
        }
        for (outside, tensor) in readers.outside.iter_mut().zip(graph.tensors()) {
            *outside |= tensor.within.is_some();
        }
        readers
    }

    /// Whether a result needs a node.
    pub(super) fn is_live(&self, node: &Node) -> bool {
        node.outputs.iter().any(|t| self.needed[t.index()])
    }

    /// The nodes that read a tensor, by index and once for every time, if nothing outside the graph's nodes does.
    pub(super) fn all(&self, tensor: TensorId) -> Option<&[usize]> {
        (!self.outside[tensor.index()]).then_some(self.of_tensor[tensor.index()].as_slice())
    }

    /// The one node that reads a tensor, once, if nothing else does.
    pub(super) fn only_of(&self, tensor: TensorId) -> Option<usize> {
        match self.all(tensor) {
            Some(&[reader]) => Some(reader),
            _ => None,
        }
    }

    /// The one node that reads a node's first output, once, if no other does and it is no result of the graph.
    pub(super) fn only(&self, node: &Node) -> Option<&'a Node> {
        self.only_of(node.outputs[0]).map(|reader| &self.graph.nodes()[reader])
    }

    /// The live node that makes a tensor, if that is read once.
    pub(super) fn only_source(&self, tensor: TensorId) -> Option<&'a Node> {
        self.only_of(tensor)?;
        self.graph.maker(tensor)
    }
}
