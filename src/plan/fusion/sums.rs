//! Sums taken by the operator that makes one of their terms.

use std::sync::Arc;

use super::readers::{Readers, as_operator, is};
use crate::error::Result;
use crate::graph::{Graph, Node, TensorId};
use crate::ops::{Add, MatMul, Multiply, ProductSum, Prologue, ScaledSum, SumTo, UpsampleBilinear};

/// Calls `rule` on every live node, in order.
fn for_live(graph: &mut Graph, rule: impl Fn(&mut Graph, usize) -> Result<()>) -> Result<()> {
    for index in 0..graph.nodes().len() {
        if Readers::of(graph).is_live(&graph.nodes()[index]) {
            rule(graph, index)?;
        }
    }
    Ok(())
}

/// The terms of a sum of two tensors of one shape: each with the other.
fn terms(graph: &Graph, node: &Node) -> [Option<(TensorId, TensorId)>; 2] {
    match *node.inputs.as_slice() {
        // The later of two candidates comes first: the other is made by then.
        [a, b] if is::<Add>(node) && a != b && graph.shape(a) == graph.shape(b) => [Some((b, a)), Some((a, b))],
        _ => [None, None],
    }
}

/// `matmul, add`: dense layers and the sums around them.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn add_to_products(graph: &mut Graph) -> Result<()> {
    for_live(graph, |graph, index| {
        let readers = Readers::of(graph);
        for (product, other) in terms(graph, &graph.nodes()[index]).into_iter().flatten() {
            let Some((node, operator)) = readers.only_source(product).and_then(as_operator::<MatMul>) else { continue };
            let is_dense = !operator.transpose_a && graph.shape(node.inputs[1]).len() == 2;
            if is_dense && operator.addend.is_none() && operator.prologue == Prologue::default() {
                let operator = MatMul { addend: Some(Prologue::default()), ..*operator };
                let inputs = [&node.inputs[..], &[other]].concat();
                return graph.replace(index, Arc::new(operator), inputs);
            }
        }
        Ok(())
    })
}

/// `multiply` by weights per sample and channel, and sums of such products.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn scale_and_add(graph: &mut Graph) -> Result<()> {
    for_live(graph, |graph, index| {
        let readers = Readers::of(graph);
        // A product that only this sum reads.
        let scaled = |tensor: TensorId| {
            let node = readers.only_source(tensor).filter(|node| is::<Multiply>(node))?;
            let [x, w] = [node.inputs[0], node.inputs[1]];
            let [n, _, _, c] = graph.shape(x).nhwc()?;
            (graph.shape(w)[..] == [n, 1, 1, c] && graph.shape(x) == graph.shape(tensor)).then_some([x, w])
        };
        let plain = Some(Prologue::default());
        for (product, other) in terms(graph, &graph.nodes()[index]).into_iter().flatten() {
            let Some(first) = scaled(product) else { continue };
            return match scaled(other) {
                // In the order of the sum.
                Some(second) => {
                    let operator = ScaledSum { terms: [plain, plain], addend: false };
                    graph.replace(index, Arc::new(operator), [second, first].concat())
                }
                None => {
                    let operator = ScaledSum { terms: [plain, None], addend: true };
                    graph.replace(index, Arc::new(operator), [&first[..], &[other]].concat())
                }
            };
        }
        Ok(())
    })
}

/// `multiply, sum_to` over the pixels of each sample.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn sum_products(graph: &mut Graph) -> Result<()> {
    for_live(graph, |graph, index| {
        let readers = Readers::of(graph);
        let node = &graph.nodes()[index];
        if !is::<SumTo>(node) {
            return Ok(());
        }
        let Some(product) = readers.only_source(node.inputs[0]).filter(|node| is::<Multiply>(node)) else {
            return Ok(());
        };
        let &[dy, x] = product.inputs.as_slice() else { return Ok(()) };
        let Some([n, _, _, c]) = graph.shape(x).nhwc() else { return Ok(()) };
        if graph.shape(x) != graph.shape(dy) || graph.shape(node.outputs[0])[..] != [n, 1, 1, c] {
            return Ok(());
        }
        graph.replace(index, Arc::new(ProductSum { prologue: Prologue::default() }), vec![x, dy])
    })
}

/// `upsample_bilinear, add`.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of the rule.
pub(super) fn add_to_upsampled(graph: &mut Graph) -> Result<()> {
    for_live(graph, |graph, index| {
        let readers = Readers::of(graph);
        for (large, other) in terms(graph, &graph.nodes()[index]).into_iter().flatten() {
            let source = readers.only_source(large).and_then(as_operator::<UpsampleBilinear>);
            let Some((node, UpsampleBilinear { addend: false })) = source else { continue };
            let inputs = vec![node.inputs[0], other];
            return graph.replace(index, Arc::new(UpsampleBilinear { addend: true }), inputs);
        }
        Ok(())
    })
}
