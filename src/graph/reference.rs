//! Running a graph by the operators' f64 definitions.

use std::collections::HashMap;

use super::{Graph, Source, TensorId};
use crate::error::{Error, Result};

impl Graph {
    /// Runs the graph with every operator's f64 definition: slow, exact, for tests.
    ///
    /// Gives the outputs by name, and what assignments give to parameters under the parameters' names.
    ///
    /// # Errors
    /// An input or parameter is missing or has the wrong size.
    pub fn evaluate_reference(&self, values: &HashMap<String, Vec<f64>>) -> Result<HashMap<String, Vec<f64>>> {
        let mut evaluation = Evaluation { graph: self, values: vec![Vec::new(); self.tensors().len()] };
        for (slot, tensor) in evaluation.values.iter_mut().zip(self.tensors()) {
            if matches!(tensor.source, Source::Input | Source::Parameter) {
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
        for node in self.nodes() {
            let gathered: Vec<Vec<f64>> = node.inputs.iter().map(|&t| evaluation.value(t)).collect();
            // A rewritten graph may hold nodes whose inputs nothing makes any more: no result needs them.
            if gathered.iter().any(Vec::is_empty) {
                continue;
            }
            let inputs: Vec<&[f64]> = gathered.iter().map(Vec::as_slice).collect();
            let outputs = node.operator.reference(&self.shapes(node), &inputs);
            for (id, value) in node.outputs.iter().zip(outputs) {
                evaluation.values[id.index()] = value;
            }
        }
        let mut results: HashMap<String, Vec<f64>> =
            self.outputs().iter().map(|(name, id)| (name.clone(), evaluation.value(*id))).collect();
        for &(parameter, value) in self.assignments() {
            results.insert(self.tensors()[parameter.index()].name.clone(), evaluation.value(value));
        }
        Ok(results)
    }
}

/// The values of a graph's tensors; those of vectors of parts are put together when they are asked for.
struct Evaluation<'a> {
    graph: &'a Graph,
    values: Vec<Vec<f64>>,
}

impl Evaluation<'_> {
    fn value(&self, id: TensorId) -> Vec<f64> {
        let tensor = &self.graph.tensors()[id.index()];
        match (tensor.source, tensor.within) {
            (Source::Packed, _) => {
                let mut whole = vec![0.0; tensor.shape.elements()];
                for (part, offset) in self.graph.parts(id) {
                    let value = self.value(part);
                    whole[offset..offset + value.len()].copy_from_slice(&value);
                }
                whole
            }
            (Source::View, Some((whole, offset))) => {
                self.value(whole)[offset..offset + tensor.shape.elements()].to_vec()
            }
            _ => self.values[id.index()].clone(),
        }
    }
}
