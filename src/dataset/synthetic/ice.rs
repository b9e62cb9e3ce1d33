//! Glaciers: ice that grows from a mass balance and flows down its own surface.
//!
//! Shallow-ice flow with sliding, `q = -(fd H^5 + fs H^3) |grad s|^2 grad s` (Oerlemans 1997, doi 10.3189/S0022143000003208, for the two
//! constants). The step is implicit, along the rows and along the columns in turn. The flux is split into what the slope of the bed
//! drives, carried from the upstream side, and what differences in thickness drive; so ice never becomes negative, none is made on steep
//! ground (the defect of the usual scheme: Jarosch et al. 2013, doi 10.5194/tc-7-229-2013), and steps of years are stable.
//!
//! The balance grows with the altitude above an equilibrium line, which lies lower on shaded slopes; it has a cap. Snow does not stay on
//! steep walls but avalanches to what lies below them. The equilibrium line is moved until the ice covers the part of the land that was
//! asked for. At the end the climate warms: glaciers draw back from their moraines of the Little Ice Age.

use rayon::prelude::*;

use super::cells::Cells;

/// Deformation and sliding, in 1 / (m3 a) and 1 / (m a): Oerlemans's 1.9e-24 and 5.7e-20 times (density x gravity)^3 x seconds per year.
const DEFORMATION: f64 = 4.4e-5;
const SLIDING: f64 = 1.32;
/// Years per step while glaciers grow, and while they retreat.
const YEARS: (f64, f64) = (4.0, 2.0);
const STEPS: (usize, usize) = (80, 24);
/// The last steps of growth are as careful as those of the retreat.
const SETTLING: usize = 16;
/// Slopes between which ground loses its snow to avalanches (metres per metre).
const AVALANCHES: (f64, f64) = (0.75, 1.1);
/// Thinner ice is no glacier, in metres.
pub(super) const THINNEST: f64 = 2.5;

/// The climate of one tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Climate {
    /// Part of the land under ice.
    pub(super) share: f64,
    /// Metres of ice per year and metre of altitude, above and below the equilibrium line.
    pub(super) gradients: (f64, f64),
    /// More snow than this falls nowhere, in metres of ice per year.
    pub(super) cap: f64,
    /// How much lower the equilibrium line is on steep shaded slopes, in metres.
    pub(super) shade_effect: f64,
    /// East and south components of the direction away from the noon sun.
    pub(super) shaded: (f64, f64),
    /// How far the equilibrium line has risen since the Little Ice Age, in metres.
    pub(super) warming: f64,
    /// The sea stands at altitude 0 of the ground.
    pub(super) has_sea: bool,
}

/// What has grown.
#[derive(Debug, Clone)]
pub(super) struct Glaciers {
    /// Thickness now and at the end of the Little Ice Age, in metres.
    pub(super) thickness: Vec<f64>,
    pub(super) once: Vec<f64>,
    /// Altitude of the equilibrium line now.
    pub(super) equilibrium_line: f64,
}

/// Grows glaciers on `bed`; cells within `margin` of the border do not count in the share.
pub(super) fn grow(cells: Cells, bed: &[f64], climate: Climate, margin: usize) -> Glaciers {
    let avalanches = Avalanches::new(cells, bed);
    let inside = |cell: usize| {
        let range = margin..cells.side - margin;
        range.contains(&(cell / cells.side)) && range.contains(&(cell % cells.side))
    };
    let land: Vec<usize> = (0..cells.len()).filter(|c| inside(*c) && (!climate.has_sea || bed[*c] > 0.0)).collect();
    let shade = shading(cells, bed, climate);
    let mut ice = Flow {
        cells,
        bed,
        thickness: vec![0.0; cells.len()],
        surface: bed.to_vec(),
        diffusivity: vec![0.0; cells.len()],
        steps: 0,
    };
    // Accumulation areas are some 0.6 of a glacier (WGMS).
    let mut line = super::cells::quantile(land.iter().map(|c| bed[*c]).collect(), 1.0 - 0.62 * climate.share);
    let relief = super::cells::quantile(land.iter().map(|c| bed[*c]).collect(), 0.95)
        - super::cells::quantile(land.iter().map(|c| bed[*c]).collect(), 0.05);
    // Before the retreat there was more ice.
    let wanted = (1.12 * climate.share).min(0.9);
    let correction = |ice: &Flow<'_>, wanted: f64| {
        // As it will be mapped: not on walls.
        let is_mapped = |c: usize| ice.thickness[c] - 30.0 * (1.0 - avalanches.stays[c]) > 3.5 * THINNEST;
        let covered = land.iter().filter(|c| is_mapped(**c)).count();
        let share = covered as f64 / land.len().max(1) as f64;
        (share - wanted).clamp(-0.25, 0.25) * 0.3 * relief
    };
    for step in 0..STEPS.0 {
        if step % 4 == 3 {
            line += correction(&ice, wanted);
        }
        let is_careful = step + SETTLING >= STEPS.0;
        ice.step(if is_careful { YEARS.1 } else { YEARS.0 }, &avalanches, &shade, line, climate, is_careful);
    }
    let once = ice.thickness.clone();
    line += climate.warming;
    for step in 0..STEPS.1 {
        if step % 4 == 3 {
            line += correction(&ice, climate.share);
        }
        ice.step(YEARS.1, &avalanches, &shade, line, climate, true);
    }
    let (thickness, once) = (ice.evened(&ice.thickness), ice.evened(&once));
    Glaciers { thickness, once, equilibrium_line: line }
}

