//! Rasters on other grids: values, gaps, edges, and the commands that use them.

mod program;

use std::path::Path;
use std::sync::Arc;

use glavitu::Result;
use glavitu::infer::scene::{Scene, SceneFiles, SceneOptions};
use glavitu::model::Feature;
use glavitu::raster::pixel_map::PixelMap;
use glavitu::raster::{
    Crs, Grid, Metadata, Quantity, RasterFile, Resampling, Source, TargetGrid, Warp, Window, slope_degrees,
    write_bands, write_floats,
};
use program::{Workplace, glavitu, shared};
use serde_json::Value;

fn grid(epsg: u32, width: usize, height: usize, transform: [f64; 6]) -> Grid {
    Grid { width, height, transform, crs: Some(Crs::from_epsg(epsg).expect("a registered code")) }
}

fn utm(width: usize, height: usize, size: f64) -> Grid {
    grid(32632, width, height, [size, 0.0, 4e5, 0.0, -size, 5.2e6])
}

/// Warps values in memory, whatever window is asked for.
fn warp(source: &Grid, values: &[f32], target: &Grid, method: Resampling, window: Window) -> Result<Vec<f32>> {
    Warp::new(source, target, method)?.read(window, |part| Ok(cut(source, values, part)))
}

fn cut(grid: &Grid, values: &[f32], window: Window) -> Vec<f32> {
    let lines = values.chunks_exact(grid.width).skip(window.row).take(window.height);
    lines.flat_map(|line| &line[window.col..window.col + window.width]).copied().collect()
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn single(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rasters are stored so")]
    let value = value as f32;
    value
}

#[test]
fn planes_stay_planes_through_projections() {
    // Bilinear values of a plane are exact, so all that is left is where pixels are thought to lie.
    let source = utm(300, 250, 30.0);
    let plane: Vec<f32> =
        (0..source.len()).map(|i| single((i % 300) as f64 + 0.5 + 2.0 * ((i / 300) as f64 + 0.5))).collect();
    for target in [
        grid(4326, 200, 150, [0.0003, 0.0, 7.70, 0.0, -0.00025, 46.94]),
        grid(3413, 150, 150, [30.0, 0.0, 3_891_400.0, 0.0, -30.0, -2_959_000.0]),
        grid(3035, 150, 150, [28.0, 7.0, 4_146_800.0, 6.0, -27.0, 2_647_120.0]),
    ] {
        let found = warp(&source, &plane, &target, Resampling::Bilinear, target.window()).expect("warped");
        let map = PixelMap::new(&target, &source).expect("known systems");
        let mut inside = 0;
        for (i, value) in found.iter().enumerate() {
            let (col, row) = ((i % target.width) as f64 + 0.5, (i / target.width) as f64 + 0.5);
            let (x, y) = map.exact(col, row).expect("on the map");
            let is_outside = !(0.0..300.0).contains(&x) || !(0.0..250.0).contains(&y);
            // The mesh may put what lies within its tolerance of an edge on either side.
            let is_edge = x < 1.0 || y < 1.0 || x > 299.0 || y > 249.0;
            if is_outside && !(-0.1..300.1).contains(&x) {
                assert!(value.is_nan(), "{x} {y}: {value}");
            } else if !is_edge {
                inside += 1;
                assert!((f64::from(*value) - (x + 2.0 * y)).abs() < 0.05, "{x} {y}: {value}");
            }
        }
        let name = target.crs.as_ref().map(|crs| crs.name.clone());
        assert!(inside > 1000, "{name:?}: {inside} pixels inside");
    }
}

#[test]
fn windows_give_what_the_whole_gives() {
    let source = utm(200, 180, 30.0);
    let values: Vec<f32> = (0..source.len())
        .map(|i| if i % 37 == 0 { f32::NAN } else { single(((i * 2_654_435_761) % 1000) as f64) })
        .collect();
    for target in [
        grid(4326, 160, 170, [0.0006, 0.0, 7.68, 0.0, -0.0004, 46.95]),
        grid(32632, 90, 80, [45.0, 20.0, 400_100.0, 20.0, -45.0, 5.199e6]),
        grid(32632, 25, 20, [240.0, 0.0, 400_100.0, 0.0, -240.0, 5.2e6]),
    ] {
        for method in [Resampling::Bilinear, Resampling::Nearest] {
            let whole = warp(&source, &values, &target, method, target.window()).expect("warped");
            assert!(whole.iter().any(|v| !v.is_nan()));
            let (height, width) = (target.height, target.width);
            for window in [
                Window { row: 0, col: 0, height: 1, width },
                Window { row: height / 3, col: width / 4, height: height / 2, width: width / 3 },
                Window { row: height - 1, col: width - 1, height: 1, width: 1 },
            ] {
                let part = warp(&source, &values, &target, method, window).expect("warped");
                assert!(same(&part, &cut(&target, &whole, window)), "{window:?}");
            }
            let beyond = Window { row: 0, col: 1, height: 1, width };
            assert!(warp(&source, &values, &target, method, beyond).is_err());
        }
    }
}

#[test]
fn gaps_neither_spread_nor_darken() {
    let source = utm(40, 40, 30.0);
    let mut values = vec![7.0_f32; source.len()];
    values[20 * 40 + 20] = f32::NAN;
    // A third of a pixel to the east and south: one pixel's centre falls on the gap, its neighbours see part of it.
    let mut target = source.clone();
    (target.transform[2], target.transform[5]) = (4e5 + 10.0, 5.2e6 - 10.0);
    let found = warp(&source, &values, &target, Resampling::Bilinear, target.window()).expect("warped");
    let gaps: Vec<usize> = found.iter().enumerate().filter(|(_, v)| v.is_nan()).map(|(i, _)| i).collect();
    assert_eq!(gaps, [20 * 40 + 20]);
    assert!(found.iter().all(|v| v.is_nan() || (*v - 7.0).abs() < 1e-6));
    // What reaches beyond the source has no data there, and keeps its value up to the edge.
    target.transform[2] = 4e5 + 20.0 * 30.0 + 12.0;
    let found = warp(&source, &values, &target, Resampling::Bilinear, target.window()).expect("warped");
    assert!(found[..20].iter().all(|v| (*v - 7.0).abs() < 1e-6) && found[20..40].iter().all(|v| v.is_nan()));
}

#[test]
fn finer_rasters_are_averaged() {
    let source = utm(200, 200, 10.0);
    // Stripes of one pixel: picking gives 0 or 1, averaging a half.
    let stripes: Vec<f32> = (0..source.len()).map(|i| if (i % 200) % 2 == 0 { 0.0 } else { 1.0 }).collect();
    for size in [30.0, 40.0, 100.0] {
        let target = utm(15, 15, size);
        let found = warp(&source, &stripes, &target, Resampling::Bilinear, target.window()).expect("warped");
        // Triangles over three pixels to either side weigh one kind more: (1 + 2 * 1/3) to (2 * 2/3), so 4/9.
        let allowed = if size == 30.0 { 0.06 } else { 1e-6 };
        for row in 2..13 {
            for col in 2..13 {
                let value = found[row * 15 + col];
                assert!((value - 0.5).abs() < allowed, "{size}: {value}");
            }
        }
    }
    let kilometres = utm(2, 2, 100_000.0);
    assert!(Warp::new(&source, &kilometres, Resampling::Bilinear).is_err());
}

#[test]
fn whole_pixels_are_moved_as_they_are() {
    let source = utm(30, 20, 30.0);
    let values: Vec<f32> = (0..source.len()).map(|i| single(i as f64) * 0.1).collect();
    let mut target = utm(25, 30, 30.0);
    (target.transform[2], target.transform[5]) = (4e5 + 10.0 * 30.0, 5.2e6 + 5.0 * 30.0);
    let warp = Warp::new(&source, &target, Resampling::Bilinear).expect("one system");
    assert!(warp.keeps_values() && warp.overlaps());
    let found = warp.read(target.window(), |part| Ok(cut(&source, &values, part))).expect("read");
    for row in 0..30 {
        for col in 0..25 {
            let value = found[row * 25 + col];
            if (5..25).contains(&row) && col < 20 {
                assert_eq!(value, values[(row - 5) * 30 + col + 10]);
            } else {
                assert!(value.is_nan());
            }
        }
    }
}

#[test]
fn the_antimeridian_is_no_edge() {
    // UTM zone 60 reaches across it; the source's longitudes run on beyond 180.
    let source = grid(4326, 400, 100, [0.01, 0.0, 178.0, 0.0, -0.01, 1.0]);
    let plane: Vec<f32> = (0..source.len()).map(|i| single((i % 400) as f64)).collect();
    let target = grid(32660, 60, 10, [2000.0, 0.0, 780_000.0, 0.0, -2000.0, 60_000.0]);
    let found = warp(&source, &plane, &target, Resampling::Bilinear, target.window()).expect("warped");
    assert!(found.iter().all(|v| !v.is_nan()));
    assert!(found[..60].windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] < 3.0), "{:?}", &found[..60]);
}

