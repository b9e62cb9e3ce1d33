//! How kernels read a map: from one tensor or from two side by side, as it is or normalised on the way.

use std::ops::Range;

use pulp::Simd;

/// What becomes of a value as it is read: `scale x + shift` of its channel, times `slope` where that is negative.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Factor of each channel.
    pub scale: &'a [f32],
    /// Summand of each channel.
    pub shift: &'a [f32],
    /// Factor for negative results; one for no activation.
    pub slope: f32,
}

/// Rows of channels (pixels of a map) in one tensor or two: the second's channels follow the first's.
#[derive(Debug, Clone, Copy)]
pub struct MapSource<'a> {
    first: &'a [f32],
    second: &'a [f32],
    channels: [usize; 2],
    /// Of the first tensor's channels.
    affine: Option<Affine<'a>>,
}

impl<'a> MapSource<'a> {
    /// A tensor of rows of `channels` values.
    #[must_use]
    pub fn plain(data: &'a [f32], channels: usize) -> Self {
        Self { first: data, second: &[], channels: [channels, 0], affine: None }
    }

    /// The same, changed as it is read.
    #[must_use]
    pub fn changed(self, affine: Affine<'a>) -> Self {
        Self { affine: Some(affine), ..self }
    }

    /// The same with a second tensor of as many rows beside it.
    #[must_use]
    pub fn joined(self, second: &'a [f32], channels: usize) -> Self {
        Self { second, channels: [self.channels[0], channels], ..self }
    }

    /// Channels of a row.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels[0] + self.channels[1]
    }

    /// The values themselves, if they lie in one tensor and are taken as they are.
    #[must_use]
    pub fn values(&self) -> Option<&'a [f32]> {
        (self.affine.is_none() && self.channels[1] == 0).then_some(self.first)
    }

    /// Its tensors, each with the channel it begins at.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, Self)> + use<'a> {
        let first = Self { second: &[], channels: [self.channels[0], 0], ..*self };
        let second = Self::plain(self.second, self.channels[1]);
        let begin = self.channels[0];
        [Some((0, first)), (self.channels[1] > 0).then_some((begin, second))].into_iter().flatten()
    }

    /// Some of its rows.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let [a, b] = self.channels;
        Self {
            first: &self.first[rows.start * a..rows.end * a],
            second: &self.second[rows.start * b..rows.end * b],
            ..*self
        }
    }

    /// Copies some channels of some rows to `to`, where rows begin `stride` apart.
    #[inline(always)]
    pub fn read(&self, rows: Range<usize>, channels: Range<usize>, to: &mut [f32], stride: usize) {
        let [a, b] = self.channels;
        let (left, right) = (channels.start.min(a)..channels.end.min(a), channels.start.max(a)..channels.end.max(a));
        for (row, to) in rows.zip(to.chunks_mut(stride)) {
            let (to, rest) = to.split_at_mut(left.len());
            let from = &self.first[row * a..][left.clone()];
            match self.affine {
                None => to.copy_from_slice(from),
                Some(affine) => change(from, affine, left.start, to),
            }
            if !right.is_empty() {
                rest[..right.len()].copy_from_slice(&self.second[row * b..][right.start - a..right.end - a]);
            }
        }
    }

    /// Where a vector of channels from `channel` on is found in every row.
    #[inline(always)]
    pub(super) fn lanes<S: Simd>(&self, simd: S, channel: usize) -> Lanes<'a, S> {
        let [a, b] = self.channels;
        let none = (simd.splat_f32s(1.0), simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        if channel >= a {
            let at = channel - a;
            let count = b.saturating_sub(at).min(S::F32_LANES);
            return Lanes { data: self.second, stride: b, at, count, straddles: false, change: none, changed: false };
        }
        let count = (a - channel).min(S::F32_LANES);
        let straddles = count < S::F32_LANES && b > 0;
        let mut lanes =
            Lanes { data: self.first, stride: a, at: channel, count, straddles, change: none, changed: false };
        if let Some(Affine { scale, shift, slope }) = self.affine {
            let part = channel..channel + count;
            let (scale, shift) = (simd.partial_load_f32s(&scale[part.clone()]), simd.partial_load_f32s(&shift[part]));
            lanes.change = (scale, shift, simd.splat_f32s(slope));
            lanes.changed = true;
        }
        lanes
    }

    /// The vector of channels of one row; zeros after the last channel.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, simd: S, lanes: &Lanes<'a, S>, row: usize) -> S::f32s {
        let start = row * lanes.stride + lanes.at;
        if lanes.straddles {
            return self.load_across(lanes, row);
        }
        let x = if lanes.count == S::F32_LANES {
            S::as_simd_f32s(&lanes.data[start..start + S::F32_LANES]).0[0]
        } else if lanes.count > 0 {
            simd.partial_load_f32s(&lanes.data[start..start + lanes.count])
        } else {
            simd.splat_f32s(0.0)
        };
        if !lanes.changed {
            return x;
        }
        let (scale, shift, slope) = lanes.change;
        let x = simd.mul_add_e_f32s(x, scale, shift);
        let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
        simd.select_f32s(negative, simd.mul_f32s(x, slope), x)
    }

    /// The same where a vector lies in both tensors: one value at a time.
    fn load_across<S: Simd>(&self, lanes: &Lanes<'a, S>, row: usize) -> S::f32s {
        let mut values = [0.0_f32; MOST_LANES];
        let last = self.channels().min(lanes.at + S::F32_LANES);
        self.read(row..row + 1, lanes.at..last, &mut values, MOST_LANES);
        S::as_simd_f32s(&values).0[0]
    }
}

/// Most lanes of a vector.
const MOST_LANES: usize = 16;

/// A vector of channels as [`MapSource::load`] takes it.
pub(super) struct Lanes<'a, S: Simd> {
    data: &'a [f32],
    stride: usize,
    at: usize,
    count: usize,
    straddles: bool,
    change: (S::f32s, S::f32s, S::f32s),
    changed: bool,
}

/// A row of its own function: only of arguments does the compiler know that they do not overlap.
#[inline(always)]
fn change(from: &[f32], Affine { scale, shift, slope }: Affine, first: usize, to: &mut [f32]) {
    let count = to.len();
    let (from, scale, shift) = (&from[..count], &scale[first..first + count], &shift[first..first + count]);
    for c in 0..count {
        let x = from[c] * scale[c] + shift[c];
        to[c] = if x < 0.0 { x * slope } else { x };
    }
}
