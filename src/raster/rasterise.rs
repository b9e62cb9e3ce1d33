//! Polygons to pixels.
//!
//! A pixel belongs to a shape if its centre lies inside, by the even-odd rule: a ray from the centre crosses the rings an odd number of
//! times. So holes may be given as rings of any direction. Neighbours that share a boundary never share a pixel: a centre exactly on it goes to
//! one side (in row order, a shape owns its upper and its right-hand boundary).
//!
//! Every crossing of a row's centre line flips all pixels whose centres lie to its right; crossings are marked first, and one pass along each row turns
//! the marks into inside and outside. Time is O(rows crossed by the edges + pixels of the bounding box).

use crate::raster::polygons::Ring;

/// Sets the pixels whose centres lie inside `rings`; others stay as they are, so that shapes burnt one after the other are united.
///
/// Vertices are pixel positions (column, row), (0, 0) being the outer corner of the first pixel, with rows counted downwards; where they are not finite, the result is not
/// defined.
/// Rings are closed whether or not the first vertex is repeated. `mask` has rows of `width` pixels; what lies beside it is ignored.
pub fn burn(rings: &[Ring<f64>], width: usize, mask: &mut [bool]) {
    burn_rows(rings, width, 0, mask);
}

/// [`burn`] for some rows of a raster: `mask` begins at its row number `start`. The pixels are those of the whole, bit for bit.
pub fn burn_rows(rings: &[Ring<f64>], width: usize, start: usize, mask: &mut [bool]) {
    if width == 0 {
        return;
    }
    let height = start.saturating_add(mask.len() / width);
    let all = || rings.iter().flatten();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = range(&mut all().map(|vertex| vertex.0));
    let (top, bottom) = range(&mut all().map(|vertex| vertex.1));
    // No centre lies further left than the first column after the smallest x, and so on.
    let (first_col, end_col) = (first_centre(left, width), first_centre(right, width));
    let (first_row, end_row) = (first_centre(top, height).max(start), first_centre(bottom, height));
    // A centre on the right-hand boundary belongs to the shape, so the last column is one more where it is there.
    let end_col = (end_col + 1).min(width);
    if first_col >= end_col || first_row >= end_row {
        return;
    }
    let wide = end_col - first_col;
    let mut flips = vec![false; wide * (end_row - first_row)];
    for ring in rings {
        let Some(&last) = ring.last() else { continue };
        let mut from = last;
        for &to in ring {
            let (upper, lower) = if from.1 < to.1 { (from, to) } else { (to, from) };
            // Half open: a vertex on a centre line counts for the edge below it only. Level edges cross nothing.
            // The bounds matter for vertices that are not finite only.
            for row in first_centre(upper.1, height).max(first_row)..first_centre(lower.1, height).min(end_row) {
                let t = (row as f64 + 0.5 - upper.1) / (lower.1 - upper.1);
                let x = upper.0 + t * (lower.0 - upper.0);
                let col = centre_after(x, width).max(first_col);
                if col < end_col {
                    let flip = &mut flips[(row - first_row) * wide + col - first_col];
                    *flip = !*flip;
                }
            }
            from = to;
        }
    }
    for (flips, row) in flips.chunks_exact(wide).zip(first_row..) {
        let mut inside = false;
        let line = (row - start) * width;
        for (pixel, flip) in mask[line + first_col..line + end_col].iter_mut().zip(flips) {
            inside ^= flip;
            *pixel |= inside;
        }
    }
}

/// The first of `count` pixels whose centre is not before `position`; `count` if there is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the raster first")]
fn first_centre(position: f64, count: usize) -> usize {
    (position - 0.5).ceil().clamp(0.0, count as f64) as usize
}

