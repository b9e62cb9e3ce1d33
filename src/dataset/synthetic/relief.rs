//! The ground: uplifted, cut by rivers, shaped by the glaciers of the last ice age.
//!
//! 1. Ridged noise is the first relief. Uplift and stream-power erosion, `dh/dt = U - K A^0.5 S` (A: drained area, S: slope), carve
//!    valleys and ridges into it, solved implicitly from the outlets up (Braun and Willett 2013, doi 10.1016/j.geomorph.2012.10.008).
//!    Slopes steeper than rock stands are cut back. A last round on cells of half the size adds gullies and ribs.
//! 2. Large valleys become troughs with a parabola's cross section (Graf 1970; Harbor 1992), overdeepened here and there; valley heads
//!    near the snow line become cirques with a flat floor and a steep headwall (Evans and Cox 1995).
//! 3. Icefields lie on high plateaus, ice caps on domes, and some mountains are volcanoes.

use rayon::prelude::*;

use super::cells::{Cells, quantile};
use super::land::bilinear;
use super::region::Style;
use crate::dataset::noise::{Random, fractal, ridged};

/// Time steps of the erosion on coarse and on fine cells; the valleys are settled long before.
const STEPS: (usize, usize) = (26, 5);
/// Uplift in metres per step.
const UPLIFT: f64 = 48.0;
/// K times the length of a step, for areas in m2 and slopes in metres per metre.
const ERODIBILITY: f64 = 0.11;
/// The steepest slope that rock of middling hardness stands at over a cell (42 degrees).
const STEEPEST: f64 = 0.9;
/// Part of the border that lets water out.
const OPEN_BORDER: f64 = 0.2;

/// What kind of mountains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) style: Style,
    /// Size of the largest mountains in metres.
    pub(super) mountain: f64,
    /// From the lowest to the highest ground in metres, without the extreme hundredths.
    pub(super) relief: f64,
    /// How strongly ice has shaped the ground, 0 to 1.
    pub(super) glacial: f64,
}

/// Ground of `cells`, its altitudes above no particular level.
pub(super) fn ground(cells: Cells, form: Form, seed: u64) -> Vec<f64> {
    let coarse = Cells { side: cells.side / 2 + 4, size: 2.0 * cells.size };
    let mut random = Random::new(seed, 0);
    let mut ground = first_relief(coarse, form, &mut random);
    let hard = random.bits();
    erode(coarse, &mut ground, STEPS.0, UPLIFT, hard, form.mountain);
    let mut ground = bend(cells, &coarse.refine(&ground, 2, 2), random.bits());
    erode(cells, &mut ground, STEPS.1, 0.35 * UPLIFT, hard, form.mountain);
    // Water only cuts; frost and creep round off what it leaves, and with it the straight lines of the grid.
    let even = cells.blur(&ground, 1);
    ground.iter_mut().zip(even).for_each(|(z, even)| *z = 0.6 * *z + 0.4 * even);
    let (low, high) = (quantile(ground.clone(), 0.01), quantile(ground.clone(), 0.99));
    let scale = form.relief / (high - low).max(1.0);
    ground.iter_mut().for_each(|z| *z = (*z - low) * scale);
    match form.style {
        // What rises above the plateau is pressed down to low hills and nunataks.
        Style::Icefield => flatten(&mut ground, random.uniform(0.42, 0.6), random.uniform(0.15, 0.3)),
        Style::IceCap => flatten(&mut ground, random.uniform(0.2, 0.45), random.uniform(0.08, 0.22)),
        Style::Valley | Style::Cirque | Style::Tidewater | Style::Volcano => {}
    }
    troughs(cells, &mut ground, form, &mut random);
    let even = cells.blur(&ground, 1);
    ground.iter_mut().zip(even).for_each(|(z, even)| *z = 0.7 * *z + 0.3 * even);
    ground
}

