//! Rasters read on another grid, window by window.
//!
//! Bilinear resampling follows GDAL's: weights of neighbours without data are left out and the rest are scaled up to 1; a pixel whose centre
//! falls on a source pixel without data, or outside the source, has none; where the source is finer than the target, the kernel widens so
//! that it averages instead of picking.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::raster::grid::{Grid, Window};
use crate::raster::pixel_map::{CELL, PixelMap};

/// How values between pixel centres are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resampling {
    /// Weighted by distance: continuous values.
    Bilinear,
    /// The pixel that the centre falls on: classes.
    Nearest,
}

/// The most source pixels that a piece of the target may make one read; more, and the piece is divided.
const SOURCE_PIXELS: usize = 8 << 20;

/// How many times more source pixels than needed may be read before a piece is divided: rotation makes rectangles wasteful.
const WASTE: f64 = 4.0;

/// Below this ratio of target to source resolution the kernel widens (GDAL's choice).
const WIDENS_BELOW: f64 = 0.95;

/// The most pixels that a widened kernel may reach to either side.
const MOST_REACH: f64 = 1024.0;

/// Positions this close to a pixel's edge are on the next one: projections round.
const EDGE: f64 = 1e-8;

/// How far grids may be apart, in pixels, and still be moved without resampling.
const SAME: f64 = 0.01;

/// A prepared change of grid.
#[derive(Debug)]
pub struct Warp {
    map: PixelMap,
    target: Grid,
    source: Grid,
    resampling: Resampling,
    /// Where grids differ by whole pixels alone: the source's column and row of the target's first pixel.
    shift: Option<(i64, i64)>,
    /// Source pixels per target pixel along the source's columns and rows.
    ratio: (f64, f64),
    kernel: (Kernel, Kernel),
    overlaps: bool,
}

/// A triangular kernel along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kernel {
    /// What distances in source pixels are multiplied by: 1, or less for a wider kernel.
    scale: f64,
    /// Source pixels to either side.
    reach: usize,
}

impl Kernel {
    /// The kernel for `ratio` source pixels per target pixel.
    fn new(ratio: f64, resampling: Resampling) -> Result<Self> {
        if resampling == Resampling::Nearest || !ratio.is_finite() || 1.0 / ratio >= WIDENS_BELOW {
            return Ok(Self { scale: 1.0, reach: 1 });
        }
        if ratio > MOST_REACH {
            return Err(Error::bad_argument(
                format!("a raster with {ratio:.0} pixels along one pixel of the target grid"),
                format!("at most {MOST_REACH}"),
                "choose a finer target grid, or make the raster coarser with gdalwarp -r average first",
            ));
        }
        // Nearly whole ratios are meant to be whole.
        let whole = ratio.round();
        let ratio = if (ratio - whole).abs() < 0.05 { whole } else { ratio };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above: 1 to 1024")]
        let reach = ratio.ceil() as usize;
        Ok(Self { scale: 1.0 / ratio, reach })
    }

    /// First and last source pixel that a position (pixel edges are whole numbers) takes, before clipping.
    fn pixels(self, position: f64) -> (i64, i64) {
        #[expect(clippy::cast_possible_truncation, reason = "positions inside the source are below 2^32")]
        let first = (position - 0.5).floor() as i64;
        let reach = i64::try_from(self.reach).unwrap_or(0);
        (first + 1 - reach, first + reach)
    }

    fn weight(self, position: f64, pixel: usize) -> f64 {
        (1.0 - ((pixel as f64 + 0.5 - position) * self.scale).abs()).max(0.0)
    }
}

