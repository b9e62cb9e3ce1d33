//! Checks of whole tiles: small ones, of every region.

use super::*;
use crate::model::Feature;

const SIDE: usize = 128;

/// Tiles of every region, several of each.
fn tiles(count: u64) -> Vec<(String, Tile)> {
    use rayon::prelude::*;
    let regions = region::all();
    (0..count * regions.len() as u64)
        .into_par_iter()
        .map(|index| {
            let region = &regions[usize::try_from(index).expect("small") % regions.len()];
            let tile = Tile::generate(region, SIDE, Some(30.0), &Feature::ALL, tile_seed(9, index)).expect("a tile");
            (region.name.clone(), tile)
        })
        .collect()
}

/// The mean of a channel over chosen pixels; `None` for fewer than 30.
fn mean(channel: &[f32], chosen: impl Fn(usize) -> bool) -> Option<f64> {
    let values: Vec<f64> =
        (0..channel.len()).filter(|i| chosen(*i) && !channel[*i].is_nan()).map(|i| f64::from(channel[i])).collect();
    (values.len() >= 30).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[test]
fn the_same_for_one_seed() {
    let regions = region::all();
    let tile = |region: usize, features: &[Feature], seed| {
        Tile::generate(&regions[region], 40, None, features, seed).expect("a tile")
    };
    let bits = |band: &[f32]| band.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let (a, b) = (tile(0, &Feature::ALL, 1), tile(0, &Feature::ALL, 1));
    for feature in Feature::ALL {
        let (a, b) = (a.channels(feature), b.channels(feature));
        assert_eq!((a.len(), b.len()), (feature.channels(), feature.channels()));
        assert!(a.iter().zip(b).all(|(a, b)| bits(a) == bits(b)), "{feature}");
    }
    assert_eq!((&a.glacier, &a.hidden), (&b.glacier, &b.hidden));
    // What is not asked for changes nothing of the rest.
    let few = tile(0, &[Feature::Optical], 1);
    assert_eq!((bits(&few.optical[3]), &few.glacier), (bits(&a.optical[3]), &a.glacier));
    assert!(few.channels(Feature::Thermal).is_empty());
    assert_ne!(a.elevation.metres, tile(0, &[], 2).elevation.metres);
    assert_ne!(a.elevation.metres, tile(5, &[], 1).elevation.metres);
    for side in [0, 15, 5000] {
        assert!(Tile::generate(&regions[0], side, None, &[], 1).is_err(), "{side}");
    }
}

#[test]
fn every_region_looks_like_its_mountains() {
    let tiles = tiles(6);
    let mut with_ice = std::collections::BTreeMap::<&str, usize>::new();
    let mut debris = std::collections::BTreeMap::<&str, [f64; 2]>::new();
    let (mut gentler, mut compared) = (0, 0);
    for (region, tile) in &tiles {
        let share = tile.glacier_share();
        if (0.03..0.75).contains(&share) {
            *with_ice.entry(region).or_default() += 1;
        }
        let sum = debris.entry(region).or_default();
        for (part, _) in tile.debris.iter().zip(&tile.glacier).filter(|(_, g)| **g) {
            sum[0] += f64::from(*part);
            sum[1] += 1.0;
        }
        for feature in Feature::ALL {
            for channel in tile.channels(feature) {
                assert_eq!(channel.len(), SIDE * SIDE);
                let range = match feature {
                    Feature::Optical => -0.2..=1.9,
                    Feature::Dem => -200.0..=9000.0,
                    Feature::CoPolSar | Feature::CrossPolSar => 0.0..=30.0,
                    Feature::InSar => 0.0..=1.0,
                    Feature::Thermal => 215.0..=325.0,
                };
                let may_miss = feature == Feature::Optical && tile.conditions.sensor.has_gaps;
                let sound = |v: &f32| range.contains(v) || may_miss && v.is_nan();
                assert!(channel.iter().all(sound), "{region} {feature}");
            }
        }
        assert!(tile.elevation.slope.iter().all(|s| (0.0..89.0).contains(s)), "{region}");
        if tile.conditions.sea.is_none() {
            assert!(tile.elevation.metres.iter().all(|z| *z > -60.0), "{region}");
        }
        // Ice-covered ground is gentler than other ground that is not water.
        let is_ice = |i: usize| tile.glacier[i];
        let is_rock = |i: usize| !tile.glacier[i] && !tile.water[i];
        if let (Some(ice), Some(rock)) = (mean(&tile.elevation.slope, is_ice), mean(&tile.elevation.slope, is_rock)) {
            compared += 1;
            gentler += usize::from(ice < rock);
        }
    }
    for (region, count) in &with_ice {
        assert!(*count >= 4, "{region}: {count} of 6 tiles have 3 to 75 % of ice");
    }
    assert_eq!(with_ice.len(), 11);
    assert!(gentler * 3 > compared * 2, "{gentler} of {compared}");
    let share = |region: &str| debris[region][0] / debris[region][1];
    assert!(share("HMA") + share("NZ") > 2.0 * (share("AN") + share("SVAL")), "{debris:?}");
}

#[test]
fn clean_sunlit_glaciers_have_the_spectrum_of_snow_and_ice() {
    let mut seen = 0;
    for (region, tile) in tiles(2) {
        let is_clear = tile.conditions.air.thin == 0.0;
        let is_lit = |i: usize| tile.sunlight[i] > 0.5 && !tile.hidden[i] && is_clear;
        // Ground beside the ice blurs into its edges.
        let is_inside = |i: usize| {
            let (row, col) = (i / SIDE, i % SIDE);
            [-3_isize, 0, 3].iter().all(|dr| {
                [-3_isize, 0, 3].iter().all(|dc| {
                    let (Some(r), Some(c)) = (row.checked_add_signed(*dr), col.checked_add_signed(*dc)) else {
                        return false;
                    };
                    r < SIDE && c < SIDE && tile.glacier[r * SIDE + c] && tile.debris[r * SIDE + c] < 0.01
                })
            })
        };
        let clean = |i: usize| is_lit(i) && is_inside(i);
        let dirty = |i: usize| is_lit(i) && tile.glacier[i] && tile.debris[i] > 0.9;
        let ndsi = |chosen: &dyn Fn(usize) -> bool| -> Option<f64> {
            let (green, swir) = (mean(&tile.optical[1], chosen)?, mean(&tile.optical[4], chosen)?);
            Some((green - swir) / (green + swir))
        };
        if let Some(clean) = ndsi(&clean) {
            seen += 1;
            assert!(clean > 0.55, "{region}: {clean}");
            if let Some(dirty) = ndsi(&dirty) {
                assert!(dirty < clean - 0.25, "{region}: {dirty} {clean}");
            }
        }
        // Melting ice is no warmer than 0 degrees, and radar waves do not find it again.
        if let (Some(thermal), Some(coherence)) = (&tile.thermal, &tile.coherence)
            && let Some(warmth) = mean(thermal, clean)
        {
            assert!(warmth < 274.0, "{region}: {warmth}");
            let lost = mean(&coherence[0], clean).unwrap_or_default();
            assert!(lost < 0.45, "{region}: {lost}");
        }
    }
    assert!(seen > 11, "{seen}");
}

#[test]
fn tidewater_glaciers_meet_the_sea() {
    let mut region = region::all().swap_remove(10);
    region.styles.retain(|style, _| *style == region::Style::Tidewater);
    let mut touching = 0;
    for seed in 0..6 {
        let tile = Tile::generate(&region, 192, Some(30.0), &[], seed).expect("a tile");
        let sea: Vec<bool> = tile.water.iter().zip(&tile.elevation.metres).map(|(w, z)| *w && *z < 25.0).collect();
        assert!(sea.iter().filter(|s| **s).count() > 400, "{seed}");
        let near = |i: usize| {
            let (row, col) = (i / 192, i % 192);
            (row.saturating_sub(2)..(row + 3).min(192))
                .flat_map(|r| (col.saturating_sub(2)..(col + 3).min(192)).map(move |c| r * 192 + c))
                .any(|n| tile.glacier[n])
        };
        touching += usize::from((0..sea.len()).filter(|i| sea[*i] && near(*i)).count() > 5);
    }
    // In the others the ice ends on land: a tile of 192 pixels shows one or two glaciers.
    assert!(touching >= 3, "{touching} of 6");
}
