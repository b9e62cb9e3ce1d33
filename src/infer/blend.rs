//! Overlapping tiles to one map: the average weighted by `exp(-r^2 / 2)`, where x and y run from -1 to 1 over the tile's pixels.
//!
//! The weight is a product of a row factor and a column factor, and windows form a grid, so the sum of weights at a pixel is a product
//! too: only sums of weighted probabilities are kept per pixel. They are f64 and the weights are f64, so what blending adds to the error is
//! the last rounding to f32 (6e-8 relative).
//!
//! Windows may be left out ([`Blend::skip`]): then the average is over those that came, and only then weights are kept per pixel too.
//!
//! Only the glacier class is kept (8 bytes per pixel), or the few channels of [`Blend::of_channels`]. Rows are released as soon as all windows over them have arrived
//! ([`Blend::completed_rows`]): with windows in the order of [`Tiling::windows`] memory is that of one tile's height, whatever the scene's.

use crate::error::{Error, Result};
use crate::infer::tiles::{Overlap, TileWindow, Tiling};

/// The average of overlapping tiles, being built.
#[derive(Debug, Clone)]
pub struct Blend {
    tiling: Tiling,
    /// Values of each pixel of a window, and which of them are blended.
    values: usize,
    channels: Vec<usize>,
    /// One factor of the weight, by row or column of the tile.
    factor: Vec<f64>,
    /// Sum of column factors over all windows, by column of the scene.
    col_weights: Vec<f64>,
    /// Weighted sums of the scene's rows from `first_row` on, by channel.
    sums: Vec<Vec<f64>>,
    /// Weights of windows that were left out, for the same rows or the first of them.
    lost: Vec<f64>,
    first_row: usize,
    /// Which windows came, row by row, and how many are missing per row of windows.
    seen: Vec<bool>,
    missing: Vec<usize>,
}

impl Blend {
    /// A blend of class number `class` out of `classes`.
    ///
    /// # Errors
    /// There is no such class.
    pub fn new(tiling: Tiling, classes: usize, class: usize) -> Result<Self> {
        if class >= classes {
            return Err(Error::bad_argument(
                format!("class {class} of {classes}"),
                "a class of the model",
                "check the model's configuration",
            ));
        }
        Ok(Self::of(tiling, classes, vec![class]))
    }

    /// A blend of `count` values of every pixel, each on its own.
    #[must_use]
    pub fn of_channels(tiling: Tiling, count: usize) -> Self {
        Self::of(tiling, count, (0..count).collect())
    }

    fn of(tiling: Tiling, values: usize, channels: Vec<usize>) -> Self {
        let factor = factors(tiling.tile());
        let (rows, cols) = tiling.grid();
        let col_weights = side_weights(&factor, tiling.width(), (0..cols).map(|c| tiling.window_col(c)));
        Self {
            tiling,
            values,
            sums: vec![Vec::new(); channels.len()],
            channels,
            factor,
            col_weights,
            lost: Vec::new(),
            first_row: 0,
            seen: vec![false; rows * cols],
            missing: vec![cols; rows],
        }
    }

    /// Rows and columns of a window.
    #[must_use]
    pub fn tile(&self) -> usize {
        self.tiling.tile()
    }

    /// Values of a window: pixels times classes or channels.
    #[must_use]
    pub fn window_values(&self) -> usize {
        self.tiling.tile() * self.tiling.tile() * self.values
    }

