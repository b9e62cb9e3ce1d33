//! The operators, one file each, and their registry.

pub mod activation;
pub mod adam;
pub mod add;
pub mod attention;
pub mod attention_gradient;
pub mod batch_norm;
pub mod batch_norm_gradient;
pub mod batch_norm_statistics;
pub mod batch_norm_training;
pub mod batch_norm_training_gradient;
pub mod broadcast;
pub mod case;
pub mod case_values;
pub mod cast;
pub mod concat;
pub mod concat_gradient;
pub mod constant;
pub mod conv2d;
pub mod conv2d_input_gradient;
pub mod conv2d_weight_gradient;
pub mod entropy_loss;
pub mod entropy_loss_gradient;
pub mod expand;
pub mod extract_patches;
pub mod extract_patches_gradient;
pub mod focal_loss;
pub mod focal_loss_gradient;
pub mod fold_batch_norm;
pub mod gelu;
pub mod gelu_gradient;
pub mod global_average_pool;
pub mod global_average_pool_gradient;
mod gpu_convolution;
mod gpu_winograd;
mod gpu_winograd_weight_gradient;
mod gpu_work;
pub mod layer_norm;
pub mod layer_norm_gradient;
pub mod leaky_relu;
pub mod leaky_relu_gradient;
pub mod matmul;
pub mod matmul_weight_gradient;
pub mod max_pool;
pub mod max_pool_gradient;
pub mod moving_average;
pub mod multiply;
pub mod product_sum;
pub mod prologue;
pub mod reshape;
pub mod scale;
pub mod scaled_sum;
pub mod sharpness_step;
pub mod sigmoid;
pub mod sigmoid_gradient;
pub mod softmax;
pub mod softmax_gradient;
pub mod squared_norm;
pub mod sum_to;
pub mod tversky_loss;
pub mod tversky_loss_gradient;
pub mod upsample_bilinear;
pub mod upsample_bilinear_gradient;
pub mod upsample_nearest;
pub mod upsample_nearest_gradient;

mod loss;
mod partial_sums;

pub use activation::Activation;
pub use case::{Case, Entry, Fill};
pub use prologue::Prologue;

/// Publishes each operator's type and lists its entry.
macro_rules! registry {
    ($($module:ident::$operator:ident),+ $(,)?) => {
        $(pub use $module::$operator;)+

        /// Every operator. Tests, benches and listings iterate over it.
        pub const REGISTRY: &[Entry] = &[$($module::ENTRY),+];
    };
}

registry! {
    adam::Adam,
    add::Add,
    attention::Attention,
    attention_gradient::AttentionGradient,
    batch_norm::BatchNorm,
    batch_norm_gradient::BatchNormGradient,
    batch_norm_statistics::BatchNormStatistics,
    batch_norm_training::BatchNormTraining,
    batch_norm_training_gradient::BatchNormTrainingGradient,
    cast::Cast,
    concat::Concat,
    concat_gradient::ConcatGradient,
    constant::Constant,
    conv2d::Conv2d,
    conv2d_input_gradient::Conv2dInputGradient,
    conv2d_weight_gradient::Conv2dWeightGradient,
    entropy_loss::EntropyLoss,
    entropy_loss_gradient::EntropyLossGradient,
    expand::Expand,
    extract_patches::ExtractPatches,
    extract_patches_gradient::ExtractPatchesGradient,
    focal_loss::FocalLoss,
    focal_loss_gradient::FocalLossGradient,
    fold_batch_norm::FoldBatchNorm,
    gelu::Gelu,
    gelu_gradient::GeluGradient,
    global_average_pool::GlobalAveragePool,
    global_average_pool_gradient::GlobalAveragePoolGradient,
    layer_norm::LayerNorm,
    layer_norm_gradient::LayerNormGradient,
    leaky_relu::LeakyRelu,
    leaky_relu_gradient::LeakyReluGradient,
    matmul::MatMul,
    matmul_weight_gradient::MatMulWeightGradient,
    max_pool::MaxPool,
    max_pool_gradient::MaxPoolGradient,
    moving_average::MovingAverage,
    multiply::Multiply,
    product_sum::ProductSum,
    reshape::Reshape,
    scale::Scale,
    scaled_sum::ScaledSum,
    sharpness_step::SharpnessStep,
    sigmoid::Sigmoid,
    sigmoid_gradient::SigmoidGradient,
    softmax::Softmax,
    softmax_gradient::SoftmaxGradient,
    squared_norm::SquaredNorm,
    sum_to::SumTo,
    tversky_loss::TverskyLoss,
    tversky_loss_gradient::TverskyLossGradient,
    upsample_bilinear::UpsampleBilinear,
    upsample_bilinear_gradient::UpsampleBilinearGradient,
    upsample_nearest::UpsampleNearest,
    upsample_nearest_gradient::UpsampleNearestGradient,
}
