//! The order of the tensors in a legacy Keras file of the network, group by group.
//!
//! In every group the trainable tensors come first, in the order in which their layers were created; the moving means
//! and variances follow in the same order.

use crate::model::{Location, ModelConfig};

/// One group of the file: what it is, and the parameters it holds in order.
pub(crate) struct KerasGroup {
    pub(crate) what: &'static str,
    pub(crate) names: Vec<String>,
}

/// The groups that hold tensors, in file order.
pub(crate) fn keras_order(config: &ModelConfig) -> Vec<KerasGroup> {
    let mut groups = Vec::new();
    if config.location != Location::None {
        groups.push(location());
    }
    groups.push(fusion(config));
    groups.push(transformer(config));
    groups.push(unet(config));
    for what in ["deepsupervision", "output"] {
        let mut order = Order::default();
        order.dense(what);
        groups.push(order.group(what));
    }
    groups
}

/// The shape that Keras gives a parameter. It keeps the attention heads as an axis of their own.
pub(crate) fn keras_shape(name: &str, shape: &[usize], heads: usize) -> Vec<usize> {
    let Some((_, projection)) = name.split_once(".attention.") else { return shape.to_vec() };
    match (projection, shape) {
        ("output.kernel", &[inputs, outputs]) => vec![heads, inputs / heads, outputs],
        ("output.bias", _) => shape.to_vec(),
        (_, &[inputs, outputs]) => vec![inputs, heads, outputs / heads],
        (_, &[outputs]) => vec![heads, outputs / heads],
        _ => shape.to_vec(),
    }
}

#[derive(Default)]
struct Order {
    trainable: Vec<String>,
    statistics: Vec<String>,
}

impl Order {
    fn group(mut self, what: &'static str) -> KerasGroup {
        self.trainable.append(&mut self.statistics);
        KerasGroup { what, names: self.trainable }
    }

    fn kernel(&mut self, name: &str) {
        self.trainable.push(format!("{name}.kernel"));
    }

    /// A dense layer or a convolution with bias.
    fn dense(&mut self, name: &str) {
        self.kernel(name);
        self.trainable.push(format!("{name}.bias"));
    }

    fn layer_norm(&mut self, name: &str) {
        self.trainable.extend([format!("{name}.gamma"), format!("{name}.beta")]);
    }

    fn batch_norm(&mut self, name: &str) {
        self.layer_norm(name);
        self.statistics.extend([format!("{name}.mean"), format!("{name}.variance")]);
    }

    fn conv_block(&mut self, name: &str) {
        for i in 1..=2 {
            self.dense(&format!("{name}.conv{i}"));
            self.batch_norm(&format!("{name}.bn{i}"));
        }
    }

    fn residual_block(&mut self, name: &str) {
        self.conv_block(name);
        self.kernel(&format!("{name}.project"));
    }
}

fn location() -> KerasGroup {
    let mut order = Order::default();
    for i in 1..=2 {
        order.dense(&format!("location.dense{i}"));
        order.batch_norm(&format!("location.bn{i}"));
    }
    order.group("location encoding")
}

fn fusion(config: &ModelConfig) -> KerasGroup {
    let mut order = Order::default();
    for feature in &config.features {
        order.conv_block(&format!("fusion.{feature}"));
    }
    for layer in ["squeeze", "excite"] {
        for feature in &config.features {
            order.dense(&format!("fusion.{feature}.{layer}"));
        }
    }
    order.group("fusion")
}

fn transformer(config: &ModelConfig) -> KerasGroup {
    let mut order = Order::default();
    order.dense("transformer.patch");
    order.trainable.push("transformer.position".into());
    for block in 1..=config.blocks {
        let name = format!("transformer.block{block:02}");
        order.layer_norm(&format!("{name}.norm1"));
        for projection in ["query", "key", "value", "output"] {
            order.dense(&format!("{name}.attention.{projection}"));
        }
        order.layer_norm(&format!("{name}.norm2"));
        order.dense(&format!("{name}.mlp1"));
        order.dense(&format!("{name}.mlp2"));
    }
    for i in 1..=4 {
        order.dense(&format!("transformer.decoder.conv{i}"));
        order.batch_norm(&format!("transformer.decoder.bn{i}"));
    }
    order.dense("transformer.decoder.project");
    order.group("transformer")
}

fn unet(config: &ModelConfig) -> KerasGroup {
    let mut order = Order::default();
    for step in 1..=config.unet_steps {
        order.residual_block(&format!("unet.encoder{step}"));
    }
    order.residual_block("unet.bottleneck");
    for step in 1..=config.unet_steps {
        order.kernel(&format!("unet.up{step}"));
        order.batch_norm(&format!("unet.up{step}.bn"));
        order.residual_block(&format!("unet.decoder{step}"));
    }
    order.dense("unet.output");
    order.group("U-Net")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::parameters;

    #[test]
    fn the_order_is_a_permutation_of_the_parameters() {
        let config = ModelConfig { location: Location::Coordinates, ..ModelConfig::default() };
        let groups = keras_order(&config);
        let sizes: Vec<_> = groups.iter().map(|g| g.names.len()).collect();
        assert_eq!(sizes, [12, 32, 221, 108, 2, 2]);
        let ours: BTreeSet<_> = parameters(&config).into_iter().map(|p| p.name).collect();
        let theirs: BTreeSet<_> = groups.into_iter().flat_map(|g| g.names).collect();
        assert_eq!(ours, theirs);
    }
}