    /// Adds the probabilities of one window, `(tile, tile, classes)`, or its channels. Windows may come in any order, each once.
    ///
    /// # Errors
    /// The window is not one of the tiling or came before, the length is wrong, or a value on the scene that is blended is not finite.
    pub fn add(&mut self, window: TileWindow, probabilities: &[f32]) -> Result<()> {
        let tile = self.tiling.tile();
        let expected = self.window_values();
        if probabilities.len() != expected {
            return Err(defect(format!("{} probabilities", probabilities.len()), format!("{expected} for a window")));
        }
        let Some(shared) = self.tiling.overlap(window) else {
            return Err(defect(format!("the window {window:?}"), "a window that touches the scene".into()));
        };
        let count = self.values;
        let value = |channel: usize, r: usize, c: usize| {
            probabilities[((shared.tile_row + r) * tile + shared.tile_col + c) * count + channel]
        };
        let is_finite =
            |channel: usize| (0..shared.height).all(|r| (0..shared.width).all(|c| value(channel, r, c).is_finite()));
        if !self.channels.iter().all(|&channel| is_finite(channel)) {
            return Err(Error::bad_argument(
                format!("a probability that is not a number, in the tile at row {}, column {}", window.row, window.col),
                "probabilities from 0 to 1",
                "check the input rasters for absurd values and the weights for damage; compare with --device cpu",
            ));
        }
        self.arrive(window)?;
        let (before, from) = self.place(&shared);
        let width = self.tiling.width();
        let needed = (from + shared.height - before) * width;
        let col_factors = &self.factor[shared.tile_col..shared.tile_col + shared.width];
        for (sums, &channel) in self.sums.iter_mut().zip(&self.channels) {
            if sums.len() < needed {
                sums.resize(needed, 0.0);
            }
            for r in before..shared.height {
                let row_factor = self.factor[shared.tile_row + r];
                let from = (from + r - before) * width + shared.scene_col;
                let sums = &mut sums[from..from + shared.width];
                for (c, (sum, col_factor)) in sums.iter_mut().zip(col_factors).enumerate() {
                    *sum += row_factor * col_factor * f64::from(value(channel, r, c));
                }
            }
        }
        Ok(())
    }

    /// Leaves a window out. Where no other window comes, the probability will be 0.
    ///
    /// # Errors
    /// The window is not one of the tiling or came before.
    pub fn skip(&mut self, window: TileWindow) -> Result<()> {
        let shared = self.arrive(window)?;
        let (before, from) = self.place(&shared);
        let width = self.tiling.width();
        let needed = (from + shared.height - before) * width;
        if self.lost.len() < needed {
            self.lost.resize(needed, 0.0);
        }
        let col_factors = &self.factor[shared.tile_col..shared.tile_col + shared.width];
        for r in before..shared.height {
            let row_factor = self.factor[shared.tile_row + r];
            let from = (from + r - before) * width + shared.scene_col;
            for (lost, col_factor) in self.lost[from..from + shared.width].iter_mut().zip(col_factors) {
                *lost += row_factor * col_factor;
            }
        }
        Ok(())
    }

    /// Begins at a row that [`Blend::completed_rows`] of an earlier blend had reached: windows wholly north of it are not waited for, and of others
    /// the rows before it do not count. Sums are taken in the same order, so the results are the same, bit for bit.
    ///
    /// # Errors
    /// Windows came before, or there is no such row.
    pub fn begin_at(&mut self, row: usize) -> Result<()> {
        if self.seen.contains(&true) || row > self.tiling.height() {
            return Err(defect(format!("row {row}"), "a row of the scene, before the first window".into()));
        }
        self.first_row = row;
        for (at, missing) in self.missing.iter_mut().enumerate() {
            let end = self.tiling.window_row(at).saturating_add_unsigned(self.tiling.tile() as u64);
            if usize::try_from(end).unwrap_or(0) <= row {
                *missing = 0;
            }
        }
        Ok(())
    }

    /// Marks a window as come; gives its part of the scene.
    fn arrive(&mut self, window: TileWindow) -> Result<Overlap> {
        let (Some((row, col)), Some(shared)) = (self.tiling.position(window), self.tiling.overlap(window)) else {
            return Err(defect(format!("the window {window:?}"), "a window of the tiling".into()));
        };
        let number = row * self.tiling.grid().1 + col;
        if self.seen[number] || self.missing[row] == 0 {
            return Err(defect(format!("window {number} again"), "every window once".into()));
        }
        self.seen[number] = true;
        self.missing[row] -= 1;
        Ok(shared)
    }

    /// How many rows of a window lie before `first_row`, and where the others begin among the rows that are kept.
    fn place(&self, shared: &Overlap) -> (usize, usize) {
        // Complete rows are touched after `begin_at` only: a window that was missing cannot reach there.
        let before = self.first_row.saturating_sub(shared.scene_row).min(shared.height);
        (before, (shared.scene_row + before).saturating_sub(self.first_row))
    }

