//! Memory for a slot: whole pages from the system for large ones, in large pages where the system has them.
//!
//! A forward pass of the published model touches 300 MB for the first time. In pages of 4 KiB that is some 80,000 page faults,
//! a tenth of the first pass.

use std::ops::{Deref, DerefMut};

/// Blocks smaller than this, in bytes, come from the heap: half a large page of x86-64.
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
            let map = memmap2::MmapMut::map_anon(len * size_of::<f32>()).ok()?;
            #[cfg(target_os = "linux")]
            {
                // Only advice: without large pages everything works, slower at first.
                let _ = map.advise(memmap2::Advice::HugePage);
            }
            return Some(Self::Pages(map));
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
