//! Which file a tile goes to.

use std::collections::HashMap;
use std::str::FromStr;

use serde::Serialize;

use crate::dataset::noise::Random;
use crate::error::{Error, Result};

/// Separates the random numbers of the split from all others of the same seed.
const SPLIT: u64 = 0x7370_6c69_7421;
/// Kilometres in a degree of latitude, on a sphere of the Earth's mean radius.
const KM_PER_DEGREE: f64 = 111.195;

/// The files of a data set, in the order of [`Split::shares`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What models learn from.
    Train,
    /// What the best model is chosen by.
    Validation,
    /// What a model is judged by.
    Test,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name of its file without extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The shares of training, validation and test, as in `0.7,0.15,0.15`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares(pub [f64; 3]);

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = "expected three shares of training, validation and test that sum to 1, as in 0.7,0.15,0.15";
        let shares: Vec<f64> = text.split(',').map_while(|share| share.trim().parse().ok()).collect();
        match shares[..] {
            [train, validation, test] if text.split(',').count() == 3 => {
                let sum = train + validation + test;
                if ![train, validation, test].iter().all(|share| (0.0..=1.0).contains(share)) {
                    return Err(format!("{expected}; found a share that is not 0 to 1"));
                }
                if (sum - 1.0).abs() > 1e-6 {
                    return Err(format!("{expected}; found a sum of {}", (sum * 1e6).round() / 1e6));
                }
                Ok(Self([train, validation, test]))
            }
            _ => Err(expected.into()),
        }
    }
}

/// How tiles are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Split {
    /// The part of all tiles that each file gets.
    pub shares: Shares,
    /// Tiles are dealt out in blocks of the Earth of this many kilometres a side; one by one where it is not given.
    pub blocks_km: Option<f64>,
    /// Another number, another split.
    pub seed: u64,
}

impl Split {
    /// Refuses blocks that are none.
    ///
    /// # Errors
    /// The side of blocks is not a length.
    pub fn check(&self) -> Result<()> {
        match self.blocks_km {
            Some(km) if !(0.1..=10_000.0).contains(&km) => Err(Error::bad_argument(
                format!("--split-blocks {km}"),
                "0.1 to 10000 kilometres",
                "give 25, say: some tiles' sides",
            )),
            _ => Ok(()),
        }
    }
}

/// A block of the Earth: rows of one height, in each of them columns of one width at the row's middle latitude.
pub type Block = [i64; 2];

/// Deals out tiles as they come.
///
/// A tile, or the first tile of a block, goes to a file that has less than its share so far, by lot, and the more likely the more it lacks. So the shares
/// are met within a tile, or a block's tiles, whenever the tiles end, and nothing need be known of those to come.
#[derive(Debug)]
pub(super) struct Dealer {
    split: Split,
    taken: [usize; 3],
    blocks: HashMap<Block, Part>,
    random: Random,
}

impl Dealer {
    pub(super) fn new(split: Split) -> Self {
        Self { split, taken: [0; 3], blocks: HashMap::new(), random: Random::new(split.seed, SPLIT) }
    }

    /// The file of the next tile, whose centre lies at a longitude and latitude in degrees, and its block.
    pub(super) fn deal(&mut self, longitude: f64, latitude: f64) -> (Part, Option<Block>) {
        let block = self.split.blocks_km.map(|km| block(longitude, latitude, km));
        let part = match block {
            None => self.draw(),
            Some(block) => match self.blocks.get(&block) {
                Some(part) => *part,
                None => {
                    let part = self.draw();
                    self.blocks.insert(block, part);
                    part
                }
            },
        };
        self.taken[part as usize] += 1;
        (part, block)
    }

    fn draw(&mut self) -> Part {
        let next = (self.taken.iter().sum::<usize>() + 1) as f64;
        let lacks = Part::ALL.map(|part| {
            let (share, taken) = (self.split.shares.0[part as usize], self.taken[part as usize]);
            (part, (share * next - taken as f64).max(0.0))
        });
        let mut lot = self.random.uniform(0.0, lacks.iter().map(|(_, lack)| lack).sum());
        for (part, lack) in lacks {
            if lack > lot {
                return part;
            }
            lot -= lack;
        }
        // Rounding: the part that lacks most.
        lacks.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Part::Train, |(part, _)| part)
    }
}

