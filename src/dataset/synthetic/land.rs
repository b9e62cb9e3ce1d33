//! The landscape of a tile, pixel by pixel: ground, ice, water, and what glaciers leave.
//!
//! Relief is made on cells of two pixels and ice on cells of four. Both are refined to pixels, where thin ice is compared with the ground's
//! small forms, so that outlines are ragged and rock sticks out.

use rayon::prelude::*;

use super::cells::{Cells, Drainage, index, quantile};
use super::conditions::Conditions;
use super::debris;
use super::ice::{self, Glaciers, THINNEST};
use super::region::Style;
use super::{parts, relief, rise};
use crate::dataset::noise::{Random, fractal, ridged, stripes};

/// Pixels per cell of ice, along each side.
pub(super) const FINE: usize = 4;
/// Cells beyond the working square: the simulation's border.
const MARGIN: usize = 8;
/// Pixels of the working square beyond the tile, on each side: what shades it, and what blurs into it.
pub(super) const PAD: usize = 24;
/// Smaller glaciers are not mapped, in m2 (the Randolph Glacier Inventory ends at 0.01 km2).
const SMALLEST_GLACIER: f64 = 6.0e4;
/// Deeper hollows than this hold lakes, in metres, and lakes have at least this many cells.
const LAKE: (f64, usize) = (3.0, 6);

/// A lake, river or sea.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Water {
    /// Glacial flour: 0 clear to 1 grey.
    Open { turbidity: f64 },
    /// Ice on it.
    Frozen,
}

/// The landscape; all fields have one value per pixel of the working square, row by row.
#[derive(Debug, Clone)]
pub(super) struct Land {
    /// Pixels along each side.
    pub(super) side: usize,
    /// Side of a pixel in metres.
    pub(super) pixel: f64,
    /// Surface of ground, ice or water in metres above the sea.
    pub(super) altitude: Vec<f64>,
    /// Part of the pixel under glacier.
    pub(super) ice: Vec<f64>,
    /// Part of the pixel under water.
    pub(super) water: Vec<f64>,
    /// The water's kind, where there is any.
    pub(super) water_kind: Vec<Option<Water>>,
    /// Part of the glacier's surface under debris.
    pub(super) debris: Vec<f64>,
    /// A value that is the same along lines of flow, about -1 to 1.
    pub(super) flow_line: Vec<f64>,
    /// Metres along the flow from where the ice came.
    pub(super) travelled: Vec<f64>,
    /// Ground that the glaciers have left since the Little Ice Age, 0 to 1.
    pub(super) forefield: Vec<f64>,
    /// Gravel plains of glacial rivers, 0 to 1.
    pub(super) outwash: Vec<f64>,
    /// Part of the sky that is seen, 0 to 1.
    pub(super) sky: Vec<f64>,
    /// How much higher the surface was when an older elevation model was made, in metres.
    pub(super) thinning: Vec<f64>,
    /// Metres that neighbours some pixels away lie higher on average.
    pub(super) hollow: Vec<f64>,
    /// Slope to the east and to the south in metres per metre.
    pub(super) slope: Vec<[f64; 2]>,
    pub(super) equilibrium_line: f64,
}

/// What the coarse simulation hands to the pixels.
struct Coarse {
    cells: Cells,
    bed: Vec<f64>,
    surface: Vec<f64>,
    glaciers: Glaciers,
    drainage: Drainage,
}