impl Warp {
    /// Prepares reading a raster on `source` as one on `target`.
    ///
    /// # Errors
    /// The CRSs differ and the definition of one is not known or not supported, or the source is more than 1024 times finer.
    pub fn new(source: &Grid, target: &Grid, resampling: Resampling) -> Result<Self> {
        let map = PixelMap::new(target, source)?;
        let shift = if map.is_affine() { whole_shift(source, target) } else { None };
        let inside = |(col, row): (f64, f64), grid: &Grid| {
            (0.0..=grid.width as f64).contains(&col) && (0.0..=grid.height as f64).contains(&row)
        };
        let shared: Vec<_> =
            lattice(target).filter(|&(col, row)| map.exact(col, row).is_some_and(|at| inside(at, source))).collect();
        let mut overlaps = !shared.is_empty();
        let mut places = shared;
        if !overlaps {
            // The source may lie between the points.
            let back = PixelMap::new(source, target)?;
            places = lattice(source)
                .filter_map(|(col, row)| back.exact(col, row))
                .filter(|at| inside(*at, target))
                .collect();
            overlaps = !places.is_empty();
        }
        let ratio = ratio(&map, &places);
        let kernel = (Kernel::new(ratio.0, resampling)?, Kernel::new(ratio.1, resampling)?);
        Ok(Self { map, target: target.clone(), source: source.clone(), resampling, shift, ratio, kernel, overlaps })
    }

