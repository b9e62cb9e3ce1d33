//! Gradients as a transformation of the graph: reverse-mode differentiation (Linnainmaa 1970) that appends ordinary nodes.

use crate::error::{Error, Result};
use crate::graph::{Graph, Source, TensorId};
use crate::ops::{Add, Constant};

/// Appends the nodes that compute the gradient of `loss`, one number, with respect to each tensor of `wrt`.
///
/// Gives `None` for a tensor that the loss does not depend on. Nodes that no wanted gradient passes through are left out.
/// A tensor with several readers gets the sum of what comes back from each, in a fixed order.
///
/// # Errors
/// A loss of more than one element, or an operator on the way that has no gradient.
pub fn differentiate(graph: &mut Graph, loss: TensorId, wrt: &[TensorId]) -> Result<Vec<Option<TensorId>>> {
    if graph.shape(loss).elements() != 1 {
        return Err(Error::bad_argument(
            format!("a loss of shape {}", graph.shape(loss)),
            "one number",
            "differentiate a sum or a mean",
        ));
    }
    let depends = dependents(graph, wrt);
    let mut gradients: Vec<Option<TensorId>> = vec![None; graph.tensors().len()];
    graph.set_scope("gradient");
    let shape = graph.shape(loss).to_vec();
    gradients[loss.index()] = Some(graph.apply(Constant { shape, value: 1.0 }, &[])?);
    let nodes = graph.nodes().len() - 1;
    for index in (0..nodes).rev() {
        let node = graph.nodes()[index].clone();
        let of_outputs: Vec<Option<TensorId>> = node.outputs.iter().map(|t| gradients[t.index()]).collect();
        let is_wanted = node.inputs.iter().any(|t| depends[t.index()]);
        if !is_wanted || of_outputs.iter().all(Option::is_none) {
            continue;
        }
        let scope = node.name.rsplit_once('/').map_or("", |(scope, _)| scope);
        graph.set_scope(format!("{scope}.gradient"));
        let of_inputs = node.operator.gradient(graph, &node.inputs, &node.outputs, &of_outputs)?;
        for (input, gradient) in node.inputs.iter().zip(of_inputs) {
            let (true, Some(gradient)) = (depends[input.index()], gradient) else { continue };
            if graph.shape(*input) != graph.shape(gradient) {
                return Err(Error::shape(
                    node.operator.name(),
                    format!("a gradient of shape {}", graph.shape(gradient)),
                    format!("that of the input, {}", graph.shape(*input)),
                ));
            }
            let sum = match gradients[input.index()] {
                None => gradient,
                Some(before) => graph.apply(Add, &[before, gradient])?,
            };
            gradients[input.index()] = Some(sum);
        }
    }
    Ok(wrt.iter().map(|t| gradients[t.index()]).collect())
}

/// Which tensors depend on one of `wrt`.
fn dependents(graph: &Graph, wrt: &[TensorId]) -> Vec<bool> {
    let mut depends = vec![false; graph.tensors().len()];
    for tensor in wrt {
        depends[tensor.index()] = true;
    }
    for node in graph.nodes() {
        if node.inputs.iter().any(|t| depends[t.index()]) {
            for output in &node.outputs {
                depends[output.index()] = matches!(graph.tensors()[output.index()].source, Source::Node(_));
            }
        }
    }
    depends
}
