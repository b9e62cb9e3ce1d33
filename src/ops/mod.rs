//! The operators, one file each, and their registry.

pub mod activation;
pub mod add;
pub mod attention;
pub mod batch_norm;
pub mod broadcast;
pub mod case;
pub mod concat;
pub mod constant;
pub mod conv2d;
pub mod extract_patches;
pub mod fold_batch_norm;
pub mod gelu;
pub mod global_average_pool;
pub mod layer_norm;
pub mod leaky_relu;
pub mod matmul;
pub mod max_pool;
pub mod multiply;
pub mod reshape;
pub mod sigmoid;
pub mod softmax;
pub mod upsample_bilinear;
pub mod upsample_nearest;

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
    batch_norm::BatchNorm,
    concat::Concat,
    constant::Constant,
    conv2d::Conv2d,
    extract_patches::ExtractPatches,
    fold_batch_norm::FoldBatchNorm,
    gelu::Gelu,
    global_average_pool::GlobalAveragePool,
    layer_norm::LayerNorm,
    leaky_relu::LeakyRelu,
    matmul::MatMul,
    max_pool::MaxPool,
    multiply::Multiply,
    reshape::Reshape,
    sigmoid::Sigmoid,
    softmax::Softmax,
    upsample_bilinear::UpsampleBilinear,
    upsample_nearest::UpsampleNearest,
}
