//! A mountain landscape with glaciers: ground shaped by uplift and rivers, ice where more snow falls than melts, a lake.
//!
//! 1. Ridged noise is the first relief. Uplift and stream-power erosion, `dh/dt = U - K A^0.5 S` (A: drained area, S: slope), carve valleys
//!    and ridges into it, solved implicitly from the outlets up (Braun and Willett 2013). Slopes steeper than rock stands are cut back.
//! 2. The mass balance of ice grows with the altitude above an equilibrium line, which is lower on shaded slopes. Its surplus is passed
//!    down the steepest descent until melt has used it up: that makes tongues. A tongue is as wide as its flux demands (width grows with
//!    about flux^0.4, Bahr 1997) and fills its valley to a level surface.
//! 3. A dam in a valley makes a lake of what drains through it.
//!
//! All this is done on cells of two pixels and refined at the end: the ground's small forms add nothing to where ice flows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dataset::noise::{Random, fractal, ridged};

/// Side of a pixel in metres.
pub(crate) const PIXEL: f64 = 30.0;
/// Side of a cell of the simulation in metres.
const CELL: f64 = 2.0 * PIXEL;
/// Size of the largest mountains of the first relief in metres.
const MOUNTAIN: f64 = 5200.0;
/// Time steps of the erosion; the valleys are settled long before.
const STEPS: usize = 30;
/// Uplift in metres per step.
const UPLIFT: f64 = 48.0;
/// K times the length of a step, for areas in m2 and slopes in metres per metre.
const ERODIBILITY: f64 = 0.11;
/// The steepest slope that rock of middling hardness stands at (40 degrees).
const STEEPEST: f64 = 0.84;
/// Steeper ground holds no ice (36 degrees).
const HOLDS_ICE: f64 = 0.72;
/// Metres of ice per year and metre of altitude, above and below the equilibrium line.
const BALANCE_GRADIENT: (f64, f64) = (0.005, 0.018);
/// More snow than this, in metres of ice per year, falls nowhere.
const LARGEST_BALANCE: f64 = 1.5;
/// How much lower the equilibrium line is on a steep slope to the north, in metres; as much higher to the south.
const SHADE_EFFECT: f64 = 140.0;
/// Part of the ground above the equilibrium line.
const HIGH_PART: f64 = 0.22;
/// Depth of the lake at its dam in metres, and the area it should have in m2.
const LAKE: (f64, f64) = (22.0, 3.0e5);

/// The landscape, pixel by pixel from the north-west.
#[derive(Debug, Clone)]
pub(crate) struct Landscape {
    /// Pixels along each side.
    pub(crate) side: usize,
    /// Surface of ground, ice or water in metres.
    pub(crate) altitude: Vec<f64>,
    /// Part of the pixel under ice, 0 to 1.
    pub(crate) ice: Vec<f64>,
    /// Part of the pixel under water, 0 to 1.
    pub(crate) lake: Vec<f64>,
    /// Mean altitude of the equilibrium line.
    pub(crate) equilibrium_line: f64,
}

impl Landscape {
    /// A landscape of `side` x `side` pixels.
    pub(crate) fn generate(side: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        // Beyond the scene's edges the land goes on; outlets of valleys lie there.
        let margin = (side / 16).max(4);
        let cells = Cells { side: side / 2 + 2 * margin };
        let (mut ground, drainage) = cells.carve(random.bits());
        let equilibrium_line = random.uniform(2550.0, 2950.0);
        let mut sorted = ground.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the length")]
        let high = sorted[((1.0 - HIGH_PART) * (sorted.len() - 1) as f64) as usize];
        for altitude in &mut ground {
            *altitude += equilibrium_line - high;
        }
        let (ice, mut surface) = cells.glaciate(&ground, &drainage, equilibrium_line);
        let lake = cells.dam(&mut surface, &ice, &drainage, margin);

        let detail = random.bits();
        let fine = |field: &[f64]| cells.refine(field, side, margin);
        let (mut altitude, mut ice, lake) = (fine(&surface), fine(&ice), fine(&lake));
        for row in 0..side {
            for col in 0..side {
                let i = row * side + col;
                let (x, y) = (col as f64, row as f64);
                // Ragged edges: half a pixel here, two there.
                let ragged =
                    if ice[i] > 0.02 && ice[i] < 0.98 { 0.5 * fractal(detail, x / 6.0, y / 6.0, 3) } else { 0.0 };
                ice[i] = (2.2 * (ice[i] + ragged - 0.5) + 0.5).clamp(0.0, 1.0);
                let rough = 1.0 - ice[i].max(lake[i]).min(1.0);
                altitude[i] +=
                    (0.15 + rough) * 9.0 * fractal(detail ^ 1, x / 9.0, y / 9.0, 4) * (1.0 - lake[i].clamp(0.0, 1.0));
            }
        }
        let lake = lake.iter().map(|l| (3.0 * (l - 0.5) + 0.5).clamp(0.0, 1.0)).collect();
        Self { side, altitude, ice, lake, equilibrium_line }
    }
}

