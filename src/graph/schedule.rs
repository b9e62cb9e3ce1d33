//! Another order of a graph's nodes.

use super::{Graph, Source, Tensor, TensorId};
use crate::error::{Error, Result};

impl Graph {
    /// The same graph with its nodes in another order, given by their indices. A node that is named again runs again: what it
    /// makes is made anew, and the nodes after it read that. Nodes that are not named come last and need not be able to run: a graph that was
    /// rewritten may hold some whose inputs nothing makes any more.
    ///
    /// Tensors keep their ids; those of repetitions are added.
    ///
    /// # Errors
    /// A node before one whose results it reads.
    pub fn rescheduled(&self, order: &[usize]) -> Result<Self> {
        let mut graph = self.clone();
        graph.nodes.clear();
        let mut named = vec![false; self.nodes.len()];
        order.iter().for_each(|&index| named[index] = true);
        let others = (0..self.nodes.len()).filter(|&index| !named[index]);
        let checked = order.iter().map(|&index| (index, true));
        let order: Vec<(usize, bool)> = checked.chain(others.map(|index| (index, false))).collect();

        let mut latest: Vec<TensorId> = self.ids().collect();
        let mut is_made: Vec<bool> = self.tensors.iter().map(|t| !matches!(t.source, Source::Node(_))).collect();
        for (index, is_checked) in order {
            let mut node = self.nodes[index].clone();
            if let Some(early) = node.inputs.iter().find(|t| is_checked && !is_made[t.0]) {
                return Err(Error::bad_argument(
                    format!("{} before {}", node.name, self.tensors[early.0].name),
                    "every node after those it reads from",
                    "give an order that can run",
                ));
            }
            node.inputs.iter_mut().for_each(|t| *t = latest[t.0]);
            let source = Source::Node(graph.nodes.len());
            for output in &mut node.outputs {
                if std::mem::replace(&mut is_made[output.0], true) {
                    let Tensor { name, shape, storage, .. } = self.tensors[output.0].clone();
                    latest[output.0] = graph.tensor(name, shape, source);
                    graph.tensors[latest[output.0].0].storage = storage;
                    *output = latest[output.0];
                } else {
                    graph.tensors[output.0].source = source;
                }
            }
            graph.nodes.push(node);
        }
        Ok(graph)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::graph::Graph;
    use crate::ops::{Add, Multiply, Scale};

    #[test]
    fn repetitions_are_read_by_what_follows() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2]);
        let double = graph.apply(Scale { factor: 2.0 }, &[x]).expect("a tensor");
        let square = graph.apply(Multiply, &[double, double]).expect("a tensor");
        let sum = graph.apply(Add, &[square, double]).expect("a tensor");
        graph.output("sum", sum);
        let again = graph.rescheduled(&[0, 1, 0, 2]).expect("an order that can run");
        assert_eq!((again.nodes().len(), again.tensors().len()), (4, 5));
        assert_ne!(again.nodes()[3].inputs[1], again.nodes()[1].inputs[0], "the sum reads what was made again");
        let given = HashMap::from([("x".to_owned(), vec![3.0, -1.0])]);
        let value = |graph: &Graph| graph.evaluate_reference(&given).expect("values");
        assert_eq!(value(&again), value(&graph));
        assert!(graph.rescheduled(&[1]).is_err(), "the square before what it multiplies");
    }
}
