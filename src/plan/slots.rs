//! Memory slots by liveness: tensors that are never alive together share memory, and small ones lie beside each other
//! where a large one was.

use std::cmp::Reverse;

/// A tensor's size, the closed span of time in which it must be kept, and the times at which steps touch it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Size in floats.
    pub floats: usize,
    /// When it is made.
    pub first: usize,
    /// When it is read last.
    pub last: usize,
    /// When it is read, in order.
    pub reads: Vec<usize>,
    /// When it is written, in order. What a step writes lies in no slot that the step reads.
    pub writes: Vec<usize>,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A place in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The slot's index.
    pub slot: usize,
    /// Where in it, in floats.
    pub offset: usize,
}

/// Which place each tensor got, and how large the slots are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Place of each tensor.
    pub places: Vec<Place>,
    /// Size of each slot in floats.
    pub sizes: Vec<usize>,
}

impl Assignment {
    /// Size of all slots in floats.
    #[must_use]
    pub fn floats(&self) -> usize {
        self.sizes.iter().sum()
    }
}

/// The most floats alive at one time: no assignment needs less.
#[must_use]
pub fn lower_bound(lifetimes: &[Lifetime]) -> usize {
    live(lifetimes).into_iter().max().unwrap_or(0)
}

/// Floats alive at every time.
#[must_use]
pub fn live(lifetimes: &[Lifetime]) -> Vec<usize> {
    let end = lifetimes.iter().map(|l| l.last + 1).max().unwrap_or(0);
    let (mut begins, mut ends) = (vec![0; end + 1], vec![0; end + 1]);
    for lifetime in lifetimes {
        begins[lifetime.first] += lifetime.floats;
        ends[lifetime.last + 1] += lifetime.floats;
    }
    let mut now = 0;
    let at = (0..end).map(|time| {
        now = now + begins[time] - ends[time];
        now
    });
    at.collect()
}

/// By what a way orders tensors of a size and a span, largest first.
type Key = fn(usize, usize) -> (usize, usize);

/// Assigns slots greedily, the largest tensors first (Pisarchyk & Lee 2020, "Efficient memory management for deep neural
/// net inference", greedy by size). Each takes the tightest gap between those that are alive with it; where there is none,
/// a slot grows or a new one begins, whichever adds less. No slot grows beyond `largest` floats, unless one tensor is larger.
///
/// The best of a few ways counts: by size, by size times span, by span; slots that grow, up to the largest tensor or further, or
/// that do not.
#[must_use]
pub fn assign(lifetimes: &[Lifetime], largest: usize) -> Assignment {
    let conflicts = conflicts(lifetimes);
    let span = |l: &Lifetime| 1 + l.last - l.first;
    let keys: [Key; 3] = [|size, _| (size, 0), |size, span| (size * span, size), |size, span| (span, size)];
    let orders = keys.iter().map(|key| {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&i| {
            let l = &lifetimes[i];
            (Reverse(key(l.floats, span(l))), l.first, i)
        });
        order
    });
    let largest_tensor = lifetimes.iter().map(|l| l.floats).max().unwrap_or(0);
    let growths = [0, largest.min(largest_tensor), largest];
    orders
        .flat_map(|order| growths.map(|growth| place(lifetimes, &conflicts, &order, growth)))
        .min_by_key(Assignment::floats)
        .unwrap_or_default()
}

/// For every tensor those that may not lie in its slot, because a step writes one and reads the other.
fn conflicts(lifetimes: &[Lifetime]) -> Vec<Vec<usize>> {
    let end = lifetimes.iter().map(|l| l.last + 1).max().unwrap_or(0);
    let (mut readers, mut writers) = (vec![Vec::new(); end], vec![Vec::new(); end]);
    for (i, lifetime) in lifetimes.iter().enumerate() {
        lifetime.reads.iter().for_each(|&time| readers[time].push(i));
        lifetime.writes.iter().for_each(|&time| writers[time].push(i));
    }
    let mut conflicts = vec![Vec::new(); lifetimes.len()];
    for (readers, writers) in readers.iter().zip(&writers) {
        for &reader in readers {
            for &writer in writers.iter().filter(|&&writer| writer != reader) {
                conflicts[reader].push(writer);
                conflicts[writer].push(reader);
            }
        }
    }
    conflicts
}