#[test]
fn threads_share_scenes() {
    fn shared<T: Send + Sync>() {}
    shared::<Scene>();
    shared::<Warp>();
}

#[test]
fn scenes_of_many_grids() -> Result<()> {
    let place = Workplace::new();
    place.scene("scene", 96);
    let open = |name: &str| RasterFile::open(place.path(name));
    let optical = open("scene/optical.tif")?;
    let elevation = open("scene/elevation.tif")?;
    // The elevation in degrees; two optical bands at 60 m.
    let heights = elevation.read_window(0, elevation.grid().window())?;
    let degrees = TargetGrid::parse("EPSG:4326@0.0002")?.resolve((elevation.path(), elevation.grid()), None)?;
    let in_degrees = warp(elevation.grid(), &heights, &degrees, Resampling::Bilinear, degrees.window())?;
    write_floats(place.path("dem.tif"), &degrees, &in_degrees, &Metadata::default())?;
    let t = optical.grid().transform;
    let coarse = Grid {
        width: 48,
        height: 48,
        transform: [2.0 * t[0], 0.0, t[2], 0.0, 2.0 * t[4], t[5]],
        crs: optical.grid().crs.clone(),
    };
    let mut bands = Vec::new();
    for band in 0..6 {
        let values = optical.read_window(band, optical.grid().window())?;
        let path = place.path(&format!("B{band}.tif"));
        if band < 4 {
            write_floats(&path, optical.grid(), &values, &Metadata::default())?;
        } else {
            let values = warp(optical.grid(), &values, &coarse, Resampling::Bilinear, coarse.window())?;
            write_floats(&path, &coarse, &values, &Metadata::default())?;
        }
        bands.push(path);
    }
    // The coarse bands first: the grid is still that of the fine ones.
    let files = SceneFiles { optical: bands, elevation: Some(place.path("dem.tif")), ..SceneFiles::default() };
    let scene = Scene::open(&files, &[Feature::Optical, Feature::Dem], None)?;
    assert_eq!(scene.grid(), optical.grid());
    let whole = scene.read(scene.grid().window())?;
    let channel = |feature, number| whole.channel(feature, number).expect("a channel");
    assert!(same(channel(Feature::Optical, 1), &optical.read_window(1, optical.grid().window())?));
    let swir = optical.read_window(4, optical.grid().window())?;
    let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    assert!((mean(channel(Feature::Optical, 4)) - mean(&swir)).abs() < 0.01);
    let slope = slope_degrees(&heights, optical.grid())?;
    let mut worst = [0.0_f32; 2];
    for row in 4..92 {
        for col in 4..92 {
            let i = row * 96 + col;
            worst[0] = worst[0].max((channel(Feature::Dem, 0)[i] - heights[i]).abs());
            worst[1] = worst[1].max((channel(Feature::Dem, 1)[i] - slope[i]).abs());
        }
    }
    println!("elevation and slope there and back: {worst:?}");
    assert!(worst[0] < 15.0 && worst[1] < 25.0, "{worst:?}");

    let to = |grid: &str| SceneOptions { grid: TargetGrid::parse(grid).ok(), ..SceneOptions::default() };
    let scene = Scene::open_with(&files, &[Feature::Optical, Feature::Dem], &to("EPSG:3413@40"))?;
    assert_eq!(scene.grid().crs.as_ref().and_then(|crs| crs.epsg), Some(3413));
    let whole = scene.read(scene.grid().window())?;
    let valid = whole.valid().iter().filter(|valid| **valid).count();
    // 96 x 96 pixels of 30 m, turned and scaled.
    assert!(valid > 3000 && valid < whole.valid().len(), "{valid} of {}", whole.valid().len());
    Ok(())
}

