//! The operators, one file each, and their registry.

pub mod activation;
pub mod add;
pub mod attention;
pub mod attention_gradient;
pub mod batch_norm;
pub mod batch_norm_training;
pub mod batch_norm_training_gradient;
pub mod broadcast;
pub mod case;
pub mod concat;
pub mod constant;
pub mod conv2d;
pub mod conv2d_input_gradient;
pub mod conv2d_weight_gradient;
pub mod expand;
pub mod extract_patches;
pub mod fold_batch_norm;
pub mod gelu;
pub mod global_average_pool;
pub mod layer_norm;
pub mod leaky_relu;
pub mod leaky_relu_gradient;
pub mod matmul;
pub mod matmul_weight_gradient;
pub mod max_pool;
pub mod moving_average;
pub mod multiply;
pub mod reshape;
pub mod scale;
pub mod sigmoid;
pub mod softmax;
pub mod sum_to;
pub mod upsample_bilinear;
pub mod upsample_nearest;
pub mod upsample_nearest_gradient;

mod partial_sums;

pub use activation::Activation;
pub use case::{Case, Entry, Fill};

/// Publishes each operator's type and lists its entry.
macro_rules! registry {
    ($($module:ident::$operator:ident),+ $(,)?) => {
        $(pub use $module::$operator;)+

        /// Every operator. Tests, benches and listings iterate over it.
        pub const REGISTRY: &[Entry] = &[$($module::ENTRY),+];
    };
}

registry! {
    add::Add,
    attention::Attention,
    attention_gradient::AttentionGradient,
    batch_norm::BatchNorm,
    batch_norm_training::BatchNormTraining,
    batch_norm_training_gradient::BatchNormTrainingGradient,
    concat::Concat,
    constant::Constant,
    conv2d::Conv2d,
    conv2d_input_gradient::Conv2dInputGradient,
    conv2d_weight_gradient::Conv2dWeightGradient,
    expand::Expand,
    extract_patches::ExtractPatches,
    fold_batch_norm::FoldBatchNorm,
    gelu::Gelu,
    global_average_pool::GlobalAveragePool,
    layer_norm::LayerNorm,
    leaky_relu::LeakyRelu,
    leaky_relu_gradient::LeakyReluGradient,
    matmul::MatMul,
    matmul_weight_gradient::MatMulWeightGradient,
    max_pool::MaxPool,
    moving_average::MovingAverage,
    multiply::Multiply,
    reshape::Reshape,
    scale::Scale,
    sigmoid::Sigmoid,
    softmax::Softmax,
    sum_to::SumTo,
    upsample_bilinear::UpsampleBilinear,
    upsample_nearest::UpsampleNearest,
    upsample_nearest_gradient::UpsampleNearestGradient,
}