impl Land {
    /// The land of a tile of `side` pixels, with [`PAD`] pixels around it.
    pub(super) fn generate(side: usize, conditions: &Conditions, seed: u64) -> Self {
        let inner = (side + 2 * PAD).div_ceil(FINE);
        let cells = Cells { side: inner + 2 * MARGIN, size: FINE as f64 * conditions.pixel };
        let mid = Cells { side: 2 * cells.side, size: cells.size / 2.0 };
        let mut random = Random::new(seed, 10);
        let mut ground = relief::ground(mid, conditions.form, random.bits());
        if let Some(share) = conditions.sea {
            let level = quantile(ground.clone(), share);
            // Fjords are shallower than their walls are high, so that glaciers reach into them.
            ground.iter_mut().for_each(|z| *z = if *z < level { (*z - level) * 0.25 } else { *z - level });
        }
        let bed = mid.halved(&ground);
        let glaciers = ice::grow(cells, &bed, conditions.climate, MARGIN + PAD / FINE);
        let surface: Vec<f64> = bed.iter().zip(&glaciers.thickness).map(|(b, h)| b + h).collect();
        let drainage = cells.drain(&surface, &cells.outlets(&surface, 1.0));
        let coarse = Coarse { cells, bed, surface, glaciers, drainage };
        Self::refine(&coarse, &mid.refine(&ground, 2, 2 * MARGIN), conditions, &mut random)
    }

    fn refine(coarse: &Coarse, ground: &[f64], conditions: &Conditions, random: &mut Random) -> Self {
        let cells = coarse.cells;
        let side = (cells.side - 2 * MARGIN) * FINE;
        let pixel = conditions.pixel;
        let fine = |field: &[f64]| cells.refine(field, FINE, MARGIN);
        let smooth_bed = fine(&coarse.bed);
        let detail = random.bits();
        let bed = detailed(ground, side, pixel, detail);
        let line = coarse.glaciers.equilibrium_line;

        // Walls hold ice in patches that nobody maps.
        let square = Cells { side, size: pixel };
        let too_steep: Vec<f64> = (0..bed.len())
            .into_par_iter()
            .map(|i| {
                let (dx, dy) = square.gradient(&smooth_bed, i);
                30.0 * rise(0.75, 1.15, (dx * dx + dy * dy).sqrt())
            })
            .collect();
        let thick = |thickness: &[f64]| -> Vec<f64> {
            let signed = fine(&cells.blur(&signed_thickness(cells, &coarse.bed, thickness), 1));
            let ragged = |i: usize| {
                let (x, y) = ((i % side) as f64, (i / side) as f64);
                1.5 * fractal(detail ^ 9, x / 5.0, y / 5.0, 2)
            };
            let rugged: Vec<f64> = (0..bed.len())
                .into_par_iter()
                .map(|i| signed[i] + 0.65 * (smooth_bed[i] - bed[i]).clamp(-50.0, 20.0) + ragged(i) - too_steep[i])
                .collect();
            // Ice fills what is narrower than it is thick.
            square.blur(&rugged, 1)
        };
        let mut thickness = thick(&coarse.glaciers.thickness);
        let once = thick(&coarse.glaciers.once);
        drop_small(&mut thickness, side, SMALLEST_GLACIER / (pixel * pixel));
        if conditions.sea.is_some() {
            thickness.iter_mut().zip(&bed).for_each(|(h, b)| {
                if *b < 0.0 && *h < -1.12 * b {
                    *h = h.min(-1.0);
                }
            });
        }
        let surface = fine(&coarse.surface);
        let mut altitude: Vec<f64> = (0..bed.len())
            .map(|i| {
                // Deep ice has the even surface that flow gives it.
                let deep = rise(10.0, 45.0, thickness[i]);
                let on_ground = bed[i] + thickness[i].max(0.0);
                on_ground + deep * (surface[i] - on_ground).clamp(-25.0, 25.0)
            })
            .collect();
        moraines(&mut altitude, &thickness, &once, line, (side, pixel), detail);

        let ice: Vec<f64> = thickness.iter().map(|h| (0.5 + (h - THINNEST) / 7.0).clamp(0.0, 1.0)).collect();
        let (water, water_kind) = lakes(coarse, &mut altitude, &ice, side, conditions, random);
        let forefield =
            once.iter().zip(&altitude).map(|(h, z)| rise(-1.0, 4.0, *h) * rise(line + 60.0, line - 40.0, *z)).collect();
        let outwash = outwash(coarse, &fine, side, pixel);
        let trace = debris::trace(
            cells,
            &coarse.surface,
            &coarse.glaciers.thickness,
            &coarse.bed,
            side,
            MARGIN,
            &ice,
            random.bits(),
        );
        let debris = debris::cover(&trace, &altitude, &ice, line, conditions, side, random.bits());
        hummocks(&mut altitude, &ice, &debris, &water, (side, pixel), random.bits());
        let thinning: Vec<f64> = coarse
            .glaciers
            .once
            .iter()
            .zip(&coarse.glaciers.thickness)
            .map(|(a, b)| (a - b).clamp(0.0, 60.0))
            .collect();
        let mut land = Self {
            side,
            pixel,
            sky: fine(&sky_view(cells, &coarse.surface)).into_iter().map(|s| s.clamp(0.2, 1.0)).collect(),
            thinning: fine(&thinning),
            hollow: Vec::new(),
            slope: Vec::new(),
            altitude,
            ice,
            water,
            water_kind,
            debris,
            flow_line: trace.flow_line,
            travelled: trace.travelled,
            forefield,
            outwash,
            equilibrium_line: line,
        };
        if let Some(level) = conditions.equilibrium_line {
            // No land lies below the sea.
            let lowest = land.altitude.iter().copied().fold(f64::INFINITY, f64::min);
            let lift = (level - line).max(5.0 - lowest);
            land.altitude.iter_mut().for_each(|z| *z += lift);
            land.equilibrium_line = line + lift;
        }
        let wide = square.blur(&land.altitude, 5);
        land.hollow = wide.iter().zip(&land.altitude).map(|(w, z)| w - z).collect();
        // Light meets slopes of a pixel's size, not the grain of the elevations.
        let even: Vec<f64> =
            square.blur(&land.altitude, 1).iter().zip(&land.altitude).map(|(even, z)| 0.6 * even + 0.4 * z).collect();
        land.slope = (0..side * side)
            .into_par_iter()
            .map(|i| {
                let (dx, dy) = square.gradient(&even, i);
                [dx, dy]
            })
            .collect();
        land
    }

