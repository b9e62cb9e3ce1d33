//! The output channels that a convolution's micro-kernels take at a time: two vectors of the machine, or one where there are no
//! more channels.

use pulp::{Arch, Simd, WithSimd};

/// Most vectors of a block.
const VECTORS: usize = 2;
/// Most channels of a block: two vectors of 16 floats.
pub(super) const MAX_BLOCK: usize = 32;

/// Channels of a block on this machine, for so many channels in all.
pub(super) fn block(arch: Arch, channels: usize) -> usize {
    arch.dispatch(Block(channels))
}

struct Block(usize);

impl WithSimd for Block {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES * VECTORS.min(self.0.div_ceil(S::F32_LANES))
    }
}
