//! The tile of matrix products on GPUs, as `kernels/shared/tile.wgsl` has it.

/// The piece of a product of rows by columns that a group of threads makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tile {
    /// 16 rows x 64 columns, 16 x 1 a thread: all threads of a group read the same rows, and no more than 32 registers. For GPUs.
    #[default]
    Narrow,
    /// 64 rows x 64 columns, 16 x 8 a thread: fewer loads, many registers. For packed halves, and for software adapters, whose loads are dear: with
    /// [`long words`](super::Caps::long_words) 16 x 32 a thread.
    Wide,
}

impl Tile {
    /// Elements of a kernel's `item`, by which it knows the tile: columns that a thread reads and writes at once.
    #[must_use]
    pub fn item(self) -> usize {
        match self {
            Self::Narrow => 1,
            Self::Wide => 4,
        }
    }

    /// Neighbouring rows of a thread.
    #[must_use]
    pub fn thread_rows(self) -> usize {
        match self {
            Self::Narrow | Self::Wide => 16,
        }
    }

    /// Groups for so many rows and columns.
    #[must_use]
    pub fn groups(self, rows: usize, columns: usize) -> usize {
        let group_rows = match self {
            Self::Narrow => 16,
            Self::Wide => 64,
        };
        rows.div_ceil(group_rows) * columns.div_ceil(64)
    }
}
