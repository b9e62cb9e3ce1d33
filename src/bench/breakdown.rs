//! Where the time of a run goes: by operator and kernel, by launch, by node.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::statistics::{quantile, ratio};
use crate::executor::Profile;
use crate::graph::{Cost, Graph};

/// What all nodes of one operator that run the same kernels take together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// The operator's registered name.
    pub operator: String,
    /// The kernels of a node, in order; none on the CPU.
    pub kernels: Vec<String>,
    /// What it was applied to, where that is one thing: the shapes of the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
    /// Number of nodes.
    pub count: usize,
    /// Seconds of all of them.
    pub seconds: f64,
    /// Floating-point operations in the direct form. Winograd's does fewer, so that its rate may exceed the device's.
    pub flop: u64,
    /// Bytes that must at least move.
    pub bytes: u64,
    /// 1e9 floating-point operations a second.
    pub gflops: f64,
    /// 1e9 bytes a second. From a cache they may be more than the memory gives.
    pub gbs: f64,
    /// Time at the device's limits over the time taken: 1 is as fast as can be.
    pub share_of_limit: f64,
    /// Whether arithmetic (`compute`) or memory (`memory`) is the limit.
    pub bound: Bound,
    /// Share of the whole run.
    pub share: f64,
    /// Distance of the quartiles over the median, where it was measured alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
}

/// Which limit binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Memory bandwidth.
    Memory,
}

/// What all launches of one kernel take together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchTime {
    /// The kernel.
    pub kernel: String,
    /// Number of launches.
    pub count: usize,
    /// Seconds of all of them.
    pub seconds: f64,
    /// Share of the whole run.
    pub share: f64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeTime {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Its kernels.
    pub kernels: Vec<String>,
    /// The shapes of its inputs.
    pub inputs: String,
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations in the direct form.
    pub flop: u64,
    /// Bytes that must at least move.
    pub bytes: u64,
}

/// Where the time goes; each list begins with what takes most.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// Seconds of all pieces.
    pub seconds: f64,
    /// By operator and kernels.
    pub kernels: Vec<KernelTime>,
    /// By kernel; empty on the CPU.
    pub launches: Vec<LaunchTime>,
    /// By node, in the order of the graph.
    pub nodes: Vec<NodeTime>,
}

impl KernelTime {
    /// Rates and shares follow from the time and the work.
    #[expect(clippy::cast_precision_loss, reason = "rates need no more than 52 bits")]
    #[must_use]
    pub fn new(operator: &str, kernels: Vec<String>, count: usize, seconds: f64, cost: Cost, limits: &Limits) -> Self {
        let least = limits.least_seconds(cost);
        let memory = limits.least_seconds(Cost { flop: 0, ..cost });
        Self {
            operator: operator.to_owned(),
            kernels,
            inputs: None,
            count,
            seconds,
            flop: cost.flop,
            bytes: cost.bytes,
            gflops: ratio(cost.flop as f64, seconds * 1e9),
            gbs: ratio(cost.bytes as f64, seconds * 1e9),
            share_of_limit: ratio(least, seconds),
            bound: if least > memory { Bound::Compute } else { Bound::Memory },
            share: 0.0,
            spread: None,
        }
    }

    /// The kernels in a word, else what runs without one.
    #[must_use]
    pub fn variant(&self) -> String {
        if self.kernels.is_empty() { "native".to_owned() } else { self.kernels.join(" + ") }
    }
}

impl Breakdown {
    /// Sums up runs of `graph`; a piece's time is its median over the runs.
    #[must_use]
    pub fn new(graph: &Graph, profiles: &[Profile], limits: &Limits) -> Self {
        let Some(first) = profiles.first() else {
            return Self { seconds: 0.0, kernels: Vec::new(), launches: Vec::new(), nodes: Vec::new() };
        };
        let median = |piece: usize| {
            let times: Vec<f64> = profiles.iter().filter_map(|p| Some(p.pieces.get(piece)?.seconds)).collect();
            quantile(&times, 0.5)
        };
        let mut nodes: Vec<NodeTime> = Vec::new();
        let mut launches: Vec<LaunchTime> = Vec::new();
        let (mut place_of, mut seconds) = (HashMap::new(), 0.0);
        for (index, piece) in first.pieces.iter().enumerate() {
            let time = median(index);
            seconds += time;
            let place = *place_of.entry(piece.node).or_insert_with(|| {
                nodes.push(node_time(graph, piece.node));
                nodes.len() - 1
            });
            nodes[place].seconds += time;
            let Some(kernel) = piece.kernel else { continue };
            if !nodes[place].kernels.iter().any(|k| k == kernel) {
                nodes[place].kernels.push(kernel.to_owned());
            }
            let found = launches.iter().position(|l| l.kernel == kernel);
            let launch = found.unwrap_or_else(|| {
                launches.push(LaunchTime { kernel: kernel.to_owned(), count: 0, seconds: 0.0, share: 0.0 });
                launches.len() - 1
            });
            launches[launch].count += 1;
            launches[launch].seconds += time;
        }
        launches.iter_mut().for_each(|l| l.share = ratio(l.seconds, seconds));
        launches.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Self { seconds, kernels: by_kernel(&nodes, seconds, limits), launches, nodes }
    }
}

fn node_time(graph: &Graph, index: usize) -> NodeTime {
    let node = &graph.nodes()[index];
    let shapes = graph.shapes(node);
    let cost = node.operator.cost(&shapes);
    NodeTime {
        name: node.name.clone(),
        operator: node.operator.name().to_owned(),
        kernels: Vec::new(),
        inputs: shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        seconds: 0.0,
        flop: cost.flop,
        // A cost counts floats.
        bytes: cost.bytes / 4 * node.storage.bytes() as u64,
    }
}

fn by_kernel(nodes: &[NodeTime], whole: f64, limits: &Limits) -> Vec<KernelTime> {
    let mut groups: Vec<(&NodeTime, usize, f64, Cost)> = Vec::new();
    for node in nodes {
        let found = groups.iter_mut().find(|(of, ..)| of.operator == node.operator && of.kernels == node.kernels);
        let cost = Cost { flop: node.flop, bytes: node.bytes };
        match found {
            Some((_, count, seconds, sum)) => {
                *count += 1;
                *seconds += node.seconds;
                *sum = Cost { flop: sum.flop + cost.flop, bytes: sum.bytes + cost.bytes };
            }
            None => groups.push((node, 1, node.seconds, cost)),
        }
    }
    let mut rows: Vec<KernelTime> = groups
        .into_iter()
        .map(|(node, count, seconds, cost)| {
            let row = KernelTime::new(&node.operator, node.kernels.clone(), count, seconds, cost, limits);
            KernelTime { share: ratio(seconds, whole), ..row }
        })
        .collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}
