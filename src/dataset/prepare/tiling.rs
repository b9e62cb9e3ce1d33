//! Where tiles lie in a scene.

use crate::error::{Error, Result};

/// The largest side of a stored tile; readers refuse more than 2^20, and a tile lies in memory while it is made.
const LARGEST_SIDE: usize = 8192;

/// How scenes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Rows and columns of a stored tile, padding included.
    pub side: usize,
    /// Rows and columns of padding on each side of a tile, at the least.
    pub padding: usize,
    /// Pixels that neighbours have in common.
    pub overlap: usize,
}

impl Cut {
    /// Refuses sizes that leave nothing.
    ///
    /// # Errors
    /// A tile has no pixels or too many, only padding, or nothing but what its neighbours have.
    pub fn check(&self) -> Result<()> {
        let Self { side, padding, overlap } = *self;
        if !(1..=LARGEST_SIDE).contains(&side) {
            return Err(Error::bad_argument(
                format!("--tile-size {side}"),
                format!("1 to {LARGEST_SIDE} pixels"),
                "give 768, say; patches of 384 pixels are cut from it in training",
            ));
        }
        let Some(core) = padding.checked_mul(2).and_then(|both| side.checked_sub(both)).filter(|core| *core > 0) else {
            return Err(Error::bad_argument(
                format!("--padding {padding} around tiles of {side} pixels"),
                "less than half of the tile",
                "give less padding or larger tiles",
            ));
        };
        if overlap >= core {
            return Err(Error::bad_argument(
                format!("--overlap {overlap} of tiles with {core} pixels of the scene"),
                "less than the tile",
                "give a smaller overlap or larger tiles",
            ));
        }
        Ok(())
    }

    /// The parts, start and length, of a scene's side of `length` pixels: as few as may be, of one length within a pixel, each overlapping the next by
    /// [`Cut::overlap`]. So no tile is a sliver, and without overlap every pixel lies in exactly one.
    pub(super) fn parts(&self, length: usize) -> Vec<(usize, usize)> {
        let core = self.side.saturating_sub(2 * self.padding).max(1);
        if length <= core {
            return if length == 0 { Vec::new() } else { vec![(0, length)] };
        }
        let overlap = self.overlap.min(core - 1);
        let count = (length - overlap).div_ceil(core - overlap);
        let begin = |part: usize| part * (length - overlap) / count;
        (0..count).map(|part| (begin(part), begin(part + 1) - begin(part) + overlap)).collect()
    }

    /// Padding before the first of `length` pixels in a stored tile.
    pub(super) fn before(&self, length: usize) -> usize {
        self.side.saturating_sub(length) / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        let cut = Cut { side: 64, padding: 0, overlap: 0 };
        assert_eq!(cut.parts(64), [(0, 64)]);
        assert_eq!(cut.parts(65), [(0, 32), (32, 33)]);
        assert_eq!(cut.parts(20), [(0, 20)]);
        assert_eq!((cut.before(20), cut.before(64), cut.before(63)), (22, 0, 0));
        assert!(cut.parts(0).is_empty());
        let cut = Cut { side: 64, padding: 8, overlap: 10 };
        assert_eq!(cut.parts(86), [(0, 48), (38, 48)]);
        assert_eq!(cut.before(48), 8);
    }

    #[test]
    fn sizes_that_leave_nothing() {
        let refused = |side, padding, overlap| Cut { side, padding, overlap }.check().expect_err("refused").to_string();
        assert!(refused(0, 0, 0).contains("--tile-size 0"));
        assert!(refused(LARGEST_SIDE + 1, 0, 0).contains("--tile-size"));
        assert!(refused(64, 32, 0).contains("--padding 32"));
        assert!(refused(64, usize::MAX, 0).contains("--padding"));
        assert!(refused(64, 8, 48).contains("--overlap 48"));
        assert!(Cut { side: 1, padding: 0, overlap: 0 }.check().is_ok());
    }

    proptest! {
        #[test]
        fn every_pixel_in_its_tiles(length in 1_usize..5000, side in 1_usize..900, padding in 0_usize..100, overlap in 0_usize..200) {
            let cut = Cut { side, padding, overlap };
            prop_assume!(cut.check().is_ok());
            let parts = cut.parts(length);
            prop_assert_eq!(parts[0].0, 0);
            let (last, long) = parts[parts.len() - 1];
            prop_assert_eq!(last + long, length);
            let shortest = parts.iter().map(|part| part.1).min().unwrap_or(0);
            for pair in parts.windows(2) {
                prop_assert_eq!(pair[0].0 + pair[0].1, pair[1].0 + overlap);
            }
            for (_, long) in &parts {
                prop_assert!(*long <= side - 2 * padding && *long <= shortest + 1);
                let before = cut.before(*long);
                prop_assert!(before >= padding && before + long + padding <= side);
            }
        }
    }
}
