//! Rewrites of a graph into an equal one with fewer steps.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::graph::{Graph, Node, Operator, Source, TensorId};
use crate::ops::{Activation, BatchNorm, Conv2d, FoldBatchNorm, LeakyRelu, UpsampleNearest};

/// Fuses what surrounds the convolutions into them.
///
/// - `upsample_nearest, convolution` becomes a convolution of the doubled input, which never makes the large map.
/// - `convolution, batch norm[, leaky relu]` becomes one convolution with folded weights and a fused activation.
///
/// Only where nothing else reads what lies between, and where the normalisation depends on weights alone.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of a rule.
pub fn fuse_convolutions(graph: &Graph) -> Result<Graph> {
    if !graph.assignments().is_empty() {
        // Training: nothing stays constant, and the gradients read what fusion would hide.
        return Ok(graph.clone());
    }
    let readers = Readers::of(graph);
    let mut copy = Copy::of(graph);
    for node in graph.nodes() {
        copy.graph.set_scope(node.name.rsplit_once('/').map_or("", |(scope, _)| scope));
        if copy.has(node) || (is::<UpsampleNearest>(node) && readers.only(node).is_some_and(is_plain_convolution)) {
            continue; // Absorbed by a convolution before, or by the one that comes.
        }
        if !is_plain_convolution(node) {
            copy.apply(node)?;
            continue;
        }
        let (x, doubled) = match graph.tensors()[node.inputs[0].index()].source {
            Source::Node(before) if !copy.has(&graph.nodes()[before]) => (graph.nodes()[before].inputs[0], true),
            _ => (node.inputs[0], false),
        };
        let norm = readers.only(node).filter(|norm| is_constant_norm(graph, norm, node));
        let relu = norm.and_then(|norm| readers.only(norm)).and_then(as_operator::<LeakyRelu>);
        let weights = match norm.and_then(as_operator::<BatchNorm>) {
            Some((norm, operator)) if node.inputs[1..].iter().all(|t| is_parameter(graph, *t)) => {
                let sources = [&node.inputs[1..2], &norm.inputs[1..], &node.inputs[2..]].concat();
                let fold = FoldBatchNorm { epsilon: operator.epsilon };
                Some(copy.graph.apply_shared(Arc::new(fold), &copy.map(&sources))?)
            }
            _ => None,
        };
        let (weights, absorbed, activation) = match (weights, relu) {
            (None, _) => (copy.map(&node.inputs[1..]), vec![node], Activation::Identity),
            (Some(weights), None) => {
                (weights, [Some(node), norm].into_iter().flatten().collect(), Activation::Identity)
            }
            (Some(weights), Some((relu, operator))) => {
                let activation = Activation::LeakyRelu { slope: operator.slope };
                (weights, [Some(node), norm, Some(relu)].into_iter().flatten().collect(), activation)
            }
        };
        let inputs = [copy.map(&[x]), weights].concat();
        let output = copy.graph.apply(Conv2d { activation, doubled, ..Conv2d::default() }, &inputs)?;
        for node in absorbed {
            copy.tensors.insert(node.outputs[0], output);
        }
    }
    for (name, tensor) in graph.outputs() {
        let output = copy.map(&[*tensor])[0];
        copy.graph.output(name, output);
    }
    Ok(copy.graph)
}

fn as_operator<T: Operator>(node: &Node) -> Option<(&Node, &T)> {
    node.operator.as_any().downcast_ref().map(|operator| (node, operator))
}

fn is<T: Operator>(node: &Node) -> bool {
    node.operator.as_any().is::<T>()
}

fn is_plain_convolution(node: &Node) -> bool {
    as_operator::<Conv2d>(node).is_some_and(|(_, c)| c.activation == Activation::Identity && !c.doubled)
}

fn is_parameter(graph: &Graph, tensor: TensorId) -> bool {
    graph.tensors()[tensor.index()].source == Source::Parameter
}

/// Whether a node normalises the output of `before` by weights alone.
fn is_constant_norm(graph: &Graph, node: &Node, before: &Node) -> bool {
    is::<BatchNorm>(node)
        && node.inputs[0] == before.outputs[0]
        && node.inputs[1..].iter().all(|t| is_parameter(graph, *t))
}

/// Which nodes read each tensor.
struct Readers<'a> {
    graph: &'a Graph,
    of_tensor: Vec<Vec<usize>>,
}

impl<'a> Readers<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut of_tensor = vec![Vec::new(); graph.tensors().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            for input in &node.inputs {
                of_tensor[input.index()].push(index);
            }
        }
        Self { graph, of_tensor }
    }

    /// The one node that reads a node's output, once, if no other does and it is no result of the graph.
    fn only(&self, node: &Node) -> Option<&'a Node> {
        let output = node.outputs[0];
        match self.of_tensor[output.index()].as_slice() {
            [reader] if !self.graph.outputs().iter().any(|(_, t)| *t == output) => Some(&self.graph.nodes()[*reader]),
            _ => None,
        }
    }
}

/// A graph that is being rewritten, and which of its tensors stand for the old ones.
struct Copy {
    graph: Graph,
    tensors: HashMap<TensorId, TensorId>,
}

impl Copy {
    /// With the inputs and parameters.
    fn of(graph: &Graph) -> Self {
        let mut copy = Self { graph: Graph::new(), tensors: HashMap::new() };
        for (id, tensor) in graph.ids().zip(graph.tensors()) {
            let new = match tensor.source {
                Source::Input => copy.graph.input(&tensor.name, tensor.shape.clone()),
                Source::Parameter => copy.graph.parameter(&tensor.name, tensor.shape.clone()),
                Source::Node(_) | Source::Packed | Source::View => continue,
            };
            copy.tensors.insert(id, new);
        }
        copy
    }

    /// Whether a node's outputs have been made.
    fn has(&self, node: &Node) -> bool {
        node.outputs.iter().any(|t| self.tensors.contains_key(t))
    }

    /// The new tensors for old ones that have been made.
    fn map(&self, old: &[TensorId]) -> Vec<TensorId> {
        old.iter().map(|t| self.tensors[t]).collect()
    }

    /// Copies a node.
    fn apply(&mut self, node: &Node) -> Result<()> {
        let outputs = self.graph.apply_shared(node.operator.clone(), &self.map(&node.inputs))?;
        self.tensors.extend(node.outputs.iter().copied().zip(outputs));
        Ok(())
    }
}
