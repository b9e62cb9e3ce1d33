//! How the elements of tensors lie in memory.

use std::fmt;

/// How the elements of a tensor lie in a GPU's memory. Kernels compute in f32 whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each (IEEE 754 binary16), rounded to the nearest when they are stored.
    F16,
}

impl Storage {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The memory of so many elements in units of four bytes, which is what plans count in.
    #[must_use]
    pub fn floats(self, elements: usize) -> usize {
        (elements * self.bytes()).div_ceil(4)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}
