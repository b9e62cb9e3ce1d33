//! Rewrites of a graph into an equal one with fewer steps.

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::{Graph, Node, Source, TensorId};
use crate::ops::{Activation, BatchNorm, Conv2d, FoldBatchNorm, LeakyRelu};

/// Turns `convolution, batch norm[, leaky relu]` into one convolution with folded weights and a fused activation, wherever
/// nothing else reads what lies between and the normalisation depends on weights alone.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub fn fold_batch_norms(graph: &Graph) -> Result<Graph> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.tensors().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        for input in &node.inputs {
            readers[input.index()].push(index);
        }
    }
    let is_output = |tensor: TensorId| graph.outputs().iter().any(|(_, t)| *t == tensor);
    let only_reader = |node: &Node| match readers[node.outputs[0].index()].as_slice() {
        [reader] if !is_output(node.outputs[0]) => Some(&graph.nodes()[*reader]),
        _ => None,
    };
    let is_parameter = |t: &TensorId| graph.tensors()[t.index()].source == Source::Parameter;

    let mut fused = Graph::new();
    let mut map: HashMap<TensorId, TensorId> = HashMap::new();
    for (id, tensor) in graph.ids().zip(graph.tensors()) {
        match tensor.source {
            Source::Input => map.insert(id, fused.input(&tensor.name, tensor.shape.clone())),
            Source::Parameter => map.insert(id, fused.parameter(&tensor.name, tensor.shape.clone())),
            Source::Node(_) => None,
        };
    }
    for node in graph.nodes() {
        if node.outputs.iter().any(|t| map.contains_key(t)) {
            continue; // Absorbed by an earlier convolution.
        }
        fused.set_scope(node.name.rsplit_once('/').map_or("", |(scope, _)| scope));
        let new = |ids: &[TensorId]| ids.iter().map(|t| map[t]).collect::<Vec<_>>();
        let plain_convolution = node
            .operator
            .as_any()
            .downcast_ref::<Conv2d>()
            .is_some_and(|c| c.activation == Activation::Identity && node.inputs[1..].iter().all(is_parameter));
        let norm = only_reader(node).filter(|n| {
            n.operator.as_any().is::<BatchNorm>()
                && n.inputs[0] == node.outputs[0]
                && n.inputs[1..].iter().all(is_parameter)
        });
        let (Some(norm), true) = (norm, plain_convolution) else {
            let outputs = fused.apply_shared(node.operator.clone(), &new(&node.inputs))?;
            map.extend(node.outputs.iter().copied().zip(outputs));
            continue;
        };
        let epsilon = norm.operator.as_any().downcast_ref::<BatchNorm>().map_or(0.0, |n| n.epsilon);
        let weights: Vec<TensorId> = [&node.inputs[1..2], &norm.inputs[1..], &node.inputs[2..]].concat();
        let folded = fused.apply_shared(std::sync::Arc::new(FoldBatchNorm { epsilon }), &new(&weights))?;
        let relu = only_reader(norm).filter(|n| n.operator.as_any().is::<LeakyRelu>());
        let activation = relu
            .and_then(|n| n.operator.as_any().downcast_ref::<LeakyRelu>())
            .map_or(Activation::Identity, |r| Activation::LeakyRelu { slope: r.slope });
        let output = fused.apply(Conv2d { activation }, &[map[&node.inputs[0]], folded[0], folded[1]])?;
        map.insert(node.outputs[0], output);
        map.insert(norm.outputs[0], output);
        if let Some(relu) = relu {
            map.insert(relu.outputs[0], output);
        }
    }
    for (name, tensor) in graph.outputs() {
        fused.output(name, map[tensor]);
    }
    Ok(fused)
}