/// By how many metres the equilibrium line is lower on each cell, for its aspect and its shape.
fn shading(cells: Cells, bed: &[f64], climate: Climate) -> Vec<f64> {
    let smooth = cells.blur(bed, 1);
    let wide = cells.blur(bed, 4);
    (0..cells.len())
        .map(|cell| {
            let (dx, dy) = cells.gradient(&smooth, cell);
            // The ground falls towards the shade where its gradient points away from it.
            let away = -(dx * climate.shaded.0 + dy * climate.shaded.1);
            // Wind takes snow from ridges to hollows.
            let hollow = (wide[cell] - smooth[cell]).clamp(-80.0, 80.0);
            climate.shade_effect * (away / 0.5).clamp(-1.0, 1.0) + hollow
        })
        .collect()
}

/// Where the snow of steep walls comes to rest.
struct Avalanches {
    /// Part of the snow that stays, per cell.
    stays: Vec<f64>,
    below: Vec<u32>,
    downwards: Vec<u32>,
}

impl Avalanches {
    fn new(cells: Cells, bed: &[f64]) -> Self {
        let drainage = cells.drain(bed, &cells.outlets(bed, 1.0));
        let stays = (0..cells.len())
            .map(|cell| {
                let (dx, dy) = cells.gradient(bed, cell);
                1.0 - super::rise(AVALANCHES.0, AVALANCHES.1, (dx * dx + dy * dy).sqrt())
            })
            .collect();
        let downwards = drainage.upwards.iter().rev().copied().collect();
        Self { stays, below: drainage.below, downwards }
    }

    /// Moves the positive part of a balance down the walls.
    fn settle(&self, balance: &mut [f64]) {
        for &cell in &self.downwards {
            let (cell, below) = (cell as usize, self.below[cell as usize] as usize);
            if balance[cell] > 0.0 && below != cell {
                let moved = balance[cell] * (1.0 - self.stays[cell]);
                balance[cell] -= moved;
                balance[below] += moved;
            }
        }
    }
}

struct Flow<'a> {
    cells: Cells,
    bed: &'a [f64],
    thickness: Vec<f64>,
    surface: Vec<f64>,
    diffusivity: Vec<f64>,
    steps: usize,
}

