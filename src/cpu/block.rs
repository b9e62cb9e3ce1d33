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
    /// `len` floats.
    pub(super) fn new(len: usize) -> Self {
        #[cfg(unix)]
        if len * size_of::<f32>() >= LARGE
            && let Ok(map) = memmap2::MmapMut::map_anon(len * size_of::<f32>())
        {
            #[cfg(target_os = "linux")]
            {
                // Only advice: without large pages everything works, slower at first.
                let _ = map.advise(memmap2::Advice::HugePage);
            }
            return Self::Pages(map);
        }
        Self::Heap(vec![0.0; len])
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