    /// Takes out the rows that no missing window touches: the first row's number and the probabilities, row by row. Every row comes out once,
    /// from the north to the south. Of several channels, the first one's.
    pub fn completed_rows(&mut self) -> (usize, Vec<f32>) {
        let (first, mut channels) = self.completed_channels();
        (first, if channels.is_empty() { Vec::new() } else { channels.swap_remove(0) })
    }

    /// As [`Blend::completed_rows`], every channel for itself.
    pub fn completed_channels(&mut self) -> (usize, Vec<Vec<f32>>) {
        let first = self.first_row;
        let end = match self.missing.iter().position(|&n| n > 0) {
            Some(row) => usize::try_from(self.tiling.window_row(row)).unwrap_or(0).max(first),
            None => self.tiling.height(),
        };
        let (tile, width) = (self.tiling.tile(), self.tiling.width());
        let starts: Vec<_> = (0..self.tiling.grid().0).map(|r| self.tiling.window_row(r)).collect();
        let row_weights = rows_weights(&self.factor, tile, first..end, &starts);
        let count = (end - first) * width;
        let mut channels = Vec::with_capacity(self.sums.len());
        for sums in &mut self.sums {
            let mut rows = Vec::with_capacity(count);
            // Rows that no window reached.
            sums.resize(sums.len().max(count), 0.0);
            for (row, row_weight) in row_weights.iter().enumerate() {
                let part = row * width..(row + 1) * width;
                let lost = self.lost.get(part.clone()).unwrap_or_default();
                for (col, (sum, col_weight)) in sums[part].iter().zip(&self.col_weights).enumerate() {
                    let all = row_weight * col_weight;
                    let weight = lost.get(col).map_or(all, |lost| all - lost);
                    #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32 in and out")]
                    rows.push(if weight < LEAST_WEIGHT { 0.0 } else { (sum / weight) as f32 });
                }
            }
            sums.drain(..count);
            channels.push(rows);
        }
        self.lost.drain(..count.min(self.lost.len()));
        self.first_row = end;
        (first, channels)
    }

    /// The probabilities of all rows not taken out before; the whole scene if none were.
    ///
    /// # Errors
    /// Windows are missing.
    pub fn finish(mut self) -> Result<Vec<f32>> {
        let missing: usize = self.missing.iter().sum();
        if missing > 0 {
            return Err(Error::bad_argument(
                format!("{missing} windows missing"),
                "all windows of the scene",
                "this is a defect of the program; please report it",
            ));
        }
        Ok(self.completed_rows().1)
    }
}

/// Less than the weight of any window at any of its pixels (`exp(-1)` at its corners): what remains of a sum whose windows were all left out.
const LEAST_WEIGHT: f64 = 0.1;

fn defect(found: String, expected: String) -> Error {
    Error::bad_argument(found, expected, "this is a defect of the program; please report it")
}

/// `exp(-x^2 / 2)` for x in `tile` equal steps from -1 to 1.
#[expect(clippy::cast_precision_loss, reason = "tiles have far fewer than 2^52 pixels")]
fn factors(tile: usize) -> Vec<f64> {
    let last = tile.saturating_sub(1).max(1) as f64;
    (0..tile).map(|i| (-(2.0 * i as f64 / last - 1.0).powi(2) / 2.0).exp()).collect()
}

/// Sum of the factors of all windows, beginning at `starts`, over each of `length` positions.
fn side_weights(factor: &[f64], length: usize, starts: impl Iterator<Item = i64>) -> Vec<f64> {
    let starts: Vec<_> = starts.collect();
    rows_weights(factor, factor.len(), 0..length, &starts)
}

