//! What surrounds the convolutions of a graph for inference, folded into them.

use std::collections::HashMap;
use std::sync::Arc;

use super::readers::{Readers, as_operator, is};
use crate::error::Result;
use crate::graph::{Graph, Node, Source, TensorId};
use crate::ops::{Activation, BatchNorm, Conv2d, FoldBatchNorm, LeakyRelu, UpsampleNearest};

/// Folds what surrounds the convolutions into them.
///
/// - `upsample_nearest, convolution` becomes a convolution of the doubled input, which never makes the large map.
/// - `convolution, batch norm[, leaky relu]` becomes one convolution with folded weights and a fused activation.
///
/// Only where nothing else reads what lies between, and where the normalisation depends on weights alone.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of a rule.
pub(super) fn fold_into_convolutions(graph: &Graph) -> Result<Graph> {
    let readers = Readers::of(graph);
    let mut copy = Copy::of(graph);
    for node in graph.nodes() {
        copy.graph.set_scope(node.name.rsplit_once('/').map_or("", |(scope, _)| scope));
        if !readers.is_live(node) {
            continue; // What it reads may be absorbed: a node that no result needs is no reader.
        }
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

fn is_plain_convolution(node: &Node) -> bool {
    as_operator::<Conv2d>(node).is_some_and(|(_, c)| *c == Conv2d::default())
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
