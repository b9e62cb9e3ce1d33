//! Memory slots by liveness: tensors that are never alive together share one.

/// The size of a tensor and the closed span of time in which it must be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Size in floats.
    pub floats: usize,
    /// When it is made.
    pub first: usize,
    /// When it is read last.
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Which slot each tensor got, and how large the slots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Slot of each tensor.
    pub slot_of: Vec<usize>,
    /// Size of each slot in floats.
    pub sizes: Vec<usize>,
}

/// Assigns slots greedily by size: the largest tensors choose first, so a slot is as large as its first tensor and none
/// ever grows (Pisarchyk & Lee 2020, "Efficient memory management for deep neural net inference", greedy by size for
/// shared objects).
#[must_use]
pub fn assign(lifetimes: &[Lifetime]) -> Assignment {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].floats), lifetimes[i].first, i));
    let mut slot_of = vec![0; lifetimes.len()];
    let mut sizes = Vec::new();
    let mut tenants: Vec<Vec<Lifetime>> = Vec::new();
    for i in order {
        let tensor = lifetimes[i];
        let fits = |slot: &usize| tenants[*slot].iter().all(|other| !tensor.overlaps(other));
        // The smallest free slot wastes least. All are large enough: larger tensors came before.
        let slot = (0..sizes.len()).filter(fits).min_by_key(|&slot| sizes[slot]).unwrap_or_else(|| {
            sizes.push(tensor.floats);
            tenants.push(Vec::new());
            sizes.len() - 1
        });
        tenants[slot].push(tensor);
        slot_of[i] = slot;
    }
    Assignment { slot_of, sizes }
}
