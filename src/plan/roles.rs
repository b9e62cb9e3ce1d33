//! What runs once and what runs every time, and where every tensor belongs.

use super::lifetimes::home;
use crate::graph::{Graph, Node, Source, Tensor, TensorId};

/// Where a tensor belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Among the weights or what is made of them once: it outlives every run.
    Kept,
    /// A weight that only the preparation reads. It lies in a slot until the first run.
    Loading,
    /// Alive for a part of a run, or of the preparation.
    Passing,
}

/// The order of a graph's steps, and the roles of its tensors.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    /// The nodes that depend on weights alone: they run once, after loading.
    pub(super) once: Vec<usize>,
    /// The nodes of every run. What no result needs is in neither.
    pub(super) every: Vec<usize>,
    /// The role of every tensor.
    pub(super) of_tensor: Vec<Role>,
}

impl Roles {
    /// Finds them.
    pub(super) fn of(graph: &Graph) -> Self {
        let (constant, needed) = (constants(graph), needed(graph));
        let order = |wanted: bool| {
            let nodes = graph.nodes().iter().enumerate();
            let is_live = |node: &Node| node.outputs.iter().any(|t| needed[t.index()]);
            let runs_once = |node: &Node| node.outputs.iter().all(|t| constant[t.index()]);
            nodes.filter(|(_, node)| is_live(node) && runs_once(node) == wanted).map(|(i, _)| i).collect()
        };
        let (once, every): (Vec<usize>, Vec<usize>) = (order(true), order(false));
        let of_tensor = of_tensor(graph, [&once, &every], &constant);
        Self { once, every, of_tensor }
    }

    /// When the inputs are written: after the preparation, whose first step is at time 1.
    pub(super) fn start(&self) -> usize {
        self.once.len() + 1
    }

    /// When the results are read.
    pub(super) fn end(&self) -> usize {
        self.start() + self.every.len() + 1
    }

    /// The steps with their times.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, usize)> {
        let once = self.once.iter().enumerate().map(|(i, &node)| (i + 1, node));
        once.chain(self.every.iter().enumerate().map(|(i, &node)| (self.start() + i + 1, node)))
    }
}

/// The role of every tensor.
fn of_tensor(graph: &Graph, [once, every]: [&[usize]; 2], constant: &[bool]) -> Vec<Role> {
    let mut read = [vec![false; graph.tensors().len()], vec![false; graph.tensors().len()]];
    for (read, steps) in read.iter_mut().zip([once, every]) {
        for &input in steps.iter().flat_map(|&node| &graph.nodes()[node].inputs) {
            read[home(graph, input).index()] = true;
        }
    }
    for (_, id) in graph.outputs() {
        read[1][home(graph, *id).index()] = true;
    }
    let [in_preparation, in_runs] = read;
    let role = |(id, tensor): (TensorId, &Tensor)| {
        let i = id.index();
        let only_prepares = in_preparation[i] && !in_runs[i] && constant[i];
        match tensor.source {
            Source::Parameter if only_prepares && tensor.within.is_none() => Role::Loading,
            Source::Parameter => Role::Kept,
            Source::Packed if holds_parameters(graph, id) => Role::Kept,
            Source::Node(_) if constant[i] && !only_prepares => Role::Kept,
            _ => Role::Passing,
        }
    };
    graph.ids().zip(graph.tensors()).map(role).collect()
}

/// Which tensors depend on weights alone that no run changes.
pub(super) fn constants(graph: &Graph) -> Vec<bool> {
    let is_assigned = |id: TensorId| graph.assignments().iter().any(|(parameter, _)| *parameter == id);
    let mut constant: Vec<bool> = (graph.ids().zip(graph.tensors()))
        .map(|(id, t)| {
            t.source == Source::Parameter && !is_assigned(id) && !t.within.is_some_and(|(whole, _)| is_assigned(whole))
        })
        .collect();
    for node in graph.nodes() {
        // Parts of a vector are made with the others, at every run.
        let is_part = node.outputs.iter().any(|t| graph.tensors()[t.index()].within.is_some());
        if !is_part && node.inputs.iter().all(|t| constant[t.index()]) {
            for output in &node.outputs {
                constant[output.index()] = true;
            }
        }
    }
    constant
}

/// Which tensors the graph's results and assignments depend on.
pub(super) fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.tensors().len()];
    let results = graph.outputs().iter().map(|(_, id)| *id);
    for id in results.chain(graph.assignments().iter().map(|(_, value)| *value)) {
        need(graph, id, &mut needed);
    }
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|t| needed[t.index()]) {
            for &input in &node.inputs {
                need(graph, input, &mut needed);
            }
        }
    }
    needed
}

/// Marks a tensor, and those it is made of or a piece of.
fn need(graph: &Graph, id: TensorId, needed: &mut [bool]) {
    needed[id.index()] = true;
    let tensor = &graph.tensors()[id.index()];
    match (tensor.source, tensor.within) {
        (Source::Packed, _) => {
            for (part, _) in graph.parts(id) {
                needed[part.index()] = true;
            }
        }
        (Source::View, Some((whole, _))) => needed[whole.index()] = true,
        _ => {}
    }
}

/// Whether a vector is made of parameters.
fn holds_parameters(graph: &Graph, whole: TensorId) -> bool {
    graph.parts(whole).all(|(part, _)| graph.tensors()[part.index()].source == Source::Parameter)
}
