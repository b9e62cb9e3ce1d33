//! Rewrites of a graph into an equal one with fewer steps and fewer tensors to keep.
//!
//! They come after differentiation, so that gradient rules stay simple, and serve inference and training alike, but for the folding of
//! batch norms into convolutions: in training their weights change.

mod batch_norm_folding;
mod prologues;
mod readers;
mod sums;

use crate::error::Result;
use crate::graph::Graph;

/// Applies every rule.
///
/// # Errors
/// Shapes that do not fit, which would be a defect of a rule.
pub fn fuse(graph: &Graph) -> Result<Graph> {
    let mut graph =
        if graph.assignments().is_empty() { batch_norm_folding::fold_into_convolutions(graph)? } else { graph.clone() };
    prologues::take_doubled_maps(&mut graph)?;
    sums::add_to_products(&mut graph)?;
    sums::scale_and_add(&mut graph)?;
    sums::sum_products(&mut graph)?;
    sums::add_to_upsampled(&mut graph)?;
    prologues::take_joined_maps(&mut graph)?;
    prologues::take_normalised_maps(&mut graph)?;
    Ok(graph)
}