    /// Whether the two grids share any of the ground.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        self.overlaps
    }

    /// Whether pixels are moved by whole numbers and keep their values.
    #[must_use]
    pub fn keeps_values(&self) -> bool {
        self.shift.is_some()
    }

    /// The grid of the source.
    #[must_use]
    pub fn source(&self) -> &Grid {
        &self.source
    }

    /// Values of a window of the target, row by row; NaN where the source has none. `source` reads a window of the source the same way, and is
    /// asked for what the window needs alone.
    ///
    /// # Errors
    /// The window reaches outside the target, memory does not suffice, or what `source` returns.
    pub fn read(&self, window: Window, source: impl Fn(Window) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        let within =
            |start: usize, length: usize, size: usize| start.checked_add(length).is_some_and(|end| end <= size);
        if !within(window.row, window.height, self.target.height)
            || !within(window.col, window.width, self.target.width)
        {
            return Err(Error::bad_argument(
                format!("a window of {} x {} pixels at ({}, {})", window.width, window.height, window.col, window.row),
                format!("one inside the {} x {} pixels of the grid", self.target.width, self.target.height),
                "choose a smaller window",
            ));
        }
        let mut values = Vec::new();
        let count = window.height.checked_mul(window.width);
        if count.is_none_or(|count| values.try_reserve_exact(count).is_err()) {
            return Err(Error::bad_argument(
                format!("a window of {} x {} pixels", window.width, window.height),
                "one that fits into memory",
                "read it in smaller windows",
            ));
        }
        values.resize(count.unwrap_or(0), f32::NAN);
        if values.is_empty() {
            return Ok(values);
        }
        if let Some(shift) = self.shift {
            self.move_pixels(window, shift, &source, &mut values)?;
            return Ok(values);
        }
        let mut row = window.row;
        while row < window.row + window.height {
            let end = ((row / CELL + 1) * CELL).min(window.row + window.height);
            let stripe = Window { row, height: end - row, ..window };
            let positions = self.map.positions(stripe);
            let start = (row - window.row) * window.width;
            let out = &mut values[start..start + positions.len()];
            let piece = Piece { rows: 0..stripe.height, cols: 0..stripe.width };
            self.resample(&positions, stripe.width, piece, &source, out)?;
            row = end;
        }
        Ok(values)
    }

    /// Copies what source and target share.
    fn move_pixels(
        &self,
        window: Window,
        shift: (i64, i64),
        source: &impl Fn(Window) -> Result<Vec<f32>>,
        out: &mut [f32],
    ) -> Result<()> {
        let Some((col, left, width)) = shared(window.col, window.width, shift.0, self.source.width) else {
            return Ok(());
        };
        let Some((row, top, height)) = shared(window.row, window.height, shift.1, self.source.height) else {
            return Ok(());
        };
        let values = source(Window { row, col, height, width })?;
        for (line, values) in out.chunks_exact_mut(window.width).skip(top).zip(values.chunks_exact(width)) {
            line[left..left + width].copy_from_slice(values);
        }
        Ok(())
    }

    /// Resamples a piece of a stripe, in halves where it would read too much at once.
    fn resample(
        &self,
        positions: &[(f64, f64)],
        width: usize,
        piece: Piece,
        source: &impl Fn(Window) -> Result<Vec<f32>>,
        out: &mut [f32],
    ) -> Result<()> {
        let Some(needed) = self.needed(positions, width, &piece) else { return Ok(()) };
        let (rows, cols) = (piece.rows.len(), piece.cols.len());
        let area = needed.height * needed.width;
        let side =
            |pixels: usize, ratio: f64, kernel: Kernel| pixels as f64 * ratio.max(1e-3) + 2.0 * kernel.reach as f64;
        let useful = side(cols, self.ratio.0, self.kernel.0) * side(rows, self.ratio.1, self.kernel.1);
        let wasteful = area as f64 > WASTE * useful && rows.max(cols) > CELL;
        if (area > SOURCE_PIXELS && rows * cols > 1) || wasteful {
            for half in piece.halves() {
                self.resample(positions, width, half, source, out)?;
            }
            return Ok(());
        }
        let values = source(needed)?;
        if values.len() != area {
            return Err(Error::shape("warp", format!("{} values", values.len()), format!("{area}")));
        }
        let cut = Cut { values: &values, window: needed };
        let lines = out.chunks_exact_mut(width).zip(positions.chunks_exact(width));
        let lines: Vec<_> = lines.skip(piece.rows.start).take(rows).collect();
        lines.into_par_iter().for_each(|(line, positions)| {
            let positions = &positions[piece.cols.clone()];
            for (value, &position) in line[piece.cols.clone()].iter_mut().zip(positions) {
                if self.is_inside(position) {
                    *value = self.value(&cut, position);
                }
            }
        });
        Ok(())
    }

    fn is_inside(&self, (col, row): (f64, f64)) -> bool {
        let within = |at: f64, size: usize| at >= -EDGE && at < size as f64;
        within(col, self.source.width) && within(row, self.source.height)
    }

    /// The source window that a piece's pixels need; `None` if they all lie outside.
    fn needed(&self, positions: &[(f64, f64)], width: usize, piece: &Piece) -> Option<Window> {
        let (mut left, mut right, mut top, mut bottom) =
            (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY);
        for line in positions.chunks_exact(width).skip(piece.rows.start).take(piece.rows.len()) {
            for &(col, row) in line[piece.cols.clone()].iter().filter(|at| self.is_inside(**at)) {
                (left, right) = (left.min(col), right.max(col));
                (top, bottom) = (top.min(row), bottom.max(row));
            }
        }
        if left > right {
            return None;
        }
        let (col, width) = clip(self.kernel.0, left, right, self.source.width)?;
        let (row, height) = clip(self.kernel.1, top, bottom, self.source.height)?;
        Some(Window { row, col, height, width })
    }

    /// The value at a position inside the source.
    fn value(&self, cut: &Cut<'_>, (col, row): (f64, f64)) -> f32 {
        let own = cut.at(pixel(col, self.source.width), pixel(row, self.source.height));
        if own.is_nan() || self.resampling == Resampling::Nearest {
            return own;
        }
        let (across, down) = self.kernel;
        let (first_col, last_col) = clip_pixels(across.pixels(col), self.source.width);
        let (first_row, last_row) = clip_pixels(down.pixels(row), self.source.height);
        let (mut sum, mut weights) = (0.0, 0.0);
        for r in first_row..=last_row {
            let vertical = down.weight(row, r);
            if vertical == 0.0 {
                continue;
            }
            for (c, &value) in (first_col..).zip(cut.line(r, first_col, last_col)) {
                if !value.is_nan() {
                    let weight = vertical * across.weight(col, c);
                    sum += weight * f64::from(value);
                    weights += weight;
                }
            }
        }
        if weights < 1e-6 {
            return own;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the network computes in single precision")]
        let value = (sum / weights) as f32;
        value
    }
}

/// Rows and columns of a stripe.
struct Piece {
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Piece {
    fn halves(self) -> [Self; 2] {
        let Self { rows, cols } = self;
        if cols.len() >= rows.len() {
            let middle = cols.start + cols.len() / 2;
            [Self { rows: rows.clone(), cols: cols.start..middle }, Self { rows, cols: middle..cols.end }]
        } else {
            let middle = rows.start + rows.len() / 2;
            [Self { rows: rows.start..middle, cols: cols.clone() }, Self { rows: middle..rows.end, cols }]
        }
    }
}

/// A window of the source in memory.
struct Cut<'a> {
    values: &'a [f32],
    window: Window,
}

