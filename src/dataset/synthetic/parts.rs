//! Connected parts of a mask.

/// The 4-connected parts of a square mask, each as its pixels, in the order of their first pixel.
pub(super) fn connected(mask: &[bool], side: usize) -> Vec<Vec<u32>> {
    let mut seen = vec![false; mask.len()];
    let mut parts = Vec::new();
    let mut next: Vec<usize> = Vec::new();
    for first in 0..mask.len() {
        if !mask[first] || seen[first] {
            continue;
        }
        seen[first] = true;
        next.push(first);
        let mut part = Vec::new();
        while let Some(pixel) = next.pop() {
            #[expect(clippy::cast_possible_truncation, reason = "squares have fewer than 2^32 pixels")]
            part.push(pixel as u32);
            let (row, col) = (pixel / side, pixel % side);
            let beside = [
                (row > 0).then(|| pixel - side),
                (row + 1 < side).then(|| pixel + side),
                (col > 0).then(|| pixel - 1),
                (col + 1 < side).then(|| pixel + 1),
            ];
            for n in beside.into_iter().flatten() {
                if mask[n] && !seen[n] {
                    seen[n] = true;
                    next.push(n);
                }
            }
        }
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::connected;

    #[test]
    fn corners_do_not_connect() {
        let mask = [true, false, true, true, false, true, false, true, false];
        let parts = connected(&mask, 3);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(parts[0], [0, 3]);
    }
}
