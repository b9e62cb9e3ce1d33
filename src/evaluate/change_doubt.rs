//! How sure the areas of two maps and their difference are: what confidences say, glacier by glacier.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::evaluate::bootstrap::{Blocks, Moments, Spreads, spreads};
use crate::evaluate::change::{Files, kind, pixel_km2, pixel_metres};
use crate::evaluate::doubt::{check_any_value, is_raw};
use crate::evaluate::inventory::{Measure, read_band};
use crate::evaluate::territory::Territories;
use crate::raster::Grid;

/// The number of the total among spreads; no glacier has it.
pub(super) const TOTAL: u32 = 0;

/// Pixels of a date that are known and have no confidence.
#[derive(Debug, Clone, Copy, Default)]
struct Blank {
    pixels: u64,
    km2: f64,
    ice_km2: f64,
    /// Ice with a confidence or without.
    all_ice_km2: f64,
}

impl Blank {
    fn warn(&self, path: &Path, empty: &BTreeSet<u32>) {
        let Self { pixels, km2, ice_km2, all_ice_km2 } = *self;
        if pixels == 0 {
            return;
        }
        let glaciers = empty.iter().filter(|owner| **owner != TOTAL).count();
        let share = 100.0 * ice_km2 / all_ice_km2.max(f64::MIN_POSITIVE);
        let so = if empty.contains(&TOTAL) {
            format!("the uncertainties of {glaciers} glaciers with such pixels, and of the total, are left empty")
        } else {
            "they are no glacier's and count for nothing".into()
        };
        tracing::warn!(
            "{}: it has no value for {km2:.2} km2 of the map, of which {ice_km2:.2} are mapped as glacier ({share:.1} % of it); {so}",
            path.display()
        );
    }
}

/// The spreads by owner; 0 is the total. An owner with a pixel of no confidence has none, nor has the total then.
pub(super) fn bootstrap(
    files: &Files<'_>,
    grid: &Grid,
    kinds: &[u8],
    territories: &Territories,
    measure: &Measure<'_>,
) -> Result<Option<BTreeMap<u32, Spreads>>> {
    let Some(paths) = files.confidence else { return Ok(None) };
    for path in paths {
        if is_raw(path)? {
            tracing::warn!(
                "{}: the confidence is not calibrated, so there are no uncertainties; run `glavitu predict` with --calibration",
                path.display()
            );
            return Ok(None);
        }
    }
    let pixel_m = pixel_metres(grid);
    let blocks = Blocks::new(grid, pixel_m);
    let mut moments: BTreeMap<u32, BTreeMap<usize, Moments>> = BTreeMap::new();
    let mut areas: BTreeMap<usize, f64> = BTreeMap::new();
    let mut empty: BTreeSet<u32> = BTreeSet::new();
    let mut blanks = [Blank::default(); 2];
    for ((date, path), blank) in paths.into_iter().enumerate().zip(&mut blanks) {
        let confidence = read_band(path, (files.before, grid), files.assumed_crs)?;
        if let Some(value) = confidence.iter().find(|value| !value.is_nan() && !(0.0..=1.0).contains(*value)) {
            let remedy = "give the confidence.tif of glavitu predict";
            return Err(Error::bad_file(path, format!("the value {value}"), "confidences from 0 to 1", remedy));
        }
        let known = kinds.iter().zip(&confidence).filter(|(kind, _)| **kind != kind::UNKNOWN);
        check_any_value(path, known.map(|(_, value)| *value))?;
        // Neighbours share owner and block as a rule, and are gathered before their place is looked up.
        let mut run = (0, usize::MAX, Moments::default());
        let mut km2 = 0.0;
        let mut put = |(owner, block, sum): (u32, usize, Moments)| {
            for owner in [Some(TOTAL), Some(owner).filter(|owner| *owner != TOTAL)].into_iter().flatten() {
                *moments.entry(owner).or_default().entry(block).or_default() += sum;
            }
        };
        for (i, (kind, confidence)) in kinds.iter().zip(&confidence).enumerate() {
            if *kind == kind::UNKNOWN {
                continue;
            }
            let (owner, block) = (territories.owner(i).0, blocks.of(i));
            if (owner, block) != (run.0, run.1) {
                if run.1 != usize::MAX {
                    put(run);
                }
                run = (owner, block, Moments::default());
                // One area for all pixels of a block: they differ by less than the confidences are exact.
                km2 = match areas.get(&block) {
                    Some(km2) => *km2,
                    None => {
                        let km2 = pixel_km2(grid, i, measure)?;
                        areas.insert(block, km2);
                        km2
                    }
                };
            }
            let is_ice = match date {
                0 => matches!(*kind, kind::STABLE | kind::LOST),
                _ => matches!(*kind, kind::STABLE | kind::GAINED),
            };
            blank.all_ice_km2 += if is_ice { km2 } else { 0.0 };
            if confidence.is_nan() {
                blank.pixels += 1;
                blank.km2 += km2;
                blank.ice_km2 += if is_ice { km2 } else { 0.0 };
                // Without glaciers to tell apart, any pixel is of the total.
                if owner != 0 || is_ice || territories.references() == 0 {
                    empty.extend([owner, TOTAL]);
                }
                continue;
            }
            run.2.add(date, km2, is_ice, *confidence);
        }
        if run.1 != usize::MAX {
            put(run);
        }
    }
    blanks.iter().zip(paths).for_each(|(blank, path)| blank.warn(path, &empty));
    moments.retain(|owner, _| !empty.contains(owner));
    // Streams of their own make the numbers of one glacier independent of the others.
    Ok(Some(
        moments.par_iter().map(|(owner, blocks)| (*owner, spreads(blocks, files.seed, u64::from(*owner)))).collect(),
    ))
}