#[test]
fn decibels_are_made_linear_before_they_are_mixed() -> Result<()> {
    let place = Workplace::new();
    let source = utm(20, 20, 10.0);
    let decibels: Vec<f32> = (0..400).map(|i| if (i % 20) % 2 == 0 { 0.0 } else { -20.0 }).collect();
    write_floats(place.path("sar.tif"), &source, &decibels, &Metadata::default())?;
    let file = Arc::new(RasterFile::open(place.path("sar.tif"))?);
    let target = utm(5, 5, 40.0);
    let change = Arc::new(Warp::new(&source, &target, Resampling::Bilinear)?);
    let read = Source::new(file, source, 0, Quantity::Decibels).warped(change).read(target.window())?;
    assert!((read[12] - 0.505).abs() < 1e-5, "{}", read[12]);
    Ok(())
}

#[test]
fn the_command() {
    let place = Workplace::new();
    let source = utm(60, 50, 30.0);
    let classes: Vec<f32> = (0..source.len()).map(|i| f32::from(u8::from(i % 60 > 30))).collect();
    write_bands(place.at("in.tif"), &source, &[("class", &classes), ("other", &classes)], &[]).expect("written");
    let run = |more: &[&str]| {
        let mut args = vec!["warp".to_owned(), place.at("in.tif"), "-o".into(), place.at("out.tif")];
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        glavitu(&args)
    };
    let done = run(&["--grid", "EPSG:4326@0.0003", "--method", "nearest", "--json"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let report: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!((report["epsg"].as_u64(), report["bands"].as_u64()), (Some(4326), Some(2)));
    let out = RasterFile::open(place.path("out.tif")).expect("a raster");
    let values = out.read_window(1, out.grid().window()).expect("its pixels");
    assert!(values.iter().all(|v| v.is_nan() || *v == 0.0 || *v == 1.0));
    let known = values.iter().filter(|v| !v.is_nan()).count();
    assert!((known as f64 / values.len() as f64 - report["data_share"].as_f64().expect("a number")).abs() < 1e-9);
    assert!(known * 10 > values.len() * 8);
    // Onto its own grid, nothing changes.
    let done = run(&["--grid", &place.at("in.tif")]);
    assert_eq!((done.code, done.out.lines().count()), (Some(0), 1), "{}", done.err);
    let out = RasterFile::open(place.path("out.tif")).expect("a raster");
    assert!(same(&out.read_window(0, out.grid().window()).expect("its pixels"), &classes));

    let refused = |more: &[&str], part: &str| {
        let before = std::fs::read(place.path("out.tif")).ok();
        let done = run(more);
        assert_eq!((done.code, done.out.as_str(), done.err.lines().count()), (Some(2), "", 1), "{}", done.err);
        assert!(done.err.contains(part), "no '{part}' in {}", done.err);
        assert_eq!(before, std::fs::read(place.path("out.tif")).ok());
    };
    refused(&["--grid", "EPSG:4326@-1"], "pixel size");
    refused(&["--grid", "EPSG:4326@1e-9"], "larger");
    refused(&["--grid", "EPSG:32632@30@0,0,300,300"], "another place");
    refused(&["--grid", &place.at("missing.tif")], "missing.tif");
    refused(&["--grid", "EPSG:32632@100000"], "finer target grid");
    write_floats(place.at("in.tif"), &Grid { crs: None, ..source }, &classes, &Metadata::default()).expect("written");
    refused(&["--grid", "EPSG:4326@0.001"], "--assume-crs");
}

#[test]
fn published_slope_through_a_source() -> Result<()> {
    let Some(folder) = shared() else { return Ok(()) };
    let open = |name: &str| RasterFile::open(Path::new(&folder).join("data/terrain").join(name));
    let file = Arc::new(open("corbassiere_elevation.tif")?);
    let published = open("corbassiere_slope.tif")?;
    let grid = file.grid().clone();
    let source = Source::new(file, grid.clone(), 0, Quantity::Slope);
    let window = Window { row: 3, col: 2, height: grid.height - 7, width: grid.width - 5 };
    let worst = source.read(window)?.into_iter().zip(published.read_window(0, window)?).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, f32::max);
    assert!(worst < 1e-3, "{worst}");
    Ok(())
}
