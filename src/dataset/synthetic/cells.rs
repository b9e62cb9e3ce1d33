//! A square of cells: where water goes, how steep it is, how it looks between the cells.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::prelude::*;

/// Where water goes.
#[derive(Debug, Clone)]
pub(super) struct Drainage {
    /// The cell below each; its own number for outlets.
    pub(super) below: Vec<u32>,
    /// All cells, each after the one below it.
    pub(super) upwards: Vec<u32>,
    /// The level to which water would stand in each cell before it finds a way out; the ground's own where it drains.
    pub(super) level: Vec<f64>,
}

/// A square of cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cells {
    /// Cells along each side.
    pub(super) side: usize,
    /// Side of a cell in metres.
    pub(super) size: f64,
}

/// Neighbours as (row, column, length in cells).
const AROUND: [(isize, isize, f64); 8] = {
    const D: f64 = std::f64::consts::SQRT_2;
    [(-1, -1, D), (-1, 0, 1.0), (-1, 1, D), (0, -1, 1.0), (0, 1, 1.0), (1, -1, D), (1, 0, 1.0), (1, 1, D)]
};

impl Cells {
    pub(super) fn len(self) -> usize {
        self.side * self.side
    }

    /// The up to eight neighbours of a cell and their distances in metres.
    fn neighbours(self, cell: usize) -> impl Iterator<Item = (usize, f64)> {
        let (row, col) = (cell / self.side, cell % self.side);
        AROUND.into_iter().filter_map(move |(dr, dc, length)| {
            let (r, c) = (row.checked_add_signed(dr)?, col.checked_add_signed(dc)?);
            (r < self.side && c < self.side).then_some((r * self.side + c, length * self.size))
        })
    }

    pub(super) fn on_border(self, cell: usize) -> bool {
        let (row, col, last) = (cell / self.side, cell % self.side, self.side - 1);
        row == 0 || col == 0 || row == last || col == last
    }

    /// The lowest part of the border's cells: there water leaves.
    pub(super) fn outlets(self, ground: &[f64], part: f64) -> Vec<usize> {
        let border: Vec<usize> = (0..self.len()).filter(|c| self.on_border(*c)).collect();
        let highest = quantile(border.iter().map(|c| ground[*c]).collect(), part);
        border.into_iter().filter(|c| ground[*c] <= highest).collect()
    }

    pub(super) fn distance(self, a: usize, b: usize) -> f64 {
        let straight = a / self.side == b / self.side || a % self.side == b % self.side;
        if straight { self.size } else { self.size * std::f64::consts::SQRT_2 }
    }

    /// Steepest descent, over the lowest pass out of closed basins (the priority flood of Barnes et al. 2014,
    /// doi 10.1016/j.cageo.2013.04.024).
    pub(super) fn drain(self, ground: &[f64], outlets: &[usize]) -> Drainage {
        const NONE: u32 = u32::MAX;
        let mut below = vec![NONE; self.len()];
        let mut level = ground.to_vec();
        let mut upwards = Vec::with_capacity(self.len());
        let mut next: BinaryHeap<Reverse<(Height, u32)>> = BinaryHeap::with_capacity(self.len() / 4);
        for &outlet in outlets {
            below[outlet] = number(outlet);
            next.push(Reverse((Height(ground[outlet]), number(outlet))));
        }
        let mut done = vec![false; self.len()];
        while let Some(Reverse((at, cell_number))) = next.pop() {
            let cell = cell_number as usize;
            done[cell] = true;
            level[cell] = at.0;
            upwards.push(cell_number);
            let is_outlet = below[cell] == cell_number;
            let mut steepest = (0.0, below[cell]);
            for (n, distance) in self.neighbours(cell) {
                if below[n] == NONE {
                    below[n] = cell_number;
                    next.push(Reverse((Height(ground[n].max(at.0)), number(n))));
                } else if done[n] && !is_outlet {
                    // Of the neighbours that drain already, the steepest way down. In a basin none is lower, and the way it was filled
                    // from holds.
                    let slope = (ground[cell] - ground[n]) / distance;
                    if slope > steepest.0 {
                        steepest = (slope, number(n));
                    }
                }
            }
            below[cell] = steepest.1;
        }
        Drainage { below, upwards, level }
    }