/// Bends the straight valleys and ridges that steepest descent over eight neighbours makes, and roughens them.
fn bend(cells: Cells, ground: &[f64], seed: u64) -> Vec<f64> {
    let last = (cells.side - 1) as f64;
    (0..cells.len())
        .into_par_iter()
        .map(|cell| {
            let (x, y) = place(cells, cell, 900.0);
            let reach = 300.0 / cells.size;
            let col = (cell % cells.side) as f64 + reach * fractal(seed, x, y, 2);
            let row = (cell / cells.side) as f64 + reach * fractal(seed ^ 1, x, y, 2);
            bilinear(ground, cells.side, (col.clamp(0.0, last), row.clamp(0.0, last)))
                + 16.0 * fractal(seed ^ 2, 1.8 * x, 1.8 * y, 3)
        })
        .collect()
}

fn place(cells: Cells, cell: usize, unit: f64) -> (f64, f64) {
    let scale = cells.size / unit;
    ((cell % cells.side) as f64 * scale, (cell / cells.side) as f64 * scale)
}

fn first_relief(cells: Cells, form: Form, random: &mut Random) -> Vec<f64> {
    let seed = random.bits();
    let extent = cells.side as f64 * cells.size;
    let size = form.mountain.min(0.7 * extent);
    // A tilt, so that valleys have somewhere to go, and a peak for volcanoes and domes for ice caps.
    let (tilt_x, tilt_y) = (random.uniform(-0.03, 0.03), random.uniform(-0.03, 0.03));
    let (peak_x, peak_y) = (extent * random.uniform(0.25, 0.75), extent * random.uniform(0.25, 0.75));
    let radius = extent * random.uniform(0.28, 0.42);
    (0..cells.len())
        .into_par_iter()
        .map(|cell| {
            let (x, y) = place(cells, cell, size);
            // Bent coordinates keep ridges from following the lattice of the noise.
            let (bend_x, bend_y) = (fractal(seed ^ 2, x, y, 3), fractal(seed ^ 3, x, y, 3));
            let mountains = 0.16 * size * ridged(seed, x + 0.35 * bend_x, y + 0.35 * bend_y, 6);
            let (mx, my) = (x * size, y * size);
            let (dx, dy) = (mx - peak_x, my - peak_y);
            let away = (dx * dx + dy * dy).sqrt() / radius + 0.15 * bend_x;
            let shape = match form.style {
                Style::Volcano => 0.55 * mountains + 1900.0 * libm::exp(-1.8 * away.max(0.05)),
                Style::IceCap => 0.7 * mountains + 900.0 * libm::exp(-0.9 * away * away),
                Style::Icefield => 0.8 * mountains + 700.0 * libm::exp(-0.8 * away * away),
                Style::Valley | Style::Cirque | Style::Tidewater => mountains,
            };
            shape + tilt_x * mx + tilt_y * my
        })
        .collect()
}

/// Uplift and rivers.
fn erode(cells: Cells, ground: &mut [f64], steps: usize, uplift: f64, seed: u64, mountain: f64) {
    let outlets = cells.outlets(ground, OPEN_BORDER);
    let hardness: Vec<f64> = (0..cells.len())
        .into_par_iter()
        .map(|cell| {
            let (x, y) = place(cells, cell, 1500.0);
            let (far_x, far_y) = place(cells, cell, 0.8 * mountain);
            (1.0 + 0.55 * fractal(seed ^ 4, x, y, 3)) * (1.0 + 0.5 * fractal(seed ^ 5, far_x, far_y, 1))
        })
        .collect();
    for _ in 0..steps {
        let drainage = cells.drain(ground, &outlets);
        let area = cells.gather(&drainage, |_| cells.size * cells.size);
        for &cell in &drainage.upwards {
            let (cell, below) = (cell as usize, drainage.below[cell as usize] as usize);
            if below == cell {
                continue;
            }
            let distance = cells.distance(cell, below);
            let f = ERODIBILITY / hardness[cell] * area[cell].sqrt() / distance;
            let carved = (ground[cell] + uplift + f * ground[below]) / (1.0 + f);
            ground[cell] = carved.min(ground[below] + STEEPEST * hardness[cell].max(0.3).sqrt() * distance);
        }
    }
}

