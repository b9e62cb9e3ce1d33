//! The eight symmetries of the square, under which a model should see the same glaciers (test-time augmentation).
//!
//! No feature has a direction in the grid: slopes are steepnesses, and ascending and descending passes are told apart by the satellite's path.

/// A turn or reflection of a square tile: rows and columns exchanged or not, then read backwards or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Symmetry {
    transpose: bool,
    flip_rows: bool,
    flip_cols: bool,
}

impl Symmetry {
    /// The tile as it is.
    pub const IDENTITY: Self = Self::of(0);

    /// All of them, the identity first.
    pub const ALL: [Self; 8] =
        [Self::of(0), Self::of(1), Self::of(2), Self::of(3), Self::of(4), Self::of(5), Self::of(6), Self::of(7)];

    const fn of(bits: u8) -> Self {
        Self { flip_cols: bits & 1 != 0, flip_rows: bits & 2 != 0, transpose: bits & 4 != 0 }
    }

    /// Its place in [`Symmetry::ALL`].
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.flip_cols) + 2 * usize::from(self.flip_rows) + 4 * usize::from(self.transpose)
    }

    /// Where the pixel at `row`, `col` of a tile of `side` x `side` pixels lies in the turned tile.
    #[must_use]
    pub fn turned(self, side: usize, row: usize, col: usize) -> (usize, usize) {
        let row = if self.flip_rows { side - 1 - row } else { row };
        let col = if self.flip_cols { side - 1 - col } else { col };
        if self.transpose { (col, row) } else { (row, col) }
    }

    /// Writes a turned tile, `(side, side, channels)`, to `out`.
    pub fn turn(self, side: usize, channels: usize, tile: &[f32], out: &mut [f32]) {
        if self == Self::IDENTITY {
            out.copy_from_slice(tile);
            return;
        }
        for (i, pixel) in tile.chunks_exact(channels.max(1)).enumerate() {
            let (row, col) = self.turned(side, i / side, i % side);
            let to = (row * side + col) * channels;
            out[to..to + channels].copy_from_slice(pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_different_ones_that_are_a_group() {
        let side = 3;
        let tile: Vec<f32> = (0..18_u8).map(f32::from).collect();
        let turn = |symmetry: Symmetry, tile: &[f32]| {
            let mut out = vec![f32::NAN; 18];
            symmetry.turn(side, 2, tile, &mut out);
            out
        };
        let all = Symmetry::ALL.map(|symmetry| turn(symmetry, &tile));
        assert_eq!(all[0], tile);
        for (i, a) in all.iter().enumerate() {
            assert_eq!(Symmetry::ALL[i].number(), i);
            assert!(all[..i].iter().all(|b| a != b));
            // Two after each other are one of them.
            for symmetry in Symmetry::ALL {
                assert!(all.contains(&turn(symmetry, a)));
            }
            for row in 0..side {
                for col in 0..side {
                    let (r, c) = Symmetry::ALL[i].turned(side, row, col);
                    let pixel = |tile: &[f32], row: usize, col: usize| tile[2 * (row * side + col)..][..2].to_vec();
                    assert_eq!(pixel(a, r, c), pixel(&tile, row, col));
                }
            }
        }
        // Rows and columns exchanged, as an example: the second row becomes the second column.
        assert_eq!(all[4][..6], [0.0, 1.0, 6.0, 7.0, 12.0, 13.0]);
    }
}
