//! Recomputation: under a bound on memory, tensors are dropped between two reads that lie far apart and made again before the second
//! (Griewank & Walther 2000, "Revolve"; Chen et al. 2016, "Training deep nets with sublinear memory cost").
//!
//! What to drop is chosen greedily, most relief for the least work first, as in dynamic rematerialisation (Kirisame et al. 2021). The
//! same operators run on the same values, so the results have the same bits.

use std::collections::HashSet;

use super::lifetimes::{Tenants, home};
use super::roles::{Role, Roles};
use super::slots::{self, live};
use super::{ALIGNMENT, Target, largest_slot, result_floats};
use crate::error::{Error, Result};
use crate::graph::{Graph, Source, TensorId};

/// Work in seconds of a machine of middling speed; only ratios matter.
const FLOP_PER_SECOND: f64 = 1e11;
/// The same for memory traffic.
const BYTES_PER_SECOND: f64 = 1e10;

/// How many nodes in a row a tensor may be made again from.
const LONGEST_CHAIN: usize = 6;

/// A graph with the same results whose plan needs no more than `bytes`.
///
/// # Errors
/// [`Error::MemoryBound`] with the smallest bound that was reached, if this is too small.
pub(super) fn fit(graph: Graph, target: &Target, bytes: u64) -> Result<Graph> {
    let mut schedule = Schedule::of(graph, target);
    if schedule.peak_bytes() <= bytes || schedule.lower(bytes)? {
        return Ok(schedule.graph);
    }
    // How far down it goes, in steps of a twentieth.
    let mut schedule = Schedule::of(schedule.original, target);
    let mut smallest = schedule.peak_bytes();
    while schedule.lower(smallest - smallest / 20)? {
        smallest = schedule.peak_bytes();
    }
    // What was reached step by step may be out of reach in one.
    loop {
        let mut again = Schedule::of(schedule.original.clone(), target);
        if again.peak_bytes() <= smallest || again.lower(smallest)? {
            break;
        }
        smallest += smallest / 50;
    }
    Err(Error::MemoryBound { bound: bytes, smallest })
}

/// A graph with what is known of its memory.
struct Schedule<'a> {
    target: &'a Target,
    original: Graph,
    graph: Graph,
    roles: Roles,
    tenants: Tenants,
    /// Floats alive at every time.
    live: Vec<usize>,
    /// Floats held all the time.
    fixed: usize,
}

/// Nodes to run again before a reader.
struct Candidate {
    /// The tensor that is dropped, and the first result of the reader it is made again for.
    key: (TensorId, TensorId),
    /// The reader's place among the steps of every run.
    step: usize,
    /// Nodes in the order to run.
    nodes: Vec<usize>,
    /// Relief per work.
    score: f64,
}

impl<'a> Schedule<'a> {
    fn of(graph: Graph, target: &'a Target) -> Self {
        let roles = Roles::of(&graph);
        let tenants = Tenants::of(&graph, &roles, target);
        let live = live(&tenants.lifetimes);
        let aligned = |id: TensorId| graph.tensors()[id.index()].floats().next_multiple_of(ALIGNMENT);
        let is_fixed = |id: &TensorId| {
            let tensor = &graph.tensors()[id.index()];
            let is_made = matches!(tensor.source, Source::Node(node) if !roles.once.contains(&node));
            roles.of_tensor[id.index()] == Role::Kept && tensor.within.is_none() && !is_made
        };
        let fixed = graph.ids().filter(is_fixed).map(aligned).sum::<usize>() + result_floats(&graph, target);
        Self { target, original: graph.clone(), graph, roles, tenants, live, fixed }
    }

    /// What the plan of this schedule holds.
    fn peak_bytes(&self) -> u64 {
        4 * (self.fixed + slots::assign(&self.tenants.lifetimes, largest_slot(self.target)).floats()) as u64
    }

    /// Drops tensors until the plan fits; whether it does.
    fn lower(&mut self, bytes: u64) -> Result<bool> {
        let Some(bound) = usize::try_from(bytes / 4).unwrap_or(usize::MAX).checked_sub(self.fixed) else {
            return Ok(false);
        };
        // Slots come to a little more than what is alive: the limit makes room for that when it shows.
        let mut limit = bound;
        let mut futile = HashSet::new();
        loop {
            while self.excess(limit) > 0 {
                let Some(candidate) = self.best(limit, &futile) else { return Ok(false) };
                let next = self.with(&candidate)?;
                if next.excess(limit) < self.excess(limit) {
                    *self = next;
                } else {
                    futile.insert(candidate.key);
                }
            }
            let floats = slots::assign(&self.tenants.lifetimes, largest_slot(self.target)).floats();
            if floats <= bound {
                return Ok(true);
            }
            let highest = self.live.iter().copied().max().unwrap_or(0);
            limit = match highest.min(limit).checked_sub((floats - bound).min(highest / 50 + 1)) {
                Some(limit) => limit,
                None => return Ok(false),
            };
        }
    }

    /// Floats above the limit, summed over time.
    fn excess(&self, limit: usize) -> usize {
        self.live.iter().map(|&floats| floats.saturating_sub(limit)).sum()
    }

    /// The schedule with a candidate's nodes run again.
    fn with(&self, candidate: &Candidate) -> Result<Self> {
        let mut order = self.roles.once.clone();
        order.extend(&self.roles.every[..candidate.step]);
        order.extend(&candidate.nodes);
        order.extend(&self.roles.every[candidate.step..]);
        let original = self.original.clone();
        Ok(Self { original, ..Self::of(self.graph.rescheduled(&order)?, self.target) })
    }