/// Presses what lies above a quantile down to a part of its height.
fn flatten(ground: &mut [f64], part: f64, keep: f64) {
    let level = quantile(ground.to_vec(), part);
    for z in ground {
        if *z > level {
            *z = level + keep * (*z - level);
        }
    }
}

/// Glacial troughs and cirques.
fn troughs(cells: Cells, ground: &mut [f64], form: Form, random: &mut Random) {
    let outlets = cells.outlets(ground, OPEN_BORDER);
    let drainage = cells.drain(ground, &outlets);
    let area = cells.gather(&drainage, |_| cells.size * cells.size / 1e6);
    let seed = random.bits();
    let before = ground.to_vec();
    let high = quantile(before.clone(), 0.45);
    let top = quantile(before.clone(), 0.8);
    let has_cirques = !matches!(form.style, Style::Icefield | Style::IceCap);
    let mut last_cirques: Vec<usize> = Vec::new();
    for &cell in &drainage.upwards {
        let cell = cell as usize;
        let km2 = area[cell];
        let (x, y) = place(cells, cell, 900.0);
        if km2 > 0.7 {
            // Steps and basins along the valley: lakes when the ice has gone.
            let basin = (fractal(seed, x, y, 2) - 0.3).max(0.0) * 260.0 * form.glacial;
            let half_width = (60.0 + 120.0 * libm::pow(km2, 0.36)) * (0.5 + 0.8 * form.glacial);
            let floor = drainage.level[cell].min(before[cell]) - basin.min(70.0);
            carve(cells, ground, cell, 1.7 * half_width, |r| {
                let part = r / half_width;
                floor + half_width * 0.42 * part * part * part.sqrt()
            });
        } else if has_cirques
            && km2 > 0.12
            && km2 < 0.5
            && before[cell] > high
            && before[cell] < top + 0.2 * form.relief
        {
            let chance = fractal(seed ^ 7, 7.0 * x, 7.0 * y, 1);
            let apart = |other: &usize| {
                let (dr, dc) = (
                    (cell / cells.side).abs_diff(other / cells.side),
                    (cell % cells.side).abs_diff(other % cells.side),
                );
                (dr * dr + dc * dc) as f64 * cells.size * cells.size > 800.0 * 800.0
            };
            if chance > 0.25 - 0.2 * form.glacial && last_cirques.iter().all(apart) {
                last_cirques.push(cell);
                let radius = 240.0 + 420.0 * (chance + 0.25).clamp(0.0, 0.7);
                let floor = before[cell] - 12.0;
                carve(cells, ground, cell, 1.5 * radius, |r| {
                    floor + 0.08 * r.min(0.55 * radius) + 1.1 * (r - 0.55 * radius).max(0.0)
                });
            }
        }
    }
}

/// Lowers ground around a cell to `shape`, metres as a function of the distance in metres.
fn carve(cells: Cells, ground: &mut [f64], middle: usize, reach: f64, shape: impl Fn(f64) -> f64) {
    let mut random = Random::new(middle as u64, 3);
    // Longer one way than the other.
    let (long, turn) = (random.uniform(0.0, 0.35), random.uniform(0.0, std::f64::consts::PI));
    let (cos, sin) = (libm::cos(turn), libm::sin(turn));
    let span = super::cells::index((reach / cells.size).ceil());
    let (row, col) = (middle / cells.side, middle % cells.side);
    for r in row.saturating_sub(span)..=(row + span).min(cells.side - 1) {
        for c in col.saturating_sub(span)..=(col + span).min(cells.side - 1) {
            let (dr, dc) = (r as f64 - row as f64, c as f64 - col as f64);
            let (along, across) = ((dc * cos + dr * sin) * (1.0 - long), (dr * cos - dc * sin) * (1.0 + long));
            let distance = cells.size * (along * along + across * across).sqrt();
            if distance <= reach {
                let z = &mut ground[r * cells.side + c];
                *z = z.min(shape(distance));
            }
        }
    }
}