impl Cut<'_> {
    fn at(&self, col: usize, row: usize) -> f32 {
        self.values[(row - self.window.row) * self.window.width + col - self.window.col]
    }

    fn line(&self, row: usize, first: usize, last: usize) -> &[f32] {
        let start = (row - self.window.row) * self.window.width;
        &self.values[start + first - self.window.col..=start + last - self.window.col]
    }
}

/// The pixel that a position inside the source is on.
fn pixel(position: f64, size: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position inside the source")]
    let pixel = (position + EDGE).max(0.0).floor() as usize;
    pixel.min(size.saturating_sub(1))
}

/// The range of pixels, first and last, cut to those there are.
fn clip_pixels((first, last): (i64, i64), size: usize) -> (usize, usize) {
    let most = i64::try_from(size).unwrap_or(i64::MAX) - 1;
    let clip = |pixel: i64| usize::try_from(pixel.clamp(0, most.max(0))).unwrap_or(0);
    (clip(first), clip(last))
}

/// First pixel and number of pixels that a kernel takes from the least to the greatest position.
fn clip(kernel: Kernel, least: f64, greatest: f64, size: usize) -> Option<(usize, usize)> {
    let (first, last) = clip_pixels((kernel.pixels(least).0, kernel.pixels(greatest).1), size);
    // What a position is on can be one further than what its kernel takes.
    let first = first.min(pixel(least, size));
    let last = last.max(pixel(greatest, size));
    (size > 0).then(|| (first, last + 1 - first))
}

/// What a target range shares with a source whose pixels have the target's numbers plus `shift`: first source pixel, offset in the range, length.
fn shared(start: usize, length: usize, shift: i64, size: usize) -> Option<(usize, usize, usize)> {
    let start = i64::try_from(start).ok()?.checked_add(shift)?;
    let end = start.checked_add(i64::try_from(length).ok()?)?;
    let (first, last) = (start.max(0), end.min(i64::try_from(size).ok()?));
    if first >= last {
        return None;
    }
    let to = |value: i64| usize::try_from(value).ok();
    Some((to(first)?, to(first - start)?, to(last - first)?))
}

/// The shift in whole pixels from target to source, where nothing else differs.
fn whole_shift(source: &Grid, target: &Grid) -> Option<(i64, i64)> {
    let (a, b) = (&source.transform, &target.transform);
    let extent = target.width.max(target.height).max(1) as f64;
    let size = [a[0].hypot(a[3]), a[1].hypot(a[4])];
    let alike = [0, 1, 3, 4].iter().all(|&i| (a[i] - b[i]).abs() * extent <= SAME * size[i % 3]);
    let (col, row) = source.pixel_at(b[2], b[5]);
    let whole = |at: f64| (at - at.round()).abs() <= SAME && at.abs() < 1e15;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be small")]
    (alike && whole(col) && whole(row)).then(|| (col.round() as i64, row.round() as i64))
}

/// Points spread over a grid, its edges and corners among them.
fn lattice(grid: &Grid) -> impl Iterator<Item = (f64, f64)> {
    const STEPS: u16 = 32;
    let (width, height) = (grid.width as f64, grid.height as f64);
    (0..=STEPS).flat_map(move |row| {
        (0..=STEPS)
            .map(move |col| (width * f64::from(col) / f64::from(STEPS), height * f64::from(row) / f64::from(STEPS)))
    })
}

/// Source pixels per target pixel along the source's axes: the median over places of the target.
fn ratio(map: &PixelMap, places: &[(f64, f64)]) -> (f64, f64) {
    let mut across = Vec::with_capacity(places.len());
    let mut down = Vec::with_capacity(places.len());
    for &(col, row) in places {
        let moved = [(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)].map(|(x, y)| map.exact(col + x, row + y));
        if let [Some(west), Some(east), Some(north), Some(south)] = moved {
            across.push((east.0 - west.0).hypot(south.0 - north.0));
            down.push((east.1 - west.1).hypot(south.1 - north.1));
        }
    }
    (median(&mut across), median(&mut down))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(1.0)
}
