//! Memory for a slot: large ones straight from the system.
//!
//! The system gives zeroed pages when they are first touched and says so if it has none left, where the heap would write
//! every zero itself to be able to refuse.

use std::ops::{Deref, DerefMut};

/// Blocks smaller than this, in bytes, come from the heap.
#[cfg(unix)]
const LARGE: usize = 1 << 20;

/// Floats, zero at first.
#[derive(Debug)]
pub(super) enum Block {
    /// From the heap.
    Heap(Vec<f32>),
    /// From the system.
    #[cfg(unix)]
    Pages(memmap2::MmapMut),
}

impl Block {
    /// `len` floats; `None` if the system refuses.
    pub(super) fn new(len: usize) -> Option<Self> {
        #[cfg(unix)]
        if len.checked_mul(size_of::<f32>())? >= LARGE {
            return memmap2::MmapMut::map_anon(len * size_of::<f32>()).ok().map(Self::Pages);
        }
        let mut floats = Vec::new();
        floats.try_reserve_exact(len).ok()?;
        floats.resize(len, 0.0);
        Some(Self::Heap(floats))
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Deref for Block {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Heap(floats) => floats,
            #[cfg(unix)]
            Self::Pages(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Heap(floats) => floats,
            #[cfg(unix)]
            Self::Pages(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn blocks_are_zero_or_refused() {
        for len in [0, 1, 1000, 1 << 19] {
            let block = Block::new(len).expect("a little memory");
            assert!(block.len() == len && block.iter().all(|v| v.to_bits() == 0), "{len}");
        }
        for len in [usize::MAX, usize::MAX / 4, usize::MAX / 8] {
            assert!(Block::new(len).is_none(), "{len}");
        }
    }
}