    /// The part of a pixel whose middle lies under glacier: what is mapped.
    pub(super) fn is_glacier(&self, pixel: usize) -> bool {
        self.ice[pixel] > 0.5
    }

    /// Steepness in metres per metre.
    pub(super) fn steepness(&self, pixel: usize) -> f64 {
        let [dx, dy] = self.slope[pixel];
        (dx * dx + dy * dy).sqrt()
    }
}

/// The ground's small forms: gullies and ribs down the walls, little on valley floors.
fn detailed(ground: &[f64], side: usize, pixel: f64, seed: u64) -> Vec<f64> {
    let cells = Cells { side, size: pixel };
    let scale = pixel / 30.0;
    let even = cells.blur(ground, 2);
    let cut = |ground: &[f64], along: &[f64], spacing: f64, depth: f64, seed: u64| -> Vec<f64> {
        (0..ground.len())
            .into_par_iter()
            .map(|i| {
                let (x, y) = ((i % side) as f64 * scale, (i / side) as f64 * scale);
                let (dx, dy) = cells.gradient(along, i);
                let steep = (dx * dx + dy * dy).sqrt();
                if steep < 0.08 {
                    return ground[i];
                }
                let contour = (-dy / steep, dx / steep);
                ground[i]
                    + depth * rise(0.08, 0.9, steep) * steep.min(1.2) * stripes(seed, x / spacing, y / spacing, contour)
            })
            .collect()
    };
    let coarse = cut(ground, &even, 11.0, 26.0, seed);
    let fine = cut(&coarse, &coarse, 4.6, 9.0, seed ^ 1);
    (0..ground.len())
        .into_par_iter()
        .map(|i| {
            let (x, y) = ((i % side) as f64 * scale, (i / side) as f64 * scale);
            let (dx, dy) = cells.gradient(ground, i);
            let steep = (dx * dx + dy * dy).sqrt();
            let crags = ridged(seed ^ 2, x / 16.0, y / 16.0, 4) - 0.9;
            fine[i]
                + 9.0 * steep.min(1.3) * crags
                + (1.0 + 4.0 * steep.min(1.0)) * fractal(seed ^ 3, x / 4.0, y / 4.0, 2)
        })
        .collect()
}

