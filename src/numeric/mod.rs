//! Numeric blocks that the operators' CPU code shares: convolution, matrix product, attention, vector loops.

pub mod attention;
mod channel_block;
pub mod class_softmax;
pub mod conv;
pub mod conv_weight_gradient;
pub mod gemm;
pub mod map_source;
pub mod reduce;
mod thread_buffer;
pub mod vector;
mod winograd;
mod winograd_transform;
mod winograd_weight_gradient;
