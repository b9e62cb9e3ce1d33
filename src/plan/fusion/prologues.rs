//! Maps that are doubled, joined or normalised only to be read by operators that can do so themselves.

use std::sync::Arc;

use super::readers::{Readers, as_operator, is};
use crate::error::Result;
use crate::graph::{Graph, Node, Operator, TensorId};
use crate::ops::{
    Activation, BatchNormStatistics, BatchNormTraining, Concat, Conv2d, Conv2dInputGradient, Conv2dWeightGradient,
    GlobalAveragePool, MatMul, MatMulWeightGradient, ProductSum, Prologue, ScaledSum, UpsampleNearest,
    UpsampleNearestGradient,
};

/// `upsample_nearest` before convolutions, and its gradient after theirs: the large map is never made.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn take_doubled_maps(graph: &mut Graph) -> Result<()> {
    for index in 0..graph.nodes().len() {
        let readers = Readers::of(graph);
        let node = &graph.nodes()[index];
        if !readers.is_live(node) {
            continue;
        }
        if is::<UpsampleNearest>(node) {
            let (small, large) = (node.inputs[0], node.outputs[0]);
            let Some(made) =
                readers.all(large).and_then(|all| replacements(graph, all, large, |node, _| doubled(node)))
            else {
                continue;
            };
            for (reader, operator) in made {
                let mut inputs = graph.nodes()[reader].inputs.clone();
                inputs[0] = small;
                graph.replace(reader, operator, inputs)?;
            }
        } else if is::<UpsampleNearestGradient>(node)
            && let Some((before, gradient)) =
                readers.only_source(node.inputs[0]).and_then(as_operator::<Conv2dInputGradient>)
            && !gradient.doubled
        {
            let (operator, inputs) = (Conv2dInputGradient { doubled: true, ..*gradient }, before.inputs.clone());
            graph.replace(index, Arc::new(operator), inputs)?;
        }
    }
    Ok(())
}

/// What reads the small map instead of the doubled one.
fn doubled(node: &Node) -> Option<Arc<dyn Operator>> {
    if let Some((_, operator)) = as_operator::<Conv2d>(node) {
        return (!operator.doubled && operator.prologue == Prologue::default())
            .then(|| Arc::new(Conv2d { doubled: true, ..*operator }) as _);
    }
    let (_, operator) = as_operator::<Conv2dWeightGradient>(node)?;
    (!operator.doubled && operator.prologue == Prologue::default())
        .then(|| Arc::new(Conv2dWeightGradient { doubled: true, ..*operator }) as _)
}

/// The new operators of all these readers of a tensor, if each reads it once and has one: `rule` gets the node and which of its
/// inputs it is.
fn replacements(
    graph: &Graph,
    readers: &[usize],
    tensor: TensorId,
    rule: impl Fn(&Node, usize) -> Option<Arc<dyn Operator>>,
) -> Option<Vec<(usize, Arc<dyn Operator>)>> {
    let made = readers.iter().map(|&reader| {
        let node = &graph.nodes()[reader];
        let mut places = node.inputs.iter().enumerate().filter(|(_, input)| **input == tensor).map(|(i, _)| i);
        match (places.next(), places.next()) {
            (Some(place), None) => rule(node, place).map(|operator| (reader, operator)),
            _ => None,
        }
    });
    made.collect()
}

/// `concat` before operators that read two maps.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn take_joined_maps(graph: &mut Graph) -> Result<()> {
    for index in 0..graph.nodes().len() {
        let readers = Readers::of(graph);
        let node = &graph.nodes()[index];
        if !is::<Concat>(node) || !readers.is_live(node) {
            continue;
        }
        let (parts, whole) = (node.inputs.clone(), node.outputs[0]);
        let rule = |node: &Node, place: usize| {
            let joins =
                |prologue: Prologue| (place == 0 && !prologue.joined).then_some(Prologue { joined: true, ..prologue });
            with_prologue(graph, node, &joins)
        };
        let Some(made) = readers.all(whole).and_then(|all| replacements(graph, all, whole, rule)) else { continue };
        for (reader, operator) in made {
            let others = graph.nodes()[reader].inputs[1..].to_vec();
            graph.replace(reader, operator, [&parts[..], &others].concat())?;
        }
    }
    Ok(())
}