/// Gives every tensor a place, in this order.
fn place(lifetimes: &[Lifetime], conflicts: &[Vec<usize>], order: &[usize], largest: usize) -> Assignment {
    let mut places: Vec<Option<Place>> = vec![None; lifetimes.len()];
    let mut sizes: Vec<usize> = Vec::new();
    let mut tenants: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let tensor = &lifetimes[i];
        let mut free = vec![true; sizes.len()];
        for place in conflicts[i].iter().filter_map(|&other| places[other]) {
            free[place.slot] = false;
        }
        // What it adds, then what it wastes.
        let mut best = (tensor.floats, 0, Place { slot: sizes.len(), offset: 0 });
        for slot in (0..sizes.len()).filter(|&slot| free[slot]) {
            let mut taken: Vec<(usize, usize)> = (tenants[slot].iter())
                .filter(|&&other| tensor.overlaps(&lifetimes[other]))
                .filter_map(|&other| places[other].map(|p| (p.offset, p.offset + lifetimes[other].floats)))
                .collect();
            taken.sort_unstable();
            let (gap, offset) = tightest(&taken, sizes[slot], tensor.floats);
            let end = offset + tensor.floats;
            let grows = end.saturating_sub(sizes[slot]);
            let wastes = if grows > 0 { sizes[slot] } else { gap - tensor.floats };
            if (grows == 0 || end <= largest) && (grows, wastes) < (best.0, best.1) {
                best = (grows, wastes, Place { slot, offset });
            }
        }
        let chosen = best.2;
        if chosen.slot == sizes.len() {
            sizes.push(0);
            tenants.push(Vec::new());
        }
        sizes[chosen.slot] = sizes[chosen.slot].max(chosen.offset + tensor.floats);
        tenants[chosen.slot].push(i);
        places[i] = Some(chosen);
    }
    Assignment { places: places.into_iter().map(Option::unwrap_or_default).collect(), sizes }
}

/// Length and start of the smallest gap of at least `floats` between the taken pieces of a slot, which are in order; where
/// there is none, the end of the last piece.
fn tightest(taken: &[(usize, usize)], size: usize, floats: usize) -> (usize, usize) {
    let mut best: Option<(usize, usize)> = None;
    let mut end = 0;
    for &(start, after) in taken.iter().chain([&(size, size)]) {
        let gap = start.saturating_sub(end);
        if gap >= floats && best.is_none_or(|(least, _)| gap < least) {
            best = Some((gap, end));
        }
        if start < size {
            end = end.max(after);
        }
    }
    best.unwrap_or((floats, end))
}

#[cfg(test)]
mod tests {
    use super::{Lifetime, assign, lower_bound};

    fn tensor(floats: usize, first: usize, last: usize) -> Lifetime {
        Lifetime { floats, first, last, ..Lifetime::default() }
    }

    #[test]
    fn small_tensors_share_the_place_of_a_large_one() {
        let tensors = [tensor(200, 0, 1), tensor(100, 2, 5), tensor(100, 3, 6)];
        let assignment = assign(&tensors, usize::MAX);
        assert_eq!(assignment.floats(), 200);
        assert_eq!(lower_bound(&tensors), 200);
        assert_ne!(assignment.places[1], assignment.places[2]);
    }

    #[test]
    fn what_a_step_reads_and_what_it_writes_lie_in_two_slots() {
        let mut tensors = [tensor(200, 0, 1), tensor(100, 2, 5), tensor(100, 3, 6)];
        tensors[1].reads = vec![3];
        tensors[2].writes = vec![3];
        let assignment = assign(&tensors, usize::MAX);
        assert_ne!(assignment.places[1].slot, assignment.places[2].slot);
        assert_eq!(assignment.floats(), 300);
    }

    #[test]
    fn slots_grow_no_further_than_allowed() {
        let tensors: Vec<Lifetime> = (0..6).map(|_| tensor(64, 0, 1)).collect();
        let assignment = assign(&tensors, 128);
        assert_eq!(assignment.floats(), 6 * 64);
        assert!(assignment.sizes.iter().all(|&size| size <= 128), "{:?}", assignment.sizes);
    }
}
