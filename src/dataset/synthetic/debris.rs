//! Rock on glaciers: lateral and medial moraines, debris-covered tongues, and the stripes of flowing ice.
//!
//! Ice is followed backwards along the flow from each pixel. What falls on it from walls beside its path melts out below the equilibrium
//! line, so bands of debris run along the margins of tributaries, merge into medial moraines where they join, and widen down the tongue
//! (Kirkbride and Deline 2013, doi 10.1002/esp.3416; Anderson and Anderson 2016, doi 10.5194/tc-10-1105-2016).

use rayon::prelude::*;

use super::cells::{Cells, quantile};
use super::conditions::Conditions;
use super::ice::THINNEST;
use super::land::{bilinear, on_cells, position};
use super::rise;
use crate::dataset::noise::fractal;

/// Length of a step backwards, in cells, and the most steps.
const STEP: f64 = 0.7;
const STEPS: usize = 110;

/// Where the ice of each pixel has come from.
pub(super) struct Trace {
    /// Rock that has fallen onto it, in no particular unit.
    pub(super) supply: Vec<f64>,
    /// A value that is the same along lines of flow, about -1 to 1.
    pub(super) flow_line: Vec<f64>,
    /// Metres along the path.
    pub(super) travelled: Vec<f64>,
}

/// Follows the ice of every pixel back to where it came from.
#[expect(clippy::too_many_arguments, reason = "the fields of one simulation")]
pub(super) fn trace(
    cells: Cells,
    surface: &[f64],
    thickness: &[f64],
    bed: &[f64],
    side: usize,
    margin: usize,
    ice: &[f64],
    seed: u64,
) -> Trace {
    let n = cells.side;
    let even = cells.blur(surface, 1);
    let (dx, dy): (Vec<f64>, Vec<f64>) = (0..cells.len()).map(|c| cells.gradient(&even, c)).unzip();
    let walls = walls(cells, surface, thickness, bed, seed);
    let followed: Vec<[f64; 3]> = (0..ice.len())
        .into_par_iter()
        .map(|pixel| {
            if ice[pixel] <= 0.0 {
                return [0.0; 3];
            }
            let (mut x, mut y) = on_cells(pixel, side, margin);
            let (mut supply, mut steps) = (0.0, 0.0);
            for _ in 0..STEPS {
                let (gx, gy) = (bilinear(&dx, n, (x, y)), bilinear(&dy, n, (x, y)));
                let steep = (gx * gx + gy * gy).sqrt();
                if steep < 0.004 || bilinear(thickness, n, (x, y)) < THINNEST {
                    break;
                }
                supply += bilinear(&walls, n, (x, y));
                x += STEP * gx / steep;
                y += STEP * gy / steep;
                if x < 1.0 || y < 1.0 || x > (n - 3) as f64 || y > (n - 3) as f64 {
                    break;
                }
                steps += 1.0;
            }
            let scale = cells.size / 260.0;
            [supply * STEP * cells.size / 400.0, fractal(seed ^ 5, x * scale, y * scale, 3), steps * STEP * cells.size]
        })
        .collect();
    Trace {
        supply: followed.iter().map(|f| f[0]).collect(),
        flow_line: followed.iter().map(|f| f[1]).collect(),
        travelled: followed.iter().map(|f| f[2]).collect(),
    }
}

/// What falls on each cell of ice from steep ground beside it.
fn walls(cells: Cells, surface: &[f64], thickness: &[f64], bed: &[f64], seed: u64) -> Vec<f64> {
    let side = cells.side;
    (0..cells.len())
        .map(|cell| {
            if thickness[cell] < THINNEST {
                return 0.0;
            }
            let (row, col) = (cell / side, cell % side);
            let mut sum = 0.0;
            for r in row.saturating_sub(1)..=(row + 1).min(side - 1) {
                for c in col.saturating_sub(1)..=(col + 1).min(side - 1) {
                    let n = r * side + c;
                    if thickness[n] < THINNEST {
                        sum += ((bed[n] - surface[cell]) / cells.size - 0.15).clamp(0.0, 0.8);
                    }
                }
            }
            // Some walls crumble more than others.
            let (x, y) = (col as f64 * cells.size / 1400.0, row as f64 * cells.size / 1400.0);
            sum * (1.0 + 1.3 * fractal(seed, x, y, 2)).clamp(0.1, 2.2)
        })
        .collect()
}

/// The part of each pixel of ice under debris. The share of the ablation area that is covered is the one asked for.
pub(super) fn cover(
    trace: &Trace,
    altitude: &[f64],
    ice: &[f64],
    line: f64,
    conditions: &Conditions,
    side: usize,
    seed: u64,
) -> Vec<f64> {
    let ablation: Vec<usize> = (0..ice.len()).filter(|&i| ice[i] > 0.5 && altitude[i] < line).collect();
    if ablation.is_empty() || conditions.debris_share < 0.005 {
        return vec![0.0; ice.len()];
    }
    // Rock rolls off where ice is steep.
    let square = Cells { side, size: conditions.pixel };
    let even = square.blur(altitude, 2);
    let lowest = quantile(ablation.iter().map(|&i| altitude[i]).collect(), 0.02);
    let score: Vec<f64> = (0..ice.len())
        .into_par_iter()
        .map(|i| {
            if ice[i] <= 0.0 {
                return -1.0;
            }
            let (x, y) = position(i, side, conditions.pixel);
            let melted = ((line - altitude[i]) / (line - lowest).max(60.0)).clamp(0.0, 1.0);
            let fallen = 1.0 - libm::exp(-0.7 * trace.supply[i]);
            let (dx, dy) = square.gradient(&even, i);
            let rolls_off = 1.6 * ((dx * dx + dy * dy).sqrt() - 0.22).max(0.0);
            let noise = 0.18 * fractal(seed, x / 13.0, y / 13.0, 3) + 0.1 * trace.flow_line[i];
            fallen * (0.25 + 0.75 * melted.sqrt())
                + conditions.debris_widening * melted * melted
                + noise * (0.3 + melted)
                - rolls_off
        })
        .collect();
    let threshold = quantile(ablation.iter().map(|&i| score[i]).collect(), 1.0 - conditions.debris_share).max(0.12);
    let width = 0.16;
    (0..ice.len())
        .into_par_iter()
        .map(|i| {
            if ice[i] <= 0.0 || altitude[i] > line + 60.0 {
                return 0.0;
            }
            let (x, y) = position(i, side, conditions.pixel);
            let speckle = 0.5 * fractal(seed ^ 3, x / 2.3, y / 2.3, 2);
            rise(threshold - width, threshold + width, score[i] + 0.5 * width * speckle)
                * rise(line + 60.0, line - 30.0, altitude[i])
        })
        .collect()
}