/// Where water goes.
struct Drainage {
    /// The cell below each; its own number for outlets.
    below: Vec<usize>,
    /// All cells, each after the one below it.
    upwards: Vec<usize>,
}

/// A square of cells.
#[derive(Debug, Clone, Copy)]
struct Cells {
    side: usize,
}

impl Cells {
    fn len(self) -> usize {
        self.side * self.side
    }

    /// The up to eight neighbours of a cell and their distances in metres.
    fn neighbours(self, cell: usize) -> impl Iterator<Item = (usize, f64)> {
        let (row, col) = (cell / self.side, cell % self.side);
        (0..9_usize).filter(|k| *k != 4).filter_map(move |k| {
            let (r, c) = ((row + k / 3).checked_sub(1)?, (col + k % 3).checked_sub(1)?);
            let distance = if k % 2 == 0 { CELL * std::f64::consts::SQRT_2 } else { CELL };
            (r < self.side && c < self.side).then_some((r * self.side + c, distance))
        })
    }

    fn on_border(self, cell: usize) -> bool {
        let (row, col, last) = (cell / self.side, cell % self.side, self.side - 1);
        row == 0 || col == 0 || row == last || col == last
    }

    /// Steps 1 of the module's account: the ground and how it drains.
    fn carve(self, seed: u64) -> (Vec<f64>, Drainage) {
        let extent = self.side as f64 * CELL;
        let size = MOUNTAIN.min(0.7 * extent);
        let mut ground: Vec<f64> = (0..self.len())
            .map(|cell| {
                let (x, y) = ((cell % self.side) as f64 * CELL / size, (cell / self.side) as f64 * CELL / size);
                // Bent coordinates keep ridges from following the lattice of the noise.
                let (bend_x, bend_y) = (fractal(seed ^ 2, x, y, 3), fractal(seed ^ 3, x, y, 3));
                0.16 * size * ridged(seed, x + 0.35 * bend_x, y + 0.35 * bend_y, 6)
            })
            .collect();
        // The lowest fifth of the border lets water out.
        let mut border: Vec<f64> = (0..self.len()).filter(|c| self.on_border(*c)).map(|c| ground[c]).collect();
        border.sort_unstable_by(f64::total_cmp);
        let outlet_level = border[border.len() / 5];
        let outlets: Vec<usize> =
            (0..self.len()).filter(|c| self.on_border(*c) && ground[*c] <= outlet_level).collect();
        let hardness: Vec<f64> = (0..self.len())
            .map(|cell| {
                let (x, y) = ((cell % self.side) as f64 * CELL / 1500.0, (cell / self.side) as f64 * CELL / 1500.0);
                1.0 + 0.5 * fractal(seed ^ 4, x, y, 3)
            })
            .collect();
        for _ in 0..STEPS {
            let drainage = self.drain(&ground, &outlets);
            let area = self.gather(&drainage, |_| CELL * CELL);
            for &cell in &drainage.upwards {
                let below = drainage.below[cell];
                if below == cell {
                    continue;
                }
                let distance = self.distance(cell, below);
                let f = ERODIBILITY / hardness[cell] * area[cell].sqrt() / distance;
                let carved = (ground[cell] + UPLIFT + f * ground[below]) / (1.0 + f);
                ground[cell] = carved.min(ground[below] + STEEPEST * hardness[cell].sqrt() * distance);
            }
        }
        // Water only cuts; frost and creep round off what it leaves, and with it the straight lines of the grid.
        for _ in 0..2 {
            let even = self.blur(&ground, 1);
            for (altitude, even) in ground.iter_mut().zip(even) {
                *altitude = 0.5 * (*altitude + even);
            }
        }
        let drainage = self.drain(&ground, &outlets);
        (ground, drainage)
    }

    fn distance(self, a: usize, b: usize) -> f64 {
        let straight = a / self.side == b / self.side || a % self.side == b % self.side;
        if straight { CELL } else { CELL * std::f64::consts::SQRT_2 }
    }

