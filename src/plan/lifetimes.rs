//! When everything that lies in slots is alive: tensors, temporary memory, and weights that only the preparation reads.
//!
//! Time 1 is the first step of the preparation. Inputs are written at [`Roles::start`], after the preparation; then the steps
//! follow, and results are read at [`Roles::end`].

use std::ops::Range;

use super::roles::{Role, Roles};
use super::slots::Lifetime;
use super::{ALIGNMENT, Target};
use crate::graph::{Graph, Node, Source, TensorId};

/// What lies in slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Tenants {
    /// Their lifetimes.
    pub(super) lifetimes: Vec<Lifetime>,
    /// The lifetime of every tensor of the graph that lies in a slot. Tensors that share one are in place of each other.
    pub(super) of_tensor: Vec<Option<usize>>,
    /// The lifetimes of every step's temporary memory, the preparation's first.
    pub(super) scratch: Vec<Range<usize>>,
    /// The input in whose memory every step writes its first output.
    pub(super) in_place: Vec<Option<usize>>,
}

impl Tenants {
    /// Finds them.
    pub(super) fn of(graph: &Graph, roles: &Roles, target: &Target) -> Self {
        let spans = spans(graph, roles);
        let mut tenants = Self { of_tensor: vec![None; graph.tensors().len()], ..Self::default() };
        for (id, tensor) in graph.ids().zip(graph.tensors()) {
            let is_made = matches!(tensor.source, Source::Node(_)) && tensor.within.is_none();
            if let (Some((first, last)), false) = (spans[id.index()], is_made) {
                tenants.insert(graph, id, first, last);
            }
        }
        for (time, index) in roles.steps() {
            let node = &graph.nodes()[index];
            let in_place = tenants.aliased(graph, node, time, &spans);
            let homes = |ids: &[TensorId]| ids.iter().map(|&t| home(graph, t)).collect::<Vec<_>>();
            for (i, output) in homes(&node.outputs).into_iter().enumerate() {
                let Some((first, last)) = spans[output.index()] else { continue };
                match in_place.filter(|_| i == 0) {
                    Some(input) => {
                        let shared = tenants.of_tensor[node.inputs[input].index()];
                        tenants.of_tensor[output.index()] = shared;
                        if let Some(shared) = shared {
                            tenants.lifetimes[shared].last = last;
                        }
                    }
                    None if tenants.of_tensor[output.index()].is_none() => tenants.insert(graph, output, first, last),
                    None => {}
                }
                tenants.touched(output, |lifetime| &mut lifetime.writes, time);
            }
            for input in homes(&node.inputs) {
                tenants.touched(input, |lifetime| &mut lifetime.reads, time);
            }
            tenants.in_place.push(in_place);
            tenants.scratch.push(Range::default());
        }
        for (step, (time, index)) in roles.steps().enumerate() {
            tenants.scratch[step] = tenants.scratch_of(graph, &graph.nodes()[index], time, target);
        }
        tenants
    }

    fn insert(&mut self, graph: &Graph, id: TensorId, first: usize, last: usize) {
        let floats = graph.tensors()[id.index()].floats().next_multiple_of(ALIGNMENT);
        self.of_tensor[id.index()] = Some(self.lifetimes.len());
        self.lifetimes.push(Lifetime { floats, first, last, ..Lifetime::default() });
    }

    fn touched(&mut self, id: TensorId, touches: fn(&mut Lifetime) -> &mut Vec<usize>, time: usize) {
        if let Some(of_tensor) = self.of_tensor[id.index()] {
            let touches = touches(&mut self.lifetimes[of_tensor]);
            if touches.last() != Some(&time) {
                touches.push(time);
            }
        }
    }

    /// The input of a node in whose memory its first output may lie: one that nothing reads afterwards.
    fn aliased(&self, graph: &Graph, node: &Node, time: usize, spans: &[Option<(usize, usize)>]) -> Option<usize> {
        let output = node.outputs[0];
        let is_whole = |id: TensorId| {
            let tensor = &graph.tensors()[id.index()];
            tensor.within.is_none() && tensor.source != Source::Packed
        };
        let fits = |&input: &usize| {
            let id = node.inputs[input];
            is_whole(id)
                && self.of_tensor[id.index()].is_some()
                && spans[id.index()].is_some_and(|(_, last)| last == time)
                && graph.tensors()[id.index()].storage == graph.tensors()[output.index()].storage
                && graph.shape(id).elements() == graph.shape(output).elements()
                && node.inputs.iter().filter(|&&other| other == id).count() == 1
        };
        if !is_whole(output) || spans[output.index()].is_none() {
            return None;
        }
        node.operator.in_place(&graph.shapes(node)).into_iter().find(fits)
    }

    fn scratch_of(&mut self, graph: &Graph, node: &Node, time: usize, target: &Target) -> Range<usize> {
        let shapes = graph.shapes(node);
        let sizes = match target {
            Target::Cpu => vec![node.operator.cpu_scratch(&shapes)],
            Target::Gpu(caps) => node.operator.gpu_scratch(&shapes, &caps.on(node.storage)),
        };
        let first = self.lifetimes.len();
        for floats in sizes.into_iter().filter(|&floats| floats > 0) {
            let floats = floats.next_multiple_of(ALIGNMENT);
            // Kernels write it and read it, so it lies in no slot of the step's other tensors.
            let touched = vec![time];
            self.lifetimes.push(Lifetime { floats, first: time, last: time, reads: touched.clone(), writes: touched });
        }
        first..self.lifetimes.len()
    }
}

/// The tensor in whose memory a tensor lies: a piece lives as long as its whole.
pub(super) fn home(graph: &Graph, id: TensorId) -> TensorId {
    graph.tensors()[id.index()].within.map_or(id, |(whole, _)| whole)
}

/// First and last time of everything that lies in slots.
fn spans(graph: &Graph, roles: &Roles) -> Vec<Option<(usize, usize)>> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.tensors().len()];
    for (id, tensor) in graph.ids().zip(graph.tensors()) {
        spans[id.index()] = match (roles.of_tensor[id.index()], tensor.source) {
            (Role::Kept, _) => None,
            (Role::Loading, Source::Parameter) => Some((0, 0)),
            (_, Source::Input) => Some((roles.start(), roles.start())),
            // From the beginning, so that what lies between its parts stays zero.
            (_, Source::Packed) => Some((0, roles.end())),
            _ => None,
        };
    }
    for (time, index) in roles.steps() {
        let node = &graph.nodes()[index];
        for output in node.outputs.iter().map(|&t| home(graph, t)).filter(|t| roles.of_tensor[t.index()] != Role::Kept)
        {
            let span = spans[output.index()].get_or_insert((time, time));
            span.1 = span.1.max(time);
        }
        for input in node.inputs.iter().map(|&t| home(graph, t)) {
            if let Some(span) = &mut spans[input.index()] {
                span.1 = span.1.max(time);
            }
        }
    }
    let results = graph.outputs().iter().map(|(_, id)| *id);
    for id in results.chain(graph.assignments().iter().map(|(_, value)| *value)) {
        if let Some(span) = &mut spans[home(graph, id).index()] {
            span.1 = roles.end();
        }
    }
    spans
}
