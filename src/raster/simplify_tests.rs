use proptest::prelude::*;

use super::*;
use crate::raster::polygons::Regions;

const FLAT: (f64, f64) = (1.0, 1.0);

fn as_map(polygon: &Polygon<u32>, size: f64) -> Polygon<f64> {
    let ring =
        |ring: &Ring<u32>| ring.iter().map(|&(x, y)| (5e5 + size * f64::from(x), 6e6 - size * f64::from(y))).collect();
    Polygon { exterior: ring(&polygon.exterior), holes: polygon.holes.iter().map(ring).collect() }
}

/// The polygons of all classes, as a coverage.
fn coverage(classes: &[u8], width: usize) -> Vec<Polygon<u32>> {
    let mut all = Vec::new();
    for class in 0..4 {
        all.extend(Regions::find(classes, width, classes.len() / width, class).expect("the shape is right").polygons);
    }
    add_junctions(&mut all);
    all
}

fn area(ring: &Ring<f64>) -> f64 {
    let (ox, oy) = ring[0];
    ring.windows(2).map(|e| (e[0].0 - ox) * (e[1].1 - oy) - (e[1].0 - ox) * (e[0].1 - oy)).sum::<f64>() / 2.0
}

/// Every edge of every ring, once, and how often it is there.
fn edges(polygons: &[Polygon<f64>]) -> Vec<((Place, Place), usize)> {
    let mut all = HashMap::new();
    for e in polygons.iter().flat_map(Polygon::rings).flat_map(|ring| ring.windows(2)) {
        let key = |p: Place| [p.0.to_bits(), p.1.to_bits()];
        let (a, b) = if key(e[0]) < key(e[1]) { (e[0], e[1]) } else { (e[1], e[0]) };
        all.entry((key(a), key(b))).or_insert(((a, b), 0)).1 += 1;
    }
    all.into_values().collect()
}

fn side_of(a: Place, b: Place, p: Place) -> i8 {
    let turn = turn(a, b, p);
    if turn.abs() < 1e-6 {
        0
    } else if turn > 0.0 {
        1
    } else {
        -1
    }
}

/// Whether two edges meet elsewhere than in a common end.
fn meet((a, b): (Place, Place), (c, d): (Place, Place)) -> bool {
    let on = |p: Place, (a, b): (Place, Place)| p != a && p != b && square_distance(p, a, b) < 1e-9;
    on(a, (c, d))
        || on(b, (c, d))
        || on(c, (a, b))
        || on(d, (a, b))
        || (side_of(a, b, c) * side_of(a, b, d) < 0 && side_of(c, d, a) * side_of(c, d, b) < 0)
}

/// What must hold of simplified polygons.
fn check(before: &[Polygon<f64>], after: &[Polygon<f64>], tolerance: f64) {
    let edges = edges(after);
    for (i, a) in edges.iter().enumerate() {
        for b in &edges[i + 1..] {
            assert!(!meet(a.0, b.0), "{a:?} {b:?}");
        }
    }
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.holes.len(), after.holes.len());
        for (old, new) in before.rings().zip(after.rings()) {
            assert!(new.len() >= 4 && new.first() == new.last());
            assert!(area(old) * area(new) > 0.0, "a ring turned over");
            for &p in old {
                let nearest = new.windows(2).map(|e| square_distance(p, e[0], e[1])).fold(f64::INFINITY, f64::min);
                assert!(nearest.sqrt() <= tolerance * (1.0 + 1e-6), "moved by {}", nearest.sqrt());
            }
        }
    }
}

/// In the simplified coverage of a whole raster, only edges of the outer rim have one side.
fn check_flush(after: &[Polygon<f64>], width: usize, height: usize) {
    let east = 5e5 + 10.0 * f64::from(u32::try_from(width).expect("small"));
    let south = 6e6 - 10.0 * f64::from(u32::try_from(height).expect("small"));
    let is_rim = |p: Place| p.0 == 5e5 || p.0 == east || p.1 == 6e6 || p.1 == south;
    for ((a, b), sides) in edges(after) {
        assert!(sides == 2 || (sides == 1 && is_rim(a) && is_rim(b)), "{a:?} {b:?} {sides}");
    }
}

