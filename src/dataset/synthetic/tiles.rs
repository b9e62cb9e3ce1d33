//! Files of generated tiles in the published layout.

use super::preview::{self, Colours};
use super::{Tile, region, tile_seed};
use crate::error::Result;
use crate::model::Feature;

pub fn debug_tiles(first: u64, n: u64, side: usize, seed: u64, regions: &[String], columns: u32, outlines: bool) -> Result<(image::RgbImage, Vec<String>)> {
    let regions = region::chosen(regions)?;
    let mut pictures = vec![];
    let mut notes = vec![];
    for i in first..first + n {
        let t0 = std::time::Instant::now();
        let r = &regions[(i as usize) % regions.len()];
        let tile = Tile::generate(r, side, None, &Feature::ALL, tile_seed(seed, i))?;
        let dt = t0.elapsed().as_secs_f64();
        pictures.push(preview::picture(&tile, Colours::False, outlines));
        pictures.push(preview::picture(&tile, Colours::True, false));
        let g = tile.glacier_share();
        let deb = tile.debris.iter().zip(&tile.glacier).filter(|(_, g)| **g).map(|(d, _)| *d as f64).sum::<f64>() / (tile.glacier.iter().filter(|g| **g).count() as f64);
        let (lo, hi) = tile.elevation.metres.iter().fold((1e9f32, -1e9f32), |(a, b), z| (a.min(*z), b.max(*z)));
        let wat = tile.water.iter().filter(|w| **w).count() as f64 / tile.glacier.len() as f64;
        notes.push(format!("{i} {} {:?} px {} share {:.2} (asked {:.2}) debris {:.2} (abl {:.2}) water {:.3} z {lo:.0}..{hi:.0} ela {:.0} sun {:.0} air {:.2} snowline {:.0} seas {:.2}  {dt:.2}s", r.name, tile.conditions.form.style, tile.conditions.pixel, g, tile.conditions.climate.share, deb, tile.conditions.debris_share, wat, tile.equilibrium_line, tile.conditions.sun.elevation.to_degrees(), tile.conditions.air.left_in, tile.conditions.snow_line, tile.conditions.seasonal_snow));
    }
    Ok((preview::sheet(&pictures, columns), notes))
}
