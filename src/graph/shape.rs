//! Static tensor shapes, batch first and channels last (NHWC).

use std::fmt;
use std::ops::Deref;

/// The extents of a tensor, outermost first. Rank 1 to 4; a scalar has shape `[1]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The innermost extent: channels, features, columns.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Number of innermost vectors: elements divided by channels.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0[..self.0.len().saturating_sub(1)].iter().product()
    }

    /// The outermost extent.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.0.first().copied().unwrap_or(1)
    }

    /// The same shape with another outermost extent.
    #[must_use]
    pub fn with_batch(&self, batch: usize) -> Self {
        let mut dims = self.0.clone();
        if let Some(first) = dims.first_mut() {
            *first = batch;
        }
        Self(dims)
    }

    /// The same shape with another innermost extent.
    #[must_use]
    pub fn with_channels(&self, channels: usize) -> Self {
        let mut dims = self.0.clone();
        if let Some(last) = dims.last_mut() {
            *last = channels;
        }
        Self(dims)
    }

    /// Batch, height, width, channels of a rank-4 shape.
    #[must_use]
    pub fn nhwc(&self) -> Option<[usize; 4]> {
        <[usize; 4]>::try_from(self.0.as_slice()).ok()
    }

    /// The shape as four extents, padded with ones in front.
    #[must_use]
    pub fn padded4(&self) -> [usize; 4] {
        let mut out = [1; 4];
        let skip = 4_usize.saturating_sub(self.0.len());
        for (to, from) in out[skip..].iter_mut().zip(&self.0) {
            *to = *from;
        }
        out
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("x")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