/// Thickness where there is ice; elsewhere minus the height of the ground above the ice beside it, and never quite 0.
fn signed_thickness(cells: Cells, bed: &[f64], thickness: &[f64]) -> Vec<f64> {
    let side = cells.side;
    (0..cells.len())
        .map(|cell| {
            if thickness[cell] > THINNEST {
                return thickness[cell];
            }
            let (row, col) = (cell / side, cell % side);
            let mut highest = f64::NEG_INFINITY;
            for r in row.saturating_sub(1)..=(row + 1).min(side - 1) {
                for c in col.saturating_sub(1)..=(col + 1).min(side - 1) {
                    let n = r * side + c;
                    if thickness[n] > THINNEST {
                        highest = highest.max(bed[n] + thickness[n]);
                    }
                }
            }
            if highest.is_finite() { (highest - bed[cell]).clamp(-14.0, -4.0) } else { -14.0 }
        })
        .collect()
}

/// Makes ground of all pieces of ice with fewer pixels than `smallest`.
fn drop_small(thickness: &mut [f64], side: usize, smallest: f64) {
    let is_ice: Vec<bool> = thickness.iter().map(|h| *h > THINNEST).collect();
    for piece in parts::connected(&is_ice, side) {
        if (piece.len() as f64) < smallest {
            for pixel in piece {
                thickness[pixel as usize] = -6.0;
            }
        }
    }
}

/// Lateral and end moraines of the Little Ice Age: ridges along the old margin, below the equilibrium line.
fn moraines(altitude: &mut [f64], now: &[f64], once: &[f64], line: f64, (side, pixel): (usize, f64), seed: u64) {
    let scale = pixel / 30.0;
    altitude.par_iter_mut().enumerate().for_each(|(i, z)| {
        if now[i] > 0.0 || once[i] < -25.0 {
            return;
        }
        let (x, y) = ((i % side) as f64 * scale, (i / side) as f64 * scale);
        let below = rise(line - 20.0, line - 180.0, *z);
        let off = (once[i] + 2.0) / 5.0;
        let whole = (0.75 + fractal(seed ^ 20, x / 14.0, y / 14.0, 2)).clamp(0.0, 1.2);
        *z += 16.0 * below * whole * libm::exp(-off * off);
    });
}

/// Hummocks under debris, waves and steps on ice.
fn hummocks(altitude: &mut [f64], ice: &[f64], debris: &[f64], water: &[f64], (side, pixel): (usize, f64), seed: u64) {
    let scale = pixel / 30.0;
    altitude.par_iter_mut().enumerate().for_each(|(i, z)| {
        if ice[i] > 0.3 && water[i] < 0.5 {
            let (x, y) = ((i % side) as f64 * scale, (i / side) as f64 * scale);
            *z += ice[i]
                * ((0.8 + 6.0 * debris[i]) * fractal(seed, x / 5.5, y / 5.5, 3)
                    + 4.0 * fractal(seed ^ 1, x / 24.0, y / 24.0, 2));
        }
    });
}