/// The block of a place.
fn block(longitude: f64, latitude: f64, km: f64) -> Block {
    let row = (latitude * KM_PER_DEGREE / km).floor();
    let middle = ((row + 0.5) * km / KM_PER_DEGREE).clamp(-90.0, 90.0);
    let around = (longitude + 180.0).rem_euclid(360.0);
    let column = (around * middle.to_radians().cos() * KM_PER_DEGREE / km).floor();
    #[expect(clippy::cast_possible_truncation, reason = "at most 40000 km in blocks of at least 0.1 km")]
    let block = [row as i64, column as i64];
    block
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn split(shares: [f64; 3], blocks_km: Option<f64>, seed: u64) -> Split {
        Split { shares: Shares(shares), blocks_km, seed }
    }

    #[test]
    fn shares_in_words() {
        assert_eq!("0.7, 0.15,0.15".parse(), Ok(Shares([0.7, 0.15, 0.15])));
        assert_eq!("1,0,0".parse(), Ok(Shares([1.0, 0.0, 0.0])));
        for (bad, part) in [
            ("0.7,0.2,0.2", "a sum of 1.1"),
            ("0.7,0.3", "three shares"),
            ("0.7,0.1,0.1,0.1", "three shares"),
            ("1.5,-0.5,0", "not 0 to 1"),
            ("nan,0,1", "not 0 to 1"),
            ("a,b,c", "three shares"),
            ("", "three shares"),
        ] {
            let found = bad.parse::<Shares>().expect_err(bad);
            assert!(found.contains(part), "{bad}: {found}");
        }
        for km in [0.0, -1.0, f64::NAN, 1e6] {
            assert!(split([1.0, 0.0, 0.0], Some(km), 1).check().is_err(), "{km}");
        }
    }

    #[test]
    fn seeds_matter_and_nothing_else() {
        let deal = |seed| {
            let mut dealer = Dealer::new(split([0.7, 0.15, 0.15], None, seed));
            (0..60).map(|_| dealer.deal(0.0, 0.0).0).collect::<Vec<_>>()
        };
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
        // By lot, not in turn: each file gets tiles in all thirds.
        let dealt = deal(1);
        for third in dealt.chunks(20) {
            assert!(Part::ALL.into_iter().all(|part| third.contains(&part)), "{third:?}");
        }
    }

    proptest! {
        #[test]
        fn shares_are_met_at_any_end(train in 0.0..1.0_f64, rest in 0.0..1.0_f64, seed: u64, tiles in 1_usize..200) {
            let shares = [train, (1.0 - train) * rest, (1.0 - train) * (1.0 - rest)];
            let mut dealer = Dealer::new(split(shares, None, seed));
            let mut counts = [0_usize; 3];
            for _ in 0..tiles {
                counts[dealer.deal(10.0, 60.0).0 as usize] += 1;
            }
            for (count, share) in counts.iter().zip(shares) {
                prop_assert!((*count as f64) < share * tiles as f64 + 1.0);
                prop_assert!(share > 0.0 || *count == 0);
            }
        }

        #[test]
        fn a_block_goes_to_one_file(km in 1.0..200.0_f64, seed: u64) {
            let mut dealer = Dealer::new(split([0.5, 0.25, 0.25], Some(km), seed));
            let mut seen: HashMap<Block, Part> = HashMap::new();
            for i in 0..400 {
                let (part, block) = dealer.deal(179.0 + f64::from(i % 20) * 0.1, 60.0 + f64::from(i / 20) * 0.1);
                let block = block.expect("a block");
                prop_assert_eq!(*seen.entry(block).or_insert(part), part);
            }
        }
    }

    #[test]
    fn blocks_are_of_their_size() {
        assert_eq!(block(8.0, 46.0, 25.0), block(8.01, 46.01, 25.0));
        assert_eq!(block(190.0, -10.0, 25.0), block(-170.0, -10.0, 25.0));
        // At 60 degrees a degree of longitude is half as long.
        let columns = |latitude| {
            (0..100)
                .map(|i| block(f64::from(i) * 0.1, latitude, 50.0)[1])
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert!(
            (22..=24).contains(&columns(0.0)) && (11..=13).contains(&columns(60.0)),
            "{} {}",
            columns(0.0),
            columns(60.0)
        );
        assert_eq!(block(0.0, 90.0, 30.0)[0], block(120.0, 90.0, 30.0)[0]);
    }
}
