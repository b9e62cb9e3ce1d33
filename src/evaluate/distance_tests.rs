use proptest::prelude::*;

use super::*;
use crate::raster::polygons::Ring;

fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Ring<f64> {
    vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
}

fn circle(radius: f64, corners: u32) -> Ring<f64> {
    let at = |i: u32| {
        let angle = std::f64::consts::TAU * f64::from(i % corners) / f64::from(corners);
        (radius * angle.cos(), radius * angle.sin())
    };
    (0..=corners).map(at).collect()
}

fn boundary(exterior: Ring<f64>, holes: Vec<Ring<f64>>) -> Boundary {
    Boundary::new(&[Polygon { exterior, holes }]).expect("edges")
}

fn measured(a: &Boundary, b: &Boundary) -> Distances {
    distances(a, b, 0.5).expect("edges")
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
}

#[test]
fn the_same_outline() {
    let a = boundary(rectangle(0.0, 0.0, 40.0, 30.0), vec![rectangle(10.0, 10.0, 20.0, 20.0)]);
    let found = measured(&a, &a.clone());
    for value in [found.mean_m, found.median_m, found.rms_m, found.percentile_95_m, found.hausdorff_m, found.polis_m] {
        close(value, 0.0, 1e-12);
    }
    close(a.length(), 180.0, 1e-12);
    assert!(Boundary::new(&[]).is_none());
    assert!(Boundary::new(&[Polygon { exterior: vec![(1.0, 1.0); 4], holes: vec![] }]).is_none());
}

#[test]
fn a_square_within_a_square() {
    // 100 m a side, and 10 m wider all around.
    let inner = boundary(rectangle(0.0, 0.0, 100.0, 100.0), vec![]);
    let outer = boundary(rectangle(-10.0, -10.0, 110.0, 110.0), vec![]);
    let found = distances(&inner, &outer, 0.05).expect("edges");
    close(found.hausdorff_m, 10.0 * 2.0_f64.sqrt(), 1e-9);
    // All 400 m of the inner one, and 400 m of the outer one, are 10 m apart; 80 m at the corners lie between 10 and 14.14 m: the mean of
    // sqrt(10^2 + s^2) over 0..10 is 5 (sqrt 2 + asinh 1).
    let corner = 5.0 * (2.0_f64.sqrt() + 1.0_f64.asinh());
    close(found.mean_m, (800.0 * 10.0 + 80.0 * corner) / 880.0, 1e-4);
    close(found.median_m, 10.0, 1e-12);
    // Squares: 100 + s^2, whose mean is 100 + 100 / 3.
    close(found.rms_m, ((800.0 * 100.0 + 80.0 * (100.0 + 100.0 / 3.0)) / 880.0_f64).sqrt(), 1e-4);
    // 44 of 80 m at the corners are beyond it: s = 10 * 36 / 80.
    // Points are 0.05 m apart, and s changes it by 0.41 m per metre there.
    close(found.percentile_95_m, (100.0_f64 + 4.5 * 4.5).sqrt(), 0.41 * 0.05);
    // Vertices: 10 m from the inner ones, 14.14 m from the outer ones.
    close(found.polis_m, (10.0 + 10.0 * 2.0_f64.sqrt()) / 2.0, 1e-12);
}

#[test]
fn concentric_circles() {
    let (small, large) = (boundary(circle(100.0, 3600), vec![]), boundary(circle(130.0, 3600), vec![]));
    let found = measured(&small, &large);
    // Polygons of 3600 corners are at most 130 (1 - cos 0.05 degrees) = 5e-5 m inside their circles.
    for value in [found.mean_m, found.median_m, found.rms_m, found.percentile_95_m, found.hausdorff_m, found.polis_m] {
        close(value, 30.0, 1e-4);
    }
    assert!(found.hausdorff_m >= found.percentile_95_m && found.rms_m >= found.mean_m - 1e-9);
}

#[test]
fn a_hole_counts() {
    let whole = boundary(rectangle(0.0, 0.0, 100.0, 100.0), vec![]);
    let hollow = boundary(rectangle(0.0, 0.0, 100.0, 100.0), vec![rectangle(40.0, 40.0, 60.0, 60.0)]);
    let found = measured(&whole, &hollow);
    close(found.hausdorff_m, 40.0, 1e-9);
    // 80 of 880 m are 40 m away.
    close(found.mean_m, 80.0 * 40.0 / 880.0, 1e-9);
    close(found.percentile_95_m, 40.0, 1e-12);
    assert_eq!(found.median_m, 0.0);
    close(found.polis_m, 40.0 * 4.0 / 8.0 / 2.0, 1e-12);
}