/// Lakes in hollows of the surface, and the sea. Levels the altitude.
fn lakes(
    coarse: &Coarse,
    altitude: &mut [f64],
    ice: &[f64],
    side: usize,
    conditions: &Conditions,
    random: &mut Random,
) -> (Vec<f64>, Vec<Option<Water>>) {
    let cells = coarse.cells;
    let thickness = &coarse.glaciers.thickness;
    let depth: Vec<f64> = coarse.drainage.level.iter().zip(&coarse.surface).map(|(l, s)| l - s).collect();
    let is_lake: Vec<bool> = (0..cells.len())
        .map(|c| depth[c] > LAKE.0 && thickness[c] < THINNEST && (conditions.sea.is_none() || coarse.surface[c] > 4.0))
        .collect();
    // What flows in from glaciers carries flour.
    let fed = cells.gather(&coarse.drainage, |c| f64::from(u8::from(thickness[c] > THINNEST)));
    let mut level = vec![f64::NEG_INFINITY; cells.len()];
    let mut kinds: Vec<Option<Water>> = vec![None; cells.len()];
    for lake in parts::connected(&is_lake, cells.side) {
        let draw = [random.uniform(0.0, 1.0), random.uniform(0.0, 1.0), random.uniform(0.0, 1.0)];
        if lake.len() < LAKE.1 || draw[0] > 0.6 {
            continue;
        }
        let first = lake[0] as usize;
        let ice_above = lake.iter().map(|c| fed[*c as usize]).fold(0.0, f64::max);
        let is_high = coarse.drainage.level[first] > coarse.glaciers.equilibrium_line - 350.0;
        let kind = if draw[1] < if is_high { 0.22 } else { 0.02 } {
            Water::Frozen
        } else if ice_above > 3.0 {
            Water::Open { turbidity: (0.25 + 0.85 * draw[2]).min(1.0) }
        } else {
            Water::Open { turbidity: 0.2 * draw[2] * draw[2] }
        };
        for cell in lake {
            level[cell as usize] = coarse.drainage.level[cell as usize];
            kinds[cell as usize] = Some(kind);
        }
    }
    let around = |cell: usize| {
        let (row, col) = (cell / cells.side, cell % cells.side);
        (row.saturating_sub(1)..=(row + 1).min(cells.side - 1))
            .flat_map(move |r| (col.saturating_sub(1)..=(col + 1).min(cells.side - 1)).map(move |c| r * cells.side + c))
    };
    // As with ice: depth where there is water, else minus the height above it.
    let mut near = kinds.clone();
    let mut near_level = level.clone();
    let signed: Vec<f64> = (0..cells.len())
        .map(|cell| {
            if kinds[cell].is_some() {
                return depth[cell].min(12.0);
            }
            let Some(beside) = around(cell).find(|n| kinds[*n].is_some()) else { return -12.0 };
            near[cell] = kinds[beside];
            near_level[cell] = level[beside];
            (level[beside] - coarse.surface[cell]).clamp(-12.0, -1.5)
        })
        .collect();
    let signed = cells.refine(&signed, FINE, MARGIN);
    let turbid_sea = random.uniform(0.05, 0.6);
    let mut water = vec![0.0; altitude.len()];
    let mut water_kind = vec![None; altitude.len()];
    for i in 0..altitude.len() {
        if conditions.sea.is_some() && altitude[i] < 0.3 && ice[i] < 0.5 {
            water[i] = 1.0;
            water_kind[i] = Some(Water::Open { turbidity: turbid_sea });
            altitude[i] = 0.0;
            continue;
        }
        let (row, col) = (i / side / FINE + MARGIN, i % side / FINE + MARGIN);
        let cell = row * cells.side + col;
        if let Some(kind) = near[cell] {
            let part = (0.5 + signed[i] / 2.5).clamp(0.0, 1.0 - ice[i]);
            if part > 0.0 {
                water[i] = part;
                water_kind[i] = Some(kind);
                if part > 0.5 {
                    altitude[i] = near_level[cell];
                }
            }
        }
    }
    (water, water_kind)
}