    /// Steepest descent, over the lowest pass out of closed basins (the priority flood of Barnes et al. 2014).
    fn drain(self, ground: &[f64], outlets: &[usize]) -> Drainage {
        let mut below = vec![usize::MAX; self.len()];
        let mut upwards = Vec::with_capacity(self.len());
        let mut next: BinaryHeap<Reverse<(Height, usize)>> = BinaryHeap::new();
        for &outlet in outlets {
            below[outlet] = outlet;
            next.push(Reverse((Height(ground[outlet]), outlet)));
        }
        let mut done = vec![false; self.len()];
        while let Some(Reverse((level, cell))) = next.pop() {
            done[cell] = true;
            upwards.push(cell);
            if below[cell] != cell {
                // Of the neighbours that drain already, the steepest way down. In a basin none is lower, and the way it was filled from holds.
                let steepest = self
                    .neighbours(cell)
                    .filter(|(n, _)| done[*n])
                    .map(|(n, distance)| ((ground[cell] - ground[n]) / distance, n))
                    .fold((0.0, below[cell]), |best, found| if found.0 > best.0 { found } else { best });
                below[cell] = steepest.1;
            }
            for (neighbour, _) in self.neighbours(cell) {
                if below[neighbour] == usize::MAX {
                    below[neighbour] = cell;
                    next.push(Reverse((Height(ground[neighbour].max(level.0)), neighbour)));
                }
            }
        }
        Drainage { below, upwards }
    }