#[test]
fn farthest_within_an_edge() {
    // A long edge above two triangles: it is farthest from them in the middle between their tips, where it has no vertex.
    let bar = boundary(rectangle(0.0, 0.0, 100.0, 1000.0), vec![]);
    let comb = boundary(
        vec![(0.0, 0.0), (0.0, -5.0), (100.0, -5.0), (100.0, 0.0), (60.0, -4.0), (40.0, -4.0), (0.0, 0.0)],
        vec![],
    );
    let down = Measured::between(&bar, &comb, 1000.0).hausdorff;
    close(down, 50.0_f64.hypot(1000.0), 1e-6);
    let bar = boundary(rectangle(0.0, 0.0, 100.0, 1.0), vec![]);
    let posts = Boundary::new(&[
        Polygon { exterior: rectangle(-1.0, -1.0, 0.0, 2.0), holes: vec![] },
        Polygon { exterior: rectangle(100.0, -1.0, 101.0, 2.0), holes: vec![] },
    ])
    .expect("edges");
    // The middle of the bar is 50 m from both posts; all its vertices touch one.
    close(measured(&bar, &posts).hausdorff_m, 50.0, 1e-6);
    // Not halfway along the edge.
    let uneven = Boundary::new(&[
        Polygon { exterior: rectangle(-1.0, -1.0, 0.0, 2.0), holes: vec![] },
        Polygon { exterior: rectangle(37.3, -1.0, 37.4, 2.0), holes: vec![] },
        Polygon { exterior: rectangle(100.0, -1.0, 101.0, 2.0), holes: vec![] },
    ])
    .expect("edges");
    close(measured(&bar, &uneven).hausdorff_m, (100.0 - 37.4) / 2.0, 1e-6);
}

#[test]
fn pairs_are_pooled() {
    let (a, b) = (boundary(rectangle(0.0, 0.0, 10.0, 10.0), vec![]), boundary(rectangle(0.0, 0.0, 10.0, 12.0), vec![]));
    let mut twice = Measured::between(&a, &b, 1.0);
    let once = twice.clone().distances();
    twice.merge(&Measured::between(&a, &b, 1.0));
    let (once, twice) = (once.expect("edges"), twice.distances().expect("edges"));
    close(once.mean_m, twice.mean_m, 1e-12);
    close(once.polis_m, twice.polis_m, 1e-12);
    assert_eq!((once.median_m, once.hausdorff_m), (twice.median_m, twice.hausdorff_m));
    assert!(Measured::default().distances().is_none());
}

fn ring(points: Vec<(f64, f64)>) -> Ring<f64> {
    let mut ring = points;
    ring.extend(ring.first().copied());
    ring
}

proptest! {
    #[test]
    fn order_and_size(
        a in prop::collection::vec((-50.0..50.0_f64, -50.0..50.0_f64), 3..12),
        b in prop::collection::vec((-50.0..50.0_f64, -50.0..50.0_f64), 3..12),
    ) {
        let (a, b) = (boundary(ring(a), vec![]), boundary(ring(b), vec![]));
        let (found, back) = (measured(&a, &b), measured(&b, &a));
        prop_assert!((found.mean_m - back.mean_m).abs() < 1e-9 && (found.polis_m - back.polis_m).abs() < 1e-9);
        prop_assert!((found.hausdorff_m - back.hausdorff_m).abs() < 2.0 * TOLERANCE_M);
        prop_assert!(found.median_m <= found.percentile_95_m && found.mean_m <= found.rms_m + 1e-12);
        prop_assert!(found.percentile_95_m <= found.hausdorff_m + TOLERANCE_M && found.rms_m <= found.hausdorff_m + TOLERANCE_M);
        // No point of either boundary is farther, and one is nearly as far.
        let mut largest = 0.0_f64;
        for (from, to) in [(&a, &b), (&b, &a)] {
            for edge in &from.segments {
                for step in 0..=1000 {
                    largest = largest.max(to.index.nearest(edge.at(f64::from(step) / 1000.0)).distance);
                }
            }
        }
        prop_assert!(largest <= found.hausdorff_m + TOLERANCE_M, "{largest} {}", found.hausdorff_m);
        prop_assert!(found.hausdorff_m <= largest + 0.15, "{largest} {}", found.hausdorff_m);
    }
}