/// Flat ground little above the rivers that glaciers feed.
fn outwash(coarse: &Coarse, fine: &impl Fn(&[f64]) -> Vec<f64>, side: usize, pixel: f64) -> Vec<f64> {
    let cells = coarse.cells;
    let thickness = &coarse.glaciers.thickness;
    let fed = cells.gather(&coarse.drainage, |c| f64::from(u8::from(thickness[c] > THINNEST)));
    let km2 = cells.size * cells.size / 1e6;
    // The altitude of the river that each cell drains to.
    let mut river = vec![f64::NEG_INFINITY; cells.len()];
    for &cell in &coarse.drainage.upwards {
        let (cell, below) = (cell as usize, coarse.drainage.below[cell as usize] as usize);
        river[cell] =
            if fed[cell] * km2 > 1.0 && thickness[cell] < THINNEST { coarse.surface[cell] } else { river[below] };
    }
    let above: Vec<f64> = (0..cells.len())
        .map(|c| {
            let (dx, dy) = cells.gradient(&coarse.surface, c);
            let height = (coarse.surface[c] - river[c]).min(60.0);
            // Steep valleys have no plains.
            height + 180.0 * (dx * dx + dy * dy).sqrt()
        })
        .collect();
    let above = fine(&above);
    debug_assert_eq!(above.len(), side * side, "pixels of {pixel} m");
    above.into_iter().map(|height| rise(24.0, 14.0, height)).collect()
}

/// Part of the sky that is seen from each cell, from the horizon in eight directions.
fn sky_view(cells: Cells, surface: &[f64]) -> Vec<f64> {
    let side = cells.side;
    (0..cells.len())
        .into_par_iter()
        .map(|cell| {
            let mut seen = 0.0;
            for (dr, dc) in [(-1_isize, -1_isize), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)] {
                let step = cells.size * ((dr * dr + dc * dc) as f64).sqrt();
                let (mut row, mut col, mut highest) = (cell / side, cell % side, 0.0_f64);
                for count in 1..=20_u8 {
                    let (Some(r), Some(c)) = (row.checked_add_signed(dr), col.checked_add_signed(dc)) else { break };
                    if r >= side || c >= side {
                        break;
                    }
                    (row, col) = (r, c);
                    highest = highest.max((surface[r * side + c] - surface[cell]) / (f64::from(count) * step));
                }
                seen += 1.0 / (1.0 + highest * highest);
            }
            seen / 8.0
        })
        .collect()
}

/// Whether a style's ground meets the sea.
pub(super) fn meets_sea(style: Style) -> bool {
    style == Style::Tidewater
}

/// The crop of a working square to the tile.
pub(super) fn crop<T: Copy>(field: &[T], side: usize, tile: usize) -> Vec<T> {
    (0..tile).flat_map(|row| field[(row + PAD) * side + PAD..][..tile].iter().copied()).collect()
}

/// Column and row of a pixel as numbers, in units of 30 m.
pub(super) fn position(pixel: usize, side: usize, size: f64) -> (f64, f64) {
    let scale = size / 30.0;
    ((pixel % side) as f64 * scale, (pixel / side) as f64 * scale)
}

/// The cell under a pixel and its place in it: for bilinear reading of coarse fields.
pub(super) fn on_cells(pixel: usize, side: usize, margin: usize) -> (f64, f64) {
    let at = |p: usize| margin as f64 + (p as f64 + 0.5) / FINE as f64 - 0.5;
    (at(pixel % side), at(pixel / side))
}

/// Bilinear reading at (column, row) of a coarse field; the caller stays inside.
pub(super) fn bilinear(field: &[f64], cells: usize, (x, y): (f64, f64)) -> f64 {
    let last = (cells - 2) as f64;
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (col, row) = (index(x), index(y));
    let (fx, fy) = (x - col as f64, y - row as f64);
    let at = row * cells + col;
    let top = field[at] * (1.0 - fx) + field[at + 1] * fx;
    let bottom = field[at + cells] * (1.0 - fx) + field[at + cells + 1] * fx;
    top * (1.0 - fy) + bottom * fy
}