/// As [`side_weights`], for some positions only.
fn rows_weights(factor: &[f64], tile: usize, positions: std::ops::Range<usize>, starts: &[i64]) -> Vec<f64> {
    // Starts are half a tile apart, so at most three windows can begin within a tile before a position.
    let Some(&origin) = starts.first() else { return vec![0.0; positions.len()] };
    positions
        .map(|position| {
            let from_origin = i64::try_from(position).unwrap_or(i64::MAX) - origin;
            let last = usize::try_from(from_origin).unwrap_or(0) / (tile / 2).max(1);
            (last.saturating_sub(2)..=last)
                .filter_map(|n| {
                    let start = starts.get(n)?;
                    let within = usize::try_from(i64::try_from(position).ok()? - start).ok()?;
                    factor.get(within)
                })
                .sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value that differs for every window and pixel.
    fn tile_of(n: usize, tile: usize) -> Vec<f32> {
        (0..tile * tile)
            .flat_map(|i| {
                let p = f32::from(u8::try_from((n * 97 + i * 31) % 251).expect("below 251")) / 251.0;
                [1.0 - p, p]
            })
            .collect()
    }

    /// The definition, pixel by pixel.
    fn plain(tiling: Tiling, is_kept: impl Fn(usize) -> bool) -> Vec<f64> {
        let (height, width, tile) = (tiling.height(), tiling.width(), tiling.tile());
        let (mut sums, mut weights) = (vec![0.0; height * width], vec![0.0; height * width]);
        let linspace = |i: usize| -1.0 + 2.0 * i as f64 / (tile - 1) as f64;
        for (n, window) in tiling.windows().enumerate().filter(|(n, _)| is_kept(*n)) {
            let values = tile_of(n, tile);
            for i in 0..tile {
                for j in 0..tile {
                    let (row, col) = (window.row + i as i64, window.col + j as i64);
                    if (0..height as i64).contains(&row) && (0..width as i64).contains(&col) {
                        let at = usize::try_from(row).expect("not negative") * width
                            + usize::try_from(col).expect("not negative");
                        let weight = (-(linspace(i).powi(2) + linspace(j).powi(2)) / 2.0).exp();
                        sums[at] += weight * f64::from(values[2 * (i * tile + j) + 1]);
                        weights[at] += weight;
                    }
                }
            }
        }
        sums.iter().zip(&weights).map(|(s, w)| if *w > 0.0 { s / w } else { 0.0 }).collect()
    }

    #[test]
    fn edge_weights() {
        let factor = factors(384);
        assert!((factor[0] - (-0.5_f64).exp()).abs() < 1e-15 && (factor[383] - factor[0]).abs() < 1e-15);
        assert!((factor[200] - factor[183]).abs() < 1e-15);
    }

    #[test]
    fn streams_by_row_bands() {
        let tiling = Tiling::new(300, 50, 32).expect("a scene");
        let mut blend = Blend::new(tiling, 2, 1).expect("class 1 of 2");
        let mut streamed = Vec::new();
        let mut largest = 0;
        for (n, window) in tiling.windows().enumerate() {
            blend.add(window, &tile_of(n, 32)).expect("a new window");
            largest = largest.max(blend.sums[0].len());
            let (first, rows) = blend.completed_rows();
            assert_eq!(first * 50, streamed.len());
            streamed.extend(rows);
        }
        assert!(largest <= 32 * 50);
        assert_eq!(streamed.len(), 300 * 50);
        assert!(blend.finish().expect("complete").is_empty());
        for (a, b) in streamed.iter().zip(plain(tiling, |_| true)) {
            assert!((f64::from(*a) - b).abs() < 1e-7);
        }
    }

    #[test]
    fn refuses() {
        let tiling = Tiling::new(20, 20, 16).expect("a scene");
        assert!(Blend::new(tiling, 2, 2).is_err());
        let mut blend = Blend::new(tiling, 2, 1).expect("class 1 of 2");
        let window = tiling.windows().next().expect("a window");
        assert!(blend.add(window, &[0.0; 5]).is_err());
        assert!(blend.add(window, &[f32::NAN; 512]).is_err());
        assert!(blend.add(TileWindow { row: window.row + 1, ..window }, &[0.5; 512]).is_err());
        blend.add(window, &[0.5; 512]).expect("a new window");
        assert!(blend.add(window, &[0.5; 512]).is_err());
        assert!(blend.finish().is_err());
    }

    #[test]
    fn windows_left_out() {
        let tiling = Tiling::new(100, 70, 32).expect("a scene");
        let all = plain(tiling, |_| true);
        let kept = |n: usize| n % 3 != 1 && n > 12;
        let mut blend = Blend::new(tiling, 2, 1).expect("class 1 of 2");
        let mut found = Vec::new();
        for (n, window) in tiling.windows().enumerate() {
            if kept(n) { blend.add(window, &tile_of(n, 32)) } else { blend.skip(window) }.expect("a new window");
            found.extend(blend.completed_rows().1);
        }
        let expected = plain(tiling, kept);
        assert!(expected.contains(&0.0) && expected != all);
        for (a, b) in found.iter().zip(&expected) {
            assert!((f64::from(*a) - b).abs() < 1e-7, "{a} {b}");
        }
    }

    #[test]
    fn channels_are_blended_as_if_alone() {
        let tiling = Tiling::new(100, 70, 32).expect("a scene");
        let mut both = Blend::of_channels(tiling, 2);
        let mut alone = [0, 1].map(|class| Blend::new(tiling, 2, class).expect("a class of 2"));
        let mut rows = 0;
        for (n, window) in tiling.windows().enumerate() {
            for blend in alone.iter_mut().chain([&mut both]) {
                if n % 4 == 1 { blend.skip(window) } else { blend.add(window, &tile_of(n, 32)) }.expect("a new window");
            }
            let (first, channels) = both.completed_channels();
            assert_eq!((first, channels.len()), (rows, 2));
            rows += channels[0].len() / 70;
            for (channel, blend) in channels.iter().zip(&mut alone) {
                assert_eq!((first, channel), (first, &blend.completed_rows().1));
            }
        }
        assert_eq!(rows, 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn goes_on_bit_for_bit(height in 1usize..150, width in 1usize..40, half in 1usize..20, at in 0usize..9) {
            let tiling = Tiling::new(height, width, 2 * half).expect("a scene");
            let (rows, cols) = tiling.grid();
            let windows: Vec<_> = tiling.windows().enumerate().collect();
            let run = |blend: &mut Blend, from: usize, to: usize| -> Vec<u32> {
                let mut out = Vec::new();
                for row in from..to {
                    for (n, window) in &windows[row * cols..(row + 1) * cols] {
                        if n % 5 == 2 { blend.skip(*window) } else { blend.add(*window, &tile_of(*n, 2 * half)) }.expect("new");
                    }
                    out.extend(blend.completed_rows().1.iter().map(|p| p.to_bits()));
                }
                out
            };
            let whole = run(&mut Blend::new(tiling, 2, 1).expect("class 1 of 2"), 0, rows);
            let stop = at.min(rows);
            let done = run(&mut Blend::new(tiling, 2, 1).expect("class 1 of 2"), 0, stop);
            prop_assert_eq!(&whole[..done.len()], &done);
            let row = done.len() / width;
            let mut second = Blend::new(tiling, 2, 1).expect("class 1 of 2");
            second.begin_at(row).expect("before all windows");
            let end = |index: usize| tiling.window_row(index) + 2 * half as i64;
            let first = (0..rows).find(|&index| end(index) > row as i64).unwrap_or(rows);
            let rest = run(&mut second, first, rows);
            prop_assert_eq!(&whole[done.len()..], &rest);
            prop_assert!(second.finish().expect("complete").is_empty());
        }

        #[test]
        fn equals_the_definition(height in 1usize..70, width in 1usize..70, half in 1usize..20, backwards: bool) {
            let tiling = Tiling::new(height, width, 2 * half).expect("a scene");
            let mut blend = Blend::new(tiling, 2, 1).expect("class 1 of 2");
            let mut windows: Vec<_> = tiling.windows().enumerate().collect();
            if backwards {
                windows.reverse();
            }
            for (n, window) in windows {
                blend.add(window, &tile_of(n, 2 * half)).expect("a new window");
            }
            for (a, b) in blend.finish().expect("complete").iter().zip(plain(tiling, |_| true)) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-7);
            }
        }
    }
}
