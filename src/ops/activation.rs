//! Activations that convolutions and matrix products apply to their result before storing it.

/// A pointwise function fused into the operator before it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// `x` where positive, else `slope * x`.
    LeakyRelu {
        /// The factor for negative values.
        slope: f32,
    },
}

impl Activation {
    /// The function as a factor for negative values, which both kinds are.
    #[must_use]
    pub fn negative_slope(self) -> f32 {
        match self {
            Self::Identity => 1.0,
            Self::LeakyRelu { slope } => slope,
        }
    }

    /// The function in f64.
    #[must_use]
    pub fn reference(self, x: f64) -> f64 {
        if x > 0.0 { x } else { f64::from(self.negative_slope()) * x }
    }
}