/// The first of `count` pixels whose centre is after `position`; `count` if there is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the raster first")]
fn centre_after(position: f64, count: usize) -> usize {
    ((position - 0.5).floor() + 1.0).clamp(0.0, count as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The burnt mask as text, a row per line.
    fn picture(rings: &[Ring<f64>], width: usize, height: usize) -> String {
        let mut mask = vec![false; width * height];
        burn(rings, width, &mut mask);
        let rows = mask.chunks_exact(width);
        rows.map(|row| row.iter().map(|p| if *p { '#' } else { '.' }).collect::<String>())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Ring<f64> {
        vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    }

    #[test]
    fn by_hand() {
        // The centre decides, not the area: 0.6 to 2.4 covers the centre 1.5 only.
        assert_eq!(picture(&[rectangle(0.6, 0.4, 2.4, 1.6)], 4, 3), ".#..\n.#..\n....");
        assert_eq!(picture(&[rectangle(0.4, 0.4, 2.6, 1.4)], 4, 3), "###.\n....\n....");
        // Between all centres.
        assert_eq!(picture(&[rectangle(0.6, 0.6, 1.4, 1.4)], 4, 3), "....\n....\n....");
        let triangle = vec![(0.0, 0.0), (4.0, 4.0), (0.0, 4.0)];
        assert_eq!(picture(&[triangle], 4, 4), "#...\n##..\n###.\n####");
        // Holes, in either direction; an island in the hole.
        let mut hole = rectangle(1.0, 1.0, 4.0, 4.0);
        let outer = rectangle(0.0, 0.0, 5.0, 5.0);
        let island = rectangle(2.0, 2.0, 3.0, 3.0);
        let expected = "#####\n#...#\n#.#.#\n#...#\n#####";
        assert_eq!(picture(&[outer.clone(), hole.clone(), island.clone()], 5, 5), expected);
        hole.reverse();
        assert_eq!(picture(&[outer, hole, island], 5, 5), expected);
    }

    #[test]
    fn beside_and_around_the_raster() {
        let all = "###\n###";
        assert_eq!(picture(&[rectangle(-1e9, -1e9, 1e9, 1e9)], 3, 2), all);
        assert_eq!(picture(&[rectangle(-5.0, -5.0, 1.0, 1.0)], 3, 2), "#..\n...");
        assert_eq!(picture(&[rectangle(2.0, 1.0, 50.0, 50.0)], 3, 2), "...\n..#");
        for (x, y) in [(-9.0, 0.0), (9.0, 0.0), (0.0, -9.0), (0.0, 9.0)] {
            assert_eq!(picture(&[rectangle(x, y, x + 3.0, y + 3.0)], 3, 2), "...\n...", "{x} {y}");
        }
        assert_eq!(picture(&[vec![], vec![(1.0, 1.0)]], 3, 2), "...\n...");
        burn(&[rectangle(0.0, 0.0, 1.0, 1.0)], 0, &mut []);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            let _ = picture(&[vec![(1.0, 1.2), (2.0, odd), (odd, 1.8), (0.0, 1.9)]], 3, 2);
        }
    }

    #[test]
    fn a_centre_on_a_boundary_has_one_owner() {
        // Boundaries run through the centres at 1.5.
        let parts = [
            rectangle(0.0, 0.0, 1.5, 1.5),
            rectangle(1.5, 0.0, 3.0, 1.5),
            rectangle(0.0, 1.5, 1.5, 3.0),
            rectangle(1.5, 1.5, 3.0, 3.0),
        ];
        let mut owners = [0; 9];
        for part in &parts {
            let mut mask = [false; 9];
            burn(std::slice::from_ref(part), 3, &mut mask);
            owners.iter_mut().zip(mask).for_each(|(count, inside)| *count += u8::from(inside));
        }
        assert_eq!(owners, [1; 9]);
    }

    #[test]
    fn shapes_unite() {
        let mut mask = [false; 12];
        burn(&[rectangle(0.0, 0.0, 3.0, 2.0)], 4, &mut mask);
        burn(&[rectangle(1.0, 1.0, 4.0, 3.0)], 4, &mut mask);
        assert_eq!(mask.iter().filter(|inside| **inside).count(), 10);
    }

    #[test]
    fn every_pixel_as_a_point_in_polygon_test_says() {
        // A star of 40 corners with pseudo-random radii.
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        for _ in 0..20 {
            let ring: Ring<f64> = (0..40)
                .map(|i| {
                    let (angle, radius) = (f64::from(i) * std::f64::consts::TAU / 40.0, 3.0 + 14.0 * random());
                    (16.3 + radius * angle.cos(), 13.7 + radius * angle.sin())
                })
                .collect();
            let mut mask = vec![false; 31 * 29];
            burn(std::slice::from_ref(&ring), 31, &mut mask);
            for (i, inside) in mask.iter().enumerate() {
                let (x, y) = ((i % 31) as f64 + 0.5, (i / 31) as f64 + 0.5);
                // Winding by angles: an independent way to tell.
                let turns: f64 = (0..40)
                    .map(|k| {
                        let (a, b) = (ring[k], ring[(k + 1) % 40]);
                        let (ax, ay, bx, by) = (a.0 - x, a.1 - y, b.0 - x, b.1 - y);
                        (ax * by - ay * bx).atan2(ax * bx + ay * by)
                    })
                    .sum();
                assert_eq!(*inside, turns.abs() > 3.0, "{x} {y}");
            }
            // In bands of rows, the last of them short.
            let mut bands = vec![false; mask.len()];
            for (band, start) in bands.chunks_mut(31 * 4).zip((0..).step_by(4)) {
                burn_rows(std::slice::from_ref(&ring), 31, start, band);
            }
            assert!(bands == mask);
        }
    }
}
