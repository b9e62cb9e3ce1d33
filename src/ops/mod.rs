//! The operators, one file each, and their registry.

pub mod activation;
pub mod add;
pub mod attention;
pub mod batch_norm;
pub mod broadcast;
pub mod case;
pub mod concat;
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

pub use add::Add;
pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use concat::Concat;
pub use conv2d::Conv2d;
pub use extract_patches::ExtractPatches;
pub use fold_batch_norm::FoldBatchNorm;
pub use gelu::Gelu;
pub use global_average_pool::GlobalAveragePool;
pub use layer_norm::LayerNorm;
pub use leaky_relu::LeakyRelu;
pub use matmul::MatMul;
pub use max_pool::MaxPool;
pub use multiply::Multiply;
pub use reshape::Reshape;
pub use sigmoid::Sigmoid;
pub use softmax::Softmax;
pub use upsample_bilinear::UpsampleBilinear;
pub use upsample_nearest::UpsampleNearest;

/// Every operator. Tests, benches and listings iterate over it.
pub const REGISTRY: &[Entry] = &[
    add::ENTRY,
    attention::ENTRY,
    batch_norm::ENTRY,
    concat::ENTRY,
    conv2d::ENTRY,
    extract_patches::ENTRY,
    fold_batch_norm::ENTRY,
    gelu::ENTRY,
    global_average_pool::ENTRY,
    layer_norm::ENTRY,
    leaky_relu::ENTRY,
    matmul::ENTRY,
    max_pool::ENTRY,
    multiply::ENTRY,
    reshape::ENTRY,
    sigmoid::ENTRY,
    softmax::ENTRY,
    upsample_bilinear::ENTRY,
    upsample_nearest::ENTRY,
];
