//! Sunlight on the land: direct light with cast shadows.

use rayon::prelude::*;

use super::conditions::Sun;
use super::land::{Land, bilinear};

/// Direct sunlight on each pixel, relative to level ground.
#[derive(Debug, Clone)]
pub(super) struct Light {
    /// 0 in shadow.
    pub(super) direct: Vec<f64>,
    /// As if nothing stood in the way.
    pub(super) facing: Vec<f64>,
}

impl Light {
    /// Follows the ray from each pixel towards the sun over the land.
    pub(super) fn cast(land: &Land, sun: Sun) -> Self {
        let side = land.side;
        // Towards the sun: east, south, up.
        let horizontal = libm::cos(sun.elevation);
        let (east, south) = (horizontal * libm::sin(sun.azimuth), -horizontal * libm::cos(sun.azimuth));
        let up = libm::sin(sun.elevation);
        let highest = land.altitude.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let stride = 1.25;
        let (step_col, step_row) = (stride * east / horizontal, stride * south / horizontal);
        let rise = stride * land.pixel * up / horizontal;
        let last = (side - 1) as f64;
        let (direct, facing) = (0..land.altitude.len())
            .into_par_iter()
            .map(|pixel| {
                let [dx, dy] = land.slope[pixel];
                let cosine = (up - dx * east - dy * south) / (1.0 + dx * dx + dy * dy).sqrt();
                let facing = (cosine / up).max(0.0);
                if cosine <= 0.0 {
                    return (0.0, facing);
                }
                let (mut row, mut col) = ((pixel / side) as f64, (pixel % side) as f64);
                let mut ray = land.altitude[pixel] + 0.06 * land.pixel;
                loop {
                    (row, col, ray) = (row + step_row, col + step_col, ray + rise);
                    if ray > highest || !(0.0..=last).contains(&row) || !(0.0..=last).contains(&col) {
                        return (facing, facing);
                    }
                    let above = bilinear(&land.altitude, side, (col, row)) - ray;
                    if above > 0.0 {
                        // A little way into the shadow part of the light still passes: pixels are wide.
                        return (facing * (1.0 - above / (0.3 * land.pixel)).clamp(0.0, 1.0), facing);
                    }
                }
            })
            .unzip();
        Self { direct, facing }
    }
}