    /// What arrives in each cell, its own included, where nothing is passed on if the sum is negative.
    pub(super) fn gather(self, drainage: &Drainage, own: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.len()];
        for &cell in drainage.upwards.iter().rev() {
            let (cell, below) = (cell as usize, drainage.below[cell as usize] as usize);
            sums[cell] = f64::max(0.0, sums[cell] + own(cell));
            if below != cell {
                sums[below] += sums[cell];
            }
        }
        sums
    }

    /// Slope (metres per metre) to the east and to the south, from the neighbours on both sides.
    pub(super) fn gradient(self, field: &[f64], cell: usize) -> (f64, f64) {
        let (row, col) = (cell / self.side, cell % self.side);
        let (up, down) = (row.saturating_sub(1), (row + 1).min(self.side - 1));
        let (left, right) = (col.saturating_sub(1), (col + 1).min(self.side - 1));
        let at = |r: usize, c: usize| field[r * self.side + c];
        (
            (at(row, right) - at(row, left)) / ((right - left) as f64 * self.size),
            (at(down, col) - at(up, col)) / ((down - up) as f64 * self.size),
        )
    }

    /// The mean over squares of 2 `radius` + 1 cells, twice: nearly a bell of deviation 0.82 (`radius` + 0.5) cells.
    pub(super) fn blur(self, field: &[f64], radius: usize) -> Vec<f64> {
        let mut out = field.to_vec();
        if radius == 0 {
            return out;
        }
        for _ in 0..2 {
            out.par_chunks_mut(self.side).for_each(|line| running_mean(line, radius));
            out = self.transpose(&out);
            out.par_chunks_mut(self.side).for_each(|line| running_mean(line, radius));
            out = self.transpose(&out);
        }
        out
    }

    fn transpose(self, field: &[f64]) -> Vec<f64> {
        let side = self.side;
        let mut out = vec![0.0; field.len()];
        out.par_chunks_mut(side).enumerate().for_each(|(col, line)| {
            for (row, value) in line.iter_mut().enumerate() {
                *value = field[row * side + col];
            }
        });
        out
    }

    /// `factor` x `factor` finer cells, by Catmull-Rom splines, without the `margin` outermost cells on each side (at least two).
    pub(super) fn refine(self, field: &[f64], factor: usize, margin: usize) -> Vec<f64> {
        let fine = (self.side - 2 * margin) * factor;
        let places: Vec<(usize, [f64; 4])> = (0..fine)
            .map(|pixel| {
                let at = margin as f64 + (pixel as f64 + 0.5) / factor as f64 - 0.5;
                let t = at - at.floor();
                let weights = [
                    0.5 * t * (t * (2.0 - t) - 1.0),
                    0.5 * (t * t * (3.0 * t - 5.0) + 2.0),
                    0.5 * t * (t * (4.0 - 3.0 * t) + 1.0),
                    0.5 * t * t * (t - 1.0),
                ];
                (index(at.floor()) - 1, weights)
            })
            .collect();
        // Along the rows first: those are the coarse ones.
        let rows: Vec<f64> = (0..self.len())
            .collect::<Vec<_>>()
            .par_chunks(self.side)
            .flat_map_iter(|cells| {
                let line = &field[cells[0]..cells[0] + self.side];
                places.iter().map(move |(first, w)| (0..4).map(|k| w[k] * line[first + k]).sum::<f64>())
            })
            .collect();
        places
            .par_iter()
            .flat_map_iter(|(first, w)| {
                let rows = &rows;
                (0..fine).map(move |col| (0..4).map(|k| w[k] * rows[(first + k) * fine + col]).sum::<f64>())
            })
            .collect()
    }

    /// The mean of each square of 2 x 2 cells.
    pub(super) fn halved(self, field: &[f64]) -> Vec<f64> {
        let (side, half) = (self.side, self.side / 2);
        let mean = |i: usize| {
            let at = 2 * (i / half) * side + 2 * (i % half);
            0.25 * (field[at] + field[at + 1] + field[at + side] + field[at + side + 1])
        };
        (0..half * half).map(mean).collect()
    }
}

/// The value below which `part` of all values lie; 0 for none.
pub(super) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = index(part.clamp(0.0, 1.0) * (values.len() - 1) as f64);
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// A number that is not negative as an index.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions in a square of cells")]
pub(super) fn index(value: f64) -> usize {
    value as usize
}

/// A cell's number in 32 bits: squares have at most 2^26 cells.
#[expect(clippy::cast_possible_truncation, reason = "squares are far smaller")]
fn number(cell: usize) -> u32 {
    cell as u32
}

fn running_mean(line: &mut [f64], radius: usize) {
    let source = line.to_vec();
    let n = source.len();
    let reach = radius.min(n - 1);
    let (mut sum, mut count) = (source[..reach].iter().sum::<f64>(), reach as f64);
    for (i, value) in line.iter_mut().enumerate() {
        if i + radius < n {
            sum += source[i + radius];
            count += 1.0;
        }
        if i > radius {
            sum -= source[i - radius - 1];
            count -= 1.0;
        }
        *value = sum / count;
    }
}

/// An altitude that can be ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Height(f64);

impl Eq for Height {}

impl PartialOrd for Height {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Height {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn water_leaves_a_basin_over_its_lowest_pass() {
        let cells = Cells { side: 5, size: 10.0 };
        // A bowl with a rim of 4, a floor of 1 and a notch of 2 in the eastern rim.
        let mut ground = vec![9.0; 25];
        for i in [6, 7, 8, 11, 13, 16, 17, 18] {
            ground[i] = 4.0;
        }
        ground[12] = 1.0;
        ground[13] = 2.0;
        ground[14] = 0.0;
        let drainage = cells.drain(&ground, &[14]);
        assert_eq!((drainage.level[12], drainage.below[12], drainage.below[13]), (2.0, 13, 14));
        assert_eq!(cells.gather(&drainage, |_| 1.0)[14], 25.0);
    }

    #[test]
    fn means_and_splines_keep_what_is_even() {
        let cells = Cells { side: 12, size: 1.0 };
        let plane: Vec<f64> = (0..144).map(|i| (i % 12) as f64 + 2.0 * (i / 12) as f64).collect();
        let blurred = cells.blur(&plane, 2);
        assert!((blurred[6 * 12 + 6] - plane[6 * 12 + 6]).abs() < 1e-12);
        let fine = cells.refine(&plane, 2, 2);
        assert_eq!(fine.len(), 16 * 16);
        // The centre of the first fine cell lies a quarter of a cell before that of the coarse one.
        assert!((fine[0] - (plane[2 * 12 + 2] - 0.75)).abs() < 1e-12, "{}", fine[0]);
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(Vec::new(), 0.5), 0.0);
    }
}