impl Flow<'_> {
    /// Thickness under an even surface: what differs from cell to cell is the grid's, not the ice's.
    fn evened(&self, thickness: &[f64]) -> Vec<f64> {
        let surface: Vec<f64> = self.bed.iter().zip(thickness).map(|(b, h)| b + h).collect();
        let even = self.cells.blur(&surface, 1);
        (0..thickness.len())
            .map(|cell| {
                let h = thickness[cell];
                let part = super::rise(15.0, 70.0, h);
                if h > THINNEST { (h + part * (even[cell] - surface[cell])).max(0.6 * h) } else { h }
            })
            .collect()
    }

    fn step(
        &mut self,
        years: f64,
        avalanches: &Avalanches,
        shade: &[f64],
        line: f64,
        climate: Climate,
        is_careful: bool,
    ) {
        let cells = self.cells;
        for (s, (h, b)) in self.surface.iter_mut().zip(self.thickness.iter().zip(self.bed)) {
            *s = if climate.has_sea { (b + h).max(0.0) } else { b + h };
        }
        let mut balance: Vec<f64> = (0..cells.len())
            .map(|cell| {
                let above = self.surface[cell] - line + shade[cell];
                let gradient = if above > 0.0 { climate.gradients.0 } else { climate.gradients.1 };
                (gradient * above).min(climate.cap)
            })
            .collect();
        avalanches.settle(&mut balance);
        for (cell, (h, balance)) in self.thickness.iter_mut().zip(&balance).enumerate() {
            *h = (*h + years * balance).max(0.0);
            // Ice that floats breaks off: its front stands in water of about 0.9 of its thickness.
            if climate.has_sea && self.bed[cell] < 0.0 && *h < -1.15 * self.bed[cell] + 4.0 {
                *h *= 0.25;
            }
            if cells.on_border(cell) {
                *h = 0.0;
            }
        }
        for (s, (h, b)) in self.surface.iter_mut().zip(self.thickness.iter().zip(self.bed)) {
            *s = b + h;
        }
        let slopes: Vec<f64> = (0..cells.len())
            .map(|cell| {
                let (dx, dy) = cells.gradient(&self.surface, cell);
                (dx * dx + dy * dy).min(0.5)
            })
            .collect();
        for ((diffusivity, h), slope) in self.diffusivity.iter_mut().zip(&self.thickness).zip(&slopes) {
            let now = (DEFORMATION * h * h + SLIDING) * h * h * h * slope;
            // Half of the last step's: without it thick ice swings between the steps.
            *diffusivity = 0.5 * (*diffusivity + now);
        }
        // First along the rows and first along the columns: the mean favours neither.
        let before = self.thickness.clone();
        let order = if self.steps.is_multiple_of(2) { [1, cells.side] } else { [cells.side, 1] };
        self.steps += 1;
        order.iter().for_each(|stride| self.sweep(years, *stride));
        if is_careful {
            let first = std::mem::replace(&mut self.thickness, before);
            order.iter().rev().for_each(|stride| self.sweep(years, *stride));
            self.thickness.iter_mut().zip(first).for_each(|(h, other)| *h = 0.5 * (*h + other));
        }
    }

    /// One implicit step along rows (`stride` 1) or columns (`stride` the side).
    fn sweep(&mut self, years: f64, stride: usize) {
        let side = self.cells.side;
        let dx = self.cells.size;
        let lines: Vec<Vec<f64>> = (0..side)
            .into_par_iter()
            .map(|line| {
                let start = if stride == 1 { line * side } else { line };
                let at = |i: usize| start + i * stride;
                // Rows of the matrix: below, diagonal, above.
                let (mut lower, mut diagonal, mut upper) = (vec![0.0; side], vec![1.0; side], vec![0.0; side]);
                for i in 0..side - 1 {
                    let (a, b) = (at(i), at(i + 1));
                    let from = if self.surface[a] >= self.surface[b] { a } else { b };
                    let conductance = years * self.diffusivity[from] / (dx * dx);
                    if conductance <= 0.0 {
                        continue;
                    }
                    // Differences in thickness.
                    diagonal[i] += conductance;
                    upper[i] -= conductance;
                    diagonal[i + 1] += conductance;
                    lower[i + 1] -= conductance;
                    // The bed's slope carries ice away from its upper side.
                    let fall = self.bed[a] - self.bed[b];
                    let source = if fall > 0.0 { a } else { b };
                    let carried = self.thickness[source];
                    if carried > 0.5 {
                        let rate = conductance * fall.abs() / carried;
                        if fall > 0.0 {
                            diagonal[i] += rate;
                            lower[i + 1] -= rate;
                        } else {
                            diagonal[i + 1] += rate;
                            upper[i] -= rate;
                        }
                    }
                }
                // Thomas's algorithm.
                let mut solved: Vec<f64> = (0..side).map(|i| self.thickness[at(i)]).collect();
                for i in 1..side {
                    let factor = lower[i] / diagonal[i - 1];
                    diagonal[i] -= factor * upper[i - 1];
                    solved[i] -= factor * solved[i - 1];
                }
                solved[side - 1] /= diagonal[side - 1];
                for i in (0..side - 1).rev() {
                    solved[i] = (solved[i] - upper[i] * solved[i + 1]) / diagonal[i];
                }
                solved
            })
            .collect();
        for (line, values) in lines.into_iter().enumerate() {
            let start = if stride == 1 { line * side } else { line };
            for (i, value) in values.into_iter().enumerate() {
                self.thickness[start + i * stride] = value;
            }
        }
    }
}