    /// What arrives in each cell, its own included, where nothing is passed on if the sum is negative.
    fn gather(self, drainage: &Drainage, own: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.len()];
        for &cell in drainage.upwards.iter().rev() {
            sums[cell] = f64::max(0.0, sums[cell] + own(cell));
            let below = drainage.below[cell];
            if below != cell {
                sums[below] += sums[cell];
            }
        }
        sums
    }

    /// Slope (metres per metre) to the east and to the south, from the neighbours on both sides.
    fn gradient(self, field: &[f64], cell: usize) -> (f64, f64) {
        let (row, col) = (cell / self.side, cell % self.side);
        let (up, down) = (row.saturating_sub(1), (row + 1).min(self.side - 1));
        let (left, right) = (col.saturating_sub(1), (col + 1).min(self.side - 1));
        let at = |r: usize, c: usize| field[r * self.side + c];
        (
            (at(row, right) - at(row, left)) / ((right - left) as f64 * CELL),
            (at(down, col) - at(up, col)) / ((down - up) as f64 * CELL),
        )
    }

    /// The mean over squares of 2 `radius` + 1 cells, twice.
    fn blur(self, field: &[f64], radius: usize) -> Vec<f64> {
        let pass = |field: &[f64], stride: usize| -> Vec<f64> {
            (0..self.len())
                .map(|cell| {
                    let at = cell / stride % self.side;
                    let (first, last) = (at.saturating_sub(radius), (at + radius).min(self.side - 1));
                    let start = cell - at * stride;
                    (first..=last).map(|i| field[start + i * stride]).sum::<f64>() / (last - first + 1) as f64
                })
                .collect()
        };
        let once = |field: &[f64]| pass(&pass(field, 1), self.side);
        once(&once(field))
    }

    /// Step 2: the part of each cell under ice, and the surface with it.
    fn glaciate(self, ground: &[f64], drainage: &Drainage, equilibrium_line: f64) -> (Vec<f64>, Vec<f64>) {
        let smooth = self.blur(ground, 2);
        let balance: Vec<f64> = (0..self.len())
            .map(|cell| {
                // Ground that rises to the south faces north.
                let (_, to_south) = self.gradient(&smooth, cell);
                let above = smooth[cell] - equilibrium_line + SHADE_EFFECT * (to_south / 0.5).clamp(-1.0, 1.0);
                let gradient = if above > 0.0 { BALANCE_GRADIENT.0 } else { BALANCE_GRADIENT.1 };
                (gradient * above).min(LARGEST_BALANCE)
            })
            .collect();
        let flux = self.gather(drainage, |cell| balance[cell] * CELL * CELL);
        let mut surface = ground.to_vec();
        let mut covered = vec![0.0; self.len()];
        for cell in 0..self.len() {
            let (dx, dy) = self.gradient(&smooth, cell);
            if balance[cell] > 0.0 && dx.hypot(dy) < HOLDS_ICE {
                covered[cell] = 1.0;
            }
            let half_width = 0.65 * libm::pow(flux[cell], 0.4);
            if half_width > 0.9 * CELL {
                self.fill_valley(ground, cell, half_width, &mut surface, &mut covered);
            }
        }
        // Ice has no edges a cell wide, and its surface is smooth.
        let ice = self.blur(&covered, 1).into_iter().map(|part| (2.0 * part - 0.5).clamp(0.0, 1.0)).collect::<Vec<_>>();
        for _ in 0..3 {
            let even = self.blur(&surface, 1);
            for ((s, e), ice) in surface.iter_mut().zip(even).zip(&ice) {
                *s += ice * (e - *s);
            }
        }
        (ice, surface)
    }

    /// Fills the valley around a cell of a glacier's middle line with ice whose surface falls off as a parabola to its edges.
    fn fill_valley(self, ground: &[f64], middle: usize, half_width: f64, surface: &mut [f64], covered: &mut [f64]) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few cells")]
        let reach = (half_width / CELL).ceil() as usize;
        let (row, col) = (middle / self.side, middle % self.side);
        for r in row.saturating_sub(reach)..=(row + reach).min(self.side - 1) {
            for c in col.saturating_sub(reach)..=(col + reach).min(self.side - 1) {
                let distance = CELL * (r.abs_diff(row) as f64).hypot(c.abs_diff(col) as f64);
                let level = ground[middle] + 0.35 * half_width * (1.0 - (distance / half_width).powi(2));
                let cell = r * self.side + c;
                if distance <= half_width && level > ground[cell] {
                    covered[cell] = 1.0;
                    surface[cell] = surface[cell].max(level);
                }
            }
        }
    }

    /// Step 3: dams the valley whose lake comes closest to the size wanted; gives the part of each cell under water.
    fn dam(self, surface: &mut [f64], ice: &[f64], drainage: &Drainage, margin: usize) -> Vec<f64> {
        let wanted = LAKE.1.min(0.02 * (self.len() as f64) * CELL * CELL) / (CELL * CELL);
        let inside = |cell: usize| {
            let (row, col) = (cell / self.side, cell % self.side);
            let range = 2 * margin..self.side - 2 * margin;
            range.contains(&row) && range.contains(&col)
        };
        let area = self.gather(drainage, |_| 1.0);
        let mut places: Vec<usize> =
            (0..self.len()).filter(|&c| inside(c) && ice[c] < 0.05 && area[c] > wanted).collect();
        // A few dozen trials in all parts of the scene.
        let step = (places.len() / 48).max(1);
        places = places.into_iter().step_by(step).collect();
        let mut best: (f64, Vec<usize>, f64) = (f64::INFINITY, Vec::new(), 0.0);
        for place in places {
            let level = surface[place] + LAKE.0;
            let mut drains_here = vec![false; self.len()];
            let mut water = Vec::new();
            for &cell in &drainage.upwards {
                // Water stands where the ground on the way up was lower all along.
                drains_here[cell] = cell == place || drains_here[drainage.below[cell]] && surface[cell] < level;
                if drains_here[cell] && ice[cell] < 0.2 {
                    water.push(cell);
                }
            }
            let miss = (water.len() as f64 - wanted).abs();
            if miss < best.0 {
                best = (miss, water, level);
            }
        }
        let mut lake = vec![0.0; self.len()];
        for &cell in &best.1 {
            lake[cell] = 1.0;
            surface[cell] = best.2;
        }
        lake
    }

    /// Cells without their margin to pixels, by Catmull-Rom splines.
    fn refine(self, field: &[f64], side: usize, margin: usize) -> Vec<f64> {
        // Pixel 0 is centred a quarter of a cell after the cell's edge.
        let place = |pixel: usize| {
            let at = margin as f64 + (pixel as f64 + 0.5) / 2.0 - 0.5;
            let t = at - at.floor();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cell's number")]
            let first = at.floor() as usize;
            let weights = [
                0.5 * t * (t * (2.0 - t) - 1.0),
                0.5 * (t * t * (3.0 * t - 5.0) + 2.0),
                0.5 * t * (t * (4.0 - 3.0 * t) + 1.0),
                0.5 * t * t * (t - 1.0),
            ];
            (first - 1, weights)
        };
        let places: Vec<_> = (0..side).map(place).collect();
        let mut fine = Vec::with_capacity(side * side);
        for (row, row_weights) in &places {
            for (col, col_weights) in &places {
                let along =
                    |r: usize| -> f64 { (0..4).map(|k| col_weights[k] * field[(row + r) * self.side + col + k]).sum() };
                fine.push((0..4).map(|r| row_weights[r] * along(r)).sum());
            }
        }
        fine
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