    /// The candidate with the most relief per work.
    fn best(&self, limit: usize, futile: &HashSet<(TensorId, TensorId)>) -> Option<Candidate> {
        let touches = self.touches();
        // Times above the limit up to each time: gaps without any are left alone.
        let mut above = vec![0_usize];
        above.extend(self.live.iter().scan(0, |count, &floats| {
            *count += usize::from(floats > limit);
            Some(*count)
        }));
        let mut best: Option<Candidate> = None;
        for id in self.graph.ids() {
            let Some(floats) = self.droppable(id) else { continue };
            for gap in touches[id.index()].windows(2).filter(|gap| above[gap[1]] > above[gap[0] + 1]) {
                let step = gap[1] - self.roles.start() - 1;
                let reader = &self.graph.nodes()[self.roles.every[step]];
                let key = (id, reader.outputs[0]);
                if futile.contains(&key) {
                    continue;
                }
                let mut shortest = 0;
                for longest in 1..=LONGEST_CHAIN {
                    let Some(chain) = Chain::of(self, &touches, id, gap[1], longest) else { break };
                    if chain.nodes.len() == shortest {
                        break; // A longer one is the same.
                    }
                    shortest = chain.nodes.len();
                    let relief = self.relief(limit, (gap[0], gap[1], floats), &chain);
                    let score = relief / chain.work;
                    if relief > 0.0 && best.as_ref().is_none_or(|best| score > best.score) {
                        best = Some(Candidate { key, step, nodes: chain.nodes, score });
                    }
                }
            }
        }
        best
    }

    /// Times at which the steps of every run touch each tensor, the one that makes it first.
    fn touches(&self) -> Vec<Vec<usize>> {
        let mut touches = vec![Vec::new(); self.graph.tensors().len()];
        for (time, index) in self.roles.steps() {
            let node = &self.graph.nodes()[index];
            for id in node.outputs.iter().chain(&node.inputs) {
                if touches[id.index()].last() != Some(&time) {
                    touches[id.index()].push(time);
                }
            }
        }
        touches
    }

    /// The floats of a tensor that can be dropped and made again.
    fn droppable(&self, id: TensorId) -> Option<usize> {
        let Source::Node(node) = self.graph.tensors()[id.index()].source else { return None };
        let is_whole = |t: &TensorId| self.graph.tensors()[t.index()].within.is_none();
        let tenant = self.tenants.of_tensor[id.index()]?;
        self.graph.nodes()[node].outputs.iter().all(is_whole).then(|| self.tenants.lifetimes[tenant].floats)
    }

    /// How much less lies above the limit, summed over time, with a tensor dropped in a gap and the nodes of a chain run again.
    fn relief(&self, limit: usize, (from, to, floats): (usize, usize, usize), chain: &Chain) -> f64 {
        let above = |floats: usize| floats.saturating_sub(limit) as f64;
        let first = chain.kept.iter().map(|(last, _)| last + 1).min().unwrap_or(from).min(from + 1);
        let mut relief = 0.0;
        for time in first..=to {
            let before = self.live[time];
            let freed = if time > from && time < to { floats } else { 0 };
            let kept: usize = chain.kept.iter().filter(|(last, _)| *last < time).map(|(_, floats)| floats).sum();
            let passing = if time == to { chain.passing } else { 0 };
            relief += above(before) - above((before + kept + passing).saturating_sub(freed));
        }
        relief
    }
}

/// Nodes that make a tensor again.
struct Chain {
    /// In the order to run.
    nodes: Vec<usize>,
    /// What must be kept longer for them: its last time now, and its floats.
    kept: Vec<(usize, usize)>,
    /// Floats of what is made on the way.
    passing: usize,
    /// Their work in seconds.
    work: f64,
}

impl Chain {
    /// The nodes that make `id` at `time`, at most `longest` in a row; what they need and is not there is kept longer.
    fn of(schedule: &Schedule<'_>, touches: &[Vec<usize>], id: TensorId, time: usize, longest: usize) -> Option<Self> {
        let mut chain = Self { nodes: Vec::new(), kept: Vec::new(), passing: 0, work: 0.0 };
        chain.add(schedule, touches, id, time, longest)?;
        Some(chain)
    }

    fn add(
        &mut self,
        schedule: &Schedule<'_>,
        touches: &[Vec<usize>],
        id: TensorId,
        time: usize,
        longest: usize,
    ) -> Option<()> {
        let Source::Node(index) = schedule.graph.tensors()[id.index()].source else { return None };
        if self.nodes.contains(&index) {
            return Some(());
        }
        let node = &schedule.graph.nodes()[index];
        for &input in &node.inputs {
            let home = home(&schedule.graph, input);
            let Some(tenant) = schedule.tenants.of_tensor[home.index()] else { continue };
            let is_result = schedule.tenants.lifetimes[tenant].last == schedule.roles.end();
            let last = touches[input.index()].last().copied().unwrap_or(0);
            if last >= time || is_result || home != input {
                continue;
            }
            if longest > 1 && schedule.droppable(input).is_some() {
                if !matches!(schedule.graph.tensors()[input.index()].source, Source::Node(n) if self.nodes.contains(&n))
                {
                    self.passing += schedule.tenants.lifetimes[tenant].floats;
                }
                self.add(schedule, touches, input, time, longest - 1)?;
            } else {
                let last = last.max(schedule.roles.start());
                self.kept.push((last, schedule.tenants.lifetimes[tenant].floats));
            }
        }
        let cost = node.operator.cost(&schedule.graph.shapes(node));
        self.work += cost.flop as f64 / FLOP_PER_SECOND + cost.bytes as f64 / BYTES_PER_SECOND;
        self.nodes.push(index);
        Some(())
    }
}