/// A node's operator with another prologue for its first input, if it has one that `change` allows.
fn with_prologue(
    graph: &Graph,
    node: &Node,
    change: &dyn Fn(Prologue) -> Option<Prologue>,
) -> Option<Arc<dyn Operator>> {
    if let Some((_, operator)) = as_operator::<Conv2d>(node) {
        return change(operator.prologue).map(|prologue| Arc::new(Conv2d { prologue, ..*operator }) as _);
    }
    if let Some((_, operator)) = as_operator::<Conv2dWeightGradient>(node) {
        return change(operator.prologue).map(|prologue| Arc::new(Conv2dWeightGradient { prologue, ..*operator }) as _);
    }
    if let Some((_, operator)) = as_operator::<MatMul>(node) {
        let is_dense = !operator.transpose_a && graph.shape(node.inputs[operator.prologue.inputs()]).len() == 2;
        let prologue = change(operator.prologue).filter(|_| is_dense)?;
        return Some(Arc::new(MatMul { prologue, ..*operator }));
    }
    let (_, operator) = as_operator::<MatMulWeightGradient>(node)?;
    change(operator.prologue).map(|prologue| Arc::new(MatMulWeightGradient { prologue }) as _)
}

/// Batch normalisation by the batch's statistics where all that reads its result can normalise: only the statistics are made.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn take_normalised_maps(graph: &mut Graph) -> Result<()> {
    for index in 0..graph.nodes().len() {
        let readers = Readers::of(graph);
        let node = &graph.nodes()[index];
        let Some((_, norm)) = as_operator::<BatchNormTraining>(node).filter(|(node, _)| readers.is_live(node)) else {
            continue;
        };
        let (activation, epsilon, x) = (norm.activation, norm.epsilon, node.inputs[0]);
        let &[normalised, mean, variance] = node.outputs.as_slice() else { continue };
        let rule = |node: &Node, place: usize| normalising(graph, node, place, activation);
        let Some(made) = readers.all(normalised).and_then(|all| replacements(graph, all, normalised, rule)) else {
            continue;
        };
        let inputs = node.inputs.clone();
        let kept = [Some(mean), Some(variance), None];
        let outputs = graph.replace_outputs(index, Arc::new(BatchNormStatistics { epsilon }), inputs, &kept)?;
        for (reader, operator) in made {
            let inputs = graph.nodes()[reader].inputs.iter();
            let inputs = inputs.flat_map(|&t| if t == normalised { vec![x, outputs[2]] } else { vec![t] }).collect();
            graph.replace(reader, operator, inputs)?;
        }
    }
    Ok(())
}

/// The operator of a node that normalises its input number `place` itself.
fn normalising(graph: &Graph, node: &Node, place: usize, activation: Activation) -> Option<Arc<dyn Operator>> {
    let change = |prologue: Prologue| {
        prologue.normalised.is_none().then_some(Prologue { normalised: Some(activation), ..prologue })
    };
    if place == 0 {
        if let Some((_, operator)) = as_operator::<GlobalAveragePool>(node) {
            return change(operator.prologue).map(|prologue| Arc::new(GlobalAveragePool { prologue }) as _);
        }
        if let Some((_, operator)) = as_operator::<ProductSum>(node) {
            return change(operator.prologue).map(|prologue| Arc::new(ProductSum { prologue }) as _);
        }
        if let Some(operator) = with_prologue(graph, node, &change) {
            return Some(operator);
        }
    }
    if let Some((_, operator)) = as_operator::<ScaledSum>(node) {
        let term = operator.parts().position(|(_, first)| first == place)?;
        let mut terms = operator.terms;
        terms[term] = terms[term].and_then(change);
        return terms[term].map(|_| Arc::new(ScaledSum { terms, ..*operator }) as _);
    }
    let (_, operator) = as_operator::<MatMul>(node)?;
    let addend = operator.addend?;
    let addend = change(addend).filter(|_| place + addend.inputs() == node.inputs.len())?;
    Some(Arc::new(MatMul { addend: Some(addend), ..*operator }))
}