fn simplified(classes: &[u8], width: usize, tolerance: f64) -> (Vec<Polygon<f64>>, Vec<Polygon<f64>>) {
    let before: Vec<Polygon<f64>> = coverage(classes, width).iter().map(|p| as_map(p, 10.0)).collect();
    let mut after = before.clone();
    simplify(&mut after, tolerance, FLAT).expect("finite");
    check(&before, &after, tolerance);
    check_flush(&after, width, classes.len() / width);
    (before, after)
}

#[test]
fn a_staircase_becomes_a_slope() {
    let width = 40;
    let classes: Vec<u8> = (0..width * width).map(|i| u8::from(i % width > i / width)).collect();
    let (before, after) = simplified(&classes, width, 10.0);
    assert!(before[1].exterior.len() > 70);
    // Two corners of the scene, and few along the slope.
    assert!(after[1].exterior.len() < 8, "{:?}", after[1].exterior);
    // Both sides of the slope have its vertices.
    let shared = edges(&after).iter().filter(|edge| edge.1 == 2).count();
    assert!(shared > 0 && shared < 6);
}

#[test]
fn junctions_are_added_and_stay() {
    // Two squares below one rectangle.
    let mut polygons = coverage(&[0, 0, 1, 2], 2);
    assert!(polygons.iter().all(|p| p.exterior.contains(&(1, 1))));
    assert_eq!(polygons[0].exterior.len(), 6);
    let mut map: Vec<Polygon<f64>> = polygons.drain(..).map(|p| as_map(&p, 10.0)).collect();
    simplify(&mut map, 1.0, FLAT).expect("finite");
    // The middle of the southern rim is a node of three edges too.
    assert_eq!(map.iter().map(|p| p.exterior.len()).collect::<Vec<_>>(), [6, 5, 5]);
}

#[test]
fn rings_keep_three_vertices() {
    let (_, after) = simplified(&[0, 0, 0, 0, 1, 0, 0, 0, 0], 3, 1e6);
    assert!(after.iter().flat_map(Polygon::rings).all(|ring| ring.len() >= 4));
    assert_eq!(after[0].holes.len(), 1);
}

#[test]
fn degrees_are_measured_in_metres() {
    let polygon =
        |y: f64| Polygon { exterior: vec![(0.0, 0.0), (1.0, y), (2.0, 0.0), (1.0, -3.0), (0.0, 0.0)], holes: vec![] };
    let mut low = [polygon(0.1)];
    simplify(&mut low, 11.0, (60.0, 110.0)).expect("finite");
    assert_eq!(low[0].exterior.len(), 4);
    let mut high = [polygon(0.2)];
    simplify(&mut high, 11.0, (60.0, 110.0)).expect("finite");
    assert_eq!(high[0].exterior.len(), 5);
}

#[test]
fn what_cannot_be_simplified_is_refused() {
    let mut polygons = [Polygon { exterior: vec![(0.0, 0.0), (1.0, 0.0), (f64::NAN, 1.0), (0.0, 0.0)], holes: vec![] }];
    assert!(simplify(&mut polygons, 1.0, FLAT).is_err());
    assert!(simplify(&mut [], f64::NAN, FLAT).is_err());
    assert!(simplify(&mut [], -1.0, FLAT).is_err());
    let mut empty = [Polygon { exterior: vec![], holes: vec![vec![(1.0, 1.0)]] }];
    simplify(&mut empty, 1.0, FLAT).expect("nothing to do");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn coverages_stay_valid(
        width in 1usize..14,
        classes in prop::collection::vec(0u8..4, 1..150),
        fewer in 1u8..5,
        tolerance in 1.0f64..80.0,
    ) {
        let height = classes.len() / width;
        let classes: Vec<u8> = classes[..width * height].iter().map(|class| class % fewer).collect();
        simplified(&classes, width, tolerance);
    }
}
